//! `$cmp $eq $gt $gte $lt $lte $ne`: the order of all values, under the collation in force.

use std::cmp::Ordering;

use smongo_bson::{Result, Value};

use super::node::Args;
use super::parse::Row;
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::exact("$cmp", 2, cmp),
    Row::exact("$eq", 2, |args, cx| Ok(Value::Bool(order(args, cx)?.is_eq()))),
    Row::exact("$gt", 2, |args, cx| Ok(Value::Bool(order(args, cx)?.is_gt()))),
    Row::exact("$gte", 2, |args, cx| Ok(Value::Bool(order(args, cx)?.is_ge()))),
    Row::exact("$lt", 2, |args, cx| Ok(Value::Bool(order(args, cx)?.is_lt()))),
    Row::exact("$lte", 2, |args, cx| Ok(Value::Bool(order(args, cx)?.is_le()))),
    Row::exact("$ne", 2, |args, cx| Ok(Value::Bool(order(args, cx)?.is_ne()))),
];

#[inline]
fn order<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Ordering> {
    Ok(args.compare(args.eval(0, cx)?, args.eval(1, cx)?))
}

fn cmp<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(Value::Int32(order(args, cx)? as i32))
}
