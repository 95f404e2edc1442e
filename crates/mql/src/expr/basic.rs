//! `$literal`, `$const`, `$expr` and what needs no family.

use smongo_bson::{Result, Value};

use super::node::Node;
use super::parse::{Row, Scope, nothing};

pub(super) static ROWS: &[Row] = &[
    Row::special("$const", literal, nothing),
    Row::special("$expr", expr, nothing),
    Row::special("$literal", literal, nothing),
];

fn literal(_: &'static Row, spec: Value<'_>, _: &mut Scope<'_>) -> Result<Node> {
    Ok(Node::constant(spec))
}

/// `{$expr: e}` inside an expression is `e`.
fn expr(_: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    scope.operand(spec)
}
