//! `$first $last` of an array, and `$firstN $lastN $maxN $minN`.

use std::cmp::Ordering;

use smongo_bson::{Array, Result, Value, bail, number};

use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::{Fields, Row};

const N: Fields = Fields { not_object: 5787900, unknown: 5787901, names: &[("n", 5787906), ("input", 5787907)] };

pub(crate) static ROWS: &[Row] = &[
    Row::exact("$first", 1, |args, cx| end(args, cx, 0)),
    Row::fields("$firstN", &N, |args, cx| part(args, cx, |values, n| values.truncate(n))),
    Row::exact("$last", 1, |args, cx| end(args, cx, -1)),
    Row::fields("$lastN", &N, |args, cx| part(args, cx, |values, n| drop(values.drain(..values.len().saturating_sub(n))))),
    Row::fields("$maxN", &N, |args, cx| extreme(args, cx, Ordering::reverse)),
    Row::fields("$minN", &N, |args, cx| extreme(args, cx, |o| o)),
];

fn end<'a>(args: &'a Args, cx: &Cx<'a>, index: i64) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        Value::Array(a) => Ok(super::at(a, index, cx.arena)),
        v if v.is_nullish() => Ok(Value::Null),
        v => bail!(28689, "{}'s argument must be an array, but is {}", args.name, v.type_name()),
    }
}

/// `n` and the array of an operator of the family.
fn arguments<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<(usize, Array<'a>)> {
    let n = args.eval(0, cx)?;
    if !n.is_number() {
        bail!(5787902, "Value for 'n' must be of integral type, but found {n:?}");
    }
    let Some(n) = number::to_i64_exact(n) else {
        bail!(5787903, "Value for 'n' must be of integral type, but found {n:?}");
    };
    if n <= 0 {
        bail!(5787908, "'n' must be greater than 0, found {n}");
    }
    let input = args.eval(1, cx)?;
    let Value::Array(array) = input else {
        bail!(5788200, "Input must be an array");
    };
    Ok((usize::try_from(n).unwrap_or(usize::MAX), array))
}

fn part<'a>(args: &'a Args, cx: &Cx<'a>, cut: fn(&mut Vec<Value<'a>>, usize)) -> Result<Value<'a>> {
    let (n, array) = arguments(args, cx)?;
    let mut values: Vec<_> = array.iter().collect();
    cut(&mut values, n);
    Ok(Value::Array(cx.arena.array_of(values)))
}

/// The least or greatest values, null and undefined left out.
fn extreme<'a>(args: &'a Args, cx: &Cx<'a>, direction: fn(Ordering) -> Ordering) -> Result<Value<'a>> {
    let (n, array) = arguments(args, cx)?;
    let mut values: Vec<_> = array.iter().filter(|v| !v.is_nullish()).collect();
    values.sort_by(|a, b| direction(args.compare(*a, *b)));
    values.truncate(n);
    Ok(Value::Array(cx.arena.array_of(values)))
}
