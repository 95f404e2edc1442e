//! SKIP, LIMIT, EOF, and what the client sees: PROJECTION and `$recordId`.

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, Result};
use smongo_mql::{Arena, Host, Matcher, Projection, SortPattern, Stream};

use super::{Counters, Rows, count, op_of};
use crate::data::keys::RecordId;
use crate::data::op::OpCx;

/// EOF: nothing.
pub struct Nothing;

impl Rows for Nothing {
    fn advance(&mut self, _op: &mut OpCx) -> Result<bool> {
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        0
    }

    fn doc(&self) -> Doc<'_> {
        Doc::EMPTY
    }

    fn park(&mut self, _op: &mut OpCx) {}

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(Counters::default());
    }
}

pub struct Skip {
    input: Box<dyn Rows>,
    left: u64,
    advanced: u64,
}

impl Skip {
    pub fn new(input: Box<dyn Rows>, count: u64) -> Skip {
        Skip { input, left: count, advanced: 0 }
    }
}

impl Rows for Skip {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        while self.left > 0 {
            if !self.input.advance(op)? {
                return Ok(false);
            }
            self.left -= 1;
        }
        let more = self.input.advance(op)?;
        self.advanced += u64::from(more);
        Ok(more)
    }

    fn record_id(&self) -> RecordId {
        self.input.record_id()
    }

    fn doc(&self) -> Doc<'_> {
        self.input.doc()
    }

    fn input(&self) -> Option<&dyn Rows> {
        Some(&*self.input)
    }

    fn park(&mut self, op: &mut OpCx) {
        self.input.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(Counters { advanced: self.advanced, ..Counters::default() });
        self.input.counters(out);
    }
}

pub struct Limit {
    input: Box<dyn Rows>,
    left: u64,
    advanced: u64,
}

impl Limit {
    pub fn new(input: Box<dyn Rows>, count: u64) -> Limit {
        Limit { input, left: count, advanced: 0 }
    }
}

impl Rows for Limit {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if self.left == 0 {
            self.input.park(op);
            return Ok(false);
        }
        let more = self.input.advance(op)?;
        // The end of a tailable scan is not the end of what is wanted.
        self.left -= u64::from(more);
        self.advanced += u64::from(more);
        Ok(more)
    }

    fn record_id(&self) -> RecordId {
        self.input.record_id()
    }

    fn doc(&self) -> Doc<'_> {
        self.input.doc()
    }

    fn input(&self) -> Option<&dyn Rows> {
        Some(&*self.input)
    }

    fn park(&mut self, op: &mut OpCx) {
        self.input.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(Counters { advanced: self.advanced, ..Counters::default() });
        self.input.counters(out);
    }
}

/// Rows that tell the index entries by which they were found.
pub struct Keyed {
    input: Box<dyn Rows>,
    key: Vec<u8>,
    meta: DocBuf,
}

impl Keyed {
    pub fn new(input: Box<dyn Rows>) -> Keyed {
        Keyed { input, key: Vec::new(), meta: DocBuf::new() }
    }
}

impl Rows for Keyed {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if !self.input.advance(op)? {
            return Ok(false);
        }
        self.key.clear();
        self.input.key_document(&mut self.key)?;
        let key = Doc::from_checked(&self.key);
        self.meta = DocBuf::build(|w| {
            w.append_all(self.input.meta());
            if !key.is_empty() {
                w.append("indexKey", key);
            }
        });
        Ok(true)
    }

    fn record_id(&self) -> RecordId {
        self.input.record_id()
    }

    fn doc(&self) -> Doc<'_> {
        self.input.doc()
    }

    fn input(&self) -> Option<&dyn Rows> {
        Some(&*self.input)
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_doc()
    }

    fn park(&mut self, op: &mut OpCx) {
        self.input.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        self.input.counters(out);
    }
}

/// What becomes of a document before the client sees it.
pub struct Shape {
    pub projection: Option<Projection>,
    /// For the positional operator.
    pub filter: Arc<Matcher>,
    pub show_record_id: bool,
    pub return_key: bool,
    /// What the documents are sorted by, where somebody asks for `{$meta: "sortKey"}`.
    pub sort_key: Option<Arc<SortPattern>>,
}

/// The documents of rows, shaped.
pub struct Documents {
    rows: Box<dyn Rows>,
    shape: Shape,
    plain: bool,
    arena: Arena,
    buf: Vec<u8>,
    scratch: Vec<u8>,
    /// What is attached to the current document, where that is more than the rows attach.
    meta: Option<DocBuf>,
    /// Keys and documents that the server's counts hold already.
    counted: (u64, u64),
}

impl Documents {
    pub fn new(rows: Box<dyn Rows>, shape: Shape) -> Documents {
        let plain = shape.projection.is_none() && !shape.show_record_id && !shape.return_key;
        Documents { rows, shape, plain, arena: Arena::new(), buf: Vec::new(), scratch: Vec::new(), meta: None, counted: (0, 0) }
    }

    fn shape(&mut self) -> Result<()> {
        let doc = self.rows.doc();
        self.buf.clear();
        match &self.shape.projection {
            _ if self.shape.return_key => self.rows.key_document(&mut self.buf)?,
            Some(projection) => {
                self.arena.set_meta(self.meta.as_ref().map_or_else(|| self.rows.meta(), DocBuf::as_doc));
                projection.apply(doc, Some(&self.shape.filter), &self.arena, &mut self.buf)?;
                self.arena.reset();
            }
            None => self.buf.extend_from_slice(doc.as_bytes()),
        }
        if self.shape.show_record_id {
            self.scratch.clear();
            let mut w = DocWriter::new(&mut self.scratch);
            w.append_all(Doc::from_checked(&self.buf)).append("$recordId", self.rows.record_id());
            w.finish();
            std::mem::swap(&mut self.buf, &mut self.scratch);
        }
        Ok(())
    }
}

impl Stream for Documents {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        let op = op_of(host)?;
        if !self.rows.advance(op)? {
            self.counted = count(op, &*self.rows, self.counted);
            return Ok(false);
        }
        if let Some(pattern) = &self.shape.sort_key {
            self.meta = Some(pattern.with_key(self.rows.doc(), self.rows.meta())?);
        }
        if !self.plain {
            self.shape()?;
        }
        Ok(true)
    }

    fn doc(&self) -> Doc<'_> {
        if self.plain { self.rows.doc() } else { Doc::from_checked(&self.buf) }
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_ref().map_or_else(|| self.rows.meta(), DocBuf::as_doc)
    }

    fn park(&mut self, host: &mut dyn Host) {
        if let Ok(op) = op_of(host) {
            self.counted = count(op, &*self.rows, self.counted);
            self.rows.park(op);
        }
    }
}
