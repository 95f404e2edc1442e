//! `$dateFromParts $dateToParts`.

use smongo_bson::{Result, Value, bail, number};

use super::civil::{MS_PER_DAY, civil_of, days_from, days_from_iso, iso_week, iso_weekday};
use super::zone::to_millis;
use super::{day, zone_arg};
use crate::cx::Cx;
use crate::expr::node::{Args, Node};
use crate::expr::parse::{Fields, Row, Scope};

const TO: Fields = Fields { not_object: 40524, unknown: 40520, names: &[("date", 40522), ("timezone", 0), ("iso8601", 0)] };
const FROM: Fields = Fields {
    not_object: 40519,
    unknown: 40518,
    names: &[
        ("year", 0),
        ("month", 0),
        ("day", 0),
        ("isoWeekYear", 0),
        ("isoWeek", 0),
        ("isoDayOfWeek", 0),
        ("hour", 0),
        ("minute", 0),
        ("second", 0),
        ("millisecond", 0),
        ("timezone", 0),
    ],
};

pub(crate) static ROWS: &[Row] =
    &[Row::special("$dateFromParts", parse_from, from_parts), Row::fields("$dateToParts", &TO, to_parts)];

fn parse_from(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let found = FROM.read(row.name, spec)?;
    let any = |range: std::ops::Range<usize>| found.get(range).is_some_and(|f| f.iter().any(Option::is_some));
    match (any(0..1), any(3..4)) {
        (false, false) => bail!(40516, "$dateFromParts requires either 'year' or 'isoWeekYear' to be present"),
        (true, _) if any(3..6) => bail!(40489, "$dateFromParts does not allow mixing natural dates with ISO dates"),
        (false, true) if any(1..3) => bail!(40525, "$dateFromParts does not allow mixing natural dates with ISO dates"),
        _ => {}
    }
    let args = found.into_iter().map(|v| scope.optional(v)).collect::<Result<_>>()?;
    Ok(scope.call(row, args))
}

/// A part, its default when it was not given, `None` when it is null.
fn part<'a>(args: &'a Args, cx: &Cx<'a>, index: usize, default: i64) -> Result<Option<i64>> {
    if !args.given(index) {
        return Ok(Some(default));
    }
    let v = args.eval(index, cx)?;
    if v.is_nullish() {
        return Ok(None);
    }
    let name = FROM.names.get(index).map_or("", |(name, _)| name);
    let Some(n) = number::to_i64_exact(v) else {
        bail!(40515, "'{name}' must evaluate to an integer, found {} with value :{v:?}", v.type_name());
    };
    match name {
        "year" | "isoWeekYear" if !(1..=9999).contains(&n) => {
            bail!(40523, "'{name}' must evaluate to an integer in the range 1 to 9999, found {n}")
        }
        "second" | "millisecond" => {}
        _ if i16::try_from(n).is_err() => {
            bail!(31034, "'{name}' must evaluate to a value in the range [-32768, 32767]; value {n} is not in range")
        }
        _ => {}
    }
    Ok(Some(n))
}

fn from_parts<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let Some(zone) = zone_arg(args, 10, cx)? else { return Ok(Value::Null) };
    let iso = args.given(3);
    let read = |index, default| part(args, cx, index, default);
    let (first, second, third) = if iso { (read(3, 1)?, read(4, 1)?, read(5, 1)?) } else { (read(0, 1)?, read(1, 1)?, read(2, 1)?) };
    let time = (read(6, 0)?, read(7, 0)?, read(8, 0)?, read(9, 0)?);
    let (Some(year), Some(middle), Some(last)) = (first, second, third) else { return Ok(Value::Null) };
    let (Some(hour), Some(minute), Some(second), Some(millis)) = time else { return Ok(Value::Null) };
    let days = if iso { days_from_iso(year, middle, last) } else { days_from(year, middle, last) };
    let fixed = days * MS_PER_DAY + hour * 3_600_000 + minute * 60_000;
    let local = second.checked_mul(1000).and_then(|s| fixed.checked_add(s)).and_then(|t| t.checked_add(millis));
    let Some(local) = local else {
        bail!(159, "Overflow casting from a lower-precision duration to a higher-precision duration");
    };
    Ok(Value::DateTime(zone.from_local(local)))
}

fn to_parts<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let date = args.eval(0, cx)?;
    let zone = zone_arg(args, 1, cx)?;
    let iso = if args.given(2) {
        match args.eval(2, cx)? {
            Value::Bool(b) => b,
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(40521, "iso8601 must evaluate to a bool, found {}", v.type_name()),
        }
    } else {
        false
    };
    let Some(zone) = zone.filter(|_| !date.is_nullish()) else { return Ok(Value::Null) };
    let local = zone.to_local(to_millis(date)?);
    let c = civil_of(local);
    Ok(Value::Document(cx.arena.doc(|w| {
        if iso {
            let (year, week) = iso_week(day(local));
            w.append("isoWeekYear", year as i32).append("isoWeek", week as i32);
            w.append("isoDayOfWeek", iso_weekday(day(local)) as i32);
        } else {
            w.append("year", c.date.year as i32).append("month", c.date.month as i32).append("day", c.date.day as i32);
        }
        w.append("hour", c.hour as i32).append("minute", c.minute as i32);
        w.append("second", c.second as i32).append("millisecond", c.millis as i32);
    })))
}
