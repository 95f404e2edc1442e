//! Arrays: reading, slicing, joining. [`nth`]: `$firstN` and its kin. [`sort`]: `$sortArray`. [`zip`]: `$zip`.

mod nth;
mod sort;
mod zip;

use smongo_bson::{Array, Error, Result, Value, bail, number};

use super::node::Args;
use super::parse::Row;
use crate::arena::{Arena, MAX_MADE, check_made};
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::exact("$arrayElemAt", 2, array_elem_at),
    Row::any("$concatArrays", concat_arrays),
    Row::exact("$in", 2, is_in),
    Row::range("$indexOfArray", 2, 4, index_of_array),
    Row::exact("$isArray", 1, |args, cx| Ok(Value::Bool(matches!(args.eval(0, cx)?, Value::Array(_))))),
    Row::range("$range", 2, 3, range),
    Row::exact("$reverseArray", 1, reverse_array),
    Row::exact("$size", 1, size),
    Row::range("$slice", 2, 3, slice),
];

pub(super) use nth::ROWS as NTH_ROWS;
pub(super) use sort::ROWS as SORT_ROWS;
pub(super) use zip::ROWS as ZIP_ROWS;

fn array_elem_at<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (array, index) = (args.eval(0, cx)?, args.eval(1, cx)?);
    if array.is_nullish() || index.is_nullish() {
        return Ok(Value::Null);
    }
    let Value::Array(array) = array else {
        bail!(28689, "$arrayElemAt's first argument must be an array, but is {}", array.type_name());
    };
    if !index.is_number() {
        bail!(28690, "$arrayElemAt's second argument must be a numeric value, but is {}", index.type_name());
    }
    let Some(index) = number::to_i32_exact(index) else {
        bail!(28691, "$arrayElemAt's second argument must be representable as a 32-bit integer: {index:?}");
    };
    Ok(at(array, i64::from(index), cx.arena))
}

/// The value at a position, counted from the end when negative; `Missing` outside.
fn at<'a>(array: Array<'a>, index: i64, arena: &Arena) -> Value<'a> {
    let index = if index < 0 { index + array.len() as i64 } else { index };
    usize::try_from(index).map_or(Value::Missing, |i| arena.element(array, i))
}

fn concat_arrays<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut null = false;
    let joined = cx.arena.try_array(|w| {
        for node in args.iter() {
            match node.eval(cx)? {
                Value::Array(a) => a.elements().for_each(|e| {
                    w.push_element(&e);
                }),
                v if v.is_nullish() => {
                    null = true;
                    return Ok(());
                }
                v => bail!(28664, "$concatArrays only supports arrays, not {}", v.type_name()),
            }
            check_made(args.name, w.len())?;
        }
        Ok(())
    })?;
    Ok(if null { Value::Null } else { Value::Array(joined) })
}

fn is_in<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (value, array) = (args.eval(0, cx)?, args.eval(1, cx)?);
    let Value::Array(array) = array else {
        bail!(40081, "$in requires an array as a second argument, found: {}", array.type_name());
    };
    let held = args.long_constant_holds(value).unwrap_or_else(|| array.iter().any(|v| args.compare(v, value).is_eq()));
    Ok(Value::Bool(held))
}

fn index_of_array<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let array = match args.eval(0, cx)? {
        Value::Array(a) => a,
        v if v.is_nullish() => return Ok(Value::Null),
        v => bail!(40090, "$indexOfArray requires an array as a first argument, found: {}", v.type_name()),
    };
    let value = args.eval(1, cx)?;
    let start = if args.len() > 2 { position(args.eval(2, cx)?, "starting index")? } else { 0 };
    let end = if args.len() > 3 { position(args.eval(3, cx)?, "ending index")? } else { usize::MAX };
    let found = array.iter().enumerate().skip(start).take_while(|(i, _)| *i < end);
    let found = { found }.find(|(_, v)| args.compare(*v, value).is_eq());
    Ok(Value::Int32(found.map_or(-1, |(i, _)| i as i32)))
}

fn position(v: Value<'_>, what: &str) -> Result<usize> {
    let Some(n) = number::to_i32_exact(v) else {
        bail!(9711600, "$indexOfArray requires an integral {what}, found a value of type: {}, with value: {v:?}", v.type_name());
    };
    usize::try_from(n).map_err(|_| smongo_bson::err!(9711601, "$indexOfArray requires a nonnegative {what}, found: {n}"))
}

fn range<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let bound = |i: usize, what: &str, type_code: i32, value_code: i32| -> Result<i64> {
        let v = args.eval(i, cx)?;
        if !v.is_number() {
            let message = format!("$range requires a numeric {what} value, found value of type: {}", v.type_name());
            return Err(Error::new(smongo_bson::Code(type_code), message));
        }
        let message = || format!("$range requires a {what} value that can be represented as a 32-bit integer, found value: {v:?}");
        number::to_i32_exact(v).map(i64::from).ok_or_else(|| Error::new(smongo_bson::Code(value_code), message()))
    };
    let start = bound(0, "starting", 34443, 34444)?;
    let end = bound(1, "ending", 34445, 34446)?;
    let step = if args.len() == 3 { bound(2, "step", 34447, 34448)? } else { 1 };
    if step == 0 {
        bail!(34449, "$range requires a non-zero step value");
    }
    let count = ((end - start) as f64 / step as f64).ceil().max(0.0) as usize;
    if count > MAX_MADE / 16 {
        bail!(ExceededMemoryLimit, "$range would use too much memory and cannot spill to disk. Memory limit: {MAX_MADE} bytes");
    }
    Ok(Value::Array(cx.arena.array(|w| {
        for i in 0..count as i64 {
            w.push((start + i * step) as i32);
        }
    })))
}

fn reverse_array<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let array = match args.eval(0, cx)? {
        Value::Array(a) => a,
        v if v.is_nullish() => return Ok(Value::Null),
        v => bail!(34435, "The argument to $reverseArray must be an array, but was of type: {}", v.type_name()),
    };
    let elements: Vec<_> = array.elements().collect();
    Ok(Value::Array(cx.arena.array(|w| {
        for e in elements.iter().rev() {
            w.push_element(e);
        }
    })))
}

fn size<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        Value::Array(a) => Ok(Value::Int32(a.len() as i32)),
        v => bail!(17124, "The argument to $size must be an array, but was of type: {}", v.type_name()),
    }
}

fn slice<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (array, second) = (args.eval(0, cx)?, args.eval(1, cx)?);
    if array.is_nullish() || second.is_nullish() {
        return Ok(Value::Null);
    }
    let Value::Array(array) = array else {
        bail!(28724, "First argument to $slice must be an array, but is of type: {}", array.type_name());
    };
    if !second.is_number() {
        bail!(28725, "Second argument to $slice must be a numeric value, but is of type: {}", second.type_name());
    }
    let Some(second) = number::to_i32_exact(second) else {
        bail!(28726, "Second argument to $slice can't be represented as a 32-bit integer: {second:?}");
    };
    let len = array.len() as i64;
    let from_end = |n: i32| if n < 0 { (len + i64::from(n)).max(0) } else { i64::from(n).min(len) };
    let (start, end) = if args.len() == 2 {
        if second < 0 { (from_end(second), len) } else { (0, from_end(second)) }
    } else {
        let count = match args.eval(2, cx)? {
            v if v.is_nullish() => return Ok(Value::Null),
            v if !v.is_number() => {
                bail!(28725, "Third argument to $slice must be numeric, but is of type: {}", v.type_name())
            }
            v => match number::to_i32_exact(v) {
                None => bail!(28726, "Third argument to $slice can't be represented as a 32-bit integer: {v:?}"),
                Some(n) if n <= 0 => bail!(28729, "Third argument to $slice must be positive: {n}"),
                Some(n) => i64::from(n),
            },
        };
        let start = from_end(second);
        (start, (start + count).min(len))
    };
    let part = array.elements().skip(start as usize).take((end - start).max(0) as usize);
    Ok(Value::Array(cx.arena.array(|w| {
        for e in part {
            w.push_element(&e);
        }
    })))
}
