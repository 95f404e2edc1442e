//! The one module that writes documents: record, index entries and oplog entry, together, in the operation's transaction.

mod entries;
mod prepare;
mod validate;

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, Value, bail, check, err};

use smongo_bson::index_keys::Multikey;

use crate::data::catalog::{Collection, Index, Storage, TimeSeries, find_by_id};
use crate::data::keys::{RecordId, record_id, record_key};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::oplog::Change;
pub use prepare::{check_id, prepare, stored};
pub use validate::{validate, validate_update};
pub use entries::{Entries, duplicate_key, duplicate_key_of};

/// The collection a write goes to, made when there is none.
pub fn target(op: &mut OpCx, ns: &Ns) -> Result<Arc<Collection>> {
    let data = op.data.clone();
    data.catalog.get_or_create(op, ns)
}

fn storage_of(coll: &Collection) -> Result<&Storage> {
    coll.storage().ok_or_else(|| err!(CommandNotSupportedOnView, "Namespace {} is a view, not a collection", coll.ns))
}

/// What no collection stores.
fn check_storable(doc: Doc<'_>) -> Result<()> {
    let len = doc.as_bytes().len();
    if len > limits::INTERNAL_DOCUMENT_BYTES {
        bail!(BSONObjectTooLarge, "object to insert too large. size in bytes: {len}, max size: {}", limits::DOCUMENT_BYTES);
    }
    check_depth(doc)
}

/// Documents are stored with fewer levels than a command may have, since commands, replies and the oplog put some around them.
pub fn check_depth(doc: Doc<'_>) -> Result<()> {
    if check::deeper_than(doc, check::MAX_STORED_DEPTH) {
        bail!(Overflow, "cannot insert document because it exceeds {} levels of nesting", check::MAX_STORED_DEPTH);
    }
    Ok(())
}

/// Inserts a document that has an `_id`. When it fails, a part of it may be in the transaction, which then does not commit: see
/// [`OpCx::write_group`].
pub fn insert(op: &mut OpCx, coll: &Arc<Collection>, doc: Doc<'_>) -> Result<RecordId> {
    check_storable(doc)?;
    if coll.is_clustered() {
        entries::check_clustered_key(doc)?;
    }
    let storage = storage_of(coll)?;
    op.lock(coll)?;
    let id = match &coll.timeseries {
        Some(series) => series_position(op, storage, series, doc)?,
        None => coll.state.next_record(),
    };
    let mut entries = Entries::default();
    for index in &coll.indexes {
        let multikey = entries.of_new(index, doc, id)?;
        note_multikey(op, coll, index, &multikey)?;
        entries.insert(op, coll, index)?;
    }
    op.put(&storage.records, &record_key(id), doc.as_bytes())?;
    op.whole();
    op.resize(&coll.state, 1, doc.as_bytes().len() as i64);
    op.changed[0] += 1;
    op.pending.add(&coll.ns, Some(&coll.uuid), Change::Insert { doc });
    Ok(id)
}

/// Bits of a measurement's record id that tell measurements of one millisecond apart; those above are its time.
const SEQUENCE_BITS: u32 = 19;
/// Added to a time, so that record ids of times before 1970 are positive too. Times further away than that sort as if they were not.
const EPOCH: i64 = 1 << 43;

/// Where a measurement goes: behind all others that are not later.
fn series_position(op: &mut OpCx, storage: &Storage, series: &TimeSeries, doc: Doc<'_>) -> Result<RecordId> {
    let Value::DateTime(time) = doc.get(&series.time) else {
        bail!(BadValue, "'{}' must be present and contain a valid BSON UTC datetime value", series.time)
    };
    let millis = series_begin(time);
    let mut last = millis | ((1 << SEQUENCE_BITS) - 1);
    let store = op.store()?;
    let cursor = store.open(&storage.records)?;
    let id = loop {
        let before = if store.seek_le(cursor, &record_key(last))? { record_id(store.key(cursor)) } else { 0 };
        if before < last {
            break (before + 1).max(millis);
        }
        // A millisecond that is full flows over into the next one.
        last += 1 << SEQUENCE_BITS;
    };
    store.release(cursor);
    Ok(id)
}

/// Whether a measurement like this one, byte for byte, is there.
pub fn holds_measurement(op: &mut OpCx, coll: &Arc<Collection>, doc: Doc<'_>) -> Result<bool> {
    let (Some(storage), Some(series)) = (coll.storage(), &coll.timeseries) else { return Ok(false) };
    let Value::DateTime(time) = doc.get(&series.time) else { return Ok(false) };
    let first = series_begin(time);
    let store = op.store()?;
    let cursor = store.open(&storage.records)?;
    let mut more = store.seek_ge(cursor, &record_key(first))?;
    let mut found = false;
    // What a full millisecond flowed over into the next ones is of this time, too.
    while more && !found {
        let there = Doc::from_checked(store.value(cursor));
        found = there.as_bytes() == doc.as_bytes();
        let later = matches!(there.get(&series.time), Value::DateTime(at) if at > time) && record_id(store.key(cursor)) >= first + (1 << SEQUENCE_BITS);
        more = !later && store.next(cursor)?;
    }
    store.release(cursor);
    Ok(found)
}

/// The least record id of a time.
fn series_begin(time: i64) -> RecordId {
    (time.clamp(-EPOCH, EPOCH - 1) + EPOCH) << SEQUENCE_BITS
}

/// Notes where a document holds arrays on an index's paths, before its entries are written.
///
/// The catalog's entry is written in a transaction of its own, and memory changes after it: the document's transaction may fail, and
/// later writers, who find the index multikey in memory, would not write it again. An index may well be taken for more than it is.
fn note_multikey(op: &mut OpCx, coll: &Arc<Collection>, index: &Index, multikey: &Multikey) -> Result<()> {
    if !index.would_grow(multikey) {
        return Ok(());
    }
    let data = op.data.clone();
    if op.created.holds(coll) {
        // The entry is this transaction's own, and so is what there is of the collection in memory.
        index.set_multikey(multikey);
        return data.catalog.save(op.store()?, coll);
    }
    data.catalog.save_multikey(coll, index, multikey)
}

/// Deletes the oldest documents of a capped collection until it is within its size again. The newest always stays.
pub fn evict(op: &mut OpCx, coll: &Arc<Collection>) -> Result<()> {
    let storage = storage_of(coll)?;
    let (Some(capped), Some(known)) = (storage.capped, coll.state.known_documents()) else { return Ok(()) };
    loop {
        let (documents, bytes) = op.resized(&coll.state);
        let documents = known + documents;
        let bytes = coll.state.bytes.load(std::sync::atomic::Ordering::Relaxed) + bytes;
        let over = bytes > capped.bytes || capped.documents.is_some_and(|max| documents > max);
        if !over || documents <= 1 {
            return Ok(());
        }
        let store = op.store()?;
        let cursor = store.open(&storage.records)?;
        let oldest = if store.next(cursor)? { Some((record_id(store.key(cursor)), DocBuf::from_checked(store.value(cursor).to_vec()))) } else { None };
        store.release(cursor);
        let Some((id, doc)) = oldest else { return Ok(()) };
        delete(op, coll, id, doc.as_doc())?;
    }
}

/// Puts a document of the server's own in the place of the one that has its `_id`.
pub fn put(op: &mut OpCx, ns: &Ns, document: Doc<'_>) -> Result<()> {
    let data = op.data.clone();
    op.write(|op| {
        let coll = data.catalog.get_or_create(op, ns)?;
        let old = find_by_id(op, &coll, document.get("_id"))?.map(|(id, doc)| (id, DocBuf::from(doc)));
        match old {
            Some((id, old)) => update(op, &coll, id, old.as_doc(), document, document),
            None => insert(op, &coll, document).map(|_| ()),
        }
    })
}

/// Replaces the document at a record id. `delta` is the oplog's description of the change.
pub fn update(op: &mut OpCx, coll: &Arc<Collection>, id: RecordId, old: Doc<'_>, new: Doc<'_>, delta: Doc<'_>) -> Result<()> {
    check_storable(new)?;
    let storage = storage_of(coll)?;
    op.lock(coll)?;
    let (mut before, mut after) = (Entries::default(), Entries::default());
    for index in &coll.indexes {
        if index.is_id() {
            continue;
        }
        before.of(index, old, id)?;
        let multikey = after.of_new(index, new, id)?;
        // Also when the entries stay as they are: a covered query makes values of them.
        note_multikey(op, coll, index, &multikey)?;
        if before.same_as(&after) {
            continue;
        }
        before.subtract(&mut after);
        before.remove(op, index)?;
        after.insert(op, coll, index)?;
    }
    op.put(&storage.records, &record_key(id), new.as_bytes())?;
    op.whole();
    op.resize(&coll.state, 0, new.as_bytes().len() as i64 - old.as_bytes().len() as i64);
    op.changed[1] += 1;
    if coll.pre_images {
        op.pending.pre_image(old);
    }
    op.pending.add(&coll.ns, Some(&coll.uuid), Change::Update { id: old.get("_id"), delta });
    Ok(())
}

/// Deletes the document at a record id.
pub fn delete(op: &mut OpCx, coll: &Arc<Collection>, id: RecordId, old: Doc<'_>) -> Result<()> {
    let storage = storage_of(coll)?;
    op.lock(coll)?;
    let mut entries = Entries::default();
    for index in &coll.indexes {
        entries.of(index, old, id)?;
        entries.remove(op, index)?;
    }
    op.take(&storage.records, &record_key(id))?;
    op.whole();
    op.resize(&coll.state, -1, -(old.as_bytes().len() as i64));
    op.changed[2] += 1;
    if coll.pre_images {
        op.pending.pre_image(old);
    }
    op.pending.add(&coll.ns, Some(&coll.uuid), Change::Delete { id: old.get("_id") });
    Ok(())
}
