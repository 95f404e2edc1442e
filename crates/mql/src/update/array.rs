//! Update operators over arrays: `$addToSet` and `$pop`.

use smongo_bson::compare::Collator;
use smongo_bson::{Array, Result, Value, ValueBuf, bail, compare, number};

use super::ops::{At, Modifier, New};
use super::parse::Spec;

struct AddToSet {
    values: ValueBuf,
}

impl Modifier for AddToSet {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        let array = match old {
            Value::Missing => Array::EMPTY,
            Value::Array(array) => array,
            other => bail!(
                BadValue,
                "Cannot apply $addToSet to a non-array field. Field named '{}' has a non-array type {} in the document {}",
                at.name,
                other.type_name(),
                at.id()
            ),
        };
        let values = self.values.as_array().unwrap_or(Array::EMPTY);
        let added = if values.iter().nth(FEW).is_none() { one_by_one(array, values, at.collator) } else { by_order(array, values, at.collator) };
        if added.is_empty() && !old.is_missing() {
            return Ok(New::Keep);
        }
        Ok(New::Put(Value::Array(at.arena.array_of(array.iter().chain(added)))))
    }
}

/// Up to so many values are compared with each element.
const FEW: usize = 16;

/// The values that are not in the array, each once.
fn one_by_one<'x>(array: Array<'x>, values: Array<'x>, collator: Option<&dyn Collator>) -> Vec<Value<'x>> {
    let equal = |a: Value<'_>, b: Value<'_>| compare::compare_with(a, b, collator).is_eq();
    let mut added: Vec<Value<'x>> = Vec::new();
    for value in values.iter() {
        if !array.iter().any(|v| equal(v, value)) && !added.iter().any(|v| equal(*v, value)) {
            added.push(value);
        }
    }
    added
}

/// The same for many values: what is there is sorted, so that the time does not grow with the product of both.
fn by_order<'x>(array: Array<'x>, values: Array<'x>, collator: Option<&dyn Collator>) -> Vec<Value<'x>> {
    let order = |a: Value<'_>, b: Value<'_>| compare::compare_with(a, b, collator);
    let mut present: Vec<Value<'x>> = array.iter().collect();
    present.sort_unstable_by(|a, b| order(*a, *b));
    let absent = |v: Value<'_>| present.binary_search_by(|p| order(*p, v)).is_err();
    let mut added: Vec<(usize, Value<'x>)> = values.iter().enumerate().filter(|(_, v)| absent(*v)).collect();
    added.sort_by(|(_, a), (_, b)| order(*a, *b));
    added.dedup_by(|(_, b), (_, a)| order(*a, *b).is_eq());
    added.sort_unstable_by_key(|(place, _)| *place);
    added.into_iter().map(|(_, v)| v).collect()
}

pub(super) fn add_to_set(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let each = spec.value.as_doc().and_then(|d| d.first()).filter(|e| e.name() == "$each");
    let Some(each) = each else { return Ok(Box::new(AddToSet { values: ValueBuf::array(|w| {
        w.push(spec.value);
    }) })) };
    let Value::Array(values) = each.value() else {
        bail!(TypeMismatch, "The argument to $each in $addToSet must be an array but it was of type {}", each.value().type_name());
    };
    if let Some(extra) = spec.value.as_doc().and_then(|d| d.iter().nth(1)) {
        bail!(BadValue, "Found unexpected fields after $each in $addToSet: {{{}: {}}}", extra.name(), extra.value());
    }
    Ok(Box::new(AddToSet { values: Value::Array(values).into() }))
}

struct Pop {
    first: bool,
}

impl Modifier for Pop {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        let Value::Array(array) = old else {
            bail!(TypeMismatch, "Path '{}' contains an element of non-array type '{}'", at.name, old.type_name());
        };
        let len = array.len();
        if len == 0 {
            return Ok(New::Keep);
        }
        let (skip, take) = (usize::from(self.first), len - 1);
        Ok(New::Put(Value::Array(at.arena.array_of(array.iter().skip(skip).take(take)))))
    }
    fn creates(&self, _at: &At<'_>) -> bool {
        false
    }
    fn insists(&self, _at: &At<'_>) -> bool {
        true
    }
}

pub(super) fn pop(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    if !spec.value.is_number() {
        bail!(FailedToParse, "Expected a number in: {}: {}", spec.path, spec.value);
    }
    match number::to_i64_exact(spec.value) {
        Some(n @ (1 | -1)) => Ok(Box::new(Pop { first: n == -1 })),
        _ => bail!(FailedToParse, "$pop expects 1 or -1, found: {}", spec.value),
    }
}
