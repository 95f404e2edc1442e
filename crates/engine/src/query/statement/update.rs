//! Changing one document by a program, or making the one an upsert asks for.

use std::sync::Arc;

use smongo_bson::{Code, Doc, DocBuf, Error, Result};
use smongo_mql::{Arena, Update};

use super::Target;
use crate::data::{limits, write};
use crate::data::catalog::Collection;
use crate::data::keys::RecordId;
use crate::data::op::OpCx;

/// Two upserts of the same key may both find nothing; the one that loses finds the other's document when it tries again. `again`:
/// it is an upsert, and of no transaction, which would hold what the first try wrote.
pub fn retry_upsert<T>(again: bool, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    match attempt() {
        Err(e) if again && e.code() == Code::DuplicateKey => attempt(),
        done => done,
    }
}

/// Applies the update to one stored document; the new document, unless nothing changed.
#[allow(clippy::too_many_arguments)]
pub fn apply(op: &mut OpCx, coll: &Arc<Collection>, id: RecordId, old: Doc<'_>, target: &Target<'_>, update: &Update, bypass: bool, arena: &Arena) -> Result<Option<DocBuf>> {
    let applied = update.apply(old, &target.filter, arena)?;
    let Some(new) = applied.doc else { return Ok(None) };
    check_size(new.as_doc())?;
    write::validate_update(coll, old, new.as_doc(), bypass)?;
    let delta = applied.delta.as_ref().map_or(new.as_doc(), DocBuf::as_doc);
    write::update(op, coll, id, old, new.as_doc(), delta)?;
    Ok(Some(new))
}

fn check_size(doc: Doc<'_>) -> Result<()> {
    let len = doc.as_bytes().len();
    if len > limits::DOCUMENT_BYTES {
        return Err(Error::new(Code(17419), format!("Resulting document after update is larger than {}", limits::DOCUMENT_BYTES)));
    }
    Ok(())
}

/// Inserts the document an upsert makes.
pub fn upsert(op: &mut OpCx, coll: &Arc<Collection>, target: &Target<'_>, update: &Update, bypass: bool, arena: &Arena) -> Result<DocBuf> {
    let doc = update.upsert(&target.filter, target.filter_doc, arena)?;
    let mut buf = Vec::new();
    let doc = write::prepare(op, doc.as_doc(), &mut buf)?;
    check_size(doc)?;
    write::validate(coll, doc, bypass)?;
    write::insert(op, coll, doc)?;
    Ok(DocBuf::from(doc))
}
