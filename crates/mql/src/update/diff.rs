//! The differences of two documents in the oplog's delta form, and how they are applied.
//!
//! A document's diff is `{d: {field: false}, u: {field: new}, i: {field: new}, s<field>: diff}`: fields deleted, replaced
//! in place, put at the end, changed inside. An array's is `{a: true, l: length, u<position>: new, s<position>: diff}`.

use smongo_bson::{Array, ArrayWriter, Doc, DocBuf, DocWriter, Element, Result, Value, bail};

/// The diff that turns `before` into `after`; `None` when it would be larger than `after` itself.
pub fn diff(before: Doc<'_>, after: Doc<'_>) -> Option<DocBuf> {
    let diff = DocBuf::build(|w| documents(before, after, w));
    (diff.as_bytes().len() < after.as_bytes().len()).then_some(diff)
}

/// Fields are paired in order. One that is missing at its place in `after` counts as deleted, or, when it comes later,
/// as moved to the end.
fn documents(before: Doc<'_>, after: Doc<'_>, w: &mut DocWriter<'_>) {
    let mut new = after.iter().peekable();
    let (mut gone, mut paired): (Vec<Element<'_>>, Vec<(Element<'_>, Element<'_>)>) = (Vec::new(), Vec::new());
    for old in before.iter() {
        match new.next_if(|n| n.name_bytes() == old.name_bytes()) {
            Some(n) if n.raw() == old.raw() => {}
            Some(n) => paired.push((old, n)),
            None => gone.push(old),
        }
    }
    let added: Vec<Element<'_>> = new.collect();
    gone.retain(|old| !added.iter().any(|n| n.name_bytes() == old.name_bytes()));
    if !gone.is_empty() {
        let mut deleted = w.document("d");
        gone.iter().for_each(|old| {
            deleted.append(old.name(), false);
        });
    }
    let (inside, replaced): (Vec<_>, Vec<_>) = paired.iter().map(|(old, n)| (n, nested(old, n))).partition(|(_, d)| d.is_some());
    if !replaced.is_empty() {
        let mut updated = w.document("u");
        replaced.iter().for_each(|(n, _)| {
            updated.append_element(n);
        });
    }
    if !added.is_empty() {
        let mut inserted = w.document("i");
        added.iter().for_each(|n| {
            inserted.append_element(n);
        });
    }
    for (n, diff) in &inside {
        if let Some(diff) = diff {
            w.append(&format!("s{}", n.name()), diff.as_doc());
        }
    }
}

/// The diff of two elements' insides, when both are documents or both arrays and it is smaller than the new value.
fn nested(old: &Element<'_>, new: &Element<'_>) -> Option<DocBuf> {
    let diff = match (old.value(), new.value()) {
        (Value::Document(a), Value::Document(b)) => DocBuf::build(|w| documents(a, b, w)),
        (Value::Array(a), Value::Array(b)) => DocBuf::build(|w| arrays(a, b, w)),
        _ => return None,
    };
    (diff.as_bytes().len() < new.value_bytes().len()).then_some(diff)
}

fn arrays(before: Array<'_>, after: Array<'_>, w: &mut DocWriter<'_>) {
    w.append("a", true);
    let (old_len, new_len) = (before.len(), after.len());
    if new_len < old_len {
        w.append("l", new_len as i32);
    }
    let mut old = before.elements();
    for (index, new) in after.elements().enumerate() {
        match old.next() {
            Some(o) if o.type_of() == new.type_of() && o.value_bytes() == new.value_bytes() => {}
            Some(o) => match nested(&o, &new) {
                Some(diff) => {
                    w.append(&format!("s{index}"), diff.as_doc());
                }
                None => {
                    w.append(&format!("u{index}"), new.value());
                }
            },
            None => {
                w.append(&format!("u{index}"), new.value());
            }
        }
    }
}

/// Applies a diff. Parts that do not fit the document are ignored, as replaying an oplog entry twice needs it.
/// Error 4 for a diff of unknown form.
pub fn apply(diff: Doc<'_>, before: Doc<'_>) -> Result<DocBuf> {
    let mut result = Ok(());
    let after = DocBuf::build(|w| result = apply_document(diff, before, w));
    result.map(|()| after)
}

fn apply_document(diff: Doc<'_>, before: Doc<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    let (mut deleted, mut updated, mut inserted) = (Doc::EMPTY, Doc::EMPTY, Doc::EMPTY);
    let mut inside: Vec<(&str, Doc<'_>)> = Vec::new();
    for part in diff {
        match (part.name(), part.value()) {
            ("d", Value::Document(d)) => deleted = d,
            ("u", Value::Document(d)) => updated = d,
            ("i", Value::Document(d)) => inserted = d,
            (name, Value::Document(d)) if name.starts_with('s') => inside.push((name.get(1..).unwrap_or_default(), d)),
            (name, _) => bail!(NoSuchKey, "unknown part of a document diff: '{name}'"),
        }
    }
    for old in before {
        let name = old.name();
        if deleted.contains(name) || inserted.contains(name) {
            continue;
        }
        if let Some(new) = updated.element(name) {
            w.append_element(&new);
            continue;
        }
        match inside.iter().find(|(n, _)| *n == name) {
            Some((_, diff)) => apply_value(*diff, name, old.value(), w)?,
            None => {
                w.append_element(&old);
            }
        }
    }
    for new in updated.iter().filter(|n| !before.contains(n.name())).chain(inserted) {
        w.append_element(&new);
    }
    Ok(())
}

fn apply_value(diff: Doc<'_>, name: &str, old: Value<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    let of_array = diff.get("a").as_bool() == Some(true);
    match old {
        Value::Document(doc) if !of_array => apply_document(diff, doc, &mut w.document(name)),
        Value::Array(array) if of_array => apply_array(diff, array, &mut w.array(name)),
        other => {
            w.append(name, other);
            Ok(())
        }
    }
}

fn apply_array(diff: Doc<'_>, before: Array<'_>, w: &mut ArrayWriter<'_>) -> Result<()> {
    let mut limit = usize::MAX;
    let mut changes: Vec<(usize, bool, Value<'_>)> = Vec::new();
    for part in diff {
        let (kind, position) = part.name().split_at_checked(1).unwrap_or_default();
        match (kind, position.parse(), part.value()) {
            ("a", Err(_), _) => {}
            ("l", Err(_), Value::Int32(n)) => limit = usize::try_from(n).unwrap_or(0),
            ("u", Ok(index), value) => changes.push((index, false, value)),
            ("s", Ok(index), value @ Value::Document(_)) => changes.push((index, true, value)),
            _ => bail!(NoSuchKey, "unknown part of an array diff: '{}'", part.name()),
        }
    }
    changes.sort_by_key(|(index, ..)| *index);
    let mut changes = changes.into_iter().peekable();
    for (index, old) in before.iter().enumerate().take_while(|(index, _)| *index < limit) {
        match changes.next_if(|(at, ..)| *at == index) {
            Some((_, false, new)) => {
                w.push(new);
            }
            Some((_, true, Value::Document(diff))) => match old {
                Value::Document(doc) => apply_document(diff, doc, &mut w.document())?,
                Value::Array(array) => apply_array(diff, array, &mut w.array())?,
                other => {
                    w.push(other);
                }
            },
            _ => {
                w.push(old);
            }
        }
    }
    for (index, _, new) in changes.filter(|(_, inside, _)| !inside) {
        while w.count() < index {
            w.push(Value::Null);
        }
        w.push(new);
    }
    Ok(())
}
