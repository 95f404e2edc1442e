//! `$eq $gt $gte $lt $lte`: constants prepared for comparison with raw elements.

use std::cmp::Ordering;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Element, Value, ValueBuf, number};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Eq,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl CompareOp {
    /// The operator's name in a filter.
    pub fn name(self) -> &'static str {
        match self {
            CompareOp::Eq => "$eq",
            CompareOp::Gt => "$gt",
            CompareOp::Gte => "$gte",
            CompareOp::Lt => "$lt",
            CompareOp::Lte => "$lte",
        }
    }

    /// The operator with its operands exchanged.
    pub fn flipped(self) -> CompareOp {
        match self {
            CompareOp::Eq => CompareOp::Eq,
            CompareOp::Gt => CompareOp::Lt,
            CompareOp::Gte => CompareOp::Lte,
            CompareOp::Lt => CompareOp::Gt,
            CompareOp::Lte => CompareOp::Gte,
        }
    }

    #[inline]
    fn holds(self, order: Ordering) -> bool {
        match self {
            CompareOp::Eq => order.is_eq(),
            CompareOp::Gt => order.is_gt(),
            CompareOp::Gte => order.is_ge(),
            CompareOp::Lt => order.is_lt(),
            CompareOp::Lte => order.is_le(),
        }
    }

    fn holds_equal(self) -> bool {
        matches!(self, CompareOp::Eq | CompareOp::Gte | CompareOp::Lte)
    }
}

/// A comparison's constant, so that the common types compare on an element's bytes without decoding it.
#[derive(Debug)]
pub enum Test {
    /// A number that is an integer of 64 bits.
    Int(i64),
    /// Any other double but NaN.
    Double(f64),
    /// NaN equals NaN and is neither above nor below anything.
    NaN,
    /// UTF-8, compared bytewise.
    Str(Box<[u8]>),
    Oid([u8; 12]),
    Date(i64),
    Bool(bool),
    /// Equal to null and to what is missing.
    Null,
    MinKey,
    MaxKey,
    /// By the general comparison.
    Other,
}

impl Test {
    pub fn new(value: Value<'_>, collated: bool) -> Test {
        match value {
            Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal(_) if number::is_nan(value) => Test::NaN,
            Value::Int32(n) => Test::Int(n.into()),
            Value::Int64(n) => Test::Int(n),
            Value::Double(d) => number::to_i64_exact(value).map_or(Test::Double(d), Test::Int),
            Value::Decimal(_) => number::to_i64_exact(value).map_or(Test::Other, Test::Int),
            Value::String(s) if !collated => Test::Str(s.as_bytes().into()),
            Value::ObjectId(id) => Test::Oid(id.0),
            Value::DateTime(t) => Test::Date(t),
            Value::Bool(b) => Test::Bool(b),
            Value::Null | Value::Missing => Test::Null,
            Value::MinKey => Test::MinKey,
            Value::MaxKey => Test::MaxKey,
            _ => Test::Other,
        }
    }

    /// Whether `element op constant`; `value` is the constant itself.
    #[inline]
    pub fn matches(&self, op: CompareOp, value: &ValueBuf, e: Option<&Element<'_>>, collator: Option<&dyn Collator>) -> bool {
        let Some(e) = e else { return self.missing(op) };
        let bytes = e.value_bytes();
        match self {
            Test::Int(k) => compare_int(e, *k).is_some_and(|o| op.holds(o)),
            Test::Double(k) => compare_double(e, *k).is_some_and(|o| op.holds(o)),
            Test::NaN => is_number(e.tag()) && op.holds_equal() && number::is_nan(e.value()),
            Test::Str(k) => matches!(e.tag(), 2 | 14) && compare_str(bytes, k, op),
            Test::Oid(k) => e.tag() == 7 && op.holds(bytes.cmp(&k[..])),
            Test::Date(k) => e.tag() == 9 && le_i64(bytes).is_some_and(|t| op.holds(t.cmp(k))),
            Test::Bool(k) => e.tag() == 8 && op.holds((bytes.first() == Some(&1)).cmp(k)),
            Test::Null => e.tag() == 10 && op.holds_equal(),
            Test::MinKey => if e.tag() == 255 { op.holds_equal() } else { op.holds(Ordering::Greater) },
            Test::MaxKey => if e.tag() == 127 { op.holds_equal() } else { op.holds(Ordering::Less) },
            Test::Other => other(op, value.view(), e, collator),
        }
    }

    /// What is missing equals null, and lies between minKey and maxKey.
    fn missing(&self, op: CompareOp) -> bool {
        match self {
            Test::Null => op.holds_equal(),
            Test::MinKey => op.holds(Ordering::Greater),
            Test::MaxKey => op.holds(Ordering::Less),
            _ => false,
        }
    }
}

#[inline]
fn is_number(tag: u8) -> bool {
    matches!(tag, 1 | 16 | 18 | 19)
}

fn other(op: CompareOp, value: Value<'_>, e: &Element<'_>, collator: Option<&dyn Collator>) -> bool {
    let left = e.value();
    if left.type_of().rank() != value.type_of().rank() {
        return false;
    }
    if left.is_number() && number::is_nan(left) {
        return false;
    }
    op.holds(compare_with(left, value, collator))
}

#[inline]
fn le_i64(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk::<8>().map(|b| i64::from_le_bytes(*b))
}

#[inline]
fn compare_int(e: &Element<'_>, k: i64) -> Option<Ordering> {
    let bytes = e.value_bytes();
    match e.tag() {
        16 => bytes.first_chunk::<4>().map(|b| i64::from(i32::from_le_bytes(*b)).cmp(&k)),
        18 => le_i64(bytes).map(|n| n.cmp(&k)),
        1 => {
            let d = f64::from_bits(le_i64(bytes)? as u64);
            // Below 2^53 the constant is exact as a double.
            if k.unsigned_abs() <= 1 << 53 { d.partial_cmp(&(k as f64)) } else { exact(e, Value::Int64(k)) }
        }
        19 => exact(e, Value::Int64(k)),
        _ => None,
    }
}

#[inline]
fn compare_double(e: &Element<'_>, k: f64) -> Option<Ordering> {
    let bytes = e.value_bytes();
    match e.tag() {
        1 => f64::from_bits(le_i64(bytes)? as u64).partial_cmp(&k),
        16 => bytes.first_chunk::<4>().and_then(|b| f64::from(i32::from_le_bytes(*b)).partial_cmp(&k)),
        18 | 19 => exact(e, Value::Double(k)),
        _ => None,
    }
}

fn exact(e: &Element<'_>, k: Value<'_>) -> Option<Ordering> {
    let value = e.value();
    if number::is_nan(value) { None } else { Some(number::compare(value, k)) }
}

/// `bytes` are the length-prefixed string of the element.
#[inline]
fn compare_str(bytes: &[u8], k: &[u8], op: CompareOp) -> bool {
    let text = bytes.get(4..bytes.len().saturating_sub(1)).unwrap_or(&[]);
    if op == CompareOp::Eq { text == k } else { op.holds(text.cmp(k)) }
}
