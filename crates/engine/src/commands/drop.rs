//! drop, dropDatabase, renameCollection

use smongo_bson::{DocWriter, Result, Value, bail};

use super::{ADMIN, Args, Command, WRITES};
use crate::door::Cx;
use crate::namespace::Ns;

pub const DROP: Command = Command::new("drop", drop, WRITES);
pub const DROP_DATABASE: Command = Command::new("dropDatabase", drop_database, WRITES);
pub const RENAME_COLLECTION: Command = Command::new("renameCollection", rename_collection, WRITES | ADMIN);

fn drop(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    args.accept(&["collectionUUID"]);
    args.finish()?;
    let shared = cx.op.shared.clone();
    if let Some(coll) = shared.catalog.get(&ns) {
        shared.cursors.kill_readers(|of| *of == ns);
        if coll.storage().is_some() {
            reply.append("nIndexesWas", coll.index_count() as i32);
        }
        reply.append("ns", ns.as_str());
        shared.catalog.drop_collection(&mut cx.op, &ns)?;
    }
    Ok(())
}

fn drop_database(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    match args.first() {
        v if v.is_number() && smongo_bson::number::to_f64(v) == Some(1.0) => {}
        _ => bail!(5255100, "Have to pass 1 as 'dropDatabase' parameter"),
    }
    args.finish()?;
    if matches!(cx.db.as_str(), "admin" | "local" | "config") {
        bail!(IllegalOperation, "Dropping the '{}' database is prohibited.", cx.db);
    }
    let shared = cx.op.shared.clone();
    let db = cx.db.clone();
    if !shared.catalog.collections(&db).is_empty() {
        shared.cursors.kill_readers(|of| of.db() == db);
        reply.append("dropped", &*db);
        shared.catalog.drop_database(&mut cx.op, &db)?;
    }
    Ok(())
}

fn rename_collection(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let from = match args.first() {
        Value::String(s) => Ns::parse(s)?,
        v => return Err(args.wrong_type("renameCollection", v, "string")),
    };
    let to = match args.str("to")? {
        Some(s) => Ns::parse(s)?,
        None => return Err(args.missing("to")),
    };
    let drop_target = match args.value("dropTarget") {
        Value::Bool(b) => b,
        v if v.is_nullish() => false,
        Value::Binary(_) => true,
        v => return Err(args.wrong_type("dropTarget", v, "bool, binData")),
    };
    args.accept(&["stayTemp", "collectionUUID"]);
    args.finish()?;
    if from == to {
        bail!(IllegalOperation, "Can't rename a collection to itself");
    }
    let shared = cx.op.shared.clone();
    shared.cursors.kill_readers(|of| *of == from || *of == to);
    shared.catalog.rename(&mut cx.op, &from, &to, drop_target)
}
