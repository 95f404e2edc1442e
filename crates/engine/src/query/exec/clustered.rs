//! The documents of a clustered collection in the order of `_id`: entries of its internal index, then records.

use smongo_bson::{Doc, Result};
use smongo_storage::Table;

use super::{Counters, Entry, Rows};
use super::fetch::Fetch;
use super::ixscan::IndexScan;
use crate::data::keys::RecordId;
use crate::data::op::OpCx;
use crate::query::plan::Filter;

/// To whoever looks at it one step: it counts documents and no keys.
pub struct ClusteredScan(Fetch);

impl ClusteredScan {
    pub fn new(scan: IndexScan, records: Table, filter: Option<Filter>) -> ClusteredScan {
        ClusteredScan(Fetch::new(Box::new(scan), records, filter))
    }
}

impl Rows for ClusteredScan {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        self.0.advance(op)
    }

    fn record_id(&self) -> RecordId {
        self.0.record_id()
    }

    fn doc(&self) -> Doc<'_> {
        self.0.doc()
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.0.entry()
    }

    fn park(&mut self, op: &mut OpCx) {
        self.0.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        let first = out.len();
        self.0.counters(out);
        out.truncate(first + 1);
    }
}
