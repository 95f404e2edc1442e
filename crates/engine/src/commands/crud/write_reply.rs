//! What write commands share: statements, their errors, retries, and collections made by a first write.


use smongo_bson::{Code, DocBuf, DocWriter, Error, Result, bail};

use crate::data::limits;
use crate::data::namespace::Ns;
use crate::service::command::Cx;

/// The errors of a write command's statements.
#[derive(Default)]
pub struct WriteErrors {
    errors: Vec<(usize, Error)>,
}

impl WriteErrors {
    /// Notes a statement's error; whether the command ends with it. Errors that fail the whole command come back.
    pub fn end(&mut self, cx: &Cx<'_>, index: usize, e: Error, ordered: bool) -> Result<bool> {
        let fatal = [Code::MaxTimeMSExpired, Code::Interrupted, Code::InterruptedAtShutdown, Code::CursorKilled];
        // Inside a transaction these tell drivers whether to try all of it again, which they read from the command's own error.
        let of_transactions = [Code::WriteConflict, Code::LockTimeout, Code::TransactionTooLargeForCache];
        if fatal.contains(&e.code()) || (cx.in_transaction && of_transactions.contains(&e.code())) {
            return Err(e);
        }
        cx.op.doomed.set(cx.in_transaction);
        self.errors.push((index, e));
        Ok(ordered || cx.in_transaction)
    }

    /// Appends `writeErrors` when there are any.
    pub fn write(&self, reply: &mut DocWriter<'_>) {
        if self.errors.is_empty() {
            return;
        }
        let mut list = reply.array("writeErrors");
        for (index, e) in &self.errors {
            let mut w = list.document();
            w.append("index", *index as i32).append("code", e.code().0);
            if let Some(info) = e.info() {
                w.append_all(info);
            }
            w.append("errmsg", e.message());
        }
    }
}

/// A write command holds at least one statement and not too many.
pub fn check_batch(count: usize) -> Result<()> {
    if count == 0 || count > limits::WRITE_BATCH {
        bail!(InvalidLength, "Write batch sizes must be between 1 and {}. Got {count} operations.", limits::WRITE_BATCH);
    }
    Ok(())
}

/// Writes do not go to views, nor to the server's own collections.
pub fn check_target(cx: &Cx<'_>, ns: &Ns) -> Result<()> {
    let coll = cx.op.collection(ns)?;
    match &coll {
        Some(coll) if cx.command.name == "insert" && coll.buckets_of().is_some() => {}
        Some(coll) if coll.view().is_some() => bail!(CommandNotSupportedOnView, "Namespace {ns} is a view, not a collection"),
        Some(_) => {}
        None => crate::data::namespace::check_creatable(ns)?,
    }
    if cx.in_transaction {
        if matches!(ns.db(), "admin" | "config" | "local") {
            bail!(OperationNotSupportedInTransaction, "Cannot write to the '{}' database in a multi-document transaction", ns.db());
        }
        if coll.as_ref().is_some_and(|c| c.timeseries.is_some() || c.buckets_of().is_some()) {
            bail!(OperationNotSupportedInTransaction, "Cannot write to the time-series collection {ns} in a multi-document transaction");
        }
        if coll.is_some_and(|c| c.is_capped()) {
            bail!(OperationNotSupportedInTransaction, "Collection '{ns}' is a capped collection. Writes in transactions are not allowed on capped collections.");
        }
    }
    if ns.db() == "local" && ns.coll() == "oplog.rs" {
        bail!(InvalidNamespace, "cannot write to {ns}");
    }
    Ok(())
}

/// The statement id of the n-th statement of a retryable write.
pub fn stmt_id(cx: &Cx<'_>, index: usize) -> Option<i32> {
    let retryable = cx.txn_number.is_some() && !cx.in_transaction;
    retryable.then(|| match cx.stmt_ids.as_slice() {
        [] => index as i32,
        [first] => first + index as i32,
        ids => ids.get(index).copied().unwrap_or(index as i32),
    })
}

/// What the statement answered when it was sent before.
pub fn retried(cx: &Cx<'_>, stmt: Option<i32>) -> Option<DocBuf> {
    cx.op.retried(stmt)
}

/// Tells which statements had been sent before.
pub fn retried_ids(cx: &Cx<'_>, reply: &mut DocWriter<'_>) {
    let repeated = cx.op.repeated.borrow();
    if !repeated.is_empty() {
        let mut ids = reply.array("retriedStmtIds");
        repeated.iter().for_each(|id| {
            ids.push(*id);
        });
    }
}
