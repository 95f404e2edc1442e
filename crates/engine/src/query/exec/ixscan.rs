//! IXSCAN: the entries of an index within ranges. Compares key bytes and decodes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use smongo_bson::{Doc, Result, Type, bail, keystring};
use smongo_mql::Host;
use smongo_storage::CursorId;

use super::{Counters, Entry, INTERRUPT_EVERY, Rows};
use super::cursor::Held;
use super::ranges::{Ranges, Verdict};
use crate::data::catalog::Index;
use crate::data::keys::{RecordId, record_id, trailing_record_id};
use crate::data::op::OpCx;

pub struct IndexScan {
    index: Arc<Index>,
    ranges: Ranges,
    forward: bool,
    /// The entry itself is needed, not only the record it leads to.
    keep_entry: bool,
    distinct: Option<usize>,
    /// Records that were returned already, where an array may lead to one record twice.
    seen: Option<HashSet<RecordId>>,
    cursor: Held,
    /// The range the scan is in, counted in its direction.
    range: usize,
    /// The key it has come to, while it is parked.
    parked: Option<Vec<u8>>,
    done: bool,
    target: Vec<u8>,
    rid: RecordId,
    key: Vec<u8>,
    bits: Vec<u8>,
    counters: Counters,
}

impl IndexScan {
    /// A scan of ranges. With `dedup` each record comes once; with `keep_entry` the entries are lent.
    pub fn new(index: &Arc<Index>, ranges: Ranges, forward: bool, dedup: bool, keep_entry: bool) -> IndexScan {
        IndexScan {
            index: index.clone(),
            ranges,
            forward,
            keep_entry,
            distinct: None,
            seen: dedup.then(HashSet::new),
            cursor: Held::default(),
            range: 0,
            parked: None,
            done: false,
            target: Vec::new(),
            rid: 0,
            key: Vec::new(),
            bits: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The same scan, for which one entry of each beginning up to a field is enough.
    pub fn distinct(self, field: Option<usize>) -> IndexScan {
        IndexScan { distinct: field, ..self }
    }

    fn current(&self) -> Option<&super::ranges::Range> {
        let ranges = &self.ranges.ranges;
        if self.forward { ranges.get(self.range) } else { ranges.len().checked_sub(self.range + 1).and_then(|n| ranges.get(n)) }
    }

    /// Moves to the beginning of the current range, or to where the scan was parked.
    fn enter(&mut self, op: &mut OpCx, cursor: CursorId) -> Result<bool> {
        self.counters.seeks += 1;
        if let Some(key) = self.parked.take() {
            self.dedup_again();
            if self.skips(&key)? {
                return Ok(op.store()?.seek_ge(cursor, &self.target)?);
            }
            let store = op.store()?;
            let found = if self.forward { store.seek_ge(cursor, &key)? } else { store.seek_le(cursor, &key)? };
            return Ok(match found && store.key(cursor) == key {
                true if self.forward => store.next(cursor)?,
                true => store.prev(cursor)?,
                false => found,
            });
        }
        let Some(range) = self.current() else { return Ok(false) };
        let store = op.store()?;
        match (self.forward, &range.end) {
            // An empty key is none to WiredTiger.
            (true, _) if range.start.is_empty() => {
                store.reset(cursor)?;
                Ok(store.next(cursor)?)
            }
            (true, _) => Ok(store.seek_ge(cursor, &range.start)?),
            (false, Some(end)) => seek_below(op, cursor, end),
            (false, None) => {
                store.reset(cursor)?;
                Ok(store.prev(cursor)?)
            }
        }
    }

    /// Documents with arrays may have come while the scan was parked.
    fn dedup_again(&mut self) {
        if self.seen.is_none() && self.index.multikey().any() {
            self.seen = Some(HashSet::new());
        }
    }

    /// Whether all that begin like a key are done with; then `target` is where the scan goes on.
    fn skips(&mut self, key: &[u8]) -> Result<bool> {
        let Some(part) = self.distinct else { return Ok(false) };
        let (mut rest, mut null) = (key, false);
        for part in self.index.parts.iter().take(part + 1) {
            null = stands_for_missing(rest, part.descending);
            rest = keystring::skip(rest, part.descending)?;
        }
        self.target.clear();
        self.target.extend_from_slice(key.get(..key.len() - rest.len()).unwrap_or_default());
        Ok(!null && keystring::prefix_end(&mut self.target))
    }

    /// Moves to the next entry within the ranges.
    fn next(&mut self, op: &mut OpCx) -> Result<bool> {
        let mut more = match self.cursor.get() {
            Some(cursor) if self.distinct.is_some() && self.skips(op.lent().key(cursor))? => {
                self.counters.seeks += 1;
                op.store()?.seek_ge(cursor, &self.target)?
            }
            Some(cursor) if self.forward => op.store()?.next(cursor)?,
            Some(cursor) => op.store()?.prev(cursor)?,
            None => {
                if self.index.is_dropped() {
                    bail!(QueryPlanKilled, "index '{}' dropped", self.index.name);
                }
                let cursor = self.cursor.open(op, &self.index.table)?;
                self.enter(op, cursor)?
            }
        };
        let cursor = self.cursor.require()?;
        while more {
            self.counters.keys += 1;
            if self.counters.keys.is_multiple_of(INTERRUPT_EVERY) || op.kill.is_set() {
                op.interrupt()?;
            }
            let key = op.lent().key(cursor);
            let before = self.range;
            loop {
                let ranges = &self.ranges.ranges;
                let n = if self.forward { Some(self.range) } else { ranges.len().checked_sub(self.range + 1) };
                let Some(range) = n.and_then(|n| ranges.get(n)) else {
                    // Of one range MongoDB looks at no key beyond its end.
                    self.counters.keys -= u64::from(ranges.len() == 1 && self.ranges.rest.is_none());
                    return Ok(false);
                };
                let passed = if self.forward { range.is_before(key) } else { key < range.start.as_slice() };
                if !passed {
                    break;
                }
                self.range += 1;
            }
            let inside = self.current().is_some_and(|r| self.range == before || r.contains(key));
            if !inside {
                more = self.enter(op, cursor)?;
                continue;
            }
            let Some(rest) = &self.ranges.rest else { return Ok(true) };
            match rest.check(key, self.forward, &mut self.target) {
                Verdict::Inside => return Ok(true),
                Verdict::Seek => {
                    self.counters.seeks += 1;
                    more = if self.forward { op.store()?.seek_ge(cursor, &self.target)? } else { seek_below(op, cursor, &self.target)? };
                }
            }
        }
        Ok(false)
    }

    /// Takes the record id of the entry under the cursor; `false` when its record was returned before.
    fn take(&mut self, op: &OpCx) -> Result<bool> {
        let cursor = self.cursor.require()?;
        let store = op.lent();
        let key = store.key(cursor);
        let in_key = self.index.record_id_in_key();
        self.rid = if in_key { trailing_record_id(key) } else { record_id(store.value(cursor)) };
        if let Some(seen) = &mut self.seen
            && !seen.insert(self.rid)
        {
            self.counters.dups += 1;
            return Ok(false);
        }
        if self.keep_entry {
            let (key, bits) = if in_key {
                (key.get(..key.len().saturating_sub(8)), Some(store.value(cursor)))
            } else {
                (Some(key), store.value(cursor).get(8..))
            };
            self.key.clear();
            self.key.extend_from_slice(key.unwrap_or_default());
            self.bits.clear();
            self.bits.extend_from_slice(bits.unwrap_or_default());
        }
        Ok(true)
    }
}

/// Whether a key's next value is null or undefined, which documents without the field have too.
fn stands_for_missing(key: &[u8], descending: bool) -> bool {
    let is = |kind| {
        let (low, high) = keystring::class_range(kind, descending);
        key.first().is_some_and(|tag| (low..high).contains(tag))
    };
    is(Type::Null) || is(Type::Undefined)
}

/// Moves to the last key below `end`.
fn seek_below(op: &mut OpCx, cursor: CursorId, end: &[u8]) -> Result<bool> {
    let store = op.store()?;
    let found = store.seek_le(cursor, end)?;
    if found && store.key(cursor) >= end { Ok(store.prev(cursor)?) } else { Ok(found) }
}

impl Rows for IndexScan {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        while self.next(op)? {
            if self.take(op)? {
                self.counters.advanced += 1;
                return Ok(true);
            }
        }
        self.cursor.release(op);
        self.done = true;
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        self.rid
    }

    fn doc(&self) -> Doc<'_> {
        Doc::EMPTY
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.keep_entry.then(|| Entry { index: &self.index, key: &self.key, bits: &self.bits })
    }

    fn park(&mut self, op: &mut OpCx) {
        if let Some(cursor) = self.cursor.get() {
            let key = op.lent().key(cursor);
            if !key.is_empty() {
                self.parked = Some(key.to_vec());
            }
            self.cursor.release(op);
        }
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
    }
}
