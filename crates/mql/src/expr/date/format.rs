//! `$dateToString`, and the format strings it shares with `$dateFromString`.

use std::fmt::Write;

use smongo_bson::{Result, Value, bail};

use super::civil::{MONTHS, civil_of, day_of_year, iso_week, iso_weekday};
use super::zone::{Zone, to_millis};
use super::{day, week, zone_arg};
use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::{Fields, Row};
use crate::expr::text::string;

const FIELDS: Fields =
    Fields { not_object: 18629, unknown: 18534, names: &[("date", 18628), ("format", 0), ("timezone", 0), ("onNull", 0)] };

pub(crate) static ROWS: &[Row] = &[Row::fields("$dateToString", &FIELDS, date_to_string)];

/// Refuses characters behind `%` that are not in `known`.
pub(crate) fn check_format(format: &str, known: &str) -> Result<()> {
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        match chars.next() {
            None => bail!(18535, "Unmatched '%' at end of format string"),
            Some(c) if !known.contains(c) => bail!(18536, "Invalid format character '%{c}' in format string"),
            _ => {}
        }
    }
    Ok(())
}

fn date_to_string<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let date = args.eval(0, cx)?;
    let format = if args.given(1) { Some(args.eval(1, cx)?) } else { None };
    match format {
        Some(Value::String(f)) => check_format(f, "bBdGHjLmMSuUVwYzZ%")?,
        Some(v) if !v.is_nullish() => {
            bail!(18533, "$dateToString requires that 'format' be a string, found: {} with value {v:?}", v.type_name())
        }
        _ => {}
    }
    let zone = zone_arg(args, 2, cx)?;
    if date.is_nullish() {
        return if args.given(3) { args.eval(3, cx) } else { Ok(Value::Null) };
    }
    let Some(zone) = zone else { return Ok(Value::Null) };
    let format = match format {
        None if zone.is_utc() => "%Y-%m-%dT%H:%M:%S.%LZ",
        None => "%Y-%m-%dT%H:%M:%S.%L",
        Some(Value::String(f)) => f,
        Some(_) => return Ok(Value::Null),
    };
    string(cx, &write(to_millis(date)?, format, &zone)?)
}

/// Writes a date by a format that was checked.
pub(crate) fn write(millis: i64, format: &str, zone: &Zone) -> Result<String> {
    let local = zone.to_local(millis);
    let (c, days) = (civil_of(local), day(local));
    let year = |year: i64| match year {
        0..=9999 => Ok(year),
        _ => bail!(18537, "$dateToString is only defined on year 0-9999, tried to use year {year}"),
    };
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(ch) = chars.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        let month = MONTHS.get(c.date.month as usize - 1).copied().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = match chars.next().unwrap_or('%') {
            'b' => write!(out, "{}", month.get(..3).unwrap_or(month)),
            'B' => write!(out, "{month}"),
            'd' => write!(out, "{:02}", c.date.day),
            'G' => write!(out, "{:04}", year(iso_week(days).0)?),
            'H' => write!(out, "{:02}", c.hour),
            'j' => write!(out, "{:03}", day_of_year(days)),
            'L' => write!(out, "{:03}", c.millis),
            'm' => write!(out, "{:02}", c.date.month),
            'M' => write!(out, "{:02}", c.minute),
            'S' => write!(out, "{:02}", c.second),
            'u' => write!(out, "{}", iso_weekday(days)),
            'U' => write!(out, "{:02}", week(days)),
            'V' => write!(out, "{:02}", iso_week(days).1),
            'w' => write!(out, "{}", iso_weekday(days) % 7 + 1),
            'Y' => write!(out, "{:04}", year(c.date.year)?),
            'z' => {
                let minutes = zone.offset(millis) / 60_000;
                let sign = if minutes < 0 { '-' } else { '+' };
                write!(out, "{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
            }
            'Z' => write!(out, "{}", zone.offset(millis) / 60_000),
            other => write!(out, "{other}"),
        };
    }
    Ok(out)
}
