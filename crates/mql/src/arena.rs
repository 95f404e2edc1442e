//! Where values that are made while a document is processed live until it is done.

use std::cell::{OnceCell, RefCell};

use bumpalo::Bump;
use smongo_bson::{Array, ArrayWriter, Doc, DocBuf, DocWriter, Result, Value};

/// A bump allocator for values, reset between documents by whoever owns it.
#[derive(Default)]
pub struct Arena {
    bump: Bump,
    /// Buffers in which documents and arrays are built before they are copied into the arena; kept for reuse.
    scratch: RefCell<Vec<Vec<u8>>>,
    /// What a search attached to the document at hand.
    meta: OnceCell<DocBuf>,
}

impl Arena {
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Frees everything at once; the largest chunk is kept, so a steady state allocates nothing.
    pub fn reset(&mut self) {
        self.bump.reset();
        self.meta.take();
    }

    /// Says what `$meta` reads until the next reset.
    pub fn set_meta(&self, meta: Doc<'_>) {
        if !meta.is_empty() {
            // Set once between two resets: whoever resets the arena sets it.
            let _ = self.meta.set(DocBuf::from(meta));
        }
    }

    pub fn meta(&self) -> Doc<'_> {
        self.meta.get().map_or(Doc::EMPTY, DocBuf::as_doc)
    }

    pub fn bytes(&self, bytes: &[u8]) -> &[u8] {
        self.bump.alloc_slice_copy(bytes)
    }

    pub fn str(&self, s: &str) -> &str {
        self.bump.alloc_str(s)
    }

    /// A slice of `Copy` things, for instance variable slots or collected values.
    pub fn slice<T: Copy>(&self, items: &[T]) -> &[T] {
        self.bump.alloc_slice_copy(items)
    }

    pub fn bump(&self) -> &Bump {
        &self.bump
    }

    fn build(&self, fill: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        // Builders nest, so the buffer is taken out while it is in use.
        let mut buf = self.scratch.borrow_mut().pop().unwrap_or_default();
        buf.clear();
        fill(&mut buf);
        let bytes = self.bump.alloc_slice_copy(&buf);
        self.scratch.borrow_mut().push(buf);
        bytes
    }

    /// Builds a document. `fill` may itself build others in the same arena.
    pub fn doc(&self, fill: impl FnOnce(&mut DocWriter<'_>)) -> Doc<'_> {
        Doc::from_checked(self.build(|buf| fill(&mut DocWriter::new(buf))))
    }

    pub fn array(&self, fill: impl FnOnce(&mut ArrayWriter<'_>)) -> Array<'_> {
        Array::from_checked(self.build(|buf| fill(&mut ArrayWriter::new(buf))))
    }

    /// Builds a document by something that can fail.
    pub fn try_doc(&self, fill: impl FnOnce(&mut DocWriter<'_>) -> Result<()>) -> Result<Doc<'_>> {
        let mut result = Ok(());
        let doc = self.doc(|w| result = fill(w));
        result.map(|()| doc)
    }

    /// Builds an array by something that can fail.
    pub fn try_array(&self, fill: impl FnOnce(&mut ArrayWriter<'_>) -> Result<()>) -> Result<Array<'_>> {
        let mut result = Ok(());
        let array = self.array(|w| result = fill(w));
        result.map(|()| array)
    }

    pub fn array_of<'v>(&self, values: impl IntoIterator<Item = Value<'v>>) -> Array<'_> {
        self.array(|w| {
            for v in values {
                w.push(v);
            }
        })
    }
}
