//! What an event is made of: who did it, from where, and what it was.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smongo_bson::{Binary, Code, Doc, DocBuf, DocWriter, ObjectId, Result, Value, bail};

use super::queue::Check;
use crate::data::clock::now_millis;
use crate::service::auth::principals::{Kind, Principal, role_array};
use crate::service::auth::users::User;
use crate::service::command::{Client, Trust, Way};

/// Who does something.
pub struct Who<'a> {
    /// None for what the database does by itself.
    pub client: Option<&'a Client>,
    pub connection: u64,
    pub user: Option<&'a User>,
    /// Whether to wait on for a line of it.
    pub check: Check<'a>,
}

impl Who<'_> {
    /// Whether what cannot be told is refused: not to the database itself, nor to its owner.
    pub fn is_bound(&self) -> bool {
        self.client.is_some_and(|client| client.trust != Trust::Owner)
    }
}

/// How much hangs on an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It happens once its line is written, and not at all when that cannot be.
    Before,
    /// It has happened, or is refused anyway; what cannot be told is refused.
    Note,
    /// It has happened, and nobody can be refused it: somebody is gone, the database ends.
    Past,
}

/// What happened: the action and its parameters.
#[derive(Clone)]
pub struct Event {
    pub atype: &'static str,
    pub param: DocBuf,
    pub result: Code,
}

/// The result of what went well.
pub const DONE: Code = Code(0);

impl Event {
    pub fn new(atype: &'static str, param: impl FnOnce(&mut DocWriter<'_>)) -> Event {
        Event { atype, param: DocBuf::build(param), result: DONE }
    }

    pub fn with(self, result: Code) -> Event {
        Event { result, ..self }
    }

    /// The event as it is filtered and written.
    pub fn document(&self, process: ObjectId, who: &Who<'_>) -> DocBuf {
        DocBuf::build(|w| {
            w.append("atype", self.atype).append("ts", Value::DateTime(now_millis()));
            w.append("uuid", Value::Binary(Binary::from_raw(&uuid(process, who.connection))));
            write_end(who.client, false, &mut w.document("local"));
            write_end(who.client, true, &mut w.document("remote"));
            write_users("users", who.user.map(|user| &user.principal), w);
            w.append("roles", role_array(who.user.map_or(&[], |user| &user.all_roles)).view());
            w.append("param", self.param.as_doc()).append("result", self.result.0);
        })
    }
}

/// A connection's name: its number under the process's own id, unique, and the same as long as the connection lives.
pub fn uuid(process: ObjectId, connection: u64) -> [u8; 17] {
    let mut raw = [4; 17];
    raw[1..13].copy_from_slice(&process.0);
    raw[13..].copy_from_slice(&(connection as u32).to_be_bytes());
    raw
}

/// One end of a connection.
pub fn write_end(client: Option<&Client>, remote: bool, w: &mut DocWriter<'_>) {
    match client.map(|client| (client.peer.way, client)) {
        Some((Way::Ip { from, to }, client)) => {
            let port = |text: &str| text.parse::<SocketAddr>().map(|a| a.port()).or_else(|_| text.rsplit(':').next().unwrap_or_default().parse()).unwrap_or(0);
            let (ip, text) = if remote { (from, &client.remote) } else { (to, &client.local) };
            w.append("ip", &*ip.to_string()).append("port", i32::from(port(text)));
        }
        // A client's end of a socket has no name of its own.
        Some((Way::Socket, client)) => drop(w.append("unix", &*client.local)),
        Some((Way::Process, _)) | None => drop(w.append("isSystemUser", true)),
    }
}

pub fn write_users(name: &str, user: Option<&Principal>, w: &mut DocWriter<'_>) {
    let mut list = w.array(name);
    if let Some(user) = user {
        user.write(Kind::User, &mut list.document());
    }
}

/// The parameters of the end of a login.
pub fn logout(user: &User, reason: &str) -> Event {
    Event::new("logout", |w| {
        w.append("reason", reason);
        write_users("initialUsers", Some(&user.principal), w);
        write_users("updatedUsers", None, w);
    })
}

pub fn authenticate(who: Option<&Principal>, db: &str, mechanism: &str) -> Event {
    Event::new("authenticate", |w| {
        w.append("user", who.map_or("", |who| &*who.name)).append("db", who.map_or(db, |who| &*who.db)).append("mechanism", mechanism);
    })
}

/// The parameters of what was allowed or refused: a command as it may be shown.
pub fn auth_check(command: &str, ns: Option<&str>, args: Doc<'_>) -> Event {
    Event::new("authCheck", |w| {
        w.append("command", command);
        if let Some(ns) = ns {
            w.append("ns", ns);
        }
        w.append("args", args);
    })
}

/// For those who cannot be asked whether to wait on.
pub fn for_a_while(most: Duration) -> impl Fn() -> Result<()> {
    let until = Instant::now() + most;
    move || {
        if Instant::now() >= until {
            bail!(OperationFailed, "the audit log cannot be written: it takes too long");
        }
        Ok(())
    }
}
