//! startSession, refreshSessions, endSessions, commitTransaction, abortTransaction

use smongo_bson::{DocWriter, Result, Value, bail};
use uuid::Uuid;

use crate::data::lsid::Lsid;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, IN_TXN, LIGHT, Trust, WRITES};
use crate::service::sessions;

pub const START_SESSION: Command = Command::new("startSession", start_session, 0, Access::User);
pub const REFRESH_SESSIONS: Command = Command::new("refreshSessions", refresh_sessions, 0, Access::User);
pub const END_SESSIONS: Command = Command::new("endSessions", end_sessions, LIGHT, Access::Open);
pub const COMMIT_TRANSACTION: Command = Command::new("commitTransaction", commit_transaction, IN_TXN | WRITES | ADMIN, Access::User);
pub const ABORT_TRANSACTION: Command = Command::new("abortTransaction", abort_transaction, IN_TXN | WRITES | ADMIN, Access::User);

fn start_session(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    // Fields that nobody knows are nothing to this command.
    args.rest();
    let lsid = Lsid { id: *Uuid::new_v4().as_bytes(), uid: cx.auth.uid() };
    cx.shared.sessions.refresh(std::slice::from_ref(&lsid))?;
    reply.append("id", Lsid { uid: None, ..lsid }.to_doc().as_doc()).append("timeoutMinutes", cx.shared.parameters.session_minutes());
    Ok(())
}

/// The sessions that the command lists, the caller's own.
fn ids(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Vec<Lsid>> {
    let list = match args.first() {
        Value::Array(list) => list,
        v => return Err(args.wrong_type("ids", v, "array")),
    };
    args.finish()?;
    let (own, trusted) = (cx.auth.uid(), cx.client.trust == Trust::Owner);
    let parse = |v: Value<'_>| match v {
        Value::Document(d) => {
            let mut lsid = Lsid::parse(d)?;
            lsid.claim(own, trusted)?;
            Ok(lsid)
        }
        v => bail!(TypeMismatch, "a session id must be an object, found {}", v.type_name()),
    };
    list.iter().map(parse).collect()
}

fn refresh_sessions(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ids = ids(cx, args)?;
    cx.shared.sessions.refresh(&ids)
}

fn end_sessions(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ids = ids(cx, args)?;
    // Somebody who has not said who he is has no sessions, and must not end those of a door that does not ask.
    if cx.client.trust == Trust::Enforced && cx.auth.user().is_none() {
        return Ok(());
    }
    let shared = &cx.shared;
    shared.cursors.kill_where(|c| c.lsid.as_ref().is_some_and(|l| ids.contains(l)));
    shared.sessions.end(&ids);
    Ok(())
}

fn commit_transaction(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["recoveryToken"]);
    args.finish()?;
    require_transaction(cx)?;
    sessions::commit(&mut cx.op)?;
    end_cursors(cx);
    cx.op.make_durable(cx.write_concern.durable)
}

fn abort_transaction(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["recoveryToken"]);
    args.finish()?;
    require_transaction(cx)?;
    end_cursors(cx);
    Ok(())
}

fn require_transaction(cx: &Cx<'_>) -> Result<()> {
    if !cx.in_transaction {
        bail!(CommandFailed, "{} must be run within a transaction", cx.command.name);
    }
    Ok(())
}

/// Cursors live no longer than the transaction they were opened in.
fn end_cursors(cx: &Cx<'_>) {
    let (lsid, number) = (&cx.lsid, cx.txn_number);
    cx.shared.cursors.kill_where(|c| c.txn_number == number && c.lsid == *lsid);
}
