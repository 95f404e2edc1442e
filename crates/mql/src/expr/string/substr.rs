//! `$indexOfBytes $indexOfCP $substr $substrBytes $substrCP`.

use smongo_bson::{Code, Error, Result, Value, bail, number};

use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::Row;
use crate::expr::text::coerce;

pub(crate) static ROWS: &[Row] = &[
    Row::range("$indexOfBytes", 2, 4, index_of_bytes),
    Row::range("$indexOfCP", 2, 4, index_of_cp),
    Row::exact("$substr", 3, substr_bytes),
    Row::exact("$substrBytes", 3, substr_bytes),
    Row::exact("$substrCP", 3, substr_cp),
];

/// A number as a long: doubles are cut, decimals rounded.
fn long(v: Value<'_>) -> Result<i64> {
    let out = || Error::new(Code(31109), format!("Can't coerce out of range value {v:?} to long"));
    match v {
        Value::Double(n) if !(n.abs() < 9.223_372_036_854_775e18) => Err(out()),
        // A decimal out of range reads as the least long.
        Value::Decimal(d) => Ok(d.to_i64_rounded().unwrap_or(i64::MIN)),
        v => number::to_i64_saturating(v).ok_or_else(out),
    }
}

fn substr_bytes<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let text = coerce(args.eval(0, cx)?, cx)?;
    let (start, length) = (args.eval(1, cx)?, args.eval(2, cx)?);
    if !start.is_number() {
        bail!(16034, "{}:  starting index must be a numeric type (is BSON type {})", args.name, start.type_name());
    }
    if !length.is_number() {
        bail!(16035, "{}:  length must be a numeric type (is BSON type {})", args.name, length.type_name());
    }
    let start = long(start)?;
    let Ok(start) = usize::try_from(start) else {
        bail!(50752, "{}:  starting index must be non-negative (got: {start})", args.name);
    };
    let length = long(length)?;
    let bytes = text.as_bytes();
    let end = usize::try_from(length).map_or(usize::MAX, |n| start.saturating_add(n)).min(bytes.len());
    let continues = |at: usize| bytes.get(at).is_some_and(|b| b & 0xc0 == 0x80);
    if continues(start) {
        bail!(28656, "{}:  Invalid range, starting index is a UTF-8 continuation byte.", args.name);
    }
    if start >= bytes.len() {
        return Ok(Value::String(""));
    }
    if continues(end) {
        bail!(28657, "{}:  Invalid range, ending index is in the middle of a UTF-8 character.", args.name);
    }
    Ok(Value::String(text.get(start..end).unwrap_or_default()))
}

fn substr_cp<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let text = coerce(args.eval(0, cx)?, cx)?;
    let (start, length) = (args.eval(1, cx)?, args.eval(2, cx)?);
    if !start.is_number() {
        bail!(34450, "$substrCP: starting index must be a numeric type (is BSON type {})", start.type_name());
    }
    let Some(start) = number::to_i32_exact(start) else {
        bail!(34451, "$substrCP: starting index cannot be represented as a 32-bit integral value: {start:?}");
    };
    if !length.is_number() {
        bail!(34452, "$substrCP: length must be a numeric type (is BSON type {})", length.type_name());
    }
    let Some(length) = number::to_i32_exact(length) else {
        bail!(34453, "$substrCP: length cannot be represented as a 32-bit integral value: {length:?}");
    };
    let Ok(length) = usize::try_from(length) else { bail!(34454, "$substrCP: length must be a nonnegative integer.") };
    let Ok(start) = usize::try_from(start) else { bail!(34455, "$substrCP: the starting index must be nonnegative integer.") };
    let offset = |n: usize, s: &str| s.char_indices().nth(n).map_or(s.len(), |(at, _)| at);
    let rest = text.get(offset(start, text)..).unwrap_or_default();
    Ok(Value::String(rest.get(..offset(length, rest)).unwrap_or_default()))
}

/// String and substring; `None` when the string is nullish.
fn texts<'a>(args: &'a Args, cx: &Cx<'a>, first: i32, second: i32) -> Result<Option<(&'a str, &'a str)>> {
    let fail = |code: i32, which: &str, v: Value<'_>| {
        Err(Error::new(Code(code), format!("{} requires a string as the {which} argument, found: {}", args.name, v.type_name())))
    };
    let text = match args.eval(0, cx)? {
        Value::String(s) => s,
        v if v.is_nullish() => return Ok(None),
        v => return fail(first, "first", v),
    };
    match args.eval(1, cx)? {
        Value::String(s) => Ok(Some((text, s))),
        v => fail(second, "second", v),
    }
}

/// The bounds of the search, the whole string by default.
fn bounds<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<(usize, usize)> {
    let bound = |i: usize, what: &str, default: usize| -> Result<usize> {
        if args.len() <= i {
            return Ok(default);
        }
        let v = args.eval(i, cx)?;
        let Some(n) = number::to_i32_exact(v) else {
            bail!(40096, "{} requires an integral {what} index, found a value of type: {}, with value: {v:?}", args.name, v.type_name());
        };
        usize::try_from(n).map_err(|_| Error::new(Code(40097), format!("{} requires a nonnegative {what} index, found: {n}", args.name)))
    };
    Ok((bound(2, "starting", 0)?, bound(3, "ending", usize::MAX)?))
}

fn index_of_bytes<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some((text, token)) = texts(args, cx, 40091, 40092)? else { return Ok(Value::Null) };
    let (start, end) = bounds(args, cx)?;
    let end = end.min(text.len());
    if start > text.len() || end < start {
        return Ok(Value::Int32(-1));
    }
    let within = text.as_bytes().get(start..end).unwrap_or_default();
    let found = if token.is_empty() { Some(0) } else { within.windows(token.len()).position(|w| w == token.as_bytes()) };
    Ok(Value::Int32(found.map_or(-1, |at| (start + at) as i32)))
}

fn index_of_cp<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some((text, token)) = texts(args, cx, 40093, 40094)? else { return Ok(Value::Null) };
    let (start, end) = bounds(args, cx)?;
    let length = text.chars().count();
    if length == 0 && token.is_empty() && start == 0 {
        return Ok(Value::Int32(0));
    }
    let end = end.min(length);
    if start > length || end < start {
        return Ok(Value::Int32(-1));
    }
    // Only the start of the match must lie within the bounds.
    let mut starts = text.char_indices().enumerate().skip(start).take(end.saturating_sub(start));
    let found = starts.find(|(_, (at, _))| text.get(*at..).is_some_and(|rest| rest.starts_with(token)));
    Ok(Value::Int32(found.map_or(-1, |(index, _)| index as i32)))
}
