//! SORT: blocking, in memory; with a limit only the best are kept.

use std::sync::Arc;

use smongo_bson::{Doc, Result, bail};
use smongo_mql::{Host, SortPattern};

use super::{Counters, Rows};
use crate::keys::RecordId;
use crate::op::OpCx;

/// A row: its sort key, then the document, then its metadata if it has any, at a place in the buffer.
#[derive(Clone, Copy)]
struct Item {
    /// The first eight bytes of the key decide most comparisons.
    prefix: u64,
    start: usize,
    doc: usize,
    meta: usize,
    end: usize,
    rid: RecordId,
}

pub struct Sort {
    input: Box<dyn Rows>,
    pattern: Arc<SortPattern>,
    limit: Option<usize>,
    allow_disk: bool,
    sorted: bool,
    buf: Vec<u8>,
    items: Vec<Item>,
    next: usize,
}

impl Sort {
    pub fn new(input: Box<dyn Rows>, pattern: Arc<SortPattern>, limit: Option<u64>, allow_disk: bool) -> Sort {
        let limit = limit.and_then(|l| usize::try_from(l).ok());
        Sort { input, pattern, limit, allow_disk, sorted: false, buf: Vec::new(), items: Vec::new(), next: 0 }
    }

    fn fill(&mut self, op: &mut OpCx) -> Result<()> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let memory = op.memory_limit();
        while self.input.advance(op)? {
            let start = self.buf.len();
            let document = self.input.doc();
            let meta = self.input.meta();
            self.pattern.append_key_with(document, meta, &mut self.buf)?;
            let doc = self.buf.len();
            self.buf.extend_from_slice(document.as_bytes());
            let behind = self.buf.len();
            if !meta.is_empty() {
                self.buf.extend_from_slice(meta.as_bytes());
            }
            let mut prefix = [0; 8];
            let n = (doc - start).min(8);
            prefix[..n].copy_from_slice(&self.buf[start..start + n]);
            let item = Item { prefix: u64::from_be_bytes(prefix), start, doc, meta: behind, end: self.buf.len(), rid: self.input.record_id() };
            self.items.push(item);
            if self.items.len() >= limit.saturating_mul(2).max(512) {
                self.keep(limit);
            }
            if self.buf.len() + self.items.len() * std::mem::size_of::<Item>() > memory && !self.allow_disk {
                bail!(292, "Sort exceeded memory limit of {memory} bytes, but did not opt in to external sorting.");
            }
        }
        self.sort();
        self.items.truncate(limit);
        Ok(())
    }

    fn sort(&mut self) {
        let buf = &self.buf;
        self.items.sort_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| buf[a.start..a.doc].cmp(&buf[b.start..b.doc])));
    }

    /// Forgets all but the first `limit` rows.
    fn keep(&mut self, limit: usize) {
        self.sort();
        self.items.truncate(limit);
        let mut kept = Vec::with_capacity(self.buf.capacity());
        for item in &mut self.items {
            let moved = kept.len();
            kept.extend_from_slice(&self.buf[item.start..item.end]);
            *item = Item { start: moved, doc: moved + item.doc - item.start, meta: moved + item.meta - item.start, end: kept.len(), ..*item };
        }
        self.buf = kept;
    }

    fn current(&self) -> Option<&Item> {
        self.items.get(self.next.checked_sub(1)?)
    }
}

impl Rows for Sort {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if !self.sorted {
            self.fill(op)?;
            self.sorted = true;
        }
        self.next += 1;
        Ok(self.next <= self.items.len())
    }

    fn record_id(&self) -> RecordId {
        self.current().map_or(0, |i| i.rid)
    }

    fn doc(&self) -> Doc<'_> {
        self.current().map_or(Doc::EMPTY, |i| Doc::from_checked(&self.buf[i.doc..i.meta]))
    }

    fn meta(&self) -> Doc<'_> {
        self.current().filter(|i| i.meta < i.end).map_or(Doc::EMPTY, |i| Doc::from_checked(&self.buf[i.meta..i.end]))
    }

    fn park(&mut self, op: &mut OpCx) {
        self.input.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(Counters { advanced: self.next.min(self.items.len()) as u64, ..Counters::default() });
        self.input.counters(out);
    }
}
