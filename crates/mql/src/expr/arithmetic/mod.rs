//! Arithmetic on ints, longs, doubles, decimals and dates. [`round`]: `$round $trunc`. [`functions`]: functions of one number.

mod functions;
mod round;

use smongo_bson::{Code, Decimal, Error, Result, Type, Value, bail, err, number};

use super::node::Args;
use super::parse::Row;
use crate::cx::Cx;

pub(super) use functions::ROWS as FUNCTION_ROWS;
pub(super) use round::ROWS as ROUND_ROWS;

pub(super) static ROWS: &[Row] = &[
    Row::any("$add", add),
    Row::exact("$divide", 2, divide),
    Row::exact("$log", 2, log),
    Row::exact("$mod", 2, modulo),
    Row::any("$multiply", multiply),
    Row::exact("$pow", 2, pow),
    Row::exact("$subtract", 2, subtract),
];

/// The nearest long of a number that is added to a date: half away from zero for doubles, half to even for decimals.
fn millis(v: Value<'_>, op: &str) -> Result<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let millis = match v {
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) => Some(n),
        Value::Double(n) if n.is_finite() && n.abs() < LIMIT => Some(n.round() as i64),
        Value::Decimal(d) => d.to_i64_rounded(),
        _ => None,
    };
    millis.ok_or_else(|| err!(Overflow, "date overflow in {op}"))
}

fn add<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut total = Value::Int32(0);
    let mut date: Option<i64> = None;
    let mut first = true;
    for node in args.iter() {
        let v = node.eval(cx)?;
        match (v, date) {
            (v, None) if v.is_number() => total = if first { v } else { number::add(total, v)? },
            (v, Some(d)) if v.is_number() => date = Some(sum_millis(d, millis(v, "$add")?)?),
            (Value::DateTime(_), Some(_)) => bail!(16612, "only one date allowed in an $add expression"),
            (Value::DateTime(d), None) => date = Some(sum_millis(d, millis(total, "$add")?)?),
            (v, _) if v.is_nullish() => return Ok(Value::Null),
            (v, _) => bail!(TypeMismatch, "$add only supports numeric or date types, not {}", v.type_name()),
        }
        first = false;
    }
    Ok(date.map_or(total, Value::DateTime))
}

fn sum_millis(a: i64, b: i64) -> Result<i64> {
    a.checked_add(b).ok_or_else(|| err!(Overflow, "date overflow in $add"))
}

fn subtract<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (a, b) = (args.eval(0, cx)?, args.eval(1, cx)?);
    match (a, b) {
        (Value::DateTime(x), Value::DateTime(y)) => {
            x.checked_sub(y).map(Value::Int64).ok_or_else(|| err!(Overflow, "date overflow in $subtract"))
        }
        (Value::DateTime(x), y) if y.is_number() => {
            let difference = x.checked_sub(millis(y, "$subtract")?);
            difference.map(Value::DateTime).ok_or_else(|| err!(Overflow, "date overflow in $subtract"))
        }
        (x, y) if x.is_number() && y.is_number() => number::subtract(x, y),
        (x, y) if x.is_nullish() || y.is_nullish() => Ok(Value::Null),
        (x, y) => bail!(TypeMismatch, "can't $subtract {} from {}", y.type_name(), x.type_name()),
    }
}

fn multiply<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut product = Value::Int32(1);
    for (i, node) in args.iter().enumerate() {
        let v = node.eval(cx)?;
        if v.is_number() {
            product = if i == 0 { v } else { number::multiply(product, v)? };
        } else if v.is_nullish() {
            return Ok(Value::Null);
        } else {
            bail!(TypeMismatch, "$multiply only supports numeric types, not {}", v.type_name());
        }
    }
    Ok(product)
}

/// Both arguments, unless one is nullish.
fn two<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Option<(Value<'a>, Value<'a>)>> {
    let (a, b) = (args.eval(0, cx)?, args.eval(1, cx)?);
    Ok(if a.is_nullish() || b.is_nullish() { None } else { Some((a, b)) })
}

fn decimals(a: Value<'_>, b: Value<'_>) -> Option<(Decimal, Decimal)> {
    let either = matches!(a, Value::Decimal(_)) || matches!(b, Value::Decimal(_));
    if either { Some((number::to_decimal(a)?, number::to_decimal(b)?)) } else { None }
}

fn doubles(a: Value<'_>, b: Value<'_>) -> (f64, f64) {
    (number::to_f64(a).unwrap_or(f64::NAN), number::to_f64(b).unwrap_or(f64::NAN))
}

fn longs(a: Value<'_>, b: Value<'_>) -> Option<(i64, i64)> {
    let long = |v| match v {
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) => Some(n),
        _ => None,
    };
    Some((long(a)?, long(b)?))
}

/// A long result, as an int when both operands were ints and it fits.
fn narrow(n: i64, a: Value<'_>, b: Value<'_>) -> Value<'static> {
    let ints = a.type_of() == Type::Int32 && b.type_of() == Type::Int32;
    match i32::try_from(n) {
        Ok(n) if ints => Value::Int32(n),
        _ => Value::Int64(n),
    }
}

fn divide<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some((a, b)) = two(args, cx)? else { return Ok(Value::Null) };
    if !a.is_number() || !b.is_number() {
        bail!(TypeMismatch, "$divide only supports numeric types, not {} and {}", a.type_name(), b.type_name());
    }
    if let Some((x, y)) = decimals(a, b) {
        if y.is_zero() {
            bail!(BadValue, "can't $divide by zero");
        }
        return Ok(Value::Decimal(x.div(y)));
    }
    let (x, y) = doubles(a, b);
    if y == 0.0 {
        bail!(BadValue, "can't $divide by zero");
    }
    Ok(Value::Double(x / y))
}

fn modulo<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some((a, b)) = two(args, cx)? else { return Ok(Value::Null) };
    if !a.is_number() || !b.is_number() {
        bail!(16611, "$mod only supports numeric types, not {} and {}", a.type_name(), b.type_name());
    }
    if let Some((x, y)) = decimals(a, b) {
        if y.is_zero() {
            bail!(5733415, "can't $mod by zero");
        }
        return Ok(Value::Decimal(x.rem(y)));
    }
    if let Some((x, y)) = longs(a, b) {
        if y == 0 {
            bail!(16610, "can't $mod by zero");
        }
        return Ok(narrow(x.wrapping_rem(y), a, b));
    }
    let (x, y) = doubles(a, b);
    if y == 0.0 {
        bail!(16610, "can't $mod by zero");
    }
    Ok(Value::Double(x % y))
}

fn log<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some((a, b)) = two(args, cx)? else { return Ok(Value::Null) };
    if !a.is_number() {
        bail!(28756, "$log's argument must be numeric, not {}", a.type_name());
    }
    if !b.is_number() {
        bail!(28757, "$log's base must be numeric, not {}", b.type_name());
    }
    if let Some((x, y)) = decimals(a, b) {
        if !(x.is_nan() || x.compare(Decimal::ZERO).is_gt()) {
            bail!(28758, "$log's argument must be a positive number, but is {x}");
        }
        if !(y.is_nan() || (y.compare(Decimal::ZERO).is_gt() && y.compare(Decimal::ONE).is_ne())) {
            bail!(28759, "$log's base must be a positive number not equal to 1, but is {y}");
        }
        if !x.is_nan() && !y.is_nan() {
            return Ok(Value::Decimal(x.ln().div(y.ln())));
        }
    }
    let (x, y) = doubles(a, b);
    if x <= 0.0 {
        bail!(28758, "$log's argument must be a positive number, but is {x}");
    }
    if y <= 0.0 || y == 1.0 {
        bail!(28759, "$log's base must be a positive number not equal to 1, but is {y}");
    }
    Ok(Value::Double(x.ln() / y.ln()))
}

fn pow<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some((a, b)) = two(args, cx)? else { return Ok(Value::Null) };
    if !a.is_number() {
        bail!(28762, "$pow's base must be numeric, not {}", a.type_name());
    }
    if !b.is_number() {
        bail!(28763, "$pow's exponent must be numeric, not {}", b.type_name());
    }
    let zero = || Error::new(Code(28764), "$pow cannot take a base of 0 and a negative exponent");
    if let Some((x, y)) = decimals(a, b) {
        if x.is_zero() && y.compare(Decimal::ZERO).is_lt() && !y.is_nan() {
            return Err(zero());
        }
        // MongoDB's power goes through logarithms, which carries the largest numbers over the edge.
        let edge = x.abs().compare(Decimal::MAX).is_eq() && y.compare(Decimal::ONE).is_eq();
        return Ok(Value::Decimal(if edge { Decimal::infinity(x.is_negative()) } else { x.pow(y) }));
    }
    if let Some((x, y)) = longs(a, b) {
        if x == 0 && y < 0 {
            return Err(zero());
        }
        return Ok(integer_power(x, y).map_or_else(|| Value::Double((x as f64).powf(y as f64)), |n| narrow(n, a, b)));
    }
    let (x, y) = doubles(a, b);
    if x == 0.0 && y < 0.0 {
        return Err(zero());
    }
    Ok(Value::Double(x.powf(y)))
}

/// The exact power, when it is a long.
fn integer_power(base: i64, exponent: i64) -> Option<i64> {
    match (base, exponent) {
        (0 | 1, e) if e > 0 => Some(base),
        (1, _) | (_, 0) => Some(1),
        (-1, e) => Some(if e % 2 == 0 { 1 } else { -1 }),
        (b, e) => b.checked_pow(u32::try_from(e).ok()?),
    }
}
