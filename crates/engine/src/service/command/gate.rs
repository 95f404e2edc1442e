//! The gate: before a command runs, its rule is held against what its sender may. What came through carries a [`Pass`], which only
//! the gate makes and nothing runs without.

use std::sync::Arc;

use smongo_bson::{Doc, Error, Result, Value, bail, err};
use smongo_mql::access::{Need, Resource};

use super::access::{self, Access, Needs, Scope};
use super::{Args, Client, Command, Trust, shown};
use crate::data::lsid::Uid;
use crate::data::namespace::Ns;
use crate::service::auth::users::User;
use crate::service::auth::principals;
use crate::service::shared::Shared;

/// What the gate found out of a command it let through.
pub struct Pass {
    command: &'static Command,
    /// Somebody is held to what he may. Else everything is allowed.
    enforced: bool,
    user: Option<Arc<User>>,
    needs: Needs,
}

/// What a cursor needs for its next batch: its owner, and all that the command needed that opened it.
#[derive(Clone, Debug, Default)]
pub struct Clearance {
    owner: Option<Uid>,
    needs: Needs,
}

impl Pass {
    /// Whether the sender may something beside what the command needs by its rule.
    pub fn holds(&self, need: Need<'_>) -> bool {
        !self.enforced || self.user.as_ref().is_some_and(|user| user.grants.hold(need))
    }

    /// Whether the sender may anything on a database or on a collection of it.
    pub fn reaches(&self, db: &str) -> bool {
        !self.enforced || self.user.as_ref().is_some_and(|user| user.grants.reach(db))
    }

    /// Whether the sender may anything on a collection.
    pub fn reaches_collection(&self, ns: &Ns) -> bool {
        !self.enforced || self.user.as_ref().is_some_and(|user| user.grants.reach_collection(ns.db(), ns.coll()))
    }

    /// Fails unless the sender may.
    pub fn require(&self, need: Need<'_>, db: &str, body: Doc<'_>) -> Result<()> {
        if self.holds(need) { Ok(()) } else { Err(refused(self.command, db, body)) }
    }

    /// Whether nobody has said who he is where that matters.
    pub fn is_strangers(&self) -> bool {
        self.enforced && self.user.is_none()
    }

    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// The user whom others' cursors, operations and sessions are hidden from; none where nothing is enforced.
    pub fn held_to(&self) -> Option<Uid> {
        self.user.as_ref().filter(|_| self.enforced).map(|user| user.uid)
    }

    /// Whether what belongs to somebody is the sender's to deal with.
    pub fn owns(&self, owner: Option<Uid>) -> bool {
        !self.enforced || owner.is_some() && owner == self.held_to()
    }

    /// For a cursor over a collection that the command opens.
    pub fn clearance(&self, ns: &Ns) -> Clearance {
        let mut needs = self.needs.clone();
        if let (true, Access::Named(actions)) = (self.enforced && needs.is_empty(), self.command.access) {
            needs.ns(ns.db(), ns.coll(), actions);
        }
        Clearance { owner: self.user.as_ref().map(|user| user.uid), needs }
    }

    /// Whether the sender may have the next batch of a cursor: it is his, and he may still what opening it needed.
    pub fn continues(&self, cursor: &Clearance, id: i64) -> Result<()> {
        if !self.owns(cursor.owner) {
            bail!(Unauthorized, "cursor id {id} was not created by the authenticated user");
        }
        match &self.user {
            Some(user) if self.enforced && !cursor.needs.met(&user.grants) => bail!(Unauthorized, "not authorized for the next batch of cursor id {id}"),
            _ => Ok(()),
        }
    }
}

impl Clearance {
    pub fn owner(&self) -> Option<Uid> {
        self.owner
    }
}

/// Lets a command through or refuses it (13).
pub fn admit(shared: &Arc<Shared>, client: &Client, user: Option<&Arc<User>>, command: &'static Command, db: &str, args: &Args<'_>, body: Doc<'_>) -> Result<Pass> {
    let pass = |enforced, needs| Pass { command, enforced, user: user.cloned(), needs };
    if client.trust != Trust::Enforced {
        return Ok(pass(false, Needs::default()));
    }
    let Some(user) = user else {
        return match rule_of(command) {
            Access::Open => Ok(pass(true, Needs::default())),
            _ if is_first(shared, client, command, db)? => Ok(pass(false, Needs::default())),
            _ if matches!(command.name, "buildInfo" | "buildinfo") && shared.parameters.build_info_mode() != "requiresAuth" => Ok(pass(true, Needs::default())),
            _ => bail!(Unauthorized, "Command {} requires authentication", command.name),
        };
    };
    let mut needs = Needs::default();
    let met = match rule_of(command) {
        Access::Open | Access::User => true,
        // What most commands come by allocates nothing.
        Access::Named(actions) if let Value::String(coll) = args.peek_first() => user.grants.hold(Need::new(Resource::Ns(db, coll), actions)),
        _ => {
            let (name, home) = (user.principal.name.as_str(), user.principal.db.as_str());
            let has_role = |name: &str, db: &str| user.all_roles.iter().any(|role| role.name == name && role.db == db);
            let scope = Scope { data: shared, db, args, grants: &user.grants, user: (name, home), has_role: &has_role };
            access::add_needs(rule_of(command), &scope, &mut needs)?;
            needs.met(&user.grants)
        }
    };
    if met { Ok(pass(true, needs)) } else { Err(refused(command, db, body)) }
}

/// The rule of a command's row.
#[cfg(not(test))]
fn rule_of(command: &Command) -> Access {
    command.access
}

/// Tests put another in its place, to see whether that would be found.
#[cfg(test)]
fn rule_of(command: &Command) -> Access {
    tests::MUTANT.with(std::cell::Cell::get).filter(|(name, _)| *name == command.name).map_or(command.access, |(_, rule)| rule)
}

#[cfg(test)]
pub mod tests {
    use super::Access;

    thread_local! {
        /// A command whose rule is another one on this thread.
        pub static MUTANT: std::cell::Cell<Option<(&'static str, Access)>> = const { std::cell::Cell::new(None) };
    }
}

fn refused(command: &Command, db: &str, body: Doc<'_>) -> Error {
    err!(Unauthorized, "not authorized on {db} to execute command {}", shown::Text(command, body))
}

/// The localhost exception: where there is neither a user nor a role, somebody on this machine may make the first.
fn is_first(shared: &Arc<Shared>, client: &Client, command: &Command, db: &str) -> Result<bool> {
    // Where other machines are let in, one that comes by a proxy looks as if it were here.
    let open = || client.peer.local && shared.parameters.localhost_bypass().unwrap_or(!client.peer.exposed);
    Ok(matches!(command.name, "createUser" | "createRole") && db == "admin" && open() && principals::nobody(&mut shared.op())?)
}
