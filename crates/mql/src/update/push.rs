//! `$push` with `$each`, `$position`, `$slice` and `$sort`.

use std::cmp::Ordering;

use smongo_bson::path::Path;
use smongo_bson::{Array, Doc, Result, Value, ValueBuf, bail, compare, number, path};

use super::ops::{At, Modifier, New};
use super::parse::Spec;

struct Push {
    values: ValueBuf,
    position: Option<i64>,
    slice: Option<i64>,
    sort: Option<Sort>,
}

enum Sort {
    Values { descending: bool },
    Fields(Vec<(Path, bool)>),
}

impl Modifier for Push {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        let array = match old {
            Value::Missing => Array::EMPTY,
            Value::Array(array) => array,
            other => bail!(
                BadValue,
                "The field '{}' must be an array but is of type {} in document {}",
                at.name,
                other.type_name(),
                at.id()
            ),
        };
        let new = self.values.as_array().unwrap_or(Array::EMPTY);
        if self.position.is_none() && self.slice.is_none() && self.sort.is_none() {
            return Ok(grow(old, array, new, at));
        }
        let mut all: Vec<Value<'x>> = array.iter().collect();
        let place = match self.position {
            None => all.len(),
            Some(p) if p < 0 => all.len().saturating_sub(clamp(p)),
            Some(p) => all.len().min(clamp(p)),
        };
        all.splice(place..place, new.iter());
        if let Some(sort) = &self.sort {
            all.sort_by(|a, b| sort.compare(*a, *b, at));
        }
        match self.slice {
            Some(n) if n < 0 => {
                all.drain(..all.len().saturating_sub(clamp(n)));
            }
            Some(n) => all.truncate(clamp(n)),
            None => {}
        }
        Ok(New::Put(Value::Array(at.arena.array_of(all))))
    }
}

/// The array with elements behind it; what was there is copied as it stands.
fn grow<'x>(old: Value<'x>, array: Array<'x>, new: Array<'x>, at: &At<'x>) -> New<'x> {
    let mut count = 0;
    let grown = at.arena.array(|w| {
        for element in array.elements().chain(new.elements()) {
            w.push_element(&element);
        }
        count = w.count();
    });
    match old {
        Value::Missing => New::Put(Value::Array(grown)),
        _ => New::Grow(grown, count - new.len()),
    }
}

fn clamp(n: i64) -> usize {
    usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX)
}

impl Sort {
    fn compare(&self, a: Value<'_>, b: Value<'_>, at: &At<'_>) -> Ordering {
        match self {
            Sort::Values { descending } => turn(compare::compare_with(a, b, at.collator), *descending),
            Sort::Fields(parts) => {
                let mut orders = parts.iter().map(|(path, descending)| {
                    let order = compare::compare_with(sort_value(a, path), sort_value(b, path), at.collator);
                    turn(order, *descending)
                });
                orders.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
            }
        }
    }
}

fn turn(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}

/// What an element sorts by: a field that is not there, also in what is no document, counts as null.
fn sort_value<'x>(element: Value<'x>, path: &Path) -> Value<'x> {
    match path::get(element.as_doc().unwrap_or(Doc::EMPTY), path.parts()) {
        Value::Missing => Value::Null,
        value => value,
    }
}

pub(super) fn push(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let modifiers = spec.value.as_doc().filter(|d| d.contains("$each"));
    let Some(modifiers) = modifiers else {
        let values = ValueBuf::array(|w| {
            w.push(spec.value);
        });
        return Ok(Box::new(Push { values, position: None, slice: None, sort: None }));
    };
    let mut push = Push { values: Value::Array(Array::EMPTY).into(), position: None, slice: None, sort: None };
    for element in modifiers {
        let value = element.value();
        match element.name() {
            "$each" => match value {
                Value::Array(_) => push.values = value.into(),
                other => bail!(BadValue, "The argument to $each in $push must be an array but it was of type: {}", other.type_name()),
            },
            "$position" => push.position = Some(integer("$position", value)?),
            "$slice" => push.slice = Some(integer("$slice", value)?),
            "$sort" => push.sort = Some(sort(value)?),
            other => bail!(BadValue, "Unrecognized clause in $push: {other}"),
        }
    }
    Ok(Box::new(push))
}

fn integer(name: &str, value: Value<'_>) -> Result<i64> {
    match number::to_i64_exact(value) {
        Some(n) => Ok(n),
        None => bail!(BadValue, "The value for {name} must be an integer value but was given type: {}", value.type_name()),
    }
}

fn sort(value: Value<'_>) -> Result<Sort> {
    let spec = match value {
        Value::Document(spec) => spec,
        _ => match direction(value) {
            Some(descending) => return Ok(Sort::Values { descending }),
            None if value.is_number() => bail!(BadValue, "The $sort element value must be either 1 or -1"),
            None => bail!(BadValue, "The $sort is invalid: use 1/-1 to sort the whole element, or {{field:1/-1}} to sort embedded fields"),
        },
    };
    if spec.is_empty() {
        bail!(BadValue, "The $sort pattern is empty when it should be a set of fields.");
    }
    let mut parts = Vec::new();
    for element in spec {
        let name = element.name();
        if name.is_empty() {
            bail!(BadValue, "The $sort field cannot be empty");
        }
        if name.split('.').any(str::is_empty) {
            bail!(BadValue, "The $sort field is a dotted field but has an empty part: {name}");
        }
        let Some(descending) = direction(element.value()) else {
            bail!(BadValue, "The $sort element value must be either 1 or -1: {{{name}: {}}}", element.value());
        };
        parts.push((Path::new(name), descending));
    }
    Ok(Sort::Fields(parts))
}

fn direction(value: Value<'_>) -> Option<bool> {
    match number::to_i64_exact(value) {
        Some(1) => Some(false),
        Some(-1) => Some(true),
        _ => None,
    }
}
