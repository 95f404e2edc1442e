//! Window functions over series of numbers: `$derivative $integral $expMovingAvg $linearFill $locf $minMaxScaler`.

use std::ops::Range;

use smongo_bson::{Decimal, Result, Value, ValueBuf, bail, number};

use super::function::Alpha;
use crate::pipeline::time::TimeUnit;

fn null() -> ValueBuf {
    ValueBuf::new(Value::Null)
}

fn is_decimal(v: Value<'_>) -> bool {
    matches!(v, Value::Decimal(_))
}

fn as_decimal(v: Value<'_>) -> Decimal {
    number::to_decimal(v).unwrap_or_else(|| Decimal::from_i64(0))
}

/// a / b as a double, or a decimal where one of them is.
fn divide(a: Value<'_>, b: Value<'_>) -> Value<'static> {
    if is_decimal(a) || is_decimal(b) {
        return Value::Decimal(as_decimal(a).div(as_decimal(b)));
    }
    Value::Double(number::to_f64(a).unwrap_or(f64::NAN) / number::to_f64(b).unwrap_or(f64::NAN))
}

/// The distance of two sort values: numbers as they are, dates in the unit.
fn distance(from: Value<'_>, to: Value<'_>, unit: Option<TimeUnit>, name: &str) -> Result<Value<'static>> {
    match (from, to, unit) {
        (Value::DateTime(a), Value::DateTime(b), Some(unit)) => {
            let millis = unit.millis().unwrap_or(1);
            Ok(Value::Double((b - a) as f64 / millis as f64))
        }
        (Value::DateTime(_), _, None) | (_, Value::DateTime(_), None) => {
            bail!(5624900, "{name} where the sortBy is a Date requires a 'unit'")
        }
        (a, b, None) if a.is_number() && b.is_number() => number::subtract(b, a),
        (_, _, Some(_)) => bail!(5624901, "{name} with unit expects the sortBy field to be a Date"),
        _ => bail!(5624902, "{name} expects the sortBy field to be numeric or a Date"),
    }
}

fn view(values: &[ValueBuf], at: usize) -> Value<'_> {
    values.get(at).map_or(Value::Missing, ValueBuf::view)
}

/// The slope between the first and the last document of the frame.
pub(super) fn derivative(values: &[ValueBuf], sort: &[ValueBuf], range: Range<usize>, unit: Option<TimeUnit>) -> Result<ValueBuf> {
    if range.len() < 2 {
        return Ok(null());
    }
    let (first, last) = (range.start, range.end - 1);
    let (y0, y1) = (view(values, first), view(values, last));
    let (x0, x1) = (view(sort, first), view(sort, last));
    if y0.is_nullish() || y1.is_nullish() || x0.is_nullish() || x1.is_nullish() {
        return Ok(null());
    }
    let run = distance(x0, x1, unit, "$derivative")?;
    if !y0.is_number() || !y1.is_number() {
        bail!(5624903, "$derivative input must be numeric");
    }
    if number::to_f64(run) == Some(0.0) {
        return Ok(null());
    }
    let rise = number::subtract(y1, y0)?;
    Ok(ValueBuf::new(divide(rise, run)))
}

/// The area below the line through the documents of the frame.
pub(super) fn integral(values: &[ValueBuf], sort: &[ValueBuf], range: Range<usize>, unit: Option<TimeUnit>) -> Result<ValueBuf> {
    let mut total = Value::Double(0.0);
    for at in range.clone() {
        let (x, y) = (view(sort, at), view(values, at));
        if y.is_nullish() || x.is_nullish() {
            return Ok(null());
        }
        if !y.is_number() {
            bail!(5423900, "The input value of $integral window function must be a vector of 2 values: both numeric");
        }
        distance(x, x, unit, "$integral")?;
    }
    for at in range.clone().skip(1) {
        let run = distance(view(sort, at - 1), view(sort, at), unit, "$integral")?;
        let sum = number::add(view(values, at - 1), view(values, at))?;
        let area = divide(number::multiply(sum, run)?, Value::Int32(2));
        total = number::add(total, area)?;
    }
    Ok(ValueBuf::new(total))
}

pub(super) fn exp_moving_avg(values: &[ValueBuf], alpha: &Alpha) -> Result<Vec<ValueBuf>> {
    let mut current: Option<ValueBuf> = None;
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        let v = value.view();
        if !v.is_number() {
            out.push(null());
            continue;
        }
        let next = match &current {
            None if is_decimal(v) => value.clone(),
            None => ValueBuf::new(Value::Double(number::to_f64(v).unwrap_or(f64::NAN))),
            Some(before) => ValueBuf::new(averaged(before.view(), v, alpha)?),
        };
        out.push(next.clone());
        current = Some(next);
    }
    Ok(out)
}

fn averaged(before: Value<'_>, value: Value<'_>, alpha: &Alpha) -> Result<Value<'static>> {
    let decimal = is_decimal(before) || is_decimal(value);
    let (weight, rest) = match (alpha, decimal) {
        (Alpha::N(n), true) => {
            let w = Decimal::from_i64(2).div(Decimal::from_i64(n + 1));
            (Value::Decimal(w), Value::Decimal(Decimal::from_i64(1).sub(w)))
        }
        (Alpha::N(n), false) => {
            let w = 2.0 / (*n as f64 + 1.0);
            (Value::Double(w), Value::Double(1.0 - w))
        }
        (Alpha::Given(a), true) => {
            let w = as_decimal(a.view());
            (Value::Decimal(w), Value::Decimal(Decimal::from_i64(1).sub(w)))
        }
        (Alpha::Given(a), false) => {
            let w = number::to_f64(a.view()).unwrap_or(0.0);
            (Value::Double(w), Value::Double(1.0 - w))
        }
    };
    number::add(number::multiply(value, weight)?, number::multiply(before, rest)?)
}

/// The last value that is neither null nor missing.
pub(super) fn locf(values: &[ValueBuf]) -> Vec<ValueBuf> {
    let mut last = null();
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        if !value.view().is_nullish() {
            last = value.clone();
        }
        out.push(last.clone());
    }
    out
}

/// Gaps between two numbers are filled on the line between them.
pub(super) fn linear_fill(values: &[ValueBuf], sort: &[ValueBuf]) -> Result<Vec<ValueBuf>> {
    let mut out = Vec::with_capacity(values.len());
    let mut left: Option<usize> = None;
    check_sort(sort)?;
    for (at, value) in values.iter().enumerate() {
        let v = value.view();
        if v.is_number() {
            left = Some(at);
            out.push(value.clone());
            continue;
        }
        if !v.is_nullish() {
            bail!(TypeMismatch, "Value to be filled must be numeric or nullish, but found {}", v.type_name());
        }
        let right = (at..values.len()).find(|i| !view(values, *i).is_nullish());
        let filled = match (left, right) {
            (Some(left), Some(right)) if view(values, right).is_number() => between(values, sort, left, at, right)?,
            _ => null(),
        };
        out.push(filled);
    }
    Ok(out)
}

fn check_sort(sort: &[ValueBuf]) -> Result<()> {
    let mut before: Option<&ValueBuf> = None;
    for value in sort {
        let v = value.view();
        if !v.is_number() && !matches!(v, Value::DateTime(_)) {
            bail!(TypeMismatch, "$linearFill requires the sortBy field to be numeric or a Date, but found {}", v.type_name());
        }
        if let Some(before) = before {
            if matches!(v, Value::DateTime(_)) != matches!(before.view(), Value::DateTime(_)) {
                bail!(6050107, "Conflicting sort value types, previous and current types don't match");
            }
            if smongo_bson::compare::equal(before.view(), v) {
                bail!(6050106, "There can be no repeated values in the sort field");
            }
        }
        before = Some(value);
    }
    Ok(())
}

fn between(values: &[ValueBuf], sort: &[ValueBuf], left: usize, at: usize, right: usize) -> Result<ValueBuf> {
    let position = |i: usize| match view(sort, i) {
        Value::DateTime(ms) => Value::Int64(ms),
        Value::Int32(n) => Value::Int32(n),
        Value::Int64(n) => Value::Int64(n),
        Value::Double(x) => Value::Double(x),
        Value::Decimal(d) => Value::Decimal(d),
        _ => Value::Int32(0),
    };
    let (y0, y1) = (view(values, left), view(values, right));
    let (x0, x, x1) = (position(left), position(at), position(right));
    let rise = number::subtract(y1, y0)?;
    let slope = divide(rise, number::subtract(x1, x0)?);
    let step = number::multiply(slope, number::subtract(x, x0)?)?;
    Ok(ValueBuf::new(number::add(y0, step)?))
}

/// The document's value moved from the frame's range of values to `[low, high]`.
pub(super) fn scaled(values: &[ValueBuf], row: usize, range: Range<usize>, low: Value<'_>, high: Value<'_>) -> Result<ValueBuf> {
    let current = view(values, row);
    let mut bounds: Option<(Value<'_>, Value<'_>)> = None;
    for value in values.get(range).unwrap_or(&[]) {
        let v = value.view();
        if !v.is_number() {
            bail!(10487000, "$minMaxScaler requires numeric input, but found {}", v.type_name());
        }
        bounds = Some(match bounds {
            None => (v, v),
            Some((min, max)) => (if number::compare(v, min).is_lt() { v } else { min }, if number::compare(v, max).is_gt() { v } else { max }),
        });
    }
    let Some((min, max)) = bounds else { return Ok(null()) };
    if number::compare(min, max).is_eq() {
        return Ok(ValueBuf::new(low));
    }
    let part = divide(number::subtract(current, min)?, number::subtract(max, min)?);
    let width = number::subtract(high, low)?;
    Ok(ValueBuf::new(number::add(number::multiply(part, width)?, low)?))
}
