//! A hash that agrees with the order: values that compare equal hash equal, whatever their types.

use crate::doc::Doc;
use crate::number;
use crate::value::Value;

/// A 64-bit hash for sets, `$group` and joins: 1, 1.0 and decimal 1 hash alike, as do a string and a symbol. Not for
/// storing, and not for strings under a collation (hash the collator's sort key by [`hash_bytes`] there).
pub fn hash_value(value: Value<'_>) -> u64 {
    let mut h = Hasher(0);
    h.value(value);
    h.finish()
}

/// The same of plain bytes.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut h = Hasher(0);
    h.bytes(bytes);
    h.finish()
}

/// The same of several values in a row, such as a compound group key.
pub fn hash_values<'a>(values: impl IntoIterator<Item = Value<'a>>) -> u64 {
    let mut h = Hasher(0);
    values.into_iter().for_each(|v| h.value(v));
    h.finish()
}

struct Hasher(u64);

impl Hasher {
    /// Folds in a word by the high and low halves of a wide product.
    #[inline]
    fn word(&mut self, n: u64) {
        let wide = u128::from(self.0.rotate_left(29) ^ n ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
        self.0 = (wide >> 64) as u64 ^ wide as u64 ^ self.0.rotate_left(17);
    }

    fn finish(mut self) -> u64 {
        self.word(0x2545_f491_4f6c_dd1d);
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.word(u64::from_le_bytes(*w)));
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    fn doc(&mut self, doc: Doc<'_>, names: bool) {
        for e in doc.iter() {
            if names {
                self.bytes(e.name_bytes());
            }
            match e.string_bytes() {
                Some(bytes) => self.bytes(bytes),
                None => self.value(e.value()),
            }
        }
        self.word(u64::MAX);
    }

    fn value(&mut self, value: Value<'_>) {
        let rank = u64::from(value.type_of().rank());
        match value {
            Value::Missing | Value::Undefined | Value::Null | Value::MinKey | Value::MaxKey => self.word(rank << 56),
            Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal(_) => self.word(number_bits(value)),
            Value::Bool(b) => self.word(rank << 56 | u64::from(b)),
            Value::DateTime(n) => self.word((rank << 56) ^ n as u64),
            Value::Timestamp(t) => self.word((rank << 56) ^ t.to_u64()),
            Value::String(s) | Value::Symbol(s) => self.bytes(s.as_bytes()),
            Value::JavaScript(s) => {
                self.word(rank << 56);
                self.bytes(s.as_bytes());
            }
            Value::ObjectId(id) => self.bytes(&id.0),
            Value::Binary(b) => self.bytes(b.raw()),
            Value::Regex(r) => {
                self.bytes(r.pattern().as_bytes());
                self.bytes(r.options().as_bytes());
            }
            Value::DbPointer(p) => self.bytes(p.raw()),
            Value::CodeWithScope(c) => {
                self.bytes(c.code().as_bytes());
                self.doc(c.scope(), true);
            }
            Value::Document(d) => self.doc(d, true),
            Value::Array(a) => self.doc(a.0, false),
        }
    }
}

/// The long of a number that is one, otherwise the bits of its nearest double.
fn number_bits(value: Value<'_>) -> u64 {
    if let Some(n) = number::to_i64_exact(value) {
        return n as u64;
    }
    match number::to_f64(value) {
        Some(n) if !n.is_nan() => n.to_bits(),
        _ => f64::NAN.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decimal, DocBuf, ValueBuf};

    #[test]
    fn equal_values_hash_equal() {
        let one = Decimal::from_i64(1);
        let hashes = [Value::Int32(1), Value::Int64(1), Value::Double(1.0), Value::Decimal(one)].map(hash_value);
        assert!(hashes.iter().all(|h| *h == hashes[0]));
        assert_ne!(hash_value(Value::Int32(1)), hash_value(Value::Int32(2)));
        assert_ne!(hash_value(Value::String("a")), hash_value(Value::String("b")));
        let a = ValueBuf::document(DocBuf::build(|w| { w.append("x", 1).append("y", "s"); }));
        let b = ValueBuf::document(DocBuf::build(|w| { w.append("x", 1.0).append("y", Value::Symbol("s")); }));
        assert_eq!(hash_value(a.view()), hash_value(b.view()));
    }
}
