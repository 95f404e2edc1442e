//! Hashes of a query's shape, by which tools group queries.

use smongo_bson::hash::hash_bytes;
use smongo_bson::json::{to_canonical, value_to_canonical};
use smongo_bson::{Doc, Value};
use smongo_mql::collation::Collation;

use super::{Query, render};

/// Stages behind the query that take part in its plan's shape.
const PLANNED: &[&str] = &[
    "$bucket", "$count", "$densify", "$group", "$lookup", "$project", "$replaceRoot", "$replaceWith", "$setWindowFields", "$sort", "$sortByCount",
];

fn hex(text: &str, digits: usize) -> String {
    let mut out = String::new();
    let mut round = 0;
    while out.len() < digits {
        out.push_str(&format!("{:016X}", hash_bytes(format!("{round}{text}").as_bytes())));
        round += 1;
    }
    out.truncate(digits);
    out
}

fn collation(c: Option<&Collation>) -> String {
    c.map_or(String::new(), |c| to_canonical(c.spec.as_doc()))
}

/// `planCacheShapeHash` (and `queryHash`): 8 hexadecimal digits.
pub fn plan_shape(query: &Query, stages: &[smongo_bson::DocBuf]) -> String {
    let mut text = String::new();
    render::shape(&query.filter.root, query.filter.source(), &mut text);
    text.push_str(&format!("|{}|", to_canonical(query.sort_doc.as_doc())));
    let mut fields: Vec<String> = query.projection_doc.as_doc().iter().map(|e| format!("{}:{}", e.name(), value_to_canonical(e.value()))).collect();
    fields.sort();
    text.push_str(&fields.join(","));
    text.push_str(&collation(query.filter.collation.as_deref()));
    for stage in stages {
        let name = stage.as_doc().first().map_or("", |e| e.name());
        if !PLANNED.contains(&name) {
            break;
        }
        text.push_str(&format!("|{}", to_canonical(stage.as_doc())));
    }
    hex(&text, 8)
}

/// `queryShapeHash` of a command: 64 hexadecimal digits.
pub fn query_shape(command: Doc<'_>, db: &str, collator: Option<&Collation>) -> String {
    let mut text = format!("{db}|{}", collation(collator));
    for e in command {
        match (e.name(), e.value()) {
            ("filter" | "query", Value::Document(d)) => filter(d, &mut text),
            ("pipeline", Value::Array(a)) => a.iter().for_each(|stage| {
                let stage = stage.as_doc().unwrap_or(Doc::EMPTY);
                match stage.first().map(|e| (e.name(), e.value())) {
                    Some(("$match", Value::Document(d))) => filter(d, &mut text),
                    _ => literals(Value::Document(stage), &mut text),
                }
            }),
            ("sort" | "projection" | "key", v) => text.push_str(&format!("|{}:{}", e.name(), value_to_canonical(v))),
            (name, Value::String(s)) if ["find", "aggregate", "count", "distinct"].contains(&name) => text.push_str(&format!("|{name}:{s}")),
            _ => {}
        }
    }
    hex(&text, 64)
}

/// A filter with its values replaced by what kind they are.
fn filter(d: Doc<'_>, out: &mut String) {
    for e in d {
        match (e.name(), e.value()) {
            ("$and", Value::Array(a)) => a.iter().filter_map(|v| v.as_doc()).for_each(|d| filter(d, out)),
            (name @ ("$or" | "$nor"), Value::Array(a)) => {
                out.push_str(&format!("|{name}["));
                for branch in a.iter().filter_map(|v| v.as_doc()) {
                    filter(branch, out);
                    out.push(';');
                }
                out.push(']');
            }
            ("$expr", v) => literals(v, out),
            (name, v) if name.starts_with('$') => out.push_str(&format!("|{name}:{}", value_to_canonical(v))),
            (path, Value::Document(d)) if d.first().is_some_and(|e| e.name().starts_with('$')) => {
                out.push_str(&format!("|{path}{{"));
                operators(d, out);
                out.push('}');
            }
            (path, Value::Regex(_)) => out.push_str(&format!("|{path}{{$regex?}}")),
            (path, v) => out.push_str(&format!("|{path}{{$eq?{}}}", v.type_name())),
        }
    }
}

fn operators(d: Doc<'_>, out: &mut String) {
    for e in d {
        match (e.name(), e.value()) {
            ("$in" | "$nin" | "$all", Value::Array(a)) if e.name() != "$all" || a.len() > 1 => out.push_str(&format!("{}?array", e.name())),
            ("$type", Value::Array(a)) if a.len() == 1 => out.push_str(&format!("$type:{}", value_to_canonical(a.get(0)))),
            ("$type" | "$exists", v) => out.push_str(&format!("{}:{}", e.name(), value_to_canonical(v))),
            ("$not", Value::Document(d)) => {
                out.push_str("$not{");
                operators(d, out);
                out.push('}');
            }
            ("$elemMatch", Value::Document(d)) => {
                out.push_str("$elemMatch{");
                if d.first().is_some_and(|e| e.name().starts_with('$')) { operators(d, out) } else { filter(d, out) }
                out.push('}');
            }
            ("$all", Value::Array(_)) => out.push_str("$all?one"),
            (name, v) => out.push_str(&format!("{name}?{}", v.type_name())),
        }
    }
}

/// Anything with its constants replaced by their type.
fn literals(v: Value<'_>, out: &mut String) {
    match v {
        Value::Document(d) => {
            out.push('{');
            for e in d {
                out.push_str(e.name());
                literals(e.value(), out);
            }
            out.push('}');
        }
        Value::Array(a) => {
            out.push('[');
            a.iter().for_each(|v| literals(v, out));
            out.push(']');
        }
        Value::String(s) if s.starts_with('$') => out.push_str(s),
        v => out.push_str(&format!("?{}", v.type_name())),
    }
}
