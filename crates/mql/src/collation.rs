//! Collations: how strings compare, by ICU.

use std::cmp::Ordering;

use smongo_bson::compare::Collator;
use smongo_bson::{Doc, DocBuf, Result, bail};

/// A collation as a command's or index's `collation` document gives it, ready to compare.
pub struct Collation {
    /// The complete specification with every default filled in, as MongoDB gives it back.
    pub spec: DocBuf,
}

impl Collation {
    /// Parses a `collation` document; `None` for `{locale: "simple"}`.
    pub fn parse(_spec: Doc<'_>) -> Result<Option<Collation>> {
        bail!(NotImplemented, "collation is not implemented yet")
    }
}

impl Collator for Collation {
    fn compare(&self, a: &str, b: &str) -> Ordering {
        a.cmp(b)
    }
    fn sort_key(&self, s: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(s.as_bytes());
    }
}
