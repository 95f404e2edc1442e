//! Validators of collections.

use smongo_bson::{Code, Doc, DocBuf, Error, Result};
use smongo_mql::{Arena, CompileCx};

use crate::data::catalog::Collection;

/// Checks a new document against the collection's validator.
pub fn validate(coll: &Collection, doc: Doc<'_>, bypass: bool) -> Result<()> {
    let Some(validator) = coll.validator.as_ref().filter(|v| !bypass && !v.off && !v.warn_only) else { return Ok(()) };
    let arena = Arena::new();
    if validator.matcher.matches(doc, &arena)? {
        return Ok(());
    }
    let details = validator.matcher.explain_failure(doc, &CompileCx::of_running());
    let info = DocBuf::build(|w| {
        let mut info = w.document("errInfo");
        info.append("failingDocumentId", doc.get("_id")).append("details", details.as_doc());
    });
    Err(Error::new(Code::DocumentValidationFailure, "Document failed validation").with_info(info))
}

/// A changed document must be valid, unless the old one was not and the level is `moderate`.
pub fn validate_update(coll: &Collection, old: Doc<'_>, new: Doc<'_>, bypass: bool) -> Result<()> {
    let Err(e) = validate(coll, new, bypass) else { return Ok(()) };
    if coll.validator.as_ref().is_some_and(|v| v.moderate) && validate(coll, old, false).is_err() {
        return Ok(());
    }
    Err(e)
}
