//! Time zones: offsets such as `+05:30` and Olson names.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use smongo_bson::{Result, Value, bail, err};

use super::civil::{MS_PER_DAY, civil_of, days_from};

/// A time zone an expression computes in.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// Milliseconds east of UTC.
    Offset(i64),
    Named(TimeZone),
}

impl Zone {
    pub const UTC: Zone = Zone::Offset(0);

    /// `+hh`, `+hhmm`, `+hh:mm` (any two digits each), or an Olson name as it is written.
    pub fn parse(name: &str) -> Result<Zone> {
        if let Some(ms) = parse_offset(name) {
            return Ok(Zone::Offset(ms));
        }
        if matches!(name, "UTC" | "GMT") {
            return Ok(Zone::UTC);
        }
        match TimeZone::get(name) {
            // Names are found whatever their case, but MongoDB's must be written as they are.
            Ok(zone) if zone.iana_name() == Some(name) => Ok(Zone::Named(zone)),
            _ => bail!(40485, "unrecognized time zone identifier: \"{name}\""),
        }
    }

    /// The zone of an expression's `timezone` argument; `None` when that is null.
    pub fn of(value: Value<'_>) -> Result<Option<Zone>> {
        match value {
            Value::String(name) => Zone::parse(name).map(Some),
            v if v.is_nullish() => Ok(None),
            v => bail!(40517, "timezone must evaluate to a string, found {}", v.type_name()),
        }
    }

    pub fn is_utc(&self) -> bool {
        match self {
            Zone::Offset(ms) => *ms == 0,
            Zone::Named(zone) => matches!(zone.iana_name(), Some("UTC" | "Etc/UTC")),
        }
    }

    /// Milliseconds to add to a moment to get local time.
    pub fn offset(&self, millis: i64) -> i64 {
        match self {
            Zone::Offset(ms) => *ms,
            Zone::Named(zone) => {
                let near = (millis - far(millis)).max(Timestamp::MIN.as_millisecond() + 1);
                Timestamp::from_millisecond(near).map_or(0, |t| i64::from(zone.to_offset(t).seconds()) * 1000)
            }
        }
    }

    pub fn to_local(&self, millis: i64) -> i64 {
        millis.saturating_add(self.offset(millis))
    }

    /// The moment of a local time. Times that a change of clocks skips move forward by it; of times that come twice the
    /// first counts.
    pub fn from_local(&self, local: i64) -> i64 {
        match self {
            Zone::Offset(ms) => local.saturating_sub(*ms),
            Zone::Named(zone) => match civil_time(local - far(local)).map(|t| zone.to_ambiguous_timestamp(t).compatible()) {
                Some(Ok(t)) => t.as_millisecond().saturating_add(far(local)),
                _ => local.saturating_sub(self.offset(local)),
            },
        }
    }
}

/// The calendar repeats after 400 years, and with it the rules by which clocks change: so many milliseconds before a late moment, the
/// same days and hours are found where zones are known.
fn far(millis: i64) -> i64 {
    const CYCLE: i64 = 146_097 * MS_PER_DAY;
    // The year 9600.
    let known = days_from(9600, 1, 1) * MS_PER_DAY;
    if millis < known { 0 } else { ((millis - known) / CYCLE + 1) * CYCLE }
}

fn civil_time(local: i64) -> Option<DateTime> {
    let c = civil_of(local);
    let year = i16::try_from(c.date.year).ok().filter(|y| (-9998..=9998).contains(y))?;
    let part = |n: i64| n as i8;
    let nanos = c.millis as i32 * 1_000_000;
    DateTime::new(year, part(c.date.month), part(c.date.day), part(c.hour), part(c.minute), part(c.second), nanos).ok()
}

/// Milliseconds of `+hh`, `+hhmm` or `+hh:mm`.
pub(crate) fn parse_offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let two = |a: &u8, b: &u8| {
        let digit = |d: &u8| char::from(*d).to_digit(10).map(i64::from);
        Some(digit(a)? * 10 + digit(b)?)
    };
    let minutes = match digits {
        [a, b] => two(a, b)? * 60,
        [a, b, c, d] | [a, b, b':', c, d] => two(a, b)? * 60 + two(c, d)?,
        _ => return None,
    };
    Some(sign * minutes * 60_000)
}

/// The moment a value stands for: a date, a timestamp, or the time an ObjectId was made.
pub(crate) fn millis_of(v: Value<'_>) -> Option<i64> {
    match v {
        Value::DateTime(ms) => Some(ms),
        Value::Timestamp(t) => Some(i64::from(t.time) * 1000),
        Value::ObjectId(id) => id.0.first_chunk::<4>().map(|b| i64::from(i32::from_be_bytes(*b)) * 1000),
        _ => None,
    }
}

pub(crate) fn to_millis(v: Value<'_>) -> Result<i64> {
    millis_of(v).ok_or_else(|| err!(16006, "can't convert from BSON type {} to Date", v.type_name()))
}
