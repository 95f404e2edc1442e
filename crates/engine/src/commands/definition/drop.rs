//! drop, dropDatabase, renameCollection

use smongo_bson::{Binary, Code, DocBuf, DocWriter, Result, Value, bail, err, number};
use smongo_mql::access::Action;
use uuid::Uuid;

use crate::commands::rules;
use crate::data::buckets;
use crate::data::namespace::{self, Ns};
use crate::data::oplog::uuid_bytes;
use crate::service::audit::{Event, Weight};
use crate::service::command::{ADMIN, Access, Args, Command, Cx, WRITES};

pub const DROP: Command = Command::new("drop", drop, WRITES, Access::Named(&[Action::DropCollection]));
pub const DROP_DATABASE: Command = Command::new("dropDatabase", drop_database, WRITES, Access::Database(&[Action::DropDatabase]));
pub const RENAME_COLLECTION: Command = Command::new("renameCollection", rename_collection, WRITES | ADMIN, Access::Computed(rules::rename));

fn drop(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = buckets::behind(&cx.op, args.ns(&cx.db)?)?;
    let uuid = args.uuid("collectionUUID", Code::TypeMismatch)?;
    args.finish()?;
    let shared = cx.shared.clone();
    check_uuid(cx, &ns, uuid)?;
    if let Some(coll) = shared.catalog.get(&ns) {
        shared.cursors.invalidate("collection dropped", |cursor| *cursor == ns);
        if coll.storage().is_some() {
            reply.append("nIndexesWas", coll.index_count() as i32);
        }
        reply.append("ns", ns.as_str());
        if coll.is_made() {
            // The views whose definitions it holds.
            for view in shared.catalog.collections(ns.db()).iter().filter(|coll| coll.view().is_some()) {
                shared.catalog.drop_collection(&mut cx.op, &view.ns)?;
            }
            return Ok(());
        }
        shared.catalog.drop_collection(&mut cx.op, &ns)?;
        return Ok(());
    }
    cx.tell(Weight::Note, || {
        let event = Event::new("dropCollection", |w| {
            w.append("ns", ns.as_str());
        });
        event.with(Code::NamespaceNotFound)
    })
}

fn drop_database(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    match args.first() {
        v if v.is_nullish() => return Err(args.missing("dropDatabase")),
        v if !v.is_number() => return Err(args.wrong_type("dropDatabase", v, "int, decimal, long, double")),
        v if number::to_i64_rounded(v) == 1 => {}
        _ => bail!(5255100, "Have to pass 1 as 'dropDatabase' parameter"),
    }
    args.finish()?;
    if matches!(cx.db.as_str(), "admin" | "local" | "config") {
        bail!(IllegalOperation, "Dropping the '{}' database is prohibited.", cx.db);
    }
    let shared = cx.shared.clone();
    let db = cx.db.clone();
    if !shared.catalog.collections(&db).is_empty() {
        shared.cursors.invalidate("collection dropped", |cursor| cursor.db() == db);
        shared.catalog.drop_database(&mut cx.op, &db)?;
    }
    Ok(())
}

/// What a `dropTarget` of renameCollection says of the target.
enum DropTarget {
    Keep,
    Drop,
    /// Dropped if it is the collection of this UUID.
    Only(Uuid),
}

fn rename_collection(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let from = match args.first() {
        Value::String(s) => renamed(s)?,
        v if v.is_nullish() => return Err(args.missing("renameCollection")),
        v => return Err(args.wrong_type("renameCollection", v, "string")),
    };
    let to = match args.str("to")? {
        Some(s) => renamed(s)?,
        None => return Err(args.missing("to")),
    };
    let target = match args.value("dropTarget") {
        Value::Bool(true) => DropTarget::Drop,
        Value::Bool(false) => DropTarget::Keep,
        Value::Missing => DropTarget::Keep,
        Value::Binary(_) => args.uuid("dropTarget", Code::InvalidUUID)?.map_or(DropTarget::Keep, DropTarget::Only),
        v => return Err(args.wrong_type("dropTarget", v, "bool, binData")),
    };
    let uuid = args.uuid("collectionUUID", Code::TypeMismatch)?;
    args.strict_bool("stayTemp")?;
    args.finish()?;
    check_rename(cx, &from, &to)?;
    if let DropTarget::Only(expected) = target {
        if from.db() != to.db() {
            bail!(InvalidOptions, "Renaming across databases takes no UUID as dropTarget");
        }
        check_uuid(cx, &to, Some(expected))?;
    }
    check_uuid(cx, &from, uuid)?;
    let shared = cx.shared.clone();
    if shared.catalog.get(&from).is_some_and(|coll| coll.timeseries.is_some()) {
        bail!(CommandNotSupportedOnView, "cannot rename the time-series collection {from}");
    }
    shared.cursors.invalidate("collection renamed", |cursor| *cursor == from || *cursor == to);
    shared.catalog.rename(&mut cx.op, &from, &to, !matches!(target, DropTarget::Keep))
}

/// A name to rename from or to. MongoDB takes names that could not exist for illegal operations.
fn renamed(full: &str) -> Result<Ns> {
    let parsed = Ns::parse(full);
    match full.split_once('.') {
        Some((db, coll)) if parsed.is_err() && !coll.is_empty() && !coll.starts_with('.') && !coll.contains('\0') => {
            if namespace::check_database(&db.replace('$', "_")).is_ok() {
                bail!(IllegalOperation, "Invalid namespace specified '{full}'");
            }
            parsed
        }
        _ => parsed,
    }
}

fn check_rename(cx: &Cx<'_>, from: &Ns, to: &Ns) -> Result<()> {
    if from == to {
        bail!(IllegalOperation, "Can't rename a collection to itself");
    }
    let oplog = |ns: &Ns| ns.db() == "local" && ns.coll().starts_with("oplog.");
    for ns in [from, to] {
        if ns.is_system() || oplog(ns) {
            bail!(IllegalOperation, "renaming system collections is not allowed: {ns}");
        }
    }
    namespace::check_case(&cx.shared.catalog, to.db())
}

/// Fails unless the collection of this name is the one of the UUID.
pub fn check_uuid(cx: &Cx<'_>, ns: &Ns, expected: Option<Uuid>) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    let catalog = &cx.shared.catalog;
    if catalog.get(ns).is_some_and(|c| c.uuid == expected) {
        return Ok(());
    }
    let actual = catalog.collections(ns.db()).into_iter().find(|c| c.uuid == expected);
    let info = DocBuf::build(|w| {
        w.append("db", ns.db()).append("collectionUUID", Value::Binary(Binary::from_raw(&uuid_bytes(&expected)))).append("expectedCollection", ns.coll());
        w.append("actualCollection", actual.as_ref().map_or(Value::Null, |c| Value::String(c.ns.coll())));
    });
    Err(err!(CollectionUUIDMismatch, "Collection UUID does not match that specified").with_info(info))
}
