//! Whose connection it is.

use std::sync::Arc;
use std::time::Duration;

use smongo_bson::{Error, Escaped, Result, bail, err};

use super::attempts::Verdict;
use super::conversation::Conversation;
use super::principals::Principal;
use super::scram::{Keys, Mechanism};
use super::users::{Account, User};
use crate::data::op::KillSwitch;
use crate::service::command::{Client, Trust};
use crate::service::shared::Shared;

/// Who has logged in by a connection, and who is about to.
#[derive(Default)]
pub struct Connection {
    pub(super) conversation: Option<Conversation>,
    user: Option<Arc<User>>,
    /// The generation of users in which the user was read.
    generation: u64,
}

/// Who is at the other end while it logs in.
pub struct Peer<'a> {
    pub shared: &'a Arc<Shared>,
    pub client: &'a Client,
    pub connection: u64,
    /// Ends its waiting.
    pub kill: &'a KillSwitch,
}

impl Connection {
    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// What sessions and cursors of the user are known by.
    pub fn uid(&self) -> Option<[u8; 32]> {
        self.user.as_ref().map(|user| user.uid)
    }

    /// Before every command: reads the user anew where users or roles have changed. Who is gone, was made again or may not come
    /// from there any more is logged out.
    #[inline]
    pub fn refresh(&mut self, shared: &Arc<Shared>, client: &Client) -> Result<()> {
        if self.user.is_none() || self.generation == shared.users_generation() { Ok(()) } else { self.read_again(shared, client) }
    }

    #[cold]
    fn read_again(&mut self, shared: &Arc<Shared>, client: &Client) -> Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        let generation = shared.users_generation();
        let now = shared.users.user(shared, &user.principal)?.filter(|now| now.user_id == user.user_id && now.admits(client));
        if now.is_none() {
            tracing::info!(target: "smongo::access", remote = client.remote, "{} is logged out: changed or gone", Escaped(&user.principal.to_string()));
        }
        (self.user, self.generation) = (now, generation);
        Ok(())
    }

    /// Ends what was begun and who was there.
    pub fn log_out(&mut self) {
        self.conversation = None;
        self.user = None;
    }

    /// Makes it the connection of a user, for callers in the same process who ask for no password.
    pub fn become_user(&mut self, shared: &Arc<Shared>, who: &Principal) -> Result<()> {
        let generation = shared.users_generation();
        match shared.users.user(shared, who)? {
            Some(user) => (self.user, self.generation) = (Some(user), generation),
            None => bail!(UserNotFound, "Could not find user \"{}\" for db \"{}\"", who.name, who.db),
        }
        Ok(())
    }

    /// The account has proven to be who it says: if it may, the connection is its user's from here on.
    pub(super) fn admit(&mut self, peer: &Peer<'_>, account: &Account, mechanism: &str, speculative: bool) -> Result<()> {
        let generation = peer.shared.users_generation();
        let user = peer.shared.users.user(peer.shared, &account.principal)?.filter(|user| user.user_id == account.user_id);
        let Some(user) = user else { return Err(peer.refuse(Some(&account.principal), mechanism, "the user is gone")) };
        if !user.admits(peer.client) {
            return Err(peer.refuse(Some(&account.principal), mechanism, "the user may not come from there"));
        }
        peer.admitted(&account.principal, mechanism);
        peer.shared.logins.succeeded(mechanism, speculative);
        (self.user, self.generation) = (Some(user), generation);
        Ok(())
    }

    /// Logs in by name and password, for callers who have them. Takes as long for a name that nobody has.
    pub fn log_in(&mut self, peer: &Peer<'_>, who: &Principal, password: &str) -> Result<()> {
        peer.may_try(who, "password")?;
        let account = peer.shared.users.account(peer.shared, who)?;
        let best = |account: &Arc<Account>| account.mechanisms().last();
        let mechanism = account.as_ref().and_then(best).unwrap_or(Mechanism::Sha256);
        let keys = match account.as_ref().and_then(|account| account.keys(mechanism)) {
            Some(keys) => keys.clone(),
            None => peer.nobodys_keys(mechanism, who)?,
        };
        let right = mechanism.prepared(&who.name, password).is_ok_and(|prepared| keys.fit(mechanism, &prepared));
        match account.filter(|_| right) {
            Some(account) => self.admit(peer, &account, mechanism.name(), false),
            None => Err(peer.refuse(Some(who), mechanism.name(), "wrong name or password")),
        }
    }
}

impl Connection {
    /// MONGODB-X509: the user of `$external` whose name is the subject of the client's certificate; its name.
    pub fn by_certificate(&mut self, peer: &Peer<'_>, db: &str, mechanism: &str, user: Option<&str>, speculative: bool) -> Result<String> {
        if mechanism != X509 {
            return Err(peer.refuse(None, mechanism, "authenticate knows certificates only"));
        }
        if !peer.shared.parameters.enables(X509) {
            bail!(MechanismUnavailable, "Received authentication for mechanism {mechanism} which is unknown or not enabled");
        }
        peer.shared.logins.received(X509, speculative);
        let Some(subject) = subject(peer.client) else { return Err(peer.refuse(None, X509, "the connection has no certificate")) };
        let who = Principal::new(subject, "$external");
        if db != who.db || user.is_some_and(|user| user != subject) {
            return Err(peer.refuse(Some(&who), X509, "the certificate is another's"));
        }
        peer.may_try(&who, X509)?;
        match peer.shared.users.account(peer.shared, &who)?.filter(|account| account.external) {
            Some(account) => self.admit(peer, &account, X509, speculative)?,
            None => return Err(peer.refuse(Some(&who), X509, "no such user")),
        }
        Ok(who.name)
    }
}

/// The mechanism of those who show a certificate.
const X509: &str = "MONGODB-X509";

/// The name in the certificate that the transport has verified.
fn subject(client: &Client) -> Option<&str> {
    client.peer.certificate.as_deref()
}

impl Peer<'_> {
    /// The keys of somebody who cannot log in that way: salt and count are those of a user, and stay the same.
    pub(super) fn nobodys_keys(&self, mechanism: Mechanism, who: &Principal) -> Result<Keys> {
        let salt = self.shared.secret.salt(mechanism, who);
        Keys::nobodys(mechanism, &salt, self.shared.parameters.iterations(mechanism))
    }

    /// Whether failed logins are counted: where anybody may do everything there is nothing to guess.
    fn counts(&self) -> bool {
        self.client.trust == Trust::Enforced
    }

    /// Refuses who has failed too often.
    pub(super) fn may_try(&self, who: &Principal, mechanism: &str) -> Result<()> {
        if self.counts() && self.shared.attempts.may_try(self.client.peer.way, who) == Verdict::Refuse {
            self.note(Some(who), mechanism, "refused: too many failed logins");
            return Err(failure());
        }
        Ok(())
    }

    /// A login failed. The log hears why, the client never does.
    pub(super) fn refuse(&self, who: Option<&Principal>, mechanism: &str, reason: &str) -> Error {
        self.note(who, mechanism, reason);
        let fixed = self.shared.parameters.failed_login_delay();
        let delay = match who {
            Some(who) if self.counts() => self.shared.attempts.failed(self.client.peer.way, who).max(fixed),
            _ => fixed,
        };
        if delay > Duration::ZERO {
            self.shared.wait_for_shutdown(delay, || self.kill.is_set());
        }
        failure()
    }

    fn admitted(&self, who: &Principal, mechanism: &str) {
        if self.counts() {
            self.shared.attempts.succeeded(self.client.peer.way, who);
        }
        tracing::info!(target: "smongo::access", connection = self.connection, remote = self.client.remote, mechanism, user = %Escaped(&who.name), db = %Escaped(&who.db), "logged in");
    }

    fn note(&self, who: Option<&Principal>, mechanism: &str, reason: &str) {
        let (name, db) = who.map_or(("", ""), |who| (&*who.name, &*who.db));
        tracing::info!(target: "smongo::access", connection = self.connection, remote = self.client.remote, mechanism = %Escaped(mechanism), user = %Escaped(name), db = %Escaped(db), reason, "login failed");
    }
}

/// All that a client hears of a login that failed.
pub(super) fn failure() -> Error {
    err!(AuthenticationFailed, "Authentication failed.")
}
