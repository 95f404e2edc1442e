//! setUserWriteBlockMode: while it is on, users write only to the server's own databases. It is kept over a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use smongo_bson::{Doc, DocBuf, Result, Value, bail};

use crate::data::catalog::find_by_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write;
use crate::service::command::{Command, Request};
use crate::service::shared::Shared;

/// The commands that change what users have, sorted; an aggregation does if it ends in a stage that writes.
pub const CHANGING: &[&str] = &[
    "applyOps", "cloneCollectionAsCapped", "collMod", "convertToCapped", "create", "createIndexes", "delete", "deleteIndexes", "drop", "dropDatabase",
    "dropIndexes", "findAndModify", "findandmodify", "insert", "renameCollection", "update",
];

#[derive(Default)]
pub struct WriteBlock {
    on: AtomicBool,
    reason: Mutex<String>,
}

fn home() -> Ns {
    Ns::unchecked("config", "user_writes_critical_sections")
}

/// The server's own databases are never blocked.
fn internal(db: &str) -> bool {
    matches!(db, "admin" | "config" | "local")
}

impl WriteBlock {
    /// Reads whether writes were blocked when the database was closed.
    pub fn load(shared: &Arc<Shared>) -> Result<()> {
        let Some(coll) = shared.catalog.get(&home()) else { return Ok(()) };
        let mut op = shared.op();
        if let Some((_, doc)) = find_by_id(&mut op, &coll, Value::String(""))? {
            shared.write_block.take(doc.get("blockUserWrites").truthy(), doc.get("reason").as_str().unwrap_or_default());
        }
        Ok(())
    }

    fn take(&self, on: bool, reason: &str) {
        reason.clone_into(&mut self.reason.lock());
        self.on.store(on, Ordering::Release);
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Switches it on or off; who does either must know why it is on.
    pub fn switch(shared: &Shared, op: &mut OpCx, on: bool, reason: &str) -> Result<()> {
        let _alone = shared.alone_in_settings(op)?;
        let block = &shared.write_block;
        let why = block.reason.lock().clone();
        if block.is_on() && why != reason {
            let what = if on { "acquire" } else { "release" };
            bail!(IllegalOperation, "Cannot {what} user writes critical section with different reason than the already-set reason. Already set reason: {why}, requested reason: {reason}");
        }
        if block.is_on() == on {
            return Ok(());
        }
        let document = DocBuf::build(|w| {
            w.append("_id", "").append("blockUserWrites", on).append("reason", reason);
        });
        write::put(op, &home(), document.as_doc())?;
        block.take(on, reason);
        op.make_durable(true)
    }

    /// Fails when a command would change what is blocked.
    pub fn check(&self, command: &Command, db: &str, request: &Request<'_>) -> Result<()> {
        if !self.is_on() {
            return Ok(());
        }
        let body = request.body;
        let blocked = match command.name {
            "aggregate" => writes(body),
            "bulkWrite" => namespaces(request).iter().any(|ns| !internal(ns.split('.').next().unwrap_or_default())),
            "renameCollection" => [body.get("renameCollection"), body.get("to")].iter().any(|ns| ns.as_str().is_some_and(|ns| !internal(ns.split('.').next().unwrap_or_default()))),
            "applyOps" => true,
            name => !internal(db) && CHANGING.binary_search(&name).is_ok(),
        };
        if blocked {
            bail!(UserWritesBlocked, "User writes blocked");
        }
        Ok(())
    }
}

/// Whether a pipeline ends in a stage that writes to a user's database.
fn writes(body: Doc<'_>) -> bool {
    let Some(Value::Document(last)) = body.get("pipeline").as_array().and_then(|stages| stages.iter().last()) else { return false };
    let db = body.get("$db").as_str().unwrap_or_default();
    let target = match (last.get("$out"), last.get("$merge")) {
        (Value::Missing, Value::Missing) => return false,
        (Value::Document(out), _) => out.get("db"),
        (_, Value::Document(merge)) => merge.get("into").as_doc().map_or(Value::Missing, |into| into.get("db")),
        _ => Value::Missing,
    };
    !internal(target.as_str().unwrap_or(db))
}

/// The namespaces of a bulkWrite.
fn namespaces(request: &Request<'_>) -> Vec<String> {
    let of = |info: Doc<'_>| info.get("ns").as_str().map(str::to_owned);
    let listed = request.body.get("nsInfo").as_array().into_iter().flat_map(|list| list.iter().filter_map(|v| v.as_doc()).filter_map(of));
    let sent = request.sequences.iter().filter(|s| s.name == "nsInfo").flat_map(|s| s.iter().filter_map(of));
    listed.chain(sent).collect()
}
