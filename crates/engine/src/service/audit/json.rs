//! A line of the audit log: JSON in the older strict notation, which MongoDB's audit log has kept, so that what reads that reads this.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smongo_bson::escaped::is_unsafe;
use smongo_bson::{Array, Doc, Value};

/// The event as one line, with its end.
pub fn line(event: Doc<'_>) -> Vec<u8> {
    let mut out = String::with_capacity(2 * event.as_bytes().len());
    document(event, &mut out);
    out.push('\n');
    out.into_bytes()
}

/// A time as events tell it; of a year that has no four digits none.
pub fn time(millis: i64) -> Option<String> {
    // From the year 1 to the year 9999.
    if !(-62_135_596_800_000..253_402_300_800_000).contains(&millis) {
        return None;
    }
    let text = bson::DateTime::from_millis(millis).try_to_rfc3339_string().ok()?;
    let seconds = text.get(..19)?;
    Some(format!("{seconds}.{:03}+00:00", millis.rem_euclid(1000)))
}

fn document(doc: Doc<'_>, out: &mut String) {
    out.push('{');
    for (n, e) in doc.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        string(e.name(), out);
        out.push(':');
        value(e.value(), out);
    }
    out.push('}');
}

fn array(list: Array<'_>, out: &mut String) {
    out.push('[');
    for (n, v) in list.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        value(v, out);
    }
    out.push(']');
}

/// Nobody's text ends a line, or does something to whoever reads it on a terminal.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if is_unsafe(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// An object of one field, which says what its text is.
fn tagged(tag: &str, text: &str, out: &mut String) {
    let _ = write!(out, "{{\"{tag}\":");
    string(text, out);
    out.push('}');
}

fn value(v: Value<'_>, out: &mut String) {
    let _ = match v {
        Value::Document(doc) => return document(doc, out),
        Value::Array(list) => return array(list, out),
        Value::String(text) => return string(text, out),
        Value::Missing | Value::Null => write!(out, "null"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Int32(n) => write!(out, "{n}"),
        Value::Int64(n) => write!(out, "{n}"),
        Value::Double(n) if n.is_finite() => write!(out, "{n}"),
        Value::Double(n) => return tagged("$numberDouble", if n.is_nan() { "NaN" } else if n > 0.0 { "Infinity" } else { "-Infinity" }, out),
        Value::Decimal(n) => return tagged("$numberDecimal", &n.to_string(), out),
        Value::DateTime(millis) => match time(millis) {
            Some(text) => return tagged("$date", &text, out),
            None => write!(out, "{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}"),
        },
        Value::Binary(b) => write!(out, "{{\"$binary\":\"{}\",\"$type\":\"{:02x}\"}}", STANDARD.encode(b.bytes()), b.subtype()),
        Value::ObjectId(id) => return tagged("$oid", &id.to_string(), out),
        Value::Timestamp(t) => write!(out, "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}", t.time, t.increment),
        Value::Regex(r) => {
            out.push_str("{\"$regex\":");
            string(r.pattern(), out);
            out.push_str(",\"$options\":");
            string(r.options(), out);
            write!(out, "}}")
        }
        Value::Symbol(text) => return tagged("$symbol", text, out),
        Value::JavaScript(code) => return tagged("$code", code, out),
        Value::CodeWithScope(code) => {
            out.push_str("{\"$code\":");
            string(code.code(), out);
            out.push_str(",\"$scope\":");
            document(code.scope(), out);
            write!(out, "}}")
        }
        Value::DbPointer(p) => {
            out.push_str("{\"$ref\":");
            string(p.namespace(), out);
            write!(out, ",\"$id\":{{\"$oid\":\"{}\"}}}}", p.id())
        }
        Value::Undefined => write!(out, "{{\"$undefined\":true}}"),
        Value::MinKey => write!(out, "{{\"$minKey\":1}}"),
        Value::MaxKey => write!(out, "{{\"$maxKey\":1}}"),
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_three_digits_behind_the_point() {
        for (millis, text) in [(1_740_658_549_030, "2025-02-27T12:15:49.030+00:00"), (1_740_658_549_300, "2025-02-27T12:15:49.300+00:00"), (-1, "1969-12-31T23:59:59.999+00:00"), (0, "1970-01-01T00:00:00.000+00:00")] {
            assert_eq!(time(millis).as_deref(), Some(text));
        }
        assert_eq!(time(i64::MAX), None);
    }

    use smongo_bson::json::parse_doc;

    use super::*;

    fn of(text: &str) -> String {
        String::from_utf8(line(parse_doc(text).unwrap_or_else(|e| unreachable!("{text}: {e}")).as_doc())).unwrap_or_else(|e| unreachable!("{e}"))
    }

    #[test]
    fn a_line_is_as_mongods() {
        assert_eq!(
            of(r#"{"atype": "createIndex", "ts": {"$date": {"$numberLong": "1740658549008"}}, "uuid": {"$binary": {"base64": "Gm0NSSdOSuKmDjXIQV/xrw==", "subType": "04"}}, "users": [], "result": 0}"#),
            "{\"atype\":\"createIndex\",\"ts\":{\"$date\":\"2025-02-27T12:15:49.008+00:00\"},\"uuid\":{\"$binary\":\"Gm0NSSdOSuKmDjXIQV/xrw==\",\"$type\":\"04\"},\"users\":[],\"result\":0}\n"
        );
        assert_eq!(of(r#"{"a": {"$oid": "67c05ac7de2c6140ff51e948"}, "b": 25.5, "c": 27.0, "d": {"$numberLong": "5"}, "e": null, "f": {"$date": {"$numberLong": "0"}}}"#),
            "{\"a\":{\"$oid\":\"67c05ac7de2c6140ff51e948\"},\"b\":25.5,\"c\":27,\"d\":5,\"e\":null,\"f\":{\"$date\":\"1970-01-01T00:00:00.000+00:00\"}}\n");
    }

    /// Whatever is in it, it is one line, and JSON.
    #[test]
    fn a_line_stays_a_line() {
        let text = of(
            r#"{"a\n\"b": "\u0000\r\n\u001b[31m\u2028\u202e\ud83e\udd80ä\\", "r": {"$regularExpression": {"pattern": "^a\n\"", "options": "i"}}, "n": [{"$numberDouble": "NaN"}, {"$numberDouble": "-Infinity"}, {"$numberDecimal": "1E+400"}],
               "x": [{"$minKey": 1}, {"$maxKey": 1}, {"$undefined": true}, {"$symbol": "s\""}, {"$code": "f()\n"}, {"$code": "f", "$scope": {"a": 1}}, {"$timestamp": {"t": 1, "i": 2}}, {"$date": {"$numberLong": "9223372036854775807"}}]}"#,
        );
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text:?}");
        let read = parse_doc(&text.replace("\"$", "\"")).unwrap_or_else(|e| unreachable!("{text}: {e}"));
        assert_eq!(read.as_doc().iter().count(), 4);
    }
}
