//! Making a database of a damaged one: what can be read is kept, what is lost is told.
//!
//! The storage opens without what it cannot read of the journal. Every table's file is checked: of documents' tables what can be
//! read is saved, indexes' tables are emptied, and both are compared, collection by collection, as the command validate does, which
//! builds indexes anew. Documents whose collection the catalog does not name any more come into collections of the database `local`.
//! The directory is marked as being repaired meanwhile. Damaged files are copied aside before they are changed.

use std::collections::HashSet;

use smongo_bson::{Doc, DocBuf, Result, Value, err};
use smongo_storage::{Begin, Durability, ErrorKind, Session, Store, Table, TableKind};

use crate::{Client, Engine, Options};
use crate::data::catalog::{Catalog, Collection, Index, Storage};
use crate::data::keys::{CATALOG, META, OPLOG, PREIMAGES, SESSIONS, record_id, record_key};

/// How many lost documents are named of a collection.
const MOST_NAMED: usize = 20;
const OWN: [(&str, TableKind); 5] =
    [(CATALOG, TableKind::Records), (META, TableKind::Records), (OPLOG, TableKind::Log), (PREIMAGES, TableKind::Log), (SESSIONS, TableKind::Index)];

/// Repairs the database in a directory, which nobody has open, and closes it. Tells line by line what was damaged and what is lost.
pub fn repair(options: Options, say: &mut dyn FnMut(&str)) -> Result<()> {
    let Some(path) = options.path.clone() else { return Err(err!(IllegalOperation, "a database in memory has no files to repair")) };
    if !path.is_dir() {
        return Err(err!(InvalidPath, "there is no directory {}", path.display()));
    }
    let mut damaged = HashSet::new();
    let engine = Engine::open_repairing(options, &mut damaged, say)?;
    let mut session = engine.session(Client::owner());
    let mut sound = true;
    for coll in engine.shared.catalog.all() {
        // The oplog, which has no number, is in no entry and has no index.
        if coll.storage().is_some_and(|storage| storage.id != 0) {
            let repaired = repair_collection(&engine, &mut session, &coll, &damaged, say);
            sound &= repaired.unwrap_or_else(|e| {
                say(&format!("{}: {}", coll.ns, e.message()));
                false
            });
        }
    }
    drop(session);
    let store = engine.shared.store.clone();
    engine.close()?;
    store.mark_complete()?;
    say(if sound { "repaired: what is there can be used" } else { "repaired as far as it could be: not all collections can be used" });
    Ok(())
}

/// Makes every table readable, and gathers the names of those that were not; to be called before the catalog is read.
pub fn make_readable(store: &Store, damaged: &mut HashSet<String>, say: &mut dyn FnMut(&str)) -> Result<()> {
    let end = store.journal_end();
    if !end.is_sound() {
        say(&end.describe());
    }
    for (file, said) in store.damaged_files() {
        damaged.insert(file.trim_end_matches(".wt").to_owned());
        say(&format!("{file}: {said}; changes of the journal that belong there were left out"));
    }
    find_unknown_files(store, damaged, say)?;
    let mut session = store.session()?;
    for name in store.list_tables()? {
        let Some(table) = store.table(&name)? else { continue };
        let error = match store.verify_one(&mut session, &table) {
            Ok(()) => continue,
            // Not a matter of the file.
            Err(e) if matches!(e.kind(), ErrorKind::Busy | ErrorKind::Panic | ErrorKind::DiskFull | ErrorKind::Closed) => return Err(e.into()),
            Err(e) => e,
        };
        damaged.insert(name.clone());
        let kind = kind_of(&name);
        if let Some(kept) = store.keep_copy(&table)? {
            say(&format!("{name}.wt is damaged ({error}); a copy of the file is kept as {}", kept.display()));
        } else {
            say(&format!("{name}.wt is missing: all that was in it is lost, as far as nothing else tells of it"));
        }
        // An index is built anew from the documents; the other tables are worth what can be read of them.
        let mut save = || store.salvage(&mut session, &table).and_then(|()| store.verify_one(&mut session, &table));
        if kind == TableKind::Index || save().is_err() {
            store.drop_table(&table)?;
            store.create_table(&name, kind)?;
        }
    }
    for (name, kind) in OWN {
        if store.table(name)?.is_none() {
            say(&format!("the table {name}, which every database has, was missing; it is empty now"));
            store.create_table(name, kind)?;
        }
    }
    // Counts of documents are of the time before the damage.
    if let Some(meta) = store.table(META)? {
        session.remove(&meta, crate::data::catalog::COUNTS)?;
    }
    drop_damaged_entries(store, &mut session, say)
}

fn kind_of(table: &str) -> TableKind {
    let own = OWN.iter().find(|(own, _)| *own == table);
    own.map_or(if table.starts_with('i') { TableKind::Index } else { TableKind::Records }, |(_, kind)| *kind)
}

/// Tables that the metadata does not know any more, when it was damaged itself; indexes are built anew.
fn find_unknown_files(store: &Store, damaged: &mut HashSet<String>, say: &mut dyn FnMut(&str)) -> Result<()> {
    let known: HashSet<String> = store.list_tables()?.into_iter().collect();
    for name in store.list_files()?.into_iter().filter(|name| !known.contains(name) && Catalog::is_table_of_ours(name)) {
        damaged.insert(name.clone());
        match store.import_table(&name, kind_of(&name)) {
            Ok(_) => say(&format!("{name}.wt, which the metadata did not know any more, was taken as it was at its last checkpoint")),
            Err(e) => say(&format!("{name}.wt, which the metadata does not know any more, cannot be read: {e}")),
        }
    }
    Ok(())
}

/// Takes entries out of the catalog that are no documents or name tables that are not there; the documents are found as orphans.
fn drop_damaged_entries(store: &Store, session: &mut Session, say: &mut dyn FnMut(&str)) -> Result<()> {
    let Some(catalog) = store.table(CATALOG)? else { return Ok(()) };
    let mut other = store.session()?;
    session.begin(Begin::default())?;
    let cursor = session.open(&catalog)?;
    let (mut bad, mut seen) = (Vec::new(), HashSet::new());
    while session.next(cursor)? {
        let entry = session.value(cursor);
        let read = smongo_bson::check::document(entry).ok().and_then(|_| Catalog::read(store, &mut other, Doc::from_checked(entry)).ok());
        // A collection that was renamed may have come back under its old name, too.
        let sound = read.is_some_and(|coll| coll.storage().is_none_or(|storage| seen.insert(storage.id)));
        if !sound {
            bad.push(session.key(cursor).to_vec());
        }
    }
    session.release(cursor);
    for key in &bad {
        say(&format!("the catalog's entry of {} is damaged and was removed", String::from_utf8_lossy(key)));
        session.remove(&catalog, key)?;
    }
    session.commit(Durability::Durable)?;
    Ok(())
}

/// Compares a collection's documents with its indexes; `false` when it stays damaged.
fn repair_collection(engine: &Engine, session: &mut crate::Session, coll: &Collection, damaged: &HashSet<String>, say: &mut dyn FnMut(&str)) -> Result<bool> {
    let is_damaged = |table: &Table| damaged.contains(table.name());
    if let (Some(storage), Some(index)) = (coll.storage(), coll.id_index())
        && is_damaged(&storage.records)
        && !is_damaged(&index.table)
    {
        let strangers = remove_strangers(engine, storage, index)?;
        if strangers > 0 {
            say(&format!("{}: {strangers} records were left out that the index on _id does not know: deleted ones, or such of another collection", coll.ns));
        }
    }
    let lost = lost_documents(engine, coll)?;
    if !lost.is_empty() {
        let named: Vec<&str> = lost.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = if lost.len() > MOST_NAMED { ", …" } else { "" };
        say(&format!("{}: {} documents are lost: _id {}{more}", coll.ns, lost.len(), named.join(", ")));
    }
    let command = DocBuf::build(|w| {
        w.append("validate", coll.ns.coll()).append("repair", true);
    });
    let report = session.run_command(coll.ns.db(), &command)?;
    for error in report.get("errors").as_array().into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect::<Vec<_>>()) {
        say(&format!("{}: {error}", coll.ns));
    }
    if report.get("repaired").truthy() {
        say(&format!("{}: indexes were built anew", coll.ns));
    }
    Ok(report.get("valid").truthy())
}

/// The ids that the index on `_id` has and no document.
fn lost_documents(engine: &Engine, coll: &Collection) -> Result<Vec<String>> {
    let (Some(storage), Some(index)) = (coll.storage(), coll.id_index()) else { return Ok(Vec::new()) };
    let mut op = engine.shared.op();
    let mut other = engine.shared.store.session()?;
    let (mut lost, cursor) = (Vec::new(), op.store()?.open(&index.table)?);
    while op.store()?.next(cursor)? {
        let (key, value) = (op.lent().key(cursor), op.lent().value(cursor));
        let id = record_id(value);
        if other.get(&storage.records, &record_key(id))?.is_none() {
            let shown = smongo_bson::keystring::decode(key, false).map_or_else(|_| "?".to_owned(), |(id, _)| show(id.view()));
            lost.push(shown);
        }
    }
    op.store()?.release(cursor);
    Ok(lost)
}

/// Saving what can be read of a file finds also what was removed from it, and all that is in a file of another table. Where the index
/// on `_id` is sound it tells which records there are. How many go.
fn remove_strangers(engine: &Engine, storage: &Storage, index: &Index) -> Result<u64> {
    let mut known = HashSet::new();
    let mut op = engine.shared.op();
    let cursor = op.store()?.open(&index.table)?;
    while op.store()?.next(cursor)? {
        known.insert(record_id(op.lent().value(cursor)));
    }
    op.store()?.release(cursor);
    let mut strangers = Vec::new();
    let cursor = op.store()?.open(&storage.records)?;
    while op.store()?.next(cursor)? {
        let key = op.lent().key(cursor);
        if key.len() != 8 || !known.contains(&record_id(key)) {
            strangers.push(key.to_vec());
        }
    }
    op.store()?.release(cursor);
    drop(op);
    let mut session = engine.shared.store.session()?;
    for keys in strangers.chunks(1000) {
        session.begin(Begin::default())?;
        for key in keys {
            session.remove(&storage.records, key)?;
        }
        session.commit(Durability::Lazy)?;
    }
    Ok(strangers.len() as u64)
}

fn show(id: Value<'_>) -> String {
    match id {
        Value::ObjectId(id) => id.to_string(),
        Value::String(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}
