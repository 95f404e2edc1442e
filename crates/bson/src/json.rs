//! Extended JSON, through the official `bson` crate: never on a hot path.

use crate::doc::Doc;

/// Relaxed Extended JSON of a document, for messages and logs.
pub fn to_relaxed(doc: Doc<'_>) -> String {
    match bson::RawDocument::from_bytes(doc.as_bytes()).and_then(bson::Document::try_from) {
        Ok(d) => bson::Bson::Document(d).into_relaxed_extjson().to_string(),
        Err(e) => format!("<invalid BSON: {e}>"),
    }
}
