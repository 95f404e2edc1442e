//! The stages that search: what of them is checked before anything is looked up. The rest is read when they run, where they run.

use smongo_bson::{Doc, Result, Value, bail, number};

use super::Stage;
use super::source::push;
use crate::cx::CompileCx;
use crate::matcher::Matcher;

type Out<'o> = &'o mut Vec<Stage>;

/// Whether a stage reads the search indexes of its namespace, be that a view.
pub fn is_search(stage: Doc<'_>) -> bool {
    stage.first().is_some_and(|first| matches!(first.name(), "$listSearchIndexes" | "$search" | "$searchMeta" | "$vectorSearch"))
}

fn specification<'v>(name: &'static str, arg: Value<'v>) -> Result<Doc<'v>> {
    match arg {
        Value::Document(spec) => Ok(spec),
        Value::Array(_) => bail!(FailedToParse, "the {name} stage specification must be an object, but found array"),
        other => bail!(10065, "{name} value must be an object. Found: {}", other.type_name()),
    }
}

pub(super) fn parse_search(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    text("$search", arg, cx, out)
}

pub(super) fn parse_search_meta(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    text("$searchMeta", arg, cx, out)
}

fn text(name: &'static str, arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let spec = specification(name, arg)?;
    for flag in ["scoreDetails", "returnStoredSource"] {
        match spec.get(flag) {
            Value::Missing | Value::Bool(_) => {}
            other => bail!(13111, "{name}.{flag} must be a boolean, but is of type {}", other.type_name()),
        }
    }
    push(name, arg, cx, out)
}

pub(super) fn parse_vector_search(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let spec = specification("$vectorSearch", arg)?;
    match spec.get("limit") {
        Value::Missing => {}
        limit if !limit.is_number() => bail!(8575100, "Expected limit to be a number, but found: {}", limit.type_name()),
        limit if number::to_f64(limit).is_none_or(|limit| limit.is_nan() || limit < 1.0) => bail!(7912700, "The limit of $vectorSearch must be positive"),
        _ => {}
    }
    match spec.get("filter") {
        Value::Missing => {}
        // The search's own reader refuses it.
        Value::Array(list) if list.is_empty() => {}
        Value::Document(filter) => {
            let matcher = Matcher::compile(filter, cx)?;
            if let Some(refused) = ["$text", "$comment"].into_iter().find(|name| has(filter, &[name])) {
                bail!(BadValue, "{refused} is not allowed in the filter of $vectorSearch");
            }
            if matcher.near().is_some() || has(filter, GEO) {
                bail!(5626500, "Geospatial operators are not allowed in the filter of $vectorSearch");
            }
        }
        other => bail!(10065, "the filter of $vectorSearch must be an object. Found: {}", other.type_name()),
    }
    push("$vectorSearch", arg, cx, out)
}

const GEO: &[&str] = &["$geoWithin", "$geoIntersects", "$within", "$near", "$nearSphere", "$geoNear"];

/// Whether an operator stands anywhere in a filter.
fn has(filter: Doc<'_>, names: &[&str]) -> bool {
    filter.iter().any(|field| match field.value() {
        _ if names.contains(&field.name()) => true,
        Value::Document(inner) => has(inner, names),
        Value::Array(list) => list.iter().any(|v| v.as_doc().is_some_and(|inner| has(inner, names))),
        _ => false,
    })
}
