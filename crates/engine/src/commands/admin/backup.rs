//! backup: a copy of the open database in another directory. MongoDB has no such command outside of its enterprise edition.

use std::net::SocketAddr;
use std::path::Path;

use smongo_bson::{DocWriter, Result, Value, bail};
use smongo_mql::access::Action;
use crate::service::command::{ADMIN, Access, Args, Command, Cx};


pub const BACKUP: Command = Command::new("backup", backup, ADMIN, Access::Cluster(&[Action::Fsync]));

fn backup(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let directory = match args.first() {
        Value::String(path) => Path::new(path),
        v => return Err(args.wrong_type("backup", v, "string")),
    };
    args.finish()?;
    // It writes files of this machine, which is no business of others as long as there is no authentication.
    if cx.client.remote.parse::<SocketAddr>().is_ok_and(|from| !from.ip().to_canonical().is_loopback()) {
        bail!(Unauthorized, "backup may only be asked for from the machine of the database");
    }
    if !directory.is_absolute() {
        bail!(BadValue, "backup needs an absolute path, found {}", directory.display());
    }
    if cx.shared.store.path().is_none() {
        bail!(IllegalOperation, "a database in memory has no files to back up");
    }
    cx.shared.store.backup(directory)?;
    reply.append("directory", &*directory.to_string_lossy());
    Ok(())
}
