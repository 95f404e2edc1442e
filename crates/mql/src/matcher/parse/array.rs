//! `$in`, `$nin`, `$all`, `$elemMatch`.

use smongo_bson::compare::Collator;
use smongo_bson::path::Path;
use smongo_bson::{Array, Doc, Result, Value, ValueBuf, bail};

use super::super::Node;
use super::super::compare::CompareOp;
use super::super::set::{InSet, normalise};
use super::fields::{compare_node, comparison};
use super::{FieldOp, Parser, is_expression};
use crate::regex::Regex;

pub(super) fn in_list(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let Value::Array(list) = op.value else { bail!(BadValue, "$in needs an array") };
    membership(p, op.path, list).map(Some)
}

pub(super) fn nin(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let Value::Array(list) = op.value else { bail!(BadValue, "$nin needs an array") };
    membership(p, op.path, list).map(Node::negated).map(Some)
}

fn membership(p: Parser<'_>, path: &str, list: Array<'_>) -> Result<Node> {
    let (mut values, mut regexes) = (Vec::new(), Vec::new());
    for v in list.iter() {
        match v {
            Value::Document(d) if is_expression(d) => bail!(BadValue, "cannot nest $ under $in"),
            Value::Undefined => bail!(BadValue, "InMatchExpression equality cannot be undefined"),
            Value::Regex(r) => regexes.push(Regex::from_bson(r)?),
            other => values.push(ValueBuf::new(other)),
        }
    }
    let collator = p.collation().map(|c| c as &dyn Collator);
    normalise(&mut values, collator);
    match (values.as_slice(), regexes.len()) {
        ([], 0) => Ok(Node::AlwaysFalse),
        ([only], 0) => Ok(compare_node(p, path, CompareOp::Eq, only.view())),
        ([], 1) => Ok(regexes.pop().map_or(Node::AlwaysFalse, |regex| Node::Regex { path: Path::new(path), regex })),
        _ => {
            let set = InSet::new(&values, collator.is_some());
            Ok(Node::In { path: Path::new(path), values, regexes, set })
        }
    }
}

pub(super) fn all(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let Value::Array(list) = op.value else { bail!(BadValue, "$all needs an array") };
    let is_elem_match = |v: &Value<'_>| v.as_doc().and_then(|d| d.first()).is_some_and(|e| e.name() == "$elemMatch");
    let elem_match = list.iter().next().is_some_and(|v| is_elem_match(&v));
    let mut nodes = Vec::new();
    for v in list.iter() {
        nodes.push(match v {
            Value::Document(d) if elem_match => {
                if !is_elem_match(&v) {
                    bail!(BadValue, "$all/$elemMatch has to be consistent");
                }
                p.operators(op.path, d)?
            }
            _ if elem_match => bail!(BadValue, "$all/$elemMatch has to be consistent"),
            // Anything else that begins with a dollar is a document like others.
            Value::Document(d) if d.first().is_some_and(|e| super::row(super::FIELD_OPERATORS, e.name()).is_some()) => bail!(BadValue, "no $ expressions in $all"),
            Value::Regex(r) => Node::Regex { path: Path::new(op.path), regex: Regex::from_bson(r)? },
            other => comparison(p, op.path, CompareOp::Eq, other)?,
        });
    }
    Ok(Some(if nodes.is_empty() { Node::AlwaysFalse } else { Node::and(nodes) }))
}

pub(super) fn elem_match(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let Value::Document(filter) = op.value else { bail!(BadValue, "$elemMatch needs an Object") };
    let path = Path::new(op.path);
    let inner = Parser { nested: true, within: true, ..p.deeper("$elemMatch")? };
    Ok(Some(if is_value_form(filter) {
        Node::ElemMatchValue { path, filter: Box::new(inner.operators("", filter)?) }
    } else {
        Node::ElemMatchObject { path, filter: Box::new(inner.document(filter)?) }
    }))
}

/// Operators on the element itself, unless the first is one that stands in the place of a field.
fn is_value_form(filter: Doc<'_>) -> bool {
    is_expression(filter) && filter.first().is_some_and(|e| super::row(super::TOP_OPERATORS, e.name()).is_none())
}
