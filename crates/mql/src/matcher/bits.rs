//! `$bitsAllSet $bitsAllClear $bitsAnySet $bitsAnyClear`.

use smongo_bson::{Element, Result, Value, bail, number};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitsOp {
    AllSet,
    AllClear,
    AnySet,
    AnyClear,
}

/// The bits a bit operator looks at.
#[derive(Debug, Default)]
pub struct BitsTest {
    /// Bits 0 to 63.
    mask: u64,
    /// Positions from 64 on: sign bits of numbers, bits of longer binary data.
    far: Vec<u32>,
}

impl BitsTest {
    /// A mask: a non-negative integer, binary data (little-endian), or an array of bit positions.
    pub fn parse(op: &str, value: Value<'_>) -> Result<BitsTest> {
        let mut test = BitsTest::default();
        match value {
            Value::Array(positions) => {
                for (index, v) in positions.iter().enumerate() {
                    test.set(position(op, index, v)?);
                }
            }
            Value::Binary(data) => {
                for (byte, at) in data.bytes().iter().zip(0u32..) {
                    (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| test.set(at * 8 + bit));
                }
            }
            v if v.is_number() => match number::to_i64_exact(v) {
                Some(n) if n >= 0 => test.mask = n as u64,
                Some(_) => bail!(FailedToParse, "Expected a non-negative number in: {}", shown(op, v)),
                None => bail!(FailedToParse, "Expected an integer: {}", shown(op, v)),
            },
            _ => bail!(BadValue, "{} takes an Array, a number, or a BinData but received: {}", op, shown(op, value)),
        }
        Ok(test)
    }

    fn set(&mut self, bit: u32) {
        if bit < 64 {
            self.mask |= 1 << bit;
        } else {
            self.far.push(bit);
        }
    }

    /// Numbers that are 64-bit integers (sign-extended beyond bit 63) and binary data (zero beyond its end) are tested; nothing else matches.
    pub fn matches(&self, op: BitsOp, e: Option<&Element<'_>>) -> bool {
        let Some(e) = e else { return false };
        let value = e.value();
        let (low, far) = match value {
            Value::Int32(n) => (i64::from(n) as u64, Far::Sign(n < 0)),
            Value::Int64(n) => (n as u64, Far::Sign(n < 0)),
            Value::Double(_) | Value::Decimal(_) => {
                let Some(n) = number::to_i64_exact(value) else { return false };
                (n as u64, Far::Sign(n < 0))
            }
            Value::Binary(data) => {
                let mut low = [0; 8];
                low.iter_mut().zip(data.bytes()).for_each(|(to, from)| *to = *from);
                (u64::from_le_bytes(low), Far::Bytes(data.bytes()))
            }
            _ => return false,
        };
        let is_set = |bit: u32| match far {
            Far::Sign(negative) => negative,
            Far::Bytes(bytes) => bytes.get(bit as usize / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1),
        };
        match op {
            BitsOp::AllSet => low & self.mask == self.mask && self.far.iter().all(|b| is_set(*b)),
            BitsOp::AllClear => low & self.mask == 0 && !self.far.iter().any(|b| is_set(*b)),
            BitsOp::AnySet => low & self.mask != 0 || self.far.iter().any(|b| is_set(*b)),
            BitsOp::AnyClear => !low & self.mask != 0 || !self.far.iter().all(|b| is_set(*b)),
        }
    }
}

/// What the bits from 64 on are.
#[derive(Clone, Copy)]
enum Far<'a> {
    Sign(bool),
    Bytes(&'a [u8]),
}

fn position(op: &str, index: usize, v: Value<'_>) -> Result<u32> {
    if !v.is_number() {
        bail!(BadValue, "Failed to parse bit position. Expected a number in: {}", shown(&index.to_string(), v));
    }
    match number::to_i64_exact(v) {
        Some(n) if n < 0 => bail!(BadValue, "Failed to parse bit position. Expected a non-negative number in: {}", shown(&index.to_string(), v)),
        Some(n) if n <= i64::from(i32::MAX) => Ok(n as u32),
        _ => bail!(BadValue, "bit positions of {op} cannot be represented as a 32-bit signed integer: {}", shown(&index.to_string(), v)),
    }
}

/// `name: value` as messages show an element.
pub(super) fn shown(name: &str, value: Value<'_>) -> String {
    format!("{name}: {value}")
}
