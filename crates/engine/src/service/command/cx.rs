//! What a command runs in.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result, Value};
use smongo_mql::Host;

use super::{After, Client, Command, Pass, ReadConcern, WriteConcern};
use crate::data::lsid::Lsid;
use crate::data::op::OpCx;
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
    /// Fails when the operation was killed or its time is over.
    pub fn interrupt(&mut self) -> Result<()> {
        self.op.interrupt()
    }
}
