//! Indexes.

pub mod index_spec;
pub mod indexes;
pub mod search_indexes;
