//! Units of time and the first day of a week.

use smongo_bson::{Result, Value, bail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl Unit {
    pub fn parse(name: &str) -> Option<Unit> {
        Some(match name {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            "hour" => Unit::Hour,
            "minute" => Unit::Minute,
            "second" => Unit::Second,
            "millisecond" => Unit::Millisecond,
            _ => return None,
        })
    }

    /// The `unit` argument of an expression; not null.
    pub fn of(value: Value<'_>, op: &str) -> Result<Unit> {
        let Value::String(name) = value else {
            bail!(5439013, "{op} requires 'unit' to be a string, but got {}", value.type_name());
        };
        match Unit::parse(name) {
            Some(unit) => Ok(unit),
            None => bail!(FailedToParse, "{op} parameter 'unit' value parsing failed: unknown time unit value: {name}"),
        }
    }

    /// Milliseconds of a unit of fixed length.
    pub fn millis(self) -> Option<i64> {
        Some(match self {
            Unit::Millisecond => 1,
            Unit::Second => 1000,
            Unit::Minute => 60_000,
            Unit::Hour => 3_600_000,
            Unit::Day => 86_400_000,
            Unit::Week => 7 * 86_400_000,
            _ => return None,
        })
    }

    /// Months of a unit that is counted in them.
    pub fn months(self) -> Option<i64> {
        Some(match self {
            Unit::Month => 1,
            Unit::Quarter => 3,
            Unit::Year => 12,
            _ => return None,
        })
    }
}

/// The `startOfWeek` argument as an ISO weekday, 1 for Monday; not null.
pub(crate) fn start_of_week(value: Value<'_>, op: &str) -> Result<i64> {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let Value::String(name) = value else {
        bail!(5439015, "{op} requires 'startOfWeek' to be a string, but got {}", value.type_name());
    };
    let lower = name.to_ascii_lowercase();
    match DAYS.iter().position(|d| **d == *lower || d.get(..3) == Some(&*lower)) {
        Some(at) => Ok(at as i64 + 1),
        None => bail!(5439016, "{op} parameter 'startOfWeek' value cannot be recognized as a day of a week: {name}"),
    }
}
