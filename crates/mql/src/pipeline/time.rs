//! Units of time for frames and `$densify`.

use smongo_bson::{Result, err};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeUnit {
    Millis(i64),
    Months(i64),
}

impl TimeUnit {
    pub fn parse(name: &str) -> Option<TimeUnit> {
        Some(match name {
            "millisecond" => TimeUnit::Millis(1),
            "second" => TimeUnit::Millis(1000),
            "minute" => TimeUnit::Millis(60_000),
            "hour" => TimeUnit::Millis(3_600_000),
            "day" => TimeUnit::Millis(DAY),
            "week" => TimeUnit::Millis(7 * DAY),
            "month" => TimeUnit::Months(1),
            "quarter" => TimeUnit::Months(3),
            "year" => TimeUnit::Months(12),
            _ => return None,
        })
    }

    /// Milliseconds of a unit of fixed length.
    pub fn millis(self) -> Option<i64> {
        match self {
            TimeUnit::Millis(n) => Some(n),
            TimeUnit::Months(_) => None,
        }
    }
}

const DAY: i64 = 86_400_000;

/// A date moved by so many units, in UTC; the day of the month is cut to the month's length.
pub(super) fn add_time(date: i64, unit: TimeUnit, amount: i64) -> Result<i64> {
    let overflow = || err!(5166406, "invalid argument: date addition overflows");
    match unit {
        TimeUnit::Millis(n) => n.checked_mul(amount).and_then(|by| date.checked_add(by)).ok_or_else(overflow),
        TimeUnit::Months(n) => {
            let months = n.checked_mul(amount).ok_or_else(overflow)?;
            let (days, time) = (date.div_euclid(DAY), date.rem_euclid(DAY));
            let (year, month, day) = civil(days);
            let total = (year * 12 + (month - 1)).checked_add(months).ok_or_else(overflow)?;
            let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
            let first = days_from_civil(year, month, 1);
            let next = if month == 12 { days_from_civil(year + 1, 1, 1) } else { days_from_civil(year, month + 1, 1) };
            Ok((first + (day - 1).min(next - first - 1)) * DAY + time)
        }
    }
}

/// Year, month and day of a day counted from 1970 (proleptic Gregorian).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}
