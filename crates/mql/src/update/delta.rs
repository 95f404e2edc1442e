//! The oplog's description of an update, written while the update walks the document.

use smongo_bson::write::append_field;
use smongo_bson::{DocBuf, DocWriter, Value};

/// The changes at one level of the document, as the parts of a version 2 delta: elements already in BSON, grouped by
/// what happened to them.
#[derive(Default)]
pub(super) struct Level {
    deleted: Vec<u8>,
    updated: Vec<u8>,
    inserted: Vec<u8>,
    /// Changed subdocuments and subarrays; for an array also its replaced elements, in the order of positions.
    nested: Vec<u8>,
}

impl Level {
    pub fn clear(&mut self) {
        self.deleted.clear();
        self.updated.clear();
        self.inserted.clear();
        self.nested.clear();
    }

    pub fn delete(&mut self, name: &str) {
        append_field(&mut self.deleted, name.as_bytes(), Value::Bool(false));
    }

    /// `element`: the whole element as it stands in the new document.
    pub fn update(&mut self, element: &[u8]) {
        self.updated.extend_from_slice(element);
    }

    pub fn insert(&mut self, element: &[u8]) {
        self.inserted.extend_from_slice(element);
    }

    /// An array's element at `index` was replaced or added; `element` as it stands in the new array.
    pub fn element(&mut self, index: usize, element: &[u8]) {
        let Some((tag, rest)) = element.split_first() else { return };
        let value = rest.iter().position(|b| *b == 0).and_then(|nul| rest.get(nul + 1..)).unwrap_or(&[]);
        self.nested.push(*tag);
        self.nested.extend_from_slice(format!("u{index}\0").as_bytes());
        self.nested.extend_from_slice(value);
    }

    /// A subdocument or subarray changed inside.
    pub fn nest(&mut self, name: &str, level: &Level, array: bool) {
        self.nested.push(3);
        self.nested.push(b's');
        self.nested.extend_from_slice(name.as_bytes());
        self.nested.push(0);
        level.write(&mut self.nested, array);
    }

    fn write(&self, out: &mut Vec<u8>, array: bool) {
        let start = open(out);
        if array {
            append_field(out, b"a", Value::Bool(true));
        }
        for (name, elements) in [("d", &self.deleted), ("u", &self.updated), ("i", &self.inserted)] {
            if !elements.is_empty() {
                out.push(3);
                out.extend_from_slice(name.as_bytes());
                out.push(0);
                let inner = open(out);
                out.extend_from_slice(elements);
                close(out, inner);
            }
        }
        out.extend_from_slice(&self.nested);
        close(out, start);
    }

    /// `{$v: 2, diff: {…}}`.
    pub fn finish(&self) -> DocBuf {
        let size = self.deleted.len() + self.updated.len() + self.inserted.len() + self.nested.len();
        let mut out = Vec::with_capacity(size + 64);
        let start = open(&mut out);
        append_field(&mut out, b"$v", Value::Int32(2));
        out.extend_from_slice(b"\x03diff\0");
        self.write(&mut out, false);
        close(&mut out, start);
        DocBuf::from_checked(out)
    }
}

/// The entry for a document that is replaced as a whole is the document itself.
pub(super) fn wrap(diff: &DocBuf) -> DocBuf {
    DocBuf::build(|w: &mut DocWriter<'_>| {
        w.append("$v", 2).append("diff", diff.as_doc());
    })
}

/// Begins a document or array in `out`; [`close`] wants the place back.
pub(super) fn open(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let len = (out.len() - start) as i32;
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&len.to_le_bytes());
    }
}

/// Writes the tag and name of an element whose value follows.
pub(super) fn header(out: &mut Vec<u8>, tag: u8, name: &str) {
    out.push(tag);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}
