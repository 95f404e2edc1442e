//! In whose name a command speaks: fields by which a client would speak for others, or for the whole cluster.

use smongo_bson::{Result, bail};

use super::Session;
use crate::service::command::{Access, Args, Command, Generic, Trust};

/// What routers tell of whom they speak for.
const IMPERSONATION: [&str; 2] = ["$audit", "impersonatedUsers"];

impl Session {
    /// Gives the command's session its owner, whom a client may name only if it is itself, and sees to it that only the owner of
    /// the data speaks for others or sets the cluster's clock forward.
    pub(super) fn identify(&self, command: &Command, generic: &mut Generic<'_>, args: &Args<'_>) -> Result<()> {
        let (uid, trust) = (self.auth.uid(), self.place.client().trust);
        // Who may say nothing of himself has no session either.
        if matches!(command.access, Access::Open) {
            generic.lsid = None;
        }
        if let Some(lsid) = &mut generic.lsid {
            lsid.claim(uid, trust == Trust::Owner)?;
        }
        if trust == Trust::Owner {
            return Ok(());
        }
        if IMPERSONATION.iter().any(|name| !args.peek(name).is_missing()) {
            bail!(Unauthorized, "Unauthorized use of impersonation metadata.");
        }
        if generic.cluster_time.is_some_and(|time| time > self.shared.clock.last()) {
            generic.cluster_time = None;
        }
        Ok(())
    }
}
