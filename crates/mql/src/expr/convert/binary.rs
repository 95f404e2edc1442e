//! Conversions that read or write bytes: base64, hexadecimal, UTF-8, UUIDs, numbers in either byte order.

use smongo_bson::{Binary, Result, Value, bail};

use super::{Target, failure, unsupported};
use crate::cx::Cx;
use crate::expr::text::{MAX_STRING, check_length};

/// How bytes look in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Auto,
    Base64,
    Base64Url,
    Hex,
    Utf8,
    Uuid,
}

impl Format {
    pub fn of(v: Value<'_>) -> Result<Option<Format>> {
        Ok(Some(match v {
            v if v.is_nullish() => return Ok(None),
            Value::String("auto") => Format::Auto,
            Value::String("base64") => Format::Base64,
            Value::String("base64url") => Format::Base64Url,
            Value::String("hex") => Format::Hex,
            Value::String("utf8") => Format::Utf8,
            Value::String("uuid") => Format::Uuid,
            Value::String(other) => bail!(4341125, "Invalid 'format' argument for $convert: {other}"),
            v => bail!(4341114, "$convert requires that 'format' be a string, found: {}", v.type_name()),
        }))
    }
}

fn required(target: &Target) -> Result<Format> {
    match target.format {
        Some(format) => Ok(format),
        None => bail!(4341115, "Format must be specified when converting between 'binData' and 'string'"),
    }
}

/// An integer of one of these lengths in bytes, with its sign.
pub(super) fn integer(bytes: &[u8], lengths: &[usize], big_endian: bool) -> Option<i64> {
    if !lengths.contains(&bytes.len()) {
        return None;
    }
    let mut little = bytes.to_vec();
    if big_endian {
        little.reverse();
    }
    let fill = if little.last()? & 0x80 != 0 { 0xff } else { 0 };
    little.resize(8, fill);
    little.try_into().ok().map(i64::from_le_bytes)
}

/// A float of four or eight bytes.
pub(super) fn double(bytes: &[u8], big_endian: bool) -> Option<f64> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(f64::from(if big_endian { f32::from_be_bytes(four) } else { f32::from_le_bytes(four) }));
    }
    let eight = bytes.try_into().ok()?;
    Some(if big_endian { f64::from_be_bytes(eight) } else { f64::from_le_bytes(eight) })
}

pub(super) fn to_binary<'a>(v: Value<'a>, target: &Target, cx: &Cx<'a>) -> Result<Value<'a>> {
    let number = |mut bytes: Vec<u8>| {
        if target.big_endian {
            bytes.reverse();
        }
        bytes
    };
    let bytes = match v {
        Value::Binary(b) if b.subtype() == target.subtype => return Ok(v),
        Value::Binary(_) => return Err(failure(v, "Conversions between different binData subtypes are not supported")),
        Value::Int32(n) => number(n.to_le_bytes().to_vec()),
        Value::Int64(n) => number(n.to_le_bytes().to_vec()),
        Value::Double(n) => number(n.to_le_bytes().to_vec()),
        Value::String(s) => {
            let format = required(target)?;
            if (format == Format::Uuid) != (target.subtype == 4) {
                return Err(failure(v, "The uuid format goes with subtype 4, and only with it"));
            }
            let bytes = match format {
                Format::Auto => None,
                Format::Base64 => from_base64(s, STANDARD, true),
                Format::Base64Url => from_base64(s, URL, false),
                Format::Hex => from_hex(s),
                Format::Utf8 => Some(s.as_bytes().to_vec()),
                Format::Uuid => from_uuid(s),
            };
            bytes.ok_or_else(|| failure(v, "Input string is not valid in the given format"))?
        }
        v => return Err(unsupported(v, target.kind)),
    };
    let mut raw = vec![target.subtype];
    raw.extend_from_slice(&bytes);
    Ok(Value::Binary(Binary::from_raw(cx.arena.bytes(&raw))))
}

pub(super) fn to_text(v: Value<'_>, b: Binary<'_>, target: &Target) -> Result<String> {
    let bytes = b.bytes();
    let is_uuid = b.subtype() == 4 && bytes.len() == 16;
    let format = match required(target)? {
        Format::Auto if is_uuid => Format::Uuid,
        Format::Auto => Format::Base64,
        other => other,
    };
    let made = match format {
        Format::Hex => bytes.len() * 2,
        Format::Utf8 | Format::Uuid => 0,
        _ => bytes.len().div_ceil(3) * 4,
    };
    if made >= MAX_STRING {
        return Err(failure(v, "Resulting string value exceeds maximum size"));
    }
    match format {
        Format::Auto | Format::Base64 => Ok(to_base64(bytes, STANDARD, true)),
        Format::Base64Url => Ok(to_base64(bytes, URL, false)),
        Format::Hex => Ok(bytes.iter().map(|b| format!("{b:02X}")).collect()),
        Format::Utf8 => {
            check_length(bytes.len())?;
            String::from_utf8(bytes.to_vec()).map_err(|_| failure(v, "Input is not valid UTF-8"))
        }
        Format::Uuid if is_uuid => Ok(to_uuid(bytes)),
        Format::Uuid => Err(failure(v, "Only binData of subtype 4 and 16 bytes is a UUID")),
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_base64(bytes: &[u8], alphabet: &[u8; 64], pad: bool) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            if i <= chunk.len() {
                let digit = (bits >> (18 - 6 * i)) & 63;
                out.push(alphabet.get(digit as usize).copied().unwrap_or(b'=').into());
            } else if pad {
                out.push('=');
            }
        }
    }
    out
}

/// With `strict` the padding must be there; without it may be.
fn from_base64(s: &str, alphabet: &[u8; 64], strict: bool) -> Option<Vec<u8>> {
    let digits = s.trim_end_matches('=');
    let padding = s.len() - digits.len();
    let padded = s.len().is_multiple_of(4) && padding <= 2;
    if !(padded || (!strict && padding == 0)) || digits.len() % 4 == 1 {
        return None;
    }
    let mut table = [255u8; 256];
    for (i, c) in alphabet.iter().enumerate() {
        table[usize::from(*c)] = i as u8;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for c in chunk {
            let digit = table[usize::from(*c)];
            if digit == 255 {
                return None;
            }
            bits = bits << 6 | u32::from(digit);
        }
        bits <<= 6 * (4 - chunk.len());
        let bytes = bits.to_be_bytes();
        out.extend_from_slice(bytes.get(1..chunk.len())?);
    }
    Some(out)
}

fn from_hex(s: &str) -> Option<Vec<u8>> {
    if !s.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: &u8| char::from(*b).to_digit(16).map(|d| d as u8);
    s.as_bytes().as_chunks::<2>().0.iter().map(|[a, b]| Some(digit(a)? << 4 | digit(b)?)).collect()
}

fn to_uuid(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, b) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{b:02x}"));
    }
    out
}

fn from_uuid(s: &str) -> Option<Vec<u8>> {
    let dashes = s.len() == 36 && [8, 13, 18, 23].iter().all(|at| s.as_bytes().get(*at) == Some(&b'-'));
    let digits: String = s.chars().filter(|c| *c != '-').collect();
    if !dashes || digits.len() != 32 {
        return None;
    }
    from_hex(&digits)
}
