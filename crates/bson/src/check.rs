//! The one validation of foreign bytes.

use crate::error::{Error, Result};
use crate::scan::{HIGHS, find_nul_ascii, value_len};
use crate::{bail, err};

/// How deep documents may be nested on the wire, as in MongoDB.
pub const MAX_DEPTH: usize = 200;

/// How deep documents may be nested to be stored: a command around them must stay within [`MAX_DEPTH`].
pub const MAX_STORED_DEPTH: usize = 180;

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
        let name = after.get(..nul).unwrap_or_default();
        let value = after.get(nul + 1..).unwrap_or_default();
        if !ascii {
            utf8(name)?;
        }
        let Some((value, next)) = value_len(tag, value).and_then(|n| value.split_at_checked(n)) else {
            return Err(bad_element(tag, name));
        };
        match tag {
            2 => string(value)?,
            3 | 4 => nested(value, depth)?,
            8 | 11..=15 => rare(tag, value, depth)?,
            _ => {}
        }
        rest = next;
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

/// A length-prefixed string: `bytes` are the prefix, the text and its NUL.
#[inline(always)]
fn string(bytes: &[u8]) -> Result<()> {
    match bytes.get(4..).and_then(<[u8]>::split_last) {
        Some((&0, text)) if is_ascii(text, bytes) => Ok(()),
        Some((&0, text)) => utf8(text),
        _ => Err(unterminated()),
    }
}

/// Whether no byte of a text has its high bit set: true for most and quicker than decoding. `all` is the text with its
/// length and NUL, whose bytes have none either when the text is short.
#[inline(always)]
fn is_ascii(text: &[u8], all: &[u8]) -> bool {
    let (words, _) = text.as_chunks::<8>();
    if words.len() > 8 {
        return text.is_ascii();
    }
    let high = words.iter().fold(0, |high, w| high | u64::from_le_bytes(*w));
    match all.last_chunk::<8>() {
        Some(last) => (high | u64::from_le_bytes(*last)) & HIGHS == 0,
        None => text.iter().all(u8::is_ascii),
    }
}

#[cold]
fn unterminated() -> Error {
    err!(InvalidBSON, "BSON string is not terminated by NUL")
}

fn nested(bytes: &[u8], depth: usize) -> Result<()> {
    if prefix(bytes)? != bytes.len() {
        return Err(wrong_length());
    }
    body(bytes, depth + 1)
}

#[inline(never)]
fn rare(tag: u8, bytes: &[u8], depth: usize) -> Result<()> {
    match tag {
        8 if bytes != [0] && bytes != [1] => Err(err!(InvalidBSON, "BSON boolean is neither 0 nor 1")),
        11 => utf8(bytes),
        12 => string(bytes.get(..bytes.len().saturating_sub(12)).unwrap_or_default()),
        13 | 14 => string(bytes),
        15 => code_with_scope(bytes, depth),
        _ => Ok(()),
    }
}

fn code_with_scope(bytes: &[u8], depth: usize) -> Result<()> {
    let bad = || err!(InvalidBSON, "malformed code with scope");
    let rest = bytes.get(4..).ok_or_else(bad)?;
    let (code, scope) = value_len(2, rest).and_then(|n| rest.split_at_checked(n)).ok_or_else(bad)?;
    string(code)?;
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
        assert!(document(nested_levels(200).as_bytes()).is_ok());
        assert_eq!(document(nested_levels(201).as_bytes()).map_err(|e| e.code().0), Err(15));
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
