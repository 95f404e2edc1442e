//! IEEE 754-2008 decimal128 in the binary integer encoding BSON uses, through Intel's library.

use std::cmp::Ordering;

use crate::error::Result;

/// A decimal128; the bits as BSON stores them, least significant byte first.
#[derive(Clone, Copy)]
pub struct Decimal([u8; 16]);

impl Decimal {
    pub fn from_le_bytes(bytes: [u8; 16]) -> Decimal {
        Decimal(bytes)
    }
    pub fn to_le_bytes(self) -> [u8; 16] {
        self.0
    }
    pub fn is_zero(self) -> bool {
        todo!()
    }
    pub fn is_nan(self) -> bool {
        todo!()
    }
    pub fn is_infinite(self) -> bool {
        todo!()
    }
    pub fn is_negative(self) -> bool {
        todo!()
    }
    pub fn parse(_text: &str) -> Option<Decimal> {
        todo!()
    }
    pub fn from_i64(_n: i64) -> Decimal {
        todo!()
    }
    /// Rounded to 15 significant digits, as MongoDB converts a double.
    pub fn from_f64(_n: f64) -> Decimal {
        todo!()
    }
    pub fn to_f64(self) -> f64 {
        todo!()
    }
    /// The integer, when the value is one that fits.
    pub fn to_i64_exact(self) -> Option<i64> {
        todo!()
    }
    /// Truncated towards zero, when that fits.
    pub fn to_i64_trunc(self) -> Option<i64> {
        todo!()
    }
    pub fn add(self, _other: Decimal) -> Decimal {
        todo!()
    }
    pub fn sub(self, _other: Decimal) -> Decimal {
        todo!()
    }
    pub fn mul(self, _other: Decimal) -> Decimal {
        todo!()
    }
    pub fn div(self, _other: Decimal) -> Decimal {
        todo!()
    }
    pub fn rem(self, _other: Decimal) -> Decimal {
        todo!()
    }
    /// Total order: NaN below everything, -0 equal to 0.
    pub fn compare(self, _other: Decimal) -> Ordering {
        todo!()
    }
    pub fn check(self) -> Result<()> {
        Ok(())
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

impl std::fmt::Debug for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
