//! What stages do to fields, as far as a `$match` behind them is concerned.

use std::borrow::Cow;

use smongo_bson::{Doc, Value};

use super::conjunct::{Conjunct, Kind};
use crate::cx::CompileCx;
use crate::projection::Projection;

/// How a stage changes documents.
#[derive(Debug)]
pub(super) enum Effect<'s> {
    /// Nothing is known, or the stage counts documents.
    Opaque,
    /// Documents pass unchanged, in another order.
    Reorders,
    /// Each document becomes one; only these fields are changed or made. Some take the value of another field as it is.
    Changes { fields: Vec<&'s str>, copies: Vec<(&'s str, &'s str)> },
    /// Each document becomes one that holds these fields unchanged, the copies, and what it computes.
    Keeps { fields: Vec<&'s str>, copies: Vec<(&'s str, &'s str)> },
    /// `$unwind`: some documents go, others multiply; these fields are changed.
    Unwinds { fields: Vec<&'s str> },
    /// Documents with equal keys become one, whose fields below `_id` (or `_id` itself) are the keys.
    Groups { keys: Vec<(&'s str, &'s str)>, whole: Option<&'s str> },
    /// Each document gets fields from others whose `key` is equal.
    Partitions { key: &'s str, fields: Vec<&'s str> },
    /// The documents of another collection follow.
    Unites,
}

/// The name before any dot.
pub(in crate::pipeline) fn first(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// The field an expression reads when it is nothing but an undotted field path.
fn copied(value: Value<'_>) -> Option<&str> {
    value.as_str()?.strip_prefix('$').filter(|f| !f.is_empty() && !f.starts_with('$') && !f.contains('.'))
}

/// A field of `$addFields` or `$project` that is a copy.
fn copy<'s>(name: &'s str, value: Value<'s>) -> Option<(&'s str, &'s str)> {
    copied(value).filter(|_| !name.contains('.')).map(|from| (name, from))
}

impl<'s> Effect<'s> {
    pub fn of(name: &str, arg: Value<'s>, cx: &CompileCx) -> Effect<'s> {
        match (name, arg) {
            ("$sort", _) => Effect::Reorders,
            ("$addFields" | "$set", Value::Document(d)) => {
                Effect::Changes { fields: names(d), copies: d.iter().filter_map(|e| copy(e.name(), e.value())).collect() }
            }
            ("$unset", Value::String(path)) => Effect::Changes { fields: vec![first(path)], copies: Vec::new() },
            ("$unset", Value::Array(paths)) => Effect::Changes { fields: paths.iter().filter_map(|p| p.as_str()).map(first).collect(), copies: Vec::new() },
            ("$project", Value::Document(d)) => project(d, cx),
            ("$lookup" | "$graphLookup", Value::Document(d)) => match d.get("as") {
                Value::String(path) => Effect::Changes { fields: vec![first(path)], copies: Vec::new() },
                _ => Effect::Opaque,
            },
            ("$unwind", Value::String(path)) => Effect::Unwinds { fields: path.strip_prefix('$').map(first).into_iter().collect() },
            ("$unwind", Value::Document(d)) => {
                let path = d.get("path").as_str().and_then(|p| p.strip_prefix('$'));
                Effect::Unwinds { fields: path.into_iter().chain(d.get("includeArrayIndex").as_str()).map(first).collect() }
            }
            ("$group", Value::Document(d)) => group(d.get("_id")),
            ("$setWindowFields", Value::Document(d)) => match copied(d.get("partitionBy")) {
                Some(key) => Effect::Partitions { key, fields: d.get("output").as_doc().map(names).unwrap_or_default() },
                None => Effect::Opaque,
            },
            ("$unionWith", _) => Effect::Unites,
            _ => Effect::Opaque,
        }
    }

    /// Whether one document comes out for each that goes in, whatever it holds.
    pub fn is_one_to_one(name: &str) -> bool {
        matches!(name, "$project" | "$addFields" | "$set" | "$unset" | "$lookup" | "$graphLookup" | "$replaceRoot" | "$replaceWith")
    }

    /// The part of a filter as it would stand before the stage; `None` when it must stay behind it.
    pub fn before(&self, part: &Conjunct) -> Option<Conjunct> {
        if part.kind == Kind::Fixed {
            return None;
        }
        let field = |name: &str, fields: &[&str]| fields.contains(&name);
        let from = |name: &str, copies: &[(&'s str, &'s str)]| copies.iter().find(|(to, _)| *to == name).map(|(_, from)| Cow::Borrowed(*from));
        match self {
            Effect::Opaque | Effect::Unites => None,
            Effect::Reorders => Some(part.clone()),
            Effect::Changes { fields, copies } => part.before(&|name| match from(name, copies) {
                None if field(name, fields) => None,
                None => Some(Cow::Owned(name.to_owned())),
                from => from,
            }),
            Effect::Keeps { fields, copies } => {
                part.before(&|name| from(name, copies).or_else(|| field(name, fields).then(|| Cow::Owned(name.to_owned()))))
            }
            Effect::Unwinds { .. } if part.kind == Kind::Expr => None,
            Effect::Unwinds { fields } => part.before(&|name| (!field(name, fields)).then(|| Cow::Owned(name.to_owned()))),
            Effect::Partitions { .. } | Effect::Groups { .. } if part.kind != Kind::Comparison => None,
            Effect::Partitions { key, fields } => part.before(&|name| (name == *key && !field(name, fields)).then(|| Cow::Owned(name.to_owned()))),
            Effect::Groups { whole: Some(key), .. } => part.before(&|name| (name == "_id").then_some(Cow::Borrowed(*key))),
            Effect::Groups { keys, .. } => part.below_id(keys),
        }
    }
}

impl Conjunct {
    /// The test of a group's `_id.x` as one of the field that `x` was made of.
    fn below_id(&self, keys: &[(&str, &str)]) -> Option<Conjunct> {
        self.below("_id")?.before(&|name| keys.iter().find(|(to, _)| *to == name).map(|(_, from)| Cow::Owned((*from).to_owned())))
    }
}

fn names(d: Doc<'_>) -> Vec<&str> {
    d.iter().map(|e| first(e.name())).collect()
}

fn project<'s>(spec: Doc<'s>, cx: &CompileCx) -> Effect<'s> {
    let Ok(projection) = Projection::compile_project(spec, cx) else { return Effect::Opaque };
    if !projection.is_inclusion() {
        return Effect::Changes { fields: names(spec), copies: Vec::new() };
    }
    let kept = |v: Value<'_>| (v.is_number() || matches!(v, Value::Bool(_))) && v.truthy();
    let mut fields: Vec<&str> = spec.iter().filter(|e| !e.name().contains('.') && kept(e.value())).map(|e| e.name()).collect();
    if !spec.iter().any(|e| first(e.name()) == "_id") {
        fields.push("_id");
    }
    Effect::Keeps { fields, copies: spec.iter().filter_map(|e| copy(e.name(), e.value())).collect() }
}

fn group(id: Value<'_>) -> Effect<'_> {
    match id {
        Value::Document(d) if !d.is_empty() && d.iter().all(|e| !e.name().starts_with('$') && !e.name().contains('.')) => {
            Effect::Groups { keys: d.iter().filter_map(|e| copy(e.name(), e.value())).collect(), whole: None }
        }
        id => match copied(id) {
            Some(key) => Effect::Groups { keys: Vec::new(), whole: Some(key) },
            None => Effect::Opaque,
        },
    }
}
