//! findAndModify

use smongo_bson::{Array, Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::{Arena, Projection, Update};

use super::find::{check_meta, compile_cx, default_collation, hint};
use super::update::check_upsert_filter;
use super::write_reply;
use crate::commands::rules;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write;
use crate::query::plan::Hint;
use crate::query::statement::{Target, apply, retry_upsert, upsert};
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, RETRYABLE, WRITES};

pub const FIND_AND_MODIFY: Command = Command::new("findAndModify", find_and_modify, IN_TXN | WRITES | RETRYABLE, Access::Computed(rules::find_and_modify));
pub const FIND_AND_MODIFY_LOWER: Command = Command::new("findandmodify", find_and_modify, IN_TXN | WRITES | RETRYABLE, Access::Computed(rules::find_and_modify));

struct Modify<'a> {
    ns: Ns,
    filter: Doc<'a>,
    sort: Doc<'a>,
    hint: Option<Hint>,
    update: Option<(Value<'a>, Option<Array<'a>>)>,
    fields: Doc<'a>,
    new: bool,
    upsert: bool,
    bypass: bool,
}

impl<'a> Modify<'a> {
    /// The order the document is chosen by; of a document found by its `_id` MongoDB does not even look at it.
    fn order(&self) -> Doc<'a> {
        let operators = |d: Doc<'_>| d.first().is_some_and(|e| e.name().starts_with('$'));
        match self.filter.get("_id") {
            Value::Missing => self.sort,
            Value::Document(d) if operators(d) => self.sort,
            _ if self.filter.len() > 1 => self.sort,
            _ => Doc::EMPTY,
        }
    }
}

fn parse<'a>(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<Modify<'a>> {
    let ns = args.ns(&cx.db)?;
    let filter = args.doc("query")?.unwrap_or(Doc::EMPTY);
    let sort = args.doc("sort")?.unwrap_or(Doc::EMPTY);
    let remove = args.bool("remove")?;
    let update = Some(args.value("update")).filter(|v| !v.is_nullish());
    let array_filters = args.array("arrayFilters")?;
    let (new, upsert) = (args.bool("new")?, args.bool("upsert")?);
    let fields = args.doc("fields")?.unwrap_or(Doc::EMPTY);
    let hint = hint(args)?;
    let bypass = args.bool("bypassDocumentValidation")?;
    args.accept(&["bypassEmptyTsReplacement", "sampleId"]);
    compile_cx(cx, args)?;
    args.finish()?;
    match (remove, update) {
        (true, Some(_)) => bail!(FailedToParse, "Cannot specify both an update and remove=true"),
        (false, None) => bail!(FailedToParse, "Either an update or remove=true must be specified"),
        (true, None) if upsert => bail!(FailedToParse, "Cannot specify both upsert=true and remove=true"),
        (true, None) if new => bail!(FailedToParse, "Cannot specify both new=true and remove=true; 'remove' always returns the deleted document"),
        (true, None) if array_filters.is_some() => bail!(FailedToParse, "Cannot specify arrayFilters and remove=true"),
        (false, Some(Value::Array(_))) if array_filters.is_some() => bail!(FailedToParse, "Cannot specify arrayFilters and a pipeline update"),
        _ => {}
    }
    Ok(Modify { ns, filter, sort, hint, update: update.map(|u| (u, array_filters)), fields, new, upsert, bypass })
}

fn find_and_modify(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let modify = parse(cx, args)?;
    let stmt = write_reply::stmt_id(cx, 0);
    if let Some(before) = write_reply::retried(cx, stmt) {
        reply.append_all(before.as_doc());
        if let Some(stmt) = stmt {
            reply.append("retriedStmtId", stmt);
        }
        return Ok(());
    }
    write_reply::check_target(cx, &modify.ns)?;
    let existing = cx.op.collection(&modify.ns)?;
    if existing.as_ref().is_some_and(|c| c.timeseries.is_some()) && modify.update.is_some() {
        bail!(InvalidOptions, "Cannot perform a findAndModify with an update on the time-series collection {}", modify.ns);
    }
    if let Some(coll) = &existing {
        default_collation(cx, &coll.collation);
    }
    if modify.upsert {
        check_upsert_filter(modify.filter)?;
    }
    // The filter that chose an array's element need not be true of the new document.
    if modify.new && modify.fields.iter().any(|e| e.name().ends_with(".$")) {
        bail!(BadValue, "cannot use a positional projection and return the new document");
    }
    let target = Target::compile(modify.filter, modify.order(), modify.hint.clone(), &cx.op.compile)?;
    let update = match modify.update {
        Some((u, filters)) => Some(Update::compile(u, filters, &cx.op.compile)?),
        None => None,
    };
    let projection = (!modify.fields.is_empty()).then(|| Projection::compile_find(modify.fields, &cx.op.compile)).transpose()?;
    if let Some(projection) = &projection {
        check_meta(&projection.meta(), &target.filter, !modify.order().is_empty())?;
    }
    let answer = if existing.is_none() && !modify.upsert {
        answer(None, 0, None, update.is_none())
    } else {
        write::target(&mut cx.op, &modify.ns)?;
        let mut arena = Arena::new();
        retry_upsert(modify.upsert && !cx.op.multi, || {
            cx.op.write(|op| {
                arena.reset();
                op.pending.statement = stmt;
                let answer = statement(op, &modify, &target, update.as_ref(), projection.as_ref(), &arena)?;
                if answer.get("lastErrorObject").as_doc().is_some_and(|last| last.get("n").truthy()) {
                    op.note(stmt.map(|s| (s, s)), || answer.clone())?;
                }
                Ok(answer)
            })
        })?
    };
    reply.append_all(answer.as_doc());
    Ok(())
}

fn statement(op: &mut OpCx, modify: &Modify<'_>, target: &Target<'_>, update: Option<&Update>, projection: Option<&Projection>, arena: &Arena) -> Result<DocBuf> {
    let coll = write::target(op, &modify.ns)?;
    let shown = |doc: Doc<'_>| -> Result<DocBuf> {
        let Some(projection) = projection else { return Ok(DocBuf::from(doc)) };
        let mut out = Vec::new();
        projection.apply(doc, Some(&target.filter), arena, &mut out)?;
        Ok(DocBuf::from_checked(out))
    };
    match (target.first(op, &coll)?, update) {
        (Some((id, old)), None) => {
            write::delete(op, &coll, id, old.as_doc())?;
            Ok(answer(Some(shown(old.as_doc())?), 1, None, true))
        }
        (Some((id, old)), Some(update)) => {
            let new = apply(op, &coll, id, old.as_doc(), target, update, modify.bypass, arena)?;
            let value = match (&new, modify.new) {
                (Some(new), true) => shown(new.as_doc())?,
                _ => shown(old.as_doc())?,
            };
            Ok(answer(Some(value), 1, None, false))
        }
        (None, Some(update)) if modify.upsert => {
            let doc = upsert(op, &coll, target, update, modify.bypass, arena)?;
            let value = if modify.new { Some(shown(doc.as_doc())?) } else { None };
            Ok(answer(value, 1, Some(doc.get("_id")), false))
        }
        (None, update) => Ok(answer(None, 0, None, update.is_none())),
    }
}

/// `lastErrorObject` and `value`.
fn answer(value: Option<DocBuf>, n: i32, upserted: Option<Value<'_>>, removed: bool) -> DocBuf {
    DocBuf::build(|w| {
        {
            let mut last = w.document("lastErrorObject");
            last.append("n", n);
            if !removed {
                last.append("updatedExisting", n == 1 && upserted.is_none());
            }
            if let Some(id) = upserted {
                last.append("upserted", id);
            }
        }
        match &value {
            Some(doc) => w.append("value", doc.as_doc()),
            None => w.append("value", Value::Null),
        };
    })
}
