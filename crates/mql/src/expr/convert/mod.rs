//! Conversions between types: `$convert`, `$toInt` and its kin, `$type`, `$isNumber`. [`binary`]: what has to do with bytes.
//! [`text`]: numbers as strings.

mod binary;
mod text;

use smongo_bson::{Code, Decimal, ObjectId, Result, Type, Value, bail, err, number};

use super::date::zone::{Zone, millis_of};
use super::date::{format, parse};
use super::node::{Args, Node};
use super::parse::{Fields, Row, Scope};
use super::text::string;
use crate::cx::Cx;
use binary::Format;

const CONVERT: Fields = Fields {
    not_object: 9,
    unknown: 9,
    names: &[("input", 9), ("to", 9), ("format", 0), ("byteOrder", 0), ("onNull", 0), ("onError", 0)],
};

pub(super) static ROWS: &[Row] = &[
    Row::fields("$convert", &CONVERT, convert),
    Row::exact("$isNumber", 1, |args, cx| Ok(Value::Bool(args.eval(0, cx)?.is_number()))),
    Row::special("$toBool", parse_to, |args, cx| to(args, cx, Type::Bool)),
    Row::special("$toDate", parse_to, |args, cx| to(args, cx, Type::DateTime)),
    Row::special("$toDecimal", parse_to, |args, cx| to(args, cx, Type::Decimal)),
    Row::special("$toDouble", parse_to, |args, cx| to(args, cx, Type::Double)),
    Row::special("$toInt", parse_to, |args, cx| to(args, cx, Type::Int32)),
    Row::special("$toLong", parse_to, |args, cx| to(args, cx, Type::Int64)),
    Row::special("$toObjectId", parse_to, |args, cx| to(args, cx, Type::ObjectId)),
    Row::special("$toString", parse_to, |args, cx| to(args, cx, Type::String)),
    Row::special("$toUUID", parse_to, to_uuid),
    Row::exact("$type", 1, |args, cx| Ok(Value::String(args.eval(0, cx)?.type_name()))),
];

/// What a conversion makes and how it reads and writes bytes.
#[derive(Clone, Copy)]
struct Target {
    kind: Type,
    subtype: u8,
    format: Option<Format>,
    big_endian: bool,
}

fn parse_to(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let args = scope.args(spec)?;
    if args.len() != 1 {
        bail!(50723, "{} requires a single argument, got {}", row.name, args.len());
    }
    Ok(scope.call(row, args))
}

fn to<'a>(args: &'a Args, cx: &Cx<'a>, kind: Type) -> Result<Value<'a>> {
    let value = args.eval(0, cx)?;
    if value.is_nullish() {
        return Ok(Value::Null);
    }
    perform(value, Target { kind, subtype: 0, format: Some(Format::Auto), big_endian: false }, cx)
}

fn to_uuid<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let value = args.eval(0, cx)?;
    if value.is_nullish() {
        return Ok(Value::Null);
    }
    perform(value, Target { kind: Type::Binary, subtype: 4, format: Some(Format::Uuid), big_endian: false }, cx)
}

fn convert<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let value = args.eval(0, cx)?;
    let to = args.eval(1, cx)?;
    let (format, order) = (args.eval(2, cx)?, args.eval(3, cx)?);
    if value.is_nullish() {
        return if args.given(4) { args.eval(4, cx) } else { Ok(Value::Null) };
    }
    let (kind, subtype) = match to {
        v if v.is_nullish() => return Ok(Value::Null),
        Value::Document(d) => match d.get("type") {
            Value::Missing => bail!(FailedToParse, "Missing 'type' parameter of $convert's 'to' argument"),
            kind => (type_of(kind)?, d.get("subtype")),
        },
        v => (type_of(v)?, Value::Missing),
    };
    let subtype = if kind == Type::Binary { subtype_of(subtype)? } else { 0 };
    let target = Target { kind, subtype, format: Format::of(format)?, big_endian: is_big_endian(order)? };
    match perform(value, target, cx) {
        Err(e) if args.given(5) && e.code() == Code::ConversionFailure => args.eval(5, cx),
        other => other,
    }
}

fn type_of(v: Value<'_>) -> Result<Type> {
    match v {
        Value::String(name) => {
            Type::from_name(name).ok_or_else(|| err!(BadValue, "Unknown type name: {name}"))
        }
        v if v.is_number() => {
            let code = number::to_i64_exact(v);
            let Some(code) = code else {
                bail!(FailedToParse, "In $convert, numeric 'to' argument is not an integer: {v:?}");
            };
            match code {
                0 => Ok(Type::Missing),
                -1 => Ok(Type::MinKey),
                1..=127 => u8::try_from(code).ok().and_then(Type::from_tag).ok_or_else(|| unknown_code(code)),
                _ => Err(unknown_code(code)),
            }
        }
        v => bail!(FailedToParse, "$convert's 'to' argument must be a string or number, but is {}", v.type_name()),
    }
}

fn unknown_code(code: i64) -> smongo_bson::Error {
    err!(FailedToParse, "In $convert, numeric value for 'to' does not correspond to a BSON type: {code}")
}

fn subtype_of(v: Value<'_>) -> Result<u8> {
    if v.is_missing() {
        return Ok(0);
    }
    if !v.is_number() {
        bail!(4341108, "In $convert, 'subtype' argument must be a number, but is {}", v.type_name());
    }
    let Some(n) = number::to_i64_exact(v) else {
        bail!(4341106, "In $convert, numeric 'subtype' argument is not an integer: {v:?}");
    };
    match u8::try_from(n) {
        Ok(n @ (0..=9 | 128..)) => Ok(n),
        _ => bail!(4341107, "In $convert, numeric value for 'subtype' does not correspond to a BinData type: {n}"),
    }
}

fn is_big_endian(v: Value<'_>) -> Result<bool> {
    match v {
        v if v.is_nullish() => Ok(false),
        Value::String("little") => Ok(false),
        Value::String("big") => Ok(true),
        Value::String(other) => bail!(9130002, "Invalid 'byteOrder' argument for $convert: {other}"),
        v => bail!(9130001, "$convert requires that 'byteOrder' be a string, found: {}", v.type_name()),
    }
}

/// The failure of a conversion.
fn failure(v: Value<'_>, why: &str) -> smongo_bson::Error {
    let shown = match v {
        Value::String(s) => format!("\"{}\"", s.get(..s.floor_char_boundary(128)).unwrap_or(s)),
        v => v.type_name().to_owned(),
    };
    err!(ConversionFailure, "Failed to convert {shown} in $convert with no onError value: {why}")
}

fn unsupported(v: Value<'_>, kind: Type) -> smongo_bson::Error {
    err!(ConversionFailure, "Unsupported conversion from {} to {} in $convert with no onError value", v.type_name(), kind.name())
}

fn perform<'a>(v: Value<'a>, target: Target, cx: &Cx<'a>) -> Result<Value<'a>> {
    match target.kind {
        Type::Bool => Ok(Value::Bool(match v {
            Value::Bool(_) => v.truthy(),
            v if v.is_number() => v.truthy(),
            _ => true,
        })),
        Type::Int32 => {
            let n = to_long(v, &target, &[1, 2, 4], |v| matches!(v, Value::DateTime(_)))?;
            i32::try_from(n).map(Value::Int32).map_err(|_| failure(v, "Conversion would overflow target type"))
        }
        Type::Int64 => to_long(v, &target, &[1, 2, 4, 8], |_| false).map(Value::Int64),
        Type::Double => to_double(v, &target).map(Value::Double),
        Type::Decimal => to_decimal(v, target.kind).map(Value::Decimal),
        Type::DateTime => to_date(v, target.kind).map(Value::DateTime),
        Type::ObjectId => match v {
            Value::ObjectId(_) => Ok(v),
            Value::String(s) => match ObjectId::parse_hex(s) {
                Some(id) => Ok(Value::ObjectId(id)),
                None => Err(failure(v, "an ObjectId is 24 hexadecimal digits")),
            },
            v => Err(unsupported(v, target.kind)),
        },
        Type::String => to_string(v, &target, cx),
        Type::Binary => binary::to_binary(v, &target, cx),
        kind => Err(unsupported(v, kind)),
    }
}

/// The whole part of a number, or what a string or bytes of one of these lengths say.
fn to_long(v: Value<'_>, target: &Target, lengths: &[usize], refused: fn(Value<'_>) -> bool) -> Result<i64> {
    let whole = match v {
        v if refused(v) => return Err(unsupported(v, target.kind)),
        Value::Int32(n) => Some(i64::from(n)),
        Value::Int64(n) | Value::DateTime(n) => Some(n),
        Value::Bool(b) => Some(i64::from(b)),
        Value::Double(n) if n.is_nan() => return Err(failure(v, "Attempt to convert NaN value to integer type")),
        Value::Double(n) => (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&n).then_some(n as i64),
        Value::Decimal(d) => d.to_i64_trunc(),
        Value::String(s) => return text::long(s).ok_or_else(|| failure(v, "Failed to parse number")),
        Value::Binary(b) => return binary::integer(b.bytes(), lengths, target.big_endian).ok_or_else(|| failure(v, "wrong length")),
        v => return Err(unsupported(v, target.kind)),
    };
    whole.ok_or_else(|| failure(v, "Conversion would overflow target type"))
}

fn to_double(v: Value<'_>, target: &Target) -> Result<f64> {
    match v {
        Value::Bool(b) => Ok(f64::from(u8::from(b))),
        Value::DateTime(ms) => Ok(ms as f64),
        Value::Decimal(d) => {
            let n = d.to_f64();
            if n.is_infinite() && d.is_finite() {
                return Err(failure(v, "Conversion would overflow target type"));
            }
            Ok(n)
        }
        Value::String(s) => text::double(s).ok_or_else(|| failure(v, "Failed to parse number")),
        Value::Binary(b) => binary::double(b.bytes(), target.big_endian).ok_or_else(|| failure(v, "wrong length")),
        v => number::to_f64(v).ok_or_else(|| unsupported(v, target.kind)),
    }
}

fn to_decimal(v: Value<'_>, kind: Type) -> Result<Decimal> {
    match v {
        Value::Bool(b) => Ok(Decimal::from_i64(i64::from(b))),
        Value::DateTime(ms) => Ok(Decimal::from_i64(ms)),
        Value::String(s) => match Decimal::parse_flags(s) {
            None => Err(failure(v, "Failed to parse number")),
            Some((_, flags)) if flags.overflow || flags.underflow => {
                Err(failure(v, "Conversion from string to decimal would overflow or underflow"))
            }
            Some((d, _)) => Ok(d),
        },
        v => number::to_decimal(v).ok_or_else(|| unsupported(v, kind)),
    }
}

fn to_date(v: Value<'_>, kind: Type) -> Result<i64> {
    let millis = match v {
        Value::Int64(n) => Some(n),
        Value::Double(n) if n.is_finite() && n.abs() < 9.223_372_036_854_775e18 => Some(n as i64),
        Value::Decimal(d) => d.to_i64_trunc(),
        Value::Double(_) => None,
        Value::String(s) => return parse::parse(s, &Zone::UTC),
        v => return millis_of(v).ok_or_else(|| unsupported(v, kind)),
    };
    millis.ok_or_else(|| failure(v, "Conversion would overflow target type"))
}

fn to_string<'a>(v: Value<'a>, target: &Target, cx: &Cx<'a>) -> Result<Value<'a>> {
    let made = match v {
        Value::String(_) => return Ok(v),
        Value::Bool(b) => b.to_string(),
        Value::Int32(n) => n.to_string(),
        Value::Int64(n) => n.to_string(),
        Value::Double(n) => text::of_double(n),
        Value::Decimal(d) => d.to_string(),
        Value::ObjectId(id) => id.to_string(),
        Value::DateTime(ms) => format::write(ms, "%Y-%m-%dT%H:%M:%S.%LZ", &Zone::UTC)?,
        Value::Binary(b) => binary::to_text(v, b, target)?,
        v => return Err(unsupported(v, target.kind)),
    };
    string(cx, &made)
}
