//! Reading the arguments of stages.

use smongo_bson::{Doc, DocBuf, Result, Value, bail, number};

use crate::cx::CompileCx;

/// A field path given as a name (no leading `$`): not empty, no `$` at the start of a component, no empty component, no NUL.
pub(crate) fn field_path(path: &str) -> Result<()> {
    if path.is_empty() {
        bail!(40352, "FieldPath cannot be constructed with empty string");
    }
    if path.ends_with('.') {
        bail!(40353, "FieldPath must not end with a '.'.");
    }
    if path.split('.').count() > 200 {
        bail!(Overflow, "FieldPath is too long");
    }
    for part in path.split('.') {
        if part.is_empty() {
            bail!(15998, "FieldPath field names may not be empty strings.");
        }
        if part.starts_with('$') {
            bail!(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.");
        }
        if part.contains('\0') {
            bail!(16411, "FieldPath field names may not contain '\\0'.");
        }
    }
    Ok(())
}

/// A non-negative integer of any numeric type, or what is wrong with it.
pub(crate) fn integer(value: Value<'_>) -> std::result::Result<i64, String> {
    let Some(n) = number::to_i64_exact(value) else {
        return Err(match value {
            v if !v.is_number() => format!("Expected a number in: {}", show(v)),
            v if number::is_nan(v) => format!("Expected an integer, but found NaN in: {}", show(v)),
            v if number::to_f64(v).is_some_and(|x| x.abs() >= 9.2e18) => format!("Cannot represent as a 64-bit integer: {}", show(v)),
            v => format!("Expected an integer: {}", show(v)),
        });
    };
    Ok(n)
}

pub(crate) fn show(value: Value<'_>) -> String {
    match value {
        Value::Missing => "missing".into(),
        v => smongo_bson::json::value_to_relaxed(v),
    }
}

/// The context of a pipeline nested in a stage, over another collection.
pub(crate) fn nested(cx: &CompileCx, db: &str, coll: &str) -> CompileCx {
    CompileCx { db: db.into(), coll: coll.into(), depth: cx.depth + 1, ..cx.clone() }
}

/// The documents of an array, or a TypeMismatch that names the argument.
pub(crate) fn documents(value: Value<'_>, what: &str) -> Result<Vec<DocBuf>> {
    let Value::Array(list) = value else { bail!(TypeMismatch, "{what} must be an array, but found {}", value.type_name()) };
    list.iter()
        .map(|v| match v {
            Value::Document(d) => Ok(DocBuf::from(d)),
            _ => bail!(TypeMismatch, "Each element of the 'pipeline' array must be an object"),
        })
        .collect()
}

/// A one-stage document.
pub(crate) fn stage<'v>(name: &str, arg: impl Into<Value<'v>>) -> DocBuf {
    DocBuf::build(|w| {
        w.append(name, arg);
    })
}

pub(crate) fn is_variable_name(name: &str) -> bool {
    name.as_bytes().first().is_some_and(|b| b.is_ascii_lowercase() || *b >= 0x80)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80)
}

/// `doc` of a value that must be one.
pub(crate) fn empty_or(value: Value<'_>) -> Doc<'_> {
    value.as_doc().unwrap_or(Doc::EMPTY)
}
