//! delete

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail, number};
use smongo_mql::Arena;
use smongo_mql::collation::Collation;
use smongo_mql::access::Action;

use super::find::{compile_cx, default_collation, hint};
use super::write_reply::{self, WriteErrors};
use crate::data::{limits, write};
use crate::data::namespace::Ns;
use crate::query::plan::Hint;
use crate::query::statement::Target;
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, RETRYABLE, WRITES};

pub const DELETE: Command = Command::new("delete", delete, IN_TXN | WRITES | RETRYABLE, Access::Named(&[Action::Remove]));

fn delete(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let Some(statements) = args.docs("deletes")? else { return Err(args.missing("deletes")) };
    let ordered = args.strict_bool("ordered")?.unwrap_or(true);
    // What all write commands take; no deletion is validated.
    args.bool("bypassDocumentValidation")?;
    compile_cx(cx, args)?;
    args.finish()?;
    write_reply::check_batch(statements.len())?;
    write_reply::check_target(cx, &ns)?;
    let mut errors = WriteErrors::default();
    let mut deleted = 0;
    for (n, statement) in statements.iter().enumerate() {
        match one(cx, &ns, *statement, n) {
            Ok(count) => deleted += count,
            Err(e) => {
                if errors.end(cx, n, e, ordered)? {
                    break;
                }
            }
        }
    }
    reply.append("n", deleted as i32);
    errors.write(reply);
    write_reply::retried_ids(cx, reply);
    Ok(())
}

pub fn one(cx: &mut Cx<'_>, ns: &Ns, statement: Doc<'_>, n: usize) -> Result<u64> {
    let stmt = write_reply::stmt_id(cx, n);
    if let Some(before) = write_reply::retried(cx, stmt) {
        return Ok(number::to_i64_exact(before.get("n")).unwrap_or(0) as u64);
    }
    let mut args = Args::nested("delete.deletes", statement);
    let Some(filter) = args.doc("q")? else { return Err(args.missing("q")) };
    let limit = match args.value("limit") {
        Value::Missing => return Err(args.missing("limit")),
        v => match number::to_i64_exact(v) {
            Some(n @ (0 | 1)) => n as u64,
            _ => bail!(FailedToParse, "The limit field in delete objects must be 0 or 1. Got {}", number::to_i64_saturating(v).unwrap_or(0)),
        },
    };
    if limit == 0 && stmt.is_some() {
        bail!(InvalidOptions, "Cannot use (or request) retryable writes with limit=0");
    }
    let collation = args.doc("collation")?.filter(|d| !d.is_empty());
    let hint = hint(&mut args)?;
    args.finish()?;
    let saved = cx.op.compile.clone();
    let done = (|| {
        if let Some(spec) = collation {
            cx.op.compile.collation = Collation::parse(spec)?.map(Arc::new);
            cx.op.compile.simple_collation = cx.op.compile.collation.is_none();
        }
        matching(cx, ns, filter, hint, limit, stmt)
    })();
    cx.op.compile = saved;
    done
}

/// Deletes what a query finds, at most `limit` documents unless that is 0.
fn matching(cx: &mut Cx<'_>, ns: &Ns, filter: Doc<'_>, hint: Option<Hint>, limit: u64, stmt: Option<i32>) -> Result<u64> {
    let Some(coll) = cx.op.collection(ns)? else {
        Target::compile(filter, Doc::EMPTY, hint, &cx.op.compile)?;
        return Ok(0);
    };
    default_collation(cx, &coll.collation);
    let target = Target::compile(filter, Doc::EMPTY, hint, &cx.op.compile)?;
    if limit == 1 {
        return cx.op.write(|op| {
            let coll = op.require(ns)?;
            let Some((id, doc)) = target.first(op, &coll)? else { return Ok(0) };
            op.pending.statement = stmt;
            write::delete(op, &coll, id, doc.as_doc())?;
            op.note(stmt.map(|s| (s, s)), || {
                DocBuf::build(|w| {
                    w.append("n", 1i64);
                })
            })?;
            Ok(1)
        });
    }
    let ids = target.all(&mut cx.op, &coll)?;
    let (mut count, mut arena) = (0, Arena::new());
    let mut rest = &ids[..];
    while !rest.is_empty() {
        let (n, taken) = cx.op.write(|op| {
            let coll = op.require(ns)?;
            let mut n = 0;
            for (at, id) in rest.iter().take(limits::GROUP_DOCUMENTS).enumerate() {
                arena.reset();
                op.lock(&coll)?;
                if let Some(doc) = target.still(op, &coll, *id, &arena)? {
                    write::delete(op, &coll, *id, doc.as_doc())?;
                    n += 1;
                }
                if op.store()?.changed_bytes() >= limits::GROUP_BYTES {
                    return Ok((n, at + 1));
                }
            }
            Ok((n, rest.len().min(limits::GROUP_DOCUMENTS)))
        })?;
        count += n;
        rest = &rest[taken..];
        cx.interrupt()?;
    }
    Ok(count)
}
