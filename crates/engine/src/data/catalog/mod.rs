//! The catalog: which databases, collections and indexes exist, in memory and in the store.
//!
//! Readers see immutable [`Collection`] snapshots; data definition swaps them. Writers hold a collection's lock shared while
//! they write, data definition holds it exclusively, so nobody writes through a snapshot that lacks an index.

mod adopt;
mod by_id;
mod capped;
mod collection;
mod ddl;
mod index;
mod options;
mod persist;
mod plan_memory;
mod search;
mod special;
mod transaction;
mod unique;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use smongo_bson::{DocBuf, Result, err};
use smongo_storage::{Store, Table};
use uuid::Uuid;

pub use by_id::{find_by_id, point_read};
pub use capped::first_that_fits;
pub use ddl::IdIndex;
pub use collection::{Collection, Kind, LockGuard, State, Storage, TimeSeries, View};
pub use index::{Index, IndexKind, KeyPart, PATH_PART, same_key};
pub use special::{TERM_PART, wildcard_scope};
pub use options::{compact_number, round_up, write_capped};
pub use persist::{COUNTS, own_table};
pub use plan_memory::{IndexFilter, PlanMemory};
pub use search::SearchIndex;
pub use transaction::Created;
pub use views::{NAME as SYSTEM_VIEWS, made_of as made};

use crate::data::namespace::Ns;

/// What exists at one time.
pub type Collections = BTreeMap<Ns, Arc<Collection>>;

pub struct Catalog {
    store: Store,
    table: Table,
    meta: Table,
    /// Copied when it changes while a snapshot of it is held.
    collections: RwLock<Arc<Collections>>,
    /// Data definition happens one at a time.
    ddl: Mutex<()>,
    /// Entries change one at a time where indexes become multikey.
    multikey: Mutex<()>,
    next_id: Mutex<u64>,
    /// Of `local.oplog.rs`, which stands in no entry of the table.
    oplog: Arc<State>,
    /// Grows when the entries of new indexes have been committed.
    generation: AtomicU64,
    /// Collections made of tables that no entry named, as a damaged database was opened.
    adopted: Vec<Ns>,
}

impl Catalog {
    pub fn get(&self, ns: &Ns) -> Option<Arc<Collection>> {
        let found = self.collections.read().get(ns).cloned();
        match found {
            None if ns.coll() == views::NAME => views::collection(self, ns),
            None if ns.is_system() => crate::data::buckets::collection(&self.get(&crate::data::buckets::series_of(ns)?)?),
            found => found,
        }
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

    /// Collections made of tables that no entry named, as a damaged database was opened.
    pub fn adopted(&self) -> &[Ns] {
        &self.adopted
    }

    /// What exists now.
    pub fn snapshot(&self) -> Arc<Collections> {
        self.collections.read().clone()
    }

    /// How many collections and views there are.
    pub fn len(&self) -> usize {
        self.collections.read().len()
    }

    pub fn all(&self) -> Vec<Arc<Collection>> {
        self.collections.read().values().cloned().collect()
    }

    /// Makes the oplog readable as the capped collection `local.oplog.rs`: its keys are timestamps, which serve as record ids.
    /// It is in no entry of the catalog's table, and nothing but the oplog writes to it.
    pub fn publish_oplog(&self, table: &Table, bytes: u64) -> Result<()> {
        let options = DocBuf::build(|w| {
            w.append("capped", true).append("size", bytes as i64).append("autoIndexId", false);
        });
        let state = self.oplog.clone();
        let oplog = persist::define(Ns::unchecked("local", "oplog.rs"), Uuid::nil(), options, Some((0, table.clone())), Vec::new(), Vec::new(), state)?;
        self.publish(Arc::new(oplog));
        Ok(())
    }

    pub fn oplog_state(&self) -> &Arc<State> {
        &self.oplog
    }

    /// To be asked before a snapshot is taken: it then holds all entries of the indexes of this generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn publish(&self, collection: Arc<Collection>) {
        Arc::make_mut(&mut *self.collections.write()).insert(collection.ns.clone(), collection);
    }

    fn retract(&self, ns: &Ns) {
        Arc::make_mut(&mut *self.collections.write()).remove(ns);
    }
}
