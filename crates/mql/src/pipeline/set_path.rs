//! Writing a document anew with one dotted path set or removed.

use smongo_bson::path::Part;
use smongo_bson::{Doc, DocWriter, Value};

/// Writes `doc` with the value at `path` replaced, added behind the other fields, or (for `Missing`) removed. Values on the way that
/// are no documents are replaced by documents.
pub(super) fn write(w: &mut DocWriter<'_>, doc: Doc<'_>, path: &[Part], value: Value<'_>) {
    let Some((first, rest)) = path.split_first() else { return };
    let mut found = false;
    for field in doc {
        if found || field.name_bytes() != first.name.as_bytes() {
            w.append_element(&field);
            continue;
        }
        found = true;
        set(w, first, rest, field.value(), value);
    }
    if !found && !value.is_missing() {
        set(w, first, rest, Value::Missing, value);
    }
}

fn set(w: &mut DocWriter<'_>, part: &Part, rest: &[Part], old: Value<'_>, value: Value<'_>) {
    if rest.is_empty() {
        w.append(&part.name, value);
        return;
    }
    match old {
        Value::Document(d) => write(&mut w.document(&part.name), d, rest, value),
        _ if value.is_missing() => {
            w.append(&part.name, old);
        }
        _ => write(&mut w.document(&part.name), Doc::EMPTY, rest, value),
    }
}
