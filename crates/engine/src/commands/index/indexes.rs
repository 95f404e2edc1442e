//! createIndexes, dropIndexes, listIndexes

use smongo_bson::{Code, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::stream::Docs;
use smongo_mql::access::Action;

use super::index_spec;
use crate::commands::definition::drop::check_uuid;
use crate::commands::definition::timeseries;
use crate::data::buckets;
use crate::data::catalog::Collection;
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, WRITES};
use crate::service::cursors::{Batch, Parked};

pub const SET_COMMIT_QUORUM: Command = Command::new("setIndexCommitQuorum", set_commit_quorum, WRITES, Access::Named(&[Action::CreateIndex]));
pub const CREATE_INDEXES: Command = Command::new("createIndexes", create_indexes, IN_TXN | WRITES, Access::Named(&[Action::CreateIndex]));
pub const DROP_INDEXES: Command = Command::new("dropIndexes", drop_indexes, WRITES, Access::Named(&[Action::DropIndex]));
pub const DELETE_INDEXES: Command = Command::new("deleteIndexes", drop_indexes, WRITES, Access::Named(&[Action::DropIndex]));
pub const LIST_INDEXES: Command = Command::new("listIndexes", list_indexes, 0, Access::Named(&[Action::ListIndexes]));

fn create_indexes(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let Some(specs) = args.docs("indexes")? else { return Err(args.missing("indexes")) };
    let ignore_unknown = args.bool("ignoreUnknownIndexOptions")?;
    args.accept(&["commitQuorum"]);
    args.finish()?;
    if specs.is_empty() {
        bail!(BadValue, "Must specify at least one index to create");
    }
    let shared = cx.shared.clone();
    let existing = cx.op.collection(&ns)?;
    if existing.as_ref().is_some_and(|c| c.view().is_some()) {
        bail!(CommandNotSupportedOnView, "Cannot create indexes on a view: {ns}");
    }
    let mut wanted = Vec::new();
    for spec in specs {
        if let Some(series) = existing.as_ref().and_then(|c| c.timeseries.as_ref()) {
            timeseries::check_index(series, spec)?;
        }
        let known = ignore_unknown.then(|| index_spec::known_options(spec));
        let spec = known.as_ref().map_or(spec, DocBuf::as_doc);
        wanted.push(index_spec::normalise(spec, existing.as_deref(), &cx.op.compile)?);
    }
    index_spec::check_batch(&wanted)?;
    if ns.coll().starts_with("system.") && existing.is_none() {
        bail!(InvalidNamespace, "Cannot create indexes on the system collection {ns}");
    }
    if cx.in_transaction {
        crate::commands::definition::create::check_in_transaction(cx, &ns)?;
    }
    let created = existing.is_none();
    let coll = shared.catalog.get_or_create(&mut cx.op, &ns)?;
    let before = coll.index_count();
    let mut missing: Vec<DocBuf> = Vec::new();
    for spec in wanted {
        if index_spec::conflict(&coll, spec.as_doc())? {
            continue;
        }
        if missing.iter().any(|m| m.as_bytes() == spec.as_bytes()) {
            bail!(IndexAlreadyExists, "Identical index already exists: {}", spec.get("name").as_str().unwrap_or_default());
        }
        missing.push(spec);
    }
    let after = before + missing.len();
    let unchanged = missing.is_empty();
    if !unchanged && cx.in_transaction {
        shared.catalog.create_indexes_within(&mut cx.op, &ns, missing)?;
    } else if !unchanged {
        shared.catalog.create_indexes(&mut cx.op, &ns, missing)?;
    }
    reply.append("numIndexesBefore", before as i32).append("numIndexesAfter", after as i32).append("createdCollectionAutomatically", created);
    if unchanged {
        reply.append("note", "all indexes already exist");
    }
    if !cx.in_transaction {
        reply.append("commitQuorum", "votingMembers");
    }
    Ok(())
}

/// Builds of indexes wait for no other member, so there is never one whose quorum could be changed.
fn set_commit_quorum(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let Some(names) = args.array("indexNames")? else { return Err(args.missing("indexNames")) };
    match args.value("commitQuorum") {
        Value::Missing => return Err(args.missing("commitQuorum")),
        Value::String(_) => {}
        v if v.is_number() => {}
        v => return Err(args.wrong_type("commitQuorum", v, "int, string")),
    }
    args.finish()?;
    if names.iter().any(|name| name.as_str().is_none()) {
        bail!(TypeMismatch, "'indexNames' must hold strings only");
    }
    if cx.shared.catalog.get(&ns).is_none() {
        bail!(NamespaceNotFound, "Collection '{ns}' does not exist");
    }
    bail!(IndexNotFound, "Cannot find an index build on collection '{ns}' with the provided index names")
}

fn drop_indexes(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = buckets::behind(&cx.op, args.ns(&cx.db)?)?;
    let index = args.value("index");
    let uuid = args.uuid("collectionUUID", Code::TypeMismatch)?;
    args.finish()?;
    check_uuid(cx, &ns, uuid)?;
    let shared = cx.shared.clone();
    let Some(coll) = shared.catalog.get(&ns) else { bail!(NamespaceNotFound, "ns not found {ns}") };
    if coll.view().is_some() {
        bail!(CommandNotSupportedOnView, "Cannot drop indexes on view: {ns}");
    }
    let names = named(args, &coll, index)?;
    reply.append("nIndexesWas", coll.index_count() as i32);
    if matches!(index, Value::String("*")) {
        reply.append("msg", "non-_id indexes dropped for collection");
    }
    shared.catalog.drop_indexes(&mut cx.op, &ns, &names)
}

/// The names of the indexes that `index` means: `"*"`, a name, a list of names, or a key pattern.
fn named(args: &Args<'_>, coll: &Collection, index: Value<'_>) -> Result<Vec<String>> {
    let by_name = |name: &str| match coll.index(name) {
        Some(i) if i.clustered => bail!(5979800, "It is illegal to drop the clusteredIndex"),
        Some(i) if i.is_id() => bail!(InvalidOptions, "cannot drop _id index"),
        Some(i) => Ok(i.name.clone()),
        None => bail!(IndexNotFound, "index not found with name [{name}]"),
    };
    match index {
        Value::String("*") => Ok(coll.indexes.iter().filter(|i| !i.is_id()).map(|i| i.name.clone()).collect()),
        Value::String(name) => Ok(vec![by_name(name)?]),
        Value::Array(list) if list.iter().any(|v| v.as_str() == Some("*")) => named(args, coll, Value::String("*")),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(n, v)| match v {
                Value::String(name) if list.iter().take(n).any(|earlier| earlier.as_str() == Some(name)) => {
                    bail!(IndexNotFound, "index not found with name [{name}]")
                }
                Value::String(name) => by_name(name),
                v => Err(args.wrong_type("index", v, "string")),
            })
            .collect(),
        Value::Document(key) => {
            let found: Vec<_> = coll.indexes.iter().filter(|i| smongo_bson::compare::compare_docs(i.key(), key, None).is_eq()).collect();
            match found.as_slice() {
                [] => bail!(IndexNotFound, "can't find index with key: {key:?}"),
                [one] if one.clustered => bail!(5979800, "It is illegal to drop the clusteredIndex"),
                [one] if one.is_id() => bail!(InvalidOptions, "cannot drop _id index"),
                [one] => Ok(vec![one.name.clone()]),
                _ => bail!(AmbiguousIndexKeyPattern, "{} indexes found for key: {key:?}, identify by name instead", found.len()),
            }
        }
        v if v.is_missing() => Err(args.missing("index")),
        v => Err(args.wrong_type("index", v, "string, object")),
    }
}

/// `cursor: {batchSize}`, which may be however large.
fn list_batch(args: &mut Args<'_>) -> Result<Batch> {
    let Some(cursor) = args.doc("cursor")? else { return Ok(Batch { documents: None }) };
    let mut cursor = Args::nested("listIndexes.cursor", cursor);
    let size = cursor.int("batchSize")?;
    cursor.finish()?;
    match size {
        Some(n) if n < 0 => bail!(BadValue, "BSON field 'batchSize' value must be >= 0, actual value '{n}'"),
        n => Ok(Batch { documents: n.map(|n| usize::try_from(n).unwrap_or(usize::MAX)) }),
    }
}

fn list_indexes(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = buckets::behind(&cx.op, args.ns(&cx.db)?)?;
    let batch = list_batch(args)?;
    let (uuids, info) = (args.bool("includeBuildUUIDs")?, args.bool("includeIndexBuildInfo")?);
    args.finish()?;
    if uuids && info {
        bail!(InvalidOptions, "listIndexes supports includeBuildUUIDs or includeIndexBuildInfo, not both");
    }
    let shared = cx.shared.clone();
    let Some(coll) = cx.op.collection(&ns)? else { bail!(NamespaceNotFound, "ns does not exist: {ns}") };
    if coll.view().is_some() && !coll.is_made() {
        bail!(CommandNotSupportedOnView, "Namespace {ns} is a view, not a collection");
    }
    // No index is seen while it is built, so that there is nothing to tell of builds.
    let describe = |i: &std::sync::Arc<crate::data::catalog::Index>| if info { DocBuf::build(|w| { w.append("spec", i.spec.as_doc()); }) } else { i.spec.clone() };
    let docs = match coll.is_made() {
        true => vec![crate::commands::definition::lists::id_index()],
        false => coll.indexes.iter().map(describe).collect(),
    };
    let clearance = cx.pass.clearance(&ns);
    let mut cursor = Parked::new(ns, Box::new(Docs::new(docs)), clearance);
    cursor.lsid = cx.lsid.clone();
    shared.cursors.first_batch(&mut cx.op, cursor, batch, false, reply)
}
