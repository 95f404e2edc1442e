//! `$and $or $not`.

use smongo_bson::{Result, Value};

use super::node::Args;
use super::parse::Row;
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[Row::any("$and", and), Row::exact("$not", 1, not), Row::any("$or", or)];

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
