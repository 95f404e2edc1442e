//! The catalog in the store: reading it when a database is opened, writing entries.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use smongo_bson::index_keys::Multikey;
use smongo_bson::{Doc, DocBuf, Result, Value, bail, err, number};
use smongo_mql::collation::Collation;
use smongo_mql::{CompileCx, Matcher};
use smongo_storage::{Begin, Durability, ErrorKind, Session, Store, Table, TableKind};
use uuid::Uuid;

use super::search::{self, SearchIndex};
use super::{Catalog, Collection, Index, Kind, State, View};
use super::collection::{Capped, Storage, TimeSeries, Validator};
use crate::data::keys::{CATALOG, META, index_table, record_id, records_table};
use crate::data::namespace::Ns;

/// Under which name the counts of documents are kept from a clean close to the next opening.
pub const COUNTS: &[u8] = b"counts";
const NEXT_ID: &[u8] = b"next_id";
/// The oplog among the counts: entries, bytes, the timestamps of the first and the last entry.
const OPLOG_COUNT: &str = "oplog";

impl Catalog {
    /// Reads the catalog of a store; tables it does not name are left over from a crash and are dropped. Nothing is written before
    /// all of it has been read.
    pub fn open(store: &Store) -> Result<Catalog> {
        let table = own_table(store, CATALOG, TableKind::Records)?;
        let meta = own_table(store, META, TableKind::Records)?;
        let mut session = store.session()?;
        let counts = session.get(&meta, COUNTS)?.map(|b| DocBuf::from_checked(b.to_vec())).unwrap_or_default();
        let mut next_id = session.get(&meta, NEXT_ID)?.and_then(|b| b.first_chunk::<8>().copied()).map_or(1, u64::from_be_bytes);
        let entries = entries(&mut session, &table)?;
        let mut collections = BTreeMap::new();
        let mut known: HashSet<String> = [CATALOG, META, crate::data::keys::OPLOG, crate::data::keys::PREIMAGES, crate::data::keys::SESSIONS].map(str::to_owned).into();
        for entry in &entries {
            let coll = read_entry(store, &mut session, entry.as_doc(), counts.as_doc())?;
            known.extend(coll.storage().map(|s| records_table(s.id)));
            known.extend(coll.indexes.iter().map(|i| index_table(i.id)));
            collections.insert(coll.ns.clone(), Arc::new(coll));
        }
        let orphans: Vec<String> = store.list_tables()?.into_iter().filter(|t| !known.contains(t)).collect();
        if entries.is_empty() && !store.options().repair {
            refuse_to_lose(store, &mut session, &orphans)?;
        }
        // From here on the counts on disk are out of date; a clean close writes them again.
        session.begin(Begin::default())?;
        session.write_though_full();
        session.remove(&meta, COUNTS)?;
        session.commit(Durability::Lazy)?;
        let tables = orphans.iter().filter(|name| is_numbered(name));
        // A table that is left over must not be taken for a new one of its number.
        next_id = next_id.max(store.list_tables()?.iter().filter(|t| is_numbered(t)).map(|t| number_of(t) + 1).max().unwrap_or(0));
        let (kept, gone): (Vec<_>, Vec<_>) = tables.partition(|name| store.options().repair && name.starts_with('c'));
        for orphan in gone {
            if let Some(table) = store.table(orphan)?
                && let Err(e) = store.drop_table(&table)
            {
                tracing::warn!("dropping the left-over table {orphan}: {e}");
            }
        }
        let mut catalog = Catalog {
            store: store.clone(),
            table,
            meta,
            collections: RwLock::new(Arc::new(collections)),
            ddl: Mutex::new(()),
            multikey: Mutex::new(()),
            oplog: Arc::new(oplog_state(&mut session, store, counts.as_doc())?),
            next_id: Mutex::new(next_id),
            generation: AtomicU64::new(0),
            adopted: Vec::new(),
        };
        catalog.adopt(&mut session, &kept)?;
        Ok(catalog)
    }

    /// Whether a table bears a name that those of every database have.
    pub fn is_table_of_ours(name: &str) -> bool {
        is_numbered(name) || [CATALOG, META, crate::data::keys::OPLOG, crate::data::keys::PREIMAGES, crate::data::keys::SESSIONS].contains(&name)
    }

    /// A collection as its entry says.
    pub fn read(store: &Store, session: &mut Session, entry: Doc<'_>) -> Result<Collection> {
        read_entry(store, session, entry, Doc::EMPTY)
    }

    /// Writes a collection's entry, in the session's transaction.
    pub fn save(&self, session: &mut Session, coll: &Collection) -> Result<()> {
        Ok(session.insert(&self.table, coll.ns.as_str().as_bytes(), write_entry(coll, None).as_bytes())?)
    }

    /// Makes an index multikey where a document holds arrays: in the store, in a transaction of its own, and then in memory. The
    /// caller holds the collection's lock shared, so that its entry changes in no other way meanwhile.
    pub fn save_multikey(&self, coll: &Collection, index: &Index, more: &Multikey) -> Result<()> {
        let _one_at_a_time = self.multikey.lock();
        let mut grown = index.multikey();
        if !grown.merge(more) {
            return Ok(());
        }
        let mut session = self.store.session()?;
        session.begin(Begin::default())?;
        session.insert(&self.table, coll.ns.as_str().as_bytes(), write_entry(coll, Some((index.id, &grown))).as_bytes())?;
        session.commit(Durability::Lazy)?;
        index.set_multikey(more);
        Ok(())
    }

    /// Takes a name for a new collection, in the session's transaction: `false` when it has an entry already. Another transaction
    /// that has taken it and not committed yet is a write conflict. [`Catalog::save`] makes the claim good.
    pub(super) fn claim(&self, session: &mut Session, ns: &Ns) -> Result<bool> {
        Ok(session.insert_new(&self.table, ns.as_str().as_bytes(), DocBuf::new().as_bytes())?)
    }

    /// The number of a new table. It is written at once, in a transaction of its own, so that transactions that create something
    /// do not meet in it.
    pub(super) fn new_id(&self) -> Result<u64> {
        let mut next = self.next_id.lock();
        let mut session = self.store.session()?;
        session.insert(&self.meta, NEXT_ID, &(*next + 1).to_be_bytes())?;
        *next += 1;
        Ok(*next - 1)
    }

    /// Writes a value under a name of the store's own, in the session's transaction.
    pub fn save_meta(&self, session: &mut Session, name: &[u8], value: &[u8]) -> Result<()> {
        Ok(session.insert(&self.meta, name, value)?)
    }

    pub fn meta(&self, session: &mut Session, name: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(session.get(&self.meta, name)?.map(<[u8]>::to_vec))
    }

    /// Removes a collection's entry, in the session's transaction.
    pub fn erase(&self, session: &mut Session, ns: &Ns) -> Result<()> {
        session.write_though_full();
        session.remove(&self.table, ns.as_str().as_bytes())?;
        Ok(())
    }

    /// Writes the counts of documents, at a clean close.
    pub fn save_counts(&self) -> Result<()> {
        let mut session = self.store.session()?;
        let ends = oplog_ends(&mut session, &self.store)?;
        let counts = DocBuf::build(|w| {
            if let Some(n) = self.oplog.known_documents() {
                let mut count = w.array(OPLOG_COUNT);
                count.push(n).push(self.oplog.bytes.load(Ordering::Relaxed)).push(ends.0 as i64).push(ends.1 as i64);
            }
            // The oplog has no entry in the catalog and the number of none.
            for coll in self.all().iter().filter(|coll| coll.storage().is_some_and(|s| s.id > 0)) {
                if let (Some(storage), Some(n)) = (coll.storage(), coll.state.known_documents()) {
                    let mut pair = w.array(&storage.id.to_string());
                    pair.push(n).push(coll.state.bytes.load(Ordering::Relaxed));
                }
            }
        });
        session.begin(Begin::default())?;
        session.write_though_full();
        session.insert(&self.meta, COUNTS, counts.as_bytes())?;
        session.commit(Durability::Lazy)?;
        Ok(())
    }
}

/// A table that every database has. Only what is new may lack it, or of a version that did not have it yet.
pub fn own_table(store: &Store, name: &str, kind: TableKind) -> Result<Table> {
    if store.path().is_none() || store.is_new() || (store.is_unmarked() && name != CATALOG && name != META) {
        return Ok(store.create_table(name, kind)?);
    }
    store.table(name)?.ok_or_else(|| err!(UnsupportedFormat, "the database is damaged: its metadata does not know the table {name}, which every database has; `smongo repair` opens it"))
}

/// The entries of the catalog's table, checked.
pub fn entries(session: &mut Session, table: &Table) -> Result<Vec<DocBuf>> {
    let mut entries = Vec::new();
    session.begin(Begin::default())?;
    let cursor = session.open(table)?;
    while session.next(cursor)? {
        let bytes = session.value(cursor);
        if let Err(e) = smongo_bson::check::document(bytes) {
            bail!(UnsupportedFormat, "the catalog's entry of {} is no document: {e}", String::from_utf8_lossy(session.key(cursor)));
        }
        entries.push(DocBuf::from_checked(bytes.to_vec()));
    }
    session.release(cursor);
    session.rollback()?;
    Ok(entries)
}

/// A catalog that names nothing is that of a database whose creation was cut off, which holds nothing either.
fn refuse_to_lose(store: &Store, session: &mut Session, orphans: &[String]) -> Result<()> {
    for name in orphans.iter().filter(|name| name.starts_with('c')) {
        if let Some(table) = store.table(name)?
            && session.largest_key(&table)?.is_some()
        {
            bail!(UnsupportedFormat, "the database is damaged: its catalog is empty, but the table {name} holds documents; `smongo repair` finds them again");
        }
    }
    Ok(())
}

/// Whether a table is one of a collection's or an index's.
fn is_numbered(table: &str) -> bool {
    table.strip_prefix(['c', 'i']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The timestamps of the first and the last entry of the oplog.
fn oplog_ends(session: &mut Session, store: &Store) -> Result<(u64, u64)> {
    let Some(oplog) = store.table(crate::data::keys::OPLOG)? else { return Ok((0, 0)) };
    session.begin(Begin { read_only: true })?;
    let cursor = session.open(&oplog)?;
    let at = |session: &Session| session.key(cursor).first_chunk::<8>().map_or(0, |key| u64::from_be_bytes(*key));
    let first = if session.next(cursor)? { at(session) } else { 0 };
    session.reset(cursor)?;
    let last = if session.prev(cursor)? { at(session) } else { 0 };
    session.release(cursor);
    session.rollback()?;
    Ok((first, last))
}

/// What the last clean close knew of the oplog, if it is still so.
fn oplog_state(session: &mut Session, store: &Store, counts: Doc<'_>) -> Result<State> {
    let saved = counts.get(OPLOG_COUNT).as_array();
    let saved = |n: usize| saved.and_then(|a| number::to_i64_exact(a.get(n)));
    let ends = oplog_ends(session, store)?;
    Ok(match (saved(0), saved(1), saved(2), saved(3)) {
        (Some(entries), Some(bytes), Some(first), Some(last)) if (first as u64, last as u64) == ends => State::new(0, entries, bytes),
        _ => State::new(0, State::UNKNOWN, 0),
    })
}

/// The number that a collection's or an index's table ends with.
pub(super) fn number_of(table: &str) -> u64 {
    table.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn open_table(store: &Store, name: &str) -> Result<Table> {
    store.table(name)?.ok_or_else(|| err!(UnsupportedFormat, "the catalog names the table {name}, which does not exist"))
}

/// The entry of a collection; `grown` is what an index is about to be.
fn write_entry(coll: &Collection, grown: Option<(u64, &Multikey)>) -> DocBuf {
    DocBuf::build(|w| {
        w.append("ns", coll.ns.as_str()).append("uuid", &*coll.uuid.to_string());
        w.append("options", coll.options());
        match &coll.kind {
            Kind::View(_) => {
                w.append("type", "view");
            }
            Kind::Collection(storage) => {
                w.append("type", "collection").append("id", storage.id as i64);
                if !coll.search.is_empty() {
                    w.append("search", search::write(&coll.search).view());
                }
                let mut indexes = w.array("indexes");
                for index in &coll.indexes {
                    let mut w = indexes.document();
                    w.append("id", index.id as i64).append("spec", index.spec.as_doc());
                    let mut masks = w.array("multikey");
                    let known = index.multikey();
                    let multikey = grown.filter(|(id, _)| *id == index.id).map_or(&known, |(_, grown)| grown);
                    multikey.masks().iter().for_each(|mask| {
                        masks.push(*mask as i64);
                    });
                }
            }
        }
    })
}

fn read_entry(store: &Store, session: &mut Session, entry: Doc<'_>, counts: Doc<'_>) -> Result<Collection> {
    let damaged = || err!(UnsupportedFormat, "the catalog holds a damaged entry: {entry:?}");
    let ns = Ns::parse(entry.get("ns").as_str().ok_or_else(damaged)?)?;
    let uuid = entry.get("uuid").as_str().and_then(|s| Uuid::parse_str(s).ok()).ok_or_else(damaged)?;
    let options = DocBuf::from(entry.get("options").as_doc().ok_or_else(damaged)?);
    let id = |v: Value<'_>| number::to_i64_exact(v).map(|n| n as u64);
    if entry.get("type").as_str() == Some("view") {
        return define(ns, uuid, options, None, Vec::new(), Vec::new(), Arc::default());
    }
    let coll_id = id(entry.get("id")).ok_or_else(damaged)?;
    let records = open_table(store, &records_table(coll_id))?;
    let mut indexes = Vec::new();
    for spec in entry.get("indexes").as_array().ok_or_else(damaged)?.iter().filter_map(|v| v.as_doc()) {
        let index_id = id(spec.get("id")).ok_or_else(damaged)?;
        let masks: Vec<u64> = spec.get("multikey").as_array().into_iter().flat_map(|a| a.iter().filter_map(id)).collect();
        let definition = DocBuf::from(spec.get("spec").as_doc().ok_or_else(damaged)?);
        indexes.push(Arc::new(Index::from_spec(index_id, definition, open_table(store, &index_table(index_id))?, Multikey::from_masks(&masks))?));
    }
    let last = session.largest_key(&records);
    let pair = counts.get(&coll_id.to_string()).as_array();
    let count = |n: usize| pair.and_then(|a| number::to_i64_exact(a.get(n)));
    let state = State::new(last.as_ref().map_or(0, |k| k.as_deref().map_or(0, record_id)), count(0).unwrap_or(State::UNKNOWN), count(1).unwrap_or(0));
    match last {
        // The others are sound.
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            let damage = crate::data::damage::of_collection(&ns, e.message());
            tracing::error!("{damage}");
            let _ = state.damage.set(damage);
        }
        last => drop(last?),
    }
    define(ns, uuid, options, Some((coll_id, records)), indexes, search::read(entry)?, Arc::new(state))
}

/// Makes a collection of its stored definition: compiles what its options mean.
pub(super) fn define(
    ns: Ns,
    uuid: Uuid,
    options: DocBuf,
    records: Option<(u64, smongo_storage::Table)>,
    indexes: Vec<Arc<Index>>,
    search: Vec<Arc<SearchIndex>>,
    state: Arc<State>,
) -> Result<Collection> {
    let collation = match options.get("collation") {
        Value::Document(spec) => Collation::parse(spec)?.map(Arc::new),
        _ => None,
    };
    let validator = match options.get("validator") {
        Value::Document(filter) if !filter.is_empty() => Some(Validator {
            matcher: Arc::new(Matcher::compile(filter, &CompileCx { collation: collation.clone(), ..CompileCx::of_running() })?),
            moderate: options.get("validationLevel").as_str() == Some("moderate"),
            off: options.get("validationLevel").as_str() == Some("off"),
            warn_only: options.get("validationAction").as_str() == Some("warn"),
        }),
        _ => None,
    };
    let kind = match records {
        Some((id, records)) => {
            let capped = options.get("capped").truthy().then(|| Capped {
                bytes: number::to_f64(options.get("size")).unwrap_or(0.0) as i64,
                documents: number::to_f64(options.get("max")).map(|n| n as i64).filter(|n| *n > 0),
            });
            Kind::Collection(Storage { id, records, capped })
        }
        None => Kind::View(View {
            on: options.get("viewOn").as_str().unwrap_or_default().to_owned(),
            pipeline: options.get("pipeline").as_array().into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc()).map(DocBuf::from)).collect(),
            buckets_of: None,
            made: None,
        }),
    };
    let pre_images = options.get("changeStreamPreAndPostImages").as_doc().is_some_and(|d| d.get("enabled").truthy());
    let timeseries = options.get("timeseries").as_doc().map(|spec| TimeSeries {
        time: spec.get("timeField").as_str().unwrap_or_default().to_owned(),
        meta: spec.get("metaField").as_str().map(str::to_owned),
        expire_after: number::to_i64_exact(options.get("expireAfterSeconds")),
    });
    Ok(Collection { ns, uuid, kind, options, collation, validator, pre_images, timeseries, indexes, search, state })
}
