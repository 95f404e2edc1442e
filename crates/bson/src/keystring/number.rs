//! Numbers in keys: one form for every value, whichever type it came as.
//!
//! `|v| >= 1` and below 2^63: the tag tells sign and byte count of the whole part shifted left by one; the bit that
//! makes room for tells that a fraction follows, as 52 bits in seven bytes whose last bit tells that decimal digits
//! follow. Other finite values: the bits of the double below (towards zero), shifted left by one, and the same last
//! bit. Digits follow only for decimals that are no double: beyond that double they are in the order of the values;
//! outside of 1 to 2^63 the decimal exponent stands in front. For negative numbers all bytes behind the tag are inverted.

use super::{invert, tag};
use crate::decimal::{Decimal, Parts, digits, pow10};
use crate::number::TWO_63;
use crate::value::Value;

/// A number without its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Nan,
    Infinity { negative: bool },
    Zero,
    /// A whole number; 1 <= n < 2^63.
    Whole { negative: bool, n: u64 },
    /// A whole number as above, and a fraction in units of 2^-52, rounded down.
    Mixed { negative: bool, n: u64, fraction: u64, digits: Option<Digits> },
    /// Below 1 or from 2^63 on: the bits of the double, rounded towards zero.
    Double { negative: bool, bits: u64, digits: Option<Digits> },
}

/// A decimal without trailing zeros: what is needed of one that is no double.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Digits {
    pub coefficient: u128,
    pub exponent: i32,
}

impl Digits {
    fn new(mut coefficient: u128, mut exponent: i32) -> Digits {
        while coefficient != 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        Digits { coefficient, exponent }
    }

    /// The decimal with another exponent, which must not need rounding.
    fn decimal(self, negative: bool, exponent: i32) -> Option<Decimal> {
        let zeros = u32::try_from(self.exponent - exponent).ok()?;
        if zeros > 34 {
            return None;
        }
        Decimal::from_parts(negative, self.coefficient.checked_mul(pow10(zeros))?, exponent)
    }

    /// The exponent of the first digit.
    fn magnitude(self) -> i32 {
        self.exponent + digits(self.coefficient) as i32 - 1
    }
}

impl Form {
    #[inline]
    pub(super) fn of(value: Value<'_>) -> Form {
        match value {
            Value::Int32(n) => Form::of_long(i64::from(n)),
            Value::Int64(n) => Form::of_long(n),
            Value::Double(n) => Form::of_double(n),
            Value::Decimal(d) => Form::of_decimal(d),
            _ => Form::Nan,
        }
    }

    #[inline]
    fn of_long(n: i64) -> Form {
        match n {
            0 => Form::Zero,
            i64::MIN => Form::Double { negative: true, bits: TWO_63.to_bits(), digits: None },
            _ => Form::Whole { negative: n < 0, n: n.unsigned_abs() },
        }
    }

    fn of_double(v: f64) -> Form {
        let (negative, v) = (v < 0.0, v.abs());
        if v.is_nan() {
            Form::Nan
        } else if v == 0.0 {
            Form::Zero
        } else if v.is_infinite() {
            Form::Infinity { negative }
        } else if !(1.0..TWO_63).contains(&v) {
            Form::Double { negative, bits: v.to_bits(), digits: None }
        } else {
            let n = v as u64;
            match ((v - n as f64) * TWO_52) as u64 {
                0 => Form::Whole { negative, n },
                fraction => Form::Mixed { negative, n, fraction, digits: None },
            }
        }
    }

    fn of_decimal(d: Decimal) -> Form {
        let (negative, c, e) = match d.parts() {
            Parts::Nan { .. } => return Form::Nan,
            Parts::Infinity { negative } => return Form::Infinity { negative },
            Parts::Finite { coefficient: 0, .. } => return Form::Zero,
            Parts::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        let (n, unit) = match e {
            0..=18 => (c.saturating_mul(pow10(e as u32)), 1),
            -33..0 => (c / pow10(e.unsigned_abs()), pow10(e.unsigned_abs())),
            _ => (0, 1),
        };
        let Some(n) = u64::try_from(n).ok().filter(|n| (1..1 << 63).contains(n)) else {
            let (double, exact) = d.abs().to_f64_truncated();
            return Form::Double { negative, bits: double.to_bits(), digits: if exact { None } else { Some(Digits::new(c, e)) } };
        };
        let mut rest = c % unit;
        if rest == 0 {
            return Form::Whole { negative, n };
        }
        // The remainder has at most 110 bits: thirteen at a time stay within 128.
        let mut fraction = 0u64;
        for _ in 0..4 {
            rest <<= 13;
            fraction = (fraction << 13) | (rest / unit) as u64;
            rest %= unit;
        }
        let exact = rest == 0 && is_double(n, fraction);
        Form::Mixed { negative, n, fraction, digits: if exact { None } else { Some(Digits::new(c, e)) } }
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        match *self {
            Form::Nan => out.push(tag::NAN),
            Form::Zero => out.push(tag::ZERO),
            Form::Infinity { negative } => out.push(if negative { tag::NEG_INFINITY } else { tag::POS_INFINITY }),
            Form::Whole { negative, n } => append_whole(out, negative, n << 1),
            Form::Mixed { negative, n, fraction, digits } => {
                append_whole(out, negative, (n << 1) | 1);
                let start = out.len();
                let word = (fraction << 4) | u64::from(digits.is_some());
                out.extend_from_slice(&word.to_be_bytes()[1..]);
                if let Some(d) = digits {
                    append_digits(out, d.coefficient);
                }
                invert_if(negative, out, start);
            }
            Form::Double { negative, bits, digits } => {
                let huge = bits >= TWO_63.to_bits();
                out.push(match (negative, huge) {
                    (true, true) => tag::NEG_HUGE,
                    (true, false) => tag::NEG_SMALL,
                    (false, false) => tag::POS_SMALL,
                    (false, true) => tag::POS_HUGE,
                });
                let start = out.len();
                out.extend_from_slice(&((bits << 1) | u64::from(digits.is_some())).to_be_bytes());
                if let Some(d) = digits {
                    out.extend_from_slice(&((d.magnitude() + MAGNITUDE_BIAS) as u16).to_be_bytes());
                    append_digits(out, d.coefficient);
                }
                invert_if(negative, out, start);
            }
        }
    }

    /// The number as a decimal in its shortest form; `None` for those that have none.
    fn shortest(&self) -> Option<(bool, Digits)> {
        Some(match *self {
            Form::Whole { negative, n } => (negative, Digits::new(u128::from(n), 0)),
            Form::Mixed { negative, digits: Some(d), .. } | Form::Double { negative, digits: Some(d), .. } => (negative, d),
            Form::Mixed { .. } | Form::Double { .. } => match Decimal::from_f64_exact(self.as_f64()).parts() {
                Parts::Finite { negative, coefficient, exponent } => (negative, Digits::new(coefficient, exponent)),
                _ => return None,
            },
            Form::Nan | Form::Zero | Form::Infinity { .. } => return None,
        })
    }

    /// The number as a decimal with the given exponent.
    pub(super) fn as_decimal(&self, exponent: i32) -> Option<Decimal> {
        match *self {
            Form::Nan => Some(Decimal::NAN),
            Form::Infinity { negative } => Some(Decimal::infinity(negative)),
            Form::Zero => Decimal::from_parts(false, 0, exponent),
            _ => self.shortest().and_then(|(negative, d)| d.decimal(negative, exponent)),
        }
    }

    /// The number as a double; exact unless digits follow.
    pub(super) fn as_f64(&self) -> f64 {
        let sign = |negative: bool, v: f64| if negative { -v } else { v };
        match *self {
            Form::Nan => f64::NAN,
            Form::Infinity { negative } => sign(negative, f64::INFINITY),
            Form::Zero => 0.0,
            Form::Whole { negative, n } => sign(negative, n as f64),
            Form::Mixed { negative, n, fraction, .. } => sign(negative, n as f64 + fraction as f64 / TWO_52),
            Form::Double { negative, bits, .. } => sign(negative, f64::from_bits(bits)),
        }
    }

    /// The value of the type that is taken for granted when type bits do not tell another one: int, long where int is
    /// too small, double where there is a fraction, decimal where double is too coarse.
    pub(super) fn default_value(&self) -> Value<'static> {
        match *self {
            Form::Zero => Value::Int32(0),
            Form::Whole { negative, n } => {
                let n = if negative { (n as i64).wrapping_neg() } else { n as i64 };
                i32::try_from(n).map_or(Value::Int64(n), Value::Int32)
            }
            Form::Mixed { digits: Some(d), negative, .. } | Form::Double { digits: Some(d), negative, .. } => {
                // A shortest form may have to be lengthened at the upper end of exponents.
                let exponent = d.exponent.min(crate::decimal::MAX_EXPONENT);
                d.decimal(negative, exponent).map_or(Value::Double(f64::NAN), Value::Decimal)
            }
            _ => Value::Double(self.as_f64()),
        }
    }
}

const TWO_52: f64 = 4_503_599_627_370_496.0;
pub(super) const MAGNITUDE_BIAS: i32 = 0x4000;

/// Whether `n + fraction / 2^52` has no more than 53 significant bits.
fn is_double(n: u64, fraction: u64) -> bool {
    let bits = (u128::from(n) << 52) | u128::from(fraction);
    128 - bits.leading_zeros() - bits.trailing_zeros() <= 53
}

fn invert_if(negative: bool, out: &mut [u8], start: usize) {
    if negative {
        invert(out.get_mut(start..).unwrap_or_default());
    }
}

#[inline]
fn append_whole(out: &mut Vec<u8>, negative: bool, word: u64) {
    let zeros = word.leading_zeros() as usize / 8;
    let count = (8 - zeros) as u8;
    out.push(if negative { tag::NEG_SMALL - count } else { tag::POS_SMALL + count });
    let bytes = if negative { !word } else { word }.to_be_bytes();
    out.extend_from_slice(bytes.get(zeros..).unwrap_or_default());
}

/// Two digits a byte, from the first one, as 1 to 100; closed by 0.
fn append_digits(out: &mut Vec<u8>, coefficient: u128) {
    let count = digits(coefficient);
    let mut c = if count % 2 == 1 { coefficient * 10 } else { coefficient };
    let start = out.len();
    out.push(0);
    while c != 0 {
        out.push((c % 100) as u8 + 1);
        c /= 100;
    }
    if let Some(written) = out.get_mut(start..) {
        written.reverse();
    }
}

/// The decimal that begins at an exponent's magnitude with the digits of these pairs.
pub(super) fn read_digits(pairs: &[u8], magnitude: i32) -> Option<Digits> {
    if pairs.len() > 17 {
        return None;
    }
    let mut c = 0u128;
    for p in pairs {
        c = c * 100 + u128::from(p.checked_sub(1).filter(|p| *p < 100)?);
    }
    let digits = Digits::new(c, magnitude + 1 - digits(c) as i32);
    (c != 0).then_some(digits)
}
