//! What a command runs in.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result, Value};
use smongo_mql::Host;

use super::{After, Client, Command, Pass, ReadConcern, WriteConcern};
use crate::data::lsid::Lsid;
use crate::data::op::OpCx;
use crate::service::audit::{self, Event, Weight};
use crate::service::auth::Connection;
use crate::service::operations::Place;
use crate::service::shared::Shared;

/// What a command's handler sees.
pub struct Cx<'s> {
    pub shared: &'s Arc<Shared>,
    pub op: OpCx,
    /// What the gate found: who sent the command, and what he may.
    pub pass: Pass,
    pub command: &'static Command,
    pub db: String,
    pub lsid: Option<Lsid>,
    pub txn_number: Option<i64>,
    /// Inside a multi-document transaction.
    pub in_transaction: bool,
    pub stmt_ids: Vec<i32>,
    pub comment: Value<'s>,
    pub max_time_ms: i64,
    pub read_concern: ReadConcern,
    pub write_concern: WriteConcern,
    pub client: &'s Client,
    /// Where the command is listed while it runs.
    pub place: &'s Place,
    pub connection: u64,
    pub metadata: &'s mut Option<DocBuf>,
    /// Whose connection it is.
    pub auth: &'s mut Connection,
    pub after: After,
    /// What the reply says at `ok`.
    pub ok: Value<'static>,
}

impl Cx<'_> {
    /// Tells the audit log, where there is one, of something that the command does. An error keeps it from that.
    pub fn tell(&self, weight: Weight, event: impl FnOnce() -> Event) -> Result<()> {
        match &self.shared.audit {
            Some(audit) => audit::speaking(self.shared, |who| audit.tell(who, weight, &event())),
            None => Ok(()),
        }
    }

    /// Does something that the audit log is told of before, and again should it fail.
    pub fn told<T>(&mut self, event: impl FnOnce() -> Event, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.shared.audit.is_none() {
            return run(self);
        }
        let event = event();
        self.tell(Weight::Before, || event.clone())?;
        run(self).inspect_err(|e| drop(self.tell(Weight::Past, || event.with(e.code()))))
    }

    /// The command will change users or roles: the audit log hears of it in these words when that is committed.
    pub fn will_tell(&self, event: impl FnOnce() -> Event) {
        if self.shared.audit.is_some() {
            audit::will_tell(event());
        }
    }

    /// Fails when the operation was killed or its time is over.
    pub fn interrupt(&mut self) -> Result<()> {
        self.op.interrupt()
    }
}
