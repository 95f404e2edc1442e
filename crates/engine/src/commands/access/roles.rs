//! createRole, updateRole, dropRole, dropAllRolesFromDatabase, grant and revoke of roles and privileges, rolesInfo, invalidateUserCache

use smongo_bson::{Code, Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail};
use smongo_mql::access::Action;

use crate::commands::rules;
use crate::data::op::OpCx;
use crate::service::auth::principals::{self, Kind, Principal, named};
use crate::service::auth::{privileges, roles};
use crate::service::command::{ADMIN, Access, Args, Command, Cx, WRITES};

pub const CREATE: Command = Command::new("createRole", create, WRITES, Access::Computed(rules::create_role));
pub const UPDATE: Command = Command::new("updateRole", update, WRITES, Access::Computed(rules::update_role));
pub const DROP: Command = Command::new("dropRole", drop_role, WRITES, Access::Database(&[Action::DropRole]));
pub const DROP_ALL: Command = Command::new("dropAllRolesFromDatabase", drop_all, WRITES, Access::Database(&[Action::DropRole]));
pub const GRANT_ROLES: Command = Command::new("grantRolesToRole", change_roles, WRITES, Access::Computed(rules::grant_roles));
pub const REVOKE_ROLES: Command = Command::new("revokeRolesFromRole", change_roles, WRITES, Access::Computed(rules::revoke_roles));
pub const GRANT_PRIVILEGES: Command = Command::new("grantPrivilegesToRole", change_privileges, WRITES, Access::Computed(rules::grant_privileges));
pub const REVOKE_PRIVILEGES: Command = Command::new("revokePrivilegesFromRole", change_privileges, WRITES, Access::Computed(rules::revoke_privileges));
pub const INFO: Command = Command::new("rolesInfo", info, 0, Access::Computed(rules::roles_info));
pub const INVALIDATE_USER_CACHE: Command = Command::new("invalidateUserCache", invalidate, ADMIN, Access::Cluster(&[Action::InvalidateUserCache]));

/// Role names that commands may change.
fn own(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Principal> {
    let role = named(cx, args)?;
    if role.is_builtin() {
        bail!(InvalidRoleModification, "{role} is a built-in role and cannot be modified");
    }
    Ok(role)
}

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = named(cx, args)?;
    let Some(given) = args.array("privileges")? else { return Err(args.missing("privileges")) };
    let Some(roles) = args.array("roles")? else { return Err(args.missing("roles")) };
    args.refuse(&["authenticationRestrictions"])?;
    args.finish()?;
    if role.db == "local" {
        bail!(BadValue, "Cannot create roles in the local database");
    }
    if role.is_builtin() {
        bail!(BadValue, "Cannot create roles with the same name as a built-in role");
    }
    let (privileges, roles) = (privileges::parse(given)?, Principal::parse_all(Kind::Role, roles, &cx.db)?);
    principals::check_roles(&mut cx.op, &roles)?;
    let doc = DocBuf::build(|w| {
        w.append("_id", &*role.id());
        role.write(Kind::Role, w);
        w.append("privileges", privileges::array(&privileges).view()).append("roles", principals::role_array(&roles).view());
    });
    match principals::create(&mut cx.op, Kind::Role, &doc) {
        Err(e) if e.code() == Code::DuplicateKey => bail!(51002, "Role \"{role}\" already exists"),
        done => done,
    }
}

fn update(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = own(cx, args)?;
    let given = args.array("privileges")?.map(privileges::parse).transpose()?;
    let roles = args.array("roles")?.map(|list| Principal::parse_all(Kind::Role, list, &cx.db)).transpose()?;
    args.refuse(&["authenticationRestrictions"])?;
    args.finish()?;
    if given.is_none() && roles.is_none() {
        bail!(BadValue, "Must specify at least one field to update in updateRole");
    }
    if let Some(roles) = &roles {
        check_parents(&mut cx.op, &role, roles)?;
    }
    let (given, roles) = (given.as_deref().map(privileges::array), roles.as_deref().map(principals::role_array));
    let fields: Vec<(&str, Value<'_>)> = [("privileges", &given), ("roles", &roles)].into_iter().filter_map(|(name, v)| Some((name, v.as_ref()?.view()))).collect();
    let found = principals::change(&mut cx.op, Kind::Role, &role, |old| Ok(principals::with_fields(old, &fields)))?;
    require(found, &role)
}

fn require(found: bool, role: &Principal) -> Result<()> {
    if !found {
        bail!(RoleNotFound, "Role '{role}' not found");
    }
    Ok(())
}

/// The roles must exist, and the role may not be made of itself.
fn check_parents(op: &mut OpCx, role: &Principal, parents: &[Principal]) -> Result<()> {
    principals::check_roles(op, parents)?;
    if parents.contains(role) || principals::inherited(op, parents)?.contains(role) {
        bail!(InvalidRoleModification, "Granting those roles to {role} would introduce a cycle in the role graph");
    }
    Ok(())
}

/// Removes a role, also from the users and roles that have it.
fn drop_role(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = own(cx, args)?;
    args.finish()?;
    if principals::find(&mut cx.op, Kind::Role, &role)?.is_none() {
        return require(false, &role);
    }
    revoke_everywhere(&mut cx.op, std::slice::from_ref(&role))?;
    principals::remove(&mut cx.op, Kind::Role, &role).map(drop)
}

fn drop_all(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let db = cx.db.clone();
    let gone: Vec<Principal> = principals::list(&mut cx.op, Kind::Role, Some(&db))?.iter().map(|doc| name_of(Kind::Role, doc.as_doc())).collect();
    revoke_everywhere(&mut cx.op, &gone)?;
    reply.append("n", principals::remove_all(&mut cx.op, Kind::Role, &db)?);
    Ok(())
}

fn name_of(kind: Kind, doc: Doc<'_>) -> Principal {
    Principal::new(doc.get(kind.field()).as_str().unwrap_or_default(), doc.get("db").as_str().unwrap_or_default())
}

fn revoke_everywhere(op: &mut OpCx, gone: &[Principal]) -> Result<()> {
    for kind in [Kind::User, Kind::Role] {
        for doc in principals::list(op, kind, None)? {
            if principals::roles_of(doc.as_doc()).iter().any(|role| gone.contains(role)) {
                principals::change_roles(op, kind, &name_of(kind, doc.as_doc()), gone, false)?;
            }
        }
    }
    Ok(())
}

fn change_roles(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = own(cx, args)?;
    let Some(roles) = args.array("roles")? else { return Err(args.missing("roles")) };
    args.finish()?;
    let roles = Principal::parse_all(Kind::Role, roles, &cx.db)?;
    let grant = cx.command.name == GRANT_ROLES.name;
    if grant {
        check_parents(&mut cx.op, &role, &roles)?;
    }
    let found = principals::change_roles(&mut cx.op, Kind::Role, &role, &roles, grant)?;
    require(found, &role)
}

fn change_privileges(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = own(cx, args)?;
    let Some(given) = args.array("privileges")? else { return Err(args.missing("privileges")) };
    args.finish()?;
    let given = privileges::parse(given)?;
    let grant = cx.command.name == GRANT_PRIVILEGES.name;
    let found = principals::change(&mut cx.op, Kind::Role, &role, |old| {
        let mut held = privileges::stored(old);
        for privilege in &given {
            if grant { privileges::add(&mut held, privilege) } else { privileges::subtract(&mut held, privilege) }
        }
        Ok(principals::with_fields(old, &[("privileges", privileges::array(&held).view())]))
    })?;
    require(found, &role)
}

/// `rolesInfo`: 1 for those of the database, or one or several by name, built-in ones too.
fn info(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let which = args.first();
    let (show_privileges, show_builtin) = (args.bool("showPrivileges")?, args.bool("showBuiltinRoles")?);
    args.refuse(&["showAuthenticationRestrictions"])?;
    args.finish()?;
    let db = cx.db.clone();
    let mut names = match which {
        Value::Array(list) => Principal::parse_all(Kind::Role, list, &db)?,
        v @ (Value::String(_) | Value::Document(_)) => vec![Principal::parse(Kind::Role, v, &db)?],
        v if v.is_number() => principals::list(&mut cx.op, Kind::Role, Some(&db))?.iter().map(|doc| name_of(Kind::Role, doc.as_doc())).collect(),
        v => bail!(BadValue, "RoleName must be either a string, an object or 1, found {}", v.type_name()),
    };
    if show_builtin {
        names.extend(roles::names(&db).map(|name| Principal::new(name, &db)));
    }
    if show_privileges && names.iter().any(Principal::is_builtin) {
        bail!(NotImplemented, "the privileges of built-in roles are not implemented");
    }
    let mut out = reply.array("roles");
    for name in &names {
        let stored = principals::find(&mut cx.op, Kind::Role, name)?;
        if stored.is_none() && !name.is_builtin() {
            continue;
        }
        let doc = stored.as_ref().map_or(Doc::EMPTY, DocBuf::as_doc);
        let own = principals::roles_of(doc);
        let all = principals::inherited(&mut cx.op, &own)?;
        let mut w = out.document();
        w.append("_id", &*name.id());
        name.write(Kind::Role, &mut w);
        if show_privileges {
            w.append("privileges", doc.get("privileges")).append("inheritedPrivileges", inherited_privileges(&mut cx.op, doc, &all)?.view());
        }
        w.append("roles", principals::role_array(&own).view()).append("inheritedRoles", principals::role_array(&all).view());
        w.append("isBuiltin", stored.is_none());
    }
    Ok(())
}

/// What a role allows by itself and by its parents.
pub(in crate::commands) fn inherited_privileges(op: &mut OpCx, role: Doc<'_>, parents: &[Principal]) -> Result<ValueBuf> {
    let mut all = privileges::stored(role);
    for parent in parents {
        if parent.is_builtin() {
            bail!(NotImplemented, "the privileges of built-in roles are not implemented");
        }
        if let Some(doc) = principals::find(op, Kind::Role, parent)? {
            privileges::stored(doc.as_doc()).iter().for_each(|privilege| privileges::add(&mut all, privilege));
        }
    }
    // Of whatever role they come.
    all.iter_mut().for_each(|privilege| privilege.actions.sort());
    Ok(privileges::array(&all))
}

/// Users are read where they are stored each time, so there is nothing to forget.
fn invalidate(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()
}
