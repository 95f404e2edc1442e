//! applyOps: entries of an oplog, carried out again. What restoring tools send.
//!
//! Entries may be older than what is there, and be carried out twice: an insertion replaces, an update of what is gone makes it anew,
//! a deletion of what is gone is done. Entries that change documents only are carried out together or not at all.

use std::sync::Arc;

use smongo_bson::{Array, Code, Doc, DocBuf, DocWriter, Error, Result, Value, bail, err, number};
use smongo_mql::update::diff;
use smongo_mql::{Arena, CompileCx, Matcher, Update};

use crate::commands::rules;
use crate::commands::lookup;
use crate::data::{buckets, limits};
use crate::data::catalog::Collection;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write::{self, stored};
use crate::query::statement::Target;
use crate::service::command::{Access, Args, Command, Cx, WRITES};

pub const APPLY_OPS: Command = Command::new("applyOps", apply_ops, WRITES, Access::Computed(rules::apply_ops));

/// applyOps within applyOps may be this deep.
const DEPTH: usize = 10;

/// One checked entry.
struct Entry<'a> {
    op: &'a str,
    ns: Ns,
    o: Doc<'a>,
    o2: Option<Doc<'a>>,
}

fn apply_ops(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    if cx.in_transaction {
        bail!(OperationNotSupportedInTransaction, "Cannot run 'applyOps' in a multi-document transaction.");
    }
    let ops = match args.first() {
        Value::Array(ops) => ops,
        v if v.is_nullish() => return Err(args.missing("applyOps")),
        v => return Err(args.wrong_type("applyOps", v, "array")),
    };
    let bypass = args.bool("bypassDocumentValidation")?;
    let always_upsert = args.strict_bool("alwaysUpsert")?.unwrap_or(true);
    let allow_atomic = args.strict_bool("allowAtomic")?.unwrap_or(true);
    args.refuse(&["preCondition", "oplogApplicationMode"])?;
    args.finish()?;
    let entries = parse_all(ops)?;
    let mut run = Run { bypass, always_upsert, depth: 0, done: Vec::new() };
    let failed = run.all(cx, &entries, allow_atomic).err();
    let report = |w: &mut DocWriter<'_>| {
        w.append("applied", run.done.len() as i32);
        let mut results = w.array("results");
        run.done.iter().for_each(|ok| {
            results.push(*ok);
        });
    };
    match failed {
        None => {
            report(reply);
            Ok(())
        }
        Some(e) => {
            let info = DocBuf::build(|w| {
                report(w);
                e.info().into_iter().for_each(|info| {
                    w.append_all(info);
                });
            });
            Err(e.with_info(info))
        }
    }
}

fn parse_all<'a>(ops: Array<'a>) -> Result<Vec<Entry<'a>>> {
    let entry = |(n, op): (usize, Value<'a>)| match op {
        Value::Document(op) => parse(op),
        v => bail!(TypeMismatch, "BSON field 'applyOps.applyOps.{n}' is the wrong type '{}', expected type 'object'", v.type_name()),
    };
    ops.iter().enumerate().map(entry).collect()
}

fn parse<'a>(entry: Doc<'a>) -> Result<Entry<'a>> {
    let Value::String(op) = entry.get("op") else { bail!(FailedToParse, "op does not contain required \"op\" field: {entry:?}") };
    if !["i", "u", "d", "c", "n"].contains(&op) {
        bail!(FailedToParse, "\"op\" field value '{op}' is not supported by applyOps");
    }
    let Value::String(ns) = entry.get("ns") else { bail!(FailedToParse, "op does not contain required \"ns\" field: {entry:?}") };
    let ns = match op {
        "n" => Ns::unchecked("", ""),
        "c" => Ns::unchecked(ns.strip_suffix(".$cmd").unwrap_or(ns), "$cmd"),
        _ => Ns::parse(ns).map_err(|_| err!(InvalidNamespace, "invalid ns: {ns}"))?,
    };
    let o = match entry.get("o") {
        Value::Document(o) => o,
        _ if op == "n" => Doc::EMPTY,
        _ => bail!(FailedToParse, "op does not contain required \"o\" field: {entry:?}"),
    };
    let o2 = entry.get("o2").as_doc();
    if op == "u" && o2.is_none() {
        bail!(FailedToParse, "op does not contain required \"o2\" field: {entry:?}");
    }
    Ok(Entry { op, ns, o, o2 })
}

struct Run {
    bypass: bool,
    always_upsert: bool,
    depth: usize,
    /// How each entry went, so far.
    done: Vec<bool>,
}

impl Run {
    fn all(&mut self, cx: &mut Cx<'_>, entries: &[Entry<'_>], allow_atomic: bool) -> Result<()> {
        let documents_only = entries.iter().all(|e| e.op != "c");
        if documents_only && allow_atomic {
            let begun = self.done.len();
            return cx.op.write(|op| {
                self.done.truncate(begun);
                let all = entries.iter().try_for_each(|entry| {
                    let done = self.document(op, entry);
                    self.done.push(done.is_ok());
                    done
                });
                all
            });
        }
        for entry in entries {
            cx.interrupt()?;
            let done = match entry.op {
                "c" => self.command(cx, entry),
                _ => cx.op.write(|op| self.document(op, entry)),
            };
            self.done.push(done.is_ok());
            done?;
        }
        Ok(())
    }

    fn document(&self, op: &mut OpCx, entry: &Entry<'_>) -> Result<()> {
        if entry.op == "n" {
            return Ok(());
        }
        let Some(coll) = op.collection(&entry.ns)? else {
            if entry.op == "d" {
                return Ok(());
            }
            bail!(AtomicityFailure, "cannot apply insert or update operation on a non-existent namespace {}", entry.ns);
        };
        if let Some(series) = coll.buckets_of() {
            return self.bucket(op, series, entry);
        }
        if coll.view().is_some() {
            bail!(CommandNotSupportedOnView, "applyOps not supported on view: {}", entry.ns);
        }
        match entry.op {
            "i" if coll.timeseries.is_some() => self.measurement(op, &coll, entry.o),
            "i" => self.insert(op, &coll, entry.o),
            "u" => self.update(op, &coll, entry),
            _ => self.delete(op, &coll, entry.o),
        }
    }

    fn insert(&self, op: &mut OpCx, coll: &Arc<Collection>, doc: Doc<'_>) -> Result<()> {
        if !doc.contains("_id") {
            bail!(NoSuchKey, "Failed to apply insert due to missing _id: {doc:?}");
        }
        if let Some((id, old)) = of_key(op, coll, doc.get("_id"))? {
            return self.replace(op, coll, id, &old, doc);
        }
        self.add(op, coll, doc)
    }

    fn add(&self, op: &mut OpCx, coll: &Arc<Collection>, doc: Doc<'_>) -> Result<()> {
        let mut buf = Vec::new();
        let doc = stored(op, coll, doc, &mut buf)?;
        if doc.as_bytes().len() > limits::DOCUMENT_BYTES {
            bail!(BSONObjectTooLarge, "object to insert too large. size in bytes: {}, max size: {}", doc.as_bytes().len(), limits::DOCUMENT_BYTES);
        }
        write::validate(coll, doc, self.bypass)?;
        write::insert(op, coll, doc)?;
        if coll.is_capped() {
            write::evict(op, coll)?;
        }
        Ok(())
    }

    fn replace(&self, op: &mut OpCx, coll: &Arc<Collection>, id: i64, old: &DocBuf, new: Doc<'_>) -> Result<()> {
        if old.as_bytes() == new.as_bytes() {
            return Ok(());
        }
        write::validate_update(coll, old.as_doc(), new, self.bypass)?;
        let delta = diff::diff(old.as_doc(), new);
        let delta = delta.map(|diff| {
            DocBuf::build(|w| {
                w.append("$v", 2).append("diff", diff.as_doc());
            })
        });
        write::update(op, coll, id, old.as_doc(), new, delta.as_ref().map_or(new, DocBuf::as_doc))
    }

    fn update(&self, op: &mut OpCx, coll: &Arc<Collection>, entry: &Entry<'_>) -> Result<()> {
        let key = entry.o2.map_or(Value::Missing, |o2| o2.get("_id"));
        if key.is_missing() {
            bail!(NoSuchKey, "Failed to apply update due to missing _id: {:?}", entry.o2);
        }
        match of_key(op, coll, key)? {
            Some((id, old)) => {
                let new = changed(entry.o, old.as_doc())?;
                self.replace(op, coll, id, &old, new.as_doc())
            }
            None if self.always_upsert => {
                let bare = DocBuf::build(|w| {
                    w.append("_id", key);
                });
                let new = changed(entry.o, bare.as_doc())?;
                self.add(op, coll, new.as_doc())
            }
            None => bail!(UpdateOperationFailed, "Failed to apply update: no document with {:?}", entry.o2),
        }
    }

    fn delete(&self, op: &mut OpCx, coll: &Arc<Collection>, key: Doc<'_>) -> Result<()> {
        if !key.contains("_id") {
            bail!(NoSuchKey, "Failed to apply delete due to missing _id: {key:?}");
        }
        match of_key(op, coll, key.get("_id"))? {
            Some((id, old)) => write::delete(op, coll, id, old.as_doc()),
            None => Ok(()),
        }
    }

    /// A measurement that is there already stays the only one.
    fn measurement(&self, op: &mut OpCx, coll: &Arc<Collection>, doc: Doc<'_>) -> Result<()> {
        let mut buf = Vec::new();
        let doc = stored(op, coll, doc, &mut buf)?;
        if doc.contains("_id") && write::holds_measurement(op, coll, doc)? {
            return Ok(());
        }
        write::insert(op, coll, doc).map(|_| ())
    }

    fn bucket(&self, op: &mut OpCx, series: &Arc<Collection>, entry: &Entry<'_>) -> Result<()> {
        let Some(timeseries) = series.timeseries.as_ref().filter(|_| entry.op == "i") else {
            bail!(NotImplemented, "applyOps changes and deletes no buckets of a time-series collection: {}", entry.ns)
        };
        buckets::unpack(timeseries, entry.o, |doc| self.measurement(op, series, doc))
    }

    fn command(&mut self, cx: &mut Cx<'_>, entry: &Entry<'_>) -> Result<()> {
        let Some(first) = entry.o.first() else { bail!(FailedToParse, "empty command in applyOps") };
        if first.name() == "applyOps" {
            if self.depth >= DEPTH {
                bail!(FailedToParse, "Maximum nesting depth for applyOps exceeded");
            }
            let Value::Array(ops) = first.value() else { bail!(FailedToParse, "applyOps has to be an array") };
            let mut inner = Run { done: Vec::new(), depth: self.depth + 1, ..*self };
            return inner.all(cx, &parse_all(ops)?, true);
        }
        let (command, tolerated) = statement(entry.o)?;
        let Some(command) = command else { return Ok(()) };
        let name = command.as_doc().first().map_or("", |e| e.name());
        let Some(row) = lookup(name) else { bail!(FailedToParse, "applyOps knows no command '{name}'") };
        let (mut reply, outer) = (Vec::new(), (cx.command, cx.db.clone()));
        cx.command = row;
        entry.ns.db().clone_into(&mut cx.db);
        let mut args = Args::new(row.name, command.as_doc(), &[]);
        let done = (row.run)(cx, &mut args, &mut DocWriter::new(&mut reply));
        (cx.command, cx.db) = outer;
        match done {
            Err(e) if tolerated.contains(&e.code()) => Ok(()),
            done => done,
        }
    }
}

/// The document of an `_id`. Time-series collections have no index that finds it.
fn of_key(op: &mut OpCx, coll: &Arc<Collection>, key: Value<'_>) -> Result<Option<(i64, DocBuf)>> {
    let filter = DocBuf::build(|w| {
        w.document("_id").append("$eq", key);
    });
    Target::compile(filter.as_doc(), Doc::EMPTY, None, &CompileCx::default())?.first(op, coll)
}

/// What an update entry makes of a document: `$v: 2` tells the difference, operators are older, all else is the new document.
fn changed(o: Doc<'_>, old: Doc<'_>) -> Result<DocBuf> {
    match (o.get("$v"), o.get("diff")) {
        (version, Value::Document(difference)) if number::to_i64_exact(version) == Some(2) => return diff::apply(difference, old),
        (version, _) if !version.is_missing() && number::to_i64_exact(version) != Some(1) => bail!(4772600, "Unsupported $v value in an update entry: {version:?}"),
        _ => {}
    }
    let operators = DocBuf::build(|w| {
        o.iter().filter(|e| e.name() != "$v").for_each(|e| {
            w.append_element(&e);
        });
    });
    if !operators.as_doc().first().is_some_and(|e| e.name().starts_with('$')) {
        return Ok(DocBuf::from(o));
    }
    let cx = CompileCx::default();
    let update = Update::compile(Value::Document(operators.as_doc()), None, &cx)?;
    let applied = update.apply(old, &Matcher::compile(Doc::EMPTY, &cx)?, &Arena::new())?;
    Ok(applied.doc.unwrap_or_else(|| DocBuf::from(old)))
}

/// An oplog's command as it is run here, if it is, and what it may answer when it was carried out before.
fn statement(o: Doc<'_>) -> Result<(Option<DocBuf>, &'static [Code])> {
    let Some(first) = o.first() else { return Ok((None, &[])) };
    const GONE: &[Code] = &[Code::NamespaceNotFound, Code::IndexNotFound];
    let rename = |name: &str| {
        DocBuf::build(|w| {
            w.append(name, first.value());
            o.iter().skip(1).for_each(|e| {
                w.append_element(&e);
            });
        })
    };
    Ok(match first.name() {
        "create" => (Some(created(o)), &[Code::NamespaceExists]),
        "drop" | "dropDatabase" | "collMod" | "convertToCapped" => (Some(DocBuf::from(o)), GONE),
        "dropIndexes" | "deleteIndex" | "deleteIndexes" | "dropIndex" => (Some(rename("dropIndexes")), GONE),
        "renameCollection" => (Some(DocBuf::from(o)), &[Code::NamespaceNotFound, Code::NamespaceExists]),
        "createIndexes" => {
            let command = DocBuf::build(|w| {
                w.append("createIndexes", first.value());
                w.array("indexes").document().append_all(rest(o, &[first.name()]).as_doc());
                w.append("ignoreUnknownIndexOptions", true);
            });
            (Some(command), &[Code::IndexAlreadyExists, Code::NamespaceNotFound])
        }
        "commitIndexBuild" => {
            let command = DocBuf::build(|w| {
                w.append("createIndexes", first.value()).append("indexes", o.get("indexes")).append("ignoreUnknownIndexOptions", true);
            });
            (Some(command), &[Code::IndexAlreadyExists, Code::NamespaceNotFound])
        }
        "startIndexBuild" | "abortIndexBuild" => (None, &[]),
        name => return Err(Error::new(Code::FailedToParse, format!("applyOps knows no command '{name}'"))),
    })
}

/// A `create` of the oplog. Of a time-series collection MongoDB logs two: its buckets, which stand for it, and a view of them.
fn created(o: Doc<'_>) -> DocBuf {
    let name = o.first().map_or(Value::Missing, |e| e.value());
    match name.as_str().and_then(|name| name.strip_prefix(buckets::PREFIX)).filter(|_| o.contains("timeseries")) {
        Some(series) => DocBuf::build(|w| {
            w.append("create", series).append_all(rest(o, &["create", "validator", "clusteredIndex", "idIndex"]).as_doc());
        }),
        None => rest(o, &["idIndex"]),
    }
}

fn rest(doc: Doc<'_>, without: &[&str]) -> DocBuf {
    DocBuf::build(|w| {
        doc.iter().filter(|e| !without.contains(&e.name())).for_each(|e| {
            w.append_element(&e);
        });
    })
}
