//! Finding a document by its `_id`: two point reads, no scan.

use smongo_bson::compare::Collator;
use smongo_bson::{Doc, Result, Value, keystring};
use smongo_storage::Session;

use super::Collection;
use crate::data::keys::{RecordId, record_id, record_key};
use crate::data::op::OpCx;

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
