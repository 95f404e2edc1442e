//! `$pull` and `$pullAll`.

use smongo_bson::{Array, Doc, DocBuf, Result, Value, ValueBuf, bail, compare};

use super::ops::{At, Modifier, New};
use super::parse::Spec;
use crate::matcher::Matcher;
use crate::sorted::SortedElements;

/// The name under which an element is shown to a filter of values.
const ELEMENT: &str = "element";

enum Pull {
    /// A filter for elements that are documents.
    Documents(Matcher),
    /// A filter for any element, which it sees as the field [`ELEMENT`].
    Values(Matcher),
    Equal(ValueBuf),
    Any(ValueBuf, SortedElements),
}

impl Pull {
    fn matches<'x>(&self, value: Value<'x>, at: &At<'x>) -> Result<bool> {
        match self {
            Pull::Documents(filter) => match value {
                Value::Document(doc) => filter.matches(doc, at.arena),
                _ => Ok(false),
            },
            Pull::Values(filter) => {
                let doc = at.arena.doc(|w| {
                    w.append(ELEMENT, value);
                });
                filter.matches(doc, at.arena)
            }
            Pull::Equal(one) => Ok(compare::compare_with(value, one.view(), at.collator).is_eq()),
            Pull::Any(all, sorted) => Ok(sorted.contains(all.as_array().unwrap_or(Array::EMPTY), value, at.collator)),
        }
    }
}

impl Modifier for Pull {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        let Value::Array(array) = old else { bail!(BadValue, "Cannot apply $pull to a non-array value") };
        let mut keep: Vec<Value<'x>> = Vec::new();
        let mut count = 0;
        for value in array.iter() {
            count += 1;
            if !self.matches(value, at)? {
                keep.push(value);
            }
        }
        if keep.len() == count {
            return Ok(New::Keep);
        }
        Ok(New::Put(Value::Array(at.arena.array_of(keep))))
    }
    fn creates(&self, _at: &At<'_>) -> bool {
        false
    }
}

/// Whether a document is a condition on a value (`{$gt: 1}`) and not a filter of documents.
fn is_value_condition(value: Value<'_>) -> bool {
    const OF_DOCUMENTS: &[&str] = &["$and", "$comment", "$expr", "$jsonSchema", "$nor", "$or", "$text", "$where"];
    match value {
        Value::Regex(_) => true,
        Value::Document(doc) => {
            doc.first().is_some_and(|e| e.name().starts_with('$') && !OF_DOCUMENTS.contains(&e.name()) && !is_reference(doc))
        }
        _ => false,
    }
}

/// A DBRef, which is a value in spite of its `$` names.
fn is_reference(doc: Doc<'_>) -> bool {
    doc.first().is_some_and(|e| e.name() == "$ref") && doc.contains("$id")
}

pub(super) fn pull(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    if is_value_condition(spec.value) {
        let filter = DocBuf::build(|w| {
            w.append(ELEMENT, spec.value);
        });
        return Ok(Box::new(Pull::Values(Matcher::compile(filter.as_doc(), spec.cx)?)));
    }
    Ok(Box::new(match spec.value {
        Value::Document(filter) if !is_reference(filter) => Pull::Documents(Matcher::compile(filter, spec.cx)?),
        value => Pull::Equal(value.into()),
    }))
}

pub(super) fn pull_all(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let Value::Array(all) = spec.value else {
        bail!(BadValue, "$pullAll requires an array argument but was given a {}", spec.value.type_name());
    };
    let collator = spec.cx.collation.as_deref().map(|c| c as &dyn compare::Collator);
    Ok(Box::new(Pull::Any(spec.value.into(), SortedElements::new(all, collator))))
}
