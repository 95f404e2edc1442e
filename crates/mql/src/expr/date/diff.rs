//! `$dateDiff`: how many boundaries of a unit lie between two dates.

use smongo_bson::{Result, Value, bail};

use super::civil::date_of;
use super::unit::{Unit, start_of_week};
use super::zone::{Zone, millis_of};
use super::{day, zone_arg};
use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::{Fields, Row};

const FIELDS: Fields = Fields {
    not_object: 5166301,
    unknown: 5166302,
    names: &[("startDate", 5166303), ("endDate", 5166304), ("unit", 5166305), ("timezone", 0), ("startOfWeek", 0)],
};

pub(crate) static ROWS: &[Row] = &[Row::fields("$dateDiff", &FIELDS, date_diff)];

fn date_diff<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (start, end, unit) = (args.eval(0, cx)?, args.eval(1, cx)?, args.eval(2, cx)?);
    if start.is_nullish() || end.is_nullish() || unit.is_nullish() {
        return Ok(Value::Null);
    }
    let unit = Unit::of(unit, args.name)?;
    let mut week_start = 7;
    if args.given(4) {
        match args.eval(4, cx)? {
            v if v.is_nullish() && (unit == Unit::Week || args.first().is_none_or(|n| n.as_const().is_none())) => {
                return Ok(Value::Null);
            }
            v if unit == Unit::Week => week_start = start_of_week(v, args.name)?,
            _ => {}
        }
    }
    let Some(zone) = zone_arg(args, 3, cx)? else { return Ok(Value::Null) };
    let millis = |v: Value<'_>, what: &str| match millis_of(v) {
        Some(ms) => Ok(ms),
        None => bail!(5166307, "$dateDiff requires '{what}' to be a date, but got {}", v.type_name()),
    };
    let (start, end) = (millis(start, "startDate")?, millis(end, "endDate")?);
    Ok(Value::Int64(difference(start, end, unit, &zone, week_start)))
}

fn difference(start: i64, end: i64, unit: Unit, zone: &Zone, week_start: i64) -> i64 {
    let count = |t: i64| -> i64 {
        let local = zone.to_local(t);
        match unit {
            Unit::Year => date_of(day(local)).year,
            Unit::Quarter => months(local).div_euclid(3),
            Unit::Month => months(local),
            // Day 0 of the epoch is a Thursday, ISO weekday 4.
            Unit::Week => (day(local) + 4 - week_start).div_euclid(7),
            Unit::Day => day(local),
            // Elapsed hours count, with boundaries where the zone's minutes put them.
            Unit::Hour => t.saturating_add(zone.offset(t) % 3_600_000).div_euclid(3_600_000),
            Unit::Minute => t.div_euclid(60_000),
            Unit::Second => t.div_euclid(1000),
            Unit::Millisecond => t,
        }
    };
    count(end).wrapping_sub(count(start))
}

/// Months since year 0.
fn months(local: i64) -> i64 {
    let date = date_of(day(local));
    date.year * 12 + date.month - 1
}
