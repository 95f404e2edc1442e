//! `$dateAdd $dateSubtract`.

use smongo_bson::{Result, Value, bail, err, number};

use super::civil::{MS_PER_DAY, date_of, days_from, days_in_month};
use super::unit::Unit;
use super::zone::{Zone, millis_of};
use super::{day, zone_arg};
use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::{Fields, Row};

const FIELDS: Fields = Fields {
    not_object: 5166400,
    unknown: 5166401,
    names: &[("startDate", 5166402), ("unit", 5166402), ("amount", 5166402), ("timezone", 0)],
};

pub(crate) static ROWS: &[Row] = &[
    Row::fields("$dateAdd", &FIELDS, |args, cx| shift(args, cx, false)),
    Row::fields("$dateSubtract", &FIELDS, |args, cx| shift(args, cx, true)),
];

fn shift<'a>(args: &'a Args, cx: &Cx<'a>, back: bool) -> Result<Value<'a>> {
    let (start, unit, amount) = (args.eval(0, cx)?, args.eval(1, cx)?, args.eval(2, cx)?);
    let zone = zone_arg(args, 3, cx)?;
    if start.is_nullish() || unit.is_nullish() || amount.is_nullish() {
        return Ok(Value::Null);
    }
    let Some(zone) = zone else { return Ok(Value::Null) };
    let Some(start) = millis_of(start) else {
        bail!(5166403, "{} requires startDate to be convertible to a date", args.name);
    };
    let unit = Unit::of(unit, args.name)?;
    let Some(mut amount) = number::to_i64_exact(amount) else {
        bail!(5166405, "{} expects integer amount of time units", args.name);
    };
    if back {
        let Some(negated) = amount.checked_neg() else {
            bail!(6045000, "invalid $dateSubtract 'amount' parameter value: {amount}");
        };
        amount = negated;
    }
    add(start, unit, amount, &zone).map(Value::DateTime)
}

/// A moment so many units later. Days and longer units keep the local time of day.
pub(crate) fn add(start: i64, unit: Unit, amount: i64, zone: &Zone) -> Result<i64> {
    // The longest span between two dates, in units.
    let per_unit = unit.millis().unwrap_or_else(|| unit.months().unwrap_or(1) * 28 * MS_PER_DAY);
    if i128::from(amount).abs() * i128::from(per_unit) > i128::from(u64::MAX) {
        bail!(5976500, "invalid dateAdd 'amount' parameter value: {amount} {unit:?}");
    }
    let overflow = || err!(5166406, "$dateAdd overflowed");
    let moved = match unit {
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour => {
            return amount.checked_mul(per_unit).and_then(|ms| start.checked_add(ms)).ok_or_else(overflow);
        }
        Unit::Day | Unit::Week => {
            amount.checked_mul(per_unit).and_then(|ms| zone.to_local(start).checked_add(ms)).ok_or_else(overflow)?
        }
        Unit::Month | Unit::Quarter | Unit::Year => {
            add_months(zone.to_local(start), amount * unit.months().unwrap_or(1)).ok_or_else(overflow)?
        }
    };
    Ok(zone.from_local(moved))
}

/// The same day of another month, or the month's last.
fn add_months(local: i64, months: i64) -> Option<i64> {
    let date = date_of(day(local));
    let total = date.year * 12 + date.month - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    let days = days_from(year, month, date.day.min(days_in_month(year, month)));
    days.checked_mul(MS_PER_DAY)?.checked_add(local.rem_euclid(MS_PER_DAY))
}
