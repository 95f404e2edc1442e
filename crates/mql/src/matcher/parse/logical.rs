//! Logical operators, and those that look at the whole document.

use smongo_bson::path::Path;
use smongo_bson::{Doc, Result, Value, bail, number};

use super::super::schema::Schema;
use super::super::{Node, Predicate};
use super::{FieldOp, Parser, Place, is_expression};
use crate::arena::Arena;
use crate::expr::Expr;
use crate::rand;
use crate::regex::Regex;
use crate::text::Search;

fn branches(p: Parser<'_>, name: &str, value: Value<'_>) -> Result<Vec<Node>> {
    let Value::Array(list) = value else { bail!(BadValue, "{name} argument must be an array") };
    if list.is_empty() {
        bail!(BadValue, "$and/$or/$nor must be a nonempty array");
    }
    // An `$or` of one branch is that branch.
    let alone = name == "$and" || (name == "$or" && list.len() == 1);
    let inner = Parser { within: p.within || !alone, negated: p.negated || name == "$nor", ..p.deeper(name)? };
    let mut nodes = Vec::new();
    for v in list.iter() {
        let Value::Document(d) = v else { bail!(BadValue, "$or/$and/$nor entries need to be full objects") };
        nodes.push(inner.document(d)?);
    }
    Ok(nodes)
}

pub(super) fn and(p: Parser<'_>, name: &str, value: Value<'_>) -> Result<Option<Node>> {
    branches(p, name, value).map(Node::and).map(Some)
}

pub(super) fn or(p: Parser<'_>, name: &str, value: Value<'_>) -> Result<Option<Node>> {
    branches(p, name, value).map(Node::or).map(Some)
}

pub(super) fn nor(p: Parser<'_>, name: &str, value: Value<'_>) -> Result<Option<Node>> {
    branches(p, name, value).map(Node::nor).map(Some)
}

pub(super) fn not(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let node = match op.value {
        Value::Regex(r) => Node::Regex { path: Path::new(op.path), regex: Regex::from_bson(r)? },
        Value::Document(d) if d.is_empty() => bail!(BadValue, "$not cannot be empty"),
        Value::Document(d) if is_expression(d) => Parser { within: true, ..p.deeper("$not")? }.operators(op.path, d)?,
        Value::Document(d) => bail!(BadValue, "unknown operator: {}", d.first().map_or("", |e| e.name())),
        _ => bail!(BadValue, "$not needs a regex or a document"),
    };
    Ok(Some(Node::negated(node)))
}

pub(super) fn comment(_: Parser<'_>, _: &str, _: Value<'_>) -> Result<Option<Node>> {
    Ok(None)
}

pub(super) fn expr(p: Parser<'_>, _: &str, value: Value<'_>) -> Result<Option<Node>> {
    if p.nested {
        bail!(BadValue, "$expr can only be applied to the top-level document");
    }
    let mut expr = Expr::compile(value, p.cx)?;
    expr.search_lists_bytewise();
    Ok(Some(match expr.constant().map(|v| v.truthy()) {
        Some(true) => Node::always_true(),
        Some(false) => Node::AlwaysFalse,
        None => Node::Expr(expr),
    }))
}

pub(super) fn json_schema(_: Parser<'_>, _: &str, value: Value<'_>) -> Result<Option<Node>> {
    match value {
        Value::Document(source) => Ok(Some(Node::Opaque(Box::new(Schema::compile(source)?)))),
        _ => bail!(TypeMismatch, "$jsonSchema must be an object"),
    }
}

/// `{$alwaysTrue: 1}`, as the shell and explain write it.
pub(super) fn always_true(_: Parser<'_>, name: &str, value: Value<'_>) -> Result<Option<Node>> {
    is_one(name, value)?;
    Ok(Some(Node::always_true()))
}

pub(super) fn always_false(_: Parser<'_>, name: &str, value: Value<'_>) -> Result<Option<Node>> {
    is_one(name, value)?;
    Ok(Some(Node::AlwaysFalse))
}

fn is_one(name: &str, value: Value<'_>) -> Result<()> {
    if value.is_number() && number::to_i64_exact(value) == Some(1) {
        return Ok(());
    }
    bail!(FailedToParse, "{name} must be an integer value of 1")
}

pub(super) fn text(p: Parser<'_>, _: &str, value: Value<'_>) -> Result<Option<Node>> {
    if p.nested {
        bail!(BadValue, "$text can only be applied to the top-level document");
    }
    if p.place == Place::Stage {
        bail!(17313, "$match with $text is only allowed as the first pipeline stage");
    }
    if p.negated {
        bail!(BadValue, "text expression not allowed in nor");
    }
    Ok(Some(Node::Text(Box::new(Search::parse(value)?))))
}

pub(super) fn where_js(p: Parser<'_>, _: &str, _: Value<'_>) -> Result<Option<Node>> {
    if p.nested {
        bail!(BadValue, "$where can only be applied to the top-level document");
    }
    if p.place != Place::Query {
        bail!(BadValue, "$where is not allowed in this context");
    }
    bail!(NotImplemented, "$where is not supported: there is no JavaScript engine")
}

pub(super) fn sample_rate(_: Parser<'_>, _: &str, value: Value<'_>) -> Result<Option<Node>> {
    if !value.is_number() {
        bail!(BadValue, "argument to $sampleRate must be a numeric type");
    }
    let rate = number::to_f64(value).unwrap_or(f64::NAN);
    if !(0.0..=1.0).contains(&rate) {
        bail!(BadValue, "numeric argument to $sampleRate must be in [0, 1]");
    }
    Ok(Some(match rate {
        0.0 => Node::AlwaysFalse,
        1.0 => Node::always_true(),
        _ => Node::Opaque(Box::new(SampleRate(rate))),
    }))
}

struct SampleRate(f64);

impl Predicate for SampleRate {
    fn matches(&self, _: Doc<'_>, _: &Arena) -> Result<bool> {
        Ok(rand::fraction() <= self.0)
    }
}
