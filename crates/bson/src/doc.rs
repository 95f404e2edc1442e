//! Documents and arrays as views over checked bytes.

use crate::decimal::Decimal;
use crate::error::Result;
use crate::oid::ObjectId;
use crate::scan;
use crate::value::{Binary, CodeWithScope, DbPointer, Regex, Timestamp, Type, Value};

/// The five bytes of a document with no fields.
pub const EMPTY: &[u8] = &[5, 0, 0, 0, 0];

/// A BSON document: the whole of its bytes, with the length in front and the NUL behind.
///
/// The bytes were checked when they came in ([`Doc::parse`]), so reading cannot fail. On bytes that were not, readers
/// stop early; they never panic.
#[derive(Clone, Copy)]
pub struct Doc<'a>(&'a [u8]);

/// A BSON array: a document whose field names do not matter.
#[derive(Clone, Copy)]
pub struct Array<'a>(pub Doc<'a>);

/// One field of a document.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    /// Tag, name, NUL and value: `name_len + 2` bytes at least.
    raw: &'a [u8],
    name_len: usize,
}

impl<'a> Doc<'a> {
    pub const EMPTY: Doc<'static> = Doc(EMPTY);

    /// Wraps bytes that have been checked already.
    pub fn from_checked(bytes: &'a [u8]) -> Doc<'a> {
        Doc(bytes)
    }

    /// Checks foreign bytes: exactly one well-formed document.
    pub fn parse(bytes: &'a [u8]) -> Result<Doc<'a>> {
        crate::check::document(bytes)?;
        Ok(Doc(bytes))
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The elements' bytes, without the length and the final NUL.
    pub fn body(self) -> &'a [u8] {
        self.0.get(4..self.0.len().saturating_sub(1)).unwrap_or(&[])
    }

    pub fn is_empty(self) -> bool {
        self.0.len() <= 5
    }

    pub fn iter(self) -> Iter<'a> {
        Iter { rest: self.body() }
    }

    /// The first field of this name, `Missing` when there is none.
    pub fn get(self, name: &str) -> Value<'a> {
        self.element(name).map_or(Value::Missing, |e| e.value())
    }

    pub fn element(self, name: &str) -> Option<Element<'a>> {
        scan::find(self.body(), name.as_bytes()).map(|(raw, name_len)| Element { raw, name_len })
    }

    pub fn contains(self, name: &str) -> bool {
        self.element(name).is_some()
    }

    pub fn first(self) -> Option<Element<'a>> {
        self.iter().next()
    }

    /// The number of fields; walks the document.
    pub fn len(self) -> usize {
        self.iter().count()
    }
}

impl<'a> IntoIterator for Doc<'a> {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> Array<'a> {
    pub const EMPTY: Array<'static> = Array(Doc::EMPTY);

    pub fn from_checked(bytes: &'a [u8]) -> Array<'a> {
        Array(Doc(bytes))
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.0.0
    }

    pub fn iter(self) -> impl Iterator<Item = Value<'a>> + Clone {
        self.0.iter().map(|e| e.value())
    }

    pub fn elements(self) -> Iter<'a> {
        self.0.iter()
    }

    /// The value at a position; walks the array.
    pub fn get(self, index: usize) -> Value<'a> {
        self.iter().nth(index).unwrap_or(Value::Missing)
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The number of values; walks the array.
    pub fn len(self) -> usize {
        self.0.len()
    }
}

/// The fields of a document, in order.
#[derive(Clone, Copy)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iter<'a> {
    /// The elements of the rest of a document's body that begins at an element's boundary.
    pub fn over(body: &'a [u8]) -> Iter<'a> {
        Iter { rest: body }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let (raw, name_len, rest) = scan::first(self.rest)?;
        self.rest = rest;
        Some(Element { raw, name_len })
    }
}

impl<'a> Element<'a> {
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    /// The name as bytes: comparing these needs no decoding.
    #[inline]
    pub fn name_bytes(&self) -> &'a [u8] {
        self.raw.get(1..self.name_len + 1).unwrap_or_default()
    }

    /// The type byte on the wire.
    #[inline]
    pub fn tag(&self) -> u8 {
        self.raw.first().copied().unwrap_or_default()
    }

    #[inline]
    pub fn type_of(&self) -> Type {
        Type::from_tag(self.tag()).unwrap_or(Type::Missing)
    }

    /// Tag, name, NUL and value as they stand in the document.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The value's bytes without tag and name.
    #[inline]
    pub fn value_bytes(&self) -> &'a [u8] {
        self.raw.get(self.name_len + 2..).unwrap_or_default()
    }

    #[inline]
    pub fn value(&self) -> Value<'a> {
        decode(self.tag(), self.value_bytes()).unwrap_or(Value::Missing)
    }

    /// The bytes of a string: what order, keys and hashes need, without decoding it.
    #[inline]
    pub(crate) fn string_bytes(&self) -> Option<&'a [u8]> {
        let value = self.value_bytes();
        if self.tag() == Type::String as u8 { value.get(4..value.len().checked_sub(1)?) } else { None }
    }
}

/// A length-prefixed string without its NUL.
fn string(bytes: &[u8]) -> Option<&str> {
    let text = bytes.get(4..bytes.len().checked_sub(1)?)?;
    std::str::from_utf8(text).ok()
}

/// The value of type `tag` whose bytes are exactly `bytes`.
#[inline]
pub(crate) fn decode(tag: u8, bytes: &[u8]) -> Option<Value<'_>> {
    Some(match tag {
        1 => Value::Double(f64::from_le_bytes(bytes.try_into().ok()?)),
        2 => Value::String(string(bytes)?),
        3 => Value::Document(Doc(bytes)),
        4 => Value::Array(Array(Doc(bytes))),
        5 => Value::Binary(Binary(bytes.get(4..)?)),
        6 => Value::Undefined,
        7 => Value::ObjectId(ObjectId(bytes.try_into().ok()?)),
        8 => Value::Bool(*bytes.first()? != 0),
        9 => Value::DateTime(i64::from_le_bytes(bytes.try_into().ok()?)),
        10 => Value::Null,
        11 => Value::Regex(Regex(bytes)),
        12 => Value::DbPointer(DbPointer(bytes)),
        13 => Value::JavaScript(string(bytes)?),
        14 => Value::Symbol(string(bytes)?),
        15 => Value::CodeWithScope(CodeWithScope(bytes)),
        16 => Value::Int32(i32::from_le_bytes(bytes.try_into().ok()?)),
        17 => Value::Timestamp(Timestamp::from_u64(u64::from_le_bytes(bytes.try_into().ok()?))),
        18 => Value::Int64(i64::from_le_bytes(bytes.try_into().ok()?)),
        19 => Value::Decimal(Decimal::from_le_bytes(bytes.try_into().ok()?)),
        127 => Value::MaxKey,
        255 => Value::MinKey,
        _ => return None,
    })
}
