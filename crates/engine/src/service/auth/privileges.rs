//! Privileges as they are stored and shown: actions on resources.

use smongo_bson::{Array, Doc, DocBuf, Result, Value, ValueBuf, bail};
use smongo_mql::access::Action;

use super::principals::Principal;
use super::roles::{self, Builtin, Target};
use crate::service::command::Args;

/// Actions on a resource.
#[derive(Clone, Debug)]
pub struct Privilege {
    pub resource: DocBuf,
    pub actions: Vec<String>,
}

/// Reads a list of them.
pub fn parse(list: Array<'_>) -> Result<Vec<Privilege>> {
    let mut all = Vec::new();
    for value in list.iter() {
        let Value::Document(d) = value else { bail!(TypeMismatch, "A privilege must be an object, found {}", value.type_name()) };
        let mut args = Args::nested("privilege", d);
        let Some(resource) = args.doc("resource")? else { return Err(args.missing("resource")) };
        let Some(actions) = args.array("actions")? else { return Err(args.missing("actions")) };
        args.finish()?;
        check_resource(resource)?;
        let mut names = Vec::new();
        for action in actions.iter() {
            match action {
                Value::String(name) if Action::parse(name).is_some() => names.push(name.to_owned()),
                Value::String(name) => bail!(BadValue, "Unrecognized action privilege strings: {name}"),
                v => bail!(TypeMismatch, "Actions must be strings, found {}", v.type_name()),
            }
        }
        all.push(Privilege { resource: DocBuf::from(resource), actions: names });
    }
    Ok(all)
}

/// `{db, collection}`, `{cluster: true}`, `{anyResource: true}`, or `{system_buckets}` with or without a database.
fn check_resource(resource: Doc<'_>) -> Result<()> {
    let mut args = Args::nested("resource", resource);
    let whole = (args.strict_bool("cluster")?, args.strict_bool("anyResource")?);
    let part = (args.str("db")?, args.str("collection")?, args.str("system_buckets")?);
    args.finish()?;
    match (whole, part) {
        ((Some(true), None) | (None, Some(true)), (None, None, None)) => Ok(()),
        ((None, None), (Some(_), Some(_), None) | (_, None, Some(_))) => Ok(()),
        _ => bail!(BadValue, "A resource is a db and a collection, the cluster or anyResource, not {resource:?}"),
    }
}

/// Those of a stored role. Whatever wrote it: what is no privilege allows nothing.
pub fn stored(role: Doc<'_>) -> Vec<Privilege> {
    let one = |v: Value<'_>| {
        let privilege = v.as_doc()?;
        let (resource, actions) = (privilege.get("resource").as_doc()?, privilege.get("actions").as_array()?);
        Some(Privilege { resource: DocBuf::from(resource), actions: actions.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect() })
    };
    role.get("privileges").as_array().into_iter().flat_map(Array::iter).filter_map(one).collect()
}

/// Those of a built-in role of a database, with what it inherits.
fn builtin(role: &Builtin, db: &str, all: &mut Vec<Privilege>) {
    for (target, actions) in role.privileges {
        let resource = DocBuf::build(|w| match *target {
            Target::Cluster => _ = w.append("cluster", true),
            Target::AnyResource => _ = w.append("anyResource", true),
            Target::Own(coll) => _ = w.append("db", db).append("collection", coll),
            Target::Ns(db, coll) => _ = w.append("db", db).append("collection", coll),
        });
        add(all, &Privilege { resource, actions: actions.iter().map(|action| action.name().to_owned()).collect() });
    }
    for parent in role.inherits.iter().filter_map(|name| roles::find(name, db)) {
        builtin(parent, db, all);
    }
}

/// Adds what built-in roles among those named allow.
pub fn add_builtin(all: &mut Vec<Privilege>, names: &[Principal]) {
    for name in names {
        if let Some(role) = roles::find(&name.name, &name.db) {
            builtin(role, &name.db, all);
        }
    }
}

/// `own`, and what roles allow, of which those that are stored come with their documents.
pub fn of_all(own: &[Privilege], names: &[Principal], stored_roles: &[DocBuf]) -> Vec<Privilege> {
    let mut all = own.to_vec();
    stored_roles.iter().flat_map(|role| stored(role.as_doc())).for_each(|privilege| add(&mut all, &privilege));
    add_builtin(&mut all, names);
    sort(&mut all);
    all
}

/// Each with its actions in the order of their names, of whatever role they come.
pub fn sort(all: &mut [Privilege]) {
    all.iter_mut().for_each(|privilege| privilege.actions.sort());
}

pub fn array(privileges: &[Privilege]) -> ValueBuf {
    ValueBuf::array(|w| {
        for privilege in privileges {
            let mut w = w.document();
            w.append("resource", privilege.resource.as_doc());
            let mut actions = w.array("actions");
            for action in &privilege.actions {
                actions.push(&**action);
            }
        }
    })
}

/// Adds actions where there are some on the resource already, or else the privilege.
pub fn add(held: &mut Vec<Privilege>, given: &Privilege) {
    match held.iter_mut().find(|p| p.resource.as_bytes() == given.resource.as_bytes()) {
        Some(same) => {
            let missing: Vec<String> = given.actions.iter().filter(|a| !same.actions.contains(a)).cloned().collect();
            same.actions.extend(missing);
        }
        None => held.push(given.clone()),
    }
}

pub fn subtract(held: &mut Vec<Privilege>, given: &Privilege) {
    for same in held.iter_mut().filter(|p| p.resource.as_bytes() == given.resource.as_bytes()) {
        same.actions.retain(|action| !given.actions.contains(action));
    }
    held.retain(|p| !p.actions.is_empty());
}
