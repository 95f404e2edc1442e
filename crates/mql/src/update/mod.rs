//! Updates: operator documents, replacements and pipelines, applied to one document at a time.

use smongo_bson::{Array, Doc, DocBuf, Result, Value, bail};

use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::matcher::Matcher;

/// A compiled update.
pub struct Update {}

/// What an update did to a document.
pub struct Applied {
    /// The new document; `None` when nothing changed (a no-op counts as matched, not as modified).
    pub doc: Option<DocBuf>,
    /// The oplog's description of the change: `{$v: 2, diff: {…}}` for deltas, the whole document for a replacement.
    pub delta: Option<DocBuf>,
}

impl Update {
    /// Compiles the `u` of an update statement: a document of operators, a replacement document, or a pipeline (array).
    pub fn compile(_update: Value<'_>, _array_filters: Option<Array<'_>>, _cx: &CompileCx) -> Result<Update> {
        bail!(NotImplemented, "updates are not implemented yet")
    }

    pub fn is_replacement(&self) -> bool {
        false
    }

    /// Applies the update to a stored document. `filter` is the query's, for the positional `$`.
    pub fn apply(&self, _doc: Doc<'_>, _filter: &Matcher, _arena: &Arena) -> Result<Applied> {
        bail!(NotImplemented, "updates are not implemented yet")
    }

    /// The document an upsert inserts: equality fields of the filter, then the update with `$setOnInsert`; `_id` is generated when neither gives one.
    pub fn upsert(&self, _filter: &Matcher, _filter_doc: Doc<'_>, _arena: &Arena) -> Result<DocBuf> {
        bail!(NotImplemented, "updates are not implemented yet")
    }
}
