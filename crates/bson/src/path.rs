//! The one walker of dotted paths, with MongoDB's fan-out over arrays.

use std::ops::ControlFlow;

use crate::doc::{Array, Doc};
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
            let digits = is_number(name) && (name == "0" || !name.starts_with('0'));
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
    /// The first component's name.
    pub fn first(&self) -> &str {
        self.parts.first().map_or("", |p| &p.name)
    }
    /// Whether one of the paths is the other, or leads through it: `a.b` and `a.b.c`.
    pub fn overlaps(&self, other: &Path) -> bool {
        self.parts.iter().zip(other.parts.iter()).all(|(a, b)| a.name == b.name)
    }
}

/// Whether a component is digits alone, with zeros before them or not.
pub fn is_number(component: &str) -> bool {
    !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit())
}

/// Visits every value a query predicate on `path` looks at: at each array on the way its documents, and the numbered
/// element where the component is a number; at the end, the value itself and, with `expand_last`, the elements of an array before it.
/// A path that leads nowhere yields `Missing`. Stops early when `visit` breaks.
///
/// An array on the way yields one visit (or more) per document in it and nothing for other elements. So nothing at all
/// is visited when an array on the way holds no document: that is why `{"a.b": null}` matches `{a: 5}` and
/// `{a: [{}]}`, which visit `Missing`, but neither `{a: []}` nor `{a: [5]}`. Arrays directly within arrays are entered by
/// a numbered component only, and a numbered element that is an array itself is not expanded.
pub fn walk<'a>(doc: Doc<'a>, path: &[Part], expand_last: bool, visit: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
    walk_with(doc, path, expand_last, |value, _| visit(value))
}

/// [`walk`] as a generic function, which also tells the visitor the position of the element of the outermost array the
/// value was found in: what the positional operator `$` stands for. `None` where no array was expanded.
#[inline]
pub fn walk_with<'a>(
    doc: Doc<'a>,
    path: &[Part],
    expand_last: bool,
    mut visit: impl FnMut(Value<'a>, Option<usize>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match path {
        [] => ControlFlow::Continue(()),
        [only] => leaf(doc.get(&only.name), expand_last, None, &mut visit),
        _ => in_document(doc, path, expand_last, None, &mut visit),
    }
}

/// The same from a value that stands for the first part of the path already: `path` continues in it.
pub fn walk_value<'a>(
    value: Value<'a>,
    path: &[Part],
    expand_last: bool,
    mut visit: impl FnMut(Value<'a>, Option<usize>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    step(value, path, expand_last, None, &mut visit)
}

fn in_document<'a, F>(doc: Doc<'a>, path: &[Part], expand_last: bool, at: Option<usize>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Value<'a>, Option<usize>) -> ControlFlow<()>,
{
    match path.split_first() {
        Some((first, rest)) => step(doc.get(&first.name), rest, expand_last, at, visit),
        None => ControlFlow::Continue(()),
    }
}

/// `rest` is what of the path is left behind `value`.
fn step<'a, F>(value: Value<'a>, rest: &[Part], expand_last: bool, at: Option<usize>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Value<'a>, Option<usize>) -> ControlFlow<()>,
{
    match value {
        _ if rest.is_empty() => leaf(value, expand_last, at, visit),
        Value::Document(d) => in_document(d, rest, expand_last, at, visit),
        Value::Array(a) => in_array(a, rest, expand_last, at, visit),
        _ => visit(Value::Missing, at),
    }
}

#[inline]
fn leaf<'a, F>(value: Value<'a>, expand: bool, at: Option<usize>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Value<'a>, Option<usize>) -> ControlFlow<()>,
{
    if expand && let Value::Array(a) = value {
        for (i, v) in a.iter().enumerate() {
            visit(v, at.or(Some(i)))?;
        }
    }
    visit(value, at)
}

fn in_array<'a, F>(array: Array<'a>, rest: &[Part], expand_last: bool, at: Option<usize>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Value<'a>, Option<usize>) -> ControlFlow<()>,
{
    let Some((first, beyond)) = rest.split_first() else { return ControlFlow::Continue(()) };
    let position = first.index.map(|i| i as usize);
    for (i, v) in array.iter().enumerate() {
        let at = at.or(Some(i));
        if let Value::Document(d) = v {
            in_document(d, rest, expand_last, at, visit)?;
        }
        if position != Some(i) {
            continue;
        }
        match v {
            _ if beyond.is_empty() => visit(v, at)?,
            Value::Document(d) => in_document(d, beyond, expand_last, at, visit)?,
            Value::Array(a) => in_array(a, beyond, expand_last, at, visit)?,
            _ => {}
        }
    }
    ControlFlow::Continue(())
}

/// The value at a path without fan-out: documents only, an array on the way ends it as `Missing`. For lookups such as
/// a shard key's.
pub fn get<'a>(doc: Doc<'a>, path: &[Part]) -> Value<'a> {
    let Some((first, rest)) = path.split_first() else { return Value::Missing };
    let value = doc.get(&first.name);
    match (rest.is_empty(), value) {
        (true, v) => v,
        (false, Value::Document(d)) => get(d, rest),
        _ => Value::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_doc;

    /// What a predicate on `path` sees in `doc`, as text.
    fn seen(doc: &str, path: &str, expand: bool) -> String {
        let doc = parse_doc(doc).unwrap_or_default();
        let mut all = Vec::new();
        let _ = walk_with(doc.as_doc(), Path::new(path).parts(), expand, |v, at| {
            all.push(match at {
                Some(i) => format!("{i}:{v:?}"),
                None => format!("{v:?}"),
            });
            ControlFlow::Continue(())
        });
        all.join(" ")
    }

    #[test]
    fn documents_and_scalars() {
        assert_eq!(seen(r#"{"a": 1}"#, "a", true), "1");
        assert_eq!(seen(r#"{"a": 1}"#, "b", true), "MISSING");
        assert_eq!(seen(r#"{"a": 5}"#, "a.b", true), "MISSING");
        assert_eq!(seen(r#"{"a": {"b": {"c": 2}}}"#, "a.b.c", true), "2");
    }

    #[test]
    fn arrays_at_the_end_are_expanded_once() {
        assert_eq!(seen(r#"{"a": [1, [2]]}"#, "a", true), "0:1 1:[ 2 ] [ 1, [ 2 ] ]");
        assert_eq!(seen(r#"{"a": [1]}"#, "a", false), "[ 1 ]");
        assert_eq!(seen(r#"{"a": []}"#, "a", true), "[]");
    }

    #[test]
    fn arrays_on_the_way_show_their_documents() {
        assert_eq!(seen(r#"{"a": [{"b": 1}, {}, 3, [{"b": 4}], {"b": [5]}]}"#, "a.b", true), "0:1 1:MISSING 4:5 4:[ 5 ]");
        assert_eq!(seen(r#"{"a": [1, 2]}"#, "a.b", true), "");
        assert_eq!(seen(r#"{"a": []}"#, "a.b", true), "");
    }

    #[test]
    fn numbers_are_positions_and_names() {
        assert_eq!(seen(r#"{"a": [7, 8]}"#, "a.1", true), "1:8");
        assert_eq!(seen(r#"{"a": [7]}"#, "a.1", true), "");
        assert_eq!(seen(r#"{"a": {"1": 8}}"#, "a.1", true), "8");
        assert_eq!(seen(r#"{"a": [[1, 2], [3]]}"#, "a.0.1", true), "0:2");
        assert_eq!(seen(r#"{"a": [[1, 2]]}"#, "a.0", true), "0:[ 1, 2 ]");
        assert_eq!(seen(r#"{"a": [{"b": 1}, {"0": {"b": 2}}]}"#, "a.0.b", true), "0:MISSING 0:1 1:2");
        assert_eq!(seen(r#"{"a": [7, 8]}"#, "a.01", true), "");
    }
}
