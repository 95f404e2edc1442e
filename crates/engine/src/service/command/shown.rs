//! Commands as others may see them: in logs, profiles, listings and errors. Secrets stay away.

use std::borrow::Cow;
use std::fmt;

use smongo_bson::{ArrayWriter, Doc, DocBuf, DocWriter, Value};

use super::Command;

/// As much of a command as an error shows.
const TEXT_BYTES: usize = 1000;

/// What stands for a secret.
const HIDDEN: &str = "xxx";

/// The command without its secrets.
pub fn document<'a>(command: &Command, body: Doc<'a>) -> Cow<'a, [u8]> {
    if !has(command.hidden, body) {
        return Cow::Borrowed(body.as_bytes());
    }
    Cow::Owned(DocBuf::build(|w| copy(command.hidden, body, w)).into_bytes())
}

/// Secrets stand anywhere in a command: in one that is explained, in a stage.
fn has(hidden: &[&str], doc: Doc<'_>) -> bool {
    !hidden.is_empty() && doc.iter().any(|e| hidden.contains(&e.name()) || has_in(hidden, e.value()))
}

fn has_in(hidden: &[&str], value: Value<'_>) -> bool {
    match value {
        Value::Document(doc) => has(hidden, doc),
        Value::Array(list) => list.iter().any(|v| has_in(hidden, v)),
        _ => false,
    }
}

fn copy(hidden: &[&str], doc: Doc<'_>, w: &mut DocWriter<'_>) {
    for e in doc {
        match e.value() {
            _ if hidden.contains(&e.name()) => drop(w.append(e.name(), HIDDEN)),
            Value::Document(inner) => copy(hidden, inner, &mut w.document(e.name())),
            Value::Array(list) => copy_list(hidden, list, &mut w.array(e.name())),
            _ => drop(w.append_element(&e)),
        }
    }
}

fn copy_list(hidden: &[&str], list: smongo_bson::Array<'_>, w: &mut ArrayWriter<'_>) {
    for value in list.iter() {
        match value {
            Value::Document(inner) => copy(hidden, inner, &mut w.document()),
            Value::Array(inner) => copy_list(hidden, inner, &mut w.array()),
            value => drop(w.push(value)),
        }
    }
}

/// A command in the server's notation, cut where it is long.
pub struct Text<'a>(pub &'a Command, pub Doc<'a>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doc = document(self.0, self.1);
        let text = Value::Document(Doc::from_checked(&doc)).to_string();
        match text.char_indices().find(|(at, c)| at + c.len_utf8() > TEXT_BYTES) {
            Some((end, _)) => write!(f, "{}...", &text[..end]),
            None => f.write_str(&text),
        }
    }
}
