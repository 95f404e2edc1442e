//! Field paths of expressions: `$a.b.c` with fan-out over arrays of documents.

use smongo_bson::{Array, ArrayWriter, Doc, Result, Value, bail};

use crate::cx::Cx;

/// The longest path, in components: the nesting BSON allows.
const MAX_DEPTH: usize = 200;

/// A path split into its components; empty for the starting point itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldPath {
    parts: Box<[Box<str>]>,
}

impl FieldPath {
    /// Splits and checks a dotted path without its `$`.
    pub fn parse(text: &str) -> Result<FieldPath> {
        if text.is_empty() {
            bail!(40352, "FieldPath cannot be constructed with empty string");
        }
        if text.ends_with('.') {
            bail!(40353, "FieldPath must not end with a '.'.");
        }
        let parts: Box<[Box<str>]> = text.split('.').map(Into::into).collect();
        if parts.len() > MAX_DEPTH {
            bail!(5984700, "FieldPath is too long");
        }
        for part in &parts {
            check_component(part)?;
        }
        Ok(FieldPath { parts })
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn text(&self) -> String {
        self.parts.join(".")
    }

    /// The value at the path below `from`: documents are entered; of an array on the way, the documents are, and what
    /// they yield becomes an array.
    #[inline]
    pub fn eval<'a>(&self, from: Value<'a>, cx: &Cx<'a>) -> Value<'a> {
        match from {
            _ if self.parts.is_empty() => from,
            Value::Document(d) => in_doc(d, &self.parts, cx),
            Value::Array(a) => in_array(a, &self.parts, cx),
            _ => Value::Missing,
        }
    }
}

fn in_doc<'a>(mut doc: Doc<'a>, mut parts: &[Box<str>], cx: &Cx<'a>) -> Value<'a> {
    while let Some((first, rest)) = parts.split_first() {
        let value = doc.get(first);
        if rest.is_empty() {
            return value;
        }
        match value {
            Value::Document(d) => (doc, parts) = (d, rest),
            Value::Array(a) => return in_array(a, rest, cx),
            _ => return Value::Missing,
        }
    }
    Value::Missing
}

fn in_array<'a>(array: Array<'a>, parts: &[Box<str>], cx: &Cx<'a>) -> Value<'a> {
    Value::Array(cx.arena.array(|w| fan_out(array, parts, w)))
}

fn fan_out(array: Array<'_>, parts: &[Box<str>], out: &mut ArrayWriter<'_>) {
    let Some((first, rest)) = parts.split_first() else { return };
    for item in array.iter() {
        let Value::Document(doc) = item else { continue };
        if rest.is_empty() {
            match doc.element(first) {
                Some(e) => drop(out.push_element(&e)),
                None => continue,
            }
        } else {
            below(doc, parts, out);
        }
    }
}

/// Writes what a longer path yields below one document of an array.
fn below(mut doc: Doc<'_>, mut parts: &[Box<str>], out: &mut ArrayWriter<'_>) {
    while let Some((first, rest)) = parts.split_first() {
        let Some(element) = doc.element(first) else { return };
        if rest.is_empty() {
            out.push_element(&element);
            return;
        }
        match element.value() {
            Value::Document(d) => (doc, parts) = (d, rest),
            Value::Array(a) => return fan_out(a, rest, &mut out.array()),
            _ => return,
        }
    }
}

/// What a component of a path, and a field of an object literal, may be called.
pub(crate) fn check_component(name: &str) -> Result<()> {
    if name.is_empty() {
        bail!(15998, "FieldPath field names may not be empty strings.");
    }
    // The fields of a DBRef may be named.
    if name.starts_with('$') && !matches!(name, "$id" | "$ref" | "$db") {
        bail!(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.");
    }
    if name.contains('\0') {
        bail!(16411, "FieldPath field names may not contain '\\0'.");
    }
    if name.contains('.') {
        bail!(16412, "FieldPath field names may not contain '.'. Consider using $getField or $setField.");
    }
    Ok(())
}
