//! The specification of a text index.

use smongo_bson::{Doc, DocBuf, Result, Value, bail, number};
use smongo_mql::text::Language;

/// The most a field may weigh.
const MOST_WEIGHT: f64 = 99_999.0;

/// The key as it is stored, and the options behind it; `None` when no field is of type text.
pub struct TextSpec {
    /// `_fts` and `_ftsx` in the place of the text fields.
    pub key: DocBuf,
    /// `weights`, `default_language`, `language_override`, `textIndexVersion`.
    pub options: DocBuf,
}

pub fn normalise(spec: Doc<'_>, key: Doc<'_>) -> Result<Option<TextSpec>> {
    let is_text = |v: Value<'_>| v.as_str() == Some("text");
    let weights = spec.get("weights");
    if !key.iter().any(|e| is_text(e.value())) {
        for option in ["weights", "default_language", "language_override", "textIndexVersion"] {
            check_type(spec, option)?;
        }
        if !weights.is_missing() {
            bail!(CannotCreateIndex, "the field 'weights' can only be specified with text indexes");
        }
        return Ok(None);
    }
    let places: Vec<usize> = key.iter().enumerate().filter(|(_, e)| is_text(e.value())).map(|(n, _)| n).collect();
    if places.windows(2).any(|pair| matches!(pair, [a, b] if a + 1 != *b)) {
        bail!(CannotCreateIndex, "'text' fields in index must all be adjacent");
    }
    let weights = field_weights(key, weights)?;
    let language = option(spec, "default_language", "english")?;
    if Language::named(&language).is_err() {
        bail!(CannotCreateIndex, "default_language is not valid: {language}");
    }
    let language_field = option(spec, "language_override", "language")?;
    if language_field.is_empty() || language_field.starts_with('$') {
        bail!(CannotCreateIndex, "language_override is not valid");
    }
    check_type(spec, "textIndexVersion")?;
    match spec.get("textIndexVersion") {
        Value::Missing => {}
        Value::Decimal(_) => bail!(CannotCreateIndex, "bad textIndexVersion"),
        v if number::to_f64(v).is_some_and(|n| [1.0, 2.0, 3.0].contains(&n)) => {}
        v => bail!(CannotCreateIndex, "bad textIndexVersion: {v:?}"),
    }
    let stored = DocBuf::build(|w| {
        let mut written = false;
        for e in key {
            match (is_text(e.value()), written, e.name()) {
                (true, false, _) => {
                    w.append("_fts", "text").append("_ftsx", 1);
                    written = true;
                }
                (true, true, _) | (false, _, "_ftsx") => {}
                _ => {
                    w.append_element(&e);
                }
            }
        }
    });
    let options = DocBuf::build(|w| {
        {
            let mut all = w.document("weights");
            for (field, weight) in &weights {
                all.append(field, weight_value(*weight));
            }
        }
        w.append("default_language", &*language).append("language_override", &*language_field).append("textIndexVersion", 3);
    });
    Ok(Some(TextSpec { key: stored, options }))
}

fn weight_value(weight: f64) -> Value<'static> {
    if weight.fract() == 0.0 { Value::Int32(weight as i32) } else { Value::Double(weight) }
}

/// Every field with its weight, by name; fields that are only weighed are indexed too.
fn field_weights(key: Doc<'_>, weights: Value<'_>) -> Result<Vec<(String, f64)>> {
    let mut all: Vec<(String, f64)> =
        key.iter().filter(|e| e.value().as_str() == Some("text") && e.name() != "_fts").map(|e| (e.name().to_owned(), 1.0)).collect();
    let given = match weights {
        Value::Missing => Doc::EMPTY,
        Value::Document(d) => d,
        // All fields, beside those the key names.
        Value::String("$**") => {
            if !all.iter().any(|(field, _)| field == "$**") {
                all.push(("$**".to_owned(), 1.0));
            }
            Doc::EMPTY
        }
        Value::String(_) | Value::Array(_) => bail!(CannotCreateIndex, "the field 'weights' must be an object"),
        v => bail!(TypeMismatch, "The field 'weights' must be an object, but got {}", v.type_name()),
    };
    for e in given {
        let weight = match number::to_f64(e.value()).filter(|_| e.value().is_number()) {
            Some(w) if w > 0.0 && w < MOST_WEIGHT + 1.0 => w,
            _ => bail!(CannotCreateIndex, "text index weight must be in the exclusive interval (0,100000) but found: {:?}", e.value()),
        };
        let path = e.name();
        if path.is_empty() || (path != "$**" && path.split('.').any(|p| p.is_empty() || p.starts_with('$'))) {
            bail!(CannotCreateIndex, "weight cannot be on an internal field: '{path}'");
        }
        match all.iter_mut().find(|(f, _)| f == path) {
            Some((_, w)) => *w = weight,
            None => all.push((path.to_owned(), weight)),
        }
    }
    if all.is_empty() {
        bail!(CannotCreateIndex, "a text index must have at least one text field");
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn check_type(spec: Doc<'_>, name: &str) -> Result<()> {
    let v = spec.get(name);
    let (fits, wanted) = match name {
        "weights" => (matches!(v, Value::Document(_) | Value::String(_) | Value::Array(_)), "object"),
        "textIndexVersion" => (v.is_number(), "number"),
        _ => (matches!(v, Value::String(_)), "string"),
    };
    if !v.is_missing() && !fits {
        bail!(TypeMismatch, "The field '{name}' must be of type {wanted}, but got {}", v.type_name());
    }
    Ok(())
}

fn option(spec: Doc<'_>, name: &str, default: &str) -> Result<String> {
    check_type(spec, name)?;
    Ok(spec.get(name).as_str().unwrap_or(default).to_owned())
}
