//! Extended JSON, through the official `bson` crate: never on a hot path.

use bson::Bson;

use crate::doc::Doc;
use crate::error::Result;
use crate::owned::{DocBuf, ValueBuf};
use crate::value::Value;
use crate::{bail, err};

/// Relaxed Extended JSON of a document, for messages and logs.
pub fn to_relaxed(doc: Doc<'_>) -> String {
    match to_document(doc) {
        Ok(d) => Bson::Document(d).into_relaxed_extjson().to_string(),
        Err(e) => format!("<invalid BSON: {e}>"),
    }
}

/// Canonical Extended JSON of a document: every type can be told.
pub fn to_canonical(doc: Doc<'_>) -> String {
    match to_document(doc) {
        Ok(d) => Bson::Document(d).into_canonical_extjson().to_string(),
        Err(e) => format!("<invalid BSON: {e}>"),
    }
}

/// Relaxed Extended JSON of a value; `Missing` is empty.
pub fn value_to_relaxed(value: Value<'_>) -> String {
    to_bson(value).map_or_else(String::new, |b| b.into_relaxed_extjson().to_string())
}

/// Canonical Extended JSON of a value; `Missing` is empty.
pub fn value_to_canonical(value: Value<'_>) -> String {
    to_bson(value).map_or_else(String::new, |b| b.into_canonical_extjson().to_string())
}

/// Reads a document from Extended JSON, canonical or relaxed.
pub fn parse_doc(text: &str) -> Result<DocBuf> {
    match parse_bson(text)? {
        Bson::Document(d) => from_document(&d),
        other => bail!(FailedToParse, "expected a document in Extended JSON, found {:?}", other.element_type()),
    }
}

/// Reads any value from Extended JSON, canonical or relaxed.
pub fn parse_value(text: &str) -> Result<ValueBuf> {
    from_bson(&parse_bson(text)?)
}

fn parse_bson(text: &str) -> Result<Bson> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| err!(FailedToParse, "invalid JSON: {e}"))?;
    Bson::try_from(json).map_err(|e| err!(FailedToParse, "invalid Extended JSON: {e}"))
}

/// The document as the official crate's type.
pub fn to_document(doc: Doc<'_>) -> Result<bson::Document> {
    bson::RawDocument::from_bytes(doc.as_bytes())
        .and_then(bson::Document::try_from)
        .map_err(|e| err!(InvalidBSON, "{e}"))
}

/// A document of the official crate as bytes of ours.
pub fn from_document(doc: &bson::Document) -> Result<DocBuf> {
    let bytes = doc.to_vec().map_err(|e| err!(InvalidBSON, "{e}"))?;
    Ok(DocBuf::from_checked(bytes))
}

/// The value of a number, string, date, ObjectId, boolean or null, borrowed; `None` for every other type.
pub fn scalar(value: &Bson) -> Option<Value<'_>> {
    Some(match value {
        Bson::Double(n) => Value::Double(*n),
        Bson::String(s) => Value::String(s),
        Bson::Boolean(b) => Value::Bool(*b),
        Bson::Null => Value::Null,
        Bson::Int32(n) => Value::Int32(*n),
        Bson::Int64(n) => Value::Int64(*n),
        Bson::ObjectId(id) => Value::ObjectId(crate::ObjectId(id.bytes())),
        Bson::DateTime(time) => Value::DateTime(time.timestamp_millis()),
        _ => return None,
    })
}

/// The value as the official crate's type; `None` for `Missing`.
pub fn to_bson(value: Value<'_>) -> Option<Bson> {
    match value {
        Value::ObjectId(id) => return Some(bson::oid::ObjectId::from_bytes(id.0).into()),
        Value::Int32(n) => return Some(n.into()),
        Value::Int64(n) => return Some(n.into()),
        Value::String(s) => return Some(s.into()),
        _ => {}
    }
    let doc = DocBuf::build(|w| {
        w.append("v", value);
    });
    to_document(doc.as_doc()).ok()?.remove("v")
}

/// A value of the official crate as ours.
pub fn from_bson(value: &Bson) -> Result<ValueBuf> {
    let doc = from_document(&bson::doc! { "v": value.clone() })?;
    Ok(ValueBuf::new(doc.get("v")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let text = r#"{"a":1,"b":{"$numberLong":"2"},"c":{"$numberDecimal":"1.50"},"d":{"$date":"2020-01-02T03:04:05.678Z"},"e":[{"$oid":"5f5f5f5f5f5f5f5f5f5f5f5f"},{"$minKey":1},null,{"$regularExpression":{"pattern":"a","options":"i"}}]}"#;
        let doc = parse_doc(text).unwrap_or_default();
        assert_eq!(doc.get("b").type_name(), "long");
        assert_eq!(to_relaxed(doc.as_doc()), text.replace(r#"{"$numberLong":"2"}"#, "2"));
        assert_eq!(parse_doc(&to_canonical(doc.as_doc())).unwrap_or_default().as_bytes(), doc.as_bytes());
        assert!(parse_doc("[1]").is_err() && parse_doc("{").is_err());
        assert_eq!(value_to_relaxed(parse_value(r#"{"$numberDouble":"Infinity"}"#).unwrap_or(ValueBuf::MISSING()).view()), r#"{"$numberDouble":"Infinity"}"#);
    }

    /// A double that is written and read again is the same to the last bit, in both notations.
    #[test]
    fn doubles_are_kept() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for n in 0..100_000u64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Of any size, and between 0 and 1, where scores and shares lie.
            let x = if n % 2 == 0 { f64::from_bits(state) } else { state as f64 / u64::MAX as f64 };
            if !x.is_finite() {
                continue;
            }
            let doc = DocBuf::build(|w| {
                w.append("x", x);
            });
            for text in [to_relaxed(doc.as_doc()), to_canonical(doc.as_doc())] {
                assert_eq!(parse_doc(&text).unwrap_or_default().as_bytes(), doc.as_bytes(), "{text}");
            }
        }
    }
}
