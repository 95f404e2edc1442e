//! fsync, fsyncUnlock

use std::time::Duration;

use smongo_bson::{DocWriter, Result};
use smongo_mql::access::Action;

use crate::service::command::{ADMIN, Access, Args, Command, Cx, LIGHT};
use crate::service::shared::Shared;

pub const FSYNC: Command = Command::new("fsync", fsync, ADMIN, Access::Cluster(&[Action::Fsync]));
pub const FSYNC_UNLOCK: Command = Command::new("fsyncUnlock", fsync_unlock, ADMIN | LIGHT, Access::Cluster(&[Action::Unlock]));

/// How long `fsync: {lock: true}` waits for transactions that write, unless it says so itself.
const LOCK_TIMEOUT_MS: i64 = 90_000;

fn fsync(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let lock = args.bool("lock")?;
    let timeout = args.int("fsyncLockAcquisitionTimeoutMillis")?.unwrap_or(LOCK_TIMEOUT_MS);
    args.finish()?;
    let shared = cx.shared.clone();
    if !lock {
        flush(&shared)?;
        reply.append("numFiles", 1);
        return Ok(());
    }
    let count = shared.fsync.lock(Duration::from_millis(timeout.max(0) as u64), || cx.interrupt())?;
    flush(&shared)?;
    reply.append("info", "now locked against writes, use db.fsyncUnlock() to unlock").append("lockCount", count);
    reply.append("seeAlso", "http://dochub.mongodb.org/core/fsynccommand");
    Ok(())
}

/// A database in memory has no files to write.
fn flush(shared: &Shared) -> Result<()> {
    if shared.store.path().is_some() {
        shared.store.checkpoint()?;
    }
    Ok(())
}

fn fsync_unlock(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    let left = cx.shared.fsync.unlock()?;
    reply.append("info", "fsyncUnlock completed").append("lockCount", left);
    Ok(())
}
