//! bulkWrite: inserts, updates and deletes on several collections in one command.

use smongo_bson::{Code, Doc, DocBuf, DocWriter, Error, Result, Value, bail};
use smongo_mql::stream::Docs;
use uuid::Uuid;

use super::{delete, insert, write_reply};
use super::find::compile_cx;
use super::update::{self, Outcome};
use crate::commands::rules;
use crate::commands::definition::drop::check_uuid;
use crate::commands::definition::lists::cursor_option;
use crate::data::namespace::Ns;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, IN_TXN, RETRYABLE, WRITES};
use crate::service::cursors::Parked;

pub const BULK_WRITE: Command = Command::new("bulkWrite", bulk_write, IN_TXN | WRITES | RETRYABLE | ADMIN, Access::Computed(rules::bulk_write));

/// Sums of the reply.
#[derive(Default)]
struct Totals {
    errors: i32,
    inserted: i32,
    matched: i32,
    modified: i32,
    upserted: i32,
    deleted: i32,
}

struct Options {
    bypass: bool,
    errors_only: bool,
    ordered: bool,
}

/// One checked operation, as the statement of the command it stands for.
enum Op<'a> {
    Insert(Doc<'a>),
    Update(DocBuf),
    Delete(DocBuf),
}

fn bulk_write(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let Some(ops) = args.docs("ops")? else { return Err(args.missing("ops")) };
    let Some(infos) = args.docs("nsInfo")? else { return Err(args.missing("nsInfo")) };
    let options = Options {
        ordered: args.strict_bool("ordered")?.unwrap_or(true),
        bypass: args.bool("bypassDocumentValidation")?,
        errors_only: args.strict_bool("errorsOnly")?.unwrap_or(false),
    };
    let batch = cursor_option(args)?;
    args.accept(&["bypassEmptyTsReplacement"]);
    compile_cx(cx, args)?;
    args.finish()?;
    write_reply::check_batch(ops.len())?;
    let namespaces = infos.iter().map(|info| namespace(*info)).collect::<Result<Vec<_>>>()?;
    let parsed = ops.iter().map(|op| parse(*op, namespaces.len())).collect::<Result<Vec<_>>>()?;

    let mut totals = Totals::default();
    let mut results = Vec::new();
    for (n, (at, op)) in parsed.iter().enumerate() {
        let (ns, uuid) = &namespaces[*at];
        let done = write_reply::check_target(cx, ns).and_then(|()| check_uuid(cx, ns, *uuid)).and_then(|()| run(cx, ns, op, n, &options, &mut totals));
        match done {
            Ok(result) if options.errors_only => drop(result),
            Ok(result) => results.push(result),
            Err(e) => {
                if cx.in_transaction || matches!(e.code(), Code::MaxTimeMSExpired | Code::Interrupted | Code::InterruptedAtShutdown) {
                    return Err(e);
                }
                totals.errors += 1;
                results.push(failure(&e, n, matches!(op, Op::Update(_))));
                if options.ordered {
                    break;
                }
            }
        }
    }
    let ns = Ns::unchecked("admin", "$cmd.bulkWrite");
    let clearance = cx.pass.clearance(&ns);
    let mut cursor = Parked::new(ns, Box::new(Docs::new(results)), clearance);
    cursor.lsid = cx.lsid.clone();
    cursor.txn_number = cx.txn_number.filter(|_| cx.in_transaction);
    let shared = cx.shared.clone();
    shared.cursors.first_batch(&mut cx.op, cursor, batch, false, reply)?;
    reply.append("nErrors", totals.errors).append("nInserted", totals.inserted).append("nMatched", totals.matched);
    reply.append("nModified", totals.modified).append("nUpserted", totals.upserted).append("nDeleted", totals.deleted);
    write_reply::retried_ids(cx, reply);
    Ok(())
}

/// A namespace, and the UUID its collection must have.
fn namespace(info: Doc<'_>) -> Result<(Ns, Option<Uuid>)> {
    let mut args = Args::nested("bulkWrite.nsInfo", info);
    let ns = match args.str("ns")? {
        Some(ns) => Ns::parse(ns)?,
        None => return Err(args.missing("ns")),
    };
    let uuid = args.uuid("collectionUUID", Code::TypeMismatch)?;
    args.refuse(&["encryptionInformation"])?;
    args.accept(&["isTimeseriesNamespace"]);
    args.finish()?;
    Ok((ns, uuid))
}

fn parse<'a>(op: Doc<'a>, namespaces: usize) -> Result<(usize, Op<'a>)> {
    let kind = op.first().map_or("", |e| e.name());
    let owner = match kind {
        "insert" => "bulkWrite.insert",
        "update" => "bulkWrite.update",
        "delete" => "bulkWrite.delete",
        other => bail!(IDLUnknownField, "BSON field 'bulkWrite.{other}' is an unknown field."),
    };
    let mut args = Args::nested(owner, op);
    let at = match args.int(kind)? {
        Some(n) if n < 0 => bail!(BadValue, "BSON field '{kind}' value must be >= 0, actual value '{n}'"),
        Some(n) if n as usize >= namespaces => bail!(BadValue, "BulkWrite ops entry {op:?} has an invalid nsInfo index."),
        Some(n) => n as usize,
        None => return Err(args.missing(kind)),
    };
    let parsed = match kind {
        "insert" => match args.doc("document")? {
            Some(doc) => Op::Insert(doc),
            None => return Err(args.missing("document")),
        },
        "update" => Op::Update(update_statement(&mut args)?),
        _ => Op::Delete(delete_statement(&mut args)?),
    };
    args.finish()?;
    Ok((at, parsed))
}

fn update_statement(args: &mut Args<'_>) -> Result<DocBuf> {
    let Some(filter) = args.doc("filter")? else { return Err(args.missing("filter")) };
    let mods = match args.value("updateMods") {
        v @ (Value::Document(_) | Value::Array(_)) => v,
        Value::Missing => return Err(args.missing("updateMods")),
        v => bail!(FailedToParse, "Update argument must be either an object or an array, not {}", v.type_name()),
    };
    let (multi, upsert) = (args.strict_bool("multi")?, args.strict_bool("upsert")?);
    let (filters, constants) = (args.array("arrayFilters")?, args.doc("constants")?);
    let (sort, collation) = (args.doc("sort")?, args.doc("collation")?);
    let hint = super::find::hint(args)?;
    args.accept(&["upsertSupplied", "sampleId"]);
    Ok(DocBuf::build(|w| {
        w.append("q", filter).append("u", mods).append("multi", multi.unwrap_or(false)).append("upsert", upsert.unwrap_or(false));
        if let Some(a) = filters {
            w.append("arrayFilters", a);
        }
        for (name, doc) in [("c", constants), ("sort", sort), ("collation", collation)] {
            if let Some(d) = doc {
                w.append(name, d);
            }
        }
        if hint.is_some() {
            w.append("hint", args.value("hint"));
        }
    }))
}

fn delete_statement(args: &mut Args<'_>) -> Result<DocBuf> {
    let Some(filter) = args.doc("filter")? else { return Err(args.missing("filter")) };
    let multi = args.strict_bool("multi")?.unwrap_or(false);
    let collation = args.doc("collation")?;
    let hint = super::find::hint(args)?;
    args.accept(&["sampleId"]);
    Ok(DocBuf::build(|w| {
        w.append("q", filter).append("limit", i32::from(!multi));
        if let Some(c) = collation {
            w.append("collation", c);
        }
        if hint.is_some() {
            w.append("hint", args.value("hint"));
        }
    }))
}

/// Runs one operation; its result document.
fn run(cx: &mut Cx<'_>, ns: &Ns, op: &Op<'_>, n: usize, options: &Options, totals: &mut Totals) -> Result<DocBuf> {
    let result = |n_docs: i64, more: &dyn Fn(&mut DocWriter<'_>)| {
        DocBuf::build(|w| {
            w.append("ok", 1.0).append("idx", n as i32).append("n", n_docs as i32);
            more(w);
        })
    };
    match op {
        Op::Insert(doc) => {
            let coll = insert::coll_for(cx, ns, &mut None, *doc)??;
            let (count, error) = insert::insert_group(cx, coll, &[*doc], 0, n, options.bypass)?;
            if let Some(e) = error {
                return Err(e);
            }
            totals.inserted += count as i32;
            Ok(result(count as i64, &|_| {}))
        }
        Op::Update(statement) => {
            let Outcome { matched, modified, upserted } = update::one(cx, ns, statement.as_doc(), n, options.bypass)?;
            totals.matched += matched as i32;
            totals.modified += modified as i32;
            totals.upserted += i32::from(upserted.is_some());
            Ok(result((matched + u64::from(upserted.is_some())) as i64, &|w| {
                w.append("nModified", modified as i32);
                if let Some(id) = &upserted {
                    w.document("upserted").append("_id", id.view());
                }
            }))
        }
        Op::Delete(statement) => {
            let count = delete::one(cx, ns, statement.as_doc(), n)?;
            totals.deleted += count as i32;
            Ok(result(count as i64, &|_| {}))
        }
    }
}

fn failure(e: &Error, n: usize, update: bool) -> DocBuf {
    DocBuf::build(|w| {
        w.append("ok", 0.0).append("idx", n as i32).append("code", e.code().0).append("errmsg", e.message());
        if let Some(info) = e.info() {
            w.append_all(info);
        }
        w.append("n", 0);
        if update {
            w.append("nModified", 0);
        }
    })
}
