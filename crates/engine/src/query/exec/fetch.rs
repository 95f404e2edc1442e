//! FETCH: the documents that entries of an index lead to, filtered.

use smongo_bson::{Doc, Result};
use smongo_storage::Table;

use super::{Counters, Rows, Test};
use crate::data::keys::{RecordId, record_key};
use crate::data::op::OpCx;
use crate::query::plan::Filter;

pub struct Fetch {
    input: Box<dyn Rows>,
    records: Table,
    test: Test,
    buf: Vec<u8>,
    counters: Counters,
}

impl Fetch {
    pub fn new(input: Box<dyn Rows>, records: Table, filter: Option<Filter>) -> Fetch {
        Fetch { input, records, test: Test::new(filter), buf: Vec::new(), counters: Counters::default() }
    }
}

impl Rows for Fetch {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        while self.input.advance(op)? {
            let store = op.store()?;
            let Some(found) = store.get(&self.records, &record_key(self.input.record_id()))? else { continue };
            self.counters.docs += 1;
            if self.test.passes(Doc::from_checked(found))? {
                self.buf.clear();
                self.buf.extend_from_slice(found);
                self.counters.advanced += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        self.input.record_id()
    }

    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.buf)
    }

    fn input(&self) -> Option<&dyn Rows> {
        Some(&*self.input)
    }

    fn park(&mut self, op: &mut OpCx) {
        self.input.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
        self.input.counters(out);
    }
}
