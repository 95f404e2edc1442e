//! `$round` (half to even) and `$trunc`, at a decimal place.

use smongo_bson::decimal::Rounding;
use smongo_bson::{Decimal, Result, Value, bail};

use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::Row;

pub(crate) static ROWS: &[Row] = &[
    Row::range("$round", 1, 2, |args, cx| at_place(args, cx, Rounding::HalfEven)),
    Row::range("$trunc", 1, 2, |args, cx| at_place(args, cx, Rounding::TowardZero)),
];

fn at_place<'a>(args: &'a Args, cx: &Cx<'a>, rounding: Rounding) -> Result<Value<'a>> {
    let value = args.eval(0, cx)?;
    if value.is_nullish() {
        return Ok(Value::Null);
    }
    if !value.is_number() {
        bail!(51081, "{} only supports numeric types, not {}", args.name, value.type_name());
    }
    let place = if args.len() > 1 {
        match args.eval(1, cx)? {
            v if v.is_nullish() => return Ok(Value::Null),
            v => place(v, args.name)?,
        }
    } else {
        0
    };
    round(value, place, rounding, args.name)
}

/// The place, -20 to 100.
fn place(v: Value<'_>, op: &str) -> Result<i32> {
    let n = match v {
        Value::Int32(n) => i64::from(n),
        Value::Int64(n) => n,
        Value::Double(n) if n.fract() == 0.0 && n.abs() < 9.3e18 => n as i64,
        Value::Double(n) if n.is_finite() => bail!(51082, "precision argument to  {op} must be a integral value"),
        Value::Double(n) => bail!(31109, "Can't coerce out of range value {n} to long"),
        Value::Decimal(d) => match d.to_i64_exact() {
            Some(n) => n,
            None => bail!(51082, "precision argument to  {op} must be a integral value"),
        },
        _ => bail!(16004, "can't convert from BSON type {} to long", v.type_name()),
    };
    match i32::try_from(n) {
        Ok(n @ -20..=100) => Ok(n),
        _ => bail!(51083, "cannot apply {op} with precision value {n} value must be in [-20, 100]"),
    }
}

fn round<'a>(value: Value<'a>, place: i32, rounding: Rounding, op: &str) -> Result<Value<'a>> {
    Ok(match value {
        Value::Int32(_) | Value::Int64(_) if place >= 0 => value,
        Value::Int32(n) => {
            let rounded = integer(i64::from(n), place, rounding, op)?;
            i32::try_from(rounded).map_or(Value::Int64(rounded), Value::Int32)
        }
        Value::Int64(n) => Value::Int64(integer(n, place, rounding, op)?),
        Value::Double(n) if place == 0 => Value::Double(match rounding {
            Rounding::TowardZero => n.trunc(),
            _ => n.round_ties_even(),
        }),
        Value::Double(n) if !n.is_finite() => value,
        Value::Double(n) => Value::Double(decimal(Decimal::from_f64_exact(n), place, rounding).to_f64()),
        Value::Decimal(d) => Value::Decimal(decimal(d, place, rounding)),
        v => v,
    })
}

fn integer(n: i64, place: i32, rounding: Rounding, op: &str) -> Result<i64> {
    match Decimal::from_i64(n).quantize(-place, rounding).to_i64_exact() {
        Some(n) => Ok(n),
        None => bail!(51080, "invalid conversion from Decimal128 result in {op} resulting from arguments: [{n}, {place}]"),
    }
}

fn decimal(d: Decimal, place: i32, rounding: Rounding) -> Decimal {
    if !d.is_finite() {
        return d;
    }
    // $trunc fills up with zeros, $round does not.
    if rounding == Rounding::TowardZero && place > 0 {
        let filled = d.quantize(-place, rounding);
        if !filled.is_nan() {
            return filled;
        }
    }
    d.round_to_place(place, rounding)
}
