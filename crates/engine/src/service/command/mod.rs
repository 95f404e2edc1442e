//! What a command is: the request, its arguments and generic fields, the context it runs in, and its row in the table.

mod access;
mod args;
mod cx;
pub mod gate;
mod generic;
mod request;
pub mod shown;

use smongo_bson::{DocWriter, Result};

use crate::service::usage::Kind;
pub use access::{Access, Needs, Scope, named, needs};
pub use args::{Args, choice};
pub use cx::Cx;
pub use gate::{Clearance, Pass};
pub use generic::{Generic, ReadConcern, WriteConcern, in_api_1};
pub use request::{After, Client, Peer, Request, Sequence, Trust, Way};

/// A command's handler: reads its arguments, does its work, writes the reply's fields (the door adds `ok` and the times).
pub type Handler = fn(&mut Cx<'_>, &mut Args<'_>, &mut DocWriter<'_>) -> Result<()>;

/// A row of the table of commands.
pub struct Command {
    pub name: &'static str,
    pub run: Handler,
    pub traits: u16,
    /// What it asks of who sends it.
    pub access: Access,
    /// Fields that no log, profile or listing shows.
    pub hidden: &'static [&'static str],
    /// What it counts as.
    pub kind: Kind,
}

/// May run inside a multi-document transaction.
pub const IN_TXN: u16 = 1;
/// Takes a write concern, and waits for it.
pub const WRITES: u16 = 2;
/// Takes a read concern.
pub const READS: u16 = 4;
/// Runs against the `admin` database only.
pub const ADMIN: u16 = 8;
/// Its writes are retryable: it takes a `txnNumber` outside a transaction.
pub const RETRYABLE: u16 = 16;
/// Exists only with `enableTestCommands`.
pub const TEST_ONLY: u16 = 32;
/// Answers also while the server shuts down, and is not counted as an operation.
pub const LIGHT: u16 = 64;

/// Known and not implemented.
pub const TODO: u16 = 128;

impl Command {
    pub const fn new(name: &'static str, run: Handler, traits: u16, access: Access) -> Command {
        Command { name, run, traits, access, hidden: &[], kind: Kind::of(name) }
    }

    /// Names fields that nobody may see but who sent them: secrets.
    pub const fn hiding(self, hidden: &'static [&'static str]) -> Command {
        Command { hidden, ..self }
    }

    pub fn is(&self, one: u16) -> bool {
        self.traits & one != 0
    }
}
