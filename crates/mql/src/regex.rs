//! Regular expressions with MongoDB's options, by PCRE2 with a match limit.

use smongo_bson::{Result, bail};

/// A compiled regular expression.
#[derive(Debug)]
pub struct Regex {
    pub pattern: String,
    pub options: String,
}

impl Regex {
    /// Options are MongoDB's `i m s x u`.
    pub fn new(_pattern: &str, _options: &str) -> Result<Regex> {
        bail!(NotImplemented, "regular expressions are not implemented yet")
    }

    pub fn is_match(&self, _text: &str) -> Result<bool> {
        bail!(NotImplemented, "regular expressions are not implemented yet")
    }

    /// The literal prefix every match starts with (`^abc`): index bounds are made of it.
    pub fn prefix(&self) -> Option<&str> {
        None
    }
}
