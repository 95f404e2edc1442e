//! Making capped collections of others.

use std::sync::Arc;

use smongo_bson::index_keys::Multikey;
use smongo_bson::{DocBuf, Result, bail};
use smongo_storage::{Durability, TableKind};
use uuid::Uuid;

use super::{Catalog, Collection, Index, State, Storage};
use super::ddl::{IdIndex, build, id_spec, tables_of};
use super::persist::define;
use crate::data::keys::{RecordId, index_table, record_id, record_key, records_table};
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::oplog::Change;
use smongo_mql::Host;

impl Catalog {
    /// Puts a capped collection in a collection's place: its newest documents, as many as fit, and the index on `_id` alone.
    pub fn convert_to_capped(&self, op: &mut OpCx, ns: &Ns, options: DocBuf) -> Result<()> {
        let _ddl = self.definition(op)?;
        let old = self.require(ns)?;
        let Some(storage) = old.storage() else { bail!(CommandNotSupportedOnView, "cannot convert a view to a capped collection: {ns}") };
        let _alone = self.exclusive(op, &old)?;

        let (id, index_id) = (self.new_id()?, self.new_id()?);
        let records = self.store.create_table(&records_table(id), TableKind::Records)?;
        let table = self.store.create_table(&index_table(index_id), TableKind::Index)?;
        let index = Arc::new(Index::from_spec(index_id, id_spec(options.as_doc(), IdIndex::default()), table, Multikey::default())?);
        let command = DocBuf::build(|w| {
            w.append("convertToCapped", ns.coll()).append("size", options.get("size"));
        });
        let state = Arc::new(State::new(0, 0, 0));
        let new = Arc::new(define(ns.clone(), Uuid::new_v4(), options, Some((id, records)), vec![index.clone()], Vec::new(), state)?);
        let filled = first_that_fits(op, storage, &new).and_then(|first| copy(op, storage, first, &new)).and_then(|()| build(op, &new, &index));
        let done = filled.and_then(|()| {
            self.change(op, |op| {
                self.save(op.store()?, &new)?;
                op.pending.add(ns, Some(&new.uuid), Change::Command { command: command.as_doc(), before: None });
                Ok(())
            })
        });
        if let Err(e) = done {
            self.doom(tables_of(&new));
            return Err(e);
        }
        self.publish(new);
        self.doom(tables_of(&old));
        Ok(())
    }
}

/// The oldest record of those that a capped collection of this size would keep.
pub fn first_that_fits(op: &mut OpCx, from: &Storage, to: &Collection) -> Result<RecordId> {
    let Some(capped) = to.storage().and_then(|s| s.capped) else { return Ok(0) };
    let mut reader = op.another();
    let cursor = reader.store()?.open(&from.records)?;
    let (mut bytes, mut count, mut first) = (0, 0, RecordId::MAX);
    while reader.store()?.prev(cursor)? {
        bytes += reader.lent().value(cursor).len() as i64;
        count += 1;
        // The newest stays even when it alone is too large.
        let full = bytes > capped.bytes || capped.documents.is_some_and(|max| count > max);
        if full && count > 1 {
            break;
        }
        first = record_id(reader.lent().key(cursor));
    }
    Ok(first)
}

/// Copies the records from `first` on, in transactions of moderate size.
fn copy(op: &mut OpCx, from: &Storage, first: RecordId, to: &Collection) -> Result<()> {
    const GROUP: i64 = 1000;
    let Some(target) = to.storage() else { return Ok(()) };
    let mut reader = op.another();
    let cursor = reader.store()?.open(&from.records)?;
    let mut writer = op.data.store.session()?;
    writer.begin(smongo_storage::Begin::default())?;
    let (mut count, mut bytes) = (0, 0);
    let mut more = reader.store()?.seek_ge(cursor, &record_key(first))?;
    while more {
        let value = reader.lent().value(cursor);
        writer.insert(&target.records, &record_key(to.state.next_record()), value)?;
        count += 1;
        bytes += value.len() as i64;
        if count % GROUP == 0 {
            writer.commit(Durability::Lazy)?;
            writer.begin(smongo_storage::Begin::default())?;
            op.interrupt()?;
        }
        more = reader.store()?.next(cursor)?;
    }
    writer.commit(Durability::Lazy)?;
    to.state.set(count, bytes);
    Ok(())
}
