//! createUser, updateUser, dropUser, dropAllUsersFromDatabase, grantRolesToUser, revokeRolesFromUser, usersInfo

use smongo_bson::{Array, Binary, Code, Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail};
use smongo_mql::{Arena, Matcher};
use smongo_mql::access::Action;

use crate::commands::rules;
use crate::data::lsid::Lsid;
use crate::data::op::OpCx;
use crate::data::oplog::uuid_bytes;
use crate::service::audit::Event;
use crate::service::auth::principals::{self, Kind, Principal, named};
use crate::service::auth::scram::{Keys, Mechanism};
use crate::service::auth::users::uid;
use crate::service::auth::{privileges, restrictions};
use crate::service::command::{Access, Args, Command, Cx, WRITES};
use crate::service::parameters::Parameters;

pub const CREATE: Command = Command::new("createUser", create, WRITES, Access::Computed(rules::create_user)).hiding(&["pwd"]);
pub const UPDATE: Command = Command::new("updateUser", update, WRITES, Access::Computed(rules::update_user)).hiding(&["pwd"]);
pub const DROP: Command = Command::new("dropUser", drop_user, WRITES, Access::Database(&[Action::DropUser]));
pub const DROP_ALL: Command = Command::new("dropAllUsersFromDatabase", drop_all, WRITES, Access::Database(&[Action::DropUser]));
pub const GRANT_ROLES: Command = Command::new("grantRolesToUser", change_roles, WRITES, Access::Computed(rules::grant_roles));
pub const REVOKE_ROLES: Command = Command::new("revokeRolesFromUser", change_roles, WRITES, Access::Computed(rules::revoke_roles));
pub const INFO: Command = Command::new("usersInfo", info, 0, Access::Computed(rules::users_info));

/// What createUser and updateUser say of a user.
struct Given<'a> {
    password: Option<&'a str>,
    digested: bool,
    mechanisms: Option<Vec<Mechanism>>,
    custom: Option<Doc<'a>>,
    roles: Option<Vec<Principal>>,
    restrictions: Option<ValueBuf>,
}

impl<'a> Given<'a> {
    fn read(cx: &Cx<'_>, args: &mut Args<'a>) -> Result<Given<'a>> {
        let password = args.str("pwd")?;
        if password == Some("") {
            bail!(BadValue, "Password cannot be empty");
        }
        let mechanisms = args.array("mechanisms")?.map(|list| {
            if list.is_empty() {
                bail!(BadValue, "mechanisms field must not be empty");
            }
            list.iter().map(|m| m.as_str().map_or_else(|| bail!(TypeMismatch, "mechanisms must be strings"), Mechanism::parse)).collect::<Result<Vec<_>>>()
        });
        let digested = args.strict_bool("digestPassword")? == Some(false);
        let roles = args.array("roles")?.map(|list| Principal::parse_all(Kind::Role, list, &cx.db)).transpose()?;
        let (custom, restrictions) = (args.doc("customData")?, restrictions::given(args)?);
        let given = Given { password, digested, mechanisms: mechanisms.transpose()?, custom, roles, restrictions };
        args.finish()?;
        Ok(given)
    }

    /// The keys made of a password. `digested`: it is what SCRAM-SHA-1 makes of it already.
    fn credentials(&self, parameters: &Parameters, name: &str, password: &str) -> Result<ValueBuf> {
        let default = if self.digested { &Mechanism::ALL[..1] } else { &Mechanism::ALL[..] };
        let mut keys = Vec::new();
        let named = self.mechanisms.as_deref().unwrap_or(default);
        // Whatever is named twice stands once.
        for mechanism in Mechanism::ALL.iter().filter(|mechanism| named.contains(mechanism)) {
            if self.digested && *mechanism == Mechanism::Sha256 {
                bail!(BadValue, "Use of SCRAM-SHA-256 requires undigested passwords");
            }
            let prepared = if self.digested { password.into() } else { mechanism.prepared(name, password)? };
            keys.push((*mechanism, Keys::derive(*mechanism, &prepared, parameters.iterations(*mechanism))?));
        }
        Ok(ValueBuf::document(DocBuf::build(|w| keys.iter().for_each(|(mechanism, keys)| keys.write(*mechanism, w)))))
    }
}

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let user = named(cx, args)?;
    let given = Given::read(cx, args)?;
    let Some(roles) = &given.roles else { return Err(args.missing("roles")) };
    if user.db == "local" {
        bail!(BadValue, "Cannot create users in the local database");
    }
    let external = user.db == "$external";
    let credentials = match given.password {
        Some(_) if external => bail!(BadValue, "Cannot set the password for users defined on the '$external' database"),
        Some(password) => given.credentials(&cx.shared.parameters, &user.name, password)?,
        None if external => ValueBuf::document(DocBuf::build(|w| { w.append("external", true); })),
        None => bail!(BadValue, "Must provide a 'pwd' field for all user documents, except those with '$external' as the user's source db"),
    };
    principals::check_roles(&mut cx.op, roles)?;
    let doc = DocBuf::build(|w| {
        w.append("_id", &*user.id()).append("userId", Value::Binary(Binary::from_raw(&uuid_bytes(&uuid::Uuid::new_v4()))));
        user.write(Kind::User, w);
        w.append("credentials", credentials.view());
        if let Some(custom) = given.custom {
            w.append("customData", custom);
        }
        w.append("roles", principals::role_array(roles).view());
        w.append("authenticationRestrictions", restrictions::to_store(given.restrictions.as_ref()));
    });
    cx.will_tell(|| about(&user, Some(roles), given.custom, None, "createUser"));
    match principals::create(&mut cx.op, Kind::User, &doc) {
        Err(e) if e.code() == Code::DuplicateKey => bail!(51003, "User \"{user}\" already exists"),
        done => done,
    }
}

/// What the audit log hears of a user.
fn about(user: &Principal, roles: Option<&[Principal]>, custom: Option<Doc<'_>>, password_changed: Option<bool>, atype: &'static str) -> Event {
    Event::new(atype, |w| {
        user.write(Kind::User, w);
        if let Some(changed) = password_changed {
            w.append("passwordChanged", changed);
        }
        if let Some(custom) = custom {
            w.append("customData", custom);
        }
        if let Some(roles) = roles {
            w.append("roles", principals::role_array(roles).view());
        }
    })
}

fn update(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let user = named(cx, args)?;
    let given = Given::read(cx, args)?;
    if given.password.is_none() && given.custom.is_none() && given.roles.is_none() && given.restrictions.is_none() && given.mechanisms.is_none() {
        bail!(BadValue, "Must specify at least one field to update in updateUser");
    }
    if user.db == "$external" && given.password.is_some() {
        bail!(BadValue, "Cannot set the password for users defined on the '$external' database");
    }
    if let Some(roles) = &given.roles {
        principals::check_roles(&mut cx.op, roles)?;
    }
    let credentials = given.password.map(|password| given.credentials(&cx.shared.parameters, &user.name, password)).transpose()?;
    let roles = given.roles.as_deref().map(principals::role_array);
    cx.will_tell(|| about(&user, given.roles.as_deref(), given.custom, Some(given.password.is_some()), "updateUser"));
    let found = principals::change(&mut cx.op, Kind::User, &user, |old| {
        // Without a password the mechanisms can only become fewer.
        let fewer = given.mechanisms.as_deref().filter(|_| given.password.is_none()).map(|kept| only(old, kept)).transpose()?;
        let fields: Vec<(&str, Value<'_>)> = [
            ("credentials", credentials.as_ref().or(fewer.as_ref()).map(ValueBuf::view)),
            ("customData", given.custom.map(Value::Document)),
            ("roles", roles.as_ref().map(ValueBuf::view)),
            ("authenticationRestrictions", given.restrictions.as_ref().map(|list| restrictions::to_store(Some(list)))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        Ok(principals::with_fields(old, &fields))
    })?;
    require(found, &user)
}

/// A user's credentials of some of their mechanisms.
fn only(user: Doc<'_>, kept: &[Mechanism]) -> Result<ValueBuf> {
    let credentials = user.get("credentials").as_doc().unwrap_or(Doc::EMPTY);
    if kept.iter().any(|mechanism| !credentials.contains(mechanism.name())) {
        bail!(BadValue, "mechanisms field must be a subset of previously set mechanisms");
    }
    Ok(ValueBuf::document(DocBuf::build(|w| {
        credentials.iter().filter(|e| kept.iter().any(|mechanism| mechanism.name() == e.name())).for_each(|e| {
            w.append_element(&e);
        });
    })))
}

fn require(found: bool, user: &Principal) -> Result<()> {
    if !found {
        bail!(UserNotFound, "User '{user}' not found");
    }
    Ok(())
}

fn drop_user(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let user = named(cx, args)?;
    args.finish()?;
    cx.will_tell(|| about(&user, None, None, None, "dropUser"));
    let found = principals::remove(&mut cx.op, Kind::User, &user)?;
    require(found, &user)?;
    end_work_of(cx, std::slice::from_ref(&user));
    Ok(())
}

/// What somebody who is gone has left ends: commands that run, cursors, transactions. Connections find out by themselves.
pub fn end_work_of(cx: &Cx<'_>, gone: &[Principal]) {
    let shared = cx.shared;
    for uid in gone.iter().map(uid) {
        shared.operations.kill_user(uid, cx.place);
        shared.cursors.kill_where(|cursor| cursor.clearance.owner() == Some(uid));
        let sessions: Vec<Lsid> = shared.sessions.ids().into_iter().filter(|id| id.uid == Some(uid)).collect();
        shared.sessions.abort(&sessions);
    }
    shared.wake_sleepers();
}

fn drop_all(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let db = cx.db.clone();
    cx.will_tell(|| Event::new("dropAllUsersFromDatabase", |w| { w.append("db", &*db); }));
    let gone = principals::remove_users(&mut cx.op, &db)?;
    end_work_of(cx, &gone);
    reply.append("n", gone.len() as i32);
    Ok(())
}

fn change_roles(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let user = named(cx, args)?;
    let Some(roles) = args.array("roles")? else { return Err(args.missing("roles")) };
    args.finish()?;
    let roles = Principal::parse_all(Kind::Role, roles, &cx.db)?;
    let grant = cx.command.name == GRANT_ROLES.name;
    if grant {
        principals::check_roles(&mut cx.op, &roles)?;
    }
    cx.will_tell(|| about(&user, Some(&roles), None, None, cx.command.name));
    let found = principals::change_roles(&mut cx.op, Kind::User, &user, &roles, grant)?;
    require(found, &user)
}

/// `usersInfo`: 1 for those of the database, `{forAllDBs: true}`, or one or several by name.
fn info(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let which = args.first();
    let credentials = args.bool("showCredentials")?;
    let custom = args.strict_bool("showCustomData")?.unwrap_or(true);
    let privileges = args.bool("showPrivileges")?;
    let restrictions = args.bool("showAuthenticationRestrictions")?;
    let filter = args.doc("filter")?.map(|filter| Matcher::compile(filter, &cx.op.compile.timeless())).transpose()?;
    args.finish()?;
    if (privileges || restrictions) && !exact(which) {
        bail!(IllegalOperation, "Privilege or restriction details require exact-match usersInfo queries");
    }
    let db = cx.db.clone();
    let mut users = match which {
        Value::Document(d) if d.contains("forAllDBs") => principals::list(&mut cx.op, Kind::User, None)?,
        Value::Array(list) => listed(cx, list)?,
        v @ (Value::String(_) | Value::Document(_)) => principals::find(&mut cx.op, Kind::User, &Principal::parse(Kind::User, v, &db)?)?.into_iter().collect(),
        v if v.is_number() => principals::list(&mut cx.op, Kind::User, Some(&db))?,
        v => bail!(BadValue, "UserName must be either a string, an object or 1, found {}", v.type_name()),
    };
    let show = Show { credentials, custom, privileges, restrictions };
    users = users.iter().map(|user| shown(&mut cx.op, user.as_doc(), show)).collect::<Result<_>>()?;
    let arena = Arena::new();
    let mut out = reply.array("users");
    for user in &users {
        if filter.as_ref().map_or(Ok(true), |filter| filter.matches(user.as_doc(), &arena))? {
            out.push(user.as_doc());
        }
    }
    Ok(())
}

/// Whether users are asked for by their names.
fn exact(which: Value<'_>) -> bool {
    match which {
        Value::Document(d) => !d.contains("forAllDBs"),
        v => matches!(v, Value::String(_) | Value::Array(_)),
    }
}

fn listed(cx: &mut Cx<'_>, list: Array<'_>) -> Result<Vec<DocBuf>> {
    let mut users = Vec::new();
    for who in Principal::parse_all(Kind::User, list, &cx.db)? {
        users.extend(principals::find(&mut cx.op, Kind::User, &who)?);
    }
    Ok(users)
}

/// What usersInfo is to tell of a user besides names and roles.
#[derive(Clone, Copy)]
struct Show {
    credentials: bool,
    custom: bool,
    privileges: bool,
    restrictions: bool,
}

fn shown(op: &mut OpCx, user: Doc<'_>, show: Show) -> Result<DocBuf> {
    let (roles, stored) = match show.privileges || show.restrictions {
        true => principals::resolve(op, &principals::roles_of(user))?,
        false => Default::default(),
    };
    Ok(DocBuf::build(|w| {
        for e in user {
            let hidden = match e.name() {
                "credentials" => !show.credentials,
                "customData" => !show.custom,
                name => name == "authenticationRestrictions",
            };
            if !hidden {
                w.append_element(&e);
            }
        }
        {
            let mut mechanisms = w.array("mechanisms");
            for e in user.get("credentials").as_doc().into_iter().flat_map(Doc::iter) {
                mechanisms.push(e.name());
            }
        }
        if show.restrictions {
            w.append("authenticationRestrictions", restrictions::shown(user).view());
        }
        if show.privileges {
            let all = privileges::of_all(&[], &roles, &stored);
            w.append("inheritedRoles", principals::role_array(&roles).view()).append("inheritedPrivileges", privileges::array(&all).view());
        }
        if show.privileges || show.restrictions {
            w.append("inheritedAuthenticationRestrictions", restrictions::inherited(&stored).view());
        }
    }))
}
