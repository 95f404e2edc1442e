//! The one validation of foreign bytes.

use crate::doc::value_len;
use crate::error::Result;
use crate::{bail, err};

/// How deep documents may be nested, as in MongoDB.
pub const MAX_DEPTH: usize = 200;

/// Checks that `bytes` are exactly one well-formed document: lengths, types, UTF-8, depth.
pub fn document(bytes: &[u8]) -> Result<()> {
    let len = prefix(bytes)?;
    if len != bytes.len() {
        bail!(InvalidBSON, "BSON document length {len} does not match the {} bytes given", bytes.len());
    }
    body(bytes, 1)
}

/// The length a document at the start of `bytes` claims, when it fits into `bytes`.
pub fn prefix(bytes: &[u8]) -> Result<usize> {
    let claimed = bytes.first_chunk::<4>().map(|b| i32::from_le_bytes(*b));
    match claimed.and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n >= 5 && n <= bytes.len() => Ok(n),
        _ => Err(err!(InvalidBSON, "incorrect BSON length in element or document")),
    }
}

fn body(bytes: &[u8], depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        bail!(Overflow, "BSONObj exceeded maximum nested object depth: {MAX_DEPTH}");
    }
    let Some((&0, fields)) = bytes.get(4..).and_then(<[u8]>::split_last) else {
        bail!(InvalidBSON, "BSON document does not end with NUL");
    };
    let mut rest = fields;
    while let Some((&tag, after)) = rest.split_first() {
        let Some(nul) = after.iter().position(|b| *b == 0) else {
            bail!(InvalidBSON, "field name is not terminated");
        };
        utf8(&after[..nul])?;
        let value = &after[nul + 1..];
        let len = value_len(tag, value).filter(|n| *n <= value.len());
        let Some(len) = len else {
            bail!(InvalidBSON, "Unrecognized or overlong BSON type {tag} in element with field name '{}'", String::from_utf8_lossy(&after[..nul]));
        };
        check_value(tag, &value[..len], depth)?;
        rest = &value[len..];
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(err!(InvalidBSON, "invalid UTF-8 in BSON string")),
    }
}

/// A length-prefixed string: `bytes` are the prefix, the text and its NUL.
fn check_string(bytes: &[u8]) -> Result<()> {
    match bytes.get(4..).and_then(<[u8]>::split_last) {
        Some((&0, text)) => utf8(text),
        _ => Err(err!(InvalidBSON, "BSON string is not terminated by NUL")),
    }
}

fn check_value(tag: u8, bytes: &[u8], depth: usize) -> Result<()> {
    match tag {
        2 | 13 | 14 => check_string(bytes),
        3 | 4 => {
            if prefix(bytes)? != bytes.len() {
                bail!(InvalidBSON, "incorrect BSON length in element or document");
            }
            body(bytes, depth + 1)
        }
        8 if bytes != [0] && bytes != [1] => Err(err!(InvalidBSON, "BSON boolean is neither 0 nor 1")),
        11 => utf8(bytes),
        12 => check_string(&bytes[..bytes.len() - 12]),
        15 => code_with_scope(bytes, depth),
        _ => Ok(()),
    }
}

fn code_with_scope(bytes: &[u8], depth: usize) -> Result<()> {
    let bad = || err!(InvalidBSON, "malformed code with scope");
    let rest = bytes.get(4..).ok_or_else(bad)?;
    let len = value_len(2, rest).filter(|n| *n <= rest.len()).ok_or_else(bad)?;
    check_string(&rest[..len])?;
    let scope = &rest[len..];
    if prefix(scope)? != scope.len() {
        return Err(bad());
    }
    body(scope, depth + 1)
}
