//! The one key layout: bytes whose order is the order of the values they encode.

use crate::compare::Collator;
use crate::error::Result;
use crate::owned::ValueBuf;
use crate::value::Value;

/// Appends the key bytes of one value; with `descending` every byte is inverted. Encodings are prefix-free, so the
/// values of a compound key stand one behind the other.
pub fn append(_out: &mut Vec<u8>, _value: Value<'_>, _descending: bool, _collator: Option<&dyn Collator>) {
    todo!()
}

/// Skips one value's key bytes; returns what follows.
pub fn skip(_key: &[u8], _descending: bool) -> Result<&[u8]> {
    todo!()
}

/// Decodes one value and returns what follows. Numbers come back as a number that compares equal (the exact type needs type bits, see `append_type_bits`).
pub fn decode(_key: &[u8], _descending: bool) -> Result<(ValueBuf, &[u8])> {
    todo!()
}
