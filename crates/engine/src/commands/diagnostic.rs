//! What people and tools ask a server about itself: serverStatus, dbStats, collStats, validate, connectionStatus and the like.

use std::sync::atomic::Ordering;

use smongo_bson::{DocWriter, Result, Value, bail};

use super::{ADMIN, Args, Command, LIGHT};
use crate::catalog::Collection;
use crate::clock::now_millis;
use crate::door::Cx;

pub const CONNECTION_STATUS: Command = Command::new("connectionStatus", connection_status, LIGHT);
pub const WHATS_MY_URI: Command = Command::new("whatsmyuri", whats_my_uri, LIGHT);
pub const SERVER_STATUS: Command = Command::new("serverStatus", server_status, LIGHT);
pub const DB_STATS: Command = Command::new("dbStats", db_stats, 0);
pub const DB_STATS_LOWER: Command = Command::new("dbstats", db_stats, 0);
pub const COLL_STATS: Command = Command::new("collStats", coll_stats, 0);
pub const COLL_STATS_LOWER: Command = Command::new("collstats", coll_stats, 0);
pub const FSYNC: Command = Command::new("fsync", fsync, ADMIN);
pub const GET_LOG: Command = Command::new("getLog", get_log, ADMIN);
pub const HOST_INFO: Command = Command::new("hostInfo", host_info, ADMIN);
pub const LIST_COMMANDS: Command = Command::new("listCommands", list_commands, 0);

fn connection_status(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let privileges = args.bool("showPrivileges")?;
    args.finish()?;
    let mut info = reply.document("authInfo");
    info.array("authenticatedUsers");
    info.array("authenticatedUserRoles");
    if privileges {
        info.array("authenticatedUserPrivileges");
    }
    Ok(())
}

fn whats_my_uri(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    reply.append("you", &*cx.client.remote);
    Ok(())
}

fn server_status(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    // Arguments switch sections on and off; all there are fit into one reply.
    args.rest();
    let shared = cx.op.shared.clone();
    let uptime = shared.started.elapsed();
    let stats = shared.store.stats()?;
    reply.append("host", &*cx.client.local).append("version", &*super::build_info::version()).append("process", "smongo");
    reply.append("pid", i64::from(std::process::id()));
    reply.append("uptime", uptime.as_secs_f64().floor()).append("uptimeMillis", uptime.as_millis() as i64);
    reply.append("localTime", Value::DateTime(now_millis()));
    {
        let (open, pinned) = shared.cursors.counts();
        let mut metrics = reply.document("metrics");
        let mut cursor = metrics.document("cursor");
        let mut w = cursor.document("open");
        w.append("noTimeout", pinned as i64).append("total", open as i64);
    }
    reply.document("connections").append("totalCreated", shared.connections.load(Ordering::Relaxed) as i64);
    reply.document("opcounters").append("command", shared.operations.total.load(Ordering::Relaxed) as i64);
    reply.document("logicalSessionRecordCache").append("activeSessionsCount", shared.sessions.ids().len() as i32);
    {
        let mut engine = reply.document("storageEngine");
        engine.append("name", "wiredTiger").append("persistent", shared.store.path().is_some()).append("readOnly", false);
    }
    {
        let mut wt = reply.document("wiredTiger");
        let mut cache = wt.document("cache");
        cache.append("maximum bytes configured", stats.cache_max as i64).append("bytes currently in the cache", stats.cache_used as i64);
        cache.append("tracked dirty bytes in the cache", stats.cache_dirty as i64);
    }
    reply.document("repl").append("setName", "rs0").append("isWritablePrimary", true).append("secondary", false);
    Ok(())
}

/// Sizes of one collection.
struct Sizes {
    documents: i64,
    bytes: i64,
    storage: i64,
    index: i64,
}

fn sizes(cx: &mut Cx<'_>, coll: &std::sync::Arc<Collection>) -> Result<Sizes> {
    let Some(storage) = coll.storage() else { return Ok(Sizes { documents: 0, bytes: 0, storage: 0, index: 0 }) };
    if coll.state.known_documents().is_none() {
        let shared = cx.op.shared.clone();
        shared.catalog.recount(&mut cx.op, coll)?;
    }
    let shared = cx.op.shared.clone();
    let mut index = 0;
    for i in &coll.indexes {
        index += shared.store.table_stats(&i.table)?.file_bytes as i64;
    }
    Ok(Sizes {
        documents: coll.state.known_documents().unwrap_or(0),
        bytes: coll.state.bytes.load(Ordering::Relaxed).max(0),
        storage: shared.store.table_stats(&storage.records)?.file_bytes as i64,
        index,
    })
}

fn scale(args: &mut Args<'_>) -> Result<i64> {
    match args.int("scale")? {
        Some(n) if n <= 0 => bail!(51024, "BSON field 'scale' value must be >= 1, actual value '{n}'"),
        n => Ok(n.unwrap_or(1)),
    }
}

fn db_stats(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let scale = scale(args)?;
    args.accept(&["freeStorage"]);
    args.finish()?;
    crate::namespace::check_database(&cx.db)?;
    let (mut collections, mut views, mut indexes) = (0i64, 0i64, 0i64);
    let (mut objects, mut data, mut storage, mut index) = (0, 0, 0, 0);
    for coll in cx.op.shared.catalog.collections(&cx.db) {
        if coll.view().is_some() {
            views += 1;
            continue;
        }
        let s = sizes(cx, &coll)?;
        collections += 1;
        indexes += coll.index_count() as i64;
        objects += s.documents;
        data += s.bytes;
        storage += s.storage;
        index += s.index;
    }
    let scaled = |n: i64| (n / scale) as f64;
    reply.append("db", &*cx.db).append("collections", collections).append("views", views).append("objects", objects);
    reply.append("avgObjSize", if objects > 0 { data as f64 / objects as f64 } else { 0.0 });
    reply.append("dataSize", scaled(data)).append("storageSize", scaled(storage)).append("indexes", indexes);
    reply.append("indexSize", scaled(index)).append("totalSize", scaled(storage + index)).append("scaleFactor", scale);
    Ok(())
}

fn coll_stats(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let scale = scale(args)?;
    args.accept(&["verbose", "waitForLock", "freeStorage"]);
    args.finish()?;
    reply.append("ns", ns.as_str());
    let Some(coll) = cx.op.shared.catalog.get(&ns) else {
        reply.append("size", 0).append("count", 0).append("numOrphanDocs", 0).append("storageSize", 0).append("totalSize", 0);
        reply.append("nindexes", 0).append("totalIndexSize", 0);
        reply.document("indexDetails");
        reply.document("indexSizes");
        reply.append("scaleFactor", scale as i32);
        return Ok(());
    };
    if coll.view().is_some() {
        bail!(CommandNotSupportedOnView, "Namespace {ns} is a view, not a collection");
    }
    let s = sizes(cx, &coll)?;
    reply.append("size", s.bytes / scale).append("count", s.documents);
    if s.documents > 0 {
        reply.append("avgObjSize", s.bytes / s.documents);
    }
    reply.append("numOrphanDocs", 0).append("storageSize", s.storage / scale).append("totalIndexSize", s.index / scale);
    reply.append("totalSize", (s.storage + s.index) / scale).append("capped", coll.is_capped()).append("nindexes", coll.index_count() as i32);
    {
        let mut list = reply.document("indexSizes");
        for index in &coll.indexes {
            let bytes = cx.op.shared.store.table_stats(&index.table)?.file_bytes as i64;
            list.append(&index.name, bytes / scale);
        }
    }
    reply.append("scaleFactor", scale as i32);
    Ok(())
}

fn fsync(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.refuse(&["lock"])?;
    args.accept(&["async"]);
    args.finish()?;
    cx.op.shared.store.checkpoint()?;
    reply.append("numFiles", 1);
    Ok(())
}

fn get_log(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let which = match args.first() {
        Value::String(s) => s,
        v => return Err(args.wrong_type("getLog", v, "string")),
    };
    args.finish()?;
    match which {
        "*" => {
            let mut names = reply.array("names");
            names.push("global").push("startupWarnings");
        }
        "global" | "startupWarnings" => {
            reply.append("totalLinesWritten", 0);
            reply.array("log");
        }
        other => bail!(OperationFailed, "No log named '{other}'"),
    }
    Ok(())
}

fn host_info(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    {
        let mut system = reply.document("system");
        system.append("currentTime", Value::DateTime(now_millis())).append("hostname", &*cx.client.local);
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        system.append("cpuAddrSize", i32::from(usize::BITS as i16)).append("numCores", cores as i32).append("cpuArch", std::env::consts::ARCH);
    }
    reply.document("os").append("type", std::env::consts::OS);
    reply.document("extra");
    Ok(())
}

fn list_commands(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let mut list = reply.document("commands");
    for row in super::COMMANDS {
        let mut w = list.document(row.name);
        w.append("help", "").append("requiresAuth", false).append("secondaryOk", true);
        w.append("adminOnly", row.is(ADMIN));
    }
    Ok(())
}
