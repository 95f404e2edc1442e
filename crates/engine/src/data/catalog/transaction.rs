//! Data definition inside multi-document transactions: what a transaction creates is its own until it commits.
//!
//! The entry in the catalog's table is written in the transaction, so that it goes with it, and so that two transactions which create
//! the same collection conflict in it. Tables cannot be made in a transaction of the storage: they are made beforehand and dropped
//! when the transaction aborts; after a crash they are tables that no entry names, which opening the database drops.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result, Value, bail, err};

use super::{Catalog, Collection, IdIndex};
use super::ddl::{create_command, log_index, tables_of};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// The collections a transaction has created.
#[derive(Default)]
pub struct Created(Vec<Arc<Collection>>);

impl Created {
    pub fn get(&self, ns: &Ns) -> Option<&Arc<Collection>> {
        self.0.iter().find(|coll| coll.ns == *ns)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this very definition is the transaction's.
    pub fn holds(&self, coll: &Arc<Collection>) -> bool {
        self.0.iter().any(|c| Arc::ptr_eq(c, coll))
    }

    fn put(&mut self, coll: Arc<Collection>) {
        self.0.retain(|c| c.ns != coll.ns);
        self.0.push(coll);
    }
}

impl Catalog {
    /// Creates a collection as a part of the operation's transaction.
    pub(super) fn create_within(&self, op: &mut OpCx, ns: &Ns, options: DocBuf, id_index: IdIndex) -> Result<Arc<Collection>> {
        op.enter_gate()?;
        crate::data::namespace::check_case(self, ns.db())?;
        // The snapshot may be from before the entry that is there now.
        if !self.claim(op.store()?, ns)? {
            bail!(WriteConflict, "Collection {ns} was created by another transaction");
        }
        let coll = Arc::new(self.make(ns, options, id_index)?);
        op.created.put(coll.clone());
        self.save(op.store()?, &coll)?;
        create_command(op, &coll);
        Ok(coll)
    }

    /// Creates indexes as a part of the operation's transaction, on a collection that it has created itself and that is empty.
    pub fn create_indexes_within(&self, op: &mut OpCx, ns: &Ns, specs: Vec<DocBuf>) -> Result<()> {
        let Some(coll) = op.created.get(ns).cloned() else {
            bail!(OperationNotSupportedInTransaction, "Cannot create new indexes on existing collection {ns} in a multi-document transaction.")
        };
        let empty = match coll.storage() {
            Some(storage) => op.store()?.largest_key(&storage.records)?.is_none(),
            None => true,
        };
        if !empty {
            bail!(OperationNotSupportedInTransaction, "Cannot create new indexes on non-empty collection {ns} in a multi-document transaction.");
        }
        if coll.indexes.len() + specs.len() > limits::INDEXES_PER_COLLECTION {
            return Err(err!(CannotCreateIndex, "add index fails, too many indexes for {ns} key: {}", specs.first().map_or(Value::Missing, |s| s.get("key"))));
        }
        let mut indexes = coll.indexes.clone();
        for spec in specs {
            indexes.push(Arc::new(self.make_index(spec)?));
        }
        let changed = Arc::new(coll.with_indexes(indexes));
        // Whatever fails from here on aborts the transaction, and with it go the tables of all that it created.
        op.created.put(changed.clone());
        self.save(op.store()?, &changed)?;
        changed.indexes[coll.indexes.len()..].iter().for_each(|index| log_index(op, &changed, index));
        Ok(())
    }

    /// Commits a transaction, and lets others see what it created: nobody finds its documents and not their collection.
    pub fn commit_created(&self, created: Created, commit: impl FnOnce() -> smongo_storage::Result<()>) -> smongo_storage::Result<()> {
        let mut all = self.collections.write();
        if let Err(e) = commit() {
            drop(all);
            self.forget_created(created);
            return Err(e);
        }
        Arc::make_mut(&mut *all).extend(created.0.into_iter().map(|coll| (coll.ns.clone(), coll)));
        Ok(())
    }

    /// Drops the tables of what a transaction created that did not commit.
    pub fn forget_created(&self, created: Created) {
        created.0.iter().for_each(|coll| self.doom(tables_of(coll)));
    }
}
