//! _mergeAuthzCollections: mongorestore's way to bring users and roles back from the collections it has read them into.

use std::collections::HashSet;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail};

use super::users::end_work_of;
use crate::commands::rules;
use crate::data::catalog::find_by_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write;
use crate::query::exec;
use crate::service::auth::principals::{self, Kind, Principal};
use crate::service::command::{ADMIN, Access, Args, Command, Cx, WRITES};

pub const MERGE: Command = Command::new("_mergeAuthzCollections", merge, ADMIN | WRITES, Access::Computed(rules::merge_authz_collections));

/// What is to become of the users, or of the roles.
struct Change {
    kind: Kind,
    documents: Vec<DocBuf>,
    /// Those that go.
    gone: Vec<Principal>,
}

/// All of both in one transaction: whoever looks, or a crash, finds all of it or nothing.
fn merge(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let users = args.str("tempUsersCollection")?.filter(|ns| !ns.is_empty());
    let roles = args.str("tempRolesCollection")?.filter(|ns| !ns.is_empty());
    let Some(db) = args.str("db")? else { return Err(args.missing("db")) };
    let Some(drop) = args.strict_bool("drop")? else { return Err(args.missing("drop")) };
    args.finish()?;
    if users.is_none() && roles.is_none() {
        bail!(BadValue, "Must provide at least one of \"tempUsersCollection\" and \"tempRolesCollection\"");
    }
    let db = Some(db).filter(|db| !db.is_empty());
    let mut changes = Vec::new();
    for (kind, from) in [(Kind::User, users), (Kind::Role, roles)] {
        if let Some(from) = from {
            changes.push(read(&mut cx.op, kind, &Ns::parse(from)?, db, drop)?);
        }
    }
    cx.op.end_read();
    for change in &changes {
        principals::make_home(&mut cx.op, change.kind)?;
    }
    cx.op.write(|op| changes.iter().try_for_each(|change| apply(op, change, drop)))?;
    let gone: Vec<Principal> = changes.iter().filter(|change| change.kind == Kind::User).flat_map(|change| change.gone.iter().cloned()).collect();
    end_work_of(cx, &gone);
    Ok(())
}

fn read(op: &mut OpCx, kind: Kind, from: &Ns, db: Option<&str>, drop: bool) -> Result<Change> {
    if from == &kind.ns() {
        bail!(BadValue, "{from} cannot be merged into itself");
    }
    let mut documents = Vec::new();
    let mut stream = exec::open_pipeline(op, from.db(), from.coll(), &[], &Default::default())?;
    while stream.advance(op)? {
        let doc = stream.doc();
        let of = doc.get("db").as_str();
        if db.is_none_or(|db| of == Some(db)) {
            documents.push(checked(kind, doc)?);
        }
    }
    std::mem::drop(stream);
    let mut gone = Vec::new();
    if drop {
        let stay: HashSet<&str> = documents.iter().filter_map(|doc| doc.get("_id").as_str()).collect();
        let held = principals::list(op, kind, db)?;
        gone.extend(held.iter().map(|doc| principals::name_of(kind, doc.as_doc())).filter(|who| !stay.contains(&*who.id())));
    }
    Ok(Change { kind, documents, gone })
}

/// Whoever wrote it: what is stored is found by its id, which is made of the names.
fn checked(kind: Kind, doc: Doc<'_>) -> Result<DocBuf> {
    let (Some(name), Some(db)) = (doc.get(kind.field()).as_str(), doc.get("db").as_str()) else {
        bail!(BadValue, "a document of {} to be merged has no {} or no db", kind.ns(), kind.field())
    };
    let id = Principal::new(name, db).id();
    match doc.get("_id") {
        Value::String(given) if given == id => Ok(DocBuf::from(doc)),
        _ => bail!(BadValue, "the _id of {name}@{db} in {} must be \"{id}\"", kind.ns()),
    }
}

fn apply(op: &mut OpCx, change: &Change, drop: bool) -> Result<()> {
    let coll = op.data.catalog.require(&change.kind.ns())?;
    for who in &change.gone {
        let old = find_by_id(op, &coll, Value::String(&who.id()))?.map(|(id, doc)| (id, DocBuf::from(doc)));
        if let Some((id, old)) = old {
            write::delete(op, &coll, id, old.as_doc())?;
        }
    }
    for doc in &change.documents {
        let old = find_by_id(op, &coll, doc.get("_id"))?.map(|(id, doc)| (id, DocBuf::from(doc)));
        match old {
            None => write::insert(op, &coll, doc.as_doc()).map(|_| ())?,
            Some((id, old)) if drop && old.as_bytes() != doc.as_bytes() => write::update(op, &coll, id, old.as_doc(), doc.as_doc(), doc.as_doc())?,
            Some(_) => {}
        }
    }
    Ok(())
}
