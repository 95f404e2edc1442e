//! `$and $or $not`.

use smongo_bson::{Result, Value};

use super::node::{Args, Fold, Node};
use super::parse::{Row, Scope};
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::special("$and", |row, spec, scope| deciding(row, spec, scope, false), and),
    Row::exact("$not", 1, not),
    Row::special("$or", |row, spec, scope| deciding(row, spec, scope, true), or),
];

fn deciding(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>, truth: bool) -> Result<Node> {
    let args = scope.args(spec)?;
    Ok(scope.call_folding(row, args, Fold::Decides(truth)))
}

fn and<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    for node in args.iter() {
        if !node.eval(cx)?.truthy() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn or<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    for node in args.iter() {
        if node.eval(cx)?.truthy() {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn not<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(Value::Bool(!args.eval(0, cx)?.truthy()))
}
