//! A single BSON value as a small `Copy` view.

use crate::decimal::Decimal;
use crate::doc::{Array, Doc};
use crate::oid::ObjectId;

/// A BSON value that borrows its bytes from a document or from a request's arena.
///
/// `Missing` is the absence of a value, as an expression over a field that is not there yields it. It never
/// occurs inside a document.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Missing,
    MinKey,
    Undefined,
    Null,
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Double(f64),
    Decimal(Decimal),
    String(&'a str),
    Symbol(&'a str),
    Document(Doc<'a>),
    Array(Array<'a>),
    Binary(Binary<'a>),
    ObjectId(ObjectId),
    /// Milliseconds since the Unix epoch.
    DateTime(i64),
    Timestamp(Timestamp),
    Regex(Regex<'a>),
    DbPointer(DbPointer<'a>),
    JavaScript(&'a str),
    CodeWithScope(CodeWithScope<'a>),
    MaxKey,
}

/// The type of a value, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Type {
    /// Not a BSON type: the absence of a value.
    Missing = 0,
    Double = 1,
    String = 2,
    Document = 3,
    Array = 4,
    Binary = 5,
    Undefined = 6,
    ObjectId = 7,
    Bool = 8,
    DateTime = 9,
    Null = 10,
    Regex = 11,
    DbPointer = 12,
    JavaScript = 13,
    Symbol = 14,
    CodeWithScope = 15,
    Int32 = 16,
    Timestamp = 17,
    Int64 = 18,
    Decimal = 19,
    MaxKey = 127,
    MinKey = 255,
}

impl Type {
    pub fn from_tag(tag: u8) -> Option<Type> {
        Some(match tag {
            1 => Type::Double,
            2 => Type::String,
            3 => Type::Document,
            4 => Type::Array,
            5 => Type::Binary,
            6 => Type::Undefined,
            7 => Type::ObjectId,
            8 => Type::Bool,
            9 => Type::DateTime,
            10 => Type::Null,
            11 => Type::Regex,
            12 => Type::DbPointer,
            13 => Type::JavaScript,
            14 => Type::Symbol,
            15 => Type::CodeWithScope,
            16 => Type::Int32,
            17 => Type::Timestamp,
            18 => Type::Int64,
            19 => Type::Decimal,
            127 => Type::MaxKey,
            255 => Type::MinKey,
            _ => return None,
        })
    }

    /// The number `$type` uses: that of the wire, but -1 for minKey.
    pub fn number(self) -> i32 {
        if self == Type::MinKey { -1 } else { self as i32 }
    }

    /// The alias `$type` uses and error messages name.
    pub fn name(self) -> &'static str {
        match self {
            Type::Missing => "missing",
            Type::Double => "double",
            Type::String => "string",
            Type::Document => "object",
            Type::Array => "array",
            Type::Binary => "binData",
            Type::Undefined => "undefined",
            Type::ObjectId => "objectId",
            Type::Bool => "bool",
            Type::DateTime => "date",
            Type::Null => "null",
            Type::Regex => "regex",
            Type::DbPointer => "dbPointer",
            Type::JavaScript => "javascript",
            Type::Symbol => "symbol",
            Type::CodeWithScope => "javascriptWithScope",
            Type::Int32 => "int",
            Type::Timestamp => "timestamp",
            Type::Int64 => "long",
            Type::Decimal => "decimal",
            Type::MaxKey => "maxKey",
            Type::MinKey => "minKey",
        }
    }

    /// The inverse of [`Type::name`]; `missing` is no alias.
    pub fn from_name(name: &str) -> Option<Type> {
        (1..=19u8).chain([127, 255]).filter_map(Type::from_tag).find(|t| t.name() == name)
    }

    /// The rank of the type's class in MongoDB's comparison order; numbers share one, as do string and symbol.
    pub fn rank(self) -> u8 {
        match self {
            Type::MinKey => 1,
            Type::Missing | Type::Undefined => 2,
            Type::Null => 5,
            Type::Double | Type::Int32 | Type::Int64 | Type::Decimal => 10,
            Type::String | Type::Symbol => 15,
            Type::Document => 20,
            Type::Array => 25,
            Type::Binary => 30,
            Type::ObjectId => 35,
            Type::Bool => 40,
            Type::DateTime => 45,
            Type::Timestamp => 47,
            Type::Regex => 50,
            Type::DbPointer => 55,
            Type::JavaScript => 60,
            Type::CodeWithScope => 65,
            Type::MaxKey => 127,
        }
    }
}

/// Binary data: `raw` is the subtype byte followed by the data.
#[derive(Clone, Copy, Debug)]
pub struct Binary<'a>(pub(crate) &'a [u8]);

impl<'a> Binary<'a> {
    pub fn subtype(self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }
    pub fn bytes(self) -> &'a [u8] {
        self.0.get(1..).unwrap_or(&[])
    }
    /// Subtype byte, then the data, in one slice.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
    /// From the subtype byte followed by the data.
    pub fn from_raw(raw: &'a [u8]) -> Binary<'a> {
        Binary(raw)
    }
}

/// A regular expression: `raw` is pattern NUL options NUL, as on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Regex<'a>(pub(crate) &'a [u8]);

impl<'a> Regex<'a> {
    fn parts(self) -> (&'a [u8], &'a [u8]) {
        let mut it = self.0.split(|b| *b == 0);
        (it.next().unwrap_or(&[]), it.next().unwrap_or(&[]))
    }
    pub fn pattern(self) -> &'a str {
        std::str::from_utf8(self.parts().0).unwrap_or_default()
    }
    pub fn options(self) -> &'a str {
        std::str::from_utf8(self.parts().1).unwrap_or_default()
    }
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
    /// From `pattern NUL options NUL`.
    pub fn from_raw(raw: &'a [u8]) -> Regex<'a> {
        Regex(raw)
    }
}

/// The deprecated DBPointer: `raw` is a length-prefixed namespace followed by twelve id bytes.
#[derive(Clone, Copy, Debug)]
pub struct DbPointer<'a>(pub(crate) &'a [u8]);

impl<'a> DbPointer<'a> {
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
    pub fn namespace(self) -> &'a str {
        let end = self.0.len().saturating_sub(13);
        std::str::from_utf8(self.0.get(4..end).unwrap_or(&[])).unwrap_or_default()
    }
    pub fn id(self) -> ObjectId {
        let tail = self.0.len().saturating_sub(12);
        ObjectId(self.0.get(tail..).and_then(|b| b.try_into().ok()).unwrap_or_default())
    }
}

/// JavaScript with scope: `raw` is the whole value as on the wire.
#[derive(Clone, Copy, Debug)]
pub struct CodeWithScope<'a>(pub(crate) &'a [u8]);

impl<'a> CodeWithScope<'a> {
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
    fn code_len(self) -> usize {
        self.0.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes).max(0) as usize
    }
    pub fn code(self) -> &'a str {
        let end = 8 + self.code_len().saturating_sub(1);
        std::str::from_utf8(self.0.get(8..end).unwrap_or(&[])).unwrap_or_default()
    }
    pub fn scope(self) -> Doc<'a> {
        Doc::from_checked(self.0.get(8 + self.code_len()..).unwrap_or(&[]))
    }
}

/// MongoDB's internal timestamp: seconds and an ordinal within the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    pub time: u32,
    pub increment: u32,
}

impl Timestamp {
    pub fn from_u64(v: u64) -> Timestamp {
        Timestamp { time: (v >> 32) as u32, increment: v as u32 }
    }
    pub fn to_u64(self) -> u64 {
        (u64::from(self.time) << 32) | u64::from(self.increment)
    }
}

impl<'a> Value<'a> {
    pub fn type_of(&self) -> Type {
        match self {
            Value::Missing => Type::Missing,
            Value::MinKey => Type::MinKey,
            Value::Undefined => Type::Undefined,
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int32(_) => Type::Int32,
            Value::Int64(_) => Type::Int64,
            Value::Double(_) => Type::Double,
            Value::Decimal(_) => Type::Decimal,
            Value::String(_) => Type::String,
            Value::Symbol(_) => Type::Symbol,
            Value::Document(_) => Type::Document,
            Value::Array(_) => Type::Array,
            Value::Binary(_) => Type::Binary,
            Value::ObjectId(_) => Type::ObjectId,
            Value::DateTime(_) => Type::DateTime,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Regex(_) => Type::Regex,
            Value::DbPointer(_) => Type::DbPointer,
            Value::JavaScript(_) => Type::JavaScript,
            Value::CodeWithScope(_) => Type::CodeWithScope,
            Value::MaxKey => Type::MaxKey,
        }
    }

    /// The type's alias, for error messages.
    pub fn type_name(&self) -> &'static str {
        self.type_of().name()
    }

    pub fn is_missing(&self) -> bool {
        matches!(self, Value::Missing)
    }

    /// Missing, null or undefined: what most expressions answer null for.
    pub fn is_nullish(&self) -> bool {
        matches!(self, Value::Missing | Value::Null | Value::Undefined)
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal(_))
    }

    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_doc(&self) -> Option<Doc<'a>> {
        match *self {
            Value::Document(d) => Some(d),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// The truth of a value in expressions: false, zero, null, undefined and missing are false.
    pub fn truthy(&self) -> bool {
        match self {
            Value::Missing | Value::Null | Value::Undefined => false,
            Value::Bool(b) => *b,
            Value::Int32(n) => *n != 0,
            Value::Int64(n) => *n != 0,
            Value::Double(n) => *n != 0.0,
            Value::Decimal(d) => !d.is_zero(),
            _ => true,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(v: &'a str) -> Self {
        Value::String(v)
    }
}
impl<'a> From<Doc<'a>> for Value<'a> {
    fn from(v: Doc<'a>) -> Self {
        Value::Document(v)
    }
}
impl<'a> From<Array<'a>> for Value<'a> {
    fn from(v: Array<'a>) -> Self {
        Value::Array(v)
    }
}
impl From<bool> for Value<'_> {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}
impl From<i32> for Value<'_> {
    fn from(v: i32) -> Self {
        Value::Int32(v)
    }
}
impl From<i64> for Value<'_> {
    fn from(v: i64) -> Self {
        Value::Int64(v)
    }
}
impl From<f64> for Value<'_> {
    fn from(v: f64) -> Self {
        Value::Double(v)
    }
}
impl From<ObjectId> for Value<'_> {
    fn from(v: ObjectId) -> Self {
        Value::ObjectId(v)
    }
}
impl From<Timestamp> for Value<'_> {
    fn from(v: Timestamp) -> Self {
        Value::Timestamp(v)
    }
}
