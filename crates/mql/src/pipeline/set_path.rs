//! Writing a document anew with one dotted path set or removed.

use smongo_bson::path::Part;
use smongo_bson::{Array, ArrayWriter, Doc, DocWriter, Value};

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

/// Writes `doc` with the value at `path` set as `$set` does: in every document of the arrays on the way, and in place of what is no document.
pub(super) fn write_through(w: &mut DocWriter<'_>, doc: Doc<'_>, path: &[Part], value: Value<'_>) {
    let Some((first, rest)) = path.split_first() else { return };
    let mut found = false;
    for field in doc {
        if found || field.name_bytes() != first.name.as_bytes() {
            w.append_element(&field);
            continue;
        }
        found = true;
        match field.value() {
            _ if rest.is_empty() => {
                w.append(&first.name, value);
            }
            Value::Array(array) => elements(&mut w.array(&first.name), array, rest, value),
            old => write_through(&mut w.document(&first.name), old.as_doc().unwrap_or(Doc::EMPTY), rest, value),
        }
    }
    if !found {
        match rest {
            [] => {
                w.append(&first.name, value);
            }
            _ => write_through(&mut w.document(&first.name), Doc::EMPTY, rest, value),
        }
    }
}

fn elements(w: &mut ArrayWriter<'_>, array: Array<'_>, path: &[Part], value: Value<'_>) {
    for element in array.iter() {
        match element {
            Value::Array(inner) => elements(&mut w.array(), inner, path, value),
            old => write_through(&mut w.document(), old.as_doc().unwrap_or(Doc::EMPTY), path, value),
        }
    }
}
