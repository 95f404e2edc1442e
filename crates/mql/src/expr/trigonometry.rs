//! Trigonometry on doubles and decimals, in radians.

use smongo_bson::{Code, Decimal, Error, Result, Value, bail, number};

use super::node::Args;
use super::parse::Row;
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::exact("$acos", 1, |args, cx| bounded(args, cx, f64::acos, Decimal::acos, Bounds::UNIT)),
    Row::exact("$acosh", 1, |args, cx| bounded(args, cx, f64::acosh, Decimal::acosh, Bounds { min: 1.0, max: f64::INFINITY })),
    Row::exact("$asin", 1, |args, cx| bounded(args, cx, f64::asin, Decimal::asin, Bounds::UNIT)),
    Row::exact("$asinh", 1, |args, cx| bounded(args, cx, f64::asinh, Decimal::asinh, Bounds::ALL)),
    Row::exact("$atan", 1, |args, cx| bounded(args, cx, f64::atan, Decimal::atan, Bounds::ALL)),
    Row::exact("$atan2", 2, atan2),
    Row::exact("$atanh", 1, |args, cx| bounded(args, cx, f64::atanh, Decimal::atanh, Bounds::UNIT)),
    Row::exact("$cos", 1, |args, cx| bounded(args, cx, f64::cos, Decimal::cos, Bounds::FINITE)),
    Row::exact("$cosh", 1, |args, cx| bounded(args, cx, f64::cosh, Decimal::cosh, Bounds::ALL)),
    Row::exact("$degreesToRadians", 1, |args, cx| bounded(args, cx, |x| x * (std::f64::consts::PI / 180.0), to_radians, Bounds::ALL)),
    Row::exact("$radiansToDegrees", 1, |args, cx| bounded(args, cx, |x| x * (180.0 / std::f64::consts::PI), to_degrees, Bounds::ALL)),
    Row::exact("$sin", 1, |args, cx| bounded(args, cx, f64::sin, Decimal::sin, Bounds::FINITE)),
    Row::exact("$sinh", 1, |args, cx| bounded(args, cx, f64::sinh, Decimal::sinh, Bounds::ALL)),
    Row::exact("$tan", 1, |args, cx| bounded(args, cx, f64::tan, Decimal::tan, Bounds::FINITE)),
    Row::exact("$tanh", 1, |args, cx| bounded(args, cx, f64::tanh, Decimal::tanh, Bounds::ALL)),
];

/// Where a function is defined. Infinities are inside only when a bound is infinite.
#[derive(Clone, Copy)]
struct Bounds {
    min: f64,
    max: f64,
}

impl Bounds {
    const ALL: Bounds = Bounds { min: f64::NEG_INFINITY, max: f64::INFINITY };
    const UNIT: Bounds = Bounds { min: -1.0, max: 1.0 };
    const FINITE: Bounds = Bounds { min: f64::MIN, max: f64::MAX };

    fn check(self, v: Value<'_>, op: &str) -> Result<()> {
        let inside = number::is_nan(v)
            || (number::compare(v, Value::Double(self.min)).is_ge() && number::compare(v, Value::Double(self.max)).is_le())
            || (self.min == f64::MIN && matches!(v, Value::Decimal(d) if d.is_finite()));
        if inside {
            return Ok(());
        }
        let open = |x: f64| if x.is_finite() && x.abs() < f64::MAX { x.to_string() } else { if x < 0.0 { "-inf" } else { "inf" }.to_owned() };
        let shown = match v {
            Value::Decimal(d) => d.to_string(),
            v => number::to_f64(v).unwrap_or(f64::NAN).to_string(),
        };
        let (low, high) = if self.min == f64::MIN { ('(', ')') } else { ('[', ']') };
        Err(Error::new(Code(50989), format!("cannot apply {op} to {shown}, value must be in {low}{},{}{high}", open(self.min), open(self.max))))
    }
}

fn bounded<'a>(
    args: &'a Args,
    cx: &Cx<'a>,
    double: fn(f64) -> f64,
    decimal: fn(Decimal) -> Decimal,
    bounds: Bounds,
) -> Result<Value<'a>> {
    let v = args.eval(0, cx)?;
    if v.is_nullish() {
        return Ok(Value::Null);
    }
    let Some(x) = number::to_f64(v) else {
        bail!(28765, "{} only supports numeric types, not {}", args.name, v.type_name());
    };
    bounds.check(v, args.name)?;
    Ok(match v {
        Value::Decimal(d) => Value::Decimal(decimal(d)),
        _ => Value::Double(double(x)),
    })
}

fn atan2<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (y, x) = (args.eval(0, cx)?, args.eval(1, cx)?);
    if y.is_nullish() || x.is_nullish() {
        return Ok(Value::Null);
    }
    if !y.is_number() {
        bail!(51044, "$atan2 only supports numeric types, not {} and {}", y.type_name(), x.type_name());
    }
    if !x.is_number() {
        bail!(51045, "$atan2 only supports numeric types, not {} and {}", y.type_name(), x.type_name());
    }
    if let (Value::Decimal(_), _) | (_, Value::Decimal(_)) = (y, x)
        && let (Some(y), Some(x)) = (number::to_decimal(y), number::to_decimal(x))
    {
        return Ok(Value::Decimal(y.atan2(x)));
    }
    let (y, x) = (number::to_f64(y).unwrap_or(f64::NAN), number::to_f64(x).unwrap_or(f64::NAN));
    Ok(Value::Double(y.atan2(x)))
}

/// Pi over 180 with 34 digits.
const RADIANS: &str = "0.01745329251994329576923690768488613";
/// 180 over pi with 34 digits.
const DEGREES: &str = "57.29577951308232087679815481410517";

fn scaled(d: Decimal, by: &str) -> Decimal {
    d.mul(Decimal::parse(by).unwrap_or(Decimal::NAN))
}

fn to_radians(d: Decimal) -> Decimal {
    scaled(d, RADIANS)
}

fn to_degrees(d: Decimal) -> Decimal {
    scaled(d, DEGREES)
}
