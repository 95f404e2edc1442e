//! Dates.

pub(crate) mod civil;
