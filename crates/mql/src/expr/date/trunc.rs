//! `$dateTrunc`: the start of the bin a date falls into. Bins are counted from 2000-01-01.

use smongo_bson::{Code, Error, Result, Value, bail, number};

use super::civil::{MS_PER_DAY, date_of, days_from, iso_weekday};
use super::unit::{Unit, start_of_week};
use super::zone::{Zone, millis_of};
use super::{day, zone_arg};
use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::{Fields, Row};

const FIELDS: Fields = Fields {
    not_object: 5439007,
    unknown: 5439008,
    names: &[("date", 5439009), ("unit", 5439010), ("binSize", 0), ("timezone", 0), ("startOfWeek", 0)],
};

pub(crate) static ROWS: &[Row] = &[Row::fields("$dateTrunc", &FIELDS, date_trunc)];

fn date_trunc<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (date, unit) = (args.eval(0, cx)?, args.eval(1, cx)?);
    if date.is_nullish() || unit.is_nullish() {
        return Ok(Value::Null);
    }
    let unit = Unit::of(unit, args.name)?;
    let mut bin = 1;
    if args.given(2) {
        let v = args.eval(2, cx)?;
        if v.is_nullish() {
            return Ok(Value::Null);
        }
        let Some(n) = number::to_i64_exact(v) else {
            bail!(5439017, "$dateTrunc requires 'binSize' to be a 64-bit integer, but got value '{v:?}' of type {}", v.type_name());
        };
        if n <= 0 {
            bail!(5439018, "$dateTrunc requires 'binSize' to be greater than 0, but got value {n}");
        }
        bin = n;
    }
    let mut week_start = 7;
    if args.given(4) {
        match args.eval(4, cx)? {
            // Of a constant date the argument is only looked at for weeks.
            v if v.is_nullish() && (unit == Unit::Week || args.first().is_none_or(|n| n.as_const().is_none())) => {
                return Ok(Value::Null);
            }
            v if unit == Unit::Week => week_start = start_of_week(v, args.name)?,
            _ => {}
        }
    }
    let Some(zone) = zone_arg(args, 3, cx)? else { return Ok(Value::Null) };
    let Some(millis) = millis_of(date) else {
        bail!(5166307, "$dateTrunc requires 'date' to be a date, but got {}", date.type_name());
    };
    truncate(millis, unit, bin, &zone, week_start).map(Value::DateTime)
}

/// The first millisecond of the bin.
pub(crate) fn truncate(millis: i64, unit: Unit, bin: i64, zone: &Zone, week_start: i64) -> Result<i64> {
    let overflow = |code: i32| Error::new(Code(code), format!("$dateTrunc 'binSize' value {bin} is too large for the unit"));
    let reference = days_from(2000, 1, 1);
    match unit {
        Unit::Year | Unit::Quarter | Unit::Month => {
            const MOST: i64 = 100_000_000_000;
            let code = if unit == Unit::Month { 5439004 } else if unit == Unit::Quarter { 5439005 } else { 5439006 };
            if bin > MOST {
                return Err(overflow(code));
            }
            let date = date_of(day(zone.to_local(millis)));
            let months = (date.year - 2000) * 12 + date.month - 1;
            let size = bin * unit.months().unwrap_or(1);
            let start = days_from(2000, 1 + months.div_euclid(size) * size, 1);
            Ok(zone.from_local(start.saturating_mul(MS_PER_DAY)))
        }
        Unit::Week | Unit::Day => {
            let days = unit.millis().unwrap_or(MS_PER_DAY) / MS_PER_DAY;
            let size = bin.checked_mul(days).filter(|d| d.checked_mul(MS_PER_DAY).is_some()).ok_or_else(|| overflow(5439003))?;
            // Weeks are counted from the first day of the week of the year 2000.
            let from = if unit == Unit::Week { reference + (week_start - iso_weekday(reference)).rem_euclid(7) } else { reference };
            let at = day(zone.to_local(millis)) - from;
            Ok(zone.from_local((from + at.div_euclid(size) * size).saturating_mul(MS_PER_DAY)))
        }
        Unit::Hour | Unit::Minute | Unit::Second | Unit::Millisecond => {
            let size = bin.checked_mul(unit.millis().unwrap_or(1)).ok_or_else(|| overflow(5439002))?;
            let from = zone.from_local(reference * MS_PER_DAY);
            let at = millis.checked_sub(from).ok_or_else(|| overflow(5439002))?;
            Ok(from + at.div_euclid(size) * size)
        }
    }
}
