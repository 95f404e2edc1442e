//! Owned documents and values.

use crate::doc::{Array, Doc, EMPTY, decode};
use crate::error::Result;
use crate::value::Value;
use crate::write::{ArrayWriter, DocWriter, append_value, tag_of};

/// An owned document.
#[derive(Clone)]
pub struct DocBuf(Vec<u8>);

impl DocBuf {
    pub fn new() -> DocBuf {
        DocBuf(EMPTY.to_vec())
    }

    /// Builds a document with a writer: `DocBuf::build(|w| { w.append("ok", 1.0); })`.
    pub fn build(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
        let mut buf = Vec::with_capacity(64);
        fill(&mut DocWriter::new(&mut buf));
        DocBuf(buf)
    }

    /// Wraps bytes that have been checked already.
    pub fn from_checked(bytes: Vec<u8>) -> DocBuf {
        DocBuf(bytes)
    }

    /// Checks foreign bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<DocBuf> {
        crate::check::document(&bytes)?;
        Ok(DocBuf(bytes))
    }

    pub fn as_doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn get(&self, name: &str) -> Value<'_> {
        self.as_doc().get(name)
    }
}

impl Default for DocBuf {
    fn default() -> Self {
        DocBuf::new()
    }
}

impl From<Doc<'_>> for DocBuf {
    fn from(d: Doc<'_>) -> Self {
        DocBuf(d.as_bytes().to_vec())
    }
}

/// An owned value: its type byte and its bytes.
#[derive(Clone)]
pub struct ValueBuf {
    tag: u8,
    bytes: Box<[u8]>,
}

impl ValueBuf {
    pub const MISSING: fn() -> ValueBuf = || ValueBuf { tag: 0, bytes: Box::default() };

    pub fn new(value: Value<'_>) -> ValueBuf {
        let mut buf = Vec::new();
        append_value(&mut buf, value);
        ValueBuf { tag: tag_of(&value), bytes: buf.into_boxed_slice() }
    }

    /// From a type byte and the value's bytes, which were made here or checked.
    pub(crate) fn from_parts(tag: u8, bytes: Vec<u8>) -> ValueBuf {
        ValueBuf { tag, bytes: bytes.into_boxed_slice() }
    }

    pub fn array(fill: impl FnOnce(&mut ArrayWriter<'_>)) -> ValueBuf {
        let mut buf = Vec::new();
        fill(&mut ArrayWriter::new(&mut buf));
        ValueBuf { tag: 4, bytes: buf.into_boxed_slice() }
    }

    pub fn document(doc: DocBuf) -> ValueBuf {
        ValueBuf { tag: 3, bytes: doc.0.into_boxed_slice() }
    }

    pub fn view(&self) -> Value<'_> {
        decode(self.tag, &self.bytes).unwrap_or(Value::Missing)
    }

    pub fn as_array(&self) -> Option<Array<'_>> {
        self.view().as_array()
    }

    /// Bytes held, for memory accounting.
    pub fn size(&self) -> usize {
        self.bytes.len() + std::mem::size_of::<ValueBuf>()
    }
}

impl From<Value<'_>> for ValueBuf {
    fn from(v: Value<'_>) -> Self {
        ValueBuf::new(v)
    }
}

