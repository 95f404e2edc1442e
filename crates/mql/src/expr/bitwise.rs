//! `$bitAnd $bitNot $bitOr $bitXor` on ints and longs.

use smongo_bson::{Result, Value, bail};

use super::node::Args;
use super::parse::Row;
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::any("$bitAnd", |args, cx| fold(args, cx, -1, |a, b| a & b)),
    Row::exact("$bitNot", 1, not),
    Row::any("$bitOr", |args, cx| fold(args, cx, 0, |a, b| a | b)),
    Row::any("$bitXor", |args, cx| fold(args, cx, 0, |a, b| a ^ b)),
];

fn fold<'a>(args: &'a Args, cx: &Cx<'a>, identity: i32, op: fn(i64, i64) -> i64) -> Result<Value<'a>> {
    let (mut bits, mut long) = (i64::from(identity), false);
    for node in args.iter() {
        match node.eval(cx)? {
            Value::Int32(n) => bits = op(bits, i64::from(n)),
            Value::Int64(n) => (bits, long) = (op(bits, n), true),
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(TypeMismatch, "{} only supports int and long operands, not {}.", args.name, v.type_name()),
        }
    }
    Ok(if long { Value::Int64(bits) } else { Value::Int32(bits as i32) })
}

fn not<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(match args.eval(0, cx)? {
        Value::Int32(n) => Value::Int32(!n),
        Value::Int64(n) => Value::Int64(!n),
        v if v.is_nullish() => Value::Null,
        v if v.is_number() => bail!(TypeMismatch, "$bitNot only supports int and long, not {}.", v.type_name()),
        v => bail!(28765, "$bitNot only supports numeric types, not {}", v.type_name()),
    })
}
