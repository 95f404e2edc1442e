//! The one arithmetic: numeric promotion, comparison and conversion across int, long, double and decimal.

use std::cmp::Ordering;

use crate::decimal::{Decimal, Parts};
use crate::err;
use crate::error::Result;
use crate::value::Value;

/// 2^63, the first double above every long.
pub(crate) const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// Compares two numbers of any types exactly, also beyond 2^53. NaN is below every number and equal to NaN; -0 equals 0.
pub fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    use Value::{Decimal as Dec, Double, Int32, Int64};
    match (a, b) {
        (Int32(x), Int32(y)) => x.cmp(&y),
        (Int64(x), Int64(y)) => x.cmp(&y),
        (Int32(x), Int64(y)) => i64::from(x).cmp(&y),
        (Int64(x), Int32(y)) => x.cmp(&i64::from(y)),
        (Double(x), Double(y)) => compare_f64(x, y),
        (Double(x), Int32(y)) => compare_f64(x, f64::from(y)),
        (Int32(x), Double(y)) => compare_f64(f64::from(x), y),
        (Int64(x), Double(y)) => compare_i64_f64(x, y),
        (Double(x), Int64(y)) => compare_i64_f64(y, x).reverse(),
        (Dec(x), Dec(y)) => x.compare(y),
        (Dec(x), Double(y)) => compare_decimal_f64(x, y),
        (Double(x), Dec(y)) => compare_decimal_f64(y, x).reverse(),
        (Dec(x), Int32(y)) => x.compare(Decimal::from(y)),
        (Int32(x), Dec(y)) => Decimal::from(x).compare(y),
        (Dec(x), Int64(y)) => x.compare(Decimal::from(y)),
        (Int64(x), Dec(y)) => Decimal::from(x).compare(y),
        _ => Ordering::Equal,
    }
}

/// The order of doubles as values: NaN first and equal to itself, -0 equal to 0.
#[inline]
pub fn compare_f64(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn compare_i64_f64(n: i64, f: f64) -> Ordering {
    if f.is_nan() || f < -TWO_63 {
        Ordering::Greater
    } else if f >= TWO_63 {
        Ordering::Less
    } else {
        // Within the range of longs the whole part converts exactly.
        n.cmp(&(f as i64)).then_with(|| 0.0f64.partial_cmp(&f.fract()).unwrap_or(Ordering::Equal))
    }
}

fn compare_decimal_f64(d: Decimal, f: f64) -> Ordering {
    if d.is_nan() || f.is_nan() {
        return f.is_nan().cmp(&d.is_nan());
    }
    // Rounding keeps order: when the nearest double of the decimal is another, it tells.
    let rounded = d.to_f64();
    if rounded != f {
        return compare_f64(rounded, f);
    }
    match d.parts() {
        Parts::Finite { negative, coefficient, exponent } if coefficient != 0 && f.is_finite() => {
            let order = if f == 0.0 { Ordering::Greater } else { compare_digits(coefficient, exponent, f.abs()) };
            if negative { order.reverse() } else { order }
        }
        Parts::Finite { .. } if f.is_infinite() => if f < 0.0 { Ordering::Greater } else { Ordering::Less },
        _ => Ordering::Equal,
    }
}

/// Compares `c * 10^e`, not zero, with a positive double, digit by digit of its exact decimal expansion (at most 767).
fn compare_digits(c: u128, e: i32, f: f64) -> Ordering {
    let (x, y) = (c.to_string(), format!("{f:.766e}"));
    let (mantissa, exponent) = y.split_once('e').unwrap_or((&y, "0"));
    let magnitude = e + x.len() as i32 - 1;
    let xs = x.bytes().chain(std::iter::repeat(b'0'));
    magnitude.cmp(&exponent.parse().unwrap_or(0)).then_with(|| xs.take(767).cmp(mantissa.bytes().filter(|b| *b != b'.')))
}

/// a + b with MongoDB's promotion: int overflows to long, long to double; decimal wins over double.
pub fn add(a: Value<'_>, b: Value<'_>) -> Result<Value<'static>> {
    arithmetic("add", a, b, i64::checked_add, |x, y| x + y, Decimal::add)
}

/// a - b with the same promotion.
pub fn subtract(a: Value<'_>, b: Value<'_>) -> Result<Value<'static>> {
    arithmetic("subtract", a, b, i64::checked_sub, |x, y| x - y, Decimal::sub)
}

/// a * b with the same promotion.
pub fn multiply(a: Value<'_>, b: Value<'_>) -> Result<Value<'static>> {
    arithmetic("multiply", a, b, i64::checked_mul, |x, y| x * y, Decimal::mul)
}

fn arithmetic(
    verb: &str,
    a: Value<'_>,
    b: Value<'_>,
    long: fn(i64, i64) -> Option<i64>,
    double: fn(f64, f64) -> f64,
    decimal: fn(Decimal, Decimal) -> Decimal,
) -> Result<Value<'static>> {
    combine(a, b, long, double, decimal)
        .map(|v| v.unwrap_or_else(|(x, y)| Value::Double(double(x as f64, y as f64))))
        .ok_or_else(|| err!(TypeMismatch, "cannot {verb} types {} and {}", a.type_name(), b.type_name()))
}

/// a + b as updates do it: int overflows to long; `None` when long overflows (or one is no number).
pub fn checked_add(a: Value<'_>, b: Value<'_>) -> Option<Value<'static>> {
    combine(a, b, i64::checked_add, |x, y| x + y, Decimal::add)?.ok()
}

/// a * b as updates do it: int overflows to long; `None` when long overflows (or one is no number).
pub fn checked_mul(a: Value<'_>, b: Value<'_>) -> Option<Value<'static>> {
    combine(a, b, i64::checked_mul, |x, y| x * y, Decimal::mul)?.ok()
}

/// The result in the wider type of both; the two longs when theirs overflows.
fn combine(
    a: Value<'_>,
    b: Value<'_>,
    long: fn(i64, i64) -> Option<i64>,
    double: fn(f64, f64) -> f64,
    decimal: fn(Decimal, Decimal) -> Decimal,
) -> Option<std::result::Result<Value<'static>, (i64, i64)>> {
    use Value::{Decimal as Dec, Double, Int32, Int64};
    let (x, y) = match (a, b) {
        (Int32(x), Int32(y)) => {
            let n = long(i64::from(x), i64::from(y))?;
            return Some(Ok(i32::try_from(n).map_or(Int64(n), Int32)));
        }
        (Int64(x), Int64(y)) => (x, y),
        (Int32(x), Int64(y)) => (i64::from(x), y),
        (Int64(x), Int32(y)) => (x, i64::from(y)),
        (Dec(_), _) | (_, Dec(_)) => return Some(Ok(Dec(decimal(to_decimal(a)?, to_decimal(b)?)))),
        _ => return Some(Ok(Double(double(to_f64(a)?, to_f64(b)?)))),
    };
    Some(long(x, y).map(Int64).ok_or((x, y)))
}

/// The number as a double (rounded when it must be); `None` for what is no number.
pub fn to_f64(v: Value<'_>) -> Option<f64> {
    match v {
        Value::Int32(n) => Some(f64::from(n)),
        Value::Int64(n) => Some(n as f64),
        Value::Double(n) => Some(n),
        Value::Decimal(d) => Some(d.to_f64()),
        _ => None,
    }
}

/// The number as a decimal, a double with 15 digits; `None` for what is no number.
pub fn to_decimal(v: Value<'_>) -> Option<Decimal> {
    match v {
        Value::Int32(n) => Some(Decimal::from(n)),
        Value::Int64(n) => Some(Decimal::from(n)),
        Value::Double(n) => Some(Decimal::from_f64(n)),
        Value::Decimal(d) => Some(d),
        _ => None,
    }
}

/// The integer a number of any type represents exactly (3.0 is 3); `None` otherwise.
pub fn to_i64_exact(v: Value<'_>) -> Option<i64> {
    match v {
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) => Some(n),
        Value::Double(n) => f64_to_i64_exact(n),
        Value::Decimal(d) => d.to_i64_exact(),
        _ => None,
    }
}

/// The same within the range of ints.
pub fn to_i32_exact(v: Value<'_>) -> Option<i32> {
    to_i64_exact(v)?.try_into().ok()
}

/// The long nearest to a number, truncated towards zero and held at the ends of the range; NaN is 0. `None` for what
/// is no number. This is how lenient options such as `limit` read numbers.
pub fn to_i64_saturating(v: Value<'_>) -> Option<i64> {
    match v {
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) => Some(n),
        Value::Double(n) => Some(n as i64),
        Value::Decimal(d) => Some(d.to_i64_trunc().unwrap_or_else(|| d.to_f64() as i64)),
        _ => None,
    }
}

#[inline]
pub(crate) fn f64_to_i64_exact(n: f64) -> Option<i64> {
    let whole = n as i64;
    (whole as f64 == n && n < TWO_63).then_some(whole)
}

/// The integer MongoDB's commands take a number for: a double's fraction is cut off, a decimal is rounded half to even; what is
/// out of range becomes the nearest end, NaN and what is no number zero.
pub fn to_i64_rounded(v: Value<'_>) -> i64 {
    match v {
        Value::Decimal(d) => d.to_i64_rounded().unwrap_or_else(|| d.to_f64() as i64),
        v => to_i64_saturating(v).unwrap_or(0),
    }
}

pub fn is_nan(v: Value<'_>) -> bool {
    match v {
        Value::Double(n) => n.is_nan(),
        Value::Decimal(d) => d.is_nan(),
        _ => false,
    }
}

/// Whether a number is an infinity of either sign.
pub fn is_infinite(v: Value<'_>) -> bool {
    match v {
        Value::Double(n) => n.is_infinite(),
        Value::Decimal(d) => d.is_infinite(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Value<'static> {
        Value::Decimal(Decimal::parse(text).unwrap_or(Decimal::NAN))
    }

    #[test]
    fn numbers_of_all_types_stand_in_one_order() {
        let classes: Vec<Vec<Value<'_>>> = vec![
            vec![Value::Double(f64::NAN), dec("NaN"), Value::Double(-f64::NAN)],
            vec![Value::Double(f64::NEG_INFINITY), dec("-Infinity")],
            vec![dec("-1E400")],
            vec![Value::Double(f64::MIN)],
            vec![dec("-9223372036854775809")],
            vec![Value::Int64(i64::MIN), Value::Double(-TWO_63), dec("-9223372036854775808")],
            vec![Value::Int64(i64::MIN + 1)],
            vec![Value::Int32(-1), Value::Int64(-1), Value::Double(-1.0), dec("-1.00")],
            vec![dec("-1E-400")],
            vec![Value::Int32(0), Value::Double(-0.0), dec("-0E-10"), Value::Double(0.0)],
            vec![dec("1E-400")],
            vec![Value::Double(5e-324)],
            vec![dec("0.1")],
            vec![dec("0.1000000000000000055511151231257827")],
            vec![Value::Double(0.1)],
            vec![dec("0.1000000000000000055511151231257828")],
            vec![Value::Double(0.5), dec("0.5")],
            vec![Value::Int32(1), Value::Double(1.0)],
            vec![Value::Int64(1 << 53), Value::Double(9007199254740992.0)],
            vec![Value::Int64((1 << 53) + 1), dec("9007199254740993")],
            vec![Value::Double(9007199254740994.0)],
            vec![Value::Int64(i64::MAX)],
            vec![Value::Double(TWO_63), dec("9223372036854775808")],
            vec![Value::Double(f64::MAX)],
            vec![dec("1E309")],
            vec![Value::Double(f64::INFINITY), dec("Infinity")],
        ];
        for (i, xs) in classes.iter().enumerate() {
            for (j, ys) in classes.iter().enumerate() {
                for (x, y) in xs.iter().flat_map(|x| ys.iter().map(move |y| (*x, *y))) {
                    assert_eq!(compare(x, y), i.cmp(&j), "{x:?} {y:?}");
                }
            }
        }
    }

    #[test]
    fn sums_are_promoted() {
        let show = |v: Result<Value<'static>>| v.ok().map(|v| format!("{}({v})", v.type_name()));
        assert_eq!(show(add(Value::Int32(i32::MAX), Value::Int32(1))), Some("long(2147483648)".to_owned()));
        assert_eq!(show(add(Value::Int64(i64::MAX), Value::Int32(1))), Some("double(9.223372036854776e+18)".to_owned()));
        assert_eq!(show(multiply(Value::Int32(3), Value::Int64(2))), Some("long(6)".to_owned()));
        assert_eq!(show(subtract(Value::Double(1.5), Value::Int32(1))), Some("double(0.5)".to_owned()));
        assert_eq!(show(add(dec("1.0"), Value::Int64(1))), Some("decimal(2.0)".to_owned()));
        assert_eq!(show(add(dec("1"), Value::Double(0.5))), Some("decimal(1.500000000000000)".to_owned()));
        assert!(add(Value::Null, Value::Int32(1)).is_err());
        assert!(checked_add(Value::Int64(i64::MAX), Value::Int32(1)).is_none());
        assert!(matches!(checked_mul(Value::Int32(i32::MAX), Value::Int32(2)), Some(Value::Int64(4294967294))));
    }
}
