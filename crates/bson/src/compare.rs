//! The one order of values: MongoDB's comparison order of BSON types, and the order within each.

use std::cmp::Ordering;

use crate::doc::{Array, Doc, Element};
use crate::number;
use crate::value::Value;

/// How strings compare when a collation is in force.
pub trait Collator: Send + Sync {
    fn compare(&self, a: &str, b: &str) -> Ordering;
    /// Appends bytes whose order is the collation's order.
    fn sort_key(&self, s: &str, out: &mut Vec<u8>);
}

/// A total order over all values, by simple binary comparison of strings.
pub fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    compare_with(a, b, None)
}

/// The same under a collation, which reaches strings inside documents and arrays too.
pub fn compare_with(a: Value<'_>, b: Value<'_>, collator: Option<&dyn Collator>) -> Ordering {
    let rank = a.type_of().rank().cmp(&b.type_of().rank());
    if rank.is_ne() {
        return rank;
    }
    match (a, b) {
        (Value::String(x) | Value::Symbol(x), Value::String(y) | Value::Symbol(y)) => match collator {
            Some(c) => c.compare(x, y),
            None => x.as_bytes().cmp(y.as_bytes()),
        },
        (Value::Document(x), Value::Document(y)) => compare_docs(x, y, collator),
        (Value::Array(x), Value::Array(y)) => compare_arrays(x, y, collator),
        (Value::Binary(x), Value::Binary(y)) => {
            x.bytes().len().cmp(&y.bytes().len()).then_with(|| x.raw().cmp(y.raw()))
        }
        (Value::ObjectId(x), Value::ObjectId(y)) => x.cmp(&y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(&y),
        (Value::DateTime(x), Value::DateTime(y)) => x.cmp(&y),
        (Value::Timestamp(x), Value::Timestamp(y)) => x.cmp(&y),
        (Value::Regex(x), Value::Regex(y)) => {
            x.pattern().cmp(y.pattern()).then_with(|| x.options().cmp(y.options()))
        }
        (Value::DbPointer(x), Value::DbPointer(y)) => x.raw().len().cmp(&y.raw().len()).then_with(|| x.raw().cmp(y.raw())),
        (Value::JavaScript(x), Value::JavaScript(y)) => x.as_bytes().cmp(y.as_bytes()),
        (Value::CodeWithScope(x), Value::CodeWithScope(y)) => {
            x.code().cmp(y.code()).then_with(|| compare_docs(x.scope(), y.scope(), collator))
        }
        _ if a.is_number() && b.is_number() => number::compare(a, b),
        // What is left are the types of one value each: minKey, maxKey, null, and undefined beside missing.
        _ => Ordering::Equal,
    }
}

/// Field by field: type class, then name, then value; the shorter first.
pub fn compare_docs(a: Doc<'_>, b: Doc<'_>, collator: Option<&dyn Collator>) -> Ordering {
    let (mut xs, mut ys) = (a.iter(), b.iter());
    loop {
        match (xs.next(), ys.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => {
                let order = (x.type_of().rank().cmp(&y.type_of().rank()))
                    .then_with(|| x.name_bytes().cmp(y.name_bytes()))
                    .then_with(|| compare_elements(&x, &y, collator));
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

/// The order of two elements' values. Equal bytes are equal values, and strings need no decoding.
#[inline]
fn compare_elements(x: &Element<'_>, y: &Element<'_>, collator: Option<&dyn Collator>) -> Ordering {
    if x.tag() == y.tag() && x.value_bytes() == y.value_bytes() {
        return Ordering::Equal;
    }
    match (x.string_bytes(), y.string_bytes()) {
        (Some(s), Some(t)) if collator.is_none() => s.cmp(t),
        _ => compare_with(x.value(), y.value(), collator),
    }
}

fn compare_arrays(a: Array<'_>, b: Array<'_>, collator: Option<&dyn Collator>) -> Ordering {
    let (mut xs, mut ys) = (a.elements(), b.elements());
    loop {
        match (xs.next(), ys.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => match compare_elements(&x, &y, collator) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
}

/// Whether two values are equal in that order: 1 equals 1.0.
pub fn equal(a: Value<'_>, b: Value<'_>) -> bool {
    compare(a, b).is_eq()
}
