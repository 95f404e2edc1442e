//! The catalog: which databases, collections and indexes exist, in memory and in the store.
//!
//! Readers see immutable [`Collection`] snapshots; data definition swaps them. Writers hold a collection's lock shared while
//! they write, data definition holds it exclusively, so nobody writes through a snapshot that lacks an index.

mod collection;
mod ddl;
mod index;
mod persist;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use smongo_bson::{Result, err};
use smongo_storage::{Store, Table};

pub use collection::{Collection, Kind, LockGuard, State, Storage, Validator, View};
pub use index::{Index, IndexKind, KeyPart};

use crate::namespace::Ns;

pub struct Catalog {
    store: Store,
    table: Table,
    meta: Table,
    collections: RwLock<BTreeMap<Ns, Arc<Collection>>>,
    /// Data definition happens one at a time.
    ddl: Mutex<()>,
    next_id: AtomicU64,
}

impl Catalog {
    pub fn get(&self, ns: &Ns) -> Option<Arc<Collection>> {
        self.collections.read().get(ns).cloned()
    }

    /// The collection, or NamespaceNotFound.
    pub fn require(&self, ns: &Ns) -> Result<Arc<Collection>> {
        self.get(ns).ok_or_else(|| err!(NamespaceNotFound, "ns does not exist: {ns}"))
    }

    /// The collections of a database, by name.
    pub fn collections(&self, db: &str) -> Vec<Arc<Collection>> {
        let all = self.collections.read();
        all.iter().filter(|(ns, _)| ns.db() == db).map(|(_, c)| c.clone()).collect()
    }

    /// The databases that hold a collection, by name.
    pub fn databases(&self) -> Vec<String> {
        let mut names: Vec<String> = self.collections.read().keys().map(|ns| ns.db().to_owned()).collect();
        names.dedup();
        names
    }

    pub fn all(&self) -> Vec<Arc<Collection>> {
        self.collections.read().values().cloned().collect()
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn publish(&self, collection: Arc<Collection>) {
        self.collections.write().insert(collection.ns.clone(), collection);
    }

    fn retract(&self, ns: &Ns) {
        self.collections.write().remove(ns);
    }
}
