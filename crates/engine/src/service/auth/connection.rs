//! Whose connection it is.

use std::sync::Arc;
use std::time::Duration;

use smongo_bson::{Code, Error, Escaped, Result, bail, err};

use super::attempts::Verdict;
use super::conversation::Conversation;
use super::principals::Principal;
use super::scram::{Keys, Mechanism};
use super::users::{Account, User};
use crate::data::op::KillSwitch;
use crate::service::audit::{self, Event, Weight, Who};
use crate::service::command::{Client, Trust};
use crate::service::shared::Shared;

/// Who has logged in by a connection, and who is about to.
#[derive(Default)]
pub struct Connection {
    pub(super) conversation: Option<Conversation>,
    user: Option<Arc<User>>,
    /// The generation of users in which the user was read.
    generation: u64,
    /// Somebody has proved who he is; else he was made it by who owns the data.
    proved: bool,
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

    /// Whether the user has logged in, and was not made the connection's by who owns the data.
    pub fn has_logged_in(&self) -> bool {
        self.proved && self.user.is_some()
    }

    /// Before every command: reads the user anew where users or roles have changed. Who is gone, was made again or may not come
    /// from there any more is logged out, and answered.
    #[inline]
    pub fn refresh(&mut self, shared: &Arc<Shared>, client: &Client) -> Result<Option<Arc<User>>> {
        if self.user.is_none() || self.generation == shared.users_generation() { Ok(None) } else { self.read_again(shared, client) }
    }

    #[cold]
    fn read_again(&mut self, shared: &Arc<Shared>, client: &Client) -> Result<Option<Arc<User>>> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let generation = shared.users_generation();
        let now = shared.users.user(shared, &user.principal)?.filter(|now| now.user_id == user.user_id && now.admits(client));
        if now.is_none() {
            tracing::info!(target: "smongo::access", remote = client.remote, "{} is logged out: changed or gone", Escaped(&user.principal.to_string()));
        }
        (self.user, self.generation) = (now, generation);
        Ok(self.user.is_none().then_some(user))
    }

    /// Ends what was begun and who was there.
    pub fn log_out(&mut self, peer: &Peer<'_>) {
        self.abandon(peer);
        self.user = None;
    }

    /// Ends a login in its middle.
    pub fn abandon(&mut self, peer: &Peer<'_>) {
        if let Some(conversation) = self.conversation.take() {
            let (who, mechanism) = conversation.names();
            peer.tell(None, Weight::Past, &audit::authenticate(Some(who), "", mechanism).with(Code::AuthenticationAbandoned)).ok();
        }
    }

    /// Makes it the connection of a user, for callers in the same process who ask for no password.
    pub fn become_user(&mut self, shared: &Arc<Shared>, who: &Principal) -> Result<()> {
        let generation = shared.users_generation();
        match shared.users.user(shared, who)? {
            Some(user) => (self.user, self.generation, self.proved) = (Some(user), generation, false),
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
        peer.tell(Some(&user), Weight::Before, &audit::authenticate(Some(&account.principal), "", mechanism))?;
        peer.admitted(&account.principal, mechanism);
        peer.shared.logins.succeeded(mechanism, speculative);
        (self.user, self.generation, self.proved) = (Some(user), generation, true);
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
            return Err(peer.unavailable(db, mechanism));
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
            return Err(self.failed(Some(who), mechanism));
        }
        Ok(())
    }

    /// Tells the audit log, if there is one, of something that this peer does.
    pub(super) fn tell(&self, user: Option<&User>, weight: Weight, event: &Event) -> Result<()> {
        let Some(audit) = &self.shared.audit else { return Ok(()) };
        let check = || match self.shared.shutting_down() {
            true => bail!(InterruptedAtShutdown, "interrupted at shutdown"),
            false => self.kill.check(),
        };
        audit.tell(&Who { client: Some(self.client), connection: self.connection, user, check: &check }, weight, event)
    }

    /// What a client hears of a login that failed, once the audit log has heard of it.
    fn failed(&self, who: Option<&Principal>, mechanism: &str) -> Error {
        let event = audit::authenticate(who, "", mechanism).with(Code::AuthenticationFailed);
        self.tell(None, Weight::Note, &event).err().unwrap_or_else(failure)
    }

    /// Nobody can log in that way.
    pub(super) fn unavailable(&self, db: &str, mechanism: &str) -> Error {
        let event = audit::authenticate(None, db, mechanism).with(Code::MechanismUnavailable);
        let told = self.tell(None, Weight::Note, &event);
        told.err().unwrap_or_else(|| err!(MechanismUnavailable, "Received authentication for mechanism {mechanism} which is unknown or not enabled"))
    }

    /// A login failed. The log hears why, the client never does.
    pub(super) fn refuse(&self, who: Option<&Principal>, mechanism: &str, reason: &str) -> Error {
        self.note(who, mechanism, reason);
        let failed = self.failed(who, mechanism);
        let fixed = self.shared.parameters.failed_login_delay();
        let delay = match who {
            Some(who) if self.counts() => self.shared.attempts.failed(self.client.peer.way, who).max(fixed),
            _ => fixed,
        };
        if delay > Duration::ZERO {
            self.shared.wait_for_shutdown(delay, || self.kill.is_set());
        }
        failed
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
