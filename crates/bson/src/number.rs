//! The one arithmetic: numeric promotion, comparison and conversion across int, long, double and decimal.

use std::cmp::Ordering;

use crate::decimal::Decimal;
use crate::error::Result;
use crate::value::Value;

/// Compares two numbers of any types exactly, also beyond 2^53. NaN is below every number and equal to NaN.
pub fn compare(_a: Value<'_>, _b: Value<'_>) -> Ordering {
    todo!()
}

/// a + b with MongoDB's promotion: int overflows to long, long to double; decimal wins over double.
pub fn add(_a: Value<'_>, _b: Value<'_>) -> Result<Value<'static>> {
    todo!()
}
pub fn subtract(_a: Value<'_>, _b: Value<'_>) -> Result<Value<'static>> {
    todo!()
}
pub fn multiply(_a: Value<'_>, _b: Value<'_>) -> Result<Value<'static>> {
    todo!()
}
/// The number as a double (rounded when it must be); `None` for what is no number.
pub fn to_f64(_v: Value<'_>) -> Option<f64> {
    todo!()
}
/// The number as a decimal; `None` for what is no number.
pub fn to_decimal(_v: Value<'_>) -> Option<Decimal> {
    todo!()
}
/// The integer a number of any type represents exactly (3.0 is 3); `None` otherwise.
pub fn to_i64_exact(_v: Value<'_>) -> Option<i64> {
    todo!()
}
pub fn is_nan(_v: Value<'_>) -> bool {
    todo!()
}
