//! Indexes.

pub mod index_spec;
pub mod indexes;
