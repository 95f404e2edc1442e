//! The door: every client enters here, with the bytes of a command, and leaves with the bytes of its reply.

mod audited;
mod direct;
mod identity;
mod reply;
mod run;
#[cfg(test)]
mod walk;
pub mod witness;

use std::sync::Arc;

use smongo_bson::DocBuf;

use crate::service::auth::Connection;
use crate::service::operations::Place;
use crate::service::shared::Shared;

/// One client's connection to the engine. Not shared: a client with several threads opens several.
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: u64,
    /// Where its running command is listed; knows the client.
    pub(crate) place: Arc<Place>,
    /// What the client told of itself in its first hello.
    pub(crate) metadata: Option<DocBuf>,
    /// Who has logged in.
    pub(crate) auth: Connection,
}

impl Session {
    /// Whether somebody has logged in by it.
    pub fn logged_in(&self) -> bool {
        self.auth.user().is_some()
    }
}
