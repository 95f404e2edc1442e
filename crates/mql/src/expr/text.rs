//! How values read as strings: the coercion of string operators, and the limit on strings.

use smongo_bson::{Result, Timestamp, Value, bail};

use super::date::civil::{self, MONTHS};
use crate::cx::Cx;

/// Strings of this many bytes and more cannot be made.
pub(crate) const MAX_STRING: usize = 16 * 1024 * 1024;

/// Refuses strings that are too long for a document.
pub(crate) fn check_length(len: usize) -> Result<()> {
    if len >= MAX_STRING {
        bail!(16493, "Tried to create string longer than 16MB");
    }
    Ok(())
}

/// A string made by an operator, in the arena.
pub(crate) fn string<'a>(cx: &Cx<'a>, s: &str) -> Result<Value<'a>> {
    check_length(s.len())?;
    Ok(Value::String(cx.arena.str(s)))
}

/// What string operators make of their arguments: numbers, dates and code become strings, null the empty one.
pub(crate) fn coerce<'a>(v: Value<'a>, cx: &Cx<'a>) -> Result<&'a str> {
    let made = match v {
        Value::String(s) | Value::Symbol(s) | Value::JavaScript(s) => return Ok(s),
        v if v.is_nullish() => return Ok(""),
        Value::Int32(n) => n.to_string(),
        Value::Int64(n) => n.to_string(),
        Value::Double(n) => general(n, 6),
        Value::Decimal(d) => d.to_string(),
        Value::DateTime(ms) => civil::iso_string(ms),
        Value::Timestamp(t) => timestamp(t),
        v => bail!(16007, "can't convert from BSON type {} to String", v.type_name()),
    };
    Ok(cx.arena.str(&made))
}

/// A timestamp for people: `Jan  1 00:00:01:1`.
fn timestamp(t: Timestamp) -> String {
    let c = civil::civil_of(i64::from(t.time) * 1000);
    let month = MONTHS.get(c.date.month as usize - 1).map_or("", |m| m.get(..3).unwrap_or(m));
    format!("{month} {:>2} {:02}:{:02}:{:02}:{}", c.date.day, c.hour, c.minute, c.second, t.increment)
}

/// A double as C's `%.{digits}g` writes it.
pub(crate) fn general(n: f64, digits: usize) -> String {
    if n.is_nan() {
        return "nan".to_owned();
    }
    if n.is_infinite() {
        return if n < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    if n == 0.0 {
        return if n.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{n:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s.to_owned() };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{n:.*}", (digits as i32 - 1 - exponent).max(0) as usize))
}
