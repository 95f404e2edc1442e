//! The one walker of dotted paths, with MongoDB's fan-out over arrays.

use std::ops::ControlFlow;

use crate::doc::Doc;
use crate::value::Value;

/// A dotted path, split once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// One component of a path: its name, and its number when it can be an array position.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    pub name: Box<str>,
    pub index: Option<u32>,
}

impl Path {
    pub fn new(text: &str) -> Path {
        let part = |name: &str| {
            let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
            Part { name: name.into(), index: if digits { name.parse().ok() } else { None } }
        };
        Path { text: text.into(), parts: text.split('.').map(part).collect() }
    }
    pub fn text(&self) -> &str {
        &self.text
    }
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// Visits every value a query predicate on `path` looks at: at each array on the way its documents, and the numbered
/// element where the component is a number; at the end, the value itself and, with `expand_last`, the elements of an array before it.
/// A path that leads nowhere yields `Missing`. Stops early when `visit` breaks.
pub fn walk<'a>(_doc: Doc<'a>, _path: &[Part], _expand_last: bool, _visit: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
    todo!()
}

/// The value at a path without fan-out: documents only, arrays end it (as `Missing`) unless the component is no number… used by shard-key like lookups.
pub fn get<'a>(doc: Doc<'a>, path: &[Part]) -> Value<'a> {
    let Some((first, rest)) = path.split_first() else { return Value::Missing };
    let value = doc.get(&first.name);
    match (rest.is_empty(), value) {
        (true, v) => v,
        (false, Value::Document(d)) => get(d, rest),
        _ => Value::Missing,
    }
}
