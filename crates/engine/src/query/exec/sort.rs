//! SORT: blocking; beyond the memory limit on disk. With a limit only the best are kept.

use std::sync::Arc;

use smongo_bson::{Doc, Result};
use smongo_mql::SortPattern;
use smongo_mql::pipeline::spill::{Sorted, Sorter, Spilled};

use super::{Counters, Rows};
use crate::data::keys::RecordId;
use crate::data::op::OpCx;

pub struct Sort {
    input: Box<dyn Rows>,
    pattern: Arc<SortPattern>,
    limit: Option<u64>,
    allow_disk: bool,
    /// The client gets index keys instead of documents, so that these are sorted.
    return_key: bool,
    sorted: Option<Sorted>,
    spilled: Spilled,
    advanced: u64,
}

/// The record id in front of each document.
const RID: usize = size_of::<RecordId>();

impl Sort {
    pub fn new(input: Box<dyn Rows>, pattern: Arc<SortPattern>, limit: Option<u64>, allow_disk: bool, return_key: bool) -> Sort {
        Sort { input, pattern, limit, allow_disk, return_key, sorted: None, spilled: Spilled::default(), advanced: 0 }
    }

    fn fill(&mut self, op: &mut OpCx) -> Result<Sorted> {
        let mut sorter = Sorter::new("sort", self.allow_disk, self.limit);
        let (mut key, mut row) = (Vec::new(), Vec::new());
        while self.input.advance(op)? {
            key.clear();
            row.clear();
            let (doc, meta) = (self.input.doc(), self.input.meta());
            self.pattern.append_key_with(doc, meta, &mut key)?;
            row.extend_from_slice(&self.input.record_id().to_le_bytes());
            if self.return_key {
                self.input.key_document(&mut row)?;
            } else {
                row.extend_from_slice(doc.as_bytes());
            }
            if !meta.is_empty() {
                row.extend_from_slice(meta.as_bytes());
            }
            sorter.push(&key, &row, op)?;
        }
        self.spilled = sorter.spilled();
        sorter.finish(op)
    }

    fn row(&self) -> &[u8] {
        self.sorted.as_ref().map_or(&[], Sorted::payload)
    }

    /// The document behind the record id, and what follows it.
    fn parts(&self) -> (&[u8], &[u8]) {
        let rest = self.row().get(RID..).unwrap_or_default();
        let len = rest.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b) as usize);
        rest.split_at_checked(len).unwrap_or_default()
    }
}

impl Rows for Sort {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        let sorted = match &mut self.sorted {
            Some(sorted) => sorted,
            None => {
                let sorted = self.fill(op)?;
                self.sorted.insert(sorted)
            }
        };
        let more = sorted.advance()?;
        self.advanced += u64::from(more);
        Ok(more)
    }

    fn record_id(&self) -> RecordId {
        self.row().first_chunk::<RID>().map_or(0, |b| RecordId::from_le_bytes(*b))
    }

    fn doc(&self) -> Doc<'_> {
        match self.parts() {
            ([], _) => Doc::EMPTY,
            (doc, _) => Doc::from_checked(doc),
        }
    }

    fn meta(&self) -> Doc<'_> {
        match self.parts() {
            (_, []) => Doc::EMPTY,
            (_, meta) => Doc::from_checked(meta),
        }
    }

    fn key_document(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.doc().as_bytes());
        Ok(())
    }

    fn park(&mut self, op: &mut OpCx) {
        self.input.park(op);
        if let Some(sorted) = self.sorted.as_mut().filter(|_| op.resting) {
            sorted.rest(self.allow_disk, op);
        }
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(Counters { advanced: self.advanced, sorted: self.spilled.clone(), ..Counters::default() });
        self.input.counters(out);
    }
}
