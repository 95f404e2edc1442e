//! `$sort`: in memory, with a limit as top-k, beyond the memory limit by runs on disk.

use smongo_bson::{Doc, DocBuf, Result};

use super::spill::{Sorted, Sorter, document_and_meta};
use crate::sort::SortPattern;
use crate::stream::{Host, Stream};

pub(super) fn sorted(input: Box<dyn Stream>, pattern: SortPattern, limit: Option<u64>, allow_disk: bool, keyed: bool) -> Box<dyn Stream> {
    Box::new(SortStream { input, pattern, limit, allow_disk, sorted: None, keyed: keyed.then(DocBuf::new) })
}

struct SortStream {
    input: Box<dyn Stream>,
    pattern: SortPattern,
    limit: Option<u64>,
    allow_disk: bool,
    sorted: Option<Sorted>,
    /// What is attached to the current document, its sort key too, where that is asked for.
    keyed: Option<DocBuf>,
}

impl SortStream {
    /// The current document, and what a search attached to it.
    fn parts(&self) -> (Doc<'_>, Doc<'_>) {
        document_and_meta(self.sorted.as_ref().map_or(&[], Sorted::payload))
    }

    /// Moves to the next document; the first time all of them are read and sorted.
    fn step(&mut self, host: &mut dyn Host) -> Result<bool> {
        if let Some(sorted) = &mut self.sorted {
            return sorted.advance();
        }
        let mut sorter = Sorter::new("$sort", self.allow_disk, self.limit);
        let (mut key, mut row) = (Vec::new(), Vec::new());
        let mut n = 0u32;
        while self.input.advance(host)? {
            let (doc, meta) = (self.input.doc(), self.input.meta());
            key.clear();
            self.pattern.append_key_with(doc, meta, &mut key)?;
            if meta.is_empty() {
                sorter.push(&key, doc.as_bytes(), host)?;
            } else {
                row.clear();
                row.extend_from_slice(doc.as_bytes());
                row.extend_from_slice(meta.as_bytes());
                sorter.push(&key, &row, host)?;
            }
            n = n.wrapping_add(1);
            if n.is_multiple_of(512) {
                host.interrupt()?;
            }
        }
        self.sorted.insert(sorter.finish(host)?).advance()
    }
}

impl Stream for SortStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        let more = self.step(host)?;
        if more && self.keyed.is_some() {
            let (doc, meta) = self.parts();
            self.keyed = Some(self.pattern.with_key(doc, meta)?);
        }
        Ok(more)
    }
    fn doc(&self) -> Doc<'_> {
        self.parts().0
    }
    fn meta(&self) -> Doc<'_> {
        self.keyed.as_ref().map_or_else(|| self.parts().1, DocBuf::as_doc)
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
        if let Some(sorted) = self.sorted.as_mut().filter(|_| host.resting()) {
            sorted.rest(self.allow_disk, host);
        }
    }
}
