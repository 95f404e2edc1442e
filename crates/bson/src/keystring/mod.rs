//! The one key layout: bytes whose order is the order of the values they encode.
//!
//! A value is a tag byte and what its type needs; tags are in the order of [`Type::rank`] and lie between 0x08 and 0xF0.
//! No encoding is the prefix of another one, so values of a compound key, and a record id behind them, simply follow
//! each other. Descending values have every byte inverted.
//!
//! | value | bytes behind the tag |
//! |---|---|
//! | number | see [`number`](self): an integer takes 1 to 8 bytes, other doubles 8 to 15, the same for every type |
//! | string, symbol, code | the bytes with 00 written 01 01 and 01 written 01 02, then 00 (under a collation its sort key) |
//! | document | for each field: rank of its type, name, 00, value; then 00 |
//! | array | the values, then 00 |
//! | binary, DBPointer | length (one byte, or FF and four), subtype and data |
//! | objectId | 12 bytes |
//! | date | 8 bytes, sign bit flipped |
//! | timestamp | 8 bytes |
//! | regex | pattern, 00, options, 00 |
//! | code with scope | as code, then as document |
//! | minKey, undefined, null, false, true, maxKey | nothing |

mod decode;
mod number;
mod type_bits;

use crate::compare::Collator;
use crate::doc::{Doc, Element};
use crate::scan;
use crate::value::{Type, Value};

pub use decode::{decode, decode_into, decode_with, skip};
pub use type_bits::{TypeBits, TypeBitsReader};

/// Ends a document or an array; below every tag and every rank.
const END: u8 = 0x00;
mod tag {
    pub const MIN_KEY: u8 = 0x08;
    pub const UNDEFINED: u8 = 0x10;
    pub const NULL: u8 = 0x18;
    pub const NAN: u8 = 0x20;
    pub const NEG_INFINITY: u8 = 0x21;
    pub const NEG_HUGE: u8 = 0x22;
    pub const NEG_SMALL: u8 = 0x2b;
    pub const ZERO: u8 = 0x2c;
    pub const POS_SMALL: u8 = 0x2d;
    pub const POS_HUGE: u8 = 0x36;
    pub const POS_INFINITY: u8 = 0x37;
    pub const STRING: u8 = 0x40;
    pub const DOCUMENT: u8 = 0x48;
    pub const ARRAY: u8 = 0x50;
    pub const BINARY: u8 = 0x58;
    pub const OBJECT_ID: u8 = 0x60;
    pub const FALSE: u8 = 0x68;
    pub const TRUE: u8 = 0x69;
    pub const DATE: u8 = 0x70;
    pub const TIMESTAMP: u8 = 0x78;
    pub const REGEX: u8 = 0x80;
    pub const DB_POINTER: u8 = 0x88;
    pub const CODE: u8 = 0x90;
    pub const CODE_WITH_SCOPE: u8 = 0x98;
    pub const MAX_KEY: u8 = 0xf0;
}

/// Appends the key bytes of one value; with `descending` every byte is inverted. Encodings are prefix-free, so the
/// values of a compound key stand one behind the other.
pub fn append(out: &mut Vec<u8>, value: Value<'_>, descending: bool, collator: Option<&dyn Collator>) {
    let start = out.len();
    Encoder { out, collator, bits: None }.value(value);
    if descending {
        invert(out.get_mut(start..).unwrap_or_default());
    }
}

/// The same (without collation), noting in `bits` what the key bytes forget: see [`TypeBits`].
pub fn append_with_type_bits(out: &mut Vec<u8>, bits: &mut TypeBits, value: Value<'_>, descending: bool) {
    let start = out.len();
    Encoder { out, collator: None, bits: Some(bits) }.value(value);
    if descending {
        invert(out.get_mut(start..).unwrap_or_default());
    }
}

/// The key bytes of one value alone.
pub fn encode(value: Value<'_>, descending: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    append(&mut out, value, descending, None);
    out
}

/// Makes of a prefix the least bytes that sort after everything beginning with it, for the upper end of a range.
/// False when there are none: the prefix is empty or all FF, and `key` is left empty.
pub fn prefix_end(key: &mut Vec<u8>) -> bool {
    while let Some(last) = key.pop() {
        if last != 0xff {
            key.push(last + 1);
            return true;
        }
    }
    false
}

/// The first tag of a type's class and the first one above it: keys of all values that compare within the class (for
/// int: all numbers) are `>= [low]` and `< [high]`, ascending. Inverted and exchanged for descending by
/// [`class_range`].
fn class_tags(class: Type) -> (u8, u8) {
    match class {
        Type::MinKey => (tag::MIN_KEY, tag::MIN_KEY + 1),
        Type::Missing | Type::Undefined => (tag::UNDEFINED, tag::UNDEFINED + 1),
        Type::Null => (tag::NULL, tag::NULL + 1),
        Type::Int32 | Type::Int64 | Type::Double | Type::Decimal => (tag::NAN, tag::POS_INFINITY + 1),
        Type::String | Type::Symbol => (tag::STRING, tag::STRING + 1),
        Type::Document => (tag::DOCUMENT, tag::DOCUMENT + 1),
        Type::Array => (tag::ARRAY, tag::ARRAY + 1),
        Type::Binary => (tag::BINARY, tag::BINARY + 1),
        Type::ObjectId => (tag::OBJECT_ID, tag::OBJECT_ID + 1),
        Type::Bool => (tag::FALSE, tag::TRUE + 1),
        Type::DateTime => (tag::DATE, tag::DATE + 1),
        Type::Timestamp => (tag::TIMESTAMP, tag::TIMESTAMP + 1),
        Type::Regex => (tag::REGEX, tag::REGEX + 1),
        Type::DbPointer => (tag::DB_POINTER, tag::DB_POINTER + 1),
        Type::JavaScript => (tag::CODE, tag::CODE + 1),
        Type::CodeWithScope => (tag::CODE_WITH_SCOPE, tag::CODE_WITH_SCOPE + 1),
        Type::MaxKey => (tag::MAX_KEY, tag::MAX_KEY + 1),
    }
}

/// The keys of all values of a type's class (for int: of all numbers): `low..high` as one-byte prefixes in key order.
pub fn class_range(class: Type, descending: bool) -> (u8, u8) {
    let (low, high) = class_tags(class);
    if descending { (!(high - 1), !low + 1) } else { (low, high) }
}

fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|b| *b = !*b);
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    collator: Option<&'o dyn Collator>,
    bits: Option<&'o mut TypeBits>,
}

impl Encoder<'_> {
    #[inline]
    fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal(_) => {
                let form = number::Form::of(value);
                form.append(self.out);
                if let Some(bits) = &mut self.bits {
                    bits.number(value, &form);
                }
            }
            Value::String(s) | Value::Symbol(s) => self.string(value, s),
            Value::ObjectId(id) => {
                self.out.push(tag::OBJECT_ID);
                self.out.extend_from_slice(&id.0);
            }
            Value::Bool(b) => self.out.push(if b { tag::TRUE } else { tag::FALSE }),
            Value::DateTime(n) => {
                self.out.push(tag::DATE);
                self.out.extend_from_slice(&(n as u64 ^ (1 << 63)).to_be_bytes());
            }
            _ => self.rare(value),
        }
    }

    fn string(&mut self, value: Value<'_>, s: &str) {
        self.out.push(tag::STRING);
        match self.collator {
            None => escape(self.out, s.as_bytes()),
            Some(c) => {
                let mut key = Vec::with_capacity(s.len() * 2);
                c.sort_key(s, &mut key);
                escape(self.out, &key);
            }
        }
        if let Some(bits) = &mut self.bits {
            bits.string(matches!(value, Value::Symbol(_)));
        }
    }

    fn rare(&mut self, value: Value<'_>) {
        match value {
            Value::MinKey => self.out.push(tag::MIN_KEY),
            Value::Missing | Value::Undefined => self.out.push(tag::UNDEFINED),
            Value::Null => self.out.push(tag::NULL),
            Value::MaxKey => self.out.push(tag::MAX_KEY),
            Value::Document(d) => {
                self.out.push(tag::DOCUMENT);
                self.document(d);
            }
            Value::Array(a) => {
                self.out.push(tag::ARRAY);
                a.elements().for_each(|e| self.element(&e));
                self.out.push(END);
            }
            Value::Binary(b) => {
                self.out.push(tag::BINARY);
                length(self.out, b.bytes().len());
                self.out.push(b.subtype());
                self.out.extend_from_slice(b.bytes());
            }
            Value::Timestamp(t) => {
                self.out.push(tag::TIMESTAMP);
                self.out.extend_from_slice(&t.to_u64().to_be_bytes());
            }
            Value::Regex(r) => {
                self.out.push(tag::REGEX);
                escape(self.out, r.pattern().as_bytes());
                escape(self.out, r.options().as_bytes());
            }
            Value::DbPointer(p) => {
                self.out.push(tag::DB_POINTER);
                length(self.out, p.raw().len());
                self.out.extend_from_slice(p.raw());
            }
            Value::JavaScript(s) => {
                self.out.push(tag::CODE);
                escape(self.out, s.as_bytes());
            }
            Value::CodeWithScope(c) => {
                self.out.push(tag::CODE_WITH_SCOPE);
                escape(self.out, c.code().as_bytes());
                self.document(c.scope());
            }
            _ => {}
        }
    }

    fn document(&mut self, doc: Doc<'_>) {
        for e in doc.iter() {
            self.out.push(e.type_of().rank());
            self.out.extend_from_slice(e.name_bytes());
            self.out.push(0);
            self.element(&e);
        }
        self.out.push(END);
    }

    /// The value of an element; a string without decoding it.
    fn element(&mut self, e: &Element<'_>) {
        match e.string_bytes() {
            Some(bytes) if self.collator.is_none() => {
                self.out.push(tag::STRING);
                escape(self.out, bytes);
                if let Some(bits) = &mut self.bits {
                    bits.string(false);
                }
            }
            _ => self.value(e.value()),
        }
    }
}

/// Bytes without 00, in their order, closed by 00.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    if !scan::has_low(bytes) {
        out.extend_from_slice(bytes);
    } else {
        for b in bytes {
            match b {
                0 | 1 => out.extend_from_slice(&[1, b + 1]),
                _ => out.push(*b),
            }
        }
    }
    out.push(0);
}

fn length(out: &mut Vec<u8>, n: usize) {
    match u8::try_from(n) {
        Ok(short) if short < 0xff => out.push(short),
        _ => {
            out.push(0xff);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
