//! A wildcard index as the planner uses it: as an index on one of the paths it covers.

use std::sync::Arc;

use smongo_bson::path::is_number;
use smongo_bson::{Array, DocBuf, Value};
use smongo_mql::matcher::{CompareOp, Node, TypeSet};

use super::candidate::Question;
use super::interval::{Interval, Intervals};
use super::predicate::{Predicate, predicates};
use crate::data::catalog::{Index, PATH_PART};

/// A wildcard index seen as one on a path.
pub struct View {
    /// The index with the path in the place of `$**`.
    pub index: Arc<Index>,
    /// The part of the key that holds paths; that of the values is behind it.
    pub path_part: usize,
    /// The paths whose values answer.
    pub paths: Intervals,
    /// A predicate of the query is on the path.
    pub answers: bool,
}

/// What entries can tell of a predicate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The values at its path decide.
    Values,
    /// There must be something at the path or below it.
    Presence,
}

/// Whether entries tell which documents a predicate can match. They do not know where a path leads nowhere, nor documents and
/// arrays as a whole.
pub fn answers(p: &Predicate<'_>) -> Option<Answer> {
    let whole = |types: &TypeSet| types.contains(3) || types.contains(4);
    match p.node {
        Node::Compare { op: CompareOp::Eq, value, .. } if p.negated && matches!(value.view(), Value::Null) => Some(Answer::Presence),
        _ if p.negated => None,
        Node::Exists { .. } => Some(Answer::Presence),
        Node::Type { types, .. } if whole(types) => Some(Answer::Presence),
        Node::Compare { op, value, .. } => leaf(*op, value.view()).then_some(Answer::Values),
        Node::In { values, .. } => values.iter().all(|v| leaf(CompareOp::Eq, v.view())).then_some(Answer::Values),
        Node::Type { .. } | Node::Regex { .. } | Node::Mod { .. } => Some(Answer::Values),
        _ => None,
    }
}

fn leaf(op: CompareOp, value: Value<'_>) -> bool {
    match value {
        // An empty one has no fields that would be indexed in its place.
        Value::Document(d) | Value::Array(Array(d)) => d.is_empty() && op == CompareOp::Eq,
        Value::MinKey | Value::MaxKey => op == CompareOp::Eq,
        Value::Null | Value::Undefined | Value::Missing => false,
        _ => true,
    }
}

/// The ways in which the index can serve: one for each path with a predicate, and by its other fields alone.
pub fn views(index: &Arc<Index>, question: &Question<'_>) -> Vec<View> {
    let Some(scope) = index.special.as_ref().and_then(|s| s.scope()) else { return Vec::new() };
    let Some(path_part) = index.parts.iter().position(|p| p.path.text() == PATH_PART) else { return Vec::new() };
    let found = predicates(question.conjuncts);
    // A number in a path may mean an element of an array, which is at the path without it.
    let arrays = index.multikey().any();
    let mut paths: Vec<Asked<'_>> = Vec::new();
    for p in &found {
        let Some(answer) = answers(p) else { continue };
        let within = scope.root().and_then(|root| p.path.strip_prefix(root)).unwrap_or(&p.path);
        let numbered = within.split('.').any(is_number);
        if numbered && arrays || !scope.covers(&p.path) {
            continue;
        }
        // An array on the way that holds no documents has no such field, and the field is not null: what tells of it is the
        // entry of the array's place.
        let above: Vec<&str> = if p.negated && arrays { ancestors(&p.path).collect() } else { Vec::new() };
        if !above.iter().all(|path| scope.covers(path)) {
            continue;
        }
        let of_values = answer == Answer::Values;
        match paths.iter_mut().find(|asked| asked.path == p.path) {
            Some(asked) => asked.of_values |= of_values,
            None => paths.push(Asked { path: &p.path, of_values, above }),
        }
    }
    let point = |path: &str| Interval::point(Value::String(path));
    let mut views: Vec<View> = paths
        .iter()
        .filter_map(|Asked { path, of_values, above }| {
            let mut paths: Intervals = if *of_values { Vec::new() } else { above.iter().map(|path| point(path)).collect() };
            paths.push(point(path));
            // Where it only matters that there is something, it may be below the path.
            if !of_values {
                paths.push(Interval::new(Value::String(&format!("{path}.")), true, Value::String(&format!("{path}/")), false));
            }
            Some(View { index: seen_as(index, path_part, path)?, path_part, paths, answers: true })
        })
        .collect();
    if path_part > 0 {
        views.push(View { index: index.clone(), path_part, paths: vec![Interval::full()], answers: false });
    }
    views
}

/// A path of the query that the index covers.
struct Asked<'q> {
    path: &'q str,
    /// The values there decide; else it only matters that there is something.
    of_values: bool,
    /// The paths above it whose entries must be looked at, too, where only presence matters.
    above: Vec<&'q str>,
}

/// The paths a path goes through, the shortest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').filter_map(|(at, _)| path.get(..at))
}

fn seen_as(index: &Arc<Index>, path_part: usize, path: &str) -> Option<Arc<Index>> {
    let key = DocBuf::build(|w| {
        for (n, part) in index.parts.iter().enumerate() {
            let name = if n == path_part + 1 { path } else { part.path.text() };
            w.append(name, if part.descending { -1 } else { 1 });
        }
    });
    index.seen_as(key).ok().map(Arc::new)
}
