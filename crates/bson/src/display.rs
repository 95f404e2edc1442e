//! Values as MongoDB's messages write them: `{ a: 1, b: "x", c: [ 1.5, ObjectId('…') ] }`. For messages and explain, never to be read
//! back ([`crate::json`] is). `Debug` is the same.

use std::fmt::{Display, Formatter, Result};

use crate::doc::{Array, Doc, Element};
use crate::owned::{DocBuf, ValueBuf};
use crate::value::{Binary, Value};

impl Display for Doc<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut separator = "{ ";
        for element in self.iter() {
            write!(f, "{separator}{element}")?;
            separator = ", ";
        }
        f.write_str(if self.is_empty() { "{}" } else { " }" })
    }
}

impl Display for Array<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut separator = "[ ";
        for value in self.iter() {
            write!(f, "{separator}{value}")?;
            separator = ", ";
        }
        f.write_str(if self.is_empty() { "[]" } else { " ]" })
    }
}

impl Display for Element<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}: {}", self.name(), self.value())
    }
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Value::Missing => f.write_str("MISSING"),
            Value::MinKey => f.write_str("MinKey"),
            Value::MaxKey => f.write_str("MaxKey"),
            Value::Undefined => f.write_str("undefined"),
            Value::Null => f.write_str("null"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int32(n) => write!(f, "{n}"),
            Value::Int64(n) => write!(f, "{n}"),
            Value::Double(n) => double(f, n),
            Value::Decimal(d) => write!(f, "{d}"),
            Value::String(s) | Value::Symbol(s) => write!(f, "\"{s}\""),
            Value::Document(d) => d.fmt(f),
            Value::Array(a) => a.fmt(f),
            Value::Binary(b) => binary(f, b),
            Value::ObjectId(id) => write!(f, "ObjectId('{id}')"),
            Value::DateTime(millis) => write!(f, "new Date({millis})"),
            Value::Timestamp(t) => write!(f, "Timestamp({}, {})", t.time, t.increment),
            Value::Regex(r) => write!(f, "/{}/{}", r.pattern(), r.options()),
            Value::DbPointer(p) => write!(f, "DBRef('{}',{})", p.namespace(), p.id()),
            Value::JavaScript(code) => f.write_str(code),
            Value::CodeWithScope(c) => write!(f, "CodeWScope( {}, {})", c.code(), c.scope()),
        }
    }
}

/// Sixteen digits, and a point where there would be none: `%.16g`, but `1.0`.
fn double(f: &mut Formatter<'_>, n: f64) -> Result {
    if n.is_nan() {
        return f.write_str("nan.0");
    }
    if n.is_infinite() {
        return f.write_str(if n < 0.0 { "-inf.0" } else { "inf.0" });
    }
    let scientific = format!("{n:.15e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let fixed = format!("{n:.*}", (15 - exponent) as usize);
        let short = if fixed.contains('.') { fixed.trim_end_matches('0').trim_end_matches('.') } else { &fixed };
        return write!(f, "{short}{}", if short.contains('.') { "" } else { ".0" });
    }
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    write!(f, "{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn binary(f: &mut Formatter<'_>, b: Binary<'_>) -> Result {
    let bytes = b.bytes();
    if b.subtype() == 4 && bytes.len() == 16 {
        f.write_str("UUID(\"")?;
        for (i, byte) in bytes.iter().enumerate() {
            write!(f, "{}{byte:02x}", if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" })?;
        }
        return f.write_str("\")");
    }
    write!(f, "BinData({}, ", b.subtype())?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
    f.write_str(")")
}

impl Display for DocBuf {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.as_doc().fmt(f)
    }
}

impl Display for ValueBuf {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.view().fmt(f)
    }
}

macro_rules! debug_as_display {
    ($($name:ty),*) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                Display::fmt(self, f)
            }
        })*
    };
}

debug_as_display!(Doc<'_>, Array<'_>, Element<'_>, Value<'_>, DocBuf, ValueBuf);

#[cfg(test)]
mod tests {
    use crate::json::parse_doc;

    #[test]
    fn the_servers_notation() {
        let text = r#"{"a": 1, "b": {"$numberLong": "5"}, "c": {"$numberDecimal": "1.50"}, "d": "it's \"so\"", "e": [], "f": {}, "g": [1, {"x": null}],
            "h": {"$date": {"$numberLong": "1234"}}, "i": {"$oid": "5f5f5f5f5f5f5f5f5f5f5f5f"}, "j": {"$binary": {"base64": "aGk=", "subType": "00"}},
            "k": {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}, "l": {"$regularExpression": {"pattern": "a", "options": "i"}}, "m": {"$minKey": 1},
            "n": {"$timestamp": {"t": 1, "i": 2}}, "o": true}"#;
        let written = parse_doc(text).unwrap_or_default().to_string();
        let expected = "{ a: 1, b: 5, c: 1.50, d: \"it's \"so\"\", e: [], f: {}, g: [ 1, { x: null } ], h: new Date(1234), i: ObjectId('5f5f5f5f5f5f5f5f5f5f5f5f'), \
            j: BinData(0, 6869), k: UUID(\"00112233-4455-6677-8899-aabbccddeeff\"), l: /a/i, m: MinKey, n: Timestamp(1, 2), o: true }";
        assert_eq!(written, expected);
    }

    #[test]
    fn doubles() {
        let cases = [
            (1.0, "1.0"), (0.0, "0.0"), (-0.0, "-0.0"), (1.5, "1.5"), (0.1, "0.1"), (1e100, "1e+100"), (1e-7, "1e-07"), (123456789.125, "123456789.125"),
            (1e15, "1000000000000000.0"), (1e16, "1e+16"), (0.0001, "0.0001"), (1.0 / 3.0, "0.3333333333333333"), (f64::NAN, "nan.0"), (f64::NEG_INFINITY, "-inf.0"),
        ];
        for (n, text) in cases {
            assert_eq!(crate::Value::Double(n).to_string(), text);
        }
    }
}
