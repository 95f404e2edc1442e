//! What commands need whose rows cannot say it in a word: rules that read the command.
//!
//! Each reads the fields its command reads, and reads a list where that may stand as a document sequence as the command does. Where
//! a field of a statement stands twice, the command refuses it.

use smongo_bson::{Array, Doc, Result, Value};
use smongo_mql::access::{Action, Need, Resource, is_system};
use smongo_mql::pipeline::access::{At, needs as pipeline_needs};

use crate::data::namespace::Ns;
use crate::service::command::{Args, Needs, Scope, named, needs};

pub fn aggregate(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let coll = scope.args.peek_first().as_str().unwrap_or("");
    let at = At { db: scope.db, coll, bypass: scope.says("bypassDocumentValidation"), user: Some(scope.user) };
    pipeline_needs(scope.field("pipeline").as_array().unwrap_or(Array::EMPTY), at, &mut |need| out.add(need));
    Ok(())
}

/// The needs of the command inside, whatever the verbosity.
pub fn explain(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let Value::Document(inner) = scope.args.peek_first() else { return Ok(()) };
    let name = inner.first().map_or("", |e| e.name());
    let Some(command) = super::lookup(name).filter(|command| command.name != "explain") else { return Ok(()) };
    let args = Args::new(name, inner, &[]);
    needs(command, &scope.of(scope.db, &args), out)
}

fn bypass(scope: &Scope<'_, '_>, out: &mut Needs) {
    if scope.says("bypassDocumentValidation") {
        named(scope, &[Action::BypassDocumentValidation], out);
    }
}

pub fn insert(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    named(scope, &[Action::Insert], out);
    bypass(scope, out);
    Ok(())
}

pub fn update(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    named(scope, &[Action::Update], out);
    if scope.args.peek_docs("updates").iter().any(|statement| says(*statement, "upsert")) {
        named(scope, &[Action::Insert], out);
    }
    bypass(scope, out);
    Ok(())
}

/// Whether a flag is on, be it in a second field of the name.
fn says(doc: Doc<'_>, name: &str) -> bool {
    doc.iter().any(|e| e.name() == name && e.value().truthy())
}

pub fn find_and_modify(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    named(scope, &[Action::Find, if scope.says("remove") { Action::Remove } else { Action::Update }], out);
    if scope.says("upsert") {
        named(scope, &[Action::Insert], out);
    }
    bypass(scope, out);
    Ok(())
}

/// All operations, before the first runs.
pub fn bulk_write(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let infos = scope.args.peek_docs("nsInfo");
    let bypass = scope.says("bypassDocumentValidation");
    // What each namespace is written with, so that a batch asks once.
    let mut kinds = vec![[false; 3]; infos.len()];
    for op in scope.args.peek_docs("ops") {
        let Some(first) = op.first() else { continue };
        let at = Some(first.value()).filter(|v| v.is_number()).map(smongo_bson::number::to_i64_rounded);
        let Some(kind) = at.and_then(|n| kinds.get_mut(usize::try_from(n).ok()?)) else { continue };
        match first.name() {
            "insert" => kind[0] = true,
            "update" => {
                kind[1] = true;
                kind[0] |= says(op, "upsert");
            }
            "delete" => kind[2] = true,
            _ => {}
        }
    }
    for (info, [insert, update, remove]) in infos.iter().zip(kinds) {
        let Some((db, coll)) = info.get("ns").as_str().and_then(|ns| ns.split_once('.')) else { continue };
        for (does, action) in [(insert, Action::Insert), (update, Action::Update), (remove, Action::Remove), (bypass && (insert || update), Action::BypassDocumentValidation)] {
            if does {
                out.ns(db, coll, &[action]);
            }
        }
    }
    Ok(())
}

pub fn clone_as_capped(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    named(scope, &[Action::Find], out);
    if let Value::String(to) = scope.field("toCollection") {
        out.ns(scope.db, to, &[Action::Insert, Action::CreateIndex, Action::ConvertToCapped]);
    }
    Ok(())
}

/// Nobody reads by a view what he could not read before: who may read the view must be allowed to read what it is made of.
fn view(scope: &Scope<'_, '_>, out: &mut Needs) {
    let (Value::String(view), Value::String(on)) = (scope.args.peek_first(), scope.field("viewOn")) else { return };
    if scope.grants.hold(Need::new(Resource::Ns(scope.db, view), &[Action::Find])) {
        out.ns(scope.db, on, &[Action::Find]);
        pipeline_needs(scope.field("pipeline").as_array().unwrap_or(Array::EMPTY), At { db: scope.db, coll: on, bypass: false, user: None }, &mut |need| out.add(need));
    }
}

pub fn create(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    if let Value::String(coll) = scope.args.peek_first() {
        let ns = Resource::Ns(scope.db, coll);
        out.either(Need::new(ns, &[Action::CreateCollection]), Need::new(ns, &[Action::Insert]));
    } else {
        named(scope, &[Action::CreateCollection], out);
    }
    if scope.says("capped") {
        named(scope, &[Action::ConvertToCapped], out);
    }
    view(scope, out);
    Ok(())
}

pub fn coll_mod(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    named(scope, &[Action::CollMod], out);
    view(scope, out);
    Ok(())
}

/// A full name in the first field.
pub fn data_size(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    match scope.args.peek_first().as_str().and_then(|ns| ns.split_once('.')) {
        Some((db, coll)) => out.ns(db, coll, &[Action::Find]),
        None => out.db(scope.db, &[Action::Find]),
    }
    Ok(())
}

pub fn rename(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let split = |v: Value<'_>| v.as_str().and_then(|ns| Some(ns.split_once('.')?)).map(|(db, coll)| Ns::unchecked(db, coll));
    let (Some(from), Some(to)) = (split(scope.args.peek_first()), split(scope.field("to"))) else { return Ok(()) };
    let drops = !matches!(scope.field("dropTarget"), Value::Missing | Value::Bool(false));
    let special = is_system(from.db(), from.coll()) || is_system(to.db(), to.coll());
    if from.db() == to.db() && !special {
        out.db(from.db(), &[Action::RenameCollectionSameDB]);
        // Nobody moves a collection to where he may read it from where he may not.
        if scope.grants.hold(Need::new(Resource::Ns(to.db(), to.coll()), &[Action::Find])) {
            out.ns(from.db(), from.coll(), &[Action::Find]);
        }
    } else {
        out.ns(from.db(), from.coll(), &[Action::Find, Action::DropCollection]);
        out.ns(to.db(), to.coll(), &[Action::Insert, Action::CreateIndex]);
    }
    if drops {
        out.ns(to.db(), to.coll(), &[Action::DropCollection]);
    }
    Ok(())
}

/// Reading the level alone is what the profile's readers may, too.
pub fn profile(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let enable = Need::new(Resource::Db(scope.db), &[Action::EnableProfiler]);
    let reads = smongo_bson::number::to_i64_exact(scope.args.peek_first()) == Some(-1) && ["slowms", "sampleRate", "filter"].iter().all(|field| scope.field(field).is_missing());
    match reads {
        true => out.either(enable, Need::new(Resource::Ns(scope.db, "system.profile"), &[Action::Find])),
        false => out.add(enable),
    }
    Ok(())
}

/// `nameOnly` and `authorizedCollections` together list what one may see: see the command.
pub fn list_collections(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let filtered = matches!((scope.field("nameOnly"), scope.field("authorizedCollections")), (Value::Bool(true), Value::Bool(true)));
    if !(filtered && scope.grants.reach(scope.db)) {
        out.db(scope.db, &[Action::ListCollections]);
    }
    Ok(())
}

pub fn validate_metadata(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    match (scope.field("db"), scope.field("collection")) {
        (Value::String(db), Value::String(coll)) => out.ns(db, coll, &[Action::Validate]),
        (Value::String(db), _) => out.db(db, &[Action::Validate]),
        _ => out.any(&[Action::Validate]),
    }
    Ok(())
}

pub fn map_reduce(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    named(scope, &[Action::Find], out);
    let target = match scope.field("out") {
        Value::String(coll) => Some((scope.db, coll, Action::Remove)),
        Value::Document(d) => d.iter().find_map(|e| {
            let second = if e.name() == "replace" { Action::Remove } else { Action::Update };
            let coll = e.value().as_str().filter(|_| matches!(e.name(), "replace" | "merge" | "reduce"))?;
            Some((d.get("db").as_str().unwrap_or(scope.db), coll, second))
        }),
        _ => None,
    };
    if let Some((db, coll, second)) = target {
        out.ns(db, coll, &[Action::Insert, second]);
    }
    Ok(())
}

/// Everybody sees what is his own.
pub fn current_op(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    if !matches!(scope.field("$ownOps"), Value::Bool(true)) {
        out.cluster(&[Action::Inprog]);
    }
    Ok(())
}

pub fn kill_by_pattern(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.cluster(&[Action::KillAnySession]);
    let patterns = scope.args.peek_first().as_array().unwrap_or(Array::EMPTY);
    if patterns.iter().filter_map(|v| v.as_doc()).any(|d| d.contains("users") || d.contains("roles")) {
        out.cluster(&[Action::Impersonate]);
    }
    Ok(())
}

pub fn diagnostic_data(_scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.cluster(&[Action::ServerStatus, Action::ReplSetGetStatus]);
    out.ns("local", "oplog.rs", &[Action::CollStats]);
    Ok(())
}

/// Each operation needs what it does; what is no plain write may be anything.
pub fn apply_ops(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.cluster(&[Action::ApplyOps]);
    for op in scope.args.peek_first().as_array().unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_doc()) {
        let ns = op.get("ns").as_str().and_then(|ns| ns.split_once('.'));
        let actions: &[Action] = match op.get("op").as_str() {
            Some("i") => &[Action::Insert, Action::Update],
            Some("u") => &[Action::Insert, Action::Update],
            Some("d") => &[Action::Remove],
            Some("n") => continue,
            _ => &[],
        };
        match ns.filter(|_| !actions.is_empty() && !op.contains("ui")) {
            Some((db, coll)) => out.ns(db, coll, actions),
            None => out.add(Need::new(Resource::AnyResource, &[Action::AnyAction])),
        }
    }
    Ok(())
}

/// `grantRole` or the like on the database of each role. A role that may everything is given and taken by who may everything.
fn of_roles(scope: &Scope<'_, '_>, action: Action, out: &mut Needs) {
    for role in scope.field("roles").as_array().unwrap_or(Array::EMPTY).iter() {
        let (name, db) = principal(scope, role, "role");
        out.db(db, &[action]);
        if (name, db) == ("__system", "admin") {
            out.add(Need::new(Resource::AnyResource, &[Action::AnyAction]));
        }
    }
}

/// A name of the command's database, or `{role, db}`.
fn principal<'a>(scope: &Scope<'_, 'a>, value: Value<'a>, field: &str) -> (&'a str, &'a str) {
    match value {
        Value::Document(d) => (d.get(field).as_str().unwrap_or(""), d.get("db").as_str().unwrap_or(scope.db)),
        v => (v.as_str().unwrap_or(""), scope.db),
    }
}

/// Likewise of the databases that privileges are on.
fn of_privileges(scope: &Scope<'_, '_>, action: Action, out: &mut Needs) {
    for privilege in scope.field("privileges").as_array().unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_doc()) {
        let db = privilege.get("resource").as_doc().and_then(|resource| resource.get("db").as_str()).unwrap_or("");
        match db {
            "" => out.any(&[action]),
            db => out.db(db, &[action]),
        }
        if privilege.get("actions").as_array().unwrap_or(Array::EMPTY).iter().any(|a| a.as_str() == Some("anyAction")) {
            out.add(Need::new(Resource::AnyResource, &[Action::AnyAction]));
        }
    }
}

fn restrictions(scope: &Scope<'_, '_>, out: &mut Needs) {
    if !scope.field("authenticationRestrictions").is_nullish() {
        out.db(scope.db, &[Action::SetAuthenticationRestriction]);
    }
}

pub fn create_user(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.db(scope.db, &[Action::CreateUser]);
    of_roles(scope, Action::GrantRole, out);
    restrictions(scope, out);
    Ok(())
}

pub fn create_role(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.db(scope.db, &[Action::CreateRole]);
    of_roles(scope, Action::GrantRole, out);
    of_privileges(scope, Action::GrantRole, out);
    restrictions(scope, out);
    Ok(())
}

/// A user may change his own password and custom data where he holds the action for that.
pub fn update_user(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    let own = scope.args.peek_first().as_str() == Some(scope.user.0) && scope.db == scope.user.1;
    let db = Resource::Db(scope.db);
    for (field, others, ones_own) in [("pwd", Action::ChangePassword, Action::ChangeOwnPassword), ("customData", Action::ChangeCustomData, Action::ChangeOwnCustomData)] {
        match scope.field(field).is_nullish() {
            true => {}
            false if own => out.either(Need::new(db, &[others]), Need::new(db, &[ones_own])),
            false => out.db(scope.db, &[others]),
        }
    }
    // Mechanisms go with the password.
    if !scope.field("mechanisms").is_nullish() && scope.field("pwd").is_nullish() {
        out.db(scope.db, &[Action::ChangePassword]);
    }
    if !scope.field("roles").is_nullish() {
        out.any(&[Action::RevokeRole]);
        of_roles(scope, Action::GrantRole, out);
    }
    restrictions(scope, out);
    Ok(())
}

pub fn update_role(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.any(&[Action::RevokeRole]);
    of_roles(scope, Action::GrantRole, out);
    of_privileges(scope, Action::GrantRole, out);
    restrictions(scope, out);
    Ok(())
}

pub fn grant_roles(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    of_roles(scope, Action::GrantRole, out);
    Ok(())
}

pub fn revoke_roles(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    of_roles(scope, Action::RevokeRole, out);
    Ok(())
}

pub fn grant_privileges(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    of_privileges(scope, Action::GrantRole, out);
    Ok(())
}

pub fn revoke_privileges(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    of_privileges(scope, Action::RevokeRole, out);
    Ok(())
}

/// The users or roles that the first field names, each with its database.
fn listed<'a>(scope: &Scope<'_, 'a>, field: &str) -> Vec<(&'a str, &'a str)> {
    match scope.args.peek_first() {
        Value::Array(list) => list.iter().map(|value| principal(scope, value, field)).collect(),
        value @ (Value::String(_) | Value::Document(_)) => vec![principal(scope, value, field)],
        _ => Vec::new(),
    }
}

/// Everybody may look at himself.
pub fn users_info(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    match scope.args.peek_first() {
        Value::Document(d) if d.contains("forAllDBs") => out.any(&[Action::ViewUser]),
        Value::Array(_) | Value::Document(_) | Value::String(_) => {
            listed(scope, "user").into_iter().filter(|user| *user != scope.user).for_each(|(_, db)| out.db(db, &[Action::ViewUser]));
        }
        _ => out.db(scope.db, &[Action::ViewUser]),
    }
    Ok(())
}

/// Everybody may look at the roles he has.
pub fn roles_info(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    match scope.args.peek_first() {
        Value::Array(_) | Value::Document(_) | Value::String(_) => {
            listed(scope, "role").into_iter().filter(|(name, db)| !(scope.has_role)(name, db)).for_each(|(_, db)| out.db(db, &[Action::ViewRole]));
        }
        _ => out.db(scope.db, &[Action::ViewRole]),
    }
    Ok(())
}

pub fn merge_authz_collections(scope: &Scope<'_, '_>, out: &mut Needs) -> Result<()> {
    out.any(&[Action::CreateUser, Action::CreateRole, Action::GrantRole]);
    if scope.says("drop") {
        out.any(&[Action::DropUser, Action::DropRole, Action::RevokeRole]);
    }
    for field in ["tempUsersCollection", "tempRolesCollection"] {
        if let Some((db, coll)) = scope.field(field).as_str().and_then(|ns| ns.split_once('.')) {
            out.ns(db, coll, &[Action::Find]);
        }
    }
    Ok(())
}
