//! COLLSCAN: all documents in the order of their record ids.

use smongo_bson::{Doc, Result, bail, err};
use smongo_mql::Host;
use smongo_storage::Table;

use super::{Counters, INTERRUPT_EVERY, Rows, Test};
use super::cursor::Held;
use crate::data::catalog::Collection;
use crate::data::keys::{RecordId, record_id, record_key};
use crate::data::op::OpCx;
use crate::query::plan::Filter;

pub struct CollScan {
    records: Table,
    /// The oldest documents may go while the scan is parked.
    capped: bool,
    forward: bool,
    tailable: bool,
    test: Test,
    cursor: Held,
    /// The record the scan has come to.
    at: Option<RecordId>,
    done: bool,
    counters: Counters,
    buf: Vec<u8>,
}

impl CollScan {
    pub fn new(coll: &Collection, forward: bool, filter: Option<Filter>, tailable: bool) -> Result<CollScan> {
        let storage = coll.storage().ok_or_else(|| err!(CommandNotSupportedOnView, "Namespace {} is a view, not a collection", coll.ns))?;
        Ok(CollScan {
            records: storage.records.clone(),
            capped: storage.capped.is_some(),
            forward,
            tailable,
            test: Test::new(filter),
            cursor: Held::default(),
            at: None,
            done: false,
            counters: Counters::default(),
            buf: Vec::new(),
        })
    }

    /// Opens the cursor and moves it to the first record not yet seen.
    fn start(&mut self, op: &mut OpCx) -> Result<bool> {
        let cursor = self.cursor.open(op, &self.records)?;
        let store = op.store()?;
        Ok(match (self.at, self.forward) {
            (None, true) => store.next(cursor)?,
            (None, false) => store.prev(cursor)?,
            (Some(at), true) if self.capped => {
                if !store.seek(cursor, &record_key(at))? {
                    bail!(CappedPositionLost, "CollectionScan died due to position in capped collection being deleted. Last seen record id: RecordId({at})");
                }
                store.next(cursor)?
            }
            (Some(at), true) => store.seek_ge(cursor, &record_key(at + 1))?,
            (Some(at), false) => store.seek_le(cursor, &record_key(at - 1))?,
        })
    }

    #[inline]
    fn step(&mut self, op: &mut OpCx) -> Result<bool> {
        match self.cursor.get() {
            Some(cursor) if self.forward => Ok(op.store()?.next(cursor)?),
            Some(cursor) => Ok(op.store()?.prev(cursor)?),
            None => self.start(op),
        }
    }
}

impl Rows for CollScan {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        while self.step(op)? {
            let cursor = self.cursor.require()?;
            self.counters.docs += 1;
            if self.counters.docs.is_multiple_of(INTERRUPT_EVERY) || op.kill.is_set() {
                op.interrupt()?;
            }
            let store = op.lent();
            let value = store.value(cursor);
            if self.tailable {
                self.at = Some(record_id(store.key(cursor)));
            }
            if self.test.passes(Doc::from_checked(value))? {
                self.at = Some(record_id(store.key(cursor)));
                self.counters.advanced += 1;
                self.buf.clear();
                self.buf.extend_from_slice(value);
                return Ok(true);
            }
        }
        self.cursor.release(op);
        self.done = !self.tailable;
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        self.at.unwrap_or_default()
    }

    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.buf)
    }

    fn park(&mut self, op: &mut OpCx) {
        self.cursor.release(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
    }
}
