//! The planner: a compiled query and the collection's indexes in, a plan out.

use std::sync::Arc;

use smongo_bson::DocBuf;
use smongo_mql::{Matcher, Projection, SortPattern};

/// What find, update, delete, count, distinct and the front of an aggregation ask of one collection.
pub struct Query {
    pub filter: Arc<Matcher>,
    pub sort: Option<SortPattern>,
    pub projection: Option<Projection>,
    pub skip: u64,
    pub limit: Option<u64>,
    pub hint: Option<Hint>,
    /// Inclusive lower and exclusive upper index key bounds of find.
    pub min: Option<DocBuf>,
    pub max: Option<DocBuf>,
    pub return_key: bool,
    pub show_record_id: bool,
    pub allow_disk_use: bool,
    /// The documents the query was compiled from, for explain.
    pub filter_doc: DocBuf,
    pub sort_doc: DocBuf,
    pub projection_doc: DocBuf,
}

#[derive(Clone, Debug)]
pub enum Hint {
    Name(String),
    Key(DocBuf),
    /// `{$natural: 1}` or -1.
    Natural { forward: bool },
}
