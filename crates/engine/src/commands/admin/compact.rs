//! compact, autoCompact, reIndex

use std::sync::Arc;
use std::time::Instant;

use smongo_bson::{Code, DocWriter, Result, Value, bail};
use smongo_storage::{AutoCompact, ErrorKind, Table};
use smongo_mql::access::Action;

use crate::data::buckets;
use crate::data::catalog::{Collection, compact_number};
use crate::data::namespace::Ns;
use crate::data::op::Progress;
use crate::service::command::{ADMIN, Access, Args, Command, Cx};

pub const COMPACT: Command = Command::new("compact", compact, 0, Access::Named(&[Action::Compact]));
pub const AUTO_COMPACT: Command = Command::new("autoCompact", auto_compact, ADMIN, Access::Cluster(&[Action::Compact]));
pub const RE_INDEX: Command = Command::new("reIndex", re_index, 0, Access::Named(&[Action::ReIndex]));

/// What must be free in a file before it is worth compacting, when nothing is said of it.
const FREE_SPACE_TARGET_MB: i64 = 20;

fn compact(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = target(cx, args)?;
    let dry_run = args.strict_bool("dryRun")?.unwrap_or(false);
    // On a primary, MongoDB wants `force` no longer; it changes nothing.
    args.strict_bool("force")?;
    let target = target_mb(args, "compact")?;
    args.finish()?;
    let shared = cx.shared.clone();
    let coll = shared.catalog.require(&ns)?;
    let Some(storage) = coll.storage() else { bail!(CommandNotSupportedOnView, "can't compact a view") };
    let least = (target as u64).saturating_mul(1 << 20);
    let tables: Vec<(String, &Table)> =
        [("the documents".to_owned(), &storage.records)].into_iter().chain(coll.indexes.iter().map(|i| (format!("the index {}", i.name), &i.table))).collect();
    let mut freed = 0i64;
    for (n, (what, table)) in tables.iter().enumerate() {
        let before = shared.store.table_stats(table)?;
        if before.reusable_bytes < least {
            continue;
        }
        if dry_run {
            freed += before.reusable_bytes as i64;
            continue;
        }
        compact_table(cx, &format!("compact: {what} ({} of {})", n + 1, tables.len()), table, least)?;
        freed += before.file_bytes as i64 - shared.store.file_bytes(table)? as i64;
        still_there(cx, &coll)?;
    }
    reply.append(if dry_run { "estimatedBytesFreed" } else { "bytesFreed" }, compact_number(freed.max(0)));
    Ok(())
}

fn target_mb(args: &mut Args<'_>, command: &str) -> Result<i64> {
    match args.int("freeSpaceTargetMB")? {
        Some(n) if n < 1 => bail!(BadValue, "BSON field '{command}.freeSpaceTargetMB' value must be >= 1, actual value '{n}'"),
        n => Ok(n.unwrap_or(FREE_SPACE_TARGET_MB)),
    }
}

/// A collection that was dropped meanwhile has nothing left to compact.
fn still_there(cx: &mut Cx<'_>, coll: &Arc<Collection>) -> Result<()> {
    cx.interrupt()?;
    match cx.shared.catalog.get(&coll.ns) {
        Some(now) if now.uuid == coll.uuid => Ok(()),
        _ => bail!(NamespaceNotFound, "collection {} was dropped while it was compacted", coll.ns),
    }
}

/// Compacts a table, which currentOp shows; a kill, the command's deadline and shutdown end it.
pub(in crate::commands) fn compact_table(cx: &mut Cx<'_>, message: &str, table: &Table, least: u64) -> Result<()> {
    let shared = cx.shared.clone();
    let (kill, deadline) = (cx.op.kill.clone(), cx.op.deadline);
    kill.set_progress(Some(Progress { message: message.to_owned(), store: shared.store.clone(), table: table.clone() }));
    let asked = kill.clone();
    let interrupt = move || asked.is_set() || deadline.is_some_and(|at| Instant::now() >= at);
    let done = shared.store.compact(table, least, interrupt);
    kill.set_progress(None);
    match done {
        Err(e) if e.kind() == ErrorKind::Interrupted => {
            cx.interrupt()?;
            Err(e.into())
        }
        Err(e) if e.kind() == ErrorKind::Busy => bail!(Interrupted, "Compaction interrupted on table:{} due to cache eviction pressure", table.name()),
        Err(e) if e.kind() == ErrorKind::NotFound => bail!(NamespaceNotFound, "the collection was dropped while it was compacted"),
        done => Ok(done?),
    }
}

fn auto_compact(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let Some(enable) = args.strict_bool("autoCompact")? else { return Err(args.missing("autoCompact")) };
    let target = target_mb(args, "autoCompact")?;
    let run_once = args.strict_bool("runOnce")?.unwrap_or(false);
    args.finish()?;
    let shared = cx.shared.clone();
    // The room in the oplog's file is for its next entries.
    let exclude = [&shared.oplog];
    let settings = match enable {
        false => None,
        true => match target.checked_mul(1 << 20) {
            Some(bytes) => Some(AutoCompact { free_space_target: bytes as u64, run_once, exclude: &exclude }),
            None => bail!(BadValue, "freeSpaceTargetMB is too large: {target}"),
        },
    };
    match shared.store.auto_compact(settings) {
        Err(e) if e.kind() == ErrorKind::Busy => bail!(ObjectIsBusy, "the last change of background compaction is still being carried out"),
        Err(e) if e.kind() == ErrorKind::Invalid && shared.store.path().is_some() => {
            bail!(AlreadyInitialized, "Cannot reconfigure background compaction while it's already running.")
        }
        Err(e) if e.kind() == ErrorKind::Invalid => bail!(IllegalOperation, "{}", e.message()),
        done => Ok(done?),
    }
}

/// The collection; a name that nothing can have is one that is not there.
fn target(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Ns> {
    match (args.ns(&cx.db), args.first()) {
        (Err(e), Value::String(name)) if e.code() == Code::InvalidNamespace && !name.is_empty() && !name.starts_with('.') && !name.contains('\0') => {
            bail!(NamespaceNotFound, "collection does not exist: {}.{name}", cx.db)
        }
        (ns, _) => buckets::behind(&cx.op, ns?),
    }
}

fn re_index(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    bail!(IllegalOperation, "reIndex is only allowed on a standalone mongod instance.")
}
