//! getMore and killCursors

use std::time::Duration;

use smongo_bson::{DocWriter, Result, Value, bail};
use smongo_mql::Host;
use smongo_mql::access::{Action, Need, Resource};

use crate::data::namespace::Ns;
use crate::query::change;
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, READS};
use crate::service::cursors::{Batch, Parked};

pub const GET_MORE: Command = Command::new("getMore", get_more, IN_TXN | READS, Access::User);
pub const KILL_CURSORS: Command = Command::new("killCursors", kill_cursors, IN_TXN, Access::User);

fn get_more(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let id = match args.first() {
        Value::Int64(id) => id,
        v if v.is_nullish() => return Err(args.missing("getMore")),
        v => return Err(args.wrong_type("getMore", v, "long")),
    };
    let coll = match args.str("collection")? {
        Some(coll) => coll,
        None => return Err(args.missing("collection")),
    };
    let batch = match args.int("batchSize")? {
        Some(n) if n < 0 => bail!(BadValue, "BSON field 'batchSize' value must be >= 0, actual value '{n}'"),
        n => Batch { documents: n.map(|n| n as usize).filter(|n| *n > 0) },
    };
    match args.value("term") {
        Value::Int64(_) => {}
        v if v.is_nullish() => {}
        v => return Err(args.wrong_type("term", v, "long")),
    }
    let timed = !args.value("maxTimeMS").is_nullish();
    args.accept(&["lastKnownCommittedOpTime"]);
    args.finish()?;
    let ns = Ns::unchecked(&cx.db, coll);
    let shared = cx.shared.clone();
    let mut cursor = shared.cursors.take(id)?;
    // A cursor that is asked wrongly stays; one whose stream failed is gone.
    if let Err(e) = check(cx, &cursor, &ns, id, timed) {
        shared.cursors.put_back(&mut cx.op, id, cursor);
        return Err(e);
    }
    let result = (|| {
        if let Some(why) = cursor.killed {
            bail!(QueryPlanKilled, "{why}");
        }
        if let Some(comment) = cursor.comment.as_ref().filter(|_| cx.comment.is_missing()) {
            cx.place.inherit_comment(comment.view());
        }
        shared.failpoints.cursor_checkout()?;
        next_batch(cx, &mut cursor, batch, reply)
    })();
    match result {
        Ok(false) => {
            shared.cursors.put_back(&mut cx.op, id, cursor);
        }
        Ok(true) => {
            shared.cursors.kill(id);
        }
        Err(e) => {
            shared.cursors.kill(id);
            return Err(if cursor.watch.is_some() { change::label(e) } else { e });
        }
    }
    Ok(())
}

fn check(cx: &Cx<'_>, cursor: &Parked, ns: &Ns, id: i64, timed: bool) -> Result<()> {
    cx.pass.continues(&cursor.clearance, id)?;
    if cursor.ns != *ns {
        bail!(Unauthorized, "Requested getMore on namespace '{ns}', but cursor belongs to a different namespace {}", cursor.ns);
    }
    match (&cursor.lsid, &cx.lsid) {
        (None, Some(_)) => bail!(50737, "Cannot run getMore on cursor {id}, which was not created in a session, in session"),
        (Some(_), None) => bail!(50736, "Cannot run getMore on cursor {id}, which was created in session, without an lsid"),
        (Some(a), Some(b)) if a != b => bail!(50738, "Cannot run getMore on cursor {id}, which was created in another session"),
        _ => {}
    }
    if cursor.api != cx.op.api {
        bail!(APIMismatchError, "API parameter mismatch: getMore used params {}, the cursor-creating command used {}", cx.op.api.describe(), cursor.api.describe());
    }
    match (cursor.txn_number, cx.txn_number) {
        (None, Some(_)) => bail!(50740, "Cannot run getMore on cursor {id}, which was not created in a transaction, in a transaction"),
        (Some(_), None) => bail!(50739, "Cannot run getMore on cursor {id}, which was created in a transaction, without a txnNumber"),
        (Some(a), Some(b)) if a != b => bail!(50741, "Cannot run getMore on cursor {id}, which was created in another transaction"),
        _ => {}
    }
    if timed && !cursor.await_data {
        bail!(BadValue, "cannot set maxTimeMS on getMore command for a non-awaitData cursor");
    }
    Ok(())
}

/// Fills the next batch; a tailable cursor that awaits data sleeps until there is some. Returns whether the cursor is exhausted.
fn next_batch(cx: &mut Cx<'_>, cursor: &mut Parked, batch: Batch, reply: &mut DocWriter<'_>) -> Result<bool> {
    if cursor.read_time.is_some() {
        cx.op.read_time = cursor.read_time;
    }
    let shared = cx.shared.clone();
    if cursor.await_data {
        // maxTimeMS of such a getMore is how long to wait, not a limit that fails.
        let wait = if cx.max_time_ms > 0 { Duration::from_millis(cx.max_time_ms as u64) } else { Duration::from_secs(1) };
        cx.op.deadline = None;
        let until = std::time::Instant::now() + wait;
        let mut watcher = None;
        while !cursor.held {
            if cursor.stream.advance(&mut cx.op)? {
                cursor.held = true;
                break;
            }
            cursor.stream.park(&mut cx.op);
            cx.op.end_read();
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || shared.shutting_down() {
                break;
            }
            match &watcher {
                // From here on changes are noticed; what came before is looked for once more.
                None => watcher = Some(shared.watchers.watch(cursor.interest())),
                Some(watcher) => {
                    cx.op.give_session_back();
                    watcher.wait(until);
                }
            }
            cx.op.interrupt()?;
            if !shared.cursors.exists(cursor.id) {
                bail!(CursorKilled, "cursor id {} was killed", cursor.id);
            }
        }
    }
    let begun = std::time::Instant::now();
    if let Some(left) = cursor.time_left {
        cx.op.deadline = Some(if shared.failpoints.times_out() { begun } else { begun + left });
        cx.op.interrupt()?;
    }
    let mut w = reply.document("cursor");
    let done = cursor.fill(&mut cx.op, batch, &mut w, "nextBatch")?;
    cursor.append_token(&mut w);
    if let Some(at) = cursor.read_time {
        w.append("atClusterTime", at);
    }
    cursor.time_left = cursor.time_left.map(|left| left.saturating_sub(begun.elapsed()));
    w.append("id", if done { 0 } else { cursor.id }).append("ns", cursor.ns.as_str());
    Ok(done)
}

/// One that is another's may be killed by who may kill any; if not, none is.
fn check_owners(cx: &Cx<'_>, ids: &[i64]) -> Result<()> {
    let others = cx.shared.cursors.owned(ids).into_iter().filter(|(_, owner)| !cx.pass.owns(*owner));
    for (ns, _) in others {
        let any = [Resource::Cluster, Resource::Ns(ns.db(), ns.coll())].map(|resource| Need::new(resource, &[Action::KillAnyCursor]));
        if !any.iter().any(|need| cx.pass.holds(*need)) {
            bail!(Unauthorized, "not authorized on {} to kill a cursor over {ns}", cx.db);
        }
    }
    Ok(())
}

fn kill_cursors(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    match args.first() {
        // The cursors of commands that list things belong to no collection.
        Value::String(name) if name.starts_with("$cmd.") => {}
        _ => {
            args.ns(&cx.db)?;
        }
    }
    let Some(ids) = args.array("cursors")? else { return Err(args.missing("cursors")) };
    args.finish()?;
    let mut wanted = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        match id {
            Value::Int64(id) => wanted.push(id),
            v if v.is_nullish() => {}
            v => return Err(args.wrong_type(&format!("cursors.{n}"), v, "long")),
        }
    }
    let shared = cx.shared.clone();
    check_owners(cx, &wanted)?;
    let (killed, unknown): (Vec<i64>, Vec<i64>) = wanted.into_iter().partition(|id| shared.cursors.kill(*id));
    // One that awaits data must notice.
    shared.watchers.wake_all();
    let mut list = |name: &str, ids: &[i64]| {
        let mut w = reply.array(name);
        for id in ids {
            w.push(*id);
        }
    };
    list("cursorsKilled", &killed);
    list("cursorsNotFound", &unknown);
    list("cursorsAlive", &[]);
    list("cursorsUnknown", &[]);
    Ok(())
}
