//! Writing BSON into a byte buffer.

use crate::doc::{Array, Doc, Element};
use crate::value::Value;

/// Appends one document to a buffer. The length is filled in when the writer is dropped or [`finish`](Self::finish)ed.
///
/// ```
/// use smongo_bson::{Doc, DocWriter, Value};
/// let mut buf = Vec::new();
/// let mut w = DocWriter::new(&mut buf);
/// w.append("n", 1);
/// w.array("tags").push("a");
/// w.finish();
/// assert_eq!(Doc::from_checked(&buf).get("n").type_name(), "int");
/// ```
pub struct DocWriter<'b> {
    buf: &'b mut Vec<u8>,
    start: usize,
}

impl<'b> DocWriter<'b> {
    /// How many bytes its buffer holds: its own, and those of all it stands in.
    pub fn buffered(&self) -> usize {
        self.buf.len()
    }

    pub fn new(buf: &'b mut Vec<u8>) -> DocWriter<'b> {
        let start = buf.len();
        buf.extend_from_slice(&[0; 4]);
        DocWriter { buf, start }
    }

    /// Goes on with the document that begins at `start` of the buffer and is the last thing in it.
    pub fn reopen(buf: &'b mut Vec<u8>, start: usize) -> DocWriter<'b> {
        buf.pop();
        DocWriter { buf, start }
    }

    /// Appends a field; `Missing` appends nothing.
    pub fn append<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) -> &mut Self {
        append_field(self.buf, name.as_bytes(), value.into());
        self
    }

    /// Copies a field as it stands in another document.
    pub fn append_element(&mut self, element: &Element<'_>) -> &mut Self {
        self.buf.extend_from_slice(element.raw());
        self
    }

    /// Appends a field whose value's BSON type byte and bytes are at hand.
    pub fn append_bytes(&mut self, tag: u8, name: &str, value: &[u8]) -> &mut Self {
        header(self.buf, tag, name.as_bytes());
        self.buf.extend_from_slice(value);
        self
    }

    /// Copies elements as they stand in another document, one behind the other.
    pub fn append_raw(&mut self, elements: &[u8]) -> &mut Self {
        self.buf.extend_from_slice(elements);
        self
    }

    /// Copies all fields of another document.
    pub fn append_all(&mut self, doc: Doc<'_>) -> &mut Self {
        self.buf.extend_from_slice(doc.body());
        self
    }

    /// Begins a subdocument, which ends when the returned writer is dropped.
    pub fn document(&mut self, name: &str) -> DocWriter<'_> {
        header(self.buf, 3, name.as_bytes());
        DocWriter::new(self.buf)
    }

    /// Begins an array, which ends when the returned writer is dropped.
    pub fn array(&mut self, name: &str) -> ArrayWriter<'_> {
        header(self.buf, 4, name.as_bytes());
        ArrayWriter::new(self.buf)
    }

    /// Bytes written so far, the length in front included.
    pub fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() <= 4
    }

    pub fn finish(self) {}
}

impl Drop for DocWriter<'_> {
    fn drop(&mut self) {
        self.buf.push(0);
        let len = (self.buf.len() - self.start) as i32;
        self.buf[self.start..self.start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Appends one array to a buffer; its positions are counted here.
pub struct ArrayWriter<'b> {
    doc: DocWriter<'b>,
    next: u32,
}

impl<'b> ArrayWriter<'b> {
    pub fn new(buf: &'b mut Vec<u8>) -> ArrayWriter<'b> {
        ArrayWriter { doc: DocWriter::new(buf), next: 0 }
    }

    fn index(&mut self, tag: u8) {
        self.doc.buf.push(tag);
        write_decimal(self.doc.buf, self.next);
        self.doc.buf.push(0);
        self.next += 1;
    }

    /// Appends a value; `Missing` becomes null, since an array has no holes.
    pub fn push<'v>(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        let value = match value.into() {
            Value::Missing => Value::Null,
            v => v,
        };
        self.index(tag_of(&value));
        append_value(self.doc.buf, value);
        self
    }

    /// Appends the value of an element of another document without decoding it.
    pub fn push_element(&mut self, element: &Element<'_>) -> &mut Self {
        self.index(element.type_of() as u8);
        self.doc.buf.extend_from_slice(element.value_bytes());
        self
    }

    pub fn document(&mut self) -> DocWriter<'_> {
        self.index(3);
        DocWriter::new(self.doc.buf)
    }

    pub fn array(&mut self) -> ArrayWriter<'_> {
        self.index(4);
        ArrayWriter::new(self.doc.buf)
    }

    /// The number of values written so far.
    pub fn count(&self) -> usize {
        self.next as usize
    }

    /// Bytes written so far, the length in front included.
    pub fn len(&self) -> usize {
        self.doc.len()
    }

    pub fn is_empty(&self) -> bool {
        self.next == 0
    }

    pub fn finish(self) {}
}

pub(crate) fn write_decimal(buf: &mut Vec<u8>, mut n: u32) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    buf.extend_from_slice(&digits[at..]);
}

/// The type and the name of a field. A name cannot hold NUL: it ends there.
fn header(buf: &mut Vec<u8>, tag: u8, name: &[u8]) {
    let name = name.split(|b| *b == 0).next().unwrap_or(&[]);
    buf.push(tag);
    buf.extend_from_slice(name);
    buf.push(0);
}

/// The type byte of a value on the wire.
pub(crate) fn tag_of(value: &Value<'_>) -> u8 {
    value.type_of() as u8
}

/// Appends a whole field; `Missing` appends nothing. Names cannot hold NUL: such a name ends at it.
pub fn append_field(buf: &mut Vec<u8>, name: &[u8], value: Value<'_>) {
    if value.is_missing() {
        return;
    }
    header(buf, tag_of(&value), name);
    append_value(buf, value);
}

fn append_string(buf: &mut Vec<u8>, s: &str) {
    buf.extend_from_slice(&(s.len() as i32 + 1).to_le_bytes());
    buf.extend_from_slice(s.as_bytes());
    buf.push(0);
}

/// Appends the value's bytes without tag and name.
pub fn append_value(buf: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Missing | Value::MinKey | Value::MaxKey | Value::Undefined | Value::Null => {}
        Value::Bool(b) => buf.push(u8::from(b)),
        Value::Int32(n) => buf.extend_from_slice(&n.to_le_bytes()),
        Value::Int64(n) | Value::DateTime(n) => buf.extend_from_slice(&n.to_le_bytes()),
        Value::Double(n) => buf.extend_from_slice(&n.to_le_bytes()),
        Value::Decimal(d) => buf.extend_from_slice(&d.to_le_bytes()),
        Value::String(s) | Value::Symbol(s) | Value::JavaScript(s) => append_string(buf, s),
        Value::Document(d) | Value::Array(Array(d)) => buf.extend_from_slice(d.as_bytes()),
        Value::Binary(b) => {
            buf.extend_from_slice(&(b.bytes().len() as i32).to_le_bytes());
            buf.extend_from_slice(b.raw());
        }
        Value::ObjectId(id) => buf.extend_from_slice(&id.0),
        Value::Timestamp(t) => buf.extend_from_slice(&t.to_u64().to_le_bytes()),
        Value::Regex(r) => buf.extend_from_slice(r.raw()),
        Value::DbPointer(p) => buf.extend_from_slice(p.raw()),
        Value::CodeWithScope(c) => buf.extend_from_slice(c.raw()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_nul_wherever_it_is_written() {
        let mut buf = Vec::new();
        let mut w = DocWriter::new(&mut buf);
        w.append("a\0x", 1);
        w.document("b\0x").append("c", 1);
        w.array("d\0x").push(1);
        w.finish();
        assert!(crate::check::document(&buf).is_ok());
    }
}
