//! createRole, updateRole, dropRole, dropAllRolesFromDatabase, grant and revoke of roles and privileges, rolesInfo, invalidateUserCache

use smongo_bson::{Code, Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::access::Action;

use crate::commands::rules;
use crate::data::op::OpCx;
use crate::service::audit::Event;
use crate::service::auth::principals::{self, Kind, Principal, named};
use crate::service::auth::privileges::{self, Privilege};
use crate::service::auth::{restrictions, roles};
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

/// What the audit log hears of a role.
fn about(role: &Principal, roles: Option<&[Principal]>, privileges: Option<&[Privilege]>, atype: &'static str) -> Event {
    Event::new(atype, |w| {
        role.write(Kind::Role, w);
        if let Some(roles) = roles {
            w.append("roles", principals::role_array(roles).view());
        }
        if let Some(privileges) = privileges {
            w.append("privileges", privileges::array(privileges).view());
        }
    })
}

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = named(cx, args)?;
    let Some(given) = args.array("privileges")? else { return Err(args.missing("privileges")) };
    let Some(roles) = args.array("roles")? else { return Err(args.missing("roles")) };
    let restrictions = restrictions::given(args)?;
    args.finish()?;
    if role.db == "local" {
        bail!(BadValue, "Cannot create roles in the local database");
    }
    if role.is_builtin() {
        bail!(BadValue, "Cannot create roles with the same name as a built-in role");
    }
    let (privileges, roles) = (privileges::parse(given)?, Principal::parse_all(Kind::Role, roles, &cx.db)?);
    principals::check_roles(&mut cx.op, &roles)?;
    check_reach(&role, &privileges, &roles)?;
    let doc = DocBuf::build(|w| {
        w.append("_id", &*role.id());
        role.write(Kind::Role, w);
        w.append("privileges", privileges::array(&privileges).view()).append("roles", principals::role_array(&roles).view());
        w.append("authenticationRestrictions", restrictions::to_store(restrictions.as_ref()));
    });
    cx.will_tell(|| about(&role, Some(&roles), Some(&privileges), "createRole"));
    match principals::create(&mut cx.op, Kind::Role, &doc) {
        Err(e) if e.code() == Code::DuplicateKey => bail!(51002, "Role \"{role}\" already exists"),
        done => done,
    }
}

fn update(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = own(cx, args)?;
    let given = args.array("privileges")?.map(privileges::parse).transpose()?;
    let roles = args.array("roles")?.map(|list| Principal::parse_all(Kind::Role, list, &cx.db)).transpose()?;
    let restrictions = restrictions::given(args)?;
    args.finish()?;
    if given.is_none() && roles.is_none() && restrictions.is_none() {
        bail!(BadValue, "Must specify at least one field to update in updateRole");
    }
    if let Some(roles) = &roles {
        check_parents(&mut cx.op, &role, roles)?;
    }
    check_reach(&role, given.as_deref().unwrap_or_default(), roles.as_deref().unwrap_or_default())?;
    cx.will_tell(|| about(&role, roles.as_deref(), given.as_deref(), "updateRole"));
    let (given, roles) = (given.as_deref().map(privileges::array), roles.as_deref().map(principals::role_array));
    let mut fields: Vec<(&str, Value<'_>)> = [("privileges", &given), ("roles", &roles)].into_iter().filter_map(|(name, v)| Some((name, v.as_ref()?.view()))).collect();
    fields.extend(restrictions.as_ref().map(|list| ("authenticationRestrictions", restrictions::to_store(Some(list)))));
    let found = principals::change(&mut cx.op, Kind::Role, &role, |old| Ok(principals::with_fields(old, &fields)))?;
    require(found, &role)
}

fn require(found: bool, role: &Principal) -> Result<()> {
    if !found {
        bail!(RoleNotFound, "Role '{role}' not found");
    }
    Ok(())
}

/// A role of one database reaches no other; those of `admin` do.
fn check_reach(role: &Principal, privileges: &[Privilege], parents: &[Principal]) -> Result<()> {
    if role.db == "admin" {
        return Ok(());
    }
    if privileges.iter().any(|privilege| privilege.resource.get("db").as_str() != Some(&role.db)) {
        bail!(InvalidRoleModification, "Roles on the '{}' database cannot be granted privileges that target other databases or the cluster", role.db);
    }
    if parents.iter().any(|parent| parent.db != role.db) {
        bail!(InvalidRoleModification, "Roles on the '{}' database cannot be granted roles from other databases", role.db);
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
    cx.will_tell(|| about(&role, None, None, "dropRole"));
    principals::remove_roles(&mut cx.op, std::slice::from_ref(&role)).map(drop)
}

fn drop_all(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let db = cx.db.clone();
    let gone = principals::names(&mut cx.op, Kind::Role, &db)?;
    cx.will_tell(|| Event::new("dropAllRolesFromDatabase", |w| { w.append("db", &*db); }));
    reply.append("n", principals::remove_roles(&mut cx.op, &gone)?);
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
        check_reach(&role, &[], &roles)?;
    }
    cx.will_tell(|| about(&role, Some(&roles), None, cx.command.name));
    let found = principals::change_roles(&mut cx.op, Kind::Role, &role, &roles, grant)?;
    require(found, &role)
}

fn change_privileges(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let role = own(cx, args)?;
    let Some(given) = args.array("privileges")? else { return Err(args.missing("privileges")) };
    args.finish()?;
    let given = privileges::parse(given)?;
    let grant = cx.command.name == GRANT_PRIVILEGES.name;
    if grant {
        check_reach(&role, &given, &[])?;
    }
    cx.will_tell(|| about(&role, None, Some(&given), cx.command.name));
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
    let fragment = args.value("showPrivileges").as_str() == Some("asUserFragment");
    let privileges = !fragment && args.bool("showPrivileges")?;
    let (builtin, restrictions) = (args.bool("showBuiltinRoles")?, args.bool("showAuthenticationRestrictions")?);
    args.finish()?;
    let db = cx.db.clone();
    let mut names = match which {
        Value::Array(list) => Principal::parse_all(Kind::Role, list, &db)?,
        v @ (Value::String(_) | Value::Document(_)) => vec![Principal::parse(Kind::Role, v, &db)?],
        v if v.is_number() && !fragment => principals::names(&mut cx.op, Kind::Role, &db)?,
        v if v.is_number() => bail!(IllegalOperation, "Cannot get user fragment for all roles in a database"),
        v => bail!(BadValue, "RoleName must be either a string, an object or 1, found {}", v.type_name()),
    };
    if fragment {
        return write_fragment(&mut cx.op, &names, reply);
    }
    if builtin && which.is_number() {
        names.extend(roles::names(&db).map(|name| Principal::new(name, &db)));
    }
    let mut out = reply.array("roles");
    for name in &names {
        let stored = principals::find(&mut cx.op, Kind::Role, name)?;
        if stored.is_none() && !name.is_builtin() {
            continue;
        }
        let doc = stored.as_ref().map_or(Doc::EMPTY, DocBuf::as_doc);
        let parents = principals::roles_of(doc);
        let (all, above) = principals::resolve(&mut cx.op, &parents)?;
        let mut w = out.document();
        w.append("_id", &*name.id());
        name.write(Kind::Role, &mut w);
        if privileges {
            let mut own = privileges::stored(doc);
            privileges::add_builtin(&mut own, std::slice::from_ref(name));
            w.append("privileges", privileges::array(&own).view());
            w.append("inheritedPrivileges", privileges::array(&privileges::of_all(&own, &all, &above)).view());
        }
        if restrictions {
            w.append("authenticationRestrictions", restrictions::shown(doc).view());
        }
        w.append("roles", principals::role_array(&parents).view()).append("inheritedRoles", principals::role_array(&all).view());
        if restrictions {
            let lists: Vec<DocBuf> = stored.iter().chain(&above).cloned().collect();
            w.append("inheritedAuthenticationRestrictions", restrictions::inherited(&lists).view());
        }
        w.append("isBuiltin", stored.is_none());
    }
    Ok(())
}

/// The roles as a user would have them who holds them.
fn write_fragment(op: &mut OpCx, names: &[Principal], reply: &mut DocWriter<'_>) -> Result<()> {
    principals::check_roles(op, names)?;
    let (all, stored) = principals::resolve(op, names)?;
    let mut w = reply.document("userFragment");
    w.append("roles", principals::role_array(names).view()).append("inheritedRoles", principals::role_array(&all).view());
    w.append("inheritedPrivileges", privileges::array(&privileges::of_all(&[], &all, &stored)).view());
    w.append("inheritedAuthenticationRestrictions", restrictions::inherited(&stored).view());
    Ok(())
}

/// What is kept of users is given up, and read anew by whoever has logged in.
fn invalidate(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    cx.shared.users_changed();
    Ok(())
}
