//! What reaches the door and what the transport does about it.

use std::net::IpAddr;

use smongo_bson::Doc;

/// A command as it arrived: the body and the document sequences (OP_MSG kind 1) that stand for array fields of it.
pub struct Request<'a> {
    pub body: Doc<'a>,
    pub sequences: &'a [Sequence<'a>],
}

/// `documents`, `updates`, `deletes` or `ops` as a run of BSON documents one behind the other, each checked.
pub struct Sequence<'a> {
    pub name: &'a str,
    pub docs: &'a [u8],
}

impl<'a> Sequence<'a> {
    pub fn iter(&self) -> impl Iterator<Item = Doc<'a>> + use<'a> {
        let mut rest = self.docs;
        std::iter::from_fn(move || {
            let len = smongo_bson::check::prefix(rest).ok()?;
            let (doc, after) = rest.split_at(len);
            rest = after;
            Some(Doc::from_checked(doc))
        })
    }
}

/// Who is at the other end; hello and diagnostics tell it.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port` (or socket path) under which this client reaches the server: hello's `me` and `hosts`.
    pub local: String,
    /// The client's own address; empty for an embedded one.
    pub remote: String,
    /// The compressors the transport offers, in its order of preference.
    pub compressors: &'static [&'static str],
    pub trust: Trust,
    pub peer: Peer,
}

/// What the transport knows of the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// It is on this machine: it came by loopback, or is a process of our own user. Who came through a proxy of this machine looks so, too.
    pub local: bool,
    /// The addresses of both ends.
    pub way: Way,
    /// The server listens where other machines reach it.
    pub exposed: bool,
    /// The version of TLS that both ends speak, as `1.3`; `None` in plain text.
    pub tls: Option<&'static str>,
    /// The subject of the certificate by which it has proved who it is, as RFC 2253.
    pub certificate: Option<String>,
}

/// How a client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// It is in the same process, and comes from nowhere.
    #[default]
    Process,
    /// By a socket without addresses of machines.
    Socket,
    Ip { from: IpAddr, to: IpAddr },
}

/// How far the door that a client came through trusts it. There is no default: who makes a session says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Who can open the files owns the data: callers in the same process.
    Owner,
    /// A socket without authentication: everything is allowed, but nobody speaks for others.
    Open,
    /// Nothing is allowed but what the user may who has logged in.
    Enforced,
}

impl Client {
    /// A caller in the same process.
    pub fn owner() -> Client {
        Client { local: String::new(), remote: String::new(), compressors: &[], trust: Trust::Owner, peer: Peer::default() }
    }
}

impl<'a> Request<'a> {
    pub fn new(body: Doc<'a>) -> Request<'a> {
        Request { body, sequences: &[] }
    }
}

/// What the transport does once a command has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Sends the reply.
    Reply,
    /// Closes the connection without a reply: a fail point with `closeConnection`, or the `shutdown` command.
    Close,
}
