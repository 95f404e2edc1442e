//! What the audit log hears of every command: who was refused one, who was let through where that is asked for, and who is gone.

use smongo_bson::{Code, Doc, DocBuf, Error, Result, bail};

use super::Session;
use crate::service::audit::{self, Audit, DONE, Event, Weight, Who};
use crate::service::auth::users::User;
use crate::service::auth::{Connection, Peer};
use crate::service::command::{ADMIN, Access, Command, Request, Trust, shown};
use crate::service::usage;

/// Longer commands are told by what names them.
const SHOWN_BYTES: usize = 64 << 10;

impl Session {
    fn audit(&self, audit: &Audit, weight: Weight, user: Option<&User>, event: &Event) -> Result<()> {
        let client = Some(self.place.client());
        // No command runs that somebody could kill.
        let check = || match self.shared.shutting_down() {
            true => bail!(InterruptedAtShutdown, "interrupted at shutdown"),
            false => Ok(()),
        };
        audit.tell(&Who { client, connection: self.connection, user, check: &check }, weight, event)
    }

    /// Whoever is refused a command is told of, wherever it is refused. What cannot be told is refused otherwise.
    pub(super) fn tell_of_refusal(&self, audit: &Audit, command: &Command, request: &Request<'_>, e: Error) -> Error {
        if e.code() != Code::Unauthorized {
            return e;
        }
        let event = checked(command, request).with(Code::Unauthorized);
        self.audit(audit, Weight::Note, self.auth.user().map(|user| &**user), &event).err().unwrap_or(e)
    }

    /// Whoever is let through is told of where the parameter `auditAuthorizationSuccess` asks for it.
    pub(super) fn tell_of_admission(&self, audit: &Audit, command: &Command, request: &Request<'_>) -> Result<()> {
        let asked = self.shared.parameters.audits_successes() && self.place.client().trust != Trust::Owner && !matches!(command.access, Access::Open);
        match asked {
            true => self.audit(audit, Weight::Note, self.auth.user().map(|user| &**user), &checked(command, request).with(DONE)),
            false => Ok(()),
        }
    }

    /// Somebody is logged out without having asked for it.
    pub(super) fn tell_of_logout(&self, user: &User, reason: &str) {
        if let Some(audit) = &self.shared.audit {
            let _ = self.audit(audit, Weight::Past, Some(user), &audit::logout(user, reason));
        }
    }

    /// The connection ends.
    pub(super) fn tell_of_end(&mut self) {
        if self.shared.audit.is_none() {
            return;
        }
        let mut auth: Connection = std::mem::take(&mut self.auth);
        auth.abandon(&Peer { shared: &self.shared, client: self.place.client(), connection: self.connection, kill: &Default::default() });
        if let Some(user) = auth.user().filter(|_| auth.has_logged_in()) {
            self.tell_of_logout(user, "Implicit logout due to client connection closure");
        }
    }
}

/// Whether a name in the command's first field is a collection's, and not that of a user, a role or a setting.
fn names_collection(command: &Command) -> bool {
    !command.is(ADMIN) && !matches!(command.access, Access::Open) && !["User", "Role", "Info"].iter().any(|end| command.name.ends_with(end))
}

/// The command as it may be shown, with the documents that came beside it.
fn checked(command: &Command, request: &Request<'_>) -> Event {
    let db = request.body.get("$db").as_str().unwrap_or("admin");
    let ns = usage::collection(command.kind, request).filter(|_| names_collection(command)).map(|coll| format!("{db}.{coll}"));
    let beside: usize = request.sequences.iter().map(|s| s.docs.len()).sum();
    let body = request.body;
    let args = if body.as_bytes().len() + beside > SHOWN_BYTES {
        DocBuf::build(|w| {
            if let Some(first) = body.first() {
                w.append_element(&first);
            }
            w.append("$db", db).append("$truncated", (body.as_bytes().len() + beside) as i64);
        })
    } else if request.sequences.is_empty() {
        return audit::auth_check(command.name, ns.as_deref(), Doc::from_checked(&shown::document(command, body)));
    } else {
        DocBuf::build(|w| {
            w.append_all(body);
            for sequence in request.sequences {
                let mut list = w.array(sequence.name);
                for doc in sequence.iter() {
                    list.push(doc);
                }
            }
        })
    };
    audit::auth_check(command.name, ns.as_deref(), Doc::from_checked(&shown::document(command, args.as_doc())))
}
