//! What key bytes forget, kept beside them so that a covered query answers the stored value.

use super::number::Form;
use crate::decimal::{Decimal, Parts};
use crate::value::Value;

/// The exact types of the numbers and strings of a key, in a few bytes; none when all are what a key's value is taken
/// for: int (long where int is too small), double where there is a fraction, string.
///
/// Each entry is for one number or string that is something else: how many are skipped before it, a code, and what the
/// code needs.
#[derive(Clone, Debug, Default)]
pub struct TypeBits {
    bytes: Vec<u8>,
    /// Numbers and strings since the last entry.
    skipped: u32,
}

const LONG: u8 = 1;
const DOUBLE: u8 = 2;
const NEGATIVE_ZERO: u8 = 3;
const SYMBOL: u8 = 4;
/// Two bytes of exponent.
const DECIMAL: u8 = 5;
/// The eight bytes themselves: a NaN that is not the usual one.
const RAW_DOUBLE: u8 = 6;
/// The sixteen bytes themselves: signed zeros, and encodings that are not canonical.
const RAW_DECIMAL: u8 = 7;

impl TypeBits {
    pub fn new() -> TypeBits {
        TypeBits::default()
    }

    /// The bytes to store; empty when there is nothing to tell.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.skipped = 0;
    }

    fn entry(&mut self, code: u8, extra: &[u8]) {
        let mut n = self.skipped;
        while n >= 0x80 {
            self.bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.bytes.push(n as u8);
        self.bytes.push(code);
        self.bytes.extend_from_slice(extra);
        self.skipped = 0;
    }

    pub(super) fn string(&mut self, symbol: bool) {
        if symbol {
            self.entry(SYMBOL, &[]);
        } else {
            self.skipped += 1;
        }
    }

    pub(super) fn number(&mut self, value: Value<'_>, form: &Form) {
        match (value, form.default_value()) {
            (Value::Int32(_), Value::Int32(_)) | (Value::Int64(_), Value::Int64(_)) => self.skipped += 1,
            (Value::Double(a), Value::Double(b)) if a.to_bits() == b.to_bits() => self.skipped += 1,
            (Value::Decimal(a), Value::Decimal(b)) if a.bits() == b.bits() => self.skipped += 1,
            (Value::Int64(_), _) => self.entry(LONG, &[]),
            (Value::Double(n), _) if n.is_nan() => self.entry(RAW_DOUBLE, &n.to_le_bytes()),
            (Value::Double(n), _) if n == 0.0 && n.is_sign_negative() => self.entry(NEGATIVE_ZERO, &[]),
            (Value::Double(_), _) => self.entry(DOUBLE, &[]),
            (Value::Decimal(d), _) => self.decimal(d, form),
            _ => self.skipped += 1,
        }
    }

    fn decimal(&mut self, d: Decimal, form: &Form) {
        let exponent = match d.parts() {
            Parts::Finite { exponent, .. } => exponent,
            _ => 0,
        };
        match form.as_decimal(exponent) {
            Some(same) if same.bits() == d.bits() => self.entry(DECIMAL, &(exponent as i16).to_le_bytes()),
            _ => self.entry(RAW_DECIMAL, &d.to_le_bytes()),
        }
    }
}

/// Reads type bits beside the key they belong to; bytes that make no sense read as nothing to tell.
#[derive(Clone, Debug, Default)]
pub struct TypeBitsReader<'a> {
    rest: &'a [u8],
    /// Numbers and strings until the next entry, once it was read.
    skip: Option<u32>,
}

impl<'a> TypeBitsReader<'a> {
    pub fn new(bytes: &'a [u8]) -> TypeBitsReader<'a> {
        TypeBitsReader { rest: bytes, skip: None }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut n = 0;
        for shift in [0, 7, 14, 21, 28] {
            let b = self.byte()?;
            n |= u32::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Some(n);
            }
        }
        None
    }

    /// The code of the next number or string, if it has one.
    fn code(&mut self) -> Option<u8> {
        let skip = match self.skip {
            Some(n) => n,
            None => self.varint()?,
        };
        self.skip = skip.checked_sub(1);
        if skip == 0 { self.byte() } else { None }
    }

    pub(super) fn is_symbol(&mut self) -> bool {
        self.code() == Some(SYMBOL)
    }

    pub(super) fn number(&mut self, form: &Form) -> Value<'static> {
        self.code().and_then(|code| self.coded(code, form)).unwrap_or_else(|| form.default_value())
    }

    fn coded(&mut self, code: u8, form: &Form) -> Option<Value<'static>> {
        Some(match code {
            LONG => match *form {
                Form::Zero => Value::Int64(0),
                Form::Whole { negative, n } => Value::Int64(if negative { (n as i64).wrapping_neg() } else { n as i64 }),
                _ => Value::Int64(form.as_f64() as i64),
            },
            DOUBLE => Value::Double(form.as_f64()),
            NEGATIVE_ZERO => Value::Double(-0.0),
            DECIMAL => Value::Decimal(form.as_decimal(i32::from(i16::from_le_bytes(self.take()?)))?),
            RAW_DOUBLE => Value::Double(f64::from_le_bytes(self.take()?)),
            RAW_DECIMAL => Value::Decimal(Decimal::from_le_bytes(self.take()?)),
            _ => return None,
        })
    }
}
