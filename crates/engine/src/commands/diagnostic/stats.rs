//! Sizes and contents: dbStats, collStats, dataSize, dbHash.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use md5::{Digest, Md5};
use smongo_bson::{Binary, Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::{CompileCx, Matcher};
use smongo_storage::TableStats;
use smongo_mql::access::Action;

use crate::commands::rules;
use crate::data::buckets;
use crate::data::catalog::Collection;
use crate::data::namespace::{self, Ns};
use crate::data::oplog::uuid_bytes;
use crate::query::exec::{self, storage_stats};
use crate::query::plan::{self, Hint, Query};
use crate::service::command::{Access, Args, Command, Cx};

pub const DB_STATS: Command = Command::new("dbStats", db_stats, 0, Access::Database(&[Action::DbStats]));
pub const DB_STATS_LOWER: Command = Command::new("dbstats", db_stats, 0, Access::Database(&[Action::DbStats]));
pub const COLL_STATS: Command = Command::new("collStats", coll_stats, 0, Access::Named(&[Action::CollStats]));
pub const COLL_STATS_LOWER: Command = Command::new("collstats", coll_stats, 0, Access::Named(&[Action::CollStats]));
pub const DATA_SIZE: Command = Command::new("dataSize", data_size, 0, Access::Computed(rules::data_size));
pub const DATA_SIZE_LOWER: Command = Command::new("datasize", data_size, 0, Access::Computed(rules::data_size));
pub const DB_HASH: Command = Command::new("dbHash", db_hash, 0, Access::Database(&[Action::DbHash]));
pub const DB_HASH_LOWER: Command = Command::new("dbhash", db_hash, 0, Access::Database(&[Action::DbHash]));

/// Sizes of one collection.
#[derive(Default)]
struct Sizes {
    documents: i64,
    bytes: i64,
    storage: i64,
    index: i64,
    /// Bytes of the files that hold nothing at present.
    free: i64,
    index_free: i64,
}

/// `free`: also what is free in the files, for which they must be open.
fn sizes(cx: &mut Cx<'_>, coll: &Arc<Collection>, free: bool) -> Result<Sizes> {
    let Some(storage) = coll.storage() else { return Ok(Sizes::default()) };
    let shared = cx.shared.clone();
    count(cx, coll)?;
    let figures = |table| if free { shared.store.table_stats(table) } else { shared.store.file_bytes(table).map(|file_bytes| TableStats { file_bytes, ..TableStats::default() }) };
    let records = figures(&storage.records)?;
    let mut sizes = Sizes {
        documents: coll.state.known_documents().unwrap_or(0),
        bytes: coll.state.bytes.load(Ordering::Relaxed).max(0),
        storage: records.file_bytes as i64,
        free: records.reusable_bytes as i64,
        ..Sizes::default()
    };
    for index in &coll.indexes {
        let stats = figures(&index.table)?;
        sizes.index += stats.file_bytes as i64;
        sizes.index_free += stats.reusable_bytes as i64;
    }
    Ok(sizes)
}

/// Makes the number of documents known.
fn count(cx: &mut Cx<'_>, coll: &Arc<Collection>) -> Result<()> {
    if coll.storage().is_some() && coll.state.known_documents().is_none() {
        let shared = cx.shared.clone();
        shared.catalog.recount(&mut cx.op, coll)?;
    }
    Ok(())
}

fn scale(args: &mut Args<'_>) -> Result<i64> {
    match args.int("scale")? {
        Some(n) if n <= 0 => bail!(BadValue, "BSON field 'scale' value must be >= 1, actual value '{n}'"),
        n => Ok(n.unwrap_or(1)),
    }
}

fn db_stats(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let scale = scale(args)?;
    let free = args.bool("freeStorage")?;
    args.finish()?;
    namespace::check_database(&cx.db)?;
    let (mut collections, mut views, mut indexes) = (0i64, 0i64, 0i64);
    let mut total = Sizes::default();
    for coll in cx.shared.catalog.collections(&cx.db) {
        if coll.view().is_some() {
            views += 1;
            continue;
        }
        let s = sizes(cx, &coll, free)?;
        collections += 1;
        indexes += coll.index_count() as i64;
        total.documents += s.documents;
        total.bytes += s.bytes;
        total.storage += s.storage;
        total.free += s.free;
        total.index += s.index;
        total.index_free += s.index_free;
    }
    let scaled = |n: i64| n as f64 / scale as f64;
    reply.append("db", &*cx.db).append("collections", collections).append("views", views).append("objects", total.documents);
    reply.append("avgObjSize", if total.documents > 0 { total.bytes as f64 / total.documents as f64 } else { 0.0 });
    reply.append("dataSize", scaled(total.bytes)).append("storageSize", scaled(total.storage));
    if free {
        reply.append("freeStorageSize", scaled(total.free));
    }
    reply.append("indexes", indexes).append("indexSize", scaled(total.index));
    if free {
        reply.append("indexFreeStorageSize", scaled(total.index_free));
    }
    reply.append("totalSize", scaled(total.storage + total.index));
    if free {
        reply.append("totalFreeStorageSize", scaled(total.free + total.index_free));
    }
    reply.append("scaleFactor", scale);
    if let Some((used, all)) = cx.shared.store.path().and_then(file_system) {
        reply.append("fsUsedSize", used / scale as f64).append("fsTotalSize", all / scale as f64);
    }
    Ok(())
}

/// Bytes in use and in all of the file system the data directory is on.
fn file_system(path: &std::path::Path) -> Option<(f64, f64)> {
    let fs = rustix::fs::statvfs(path).ok()?;
    let block = fs.f_frsize as f64;
    Some(((fs.f_blocks - fs.f_bfree) as f64 * block, fs.f_blocks as f64 * block))
}

fn coll_stats(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let behind = buckets::behind(&cx.op, ns.clone())?;
    let scale = scale(args)?;
    args.accept(&["verbose", "waitForLock", "freeStorage"]);
    args.finish()?;
    reply.append("ns", ns.as_str());
    let Some(coll) = cx.op.collection(&behind)? else {
        reply.append("size", 0).append("count", 0).append("numOrphanDocs", 0).append("storageSize", 0).append("totalSize", 0);
        reply.append("nindexes", 0).append("totalIndexSize", 0);
        reply.document("indexDetails");
        reply.document("indexSizes");
        reply.append("scaleFactor", scale as i32);
        return Ok(());
    };
    count(cx, &coll)?;
    storage_stats(&cx.op, &coll, scale, reply)
}

fn data_size(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let begun = Instant::now();
    let ns = match args.first() {
        Value::String(full) => Ns::parse(full)?,
        v if v.is_nullish() => return Err(args.missing("dataSize")),
        v => return Err(args.wrong_type("dataSize", v, "string")),
    };
    let key = args.doc("keyPattern")?.filter(|k| !k.is_empty());
    let (min, max) = (args.doc("min")?.filter(|d| !d.is_empty()), args.doc("max")?.filter(|d| !d.is_empty()));
    let echo = !args.value("estimate").is_nullish();
    let estimate = args.bool("estimate")?;
    let (max_size, max_objects) = (args.int("maxSize")?.filter(|n| *n > 0), args.int("maxObjects")?.filter(|n| *n > 0));
    args.finish()?;
    if min.is_some() != max.is_some() {
        bail!(BadValue, "only one of min or max specified");
    }
    let shared = cx.shared.clone();
    let (mut size, mut objects, mut reached) = (0i64, 0i64, false);
    if let Some(coll) = shared.catalog.get(&ns) {
        if coll.storage().is_none() || coll.timeseries.is_some() {
            bail!(CommandNotSupportedOnView, "Namespace {ns} is a view, not a collection");
        }
        if min.is_none() && (estimate || (max_size.is_none() && max_objects.is_none())) {
            count(cx, &coll)?;
            (size, objects) = (coll.state.bytes.load(Ordering::Relaxed).max(0), coll.state.known_documents().unwrap_or(0));
        } else {
            let mut query = Query::new(Arc::new(Matcher::compile(Doc::EMPTY, &CompileCx::default())?));
            if let (Some(min), Some(max)) = (min, max) {
                bounds(&coll, &mut query, key, min, max)?;
            }
            // A range that ends before it begins holds nothing.
            let empty = matches!((min, max), (Some(a), Some(b)) if smongo_bson::compare::compare_docs(a, b, None).is_ge());
            if !empty {
                let mut rows = plan::plan(&mut cx.op, &coll, query)?.open_rows(&mut cx.op)?;
                while !reached && rows.advance(&mut cx.op)? {
                    size += rows.doc().as_bytes().len() as i64;
                    objects += 1;
                    reached = max_size.is_some_and(|most| size > most) || max_objects.is_some_and(|most| objects > most);
                }
                rows.park(&mut cx.op);
                cx.op.end_read();
            }
        }
    }
    if echo {
        reply.append("estimate", estimate);
    }
    reply.append("size", size).append("numObjects", objects);
    if reached {
        reply.append("maxReached", true);
    }
    reply.append("millis", begun.elapsed().as_millis() as i32);
    Ok(())
}

/// Restricts a query to the range of an index.
fn bounds(coll: &Collection, query: &mut Query, key: Option<Doc<'_>>, min: Doc<'_>, max: Doc<'_>) -> Result<()> {
    let index = key.and_then(|key| coll.indexes.iter().find(|i| smongo_bson::compare::compare_docs(i.key(), key, None).is_eq()));
    let Some(index) = index else { bail!(OperationFailed, "couldn't find valid index containing key pattern") };
    query.hint = Hint::parse(Value::String(&index.name))?;
    query.min = Some(DocBuf::from(min));
    query.max = Some(DocBuf::from(max));
    Ok(())
}

fn db_hash(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let begun = Instant::now();
    let mut wanted = Vec::new();
    if let Value::Array(list) = args.value("collections") {
        for name in list.iter() {
            match name {
                Value::String(name) => wanted.push(name.to_owned()),
                v => bail!(BadValue, "collections entries have to be strings, found {}", v.type_name()),
            }
        }
    }
    args.rest();
    namespace::check_database(&cx.db)?;
    let all = cx.shared.catalog.collections(&cx.db);
    let hashed: Vec<_> = all.iter().filter(|c| c.storage().is_some() && is_hashed(&c.ns) && (wanted.is_empty() || wanted.contains(&stored_name(c)))).collect();
    let mut whole = Md5::new();
    reply.append("host", &*cx.client.local);
    {
        let mut w = reply.document("collections");
        for coll in &hashed {
            let hash = hash(cx, coll)?;
            whole.update(stored_name(coll).as_bytes());
            whole.update([0]);
            whole.update(hash.as_bytes());
            w.append(&stored_name(coll), &*hash);
        }
    }
    cx.op.end_read();
    {
        let mut w = reply.array("capped");
        for coll in hashed.iter().filter(|c| c.is_capped()) {
            w.push(coll.ns.coll());
        }
    }
    {
        let mut w = reply.document("uuids");
        for coll in &hashed {
            w.append(&stored_name(coll), Value::Binary(Binary::from_raw(&uuid_bytes(&coll.uuid))));
        }
    }
    reply.append("md5", &*hex(&whole.finalize())).append("timeMillis", begun.elapsed().as_millis() as i32);
    Ok(())
}

/// Where MongoDB keeps a collection's documents: those of a time-series collection are in its buckets.
fn stored_name(coll: &Collection) -> String {
    match coll.timeseries {
        Some(_) => format!("{}{}", buckets::PREFIX, coll.ns.coll()),
        None => coll.ns.coll().to_owned(),
    }
}

/// Of the server's own collections only those that are replicated count.
fn is_hashed(ns: &Ns) -> bool {
    !ns.is_system() || matches!(ns.coll(), "system.users" | "system.roles" | "system.version" | "system.js" | "system.views")
}

/// The MD5 of a collection's documents in the order of `_id`; in their own order where they are capped.
fn hash(cx: &mut Cx<'_>, coll: &Arc<Collection>) -> Result<String> {
    let mut md5 = Md5::new();
    if coll.timeseries.is_some() {
        // Measurements of one moment are in the order of their insertion, their buckets are not.
        let sort = DocBuf::build(|w| {
            w.document("$sort").append("_id", 1);
        });
        let cx_of_sort = CompileCx { allow_disk_use: true, ..CompileCx::default() };
        let mut stream = exec::open_pipeline(&mut cx.op, coll.ns.db(), &stored_name(coll), &[sort], &cx_of_sort)?;
        while stream.advance(&mut cx.op)? {
            md5.update(stream.doc().as_bytes());
        }
        stream.park(&mut cx.op);
        return Ok(hex(&md5.finalize()));
    }
    let mut query = Query::new(Arc::new(Matcher::compile(Doc::EMPTY, &CompileCx::default())?));
    if let Some(index) = coll.id_index().filter(|_| !coll.is_capped()) {
        query.hint = Hint::parse(Value::String(&index.name))?;
    }
    let mut rows = plan::plan(&mut cx.op, coll, query)?.open_rows(&mut cx.op)?;
    while rows.advance(&mut cx.op)? {
        md5.update(rows.doc().as_bytes());
    }
    rows.park(&mut cx.op);
    Ok(hex(&md5.finalize()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
