//! The one validation of foreign bytes.

use crate::error::{Error, Result};
use crate::scan::{HIGHS, find_nul_ascii, is_ascii, value_len};
use crate::{bail, err};

/// How many levels of documents and arrays may be nested in a document on the wire, as in MongoDB.
pub const MAX_DEPTH: usize = 200;

/// How deep documents may be nested to be stored: a command around them must stay within [`MAX_DEPTH`].
pub const MAX_STORED_DEPTH: usize = 180;

/// Checks that `bytes` are exactly one well-formed document: lengths, types, UTF-8, depth.
pub fn document(bytes: &[u8]) -> Result<()> {
    let len = prefix(bytes)?;
    if len != bytes.len() {
        bail!(InvalidBSON, "BSON document length {len} does not match the {} bytes given", bytes.len());
    }
    body(bytes, 0)
}

/// The length a document at the start of `bytes` claims, when it fits into `bytes`.
pub fn prefix(bytes: &[u8]) -> Result<usize> {
    let claimed = bytes.first_chunk::<4>().map(|b| i32::from_le_bytes(*b));
    match claimed.and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n >= 5 && n <= bytes.len() => Ok(n),
        _ => Err(wrong_length()),
    }
}

/// Whether a checked document is nested deeper than `limit`; one with no nested document is 1 deep.
pub fn deeper_than(doc: crate::Doc<'_>, limit: usize) -> bool {
    // Each level takes seven bytes at least, so most documents are too short to be deep.
    if doc.as_bytes().len() <= limit.saturating_mul(7) {
        return false;
    }
    limit == 0 || doc.iter().any(|e| matches!(e.tag(), 3 | 4) && deeper_than(crate::Doc::from_checked(e.value_bytes()), limit - 1))
}

#[cold]
fn wrong_length() -> Error {
    err!(InvalidBSON, "incorrect BSON length in element or document")
}

fn body(bytes: &[u8], depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        bail!(Overflow, "BSONObj exceeded maximum nested object depth: {MAX_DEPTH}");
    }
    let Some((&0, mut rest)) = bytes.get(4..).and_then(<[u8]>::split_last) else {
        bail!(InvalidBSON, "BSON document does not end with NUL");
    };
    while let Some((&tag, after)) = rest.split_first() {
        let Some((nul, ascii)) = find_nul_ascii(after) else { return Err(unterminated_name()) };
        let value = after.get(nul + 1..).unwrap_or_default();
        if !ascii {
            utf8(after.get(..nul).unwrap_or_default())?;
        }
        let next = match tag {
            1 | 9 | 17 | 18 => value.get(8..),
            2 => string(value)?,
            3 | 4 => nested(value, depth)?,
            16 => value.get(4..),
            7 => value.get(12..),
            8 if value.first().is_some_and(|b| *b < 2) => value.get(1..),
            10 => Some(value),
            _ => rare(tag, value, depth)?,
        };
        rest = match next {
            Some(next) => next,
            None => return Err(bad_element(tag, after.get(..nul).unwrap_or_default())),
        };
    }
    Ok(())
}

#[cold]
fn unterminated_name() -> Error {
    err!(InvalidBSON, "field name is not terminated")
}

#[cold]
fn bad_element(tag: u8, name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    err!(InvalidBSON, "Unrecognized or overlong BSON type {tag} in element with field name '{name}'")
}

#[inline(never)]
fn utf8(bytes: &[u8]) -> Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(err!(InvalidBSON, "invalid UTF-8 in BSON string")),
    }
}

/// A length-prefixed string at the start of `bytes`; what follows it, `None` when it does not fit.
#[inline(always)]
fn string(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some((all, next)) = value_len(2, bytes).and_then(|n| bytes.split_at_checked(n)) else { return Ok(None) };
    let Some((&0, text)) = all.get(4..).and_then(<[u8]>::split_last) else { return Err(unterminated()) };
    // Of a short text the length and the NUL are ASCII as well, and a word of them is tested at once.
    let ascii = match all.last_chunk::<8>() {
        Some(last) if text.len() < 8 => u64::from_le_bytes(*last) & HIGHS == 0,
        _ => is_ascii(text),
    };
    if !ascii {
        utf8(text)?;
    }
    Ok(Some(next))
}

#[cold]
fn unterminated() -> Error {
    err!(InvalidBSON, "BSON string is not terminated by NUL")
}

#[inline(always)]
fn nested(bytes: &[u8], depth: usize) -> Result<Option<&[u8]>> {
    let (inner, next) = bytes.split_at_checked(prefix(bytes)?).ok_or_else(wrong_length)?;
    body(inner, depth + 1)?;
    Ok(Some(next))
}

#[inline(never)]
fn rare(tag: u8, bytes: &[u8], depth: usize) -> Result<Option<&[u8]>> {
    let Some((value, next)) = value_len(tag, bytes).and_then(|n| bytes.split_at_checked(n)) else { return Ok(None) };
    match tag {
        8 if value != [0] && value != [1] => bail!(InvalidBSON, "BSON boolean is neither 0 nor 1"),
        11 => utf8(value)?,
        12..=14 => {
            string(value)?;
        }
        15 => code_with_scope(value, depth)?,
        _ => {}
    }
    Ok(Some(next))
}

fn code_with_scope(bytes: &[u8], depth: usize) -> Result<()> {
    let bad = || err!(InvalidBSON, "malformed code with scope");
    let scope = string(bytes.get(4..).ok_or_else(bad)?)?.ok_or_else(bad)?;
    if prefix(scope)? != scope.len() {
        return Err(bad());
    }
    body(scope, depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DocBuf, Value};

    fn nested_levels(n: usize) -> DocBuf {
        (1..n).fold(DocBuf::new(), |inner, _| DocBuf::build(|w| {
            w.append("", Value::Document(inner.as_doc()));
        }))
    }

    #[test]
    fn depth_is_limited() {
        assert!(document(nested_levels(201).as_bytes()).is_ok());
        assert_eq!(document(nested_levels(202).as_bytes()).map_err(|e| e.code().0), Err(15));
        assert!(!deeper_than(nested_levels(180).as_doc(), MAX_STORED_DEPTH));
        assert!(deeper_than(nested_levels(181).as_doc(), MAX_STORED_DEPTH));
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let good = DocBuf::build(|w| {
            w.append("a", "tëxt").append("b", true).append("c", Value::JavaScript("x"));
        });
        assert!(document(good.as_bytes()).is_ok());
        let damaged = |at: usize, with: u8| {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = with;
            document(&bytes).is_err()
        };
        assert!(damaged(0, 200) && damaged(4, 99) && damaged(7, 100) && damaged(11, 0xff), "length, type, string length, UTF-8");
        assert!(damaged(good.as_bytes().len() - 1, 1), "closing NUL");
        for bytes in [&[][..], &[5, 0, 0, 0], &[4, 0, 0, 0], &[5, 0, 0, 0, 1], &[6, 0, 0, 0, 10, 0], &[0xff; 8]] {
            assert!(document(bytes).is_err(), "{bytes:?}");
        }
    }
}
