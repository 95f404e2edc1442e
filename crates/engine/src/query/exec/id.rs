//! The document of an `_id`.

use std::sync::Arc;

use smongo_bson::{Doc, Result, ValueBuf};

use super::{Counters, Rows};
use crate::data::catalog::{Collection, find_by_id};
use crate::data::keys::RecordId;
use crate::data::op::OpCx;

pub struct IdRows {
    coll: Arc<Collection>,
    value: Option<ValueBuf>,
    rid: RecordId,
    buf: Vec<u8>,
    counters: Counters,
}

impl IdRows {
    pub fn new(coll: &Arc<Collection>, value: ValueBuf) -> IdRows {
        IdRows { coll: coll.clone(), value: Some(value), rid: 0, buf: Vec::new(), counters: Counters::default() }
    }
}

impl Rows for IdRows {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        let Some(value) = self.value.take() else { return Ok(false) };
        let Some((rid, doc)) = find_by_id(op, &self.coll, value.view())? else { return Ok(false) };
        self.counters = Counters { advanced: 1, keys: 1, docs: 1, ..Counters::default() };
        self.rid = rid;
        self.buf.extend_from_slice(doc.as_bytes());
        Ok(true)
    }

    fn record_id(&self) -> RecordId {
        self.rid
    }

    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.buf)
    }

    fn park(&mut self, _op: &mut OpCx) {}

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
    }
}
