//! Finding a document by its `_id`: two point reads, no scan.

use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::{Doc, Result, Value, ValueBuf, keystring};
use smongo_storage::Session;

use super::{Counters, Rows};
use crate::catalog::Collection;
use crate::keys::{RecordId, record_id, record_key};
use crate::op::OpCx;

/// The document of this `_id`, lent by the storage until its next use.
pub fn find_by_id<'o>(op: &'o mut OpCx, coll: &Collection, id: Value<'_>) -> Result<Option<(RecordId, Doc<'o>)>> {
    point_read(op.store()?, coll, id)
}

/// The same, of a storage session with a transaction.
pub fn point_read<'s>(store: &'s mut Session, coll: &Collection, id: Value<'_>) -> Result<Option<(RecordId, Doc<'s>)>> {
    let (Some(index), Some(storage)) = (coll.id_index(), coll.storage()) else { return Ok(None) };
    let collator = index.collation.as_deref().map(|c| c as &dyn Collator);
    let mut key = Vec::with_capacity(32);
    keystring::append(&mut key, id, false, collator);
    let Some(entry) = store.get(&index.table, &key)? else { return Ok(None) };
    let rid = record_id(entry);
    let found = store.get(&storage.records, &record_key(rid))?;
    Ok(found.map(|bytes| (rid, Doc::from_checked(bytes))))
}

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
