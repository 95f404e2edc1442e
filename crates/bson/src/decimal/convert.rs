//! Decimals and the other number types.

use dfp_number_sys::bid128_000::bid128_to_binary64;
use dfp_number_sys::{EXE_CLEAR, EXE_INEXACT, RND_NEAREST_EVEN, RND_TOWARD_ZERO};

use super::math::{Rounding, bid};
use super::text::{Digits, assemble};
use super::{Decimal, Parts, digits, pow10};

impl Decimal {
    pub fn from_i64(n: i64) -> Decimal {
        Decimal::from_parts(n < 0, u128::from(n.unsigned_abs()), 0).unwrap_or(Decimal::ZERO)
    }

    pub fn from_u64(n: u64) -> Decimal {
        Decimal::from_parts(false, u128::from(n), 0).unwrap_or(Decimal::ZERO)
    }

    /// Rounded to 15 significant digits, trailing zeros kept, as MongoDB converts a double; zero is plain 0.
    pub fn from_f64(n: f64) -> Decimal {
        if let Some(d) = special(n) {
            return d;
        }
        from_scientific(&format!("{n:.14e}"))
    }

    /// Rounded to 34 significant digits, with no more zeros behind the point than the number needs.
    pub fn from_f64_exact(n: f64) -> Decimal {
        if let Some(d) = special(n) {
            return d;
        }
        let d = from_scientific(&format!("{n:.33e}"));
        let Parts::Finite { negative, mut coefficient, mut exponent } = d.parts() else { return d };
        while exponent < 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        if exponent > 0 && digits(coefficient) + exponent as u32 <= 34 {
            coefficient *= pow10(exponent as u32);
            exponent = 0;
        }
        Decimal::from_parts(negative, coefficient, exponent).unwrap_or(d)
    }

    /// The nearest double; infinite beyond the range of doubles.
    pub fn to_f64(self) -> f64 {
        match self.parts() {
            Parts::Nan { .. } => f64::NAN,
            Parts::Infinity { negative: false } => f64::INFINITY,
            Parts::Infinity { negative: true } => f64::NEG_INFINITY,
            // Both factors are exact doubles, so one division rounds once.
            Parts::Finite { negative, coefficient, exponent } if coefficient < 1 << 53 && (-22..=22).contains(&exponent) => {
                let unit = pow10(exponent.unsigned_abs()) as f64;
                let n = if exponent < 0 { coefficient as f64 / unit } else { coefficient as f64 * unit };
                if negative { -n } else { n }
            }
            Parts::Finite { .. } => {
                let mut flags = EXE_CLEAR;
                bid128_to_binary64(bid(self), RND_NEAREST_EVEN, &mut flags)
            }
        }
    }

    /// The double next to a finite number towards zero (the largest one when all are smaller), and whether it is equal.
    pub(crate) fn to_f64_truncated(self) -> (f64, bool) {
        let mut flags = EXE_CLEAR;
        let n = bid128_to_binary64(bid(self), RND_TOWARD_ZERO, &mut flags);
        (n, flags & EXE_INEXACT == 0)
    }

    /// The integer, when the value is one that fits.
    pub fn to_i64_exact(self) -> Option<i64> {
        let (whole, exact) = self.whole()?;
        if exact { whole.try_into().ok() } else { None }
    }

    /// Truncated towards zero, when that fits.
    pub fn to_i64_trunc(self) -> Option<i64> {
        self.whole()?.0.try_into().ok()
    }

    /// Rounded to the nearest integer, half to even, when that fits.
    pub fn to_i64_rounded(self) -> Option<i64> {
        self.round_to_integer(Rounding::HalfEven).to_i64_exact()
    }

    /// Whether the value is finite and has no fraction.
    pub fn is_integer(self) -> bool {
        match self.parts() {
            Parts::Finite { coefficient, exponent, .. } => {
                coefficient == 0 || exponent >= 0 || (exponent > -39 && coefficient % pow10(exponent.unsigned_abs()) == 0)
            }
            _ => false,
        }
    }

    /// The whole part, and whether it is all; `None` when it is over 38 digits or not finite.
    fn whole(self) -> Option<(i128, bool)> {
        let Parts::Finite { negative, coefficient, exponent } = self.parts() else { return None };
        let (whole, exact) = match exponent {
            _ if coefficient == 0 => (0, true),
            0 => (coefficient, true),
            1..=38 => (coefficient.checked_mul(pow10(exponent as u32))?, true),
            -38..=-1 => {
                let unit = pow10(exponent.unsigned_abs());
                (coefficient / unit, coefficient % unit == 0)
            }
            39.. => return None,
            _ => (0, false),
        };
        let whole = i128::try_from(whole).ok()?;
        Some((if negative { -whole } else { whole }, exact))
    }
}

fn special(n: f64) -> Option<Decimal> {
    Some(match n {
        _ if n.is_nan() && n.is_sign_negative() => Decimal::NAN.neg(),
        _ if n.is_nan() => Decimal::NAN,
        _ if n.is_infinite() => Decimal::infinity(n < 0.0),
        _ if n == 0.0 && n.is_sign_negative() => Decimal::ZERO.neg(),
        _ if n == 0.0 => Decimal::ZERO,
        _ => return None,
    })
}

/// Reads `d.ddde±n` and keeps all its digits, zeros too.
fn from_scientific(text: &str) -> Decimal {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut digits = Digits::default();
    let mut point = false;
    for b in mantissa.bytes() {
        match b {
            b'0'..=b'9' => digits.push(b - b'0', point),
            _ => point |= b == b'.',
        }
    }
    let exponent = digits.exponent + exponent.parse::<i64>().unwrap_or(0);
    assemble(mantissa.starts_with('-'), digits.coefficient, exponent, false).0
}

impl From<i32> for Decimal {
    fn from(n: i32) -> Decimal {
        Decimal::from_i64(i64::from(n))
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Decimal {
        Decimal::from_i64(n)
    }
}
