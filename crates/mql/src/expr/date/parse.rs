//! `$dateFromString`: dates in the common notations, or by a format.

use smongo_bson::{Code, Result, Value, bail, err};

use super::civil::{MONTHS, MS_PER_DAY, days_from, days_from_iso, days_in_month};
use super::format::check_format;
use super::zone::Zone;
use super::zone_arg;
use crate::cx::Cx;
use crate::expr::node::Args;
use crate::expr::parse::{Fields, Row};

const FIELDS: Fields = Fields {
    not_object: 40540,
    unknown: 40541,
    names: &[("dateString", 40542), ("format", 0), ("timezone", 0), ("onNull", 0), ("onError", 0)],
};

pub(crate) static ROWS: &[Row] = &[Row::fields("$dateFromString", &FIELDS, date_from_string)];

fn date_from_string<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let text = args.eval(0, cx)?;
    let format = if args.given(1) { Some(args.eval(1, cx)?) } else { None };
    match format {
        Some(Value::String(f)) => check_format(f, "bBdGHjLmMSuVYzZ%")?,
        Some(v) if !v.is_nullish() => {
            bail!(40684, "$dateFromString requires that 'format' be a string, found: {} with value {v:?}", v.type_name())
        }
        _ => {}
    }
    let zone = zone_arg(args, 2, cx)?;
    if text.is_nullish() {
        return if args.given(3) { args.eval(3, cx) } else { Ok(Value::Null) };
    }
    match convert(text, format, zone) {
        Err(e) if e.code() == Code::ConversionFailure && args.given(4) => args.eval(4, cx),
        other => other,
    }
}

fn convert<'a>(text: Value<'a>, format: Option<Value<'a>>, zone: Option<Zone>) -> Result<Value<'a>> {
    let Value::String(text) = text else {
        bail!(ConversionFailure, "$dateFromString requires that 'dateString' be a string, found: {} with value {text:?}", text.type_name());
    };
    let Some(zone) = zone else { return Ok(Value::Null) };
    let millis = match format {
        None => parse(text, &zone)?,
        Some(Value::String(f)) => by_format(text, f, &zone)?,
        Some(_) => return Ok(Value::Null),
    };
    Ok(Value::DateTime(millis))
}

/// What has been read of a date.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    /// Days from the first of January.
    day_of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    /// Hour, minute, second, millisecond.
    time: Option<[i64; 4]>,
    zone: Option<Zone>,
}

impl Found {
    /// The moment; `zone` counts when the text names none.
    fn finish(self, text: &str, zone: &Zone) -> Result<i64> {
        let incomplete = || err!(ConversionFailure, "an incomplete date/time string has been found, with elements missing: \"{text}\"");
        if self.zone.is_some() && !zone.is_utc() {
            bail!(ConversionFailure, "you cannot pass in a date/time string with GMT offset together with a timezone argument");
        }
        let [hour, minute, second, millis] = self.time.unwrap_or_default();
        let days = if let Some(year) = self.iso_year {
            if self.year.is_some() || self.month.is_some() || self.day.is_some() || self.day_of_year.is_some() {
                bail!(ConversionFailure, "Mixing of ISO dates with natural dates is not allowed: \"{text}\"");
            }
            days_from_iso(year, self.iso_week.unwrap_or(1), self.iso_day.unwrap_or(1))
        } else if let (Some(year), Some(day)) = (self.year, self.day_of_year) {
            days_from(year, 1, 1) + day
        } else {
            let year = self.year.ok_or_else(incomplete)?;
            let (month, day) = (self.month.ok_or_else(incomplete)?, self.day.ok_or_else(incomplete)?);
            if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
                return Err(bad(text, "The parsed date was invalid"));
            }
            days_from(year, month, day)
        };
        if hour > 24 || minute > 59 || second > 60 {
            return Err(bad(text, "The parsed time was invalid"));
        }
        let local = days * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000 + millis;
        Ok(self.zone.as_ref().unwrap_or(zone).from_local(local))
    }

    fn set(slot: &mut Option<i64>, value: i64, text: &str) -> Result<()> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(bad(text, "Double date specification")),
        }
    }

    fn set_date(&mut self, year: i64, month: i64, day: i64, text: &str) -> Result<()> {
        Found::set(&mut self.year, year, text)?;
        Found::set(&mut self.month, month, text)?;
        Found::set(&mut self.day, day, text)
    }

    fn set_time(&mut self, time: [i64; 4], text: &str) -> Result<()> {
        match self.time.replace(time) {
            None => Ok(()),
            Some(_) => Err(bad(text, "Double time specification")),
        }
    }

    fn set_zone(&mut self, zone: Zone, text: &str) -> Result<()> {
        match self.zone.replace(zone) {
            None => Ok(()),
            Some(_) => Err(bad(text, "Double timezone specification")),
        }
    }
}

fn bad(text: &str, why: &str) -> smongo_bson::Error {
    err!(ConversionFailure, "Error parsing date string '{text}'; {why}")
}

/// A place in the text.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    /// A number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self.rest().bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits < least {
            return None;
        }
        let n = self.rest().get(..digits)?.parse().ok()?;
        self.at += digits;
        Some(n)
    }

    fn digits(&self) -> usize {
        self.rest().bytes().take_while(u8::is_ascii_digit).count()
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Tries a reader; where it answers `None`, nothing was read.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Cursor<'t>) -> Option<T>) -> Option<T> {
        let start = self.at;
        let result = read(self);
        if result.is_none() {
            self.at = start;
        }
        result
    }

    /// `+hh`, `+hhmm`, `+hh:mm`.
    fn offset(&mut self) -> Option<Zone> {
        self.attempt(|c| {
            let sign = if c.eat('+') { 1 } else if c.eat('-') { -1 } else { return None };
            let minutes = if c.digits() >= 3 {
                let hours = c.number(2, 2)?;
                hours * 60 + c.number(1, 2)?
            } else {
                let hours = c.number(1, 2)?;
                hours * 60 + c.attempt(|c| if c.eat(':') { c.number(2, 2) } else { None }).unwrap_or(0)
            };
            Some(Zone::Offset(sign * minutes * 60_000))
        })
    }

    /// Digits of a fraction, as milliseconds.
    fn fraction(&mut self) -> i64 {
        let digits = self.digits();
        let mut millis = 0;
        for i in 0..3 {
            let digit = self.rest().as_bytes().get(i).filter(|_| i < digits).map_or(0, |b| i64::from(b - b'0'));
            millis = millis * 10 + digit;
        }
        self.at += digits;
        millis
    }
}

/// Parses a date in ISO 8601 and other common notations: `2017-02-08T12:10:40.787Z`, `oct 20 2020`, `08/02/2017` …
pub(crate) fn parse(text: &str, zone: &Zone) -> Result<i64> {
    let mut found = Found::default();
    let mut c = Cursor { text, at: 0 };
    while let Some(ch) = c.peek() {
        match ch {
            ' ' | '\t' | '\n' | '\r' | '\0' | '\u{a0}' | ',' => c.at += ch.len_utf8(),
            '0'..='9' => digits(&mut c, &mut found)?,
            '-' if found.year.is_none() && found.time.is_none() && iso_date(&mut c, &mut found)? => {}
            '+' | '-' if found.time.is_some() || found.year.is_some() => match c.offset() {
                Some(zone) => found.set_zone(zone, text)?,
                None => return Err(bad(text, "Unexpected character")),
            },
            'T' | 't' if found.day.is_some() && c.rest().as_bytes().get(1).is_some_and(u8::is_ascii_digit) => c.at += 1,
            _ if ch.is_ascii_alphabetic() => word(&mut c, &mut found)?,
            _ => return Err(bad(text, "Unexpected character")),
        }
    }
    if found.year.is_none() && found.month.is_none() && found.day.is_none() && found.iso_year.is_none() && found.time.is_none() {
        return Err(bad(text, "Empty string"));
    }
    found.finish(text, zone)
}

/// `2017-02-08`, `2017-02`, `-0001-01-01`, `2017-W05-3`.
fn iso_date(c: &mut Cursor<'_>, found: &mut Found) -> Result<bool> {
    let text = c.text;
    let read = c.attempt(|c| {
        let negative = c.eat('-');
        let year = c.number(4, 4)?;
        if !c.eat('-') {
            return None;
        }
        let month = c.number(1, 2)?;
        let day = c.attempt(|c| if c.eat('-') { c.number(1, 2) } else { None }).unwrap_or(1);
        if c.digits() > 0 {
            return None;
        }
        Some((if negative { -year } else { year }, month, day))
    });
    if let Some((year, month, day)) = read {
        found.set_date(year, month, day, text)?;
        return Ok(true);
    }
    let week = c.attempt(|c| {
        let year = c.number(4, 4)?;
        c.eat('-');
        if !c.eat('W') {
            return None;
        }
        let week = c.number(2, 2)?;
        let day = c.attempt(|c| {
            c.eat('-');
            c.number(1, 1)
        });
        Some((year, week, day))
    });
    if let Some((year, week, day)) = week {
        (found.iso_year, found.iso_week, found.iso_day) = (Some(year), Some(week), day);
        return Ok(true);
    }
    Ok(false)
}

/// Dates of numbers with separators that are not ISO's: `2017/02/08`, `02/08/2017`, `8.2.2017`, `8-2-2017`.
fn other_date(c: &mut Cursor<'_>) -> Option<(i64, i64, i64)> {
    c.attempt(|c| {
        let first_digits = c.digits();
        let first = c.number(1, 4)?;
        let separator = c.peek().filter(|s| matches!(s, '/' | '.' | '-'))?;
        c.eat(separator);
        let second = c.number(1, 2)?;
        if !c.eat(separator) {
            return None;
        }
        let third_digits = c.digits();
        let third = c.number(1, 4)?;
        match (separator, first_digits, third_digits) {
            ('/', 4, 1..=2) => Some((first, second, third)),
            ('/', 1..=2, 4) => Some((third, first, second)),
            ('.' | '-', 1..=2, 4) => Some((third, second, first)),
            _ => None,
        }
    })
}

/// `12:10`, `12:10:40.787`, with `am` or `pm` behind.
fn clock(c: &mut Cursor<'_>) -> Option<[i64; 4]> {
    c.attempt(|c| {
        let mut hour = c.number(1, 2)?;
        if !c.eat(':') {
            return None;
        }
        let minute = c.number(2, 2)?;
        let mut second = 0;
        let mut millis = 0;
        if c.eat(':') {
            second = c.number(2, 2)?;
            if c.rest().starts_with(['.', ',']) && c.rest().as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
                c.at += 1;
                millis = c.fraction();
            }
        }
        if let Some(pm) = c.attempt(meridian) {
            if !(1..=12).contains(&hour) {
                return None;
            }
            hour = hour % 12 + if pm { 12 } else { 0 };
        }
        Some([hour, minute, second, millis])
    })
}

/// `am`, `pm`, `a.m.`: whether it is the second half of the day.
fn meridian(c: &mut Cursor<'_>) -> Option<bool> {
    while c.eat(' ') {}
    let pm = match c.peek()? {
        'a' | 'A' => false,
        'p' | 'P' => true,
        _ => return None,
    };
    c.at += 1;
    c.eat('.');
    if !c.eat('m') && !c.eat('M') {
        return None;
    }
    c.eat('.');
    if c.peek().is_some_and(|n| n.is_ascii_alphanumeric()) { None } else { Some(pm) }
}

fn digits(c: &mut Cursor<'_>, found: &mut Found) -> Result<()> {
    let text = c.text;
    if found.year.is_none() && (iso_date(c, found)? || long_year(c, found)?) {
        return Ok(());
    }
    if found.year.is_none()
        && let Some((year, month, day)) = other_date(c)
    {
        return found.set_date(year, month, day, text);
    }
    if let Some(time) = clock(c) {
        return found.set_time(time, text);
    }
    let behind_t = c.at > 0 && matches!(text.as_bytes().get(c.at - 1), Some(b'T' | b't'));
    match c.digits() {
        8 if found.year.is_none() => {
            let (year, month, day) = (c.number(4, 4), c.number(2, 2), c.number(2, 2));
            found.set_date(year.unwrap_or(0), month.unwrap_or(0), day.unwrap_or(0), text)
        }
        6 | 4 | 2 if behind_t => {
            let time = [c.number(2, 2).unwrap_or(0), c.number(2, 2).unwrap_or(0), c.number(2, 2).unwrap_or(0), 0];
            found.set_time(time, text)
        }
        4 if found.year.is_none() && (found.month.is_some() || found.day.is_some()) => {
            found.year = c.number(4, 4);
            Ok(())
        }
        4 => {
            let time = [c.number(2, 2).unwrap_or(0), c.number(2, 2).unwrap_or(0), 0, 0];
            found.set_time(time, text)
        }
        1 | 2 => {
            let n = c.number(1, 2).unwrap_or(0);
            Found::set(&mut found.day, n, text)?;
            let suffix = c.rest().get(..2).unwrap_or_default().to_ascii_lowercase();
            if matches!(&*suffix, "st" | "nd" | "rd" | "th") {
                c.at += 2;
            }
            c.eat('-');
            Ok(())
        }
        _ => Err(bad(text, "Unexpected character")),
    }
}

/// More than four digits in front of `-mm-dd`: MongoDB reads the time of day `hhmms` in them and refuses the rest, or
/// else the first four digits as the year.
fn long_year(c: &mut Cursor<'_>, found: &mut Found) -> Result<bool> {
    let (text, digits) = (c.text, c.digits());
    if digits < 5 {
        return Ok(false);
    }
    let read = c.attempt(|c| {
        let year = c.number(4, 4)?;
        c.at += digits - 4;
        if !c.eat('-') {
            return None;
        }
        let month = c.number(2, 2)?;
        if !c.eat('-') {
            return None;
        }
        Some((year, month, c.number(2, 2)?))
    });
    match read {
        None => Ok(false),
        Some((year, ..)) if year / 100 < 24 && year % 100 < 60 => Err(bad(text, "Double time specification")),
        Some((year, month, day)) => found.set_date(year, month, day, text).map(|()| true),
    }
}

/// Offsets of abbreviations, in minutes.
const ABBREVIATIONS: &[(&str, i64)] = &[
    ("bst", 60),
    ("cdt", -300),
    ("cest", 120),
    ("cet", 60),
    ("cst", -360),
    ("edt", -240),
    ("eest", 180),
    ("eet", 120),
    ("est", -300),
    ("gmt", 0),
    ("jst", 540),
    ("mdt", -360),
    ("msk", 180),
    ("mst", -420),
    ("pdt", -420),
    ("pst", -480),
    ("utc", 0),
    ("wet", 0),
    ("z", 0),
];

fn word(c: &mut Cursor<'_>, found: &mut Found) -> Result<()> {
    let (text, start) = (c.text, c.at);
    let lower = c.word().to_ascii_lowercase();
    if let Some(month) = month(&lower) {
        Found::set(&mut found.month, month, text)?;
        c.eat('.');
        c.eat('-');
        return Ok(());
    }
    const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    if lower.len() >= 3 && WEEKDAYS.iter().any(|d| *d == lower || d.get(..3) == Some(&*lower)) {
        c.eat('.');
        return Ok(());
    }
    if c.peek() != Some('/')
        && let Ok(at) = ABBREVIATIONS.binary_search_by_key(&&*lower, |(name, _)| name)
    {
        let minutes = ABBREVIATIONS.get(at).map_or(0, |(_, m)| *m);
        let more = if lower == "utc" || lower == "gmt" { c.offset() } else { None };
        return found.set_zone(more.unwrap_or(Zone::Offset(minutes * 60_000)), text);
    }
    let rest = text.get(start..).unwrap_or_default();
    let name = rest.split(|ch: char| !(ch.is_ascii_alphanumeric() || "/_+-".contains(ch))).next().unwrap_or_default();
    match Zone::parse(name) {
        Ok(zone) => {
            c.at = start + name.len();
            found.set_zone(zone, text)
        }
        Err(_) => Err(bad(text, "The timezone could not be found in the database")),
    }
}

/// 1 to 12 for a month's name or its first three letters (`sept` too), in lower case.
fn month(lower: &str) -> Option<i64> {
    let matches = |m: &&str| {
        let name = m.to_ascii_lowercase();
        name == lower || name.get(..3) == Some(lower) || (lower == "sept" && name == "september")
    };
    MONTHS.iter().position(matches).map(|i| i as i64 + 1)
}

/// Parses by a format that was checked.
fn by_format(text: &str, format: &str, zone: &Zone) -> Result<i64> {
    let mut found = Found::default();
    let mut time = [0; 4];
    let mut c = Cursor { text, at: 0 };
    let mut format = format.chars();
    while let Some(f) = format.next() {
        let specifier = if f == '%' { format.next().unwrap_or('%') } else { '\0' };
        let read = match specifier {
            '\0' => c.eat(f).then_some(()),
            '%' => c.eat('%').then_some(()),
            'Y' => c.number(4, 4).map(|n| found.year = Some(n)),
            'm' => c.number(1, 2).map(|n| found.month = Some(n)),
            'd' => c.number(1, 2).map(|n| found.day = Some(n)),
            'j' => c.number(1, 3).map(|n| found.day_of_year = Some(n)),
            'G' => c.number(4, 4).map(|n| found.iso_year = Some(n)),
            'V' => c.number(1, 2).map(|n| found.iso_week = Some(n)),
            'u' => c.number(1, 1).map(|n| found.iso_day = Some(n)),
            'H' => c.number(1, 2).map(|n| time[0] = n),
            'M' => c.number(1, 2).map(|n| time[1] = n),
            'S' => c.number(1, 2).map(|n| time[2] = n),
            'L' => (c.digits() > 0).then(|| time[3] = c.fraction()),
            'b' | 'B' => month(&c.word().to_ascii_lowercase()).map(|n| found.month = Some(n)),
            'z' => zone_name(&mut c).map(|z| found.zone = Some(z)),
            _ => offset_minutes(&mut c).map(|z| found.zone = Some(z)),
        };
        if read.is_none() {
            return Err(bad(text, &format!("The date does not match the format at position {}", c.at)));
        }
    }
    if !c.rest().is_empty() {
        return Err(bad(text, "Trailing data"));
    }
    if found.iso_year.is_none() && (found.iso_week.is_some() || found.iso_day.is_some()) {
        return Err(bad(text, "An ISO year is missing"));
    }
    found.time = Some(time);
    found.finish(text, zone)
}

/// `+0530` and the like, `Z`, or a name.
fn zone_name(c: &mut Cursor<'_>) -> Option<Zone> {
    if let Some(zone) = c.offset() {
        return Some(zone);
    }
    c.attempt(|c| {
        let end = c.rest().find(|ch: char| !(ch.is_ascii_alphanumeric() || "/_+-".contains(ch))).unwrap_or(c.rest().len());
        let name = c.rest().get(..end)?;
        c.at += end;
        if matches!(name, "Z" | "z") { Some(Zone::UTC) } else { Zone::parse(name).ok() }
    })
}

/// A signed number of minutes.
fn offset_minutes(c: &mut Cursor<'_>) -> Option<Zone> {
    c.attempt(|c| {
        let sign = if c.eat('+') { 1 } else if c.eat('-') { -1 } else { return None };
        Some(Zone::Offset(sign * c.number(1, 4)? * 60_000))
    })
}

