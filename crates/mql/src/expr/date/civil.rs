//! The proleptic Gregorian calendar over milliseconds since the epoch, for every date a BSON date can hold.

pub(crate) const MS_PER_DAY: i64 = 86_400_000;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ymd {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

/// A moment taken apart, without a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub date: Ymd,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub millis: i64,
}

/// Days since the epoch of a day; months outside 1 to 12 and days outside the month count on.
pub(crate) fn days_from(year: i64, month: i64, day: i64) -> i64 {
    let months = year * 12 + (month - 1);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468 + (day - 1)
}

pub(crate) fn date_of(days: i64) -> Ymd {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    Ymd { year, month, day: doy - (153 * mp + 2) / 5 + 1 }
}

pub(crate) fn civil_of(millis: i64) -> Civil {
    let time = millis.rem_euclid(MS_PER_DAY);
    Civil {
        date: date_of(millis.div_euclid(MS_PER_DAY)),
        hour: time / 3_600_000,
        minute: time / 60_000 % 60,
        second: time / 1000 % 60,
        millis: time % 1000,
    }
}

/// 1 (Monday) to 7 (Sunday).
pub(crate) fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// 1 to 366.
pub(crate) fn day_of_year(days: i64) -> i64 {
    days - days_from(date_of(days).year, 1, 1) + 1
}

/// ISO 8601 year and week, 1 to 53.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The Thursday of a week decides its year.
    let thursday = days - iso_weekday(days) + 4;
    let year = date_of(thursday).year;
    (year, (thursday - days_from(year, 1, 1)) / 7 + 1)
}

/// The first day (Monday) of an ISO year's week.
pub(crate) fn days_from_iso(year: i64, week: i64, weekday: i64) -> i64 {
    let fourth = days_from(year, 1, 4);
    fourth - (iso_weekday(fourth) - 1) + (week - 1) * 7 + (weekday - 1)
}

pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(crate) const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
];

/// `2024-06-15T12:30:45.000Z`.
pub(crate) fn iso_string(millis: i64) -> String {
    let c = civil_of(millis);
    let Ymd { year, month, day } = c.date;
    let sign = if year < 0 { "-" } else { "" };
    let year = year.abs();
    format!("{sign}{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", c.hour, c.minute, c.second, c.millis)
}
