//! The document an upsert starts from, and the `_id` it ends with.

use smongo_bson::{DocBuf, DocWriter, Result, Type, Value, bail};

use crate::matcher::Matcher;

/// What the filter fixes: fields it holds to one value, nested ones as subdocuments. With `id_only` (the update is a
/// replacement) only what concerns `_id`.
pub(super) fn base(filter: &Matcher, id_only: bool) -> Result<DocBuf> {
    if id_only {
        let id = filter.exact_id()?.unwrap_or(Value::Missing);
        return Ok(DocBuf::build(|w| {
            w.append("_id", id);
        }));
    }
    let mut fields: Vec<(Vec<&str>, Value<'_>)> = filter.equalities()?.into_iter().map(|(path, value)| (path.split('.').collect(), value)).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(DocBuf::build(|w| write(w, &fields, 0)))
}

/// Writes fields sorted by path, of which the first `depth` components are the same.
fn write(w: &mut DocWriter<'_>, fields: &[(Vec<&str>, Value<'_>)], depth: usize) {
    let mut rest = fields;
    while let Some((parts, value)) = rest.first() {
        let Some(name) = parts.get(depth) else { break };
        let same = rest.iter().take_while(|(p, _)| p.get(depth) == Some(name)).count();
        let (group, after) = rest.split_at(same);
        if parts.len() == depth + 1 {
            w.append(name, *value);
        } else {
            write(&mut w.document(name), group, depth + 1);
        }
        rest = after;
    }
}

/// The document with `_id` in front, generated if it has none. Error 53 for types that cannot be an `_id`.
pub(super) fn with_id(doc: DocBuf) -> Result<DocBuf> {
    let id = doc.get("_id");
    check_id(id)?;
    if doc.as_doc().first().is_some_and(|e| e.name() == "_id") {
        return Ok(doc);
    }
    Ok(DocBuf::build(|w| {
        match id {
            Value::Missing => w.append("_id", super::new_id()),
            id => w.append("_id", id),
        };
        for element in doc.as_doc().iter().filter(|e| e.name() != "_id") {
            w.append_element(&element);
        }
    }))
}

fn check_id(id: Value<'_>) -> Result<()> {
    if matches!(id.type_of(), Type::Array | Type::Regex | Type::Undefined) {
        bail!(InvalidIdField, "The '_id' value cannot be of type {}", id.type_name());
    }
    if let Some(name) = id.as_doc().and_then(|d| d.iter().find(|e| e.name().starts_with('$'))) {
        bail!(DollarPrefixedFieldName, "_id fields may not contain '$'-prefixed fields: {} is not valid for storage.", name.name());
    }
    Ok(())
}
