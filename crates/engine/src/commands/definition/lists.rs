//! listDatabases, listCollections

use smongo_bson::{Binary, Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::access::{Action, Need, Resource};
use smongo_mql::stream::Docs;
use smongo_mql::{Arena, Matcher};

use super::create::plain_filter;
use crate::commands::rules;
use crate::data::buckets;
use crate::data::catalog::{Collection, SYSTEM_VIEWS};
use crate::data::namespace::Ns;
use crate::data::oplog::uuid_bytes;
use crate::service::command::{ADMIN, Access, Args, Command, Cx};
use crate::service::cursors::{Batch, Parked};
use crate::service::replica_set;

pub const LIST_DATABASES: Command = Command::new("listDatabases", list_databases, ADMIN, Access::User);
pub const LIST_COLLECTIONS: Command = Command::new("listCollections", list_collections, 0, Access::Computed(rules::list_collections));

const CONFIG: &str = "config";

fn list_databases(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let name_only = args.bool("nameOnly")?;
    let filter = args.doc("filter")?;
    let authorized = args.strict_bool("authorizedDatabases")?;
    args.finish()?;
    let all = cx.pass.holds(Need::new(Resource::Cluster, &[Action::ListDatabases]));
    if !all && authorized == Some(false) {
        bail!(Unauthorized, "Insufficient permissions to list all databases");
    }
    let all = all && authorized != Some(true);
    let matcher = filter.map(|f| plain_filter(f, &cx.op.compile.timeless())).transpose()?;
    let shared = cx.shared.clone();
    let mut total = 0;
    {
        let mut list = reply.array("databases");
        let mut databases = shared.catalog.databases();
        // Here sessions and their writes are remembered, which is where MongoDB keeps them.
        if let Err(at) = databases.binary_search_by(|db| db.as_str().cmp(CONFIG)) {
            databases.insert(at, CONFIG.to_owned());
        }
        for db in databases.into_iter().filter(|db| all || cx.pass.reaches(db)) {
            let bytes = if name_only { 0 } else { database_bytes(cx, &db)? };
            let doc = DocBuf::build(|w| {
                w.append("name", &*db);
                if !name_only {
                    w.append("sizeOnDisk", bytes).append("empty", bytes == 0);
                }
            });
            if matches(matcher.as_ref(), doc.as_doc())? {
                total += bytes;
                list.push(doc.as_doc());
            }
        }
    }
    if !name_only {
        reply.append("totalSize", total).append("totalSizeMb", total / (1 << 20));
    }
    Ok(())
}

/// Bytes of a database's files; of its documents, where there are no files.
fn database_bytes(cx: &Cx<'_>, db: &str) -> Result<i64> {
    let shared = &cx.shared;
    let mut bytes = if db == CONFIG { shared.store.file_bytes(&shared.statements)? as i64 } else { 0 };
    for coll in cx.shared.catalog.collections(db) {
        let tables = coll.storage().map(|s| &s.records).into_iter().chain(coll.indexes.iter().map(|i| &i.table));
        for table in tables {
            bytes += cx.shared.store.file_bytes(table)? as i64;
        }
    }
    Ok(bytes)
}

fn matches(matcher: Option<&Matcher>, doc: Doc<'_>) -> Result<bool> {
    matcher.map_or(Ok(true), |m| m.matches(doc, &Arena::new()))
}

fn list_collections(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let name_only = args.strict_bool("nameOnly")?.unwrap_or(false);
    let filter = args.doc("filter")?;
    let authorized = args.strict_bool("authorizedCollections")?.unwrap_or(false);
    let batch = cursor_option(args)?;
    args.finish()?;
    crate::data::namespace::check_database(&cx.db)?;
    let matcher = filter.map(|f| plain_filter(f, &cx.op.compile.timeless())).transpose()?;
    let shared = cx.shared.clone();
    let mut docs = Vec::new();
    let mut collections = shared.catalog.collections(&cx.db);
    for name in [SYSTEM_VIEWS, replica_set::CONFIG] {
        collections.extend(cx.op.collection(&Ns::unchecked(&cx.db, name))?.filter(|coll| coll.is_made()));
    }
    collections.sort_by(|a, b| a.ns.cmp(&b.ns));
    if authorized || !cx.pass.holds(Need::new(Resource::Db(&cx.db), &[Action::ListCollections])) {
        collections.retain(|coll| cx.pass.reaches_collection(&coll.ns));
    }
    for coll in collections {
        let shown = || !authorized || cx.pass.reaches_collection(&Ns::unchecked(&cx.db, &format!("{}{}", buckets::PREFIX, coll.ns.coll())));
        let buckets = (coll.timeseries.is_some() && shown()).then(|| describe_buckets(&coll, name_only));
        for doc in std::iter::once(describe(&coll, name_only)).chain(buckets) {
            if matches(matcher.as_ref(), doc.as_doc())? {
                docs.push(doc);
            }
        }
    }
    let left = docs.len() as u64;
    let ns = Ns::unchecked(&cx.db, "$cmd.listCollections");
    let clearance = cx.pass.clearance(&ns);
    let mut cursor = Parked::new(ns, Box::new(Docs::new(docs)), clearance);
    cursor.left = Some(left);
    cursor.lsid = cx.lsid.clone();
    shared.cursors.first_batch(&mut cx.op, cursor, batch, false, reply)
}

/// `cursor: {batchSize}` of the commands that list; without it everything comes at once, as far as it fits.
pub fn cursor_option(args: &mut Args<'_>) -> Result<Batch> {
    let Some(cursor) = args.doc("cursor")? else { return Ok(Batch { documents: None }) };
    let mut cursor = Args::nested("cursor", cursor);
    let size = cursor.int("batchSize")?;
    cursor.finish()?;
    match size {
        Some(n) if n < 0 => bail!(BadValue, "BSON field 'cursor.batchSize' value must be >= 0, actual value '{n}'"),
        size => Ok(Batch { documents: size.map(|n| n as usize) }),
    }
}

fn describe(coll: &Collection, name_only: bool) -> DocBuf {
    DocBuf::build(|w| {
        w.append("name", coll.ns.coll());
        w.append("type", match (coll.view(), &coll.timeseries) {
            (Some(_), _) if !coll.is_made() => "view",
            (None, Some(_)) => "timeseries",
            _ => "collection",
        });
        if name_only {
            return;
        }
        w.append("options", coll.options());
        {
            let mut info = w.document("info");
            let view = coll.view().is_some() && !coll.is_made();
            info.append("readOnly", view);
            if !view && coll.timeseries.is_none() {
                info.append("uuid", Value::Binary(Binary::from_raw(&uuid_bytes(&coll.uuid))));
            }
        }
        if coll.is_made() {
            w.append("idIndex", id_index().as_doc());
            return;
        }
        w.append("idIndex", coll.id_index_spec());
    })
}

/// What is told of the index on `_id` of a collection that is not stored.
pub fn id_index() -> DocBuf {
    DocBuf::build(|w| {
        w.append("v", 2).document("key").append("_id", 1);
        w.append("name", "_id_");
    })
}

/// The collection in which MongoDB keeps a time-series collection's buckets, for clients that know it is there.
fn describe_buckets(coll: &Collection, name_only: bool) -> DocBuf {
    DocBuf::build(|w| {
        w.append("name", &*format!("{}{}", buckets::PREFIX, coll.ns.coll())).append("type", "collection");
        if name_only {
            return;
        }
        buckets::options(coll, &mut w.document("options"));
        let mut info = w.document("info");
        info.append("readOnly", false).append("uuid", Value::Binary(Binary::from_raw(&uuid_bytes(&coll.uuid))));
    })
}
