//! setUserWriteBlockMode

use smongo_bson::{DocWriter, Result, bail};
use smongo_mql::access::Action;

use crate::service::command::{ADMIN, Access, Args, Command, Cx};
use crate::service::write_block::WriteBlock;

pub const SET: Command = Command::new("setUserWriteBlockMode", set, ADMIN, Access::Cluster(&[Action::SetUserWriteBlockMode]));

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.first();
    let Some(on) = args.strict_bool("global")? else { return Err(args.missing("global")) };
    let reason = match args.str("reason")? {
        None => "Unspecified",
        Some(reason @ ("Unspecified" | "ClusterToClusterMigrationInProgress" | "DiskUseThresholdExceeded")) => reason,
        Some(other) => bail!(BadValue, "Enumeration value '{other}' for field 'setUserWriteBlockMode.reason' is not a valid value."),
    };
    args.finish()?;
    WriteBlock::switch(cx.shared, &mut cx.op, on, reason)
}
