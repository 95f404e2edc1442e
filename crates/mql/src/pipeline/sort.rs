//! `$sort`: in memory, with a limit as top-k, beyond the memory limit by runs on disk.

use smongo_bson::{Doc, Result};

use super::spill::{Sorted, Sorter};
use crate::sort::SortPattern;
use crate::stream::{Host, Stream};

pub(super) fn sorted(input: Box<dyn Stream>, pattern: SortPattern, limit: Option<u64>, allow_disk: bool) -> Box<dyn Stream> {
    Box::new(SortStream { input, pattern, limit, allow_disk, sorted: None })
}

struct SortStream {
    input: Box<dyn Stream>,
    pattern: SortPattern,
    limit: Option<u64>,
    allow_disk: bool,
    sorted: Option<Sorted>,
}

impl Stream for SortStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if let Some(sorted) = &mut self.sorted {
            return sorted.advance();
        }
        let mut sorter = Sorter::new("$sort", self.allow_disk, self.limit);
        let mut key = Vec::new();
        let mut n = 0u32;
        while self.input.advance(host)? {
            let doc = self.input.doc();
            key.clear();
            self.pattern.append_key(doc, &mut key)?;
            sorter.push(&key, doc.as_bytes(), host)?;
            n = n.wrapping_add(1);
            if n % 512 == 0 {
                host.interrupt()?;
            }
        }
        self.sorted.insert(sorter.finish(host)?).advance()
    }
    fn doc(&self) -> Doc<'_> {
        self.sorted.as_ref().map_or(Doc::EMPTY, |s| Doc::from_checked(s.payload()))
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
