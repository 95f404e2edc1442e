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
        if part.starts_with('$') && !matches!(part, "$id" | "$ref" | "$db") {
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
    value.to_string()
}

/// The context of a pipeline nested in a stage, over another collection.
pub(crate) fn nested(cx: &CompileCx, db: &str, coll: &str) -> CompileCx {
    CompileCx { db: db.into(), coll: coll.into(), depth: cx.depth + 1, ..cx.clone() }
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

/// The fields of a stage's specification: each of the known names at most once, nothing else. Null counts as not given where
/// `nulls` is false.
pub(crate) struct Spec<'v> {
    stage: &'static str,
    found: Vec<(&'v str, Value<'v>)>,
}

impl<'v> Spec<'v> {
    pub fn read(stage: &'static str, doc: Doc<'v>, known: &[&str]) -> Result<Spec<'v>> {
        let mut found: Vec<(&str, Value<'_>)> = Vec::new();
        for field in doc {
            let name = field.name();
            if !known.contains(&name) {
                bail!(40415, "BSON field '{stage}.{name}' is an unknown field.");
            }
            if found.iter().any(|(n, _)| *n == name) {
                bail!(40413, "BSON field '{stage}.{name}' is a duplicate field");
            }
            found.push((name, field.value()));
        }
        Ok(Spec { stage, found })
    }

    /// The field's value; null and undefined count as absent.
    pub fn get(&self, name: &str) -> Option<Value<'v>> {
        self.raw(name).filter(|v| !matches!(v, Value::Null | Value::Undefined))
    }

    /// The field's value, be it null.
    pub fn raw(&self, name: &str) -> Option<Value<'v>> {
        self.found.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    pub fn wrong(&self, name: &str, value: Value<'_>, expected: &str) -> smongo_bson::Error {
        smongo_bson::err!(TypeMismatch, "BSON field '{}.{name}' is the wrong type '{}', expected type '{expected}'", self.stage, value.type_name())
    }

    pub fn missing(&self, name: &str) -> smongo_bson::Error {
        smongo_bson::err!(40414, "BSON field '{}.{name}' is missing but a required field", self.stage)
    }

    pub fn string(&self, name: &str) -> Result<Option<&'v str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(v) => Err(self.wrong(name, v, "string")),
        }
    }

    pub fn document(&self, name: &str) -> Result<Option<Doc<'v>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Document(d)) => Ok(Some(d)),
            Some(v) => Err(self.wrong(name, v, "object")),
        }
    }

    pub fn require<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.missing(name))
    }
}

/// The variables of a `let`: names checked, expressions compiled.
pub(crate) fn variables(lets: Doc<'_>, cx: &CompileCx) -> Result<Vec<(String, crate::Expr)>> {
    let mut out = Vec::new();
    for field in lets {
        crate::expr::check_user_variable(field.name())?;
        out.push((field.name().to_owned(), crate::Expr::compile(field.value(), cx)?));
    }
    Ok(out)
}

/// The context with variables whose values are not known yet, for checking a pipeline that will see them.
pub(crate) fn with_unknown(mut cx: CompileCx, lets: &[(String, crate::Expr)]) -> CompileCx {
    cx.lets.extend(lets.iter().map(|(name, _)| (name.clone(), smongo_bson::ValueBuf::MISSING())));
    cx
}
