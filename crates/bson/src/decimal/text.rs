//! Decimals as text: the forms of the BSON decimal128 specification.

use super::{Decimal, MAX_COEFFICIENT, MAX_EXPONENT, MIN_EXPONENT, Parts, digits, pow10};

/// What happened to a number on its way into 34 digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Digits other than zero were lost.
    pub inexact: bool,
    /// Too large: the result is infinite.
    pub overflow: bool,
    /// Digits were lost because the number is too small; the result may be zero.
    pub underflow: bool,
}

impl Decimal {
    /// Reads a number as `NumberDecimal("…")` does: digits with sign, point and exponent, `NaN`, `inf`, `Infinity` in
    /// any case; more than 34 digits are rounded, half to even; too large is infinite. `None` when it is no number.
    pub fn parse(text: &str) -> Option<Decimal> {
        Decimal::parse_flags(text).map(|(d, _)| d)
    }

    /// The same, telling what rounding did.
    pub fn parse_flags(text: &str) -> Option<(Decimal, Flags)> {
        let (negative, rest) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        if rest.eq_ignore_ascii_case("nan") {
            return Some((if negative { Decimal::NAN.neg() } else { Decimal::NAN }, Flags::default()));
        }
        if rest.eq_ignore_ascii_case("inf") || rest.eq_ignore_ascii_case("infinity") {
            return Some((Decimal::infinity(negative), Flags::default()));
        }
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let mut digits = Digits::default();
        let mut seen = false;
        let mut point = false;
        for b in mantissa.bytes() {
            match b {
                b'0'..=b'9' => {
                    seen = true;
                    digits.push(b - b'0', point);
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        if !seen {
            return None;
        }
        Some(assemble(negative, digits.coefficient, digits.exponent + exponent, digits.sticky))
    }
}

/// Collects digits: exactly up to 37 of them, then only whether there was more.
#[derive(Default)]
pub(super) struct Digits {
    pub coefficient: u128,
    pub exponent: i64,
    pub sticky: bool,
}

impl Digits {
    pub(super) fn push(&mut self, digit: u8, after_point: bool) {
        if self.coefficient < pow10(36) {
            self.coefficient = self.coefficient * 10 + u128::from(digit);
            self.exponent -= i64::from(after_point);
        } else {
            self.sticky |= digit != 0;
            self.exponent += i64::from(!after_point);
        }
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut n = 0i64;
    for b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        // Beyond any length of text, so that saturating changes nothing.
        n = (n * 10 + i64::from(b - b'0')).min(1 << 40);
    }
    Some(if negative { -n } else { n })
}

/// Rounds `coefficient * 10^exponent`, and a little more when `sticky`, half to even into the range of decimals.
pub(super) fn assemble(negative: bool, coefficient: u128, exponent: i64, sticky: bool) -> (Decimal, Flags) {
    let mut flags = Flags::default();
    let (mut coefficient, mut exponent) = (coefficient, exponent);
    let tiny = i64::from(MIN_EXPONENT) - exponent;
    let drop = tiny.max(i64::from(digits(coefficient)) - 34).max(0);
    if coefficient != 0 && drop > 0 {
        let unit = pow10(drop.min(38) as u32);
        let (kept, lost) = if drop > 38 { (0, 1) } else { (coefficient / unit, coefficient % unit) };
        flags.inexact = lost != 0 || sticky;
        flags.underflow = flags.inexact && drop == tiny;
        let half = unit / 2;
        let up = drop <= 38 && (lost > half || (lost == half && (sticky || kept % 2 == 1)));
        coefficient = kept + u128::from(up);
        exponent += drop;
        if coefficient > MAX_COEFFICIENT {
            coefficient /= 10;
            exponent += 1;
        }
    }
    let max = i64::from(MAX_EXPONENT);
    if coefficient == 0 {
        exponent = exponent.clamp(i64::from(MIN_EXPONENT), max);
    }
    let excess = exponent - max;
    if excess > 0 && i64::from(digits(coefficient)) + excess <= 34 {
        coefficient *= pow10(excess as u32);
        exponent = max;
    }
    match i32::try_from(exponent).ok().and_then(|e| Decimal::from_parts(negative, coefficient, e)) {
        Some(d) => (d, flags),
        None => (Decimal::infinity(negative), Flags { overflow: true, inexact: true, ..flags }),
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (negative, coefficient, exponent) = match self.parts() {
            Parts::Nan { .. } => return f.write_str("NaN"),
            Parts::Infinity { negative } => return f.write_str(if negative { "-Infinity" } else { "Infinity" }),
            Parts::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        if negative {
            f.write_str("-")?;
        }
        let count = digits(coefficient).max(1) as i32;
        let adjusted = exponent + count - 1;
        if exponent > 0 || adjusted < -6 {
            let unit = pow10(count as u32 - 1);
            write!(f, "{}", coefficient / unit)?;
            if count > 1 {
                write!(f, ".{:0width$}", coefficient % unit, width = count as usize - 1)?;
            }
            return write!(f, "E{adjusted:+}");
        }
        if exponent == 0 {
            return write!(f, "{coefficient}");
        }
        // At most 6 + 34 digits stand behind the point.
        let places = exponent.unsigned_abs();
        let unit = pow10(places);
        let (whole, part) = if places < 39 { (coefficient / unit, coefficient % unit) } else { (0, coefficient) };
        write!(f, "{whole}.{part:0width$}", width = places as usize)
    }
}
