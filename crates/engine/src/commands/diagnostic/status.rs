//! What the server does and has done: serverStatus, top, connPoolStats, lockInfo.

use std::sync::atomic::Ordering;

use smongo_bson::{DocWriter, Element, Result, Value};
use smongo_storage::descriptors;
use smongo_mql::access::Action;

use crate::data::clock::now_millis;
use crate::data::limits;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, LIGHT};
use crate::service::replica_set;
use crate::service::shared::Shared;

pub const SERVER_STATUS: Command = Command::new("serverStatus", server_status, LIGHT, Access::Cluster(&[Action::ServerStatus]));
pub const TOP: Command = Command::new("top", top, ADMIN, Access::Cluster(&[Action::Top]));
pub const CONN_POOL_STATS: Command = Command::new("connPoolStats", conn_pool_stats, LIGHT, Access::Cluster(&[Action::ConnPoolStats]));
pub const LOCK_INFO: Command = Command::new("lockInfo", lock_info, ADMIN, Access::Cluster(&[Action::ServerStatus]));

type Section = fn(&Shared, &mut DocWriter<'_>);

/// The sections of serverStatus in MongoDB's order; those with `false` come only when they are asked for.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("asserts", true, asserts),
    ("catalogStats", true, catalog_stats),
    ("connections", true, connections),
    ("extra_info", true, extra_info),
    ("flowControl", true, flow_control),
    ("globalLock", true, global_lock),
    ("locks", true, |_, _| {}),
    ("logicalSessionRecordCache", true, |shared, w| {
        w.append("activeSessionsCount", shared.sessions.ids().len() as i32);
    }),
    ("mem", true, memory),
    ("metrics", true, metrics),
    ("mirroredReads", false, |_, w| {
        w.append("seen", 0i64).append("sent", 0i64);
    }),
    ("network", true, network),
    ("opLatencies", true, |shared, w| shared.usage.write_totals(w)),
    ("opcounters", true, |shared, w| shared.usage.write_counters(w)),
    ("opcountersRepl", true, |_, w| {
        for name in ["insert", "query", "update", "delete", "getmore", "command"] {
            w.append(name, 0i64);
        }
    }),
    ("oplogTruncation", true, oplog_truncation),
    ("queues", true, |shared, w| tickets(shared, &mut w.document("execution"))),
    ("repl", true, repl),
    ("security", true, security),
    ("storageEngine", true, |shared, w| {
        w.append("name", "wiredTiger").append("supportsCommittedReads", true).append("persistent", shared.store.path().is_some());
        w.append("readOnly", false).append("backupCursorOpen", false);
        crate::data::damage::write_status(shared, w);
    }),
    ("transactions", true, transactions),
    ("transportSecurity", true, |shared, w| shared.usage.write_encrypted(w)),
    ("wiredTiger", true, wired_tiger),
];

fn server_status(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    // Arguments switch sections on and off; names of none are nothing to MongoDB.
    let asked: Vec<_> = args.rest();
    write_status(cx, &asked, reply);
    Ok(())
}

/// What serverStatus answers; `asked` switches sections on and off.
pub fn write_status(cx: &Cx<'_>, asked: &[Element<'_>], reply: &mut DocWriter<'_>) {
    let shared = cx.shared.clone();
    let uptime = shared.started.elapsed();
    reply.append("host", &*cx.client.local).append("version", &*super::build_info::version()).append("process", "mongod");
    reply.append("service", smongo_bson::Value::Array(smongo_bson::Array::EMPTY)).append("pid", i64::from(std::process::id()));
    reply.append("uptime", uptime.as_secs_f64().floor()).append("uptimeMillis", uptime.as_millis() as i64);
    reply.append("uptimeEstimate", uptime.as_secs() as i64).append("localTime", Value::DateTime(now_millis()));
    for (name, default, section) in SECTIONS {
        let wanted = asked.iter().find(|e| e.name() == *name).map_or(*default, |e| switches_on(e.value()));
        if wanted {
            section(&shared, &mut reply.document(name));
        }
    }
}

/// What is neither a number nor a bool nor null counts as true.
fn switches_on(value: Value<'_>) -> bool {
    match value {
        v if v.is_nullish() => false,
        v if v.is_number() || v.as_bool().is_some() => v.truthy(),
        _ => true,
    }
}

fn security(shared: &Shared, w: &mut DocWriter<'_>) {
    if let Some(audit) = &shared.audit {
        audit.write_status(&mut w.document("audit"));
    }
    shared.logins.write(|mechanism| shared.parameters.enables(mechanism), &mut w.document("authentication"));
}

fn asserts(shared: &Shared, w: &mut DocWriter<'_>) {
    w.append("regular", 0).append("warning", 0).append("msg", 0).append("user", shared.usage.failures.load(Ordering::Relaxed) as i32);
    w.append("tripwire", 0).append("rollovers", 0);
}

fn catalog_stats(shared: &Shared, w: &mut DocWriter<'_>) {
    let all = shared.catalog.all();
    let internal = |ns: &crate::data::namespace::Ns| matches!(ns.db(), "admin" | "config" | "local") || ns.is_system();
    let count = |pick: &dyn Fn(&crate::data::catalog::Collection) -> bool| all.iter().filter(|c| pick(c)).count() as i32;
    w.append("collections", count(&|c| c.view().is_none() && !internal(&c.ns))).append("capped", count(&|c| c.is_capped() && !internal(&c.ns)));
    w.append("clustered", count(&|c| c.is_clustered())).append("timeseries", count(&|c| c.timeseries.is_some())).append("views", count(&|c| c.view().is_some() && !internal(&c.ns)));
    w.append("internalCollections", count(&|c| c.view().is_none() && internal(&c.ns))).append("internalViews", count(&|c| c.view().is_some() && internal(&c.ns)));
}

fn connections(shared: &Shared, w: &mut DocWriter<'_>) {
    let open = (shared.open_connections.load(Ordering::Relaxed) + shared.waiting_connections.load(Ordering::Relaxed)) as i32;
    let most = most_connections();
    w.append("current", open).append("available", (most - open).max(0));
    w.append("totalCreated", shared.connections.load(Ordering::Relaxed) as i64).append("active", shared.operations.counts().0 as i32);
}

/// What the operating system counts of the process; elsewhere than on Linux nothing is known.
fn extra_info(_: &Shared, w: &mut DocWriter<'_>) {
    w.append("note", "fields vary by platform");
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in brackets, which may hold anything.
    let fields: Vec<i64> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(1).map(|n| n.parse().unwrap_or(0)).collect();
    let field = |n: usize| fields.get(n).copied();
    let micros = |ticks: i64| ticks * (1_000_000 / TICKS_PER_SECOND);
    if let (Some(minor), Some(major), Some(user), Some(system)) = (field(6), field(8), field(10), field(11)) {
        w.append("user_time_us", micros(user)).append("system_time_us", micros(system));
        w.append("page_reclaims", minor).append("page_faults", major);
    }
    w.append("threads", field(16).unwrap_or(0));
}

/// Of the times in `/proc`, on every Linux there is.
const TICKS_PER_SECOND: i64 = 100;

/// No member lags behind this one, so that no write is ever held back.
fn flow_control(_: &Shared, w: &mut DocWriter<'_>) {
    w.append("enabled", false).append("targetRateLimit", 1_000_000_000).append("timeAcquiringMicros", 0i64).append("locksPerKiloOp", 0.0);
    w.append("sustainerRate", 0).append("isLagged", false).append("isLaggedCount", 0).append("isLaggedTimeMicros", 0i64);
}

/// Each connection has a thread of its own: as many operations run at the same time as there may be connections. Earlier versions of
/// MongoDB told this in `wiredTiger.concurrentTransactions`; mongodb_exporter takes both for the same series and fails where both are.
fn tickets(shared: &Shared, w: &mut DocWriter<'_>) {
    let (all, writing) = shared.operations.counts();
    let most = most_connections();
    for (name, out) in [("write", writing), ("read", all - writing)] {
        let out = out as i32;
        w.document(name).append("out", out).append("available", (most - out).max(0)).append("totalTickets", most);
    }
}

fn most_connections() -> i32 {
    descriptors::most_connections().min(limits::CONNECTIONS as u64) as i32
}

fn repl(shared: &Shared, w: &mut DocWriter<'_>) {
    let host = shared.address.lock().clone();
    w.append("setName", &*shared.options.replica_set).append("setVersion", replica_set::version(shared));
    w.append("isWritablePrimary", true).append("secondary", false).append("primary", &*host);
    w.array("hosts").push(&*host);
    w.append("me", &*host).append("electionId", crate::commands::session::handshake::ELECTION);
    crate::commands::session::handshake::last_write(shared, w);
    w.append("rbid", 1);
}

fn transactions(shared: &Shared, w: &mut DocWriter<'_>) {
    let read = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed) as i64;
    let (started, committed, open) = (read(&shared.sessions.started), read(&shared.sessions.committed), shared.sessions.open_transactions() as i64);
    w.append("currentOpen", open).append("totalStarted", started).append("totalCommitted", committed);
    w.append("totalAborted", (started - committed - open).max(0));
}

fn global_lock(shared: &Shared, w: &mut DocWriter<'_>) {
    w.append("totalTime", shared.started.elapsed().as_micros() as i64);
    w.document("currentQueue").append("total", 0).append("readers", 0).append("writers", 0);
    let (all, writing) = shared.operations.counts();
    w.document("activeClients").append("total", all as i32).append("readers", (all - writing) as i32).append("writers", writing as i32);
}

/// Megabytes, from what Linux tells of the process; elsewhere nothing is known.
fn memory(_: &Shared, w: &mut DocWriter<'_>) {
    let pages = |n: usize| -> Option<i64> { std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(n)?.parse().ok() };
    let megabytes = |n: usize| (pages(n).unwrap_or(0) * 4096 / (1 << 20)) as i32;
    w.append("bits", 64).append("resident", megabytes(1)).append("virtual", megabytes(0)).append("supported", true);
}

fn metrics(shared: &Shared, w: &mut DocWriter<'_>) {
    let tally = &shared.tally;
    let read = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed) as i64;
    shared.usage.write_runs(&mut w.document("commands"));
    {
        let (open, pinned) = shared.cursors.counts();
        let mut cursor = w.document("cursor");
        cursor.append("timedOut", read(&shared.cursors.timed_out)).append("totalOpened", read(&shared.cursors.opened));
        cursor.document("open").append("noTimeout", pinned as i64).append("pinned", shared.cursors.in_use() as i64).append("total", open as i64);
    }
    {
        let mut document = w.document("document");
        document.append("deleted", read(&tally.deleted)).append("inserted", read(&tally.inserted));
        document.append("returned", read(&tally.returned)).append("updated", read(&tally.updated));
    }
    {
        // Nobody is waited for: what is acknowledged here is acknowledged by all members.
        let mut last = w.document("getLastError");
        last.document("wtime").append("num", 0).append("totalMillis", 0);
        last.append("wtimeouts", 0i64);
    }
    w.document("operation").append("writeConflicts", read(&tally.write_conflicts));
    w.document("queryExecutor").append("scanned", read(&tally.keys)).append("scannedObjects", read(&tally.documents));
    {
        // A member that is always the primary takes nothing from others.
        let mut repl = w.document("repl");
        let mut apply = repl.document("apply");
        apply.document("batches").append("num", 0).append("totalMillis", 0);
        apply.append("ops", 0i64);
        apply.finish();
        repl.document("buffer").append("count", 0i64).append("maxSizeBytes", 0i64).append("sizeBytes", 0i64);
        let mut network = repl.document("network");
        network.append("bytes", 0i64).document("getmores").append("num", 0).append("totalMillis", 0);
        network.append("ops", 0i64).append("readersCreated", 0i64);
    }
    w.document("ttl").append("deletedDocuments", read(&tally.ttl_deleted)).append("passes", read(&tally.ttl_passes));
}

fn network(shared: &Shared, w: &mut DocWriter<'_>) {
    let usage = &shared.usage;
    let read = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed) as i64;
    w.append("bytesIn", read(&usage.bytes_in)).append("bytesOut", read(&usage.bytes_out)).append("numRequests", read(&usage.requests));
}

/// MongoDB finds the places to cut at by going through the oplog, or samples of it, when it opens; here it is counted after a crash.
fn oplog_truncation(shared: &Shared, w: &mut DocWriter<'_>) {
    let size = &shared.oplog_size;
    let read = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed) as i64;
    w.append("totalTimeProcessingMicros", read(&size.count_micros)).append("processingMethod", "scanning");
    let hours = size.limits().retention_hours;
    if hours > 0.0 {
        w.append("oplogMinRetentionHours", hours);
    }
    w.append("totalTimeTruncatingMicros", read(&size.trim_micros)).append("truncateCount", read(&size.steps));
}

/// Every figure of the storage, in its sections, as MongoDB shows them.
fn wired_tiger(shared: &Shared, w: &mut DocWriter<'_>) {
    let Ok(figures) = shared.store.statistics() else { return };
    // Of one section they come together.
    let section = |name: &str| name.split_once(": ").map_or(name.len(), |(section, _)| section.len());
    for group in figures.chunk_by(|(a, _), (b, _)| a[..section(a)] == b[..section(b)]) {
        let Some((first, _)) = group.first() else { continue };
        let mut figures = w.document(&first[..section(first)]);
        for (name, count) in group {
            figures.append(name.get(section(name) + 2..).unwrap_or(name), *count);
        }
    }
}

fn top(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    let shared = &cx.shared;
    let all = shared.catalog.all();
    shared.usage.forget_missing(&shared.catalog);
    let mut totals = reply.document("totals");
    totals.append("note", "all times in microseconds");
    for coll in &all {
        shared.usage.write_times(coll.ns.as_str(), &mut totals.document(coll.ns.as_str()));
    }
    Ok(())
}

/// Connections to other servers, of which a database of one member has none.
fn conn_pool_stats(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    reply.append("numClientConnections", 0).append("numAScopedConnections", 0).append("totalInUse", 0).append("totalAvailable", 0);
    reply.append("totalLeased", 0).append("totalCreated", 0).append("totalRefreshing", 0).append("replicaSetMatchingStrategy", "matchPrimaryNode");
    reply.document("pools");
    reply.document("hosts");
    reply.document("replicaSets");
    Ok(())
}

/// The one lock that a client can hold from command to command.
fn lock_info(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let mut list = reply.array("lockInfo");
    if cx.shared.fsync.is_locked() {
        let mut lock = list.document();
        lock.append("resourceId", "{Global: fsyncLock}");
        {
            let mut granted = lock.array("granted");
            granted.document().append("mode", "S").append("desc", "fsyncLockWorker");
        }
        lock.array("pending");
    }
    Ok(())
}
