//! compactOplog: all entries of the oplog but the newest go. MongoDB has no such command; it bounds its oplog by size and age.

use smongo_bson::{DocWriter, Result, bail};
use smongo_mql::Host;
use smongo_mql::access::Action;

use super::compact::compact_table;
use crate::data::oplog;
use crate::service::command::{ADMIN, Access, Args, Command, Cx};

pub const COMPACT_OPLOG: Command = Command::new("compactOplog", compact_oplog, ADMIN, Access::Cluster(&[Action::Compact]));

fn compact_oplog(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let keep = args.int("keep")?;
    args.finish()?;
    let keep = match keep {
        Some(n) if n < 0 => bail!(BadValue, "BSON field 'compactOplog.keep' value must be >= 0, actual value '{n}'"),
        Some(n) => n as u64,
        None => return Err(args.missing("keep")),
    };
    let shared = cx.shared.clone();
    let before = shared.store.file_bytes(&shared.oplog)?;
    let removed = oplog::keep_newest(&shared, keep, || cx.op.interrupt())?;
    compact_table(cx, "compactOplog", &shared.oplog, 0)?;
    let after = shared.store.file_bytes(&shared.oplog)?;
    reply.append("removed", removed as i64).append("bytesFreed", before.saturating_sub(after) as i64);
    Ok(())
}
