//! update

use std::sync::Arc;

use smongo_bson::{Array, Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail, number};
use smongo_mql::collation::Collation;
use smongo_mql::update::check_stages;
use smongo_mql::{Arena, Update};

use super::find::{compile_cx, default_collation, hint};
use super::write_reply::{self, WriteErrors};
use crate::commands::rules;
use crate::data::{limits, write};
use crate::data::catalog::Collection;
use crate::data::keys::RecordId;
use crate::data::namespace::Ns;
use crate::data::op::{OpCx, Ran};
use crate::query::plan::Hint;
use crate::query::statement::{Target, apply, retry_upsert, upsert};
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, RETRYABLE, WRITES};

pub const UPDATE: Command = Command::new("update", update, IN_TXN | WRITES | RETRYABLE, Access::Computed(rules::update));

/// What one update statement did.
#[derive(Default, Debug, Clone)]
pub struct Outcome {
    pub matched: u64,
    pub modified: u64,
    pub upserted: Option<ValueBuf>,
}

fn update(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let Some(statements) = args.docs("updates")? else { return Err(args.missing("updates")) };
    let ordered = args.strict_bool("ordered")?.unwrap_or(true);
    let bypass = args.bool("bypassDocumentValidation")?;
    args.accept(&["bypassEmptyTsReplacement"]);
    compile_cx(cx, args)?;
    args.finish()?;
    write_reply::check_batch(statements.len())?;
    write_reply::check_target(cx, &ns)?;
    // What is no stage at all fails the command, before any of its statements.
    for statement in &statements {
        if let Value::Array(stages) = statement.get("u") {
            check_stages(stages)?;
        }
    }
    let mut errors = WriteErrors::default();
    let mut total = Outcome::default();
    let mut upserted = Vec::new();
    for (n, statement) in statements.iter().enumerate() {
        match one(cx, &ns, *statement, n, bypass) {
            Ok(done) => {
                total.matched += done.matched;
                total.modified += done.modified;
                upserted.extend(done.upserted.map(|id| (n, id)));
            }
            Err(e) => {
                if errors.end(cx, n, e, ordered)? {
                    break;
                }
            }
        }
    }
    reply.append("n", (total.matched + upserted.len() as u64) as i32).append("nModified", total.modified as i32);
    if !upserted.is_empty() {
        let mut list = reply.array("upserted");
        for (n, id) in &upserted {
            list.document().append("index", *n as i32).append("_id", id.view());
        }
    }
    errors.write(reply);
    write_reply::retried_ids(cx, reply);
    Ok(())
}

pub fn one(cx: &mut Cx<'_>, ns: &Ns, statement: Doc<'_>, n: usize, bypass: bool) -> Result<Outcome> {
    let stmt = write_reply::stmt_id(cx, n);
    if let Some(before) = write_reply::retried(cx, stmt) {
        return Ok(Outcome::from_doc(before.as_doc()));
    }
    let mut args = Args::nested("update.updates", statement);
    let Some(filter) = args.doc("q")? else { return Err(args.missing("q")) };
    let change = match args.value("u") {
        v if v.is_nullish() => return Err(args.missing("u")),
        v => v,
    };
    let multi = args.strict_bool("multi")?.unwrap_or(false);
    let upsert = args.strict_bool("upsert")?.unwrap_or(false);
    let array_filters = args.array("arrayFilters")?;
    let constants = args.doc("c")?;
    let sort = args.doc("sort")?;
    let collation = args.doc("collation")?.filter(|d| !d.is_empty());
    let hint = hint(&mut args)?;
    args.accept(&["upsertSupplied", "sampleId"]);
    args.finish()?;
    if let Some(series) = cx.op.collection(ns)?.as_ref().and_then(|c| c.timeseries.as_ref()) {
        crate::commands::definition::timeseries::check_update(series, filter, change, multi, upsert)?;
    }
    if multi && stmt.is_some() {
        bail!(InvalidOptions, "Cannot use (or request) retryable writes with multi=true");
    }
    if multi && sort.is_some() {
        bail!(FailedToParse, "Cannot specify sort with multi=true");
    }
    let saved = cx.op.compile.clone();
    let done = (|| {
        if let Some(spec) = collation {
            cx.op.compile.collation = Collation::parse(spec)?.map(Arc::new);
            cx.op.compile.simple_collation = cx.op.compile.collation.is_none();
        }
        if let Some(c) = constants {
            if !matches!(change, Value::Array(_)) {
                bail!(51198, "Constant values may only be specified for pipeline updates");
            }
            cx.op.compile.lets.extend(c.iter().map(|e| (e.name().to_owned(), ValueBuf::new(e.value()))));
        }
        run(cx, ns, filter, Change { stmt, update: change, array_filters, sort: sort.unwrap_or(Doc::EMPTY), hint, multi, upsert, bypass })
    })();
    cx.op.compile = saved;
    done
}

struct Change<'a> {
    stmt: Option<i32>,
    update: Value<'a>,
    array_filters: Option<Array<'a>>,
    sort: Doc<'a>,
    hint: Option<Hint>,
    multi: bool,
    upsert: bool,
    bypass: bool,
}

fn run(cx: &mut Cx<'_>, ns: &Ns, filter: Doc<'_>, change: Change<'_>) -> Result<Outcome> {
    let existing = cx.op.collection(ns)?;
    if let Some(coll) = &existing {
        default_collation(cx, &coll.collation);
    }
    if change.upsert {
        check_upsert_filter(filter)?;
    }
    let target = Target::compile(filter, change.sort, change.hint.clone(), &cx.op.compile)?;
    let update = Update::compile(change.update, change.array_filters, &cx.op.compile)?;
    if change.multi && update.is_replacement() {
        bail!(FailedToParse, "multi update is not supported for replacement-style update");
    }
    if existing.is_none() && !change.upsert {
        return Ok(Outcome::default());
    }
    if existing.is_none() {
        write::target(&mut cx.op, ns)?;
    }
    if change.multi {
        return many(cx, ns, &target, &update, &change);
    }
    let mut arena = Arena::new();
    retry_upsert(change.upsert && !cx.op.multi, || {
        cx.op.write(|op| {
            let coll = write::target(op, ns)?;
            arena.reset();
            op.pending.statement = change.stmt;
            let outcome = match target.first(op, &coll)? {
                Some((id, old)) => {
                    let modified = apply(op, &coll, id, old.as_doc(), &target, &update, change.bypass, &arena)?;
                    Outcome { matched: 1, modified: modified.is_some().into(), upserted: None }
                }
                None if change.upsert => {
                    let doc = upsert(op, &coll, &target, &update, change.bypass, &arena)?;
                    Outcome { upserted: Some(ValueBuf::new(doc.get("_id"))), ..Outcome::default() }
                }
                // A statement that found nothing may well be tried again.
                None => return Ok(Outcome::default()),
            };
            op.note(change.stmt.map(|s| (s, s)), || outcome.to_doc())?;
            Ok(outcome)
        })
    })
}

/// Refuses `$expr`: nobody can say what fields it gives to the document an upsert inserts.
pub fn check_upsert_filter(filter: Doc<'_>) -> Result<()> {
    for e in filter {
        match (e.name(), e.value()) {
            ("$expr", _) => bail!(QueryFeatureNotAllowed, "$expr is not allowed in the query predicate for an upsert"),
            ("$and" | "$or" | "$nor", Value::Array(branches)) => branches.iter().filter_map(|b| b.as_doc()).try_for_each(check_upsert_filter)?,
            _ => {}
        }
    }
    Ok(())
}

fn many(cx: &mut Cx<'_>, ns: &Ns, target: &Target<'_>, update: &Update, change: &Change<'_>) -> Result<Outcome> {
    let coll = cx.op.require(ns)?;
    let ids = target.all(&mut cx.op, &coll)?;
    let mut total = Outcome::default();
    let mut arena = Arena::new();
    if ids.is_empty() && change.upsert {
        let doc = cx.op.write(|op| {
            let coll = write::target(op, ns)?;
            arena.reset();
            upsert(op, &coll, target, update, change.bypass, &arena)
        })?;
        total.upserted = Some(ValueBuf::new(doc.get("_id")));
        return Ok(total);
    }
    // Records are found first and changed after, so that a document that moves in the index being scanned is not met twice.
    let mut rest = &ids[..];
    while !rest.is_empty() {
        let group = &rest[..rest.len().min(limits::GROUP_DOCUMENTS)];
        // What was changed before a failing document stays, as each document is a write of its own.
        let ((done, taken), failed) = cx.op.write_group(group.len(), |op, limit| {
            let coll = op.require(ns)?;
            op.lock(&coll)?;
            let mut done = Outcome::default();
            for (at, id) in group[..limit].iter().enumerate() {
                arena.reset();
                op.begin_item();
                match change_one(op, &coll, *id, target, update, change.bypass, &arena) {
                    Ok(Some(modified)) => {
                        done.matched += 1;
                        done.modified += u64::from(modified);
                    }
                    Ok(None) => {}
                    Err(e) => return Ok(Ran { value: (done, at), failed: Some((at, e)) }),
                }
                if op.store()?.changed_bytes() >= limits::GROUP_BYTES {
                    return Ok(Ran { value: (done, at + 1), failed: None });
                }
            }
            Ok(Ran { value: (done, limit), failed: None })
        })?;
        rest = &rest[taken..];
        total.matched += done.matched;
        total.modified += done.modified;
        if let Some(e) = failed {
            return Err(e);
        }
        cx.interrupt()?;
    }
    Ok(total)
}

/// Applies the update to a document found earlier; whether it changed, or `None` where it does not match any more.
fn change_one(op: &mut OpCx, coll: &Arc<Collection>, id: RecordId, target: &Target<'_>, update: &Update, bypass: bool, arena: &Arena) -> Result<Option<bool>> {
    let Some(old) = target.still(op, coll, id, arena)? else { return Ok(None) };
    let changed = apply(op, coll, id, old.as_doc(), target, update, bypass, arena)?;
    Ok(Some(changed.is_some()))
}

impl Outcome {
    fn to_doc(&self) -> DocBuf {
        DocBuf::build(|w| {
            w.append("n", self.matched as i64).append("nModified", self.modified as i64);
            if let Some(id) = &self.upserted {
                w.append("upserted", id.view());
            }
        })
    }

    fn from_doc(doc: Doc<'_>) -> Outcome {
        let count = |name: &str| number::to_i64_exact(doc.get(name)).unwrap_or(0) as u64;
        let upserted = Some(doc.get("upserted")).filter(|v| !v.is_missing()).map(ValueBuf::new);
        Outcome { matched: count("n"), modified: count("nModified"), upserted }
    }
}
