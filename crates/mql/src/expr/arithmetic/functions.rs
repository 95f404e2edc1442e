//! Functions of one number: `$abs $ceil $exp $floor $ln $log10 $sigmoid $sqrt`.

use smongo_bson::decimal::Rounding;
use smongo_bson::{Decimal, Result, Value, bail};

use crate::cx::Cx;
use crate::expr::node::{Args, Node};
use crate::expr::parse::{Row, Scope};

pub(crate) static ROWS: &[Row] = &[
    Row::exact("$abs", 1, abs),
    Row::exact("$ceil", 1, |args, cx| whole(args, cx, f64::ceil, Rounding::Up)),
    Row::exact("$exp", 1, |args, cx| map(args, cx, |x| Ok(x.exp()), |d| Ok(d.exp()))),
    Row::exact("$floor", 1, |args, cx| whole(args, cx, f64::floor, Rounding::Down)),
    Row::exact("$ln", 1, |args, cx| map(args, cx, |x| positive(x, x <= 0.0).map(f64::ln), |d| positive_decimal(d).map(Decimal::ln))),
    Row::exact("$log10", 1, log10),
    Row::special("$sigmoid", parse_sigmoid, sigmoid),
    Row::exact("$sqrt", 1, sqrt),
];

/// The argument when it is a number; `None` for null.
pub(super) fn number<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Option<Value<'a>>> {
    match args.eval(0, cx)? {
        v if v.is_number() => Ok(Some(v)),
        v if v.is_nullish() => Ok(None),
        v => bail!(28765, "{} only supports numeric types, not {}", args.name, v.type_name()),
    }
}

/// Applies a function of doubles, or of decimals to a decimal.
fn map<'a>(
    args: &'a Args,
    cx: &Cx<'a>,
    double: fn(f64) -> Result<f64>,
    decimal: fn(Decimal) -> Result<Decimal>,
) -> Result<Value<'a>> {
    // Of a decimal NaN logarithms make a double.
    let keep_nan = !matches!(args.name, "$ln" | "$log10");
    Ok(match number(args, cx)? {
        None => Value::Null,
        Some(Value::Decimal(d)) if !d.is_nan() || keep_nan => Value::Decimal(decimal(d)?),
        Some(v) => Value::Double(double(smongo_bson::number::to_f64(v).unwrap_or(f64::NAN))?),
    })
}

/// A decimal that has no 34 digits left of the point for its integer becomes NaN, as do infinities.
fn whole<'a>(args: &'a Args, cx: &Cx<'a>, double: fn(f64) -> f64, rounding: Rounding) -> Result<Value<'a>> {
    Ok(match number(args, cx)? {
        None => Value::Null,
        Some(Value::Double(n)) => Value::Double(double(n)),
        Some(Value::Decimal(d)) => Value::Decimal(d.quantize(0, rounding)),
        Some(v) => v,
    })
}

fn abs<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(match number(args, cx)? {
        None => Value::Null,
        Some(Value::Int32(n)) => n.checked_abs().map_or(Value::Int64(i64::from(n).abs()), Value::Int32),
        Some(Value::Int64(n)) => match n.checked_abs() {
            Some(n) => Value::Int64(n),
            None => bail!(28680, "can't take $abs of long long min"),
        },
        Some(Value::Double(n)) => Value::Double(n.abs()),
        Some(Value::Decimal(d)) => Value::Decimal(d.abs()),
        Some(v) => v,
    })
}

fn positive(x: f64, refused: bool) -> Result<f64> {
    if refused {
        bail!(28766, "$ln's argument must be a positive number, but is {x}");
    }
    Ok(x)
}

fn positive_decimal(d: Decimal) -> Result<Decimal> {
    if !d.is_nan() && d.compare(Decimal::ZERO).is_le() {
        bail!(28766, "$ln's argument must be a positive number, but is {d}");
    }
    Ok(d)
}

fn log10<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    map(
        args,
        cx,
        |x| if x <= 0.0 { bail!(28761, "$log10's argument must be a positive number, but is {x}") } else { Ok(x.log10()) },
        |d| {
            if !d.is_nan() && d.compare(Decimal::ZERO).is_le() {
                bail!(28761, "$log10's argument must be a positive number, but is {d}");
            }
            Ok(d.log10())
        },
    )
}

fn sqrt<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    map(
        args,
        cx,
        |x| if x < 0.0 { bail!(28714, "$sqrt's argument must be greater than or equal to 0") } else { Ok(x.sqrt()) },
        |d| {
            if !d.is_nan() && d.compare(Decimal::ZERO).is_lt() {
                bail!(28714, "$sqrt's argument must be greater than or equal to 0");
            }
            Ok(d.sqrt())
        },
    )
}

/// The argument is never in an array.
fn parse_sigmoid(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let arg = scope.operand(spec)?;
    Ok(scope.call(row, vec![arg]))
}

/// 1 / (1 + e^-x).
fn sigmoid<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        v if v.is_nullish() => Ok(Value::Null),
        Value::Decimal(d) => Ok(Value::Decimal(Decimal::ONE.div(Decimal::ONE.add(d.mul(Decimal::from_i64(-1)).exp())))),
        v => match smongo_bson::number::to_f64(v) {
            Some(x) => Ok(Value::Double(1.0 / (1.0 + (-x).exp()))),
            None => bail!(TypeMismatch, "$sigmoid only supports numeric types, not {}", v.type_name()),
        },
    }
}
