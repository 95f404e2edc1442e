//! Sort patterns and the keys they make of documents.

use std::sync::Arc;

use smongo_bson::path::Path;
use smongo_bson::{Doc, Result, bail};

use crate::collation::Collation;
use crate::cx::CompileCx;

/// A compiled `sort` specification.
pub struct SortPattern {
    pub parts: Vec<SortPart>,
    pub collation: Option<Arc<Collation>>,
}

pub struct SortPart {
    pub path: Path,
    pub descending: bool,
    /// `{$meta: "textScore"}` and the like instead of a path.
    pub meta: Option<String>,
}

impl SortPattern {
    pub fn compile(_spec: Doc<'_>, _cx: &CompileCx) -> Result<SortPattern> {
        bail!(NotImplemented, "sort is not implemented yet")
    }

    /// Appends the document's sort key: comparing the bytes compares the documents. Arrays count with their least
    /// (ascending) or greatest (descending) element.
    pub fn append_key(&self, _doc: Doc<'_>, _out: &mut Vec<u8>) -> Result<()> {
        bail!(NotImplemented, "sort is not implemented yet")
    }
}
