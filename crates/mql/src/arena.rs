//! Where values that are made while a document is processed live until it is done.

use std::cell::{Cell, OnceCell, RefCell};

use bumpalo::Bump;
use smongo_bson::doc::Iter;
use smongo_bson::{Array, ArrayWriter, Doc, DocBuf, DocWriter, Result, Value, bail};

/// The most bytes of an array or object that an expression makes.
pub const MAX_MADE: usize = 100 * 1024 * 1024;

/// The most bytes that may be held at a time of what the expressions of one document make.
const MAX_HELD: usize = 4 * MAX_MADE;

/// Chunks and buffers larger than this are given back between two documents.
const MAX_KEPT: usize = 16 * 1024 * 1024;

/// A bump allocator for values, reset between documents by whoever owns it.
#[derive(Default)]
pub struct Arena {
    bump: Bump,
    /// Buffers in which documents and arrays are built before they are copied into the arena; kept for reuse.
    scratch: RefCell<Vec<Vec<u8>>>,
    /// What a search attached to the document at hand.
    meta: OnceCell<DocBuf>,
    /// Where an element of an array was last found by its position.
    found: Cell<Found>,
}

/// The bytes of an array by their address and length, and where one of its elements begins.
#[derive(Clone, Copy, Default)]
struct Found {
    array: (usize, usize),
    index: usize,
    offset: usize,
}

impl Arena {
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Frees everything at once; the largest chunk is kept, so a steady state allocates nothing.
    pub fn reset(&mut self) {
        if self.bump.allocated_bytes() > MAX_KEPT {
            self.bump = Bump::new();
        } else {
            self.bump.reset();
        }
        self.meta.take();
        self.found.take();
    }

    /// Bytes taken from the system: what changes only now and then, where [`Arena::held`] changes each time.
    #[inline]
    pub fn allocated(&self) -> usize {
        self.bump.allocated_bytes()
    }

    /// Bytes in use since the last reset.
    pub fn held(&self) -> usize {
        self.bump.allocated_bytes().saturating_sub(self.bump.chunk_capacity())
    }

    /// Fails when the expressions of a document have made too much: what each of them makes stays until the document is done. What joins or
    /// repeats values asks before it makes more.
    #[inline]
    fn check_held(&self) -> Result<()> {
        if self.bump.allocated_bytes() > MAX_HELD && self.held() > MAX_HELD {
            return too_much("An expression", MAX_HELD);
        }
        Ok(())
    }

    /// The value at a position of an array, `Missing` behind its end. Whoever asks for one position after the other does not walk
    /// the array anew for each.
    pub fn element<'a>(&self, array: Array<'a>, index: usize) -> Value<'a> {
        let body = Doc::from_checked(array.as_bytes()).body();
        let array = (body.as_ptr() as usize, body.len());
        let last = self.found.get();
        // Elements are named by their positions: what is found by its name is the element, whatever the memory held before.
        let named = |element: smongo_bson::Element<'_>| element.name().parse() == Ok(last.index);
        let behind = |offset: usize| Iter::over(body.get(offset..).unwrap_or(&[]));
        let goes_on = last.array == array && last.index <= index && behind(last.offset).next().is_some_and(named);
        let (mut at, mut offset) = if goes_on { (last.index, last.offset) } else { (0, 0) };
        for element in behind(offset) {
            if at == index {
                self.found.set(Found { array, index, offset });
                return element.value();
            }
            at += 1;
            offset += element.raw().len();
        }
        Value::Missing
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
        if buf.capacity() <= MAX_KEPT {
            self.scratch.borrow_mut().push(buf);
        }
        bytes
    }

    /// Builds a document. `fill` may itself build others in the same arena.
    pub fn doc(&self, fill: impl FnOnce(&mut DocWriter<'_>)) -> Doc<'_> {
        Doc::from_checked(self.build(|buf| fill(&mut DocWriter::new(buf))))
    }

    pub fn array(&self, fill: impl FnOnce(&mut ArrayWriter<'_>)) -> Array<'_> {
        Array::from_checked(self.build(|buf| fill(&mut ArrayWriter::new(buf))))
    }

    /// Builds a document by something that can fail, or because of what is held already.
    pub fn try_doc(&self, fill: impl FnOnce(&mut DocWriter<'_>) -> Result<()>) -> Result<Doc<'_>> {
        self.check_held()?;
        let mut result = Ok(());
        let doc = self.doc(|w| result = fill(w));
        result.map(|()| doc)
    }

    /// Builds an array by something that can fail, or because of what is held already.
    pub fn try_array(&self, fill: impl FnOnce(&mut ArrayWriter<'_>) -> Result<()>) -> Result<Array<'_>> {
        self.check_held()?;
        let mut result = Ok(());
        let array = self.array(|w| result = fill(w));
        result.map(|()| array)
    }

    /// A copy of a value, for as long as the arena is not reset.
    pub fn value(&self, value: Value<'_>) -> Value<'_> {
        if value.is_missing() { Value::Missing } else { self.array_of([value]).get(0) }
    }

    pub fn array_of<'v>(&self, values: impl IntoIterator<Item = Value<'v>>) -> Array<'_> {
        self.array(|w| {
            for v in values {
                w.push(v);
            }
        })
    }
}

/// Fails when what is being made has become too large; loops that multiply their input ask after each round.
#[inline]
pub fn check_made(what: &str, bytes: usize) -> Result<()> {
    if bytes > MAX_MADE { too_much(what, MAX_MADE) } else { Ok(()) }
}

#[cold]
fn too_much(what: &str, limit: usize) -> Result<()> {
    bail!(ExceededMemoryLimit, "{what} would use too much memory and cannot spill to disk. Memory limit: {limit} bytes")
}
