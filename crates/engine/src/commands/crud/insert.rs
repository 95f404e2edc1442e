//! insert

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail};

use super::write_reply::{self, WriteErrors};
use crate::commands::rules;
use crate::data::{buckets, limits, write};
use crate::data::catalog::Collection;
use crate::data::namespace::Ns;
use crate::data::op::{OpCx, Ran};
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, RETRYABLE, WRITES};

pub const INSERT: Command = Command::new("insert", insert, IN_TXN | WRITES | RETRYABLE, Access::Computed(rules::insert));

/// Documents inserted in one storage transaction, and their bytes: bounds of what one conflict makes to be done again.
const GROUP: usize = 500;
const GROUP_BYTES: usize = 4 << 20;

fn insert(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let Some(docs) = args.docs("documents")? else { return Err(args.missing("documents")) };
    let ordered = args.strict_bool("ordered")?.unwrap_or(true);
    let bypass = args.bool("bypassDocumentValidation")?;
    args.accept(&["bypassEmptyTsReplacement"]);
    args.finish()?;
    write_reply::check_batch(docs.len())?;
    write_reply::check_target(cx, &ns)?;

    let mut coll = cx.op.collection(&ns)?;
    if let Some(coll) = coll.as_ref().filter(|coll| coll.is_capped())
        && !cx.in_transaction
        && coll.state.known_documents().is_none()
    {
        let shared = cx.shared.clone();
        shared.catalog.recount(&mut cx.op, coll)?;
    }
    let mut errors = WriteErrors::default();
    let mut inserted = 0;
    let mut next = 0;
    while let Some(doc) = docs.get(next) {
        let (done, error) = match coll_for(cx, &ns, &mut coll, *doc)? {
            Ok(coll) => insert_group(cx, coll, &docs, next, next, bypass)?,
            Err(e) => (0, Some(e)),
        };
        inserted += done;
        next += done;
        if let Some(e) = error {
            if errors.end(cx, next, e, ordered)? {
                break;
            }
            next += 1;
        }
    }
    reply.append("n", inserted as i32);
    errors.write(reply);
    write_reply::retried_ids(cx, reply);
    Ok(())
}

/// The collection that documents from this one on go into. It is made for a document that can be stored only: a refused one leaves
/// no empty collection.
pub fn coll_for(cx: &mut Cx<'_>, ns: &Ns, known: &mut Option<Arc<Collection>>, doc: Doc<'_>) -> Result<Result<Arc<Collection>>> {
    let coll = match known {
        Some(coll) => coll.clone(),
        None => match check_document(doc) {
            Ok(()) => write::target(&mut cx.op, ns)?,
            Err(e) => return Ok(Err(e)),
        },
    };
    *known = Some(coll.clone());
    Ok(Ok(coll))
}

/// What can be said against a document without its collection.
fn check_document(doc: Doc<'_>) -> Result<()> {
    check_size(doc)?;
    write::check_depth(doc)?;
    let mut ids = doc.iter().filter(|e| e.name_bytes() == b"_id");
    write::check_id(ids.next().map_or(Value::Missing, |e| e.value()))?;
    if ids.next().is_some() {
        bail!(BadValue, "can't have multiple _id fields in one document");
    }
    Ok(())
}

fn check_size(doc: Doc<'_>) -> Result<()> {
    if doc.as_bytes().len() > limits::DOCUMENT_BYTES {
        bail!(BSONObjectTooLarge, "object to insert too large. size in bytes: {}, max size: {}", doc.as_bytes().len(), limits::DOCUMENT_BYTES);
    }
    Ok(())
}

/// Inserts documents from `from` on, as many as a group holds. Returns how many went in, and the error of the next one if
/// it has one; what went in before the error is committed. `first_statement` numbers the first of them in its command.
pub fn insert_group(
    cx: &mut Cx<'_>,
    mut coll: Arc<Collection>,
    docs: &[Doc<'_>],
    from: usize,
    first_statement: usize,
    bypass: bool,
) -> Result<(usize, Option<smongo_bson::Error>)> {
    let mut buf = Vec::new();
    let stmts: Vec<Option<i32>> = (0..(docs.len() - from).min(GROUP)).map(|n| write_reply::stmt_id(cx, first_statement + n)).collect();
    let mut stale = false;
    // A bucket holds many measurements: it is a group.
    let bucket = coll.buckets_of().is_some();
    cx.op.write_group(stmts.len(), |op, limit| {
        if stale {
            coll = write::target(op, &coll.ns)?;
        }
        stale = true;
        let (mut count, mut bytes) = (0, 0);
        let mut applied = Vec::new();
        for (doc, stmt) in docs[from..].iter().zip(&stmts[..limit]) {
            if op.retried(*stmt).is_none() {
                op.pending.statement = *stmt;
                op.begin_item();
                if let Err(e) = insert_one(op, &coll, *doc, bypass, &mut buf) {
                    note_inserts(op, &applied)?;
                    return Ok(Ran { value: count, failed: Some((count, e)) });
                }
                applied.extend(*stmt);
            }
            count += 1;
            bytes += doc.as_bytes().len();
            if bytes >= GROUP_BYTES || bucket {
                break;
            }
        }
        note_inserts(op, &applied)?;
        Ok(Ran { value: count, failed: None })
    })
}

/// Inserts one document of no statement that anybody would send again.
pub fn insert_plain(op: &mut OpCx, mut coll: Arc<Collection>, doc: Doc<'_>) -> Result<()> {
    let mut buf = Vec::new();
    let mut stale = false;
    op.write(|op| {
        if std::mem::replace(&mut stale, true) {
            coll = write::target(op, &coll.ns)?;
        }
        insert_one(op, &coll, doc, false, &mut buf)
    })
}

/// Remembers inserts, runs of neighbouring statements in one record.
fn note_inserts(op: &mut OpCx, statements: &[i32]) -> Result<()> {
    for run in statements.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let ends = run.first().copied().zip(run.last().copied());
        op.note(ends, || {
            DocBuf::build(|w| {
                w.append("n", 1);
            })
        })?;
    }
    Ok(())
}

fn insert_one(op: &mut OpCx, coll: &Arc<Collection>, doc: Doc<'_>, bypass: bool, buf: &mut Vec<u8>) -> Result<()> {
    check_size(doc)?;
    if let Some(series) = coll.buckets_of() {
        return insert_bucket(op, series, doc);
    }
    let doc = write::stored(op, coll, doc, buf)?;
    write::validate(coll, doc, bypass)?;
    write::insert(op, coll, doc)?;
    if coll.is_capped() {
        write::evict(op, coll)?;
    }
    Ok(())
}

/// Inserts the measurements of a bucket. One that is there already is known by its first measurement, which nobody makes twice
/// when it has an `_id`.
fn insert_bucket(op: &mut OpCx, series: &Arc<Collection>, bucket: Doc<'_>) -> Result<()> {
    let Some(timeseries) = &series.timeseries else { return Ok(()) };
    let mut first = true;
    buckets::unpack(timeseries, bucket, |measurement| {
        if std::mem::take(&mut first) && measurement.contains("_id") && write::holds_measurement(op, series, measurement)? {
            let key = DocBuf::build(|w| {
                w.append("_id", bucket.get("_id"));
            });
            return Err(write::duplicate_key_of(&Ns::unchecked(series.ns.db(), &format!("{}{}", buckets::PREFIX, series.ns.coll())), key.as_doc()));
        }
        write::insert(op, series, measurement).map(|_| ())
    })
}
