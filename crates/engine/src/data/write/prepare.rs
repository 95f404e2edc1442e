//! What a document becomes when it is stored.

use smongo_bson::{Doc, DocWriter, ObjectId, Result, Timestamp, Type, Value, bail};

use crate::data::catalog::{Collection, TimeSeries};
use crate::data::op::OpCx;

/// What a document or measurement becomes when it is stored in a collection.
pub fn stored<'d>(op: &OpCx, coll: &Collection, doc: Doc<'d>, buf: &'d mut Vec<u8>) -> Result<Doc<'d>> {
    match &coll.timeseries {
        Some(series) => measurement(series, doc, buf),
        None => prepare(op, doc, buf),
    }
}

/// What a document becomes when it is stored: `_id` first, made when there is none; empty timestamps at the top level
/// become the current time. Most documents stay as they are.
pub fn prepare<'d>(op: &OpCx, doc: Doc<'d>, buf: &'d mut Vec<u8>) -> Result<Doc<'d>> {
    let mut id = Value::Missing;
    let (mut first, mut position, mut stamps) = (true, 0, false);
    for (n, e) in doc.iter().enumerate() {
        if e.name_bytes() == b"_id" {
            if !id.is_missing() {
                bail!(BadValue, "can't have multiple _id fields in one document");
            }
            id = e.value();
            position = n;
            first = n == 0;
        }
        stamps |= e.type_of() == Type::Timestamp && matches!(e.value(), Value::Timestamp(t) if t == Timestamp::default()) && e.name_bytes() != b"_id";
    }
    check_id(id)?;
    if first && !id.is_missing() && !stamps {
        return Ok(doc);
    }
    buf.clear();
    let mut w = DocWriter::new(buf);
    if id.is_missing() {
        w.append("_id", ObjectId::generate());
    } else {
        w.append("_id", id);
    }
    for (n, e) in doc.iter().enumerate() {
        if !id.is_missing() && n == position {
            continue;
        }
        match e.value() {
            Value::Timestamp(t) if t == Timestamp::default() => w.append(e.name(), op.data.clock.take_stamp()),
            _ => w.append_element(&e),
        };
    }
    w.finish();
    Ok(Doc::from_checked(buf))
}

/// A DBRef: `$ref`, `$id` and perhaps `$db` first, whatever follows.
fn is_reference(doc: Doc<'_>) -> bool {
    let mut names = doc.iter().map(|e| e.name_bytes());
    names.next() == Some(b"$ref") && names.next() == Some(b"$id") && names.all(|n| n == b"$db" || n.first() != Some(&b'$'))
}

/// What cannot be an `_id`.
pub fn check_id(id: Value<'_>) -> Result<()> {
    match id {
        Value::Array(_) => bail!(InvalidIdField, "The '_id' value cannot be of type array"),
        Value::Regex(_) => bail!(InvalidIdField, "The '_id' value cannot be of type regex"),
        Value::Undefined => bail!(InvalidIdField, "The '_id' value cannot be of type undefined"),
        Value::Document(d) if is_reference(d) => Ok(()),
        Value::Document(d) => match d.iter().find(|e| e.name_bytes().first() == Some(&b'$')) {
            Some(e) => bail!(DollarPrefixedFieldName, "_id fields may not contain '$'-prefixed fields: {} is not valid for storage.", e.name()),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A measurement as it is stored: time and meta first. `_id` is made when there is none.
pub fn measurement<'d>(series: &TimeSeries, doc: Doc<'_>, buf: &'d mut Vec<u8>) -> Result<Doc<'d>> {
    if !matches!(doc.get(&series.time), Value::DateTime(_)) {
        bail!(BadValue, "'{}' must be present and contain a valid BSON UTC datetime value", series.time);
    }
    buf.clear();
    let mut w = DocWriter::new(buf);
    let first = [Some(series.time.as_str()), series.meta.as_deref().filter(|meta| *meta != series.time)];
    for name in first.iter().flatten() {
        w.append(name, doc.get(name));
    }
    if series.time != "_id" && !doc.contains("_id") {
        w.append("_id", ObjectId::generate());
    }
    for e in doc.iter().filter(|e| !first.contains(&Some(e.name()))) {
        w.append_element(&e);
    }
    w.finish();
    Ok(Doc::from_checked(buf))
}
