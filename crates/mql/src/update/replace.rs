//! Replacement documents.

use smongo_bson::{Doc, DocBuf, Result, Timestamp, Value, bail, compare};

use super::Applied;
use super::ops::current_timestamp;
use crate::cx::CompileCx;

pub(super) struct Replacement {
    doc: DocBuf,
}

impl Replacement {
    /// Empty timestamps at the top level become the time of the statement, as they do in inserted documents.
    pub fn compile(doc: Doc<'_>, cx: &CompileCx) -> Replacement {
        let empty = |v: Value<'_>| matches!(v, Value::Timestamp(Timestamp { time: 0, increment: 0 }));
        if !doc.iter().any(|e| empty(e.value()) && e.name() != "_id") {
            return Replacement { doc: doc.into() };
        }
        let mut now = current_timestamp(cx);
        let filled = DocBuf::build(|w| {
            for element in doc {
                if empty(element.value()) && element.name() != "_id" {
                    w.append(element.name(), now);
                    now.increment += 1;
                } else {
                    w.append_element(&element);
                }
            }
        });
        Replacement { doc: filled }
    }

    pub fn apply(&self, old: Doc<'_>) -> Result<Applied> {
        check_names(self.doc.as_doc())?;
        if self.doc.as_bytes() == old.as_bytes() {
            return Ok(Applied::NOTHING);
        }
        let new = with_old_id(self.doc.as_doc(), old)?;
        Ok(Applied { delta: Some(new.clone()), doc: Some(new) })
    }

    /// The document to insert; `base` holds the filter's `_id` if it has one.
    pub fn insert(&self, base: Doc<'_>) -> Result<DocBuf> {
        check_names(self.doc.as_doc())?;
        with_old_id(self.doc.as_doc(), base)
    }
}

/// `new` with the `_id` of `old` in front. Error 66 when it has another.
pub(super) fn with_old_id(new: Doc<'_>, old: Doc<'_>) -> Result<DocBuf> {
    let (mine, theirs) = (new.element("_id"), old.element("_id"));
    let first = new.first().is_some_and(|e| e.name() == "_id");
    if let (Some(mine), Some(theirs)) = (&mine, &theirs)
        && !compare::equal(mine.value(), theirs.value())
    {
        bail!(
            ImmutableField,
            "After applying the update, the (immutable) field '_id' was found to have been altered to _id: {}",
            mine.value()
        );
    }
    if first || (mine.is_none() && theirs.is_none()) {
        return Ok(new.into());
    }
    Ok(DocBuf::build(|w| {
        if let Some(id) = mine.as_ref().or(theirs.as_ref()) {
            w.append_element(id);
        }
        for element in new.iter().filter(|e| e.name() != "_id") {
            w.append_element(&element);
        }
    }))
}

/// Names of a replacement document's top level cannot begin with `$`.
fn check_names(doc: Doc<'_>) -> Result<()> {
    doc.iter().try_for_each(|e| super::walk::storable(e.name()))
}
