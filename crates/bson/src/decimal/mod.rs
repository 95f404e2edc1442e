//! IEEE 754-2008 decimal128 in the binary integer encoding BSON uses.
//!
//! What is exact (taking apart, comparing, text, sums and products that fit 34 digits) is done here; what rounds goes
//! through Intel's library ([`math`]), as in MongoDB.

mod convert;
mod math;
mod text;

use std::cmp::Ordering;

use crate::error::Result;

pub use math::Rounding;
pub use text::Flags;

/// A decimal128; the bits as BSON stores them, least significant byte first.
#[derive(Clone, Copy)]
pub struct Decimal([u8; 16]);

/// A decimal taken apart: `(-1)^negative * coefficient * 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    Nan { negative: bool },
    Infinity { negative: bool },
    Finite { negative: bool, coefficient: u128, exponent: i32 },
}

/// The largest coefficient: 34 nines.
pub const MAX_COEFFICIENT: u128 = 10u128.pow(34) - 1;
/// The smallest exponent of a coefficient.
pub const MIN_EXPONENT: i32 = -6176;
/// The largest exponent of a coefficient.
pub const MAX_EXPONENT: i32 = 6111;

const SIGN: u128 = 1 << 127;
const NAN: u128 = 0x7c << 120;
const INFINITY: u128 = 0x78 << 120;

impl Decimal {
    pub const ZERO: Decimal = Decimal::from_bits(0x3040 << 112);
    pub const ONE: Decimal = Decimal::from_bits((0x3040 << 112) | 1);
    pub const NAN: Decimal = Decimal::from_bits(NAN);
    pub const INFINITY: Decimal = Decimal::from_bits(INFINITY);
    pub const NEG_INFINITY: Decimal = Decimal::from_bits(SIGN | INFINITY);
    /// 9.999…E+6144.
    pub const MAX: Decimal = Decimal::from_bits((0x5ffe << 112) | MAX_COEFFICIENT);
    /// -9.999…E+6144.
    pub const MIN: Decimal = Decimal::from_bits(SIGN | (0x5ffe << 112) | MAX_COEFFICIENT);

    pub const fn from_le_bytes(bytes: [u8; 16]) -> Decimal {
        Decimal(bytes)
    }
    pub const fn to_le_bytes(self) -> [u8; 16] {
        self.0
    }
    pub const fn from_bits(bits: u128) -> Decimal {
        Decimal(bits.to_le_bytes())
    }
    pub const fn bits(self) -> u128 {
        u128::from_le_bytes(self.0)
    }

    /// Takes the number apart. Encodings that are not canonical (a coefficient over 34 digits) are zero.
    pub const fn parts(self) -> Parts {
        let bits = self.bits();
        let negative = bits & SIGN != 0;
        if (bits >> 125) & 3 != 3 {
            let exponent = ((bits >> 113) & 0x3fff) as i32 + MIN_EXPONENT;
            let coefficient = bits & ((1 << 113) - 1);
            let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
            return Parts::Finite { negative, coefficient, exponent };
        }
        match (bits >> 122) & 0x1f {
            0x1f => Parts::Nan { negative },
            0x1e => Parts::Infinity { negative },
            // The form whose coefficient begins with the bits 100: always too large, so zero.
            _ => Parts::Finite { negative, coefficient: 0, exponent: ((bits >> 111) & 0x3fff) as i32 + MIN_EXPONENT },
        }
    }

    /// Puts a finite number together; `None` when coefficient or exponent are out of range.
    pub const fn from_parts(negative: bool, coefficient: u128, exponent: i32) -> Option<Decimal> {
        if coefficient > MAX_COEFFICIENT || exponent < MIN_EXPONENT || exponent > MAX_EXPONENT {
            return None;
        }
        let sign = if negative { SIGN } else { 0 };
        Some(Decimal::from_bits(sign | (((exponent - MIN_EXPONENT) as u128) << 113) | coefficient))
    }

    pub const fn infinity(negative: bool) -> Decimal {
        if negative { Decimal::NEG_INFINITY } else { Decimal::INFINITY }
    }

    pub const fn is_zero(self) -> bool {
        matches!(self.parts(), Parts::Finite { coefficient: 0, .. })
    }
    pub const fn is_nan(self) -> bool {
        matches!(self.parts(), Parts::Nan { .. })
    }
    pub const fn is_infinite(self) -> bool {
        matches!(self.parts(), Parts::Infinity { .. })
    }
    pub const fn is_finite(self) -> bool {
        matches!(self.parts(), Parts::Finite { .. })
    }
    /// Whether the sign bit is set; true for -0 and for a NaN with a sign.
    pub const fn is_negative(self) -> bool {
        self.bits() & SIGN != 0
    }

    pub const fn neg(self) -> Decimal {
        Decimal::from_bits(self.bits() ^ SIGN)
    }
    pub const fn abs(self) -> Decimal {
        Decimal::from_bits(self.bits() & !SIGN)
    }

    /// Total order: NaN below everything and equal to NaN, -0 equal to 0, trailing zeros without meaning.
    pub fn compare(self, other: Decimal) -> Ordering {
        use Parts::{Finite, Infinity, Nan};
        match (self.parts(), other.parts()) {
            (Nan { .. }, Nan { .. }) => Ordering::Equal,
            (Nan { .. }, _) => Ordering::Less,
            (_, Nan { .. }) => Ordering::Greater,
            (Infinity { negative: a }, Infinity { negative: b }) => b.cmp(&a),
            (Infinity { negative }, _) => if negative { Ordering::Less } else { Ordering::Greater },
            (_, Infinity { negative }) => if negative { Ordering::Greater } else { Ordering::Less },
            (
                Finite { negative: n, coefficient: c, exponent: e },
                Finite { negative: m, coefficient: d, exponent: f },
            ) => match (c, d) {
                (0, 0) => Ordering::Equal,
                (0, _) => if m { Ordering::Greater } else { Ordering::Less },
                (_, 0) => if n { Ordering::Less } else { Ordering::Greater },
                _ if n != m => m.cmp(&n),
                _ if n => compare_magnitudes(d, f, c, e),
                _ => compare_magnitudes(c, e, d, f),
            },
        }
    }

    pub fn check(self) -> Result<()> {
        Ok(())
    }
}

/// Compares `c * 10^e` with `d * 10^f`, neither zero.
fn compare_magnitudes(c: u128, e: i32, d: u128, f: i32) -> Ordering {
    if e == f {
        return c.cmp(&d);
    }
    let (x, y) = (digits(c) as i32 + e, digits(d) as i32 + f);
    // With equal magnitudes the exponents differ by less than 34, so scaling stays within 34 digits.
    x.cmp(&y).then_with(|| match e.cmp(&f) {
        Ordering::Greater => (c * pow10((e - f) as u32)).cmp(&d),
        _ => c.cmp(&(d * pow10((f - e) as u32))),
    })
}

/// 10^n for n up to 38; larger n answer 10^38.
pub(crate) const fn pow10(n: u32) -> u128 {
    const TABLE: [u128; 39] = {
        let mut table = [1u128; 39];
        let mut i = 1;
        while i < 39 {
            table[i] = table[i - 1] * 10;
            i += 1;
        }
        table
    };
    TABLE[if n < 39 { n as usize } else { 38 }]
}

/// The number of decimal digits; zero has none.
pub(crate) const fn digits(n: u128) -> u32 {
    match n.checked_ilog10() {
        Some(log) => log + 1,
        None => 0,
    }
}

impl std::fmt::Debug for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
