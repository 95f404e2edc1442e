//! Building an index anew: to make it unique (collMod), or because it is damaged (validate).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smongo_bson::index_keys::Multikey;
use smongo_bson::{Doc, DocBuf, Result, Value, ValueBuf, err};
use smongo_storage::TableKind;

use super::{Catalog, Collection, Index};
use super::ddl::build;
use crate::data::keys::{index_table, record_key, trailing_record_id};
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use smongo_mql::Host;

/// Groups of documents an error names at most.
const VIOLATIONS: usize = 1000;

impl Catalog {
    /// Converts an index to a unique one; fails, with the documents that are in the way, when a key is there twice. A dry
    /// run only looks. Entries of unique indexes are laid out otherwise, so the index is built anew.
    pub fn make_unique(&self, op: &mut OpCx, ns: &Ns, name: &str, dry_run: bool, command: Doc<'_>) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let old = coll.index(name).ok_or_else(|| err!(IndexNotFound, "cannot find index {name} for ns {ns}"))?;
        let violations = duplicates(op, &coll, old)?;
        if !violations.is_empty() {
            let info = DocBuf::build(|w| {
                let mut list = w.array("violations");
                for ids in &violations {
                    let mut group = list.document();
                    let mut all = group.array("ids");
                    for id in ids {
                        all.push(id.view());
                    }
                }
            });
            return Err(err!(CannotConvertIndexToUnique, "Cannot convert the index to unique. Please resolve conflicting documents before running collMod again.").with_info(info));
        }
        if dry_run {
            return Ok(());
        }
        self.build_anew(op, &coll, old, unique_spec(old), Some(command))
    }

    /// Builds an index anew that does not say what the records say (validate: `repair`).
    pub fn rebuild_index(&self, op: &mut OpCx, ns: &Ns, name: &str) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let old = coll.index(name).ok_or_else(|| err!(IndexNotFound, "cannot find index {name} for ns {ns}"))?;
        self.build_anew(op, &coll, old, old.spec.clone(), None)
    }

    /// Puts an index built from the records in the place of another. Without a command the oplog has nothing to tell.
    fn build_anew(&self, op: &mut OpCx, coll: &Arc<Collection>, old: &Index, spec: DocBuf, command: Option<Doc<'_>>) -> Result<()> {
        let id = self.new_id()?;
        let table = self.store.create_table(&index_table(id), TableKind::Index)?;
        let new = Arc::new(Index::from_spec(id, spec, table, Multikey::default())?);
        let indexes = coll.indexes.iter().map(|i| if i.name == old.name { new.clone() } else { i.clone() }).collect();
        let changed = Arc::new(coll.with_indexes(indexes));
        let done = build(op, coll, &new).and_then(|()| {
            new.completed(self.generation.fetch_add(1, Ordering::AcqRel) + 1);
            self.replace(op, coll, &changed, command)
        });
        let gone = if done.is_ok() { &old.table } else { &new.table };
        self.doom(std::iter::once(gone.clone()));
        done
    }
}

fn unique_spec(index: &Index) -> DocBuf {
    DocBuf::build(|w| {
        for e in index.spec.as_doc() {
            if e.name() != "prepareUnique" {
                w.append_element(&e);
            }
            if e.name() == "name" {
                w.append("unique", true);
            }
        }
    })
}

/// The `_id`s of documents that share a key, key by key.
fn duplicates(op: &mut OpCx, coll: &Collection, index: &Index) -> Result<Vec<Vec<ValueBuf>>> {
    let Some(storage) = coll.storage() else { return Ok(Vec::new()) };
    let mut reader = op.another();
    let cursor = reader.store()?.open(&index.table)?;
    let (mut groups, mut group, mut last) = (Vec::new(), Vec::new(), Vec::new());
    while groups.len() < VIOLATIONS && reader.store()?.next(cursor)? {
        let key = reader.lent().key(cursor);
        let id = trailing_record_id(key);
        let bare = &key[..key.len().saturating_sub(8)];
        if bare != last.as_slice() {
            keep(&mut groups, &mut group);
            last = bare.to_vec();
        }
        group.push(id);
        op.interrupt()?;
    }
    keep(&mut groups, &mut group);
    let mut named = Vec::new();
    for ids in groups {
        let mut names = Vec::new();
        for id in ids {
            let found = reader.store()?.get(&storage.records, &record_key(id))?;
            names.push(found.map_or(ValueBuf::new(Value::Null), |bytes| ValueBuf::new(Doc::from_checked(bytes).get("_id"))));
        }
        named.push(names);
    }
    Ok(named)
}

/// Moves a group that is complete to the others, if it has more than one member.
fn keep(groups: &mut Vec<Vec<i64>>, group: &mut Vec<i64>) {
    let done = std::mem::take(group);
    if done.len() > 1 {
        groups.push(done);
    }
}
