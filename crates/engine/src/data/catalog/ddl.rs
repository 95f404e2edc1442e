//! Data definition: creating, dropping and renaming collections, creating and dropping indexes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use smongo_bson::index_keys::Multikey;
use smongo_bson::{Binary, Code, Doc, DocBuf, Result, Value, bail, err};
use smongo_storage::{Table, TableKind};
use uuid::Uuid;

use super::{Catalog, Collection, Index, State};
use super::collection::ExclusiveGuard;
use super::persist::define;
use crate::data::above::Build;
use crate::data::keys::{index_table, records_table};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::op::{OpCx, back_off};
use crate::data::oplog::{Change, uuid_bytes};
use crate::data::write::{Entries, duplicate_key};
use smongo_mql::Host;

/// What `idIndex` of create may choose.
#[derive(Clone, Copy)]
pub struct IdIndex {
    pub version: i32,
}

impl Default for IdIndex {
    fn default() -> IdIndex {
        IdIndex { version: 2 }
    }
}

/// The specification of the index every collection has.
pub(super) fn id_spec(options: Doc<'_>, chosen: IdIndex) -> DocBuf {
    DocBuf::build(|w| {
        match options.get("clusteredIndex").as_doc() {
            Some(clustered) => {
                w.append_all(clustered).append("clustered", true).append("expireAfterSeconds", options.get("expireAfterSeconds"));
            }
            None => {
                w.append("v", chosen.version);
                w.document("key").append("_id", 1);
                w.append("name", "_id_");
            }
        }
        w.append("collation", options.get("collation"));
    })
}

/// The index a time-series collection has from the start: on meta and time, when there is a meta field.
fn series_spec(series: Doc<'_>, collation: Option<Doc<'_>>) -> Option<DocBuf> {
    let (time, meta) = (series.get("timeField").as_str()?, series.get("metaField").as_str()?);
    Some(DocBuf::build(|w| {
        w.append("v", 2);
        w.document("key").append(meta, 1).append(time, 1);
        w.append("name", &*format!("{meta}_1_{time}_1"));
        if let Some(c) = collation {
            w.append("collation", c);
        }
    }))
}

impl Catalog {
    /// Creates a collection with checked, normalised options. Fails with NamespaceExists when the name is taken.
    pub fn create(&self, op: &mut OpCx, ns: &Ns, options: DocBuf, id_index: IdIndex) -> Result<Arc<Collection>> {
        if op.collection(ns)?.is_some() {
            bail!(NamespaceExists, "Collection {ns} already exists.");
        }
        if op.multi {
            return self.create_within(op, ns, options, id_index);
        }
        self.create_alone(op, ns, &options, id_index, true)
    }

    /// The same for a collection of the server's own, of which the oplog does not tell; `false` when it is there already.
    pub fn create_own(&self, op: &mut OpCx, ns: &Ns, options: DocBuf) -> Result<bool> {
        if self.get(ns).is_some() {
            return Ok(false);
        }
        match self.create_alone(op, ns, &options, IdIndex::default(), false) {
            Err(e) if e.code() == Code::NamespaceExists => Ok(false),
            done => done.map(|_| true),
        }
    }

    /// The collection of this name; created with default options when there is none, as a first insert does.
    pub fn get_or_create(&self, op: &mut OpCx, ns: &Ns) -> Result<Arc<Collection>> {
        loop {
            if let Some(coll) = op.collection(ns)? {
                return Ok(coll);
            }
            match self.create(op, ns, DocBuf::new(), IdIndex::default()) {
                Err(e) if e.code() == Code::NamespaceExists => {}
                done => return done,
            }
        }
    }

    /// Creates a collection in a transaction of its own. Waits while another transaction has created one of this name and not ended.
    fn create_alone(&self, op: &mut OpCx, ns: &Ns, options: &DocBuf, id_index: IdIndex, log: bool) -> Result<Arc<Collection>> {
        let (mut made, mut tries) = (None, 0);
        let done = loop {
            let ddl = self.definition(op)?;
            if self.get(ns).is_some() {
                break Err(err!(NamespaceExists, "Collection {ns} already exists."));
            }
            crate::data::namespace::check_case(self, ns.db())?;
            // Before the transaction begins: the storage writes for itself when it makes tables.
            let coll = match made.take() {
                Some(coll) => coll,
                None => Arc::new(self.make(ns, options.clone(), id_index)?),
            };
            let created = self.create_made(op, &coll, log);
            made = Some(coll.clone());
            match created {
                Ok(()) => return Ok(coll),
                Err(e) if e.code() == Code::WriteConflict => drop(ddl),
                Err(e) => break Err(e),
            }
            if let Err(e) = op.interrupt() {
                break Err(e);
            }
            tries += 1;
            back_off(tries);
        };
        made.iter().for_each(|coll| self.doom(tables_of(coll)));
        done
    }

    fn create_made(&self, op: &mut OpCx, coll: &Arc<Collection>, log: bool) -> Result<()> {
        let mut own = op.another();
        if !self.claim(own.store()?, &coll.ns)? {
            // Its creator has committed and publishes it just now.
            bail!(WriteConflict, "Collection {} is being created", coll.ns);
        }
        self.save(own.store()?, coll)?;
        if log {
            create_command(&mut own, coll);
        }
        own.commit()?;
        op.committed |= own.committed;
        self.publish(coll.clone());
        Ok(())
    }

    /// Makes a collection with its tables, which nothing names yet.
    pub(super) fn make(&self, ns: &Ns, options: DocBuf, id_index: IdIndex) -> Result<Collection> {
        let uuid = Uuid::new_v4();
        if options.as_doc().contains("viewOn") {
            return define(ns.clone(), uuid, options, None, Vec::new(), Vec::new(), Arc::default());
        }
        let id = self.new_id()?;
        let records = self.store.create_table(&records_table(id), TableKind::Records)?;
        let spec = match options.get("timeseries").as_doc() {
            Some(series) => series_spec(series, options.get("collation").as_doc()),
            None => Some(id_spec(options.as_doc(), id_index)),
        };
        let mut indexes = Vec::new();
        if let Some(spec) = spec {
            indexes.push(Arc::new(self.make_index(spec)?));
        }
        define(ns.clone(), uuid, options, Some((id, records)), indexes, Vec::new(), Arc::new(State::new(0, 0, 0)))
    }

    /// Makes an index with its table, which nothing names yet.
    pub(super) fn make_index(&self, spec: DocBuf) -> Result<Index> {
        let id = self.new_id()?;
        let table = self.store.create_table(&index_table(id), TableKind::Index)?;
        Index::from_spec(id, spec, table, Multikey::default())
    }

    /// Runs a change of the catalog as a transaction of its own, also when the operation is inside a multi-document transaction.
    pub(super) fn change<T>(&self, op: &mut OpCx, mut change: impl FnMut(&mut OpCx) -> Result<T>) -> Result<T> {
        if !op.multi && !op.is_active() {
            return op.write(change);
        }
        let mut own = op.another();
        let done = own.write(&mut change);
        op.committed |= own.committed;
        done
    }

    /// Data definition happens one at a time. A transaction does not wait for it: what it waits for may itself wait for the
    /// transaction's locks.
    pub(super) fn definition(&self, op: &mut OpCx) -> Result<MutexGuard<'_, ()>> {
        op.enter_gate()?;
        // However long a transaction may wait for other locks.
        let mut patience = op.patience().at_most(op.multi.then_some(limits::TRANSACTION_LOCK_WAIT));
        loop {
            if let Some(guard) = self.ddl.try_lock_for(patience.step()) {
                return Ok(guard);
            }
            patience.check("the catalog")?;
            op.interrupt()?;
        }
    }

    /// Takes a collection for data definition alone: waits until no writer is in it.
    pub(super) fn exclusive(&self, op: &mut OpCx, coll: &Collection) -> Result<ExclusiveGuard> {
        // Nothing could be written any more.
        if Arc::ptr_eq(&coll.state, self.oplog_state()) {
            bail!(IllegalOperation, "can't drop or redefine the live oplog {}", coll.ns);
        }
        loop {
            if let Some(guard) = coll.state.lock.try_write_arc_for(limits::LOCK_POLL) {
                return Ok(guard);
            }
            if op.multi {
                return Err(err!(LockTimeout, "Unable to acquire exclusive lock on '{}'", coll.ns).with_label("TransientTransactionError"));
            }
            op.interrupt()?;
        }
    }

    /// Counts a collection's documents and bytes, which are not known after a crash. Writers wait meanwhile.
    pub fn recount(&self, op: &mut OpCx, coll: &Arc<Collection>) -> Result<()> {
        let Some(storage) = coll.storage() else { return Ok(()) };
        if Arc::ptr_eq(&coll.state, self.oplog_state()) {
            // Its writers lock no collection.
            let data = op.data.clone();
            return crate::data::oplog::count(&data, || op.interrupt());
        }
        let _alone = self.exclusive(op, coll)?;
        let mut reader = op.another();
        let cursor = reader.store()?.open(&storage.records)?;
        let (mut documents, mut bytes) = (0, 0);
        while reader.store()?.next(cursor)? {
            documents += 1;
            bytes += reader.lent().value(cursor).len() as i64;
            if documents % 1024 == 0 {
                op.interrupt()?;
            }
        }
        coll.state.set(documents, bytes);
        Ok(())
    }

    /// Drops a collection or view; `false` when there is none.
    pub fn drop_collection(&self, op: &mut OpCx, ns: &Ns) -> Result<bool> {
        let _ddl = self.definition(op)?;
        self.drop_locked(op, ns, true)
    }

    fn drop_locked(&self, op: &mut OpCx, ns: &Ns, log: bool) -> Result<bool> {
        let Some(coll) = self.get(ns) else { return Ok(false) };
        let _alone = self.exclusive(op, &coll)?;
        let command = DocBuf::build(|w| {
            w.append("drop", ns.coll());
        });
        self.change(op, |op| {
            self.erase(op.store()?, ns)?;
            if log {
                op.pending.add(ns, logged_uuid(&coll), Change::Command { command: command.as_doc(), before: None });
            }
            Ok(())
        })?;
        self.retract(ns);
        self.doom(tables_of(&coll));
        Ok(true)
    }

    /// Drops all collections of a database, views first.
    pub fn drop_database(&self, op: &mut OpCx, db: &str) -> Result<()> {
        let _ddl = self.definition(op)?;
        let mut collections = self.collections(db);
        collections.sort_by_key(|c| c.storage().is_some());
        for coll in &collections {
            self.drop_locked(op, &coll.ns, true)?;
        }
        if !collections.is_empty() {
            let command = DocBuf::build(|w| {
                w.append("dropDatabase", 1);
            });
            self.change(op, |op| {
                op.store()?;
                op.pending.add(&Ns::unchecked(db, ""), None, Change::Command { command: command.as_doc(), before: None });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Renames a collection, within or across databases; the documents stay where they are.
    pub fn rename(&self, op: &mut OpCx, from: &Ns, to: &Ns, drop_target: bool) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.get(from).ok_or_else(|| err!(NamespaceNotFound, "Source collection {from} does not exist"))?;
        if coll.view().is_some() {
            bail!(CommandNotSupportedOnView, "cannot rename view: {from}");
        }
        if let Some(target) = self.get(to) {
            if !drop_target {
                bail!(NamespaceExists, "target namespace exists");
            }
            // `$out` makes a time-series collection anew; the command renames none.
            if target.view().is_some() || target.timeseries.is_some() != coll.timeseries.is_some() {
                bail!(NamespaceExists, "cannot rename to view: {to}");
            }
        }
        let _alone = self.exclusive(op, &coll)?;
        let target = self.get(to);
        let _alone_there = target.as_ref().map(|t| self.exclusive(op, t)).transpose()?;
        let renamed = Arc::new(coll.with_name(to.clone()));
        let command = DocBuf::build(|w| {
            w.append("renameCollection", from.as_str()).append("to", to.as_str());
            match &target {
                Some(t) => w.append("dropTarget", Value::Binary(Binary::from_raw(&uuid_bytes(&t.uuid)))),
                None => w.append("dropTarget", false),
            };
        });
        self.change(op, |op| {
            self.erase(op.store()?, from)?;
            if target.is_none() && !self.claim(op.store()?, to)? {
                bail!(WriteConflict, "Collection {to} is being created");
            }
            self.save(op.store()?, &renamed)?;
            op.pending.add(from, Some(&coll.uuid), Change::Command { command: command.as_doc(), before: None });
            Ok(())
        })?;
        {
            let mut all = self.collections.write();
            let all = Arc::make_mut(&mut *all);
            all.remove(from);
            all.insert(to.clone(), renamed);
        }
        if let Some(t) = target {
            self.doom(tables_of(&t));
        }
        Ok(())
    }

    /// Replaces a collection's options (collMod).
    pub fn set_options(&self, op: &mut OpCx, ns: &Ns, options: DocBuf, command: Doc<'_>) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let records = coll.storage().map(|s| (s.id, s.records.clone()));
        let changed = Arc::new(define(ns.clone(), coll.uuid, options, records, coll.indexes.clone(), coll.search.clone(), coll.state.clone())?);
        self.replace(op, &coll, &changed, Some(command))
    }

    /// Replaces one index's specification (collMod: `hidden`, `expireAfterSeconds`, `unique`).
    pub fn set_index_spec(&self, op: &mut OpCx, ns: &Ns, name: &str, spec: DocBuf, command: Doc<'_>) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let mut indexes = coll.indexes.clone();
        for index in &mut indexes {
            if index.name == name {
                *index = Arc::new(index.with_spec(spec.clone())?);
            }
        }
        self.replace(op, &coll, &Arc::new(coll.with_indexes(indexes)), Some(command))
    }

    /// Replaces the options of a clustered collection and with them when its documents expire.
    pub fn set_clustered_options(&self, op: &mut OpCx, ns: &Ns, options: DocBuf, command: Doc<'_>) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let records = coll.storage().map(|s| (s.id, s.records.clone()));
        let mut indexes = coll.indexes.clone();
        if let Some(index) = indexes.first_mut() {
            *index = Arc::new(index.with_spec(id_spec(options.as_doc(), IdIndex::default()))?);
        }
        self.replace(op, &coll, &Arc::new(define(ns.clone(), coll.uuid, options, records, indexes, coll.search.clone(), coll.state.clone())?), Some(command))
    }

    pub(super) fn replace(&self, op: &mut OpCx, old: &Collection, changed: &Arc<Collection>, command: Option<Doc<'_>>) -> Result<()> {
        let before = DocBuf::build(|w| {
            w.append("collectionOptions_old", old.options());
        });
        self.change(op, |op| {
            self.save(op.store()?, changed)?;
            if let Some(command) = command {
                op.pending.add(&changed.ns, Some(&changed.uuid), Change::Command { command, before: Some(before.as_doc()) });
            }
            Ok(())
        })?;
        self.publish(changed.clone());
        Ok(())
    }

    /// Builds indexes of checked, normalised specifications over what the collection holds. All of them or none.
    pub fn create_indexes(&self, op: &mut OpCx, ns: &Ns, specs: Vec<DocBuf>) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        if coll.indexes.len() + specs.len() > limits::INDEXES_PER_COLLECTION {
            bail!(CannotCreateIndex, "add index fails, too many indexes for {ns} key: {}", specs.first().map_or(Value::Missing, |s| s.get("key")));
        }
        let _alone = self.exclusive(op, &coll)?;
        op.index_build(ns, &specs, Build::Started)?;
        let mut built = Vec::new();
        let done = self.build_all(op, &coll, &specs, &mut built);
        if done.is_err() {
            self.doom(built.iter().map(|i: &Arc<Index>| i.table.clone()));
            op.index_build(ns, &specs, Build::Aborted)?;
        }
        done
    }

    /// Builds indexes and publishes them; `built` are those whose tables are there, also when it fails.
    fn build_all(&self, op: &mut OpCx, coll: &Arc<Collection>, specs: &[DocBuf], built: &mut Vec<Arc<Index>>) -> Result<()> {
        for spec in specs {
            let index = Arc::new(self.make_index(spec.clone())?);
            built.push(index.clone());
            build(op, coll, &index).map_err(|e| e.context(format!("Index build failed: {}: Collection {} ( {} )", Uuid::new_v4(), coll.ns, coll.uuid)))?;
        }
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        built.iter().for_each(|index| index.completed(generation));
        let mut indexes = coll.indexes.clone();
        indexes.extend(built.iter().cloned());
        let changed = Arc::new(coll.with_indexes(indexes));
        self.change(op, |op| {
            self.save(op.store()?, &changed)?;
            built.iter().for_each(|index| log_index(op, coll, index));
            Ok(())
        })?;
        self.publish(changed);
        Ok(())
    }

    /// Drops indexes by name; they must exist.
    pub fn drop_indexes(&self, op: &mut OpCx, ns: &Ns, names: &[String]) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let (gone, kept): (Vec<_>, Vec<_>) = coll.indexes.iter().cloned().partition(|i| names.contains(&i.name));
        let changed = Arc::new(coll.with_indexes(kept));
        self.change(op, |op| {
            op.store()?.write_though_full();
            self.save(op.store()?, &changed)?;
            for index in &gone {
                let command = DocBuf::build(|w| {
                    w.append("dropIndexes", ns.coll()).append("index", &*index.name);
                });
                op.pending.add(ns, Some(&coll.uuid), Change::Command { command: command.as_doc(), before: Some(index.spec.as_doc()) });
            }
            Ok(())
        })?;
        self.publish(changed);
        gone.iter().for_each(|index| index.set_dropped());
        self.doom(gone.iter().map(|i| i.table.clone()));
        Ok(())
    }

    /// Drops tables nobody can reach any more. One that a running operation still reads stays until a later try.
    pub(super) fn doom(&self, tables: impl Iterator<Item = Table>) {
        for table in tables {
            if let Err(e) = self.store.drop_table_later(&table) {
                tracing::warn!("dropping the table {}: {e}", table.name());
            }
        }
    }
}

/// Tells the oplog of a new collection.
pub(super) fn create_command(op: &mut OpCx, coll: &Collection) {
    let command = DocBuf::build(|w| {
        w.append("create", coll.ns.coll()).append_all(coll.options());
        w.append("idIndex", coll.id_index_spec());
    });
    op.pending.add(&coll.ns, logged_uuid(coll), Change::Command { command: command.as_doc(), before: None });
}

/// Tells the oplog of a new index.
pub(super) fn log_index(op: &mut OpCx, coll: &Collection, index: &Index) {
    let command = DocBuf::build(|w| {
        w.append("createIndexes", coll.ns.coll()).append_all(index.spec.as_doc());
    });
    op.pending.add(&coll.ns, Some(&coll.uuid), Change::Command { command: command.as_doc(), before: None });
}

/// Views have none as far as the oplog is concerned: it tells them from collections by that.
fn logged_uuid(coll: &Collection) -> Option<&Uuid> {
    coll.view().is_none().then_some(&coll.uuid)
}

pub(super) fn tables_of(coll: &Collection) -> impl Iterator<Item = Table> {
    let records = coll.storage().map(|s| s.records.clone());
    records.into_iter().chain(coll.indexes.iter().map(|i| i.table.clone()))
}

/// Fills an index from the collection's documents, in transactions of moderate size.
pub(super) fn build(op: &mut OpCx, coll: &Arc<Collection>, index: &Arc<Index>) -> Result<()> {
    const GROUP: usize = 1000;
    let Some(storage) = coll.storage() else { bail!(CommandNotSupportedOnView, "Cannot create indexes on a view: {}", coll.ns) };
    let mut reader = op.another();
    let cursor = reader.store()?.open(&storage.records)?;
    let mut writer = op.data.store.session()?;
    writer.begin(smongo_storage::Begin::default())?;
    let (mut entries, mut count) = (Entries::default(), 0);
    while reader.store()?.next(cursor)? {
        let lent = reader.lent();
        let (id, doc) = (crate::data::keys::record_id(lent.key(cursor)), Doc::from_checked(lent.value(cursor)));
        index.set_multikey(&entries.of_new(index, doc, id)?);
        for (key, value) in entries.iter() {
            if index.record_id_in_key() {
                writer.insert(&index.table, key, value)?;
            } else if !writer.insert_new(&index.table, key, value)? {
                return Err(duplicate_key(coll, index, key));
            }
        }
        count += 1;
        if count % GROUP == 0 {
            writer.commit(smongo_storage::Durability::Lazy)?;
            writer.begin(smongo_storage::Begin::default())?;
            op.interrupt()?;
        }
    }
    writer.commit(smongo_storage::Durability::Lazy)?;
    Ok(())
}

