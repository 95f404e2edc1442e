//! compact, reIndex

use smongo_bson::{Code, DocWriter, Result, Value, bail};

use super::{Args, Command};
use crate::door::Cx;
use crate::namespace::Ns;

pub const COMPACT: Command = Command::new("compact", compact, 0);
pub const RE_INDEX: Command = Command::new("reIndex", re_index, 0);

fn compact(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = target(cx, args)?;
    let dry_run = args.strict_bool("dryRun")?.unwrap_or(false);
    // On a primary, MongoDB wants `force` no longer; it changes nothing.
    args.strict_bool("force")?;
    let threshold = args.int("freeSpaceTargetMB")?;
    args.finish()?;
    if let Some(n) = threshold.filter(|n| *n < 1) {
        bail!(BadValue, "BSON field 'compact.freeSpaceTargetMB' value must be >= 1, actual value '{n}'");
    }
    let shared = cx.op.shared.clone();
    let coll = shared.catalog.require(&ns)?;
    let Some(storage) = coll.storage() else { bail!(CommandNotSupportedOnView, "can't compact a view") };
    let least = threshold.map_or(0, |mb| (mb as u64).saturating_mul(1 << 20));
    let mut freed = 0i64;
    for table in coll.indexes.iter().map(|i| &i.table).chain([&storage.records]) {
        let before = shared.store.table_stats(table)?;
        if before.reusable_bytes < least.max(1) {
            continue;
        }
        if dry_run {
            freed += before.reusable_bytes as i64;
            continue;
        }
        shared.store.compact(table)?;
        freed += before.file_bytes as i64 - shared.store.table_stats(table)?.file_bytes as i64;
        cx.interrupt()?;
    }
    reply.append(if dry_run { "estimatedBytesFreed" } else { "bytesFreed" }, super::create::compact_number(freed.max(0)));
    Ok(())
}

/// The collection; a name that nothing can have is one that is not there.
fn target(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Ns> {
    match (args.ns(&cx.db), args.first()) {
        (Err(e), Value::String(name)) if e.code() == Code::InvalidNamespace && !name.is_empty() && !name.starts_with('.') && !name.contains('\0') => {
            bail!(NamespaceNotFound, "collection does not exist: {}.{name}", cx.db)
        }
        (ns, _) => ns,
    }
}

fn re_index(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    bail!(IllegalOperation, "reIndex is only allowed on a standalone mongod instance.")
}
