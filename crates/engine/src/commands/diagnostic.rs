//! What a client asks about its own connection: connectionStatus, whatsmyuri.

use smongo_bson::{Binary, DocWriter, Result, Value};

use super::{Args, Command, LIGHT};
use crate::door::Cx;

pub const CONNECTION_STATUS: Command = Command::new("connectionStatus", connection_status, LIGHT);
pub const WHATS_MY_URI: Command = Command::new("whatsmyuri", whats_my_uri, LIGHT);

fn connection_status(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let privileges = args.bool("showPrivileges")?;
    args.finish()?;
    let mut info = reply.document("authInfo");
    info.array("authenticatedUsers");
    info.array("authenticatedUserRoles");
    if privileges {
        info.array("authenticatedUserPrivileges");
    }
    info.finish();
    // The connection's number under the process's own id: unique, and the same as long as the connection lives.
    let mut raw = [4; 17];
    raw[1..13].copy_from_slice(&cx.op.shared.process.0);
    raw[13..].copy_from_slice(&(cx.connection as u32).to_be_bytes());
    reply.append("uuid", Value::Binary(Binary::from_raw(&raw)));
    Ok(())
}

fn whats_my_uri(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    reply.append("you", &*cx.client.remote);
    Ok(())
}
