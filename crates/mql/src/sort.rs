//! Sort patterns and the keys they make of documents.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::decimal::Rounding;
use smongo_bson::index_keys::{MAX_FIELDS, index_keys};
use smongo_bson::path::{self, Path};
use smongo_bson::{Code, Doc, DocBuf, Error, Result, Value, ValueBuf, bail, err, keystring};

use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::rand;

/// The most components of a field path.
const MAX_COMPONENTS: usize = 200;

/// What `{$meta: …}` may name in a sort.
const META: &[&str] = &["geoNearDistance", "randVal", "score", "searchScore", "textScore", "vectorSearchScore"];

/// A compiled `sort` specification.
pub struct SortPattern {
    pub parts: Vec<SortPart>,
    pub collation: Option<Arc<Collation>>,
    /// The paths of the parts that have one.
    paths: Vec<Path>,
}

pub struct SortPart {
    pub path: Path,
    pub descending: bool,
    /// `{$meta: "textScore"}` and the like instead of a path; these sort descending.
    pub meta: Option<String>,
}

impl SortPattern {
    /// Compiles `{field: 1 | -1 | {$meta: …}, …}`; `{}` keeps the order as it is.
    ///
    /// Errors: 15974, 15975 for a direction, 17312, 31138, 9 for `$meta`, 7472500 for a field twice, 13103 for too many
    /// fields, and those of field paths (40352, 40353, 15998, 16410, 15).
    pub fn compile(spec: Doc<'_>, cx: &CompileCx) -> Result<SortPattern> {
        let mut parts: Vec<SortPart> = Vec::new();
        for e in spec {
            let (descending, meta) = match e.value() {
                Value::Document(d) => (true, Some(meta_name(d)?.to_owned())),
                v => (direction(v, e.name())?, None),
            };
            check_path(e.name())?;
            if meta.is_none() && parts.iter().any(|p| p.meta.is_none() && p.path.text() == e.name()) {
                bail!(7472500, "$sort key must not contain duplicate keys (field: '{}')", e.name());
            }
            parts.push(SortPart { path: Path::new(e.name()), descending, meta });
        }
        let paths: Vec<Path> = parts.iter().filter(|p| p.meta.is_none()).map(|p| p.path.clone()).collect();
        if paths.len() > MAX_FIELDS {
            bail!(13103, "too many compound keys");
        }
        Ok(SortPattern { parts, collation: cx.collation.clone(), paths })
    }

    /// Compiles the argument of a `$sort` stage, which must be a document (15973) and not empty (15976).
    pub fn compile_stage(spec: Value<'_>, cx: &CompileCx) -> Result<SortPattern> {
        match spec {
            Value::Document(d) if d.is_empty() => bail!(15976, "$sort stage must have at least one sort key"),
            Value::Document(d) => SortPattern::compile(d, cx),
            _ => bail!(15973, "the $sort key specification must be an object"),
        }
    }

    fn collator(&self) -> Option<&dyn Collator> {
        self.collation.as_deref().map(|c| c as &dyn Collator)
    }

    /// The values of the parts when no array lies on a path: the usual case, in which a document has one key.
    fn plain_value<'a>(doc: Doc<'a>, meta: Doc<'a>, part: &SortPart) -> Option<Value<'a>> {
        if let Some(name) = &part.meta {
            return Some(meta_value(name, meta));
        }
        let mut value = Value::Document(doc);
        for step in part.path.parts() {
            value = match value {
                Value::Document(d) => d.get(&step.name),
                Value::Array(_) => return None,
                _ => return Some(Value::Null),
            };
        }
        match value {
            Value::Array(_) => None,
            Value::Missing => Some(Value::Null),
            v => Some(v),
        }
    }

    /// Appends the document's sort key: comparing the bytes compares the documents. Arrays count with their least
    /// (ascending) or greatest (descending) element; of a compound key the least combination counts.
    /// Error 2 for two arrays that do not go together.
    pub fn append_key(&self, doc: Doc<'_>, out: &mut Vec<u8>) -> Result<()> {
        self.append_key_with(doc, Doc::EMPTY, out)
    }

    /// The same for a document with metadata.
    pub fn append_key_with(&self, doc: Doc<'_>, meta: Doc<'_>, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        for part in &self.parts {
            let Some(value) = SortPattern::plain_value(doc, meta, part) else {
                out.truncate(start);
                return self.append_array_key(doc, meta, out);
            };
            keystring::append(out, value, part.descending, self.collator());
        }
        Ok(())
    }

    /// The values by which a document was sorted, as `{$meta: "sortKey"}` gives them: an array of one for each part.
    pub fn key_values(&self, doc: Doc<'_>, attached: Doc<'_>) -> Result<ValueBuf> {
        let plain: Option<Vec<Value<'_>>> = self.parts.iter().map(|p| SortPattern::plain_value(doc, attached, p)).collect();
        let array = |values: &[Value<'_>]| {
            ValueBuf::array(|w| values.iter().for_each(|v| {
                w.push(*v);
            }))
        };
        if let Some(values) = plain {
            return Ok(array(&values));
        }
        let (mut best, mut found) = (Vec::new(), ValueBuf::MISSING());
        self.array_keys(doc, attached, &mut |values, key| {
            if best.is_empty() || *key < best {
                std::mem::swap(&mut best, key);
                found = array(values);
            }
        })?;
        Ok(found)
    }

    fn append_array_key(&self, doc: Doc<'_>, attached: Doc<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut best: Vec<u8> = Vec::new();
        self.array_keys(doc, attached, &mut |_, key| {
            if best.is_empty() || *key < best {
                std::mem::swap(&mut best, key);
            }
        })?;
        out.extend_from_slice(&best);
        Ok(())
    }

    /// Every key of a document with arrays, as values and as bytes.
    fn array_keys(&self, doc: Doc<'_>, attached: Doc<'_>, visit: &mut dyn FnMut(&[Value<'_>], &mut Vec<u8>)) -> Result<()> {
        let (mut key, mut row) = (Vec::new(), Vec::new());
        index_keys(doc, &self.paths, false, &mut |values| {
            key.clear();
            row.clear();
            let mut values = values.iter();
            for part in &self.parts {
                let value = match part.meta {
                    Some(ref meta) => meta_value(meta, attached),
                    None => values.next().copied().unwrap_or(Value::Null),
                };
                keystring::append(&mut key, value, part.descending, self.collator());
                row.push(value);
            }
            visit(&row, &mut key);
            Ok(())
        })
        .map(|_| ())
        .map_err(parallel)
    }

    /// What is attached to a document, with its sort key.
    pub fn with_key(&self, doc: Doc<'_>, meta: Doc<'_>) -> Result<DocBuf> {
        let key = self.key_values(doc, meta)?;
        Ok(DocBuf::build(|w| {
            // In front, where it is found before the key of an earlier sort.
            w.append("sortKey", key.view()).append_all(meta);
        }))
    }

    /// Compares two documents where no key is kept, as `$push` with `$sort` and `$sortArray` do.
    pub fn compare_by(&self, a: Doc<'_>, b: Doc<'_>) -> Result<Ordering> {
        for part in &self.parts {
            match (SortPattern::plain_value(a, Doc::EMPTY, part), SortPattern::plain_value(b, Doc::EMPTY, part)) {
                (Some(x), Some(y)) => {
                    let order = compare_with(x, y, self.collator());
                    if order.is_ne() {
                        return Ok(if part.descending { order.reverse() } else { order });
                    }
                }
                _ => return self.compare_keys(a, b),
            }
        }
        Ok(Ordering::Equal)
    }

    /// The same for values of an array, where what is no document has none of the fields.
    pub fn compare_values(&self, a: Value<'_>, b: Value<'_>) -> Result<Ordering> {
        self.compare_by(a.as_doc().unwrap_or(Doc::EMPTY), b.as_doc().unwrap_or(Doc::EMPTY))
    }

    fn compare_keys(&self, a: Doc<'_>, b: Doc<'_>) -> Result<Ordering> {
        thread_local!(static KEYS: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) });
        KEYS.with_borrow_mut(|(x, y)| {
            x.clear();
            y.clear();
            self.append_key(a, x)?;
            self.append_key(b, y)?;
            Ok((*x).cmp(y))
        })
    }

    /// Whether a part needs metadata such as a text score.
    pub fn needs_meta(&self) -> bool {
        self.parts.iter().any(|p| p.meta.is_some())
    }

    /// Values a document has at the paths, arrays not expanded: for messages.
    pub fn values<'a>(&'a self, doc: Doc<'a>) -> impl Iterator<Item = Value<'a>> {
        self.paths.iter().map(move |p| path::get(doc, p.parts()))
    }
}

/// Random order is made here; other metadata comes with the documents, and what has none sorts as null.
fn meta_value<'a>(name: &str, meta: Doc<'a>) -> Value<'a> {
    match name {
        "randVal" => Value::Double(rand::fraction()),
        _ if meta.is_empty() => Value::Null,
        _ => match meta.get(name) {
            Value::Missing => Value::Null,
            v => v,
        },
    }
}

#[cold]
fn parallel(e: Error) -> Error {
    if e.code() == Code::CannotIndexParallelArrays {
        return err!(BadValue, "cannot sort with keys that are parallel arrays");
    }
    e
}

/// Whether a direction means descending.
fn direction(v: Value<'_>, name: &str) -> Result<bool> {
    let n = match v {
        Value::Int32(n) => i64::from(n),
        Value::Int64(n) => n,
        // Doubles are cut, decimals rounded half to even: MongoDB's conversion to an int.
        Value::Double(d) => d as i64,
        Value::Decimal(d) => d.round_to_integer(Rounding::HalfEven).to_i64_exact().unwrap_or(0),
        _ => bail!(15974, "Illegal key in $sort specification: {name}: {}", v),
    };
    match n {
        1 => Ok(false),
        -1 => Ok(true),
        _ => bail!(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)"),
    }
}

fn meta_name(d: Doc<'_>) -> Result<&str> {
    let first = d.first();
    let Some(e) = first.filter(|e| e.name() == "$meta") else {
        bail!(17312, "$meta is the only expression supported by $sort right now");
    };
    if d.len() > 1 {
        bail!(FailedToParse, "Cannot have additional keys in a $meta sort specification");
    }
    match e.value() {
        Value::String(name) if META.contains(&name) => Ok(name),
        v => bail!(31138, "Illegal $meta sort: {}", v),
    }
}

/// The rules of field paths.
fn check_path(text: &str) -> Result<()> {
    if text.is_empty() {
        bail!(40352, "FieldPath cannot be constructed with empty string");
    }
    if text.ends_with('.') {
        bail!(40353, "FieldPath must not end with a '.'.");
    }
    if text.split('.').count() > MAX_COMPONENTS {
        bail!(Overflow, "FieldPath is too long");
    }
    for part in text.split('.') {
        if part.is_empty() {
            bail!(15998, "FieldPath field names may not be empty strings.");
        }
        if part.starts_with('$') && !matches!(part, "$id" | "$ref" | "$db") {
            bail!(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.");
        }
    }
    Ok(())
}
