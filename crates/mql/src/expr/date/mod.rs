//! Dates. Parts of dates stand here; [`add`], [`diff`], [`trunc`], [`format`], [`parse`] and [`parts`] hold the rest.

mod add;
pub(crate) mod civil;
mod diff;
pub(crate) mod format;
pub(crate) mod parse;
mod parts;
mod trunc;
pub(crate) mod unit;
pub(crate) mod zone;

use smongo_bson::{Result, Value, bail};

use super::node::{Args, Node};
use super::parse::{Row, Scope};
use crate::cx::Cx;
use civil::{civil_of, day_of_year, iso_week, iso_weekday};
use zone::{Zone, to_millis};

pub(super) static ROWS: &[Row] = &[
    Row::special("$dayOfMonth", parse_part, |args, cx| part(args, cx, |t| civil_of(t).date.day)),
    Row::special("$dayOfWeek", parse_part, |args, cx| part(args, cx, |t| iso_weekday(day(t)) % 7 + 1)),
    Row::special("$dayOfYear", parse_part, |args, cx| part(args, cx, |t| day_of_year(day(t)))),
    Row::special("$hour", parse_part, |args, cx| part(args, cx, |t| civil_of(t).hour)),
    Row::special("$isoDayOfWeek", parse_part, |args, cx| part(args, cx, |t| iso_weekday(day(t)))),
    Row::special("$isoWeek", parse_part, |args, cx| part(args, cx, |t| iso_week(day(t)).1)),
    Row::special("$isoWeekYear", parse_part, iso_week_year),
    Row::special("$millisecond", parse_part, |args, cx| part(args, cx, |t| civil_of(t).millis)),
    Row::special("$minute", parse_part, |args, cx| part(args, cx, |t| civil_of(t).minute)),
    Row::special("$month", parse_part, |args, cx| part(args, cx, |t| civil_of(t).date.month)),
    Row::special("$second", parse_part, |args, cx| part(args, cx, |t| civil_of(t).second)),
    Row::special("$week", parse_part, |args, cx| part(args, cx, |t| week(day(t)))),
    Row::special("$year", parse_part, |args, cx| part(args, cx, |t| civil_of(t).date.year)),
];

pub(super) use add::ROWS as ADD_ROWS;
pub(super) use diff::ROWS as DIFF_ROWS;
pub(super) use format::ROWS as FORMAT_ROWS;
pub(super) use parse::ROWS as PARSE_ROWS;
pub(super) use parts::ROWS as PARTS_ROWS;
pub(super) use trunc::ROWS as TRUNC_ROWS;

pub(super) fn day(local: i64) -> i64 {
    local.div_euclid(civil::MS_PER_DAY)
}

/// The week of the year, 0 to 53; weeks begin on Sunday.
pub(super) fn week(days: i64) -> i64 {
    (day_of_year(days) + 6 - iso_weekday(days) % 7) / 7
}

/// A date, or `{date, timezone}`.
fn parse_part(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let (date, zone) = match spec {
        Value::Document(doc) if !doc.first().is_some_and(|e| e.name().starts_with('$')) => {
            let (mut date, mut zone) = (None, None);
            for e in doc {
                match e.name() {
                    "date" => date = Some(e.value()),
                    "timezone" => zone = Some(e.value()),
                    other => bail!(40535, "unrecognized option to {}: \"{other}\"", row.name),
                }
            }
            let Some(date) = date else { bail!(40539, "missing 'date' argument to {}, provided: {doc:?}", row.name) };
            (date, zone)
        }
        Value::Array(a) if a.len() == 1 => (a.get(0), None),
        Value::Array(a) => {
            bail!(40536, "{} accepts exactly one argument if given an array, but was given {}", row.name, a.len())
        }
        v => (v, None),
    };
    let mut args = vec![scope.operand(date)?];
    if let Some(zone) = zone {
        args.push(scope.operand(zone)?);
    }
    Ok(scope.call(row, args))
}

/// Local time of the date argument; `None` when it or the zone is null.
fn local<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Option<i64>> {
    let date = args.eval(0, cx)?;
    let zone = if args.len() > 1 { Zone::of(args.eval(1, cx)?)? } else { Some(Zone::UTC) };
    match zone {
        Some(zone) if !date.is_nullish() => Ok(Some(zone.to_local(to_millis(date)?))),
        _ => Ok(None),
    }
}

fn part<'a>(args: &'a Args, cx: &Cx<'a>, of: fn(i64) -> i64) -> Result<Value<'a>> {
    Ok(local(args, cx)?.map_or(Value::Null, |t| Value::Int32(of(t) as i32)))
}

fn iso_week_year<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(local(args, cx)?.map_or(Value::Null, |t| Value::Int64(iso_week(day(t)).0)))
}

/// The zone argument at a position, UTC without one; `None` when it is null.
fn zone_arg<'a>(args: &'a Args, index: usize, cx: &Cx<'a>) -> Result<Option<Zone>> {
    if args.given(index) { Zone::of(args.eval(index, cx)?) } else { Ok(Some(Zone::UTC)) }
}
