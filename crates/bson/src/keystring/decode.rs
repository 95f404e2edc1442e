//! Keys back into values.

use super::number::{Form, MAGNITUDE_BIAS, read_digits};
use super::type_bits::TypeBitsReader;
use super::{END, tag};
use crate::err;
use crate::error::{Error, Result};
use crate::owned::ValueBuf;
use crate::value::{Timestamp, Type, Value};
use crate::write::{append_value, tag_of, write_decimal};

/// Deeper than any document that was checked, so only a damaged key reaches it.
const MAX_DEPTH: usize = crate::check::MAX_DEPTH + 20;

/// Skips one value's key bytes; returns what follows.
pub fn skip(key: &[u8], descending: bool) -> Result<&[u8]> {
    let mut r = Reader::new(key, descending);
    r.skip(0)?;
    Ok(r.rest)
}

/// Decodes one value and returns what follows. Numbers come back as a number that compares equal (the exact type needs
/// type bits, see [`append_with_type_bits`](super::append_with_type_bits)), symbols as strings. Strings encoded under a
/// collation cannot be decoded: what comes back is their sort key.
pub fn decode(key: &[u8], descending: bool) -> Result<(ValueBuf, &[u8])> {
    decode_with(key, descending, &mut TypeBitsReader::default())
}

/// Decodes one value exactly as it was, by the type bits written beside it; returns what follows.
pub fn decode_with<'k>(key: &'k [u8], descending: bool, bits: &mut TypeBitsReader<'_>) -> Result<(ValueBuf, &'k [u8])> {
    let mut out = Vec::new();
    let (tag, rest) = decode_into(&mut out, key, descending, bits)?;
    Ok((ValueBuf::from_parts(tag, out), rest))
}

/// The same, appending the value's BSON bytes to `out`; returns its BSON type byte and what follows in the key.
pub fn decode_into<'k>(out: &mut Vec<u8>, key: &'k [u8], descending: bool, bits: &mut TypeBitsReader<'_>) -> Result<(u8, &'k [u8])> {
    let mut r = Reader::new(key, descending);
    let tag = r.value(out, bits, 0)?;
    Ok((tag, r.rest))
}

fn corrupt() -> Error {
    err!(InternalError, "corrupt index key")
}

/// Reads key bytes, un-inverting them.
struct Reader<'k> {
    rest: &'k [u8],
    mask: u8,
}

impl<'k> Reader<'k> {
    fn new(rest: &'k [u8], descending: bool) -> Reader<'k> {
        Reader { rest, mask: if descending { 0xff } else { 0 } }
    }

    fn peek(&self) -> Result<u8> {
        self.rest.first().map(|b| b ^ self.mask).ok_or_else(corrupt)
    }

    fn byte(&mut self) -> Result<u8> {
        let b = self.peek()?;
        self.rest = self.rest.get(1..).unwrap_or_default();
        Ok(b)
    }

    /// The next bytes as they are in the key, maybe inverted.
    fn raw(&mut self, n: usize) -> Result<&'k [u8]> {
        let (first, rest) = self.rest.split_at_checked(n).ok_or_else(corrupt)?;
        self.rest = rest;
        Ok(first)
    }

    fn copy(&mut self, n: usize, out: &mut Vec<u8>) -> Result<()> {
        let mask = self.mask;
        out.extend(self.raw(n)?.iter().map(|b| b ^ mask));
        Ok(())
    }

    /// The next `n` bytes, at most eight, as a big-endian number; inverted once more for negative numbers.
    fn word(&mut self, n: usize, negative: bool) -> Result<u64> {
        let mask = if negative { !self.mask } else { self.mask };
        Ok(self.raw(n)?.iter().fold(0, |word, b| (word << 8) | u64::from(b ^ mask)))
    }

    /// The bytes before the next 00, which is passed over.
    fn terminated(&mut self) -> Result<&'k [u8]> {
        let at = self.rest.iter().position(|b| *b == self.mask).ok_or_else(corrupt)?;
        let text = self.raw(at)?;
        self.byte()?;
        Ok(text)
    }

    fn length(&mut self) -> Result<usize> {
        match self.byte()? {
            0xff => Ok(self.word(4, false)? as usize),
            n => Ok(usize::from(n)),
        }
    }

    fn unescaped(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut raw = self.terminated()?.iter().map(|b| b ^ self.mask);
        while let Some(b) = raw.next() {
            bytes.push(match b {
                1 => raw.next().and_then(|b| b.checked_sub(1)).ok_or_else(corrupt)?,
                _ => b,
            });
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// A number behind its tag.
    fn number(&mut self, t: u8) -> Result<Form> {
        let negative = t < tag::ZERO;
        let count = if negative { tag::NEG_SMALL.wrapping_sub(t) } else { t.wrapping_sub(tag::POS_SMALL) };
        Ok(match t {
            tag::NAN => Form::Nan,
            tag::ZERO => Form::Zero,
            tag::NEG_INFINITY | tag::POS_INFINITY => Form::Infinity { negative },
            tag::NEG_HUGE | tag::NEG_SMALL | tag::POS_SMALL | tag::POS_HUGE => {
                let word = self.word(8, negative)?;
                let digits = match word & 1 {
                    0 => None,
                    _ => {
                        let magnitude = self.word(2, negative)? as i32 - MAGNITUDE_BIAS;
                        Some(self.digits(negative, magnitude)?)
                    }
                };
                Form::Double { negative, bits: word >> 1, digits }
            }
            _ => {
                let word = self.word(usize::from(count), negative)?;
                let n = word >> 1;
                if word & 1 == 0 {
                    return Ok(Form::Whole { negative, n });
                }
                let low = self.word(7, negative)?;
                let magnitude = crate::decimal::digits(u128::from(n)) as i32 - 1;
                let digits = if low & 1 == 0 { None } else { Some(self.digits(negative, magnitude)?) };
                Form::Mixed { negative, n, fraction: low >> 4, digits }
            }
        })
    }

    fn digits(&mut self, negative: bool, magnitude: i32) -> Result<super::number::Digits> {
        let mask = if negative { !self.mask } else { self.mask };
        let at = self.rest.iter().position(|b| b ^ mask == 0).filter(|n| *n <= 17).ok_or_else(corrupt)?;
        let mut pairs = [0; 17];
        for (pair, b) in pairs.iter_mut().zip(self.raw(at)?) {
            *pair = b ^ mask;
        }
        self.byte()?;
        read_digits(pairs.get(..at).unwrap_or_default(), magnitude).ok_or_else(corrupt)
    }

    /// Appends the BSON bytes of the next value; returns its BSON type byte.
    fn value(&mut self, out: &mut Vec<u8>, bits: &mut TypeBitsReader<'_>, depth: usize) -> Result<u8> {
        let t = self.byte()?;
        if (tag::NAN..=tag::POS_INFINITY).contains(&t) {
            let form = self.number(t)?;
            return Ok(put(out, bits.number(&form)));
        }
        Ok(match t {
            tag::MIN_KEY => put(out, Value::MinKey),
            tag::UNDEFINED => put(out, Value::Undefined),
            tag::NULL => put(out, Value::Null),
            tag::FALSE => put(out, Value::Bool(false)),
            tag::TRUE => put(out, Value::Bool(true)),
            tag::MAX_KEY => put(out, Value::MaxKey),
            tag::STRING => {
                let s = self.unescaped()?;
                put(out, if bits.is_symbol() { Value::Symbol(&s) } else { Value::String(&s) })
            }
            tag::CODE => put(out, Value::JavaScript(&self.unescaped()?)),
            tag::OBJECT_ID => {
                self.copy(12, out)?;
                Type::ObjectId as u8
            }
            tag::DATE => put(out, Value::DateTime((self.word(8, false)? ^ (1 << 63)) as i64)),
            tag::TIMESTAMP => put(out, Value::Timestamp(Timestamp::from_u64(self.word(8, false)?))),
            tag::BINARY => {
                let n = self.length()?;
                out.extend_from_slice(&(n as i32).to_le_bytes());
                self.copy(n + 1, out)?;
                Type::Binary as u8
            }
            tag::DB_POINTER => {
                let n = self.length()?;
                self.copy(n, out)?;
                Type::DbPointer as u8
            }
            tag::REGEX => {
                for _ in 0..2 {
                    out.extend_from_slice(self.unescaped()?.as_bytes());
                    out.push(0);
                }
                Type::Regex as u8
            }
            tag::DOCUMENT | tag::ARRAY | tag::CODE_WITH_SCOPE if depth < MAX_DEPTH => self.nested(t, out, bits, depth)?,
            _ => return Err(corrupt()),
        })
    }

    fn nested(&mut self, t: u8, out: &mut Vec<u8>, bits: &mut TypeBitsReader<'_>, depth: usize) -> Result<u8> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let kind = match t {
            tag::DOCUMENT => {
                self.fields(out, bits, depth)?;
                Type::Document
            }
            tag::ARRAY => {
                self.elements(out, bits, depth)?;
                Type::Array
            }
            _ => {
                let code = self.unescaped()?;
                put(out, Value::JavaScript(&code));
                let scope = out.len();
                out.extend_from_slice(&[0; 4]);
                self.fields(out, bits, depth)?;
                patch_length(out, scope);
                Type::CodeWithScope
            }
        };
        patch_length(out, start);
        Ok(kind as u8)
    }

    fn fields(&mut self, out: &mut Vec<u8>, bits: &mut TypeBitsReader<'_>, depth: usize) -> Result<()> {
        while self.byte()? != END {
            let at = out.len();
            out.push(0);
            let mask = self.mask;
            out.extend(self.terminated()?.iter().map(|b| b ^ mask));
            out.push(0);
            let kind = self.value(out, bits, depth + 1)?;
            patch(out, at, &[kind]);
        }
        out.push(0);
        Ok(())
    }

    fn elements(&mut self, out: &mut Vec<u8>, bits: &mut TypeBitsReader<'_>, depth: usize) -> Result<()> {
        for i in 0u32.. {
            if self.peek()? == END {
                break;
            }
            let at = out.len();
            out.push(0);
            write_decimal(out, i);
            out.push(0);
            let kind = self.value(out, bits, depth + 1)?;
            patch(out, at, &[kind]);
        }
        self.byte()?;
        out.push(0);
        Ok(())
    }

    fn skip(&mut self, depth: usize) -> Result<()> {
        let t = self.byte()?;
        match t {
            tag::MIN_KEY | tag::UNDEFINED | tag::NULL | tag::FALSE | tag::TRUE | tag::MAX_KEY => {}
            tag::NAN..=tag::POS_INFINITY => {
                self.number(t)?;
            }
            tag::STRING | tag::CODE => {
                self.terminated()?;
            }
            tag::OBJECT_ID => {
                self.raw(12)?;
            }
            tag::DATE | tag::TIMESTAMP => {
                self.raw(8)?;
            }
            tag::BINARY => {
                let n = self.length()?;
                self.raw(n + 1)?;
            }
            tag::DB_POINTER => {
                let n = self.length()?;
                self.raw(n)?;
            }
            tag::REGEX => {
                self.terminated()?;
                self.terminated()?;
            }
            tag::ARRAY if depth < MAX_DEPTH => {
                while self.peek()? != END {
                    self.skip(depth + 1)?;
                }
                self.byte()?;
            }
            tag::DOCUMENT | tag::CODE_WITH_SCOPE if depth < MAX_DEPTH => {
                if t == tag::CODE_WITH_SCOPE {
                    self.terminated()?;
                }
                while self.byte()? != END {
                    self.terminated()?;
                    self.skip(depth + 1)?;
                }
            }
            _ => return Err(corrupt()),
        }
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, value: Value<'_>) -> u8 {
    append_value(out, value);
    tag_of(&value)
}

fn patch(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn patch_length(out: &mut [u8], start: usize) {
    let len = (out.len() - start) as i32;
    patch(out, start, &len.to_le_bytes());
}

