//! Users and roles as they are stored: documents of `admin.system.users` and `admin.system.roles`, as in MongoDB.

use parking_lot::Mutex;
use smongo_bson::{Array, Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail};

use super::roles;
use crate::data::catalog::find_by_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write;
use crate::query::exec;
use crate::service::command::{Args, Cx};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    User,
    Role,
}

/// A user's or role's name and the database it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    pub name: String,
    pub db: String,
}

impl Kind {
    fn coll(self) -> &'static str {
        match self {
            Kind::User => "system.users",
            Kind::Role => "system.roles",
        }
    }

    /// The field that names one.
    pub fn field(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Role => "role",
        }
    }

    pub fn ns(self) -> Ns {
        Ns::unchecked("admin", self.coll())
    }
}

impl Principal {
    pub fn new(name: &str, db: &str) -> Principal {
        Principal { name: name.to_owned(), db: db.to_owned() }
    }

    /// The `_id` it is stored under.
    pub fn id(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    pub fn is_builtin(&self) -> bool {
        roles::find(&self.name, &self.db).is_some()
    }

    pub fn write(&self, kind: Kind, w: &mut DocWriter<'_>) {
        w.append(kind.field(), &*self.name).append("db", &*self.db);
    }

    /// A name alone, which means the command's own database, or `{role or user, db}`.
    pub fn parse(kind: Kind, value: Value<'_>, db: &str) -> Result<Principal> {
        let field = kind.field();
        match value {
            Value::String(name) => Ok(Principal::new(name, db)),
            Value::Document(d) => {
                let mut args = Args::nested(field, d);
                let name = args.str(field)?.ok_or_else(|| args.missing(field))?;
                let db = args.str("db")?.ok_or_else(|| args.missing("db"))?;
                args.finish()?;
                Ok(Principal::new(name, db))
            }
            v => bail!(BadValue, "A {field} must be given as a string or an object, found {}", v.type_name()),
        }
    }

    /// Users as `{user, db}` alone.
    pub fn parse_listed(list: Array<'_>) -> Result<Vec<Principal>> {
        let one = |v: Value<'_>| match v {
            Value::Document(_) => Principal::parse(Kind::User, v, ""),
            v => bail!(TypeMismatch, "a user must be an object, found {}", v.type_name()),
        };
        list.iter().map(one).collect()
    }

    pub fn parse_all(kind: Kind, list: Array<'_>, db: &str) -> Result<Vec<Principal>> {
        list.iter().map(|v| Principal::parse(kind, v, db)).collect()
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.db)
    }
}

/// The user or role a command names by its first field.
pub fn named<'a>(cx: &Cx<'_>, args: &mut Args<'a>) -> Result<Principal> {
    match args.first() {
        Value::String("") => bail!(BadValue, "{} needs a name that is not empty", cx.command.name),
        Value::String(name) if name.contains('\0') => bail!(BadValue, "A name cannot contain NULL characters"),
        Value::String(name) => Ok(Principal::new(name, &cx.db)),
        v => Err(args.wrong_type(cx.command.name, v, "string")),
    }
}

/// The roles stored in a user or role.
pub fn roles_of(doc: Doc<'_>) -> Vec<Principal> {
    let list = doc.get("roles").as_array().into_iter().flat_map(Array::iter);
    list.filter_map(|role| Principal::parse(Kind::Role, role, "").ok()).collect()
}

pub fn role_array(roles: &[Principal]) -> ValueBuf {
    ValueBuf::array(|w| {
        for role in roles {
            role.write(Kind::Role, &mut w.document());
        }
    })
}

/// All that roles are made of, themselves included.
pub fn inherited(op: &mut OpCx, roles: &[Principal]) -> Result<Vec<Principal>> {
    Ok(resolve(op, roles)?.0)
}

/// The same, with the documents of those that are stored.
pub fn resolve(op: &mut OpCx, roles: &[Principal]) -> Result<(Vec<Principal>, Vec<DocBuf>)> {
    let (mut all, mut docs) = (roles.to_vec(), Vec::new());
    let mut next = 0;
    while let Some(role) = all.get(next).cloned() {
        next += 1;
        let Some(doc) = find(op, Kind::Role, &role)? else { continue };
        for parent in roles_of(doc.as_doc()) {
            if !all.contains(&parent) {
                all.push(parent);
            }
        }
        docs.push(doc);
    }
    Ok((all, docs))
}

/// Fails unless all the roles exist.
pub fn check_roles(op: &mut OpCx, roles: &[Principal]) -> Result<()> {
    for role in roles {
        if !role.is_builtin() && find(op, Kind::Role, role)?.is_none() {
            bail!(RoleNotFound, "Could not find role: {role}");
        }
    }
    Ok(())
}

pub fn find(op: &mut OpCx, kind: Kind, who: &Principal) -> Result<Option<DocBuf>> {
    let Some(coll) = op.data.catalog.get(&kind.ns()) else { return Ok(None) };
    let found = find_by_id(op, &coll, Value::String(&who.id()))?;
    Ok(found.map(|(_, doc)| DocBuf::from(doc)))
}

/// Whether there is neither a user nor a role.
pub fn nobody(op: &mut OpCx) -> Result<bool> {
    let one = [DocBuf::build(|w| {
        w.append("$limit", 1);
    })];
    for kind in [Kind::User, Kind::Role] {
        if exec::open_pipeline(op, "admin", kind.coll(), &one, &Default::default())?.advance(op)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All of a database, or of all databases, in the order of their ids.
pub fn list(op: &mut OpCx, kind: Kind, db: Option<&str>) -> Result<Vec<DocBuf>> {
    let stages = [
        DocBuf::build(|w| {
            let mut filter = w.document("$match");
            if let Some(db) = db {
                filter.append("db", db);
            }
        }),
        DocBuf::build(|w| {
            w.document("$sort").append("_id", 1);
        }),
    ];
    let mut stream = exec::open_pipeline(op, "admin", kind.coll(), &stages, &Default::default())?;
    let mut found = Vec::new();
    while stream.advance(op)? {
        found.push(DocBuf::from(stream.doc()));
    }
    Ok(found)
}

pub fn create(op: &mut OpCx, kind: Kind, doc: &DocBuf) -> Result<()> {
    make_home(op, kind)?;
    op.write(|op| {
        let coll = op.data.catalog.require(&kind.ns())?;
        write::insert(op, &coll, doc.as_doc()).map(drop)
    })
}

/// Makes the collection, and the index by which no name stands twice whatever the `_id` is.
pub fn make_home(op: &mut OpCx, kind: Kind) -> Result<()> {
    let data = op.data.clone();
    let name = format!("{}_1_db_1", kind.field());
    // Who looks whether it is there and makes it is alone.
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock();
    let coll = data.catalog.get_or_create(op, &kind.ns())?;
    if coll.indexes.iter().any(|index| index.name == name) {
        return Ok(());
    }
    let spec = DocBuf::build(|w| {
        w.append("v", 2).append("unique", true);
        w.document("key").append(kind.field(), 1).append("db", 1);
        w.append("name", &*name);
    });
    data.catalog.create_indexes(op, &kind.ns(), vec![spec])
}

/// Replaces what is stored by what `change` makes of it; `false` when there is nobody of that name.
pub fn change(op: &mut OpCx, kind: Kind, who: &Principal, change: impl Fn(Doc<'_>) -> Result<DocBuf>) -> Result<bool> {
    op.write(|op| change_within(op, kind, who, &change))
}

/// The same within a transaction.
fn change_within(op: &mut OpCx, kind: Kind, who: &Principal, change: impl Fn(Doc<'_>) -> Result<DocBuf>) -> Result<bool> {
    let Some(coll) = op.data.catalog.get(&kind.ns()) else { return Ok(false) };
    let found = find_by_id(op, &coll, Value::String(&who.id()))?;
    let Some((id, old)) = found.map(|(id, doc)| (id, DocBuf::from(doc))) else { return Ok(false) };
    let new = change(old.as_doc())?;
    if new.as_bytes() != old.as_bytes() {
        write::update(op, &coll, id, old.as_doc(), new.as_doc(), new.as_doc())?;
    }
    Ok(true)
}

pub fn remove(op: &mut OpCx, kind: Kind, who: &Principal) -> Result<bool> {
    op.write(|op| remove_within(op, kind, who))
}

fn remove_within(op: &mut OpCx, kind: Kind, who: &Principal) -> Result<bool> {
    let Some(coll) = op.data.catalog.get(&kind.ns()) else { return Ok(false) };
    let found = find_by_id(op, &coll, Value::String(&who.id()))?;
    let Some((id, old)) = found.map(|(id, doc)| (id, DocBuf::from(doc))) else { return Ok(false) };
    write::delete(op, &coll, id, old.as_doc())?;
    Ok(true)
}

/// The name in a stored document.
pub fn name_of(kind: Kind, doc: Doc<'_>) -> Principal {
    Principal::new(doc.get(kind.field()).as_str().unwrap_or_default(), doc.get("db").as_str().unwrap_or_default())
}

/// The names of all of a database.
pub fn names(op: &mut OpCx, kind: Kind, db: &str) -> Result<Vec<Principal>> {
    Ok(list(op, kind, Some(db))?.iter().map(|doc| name_of(kind, doc.as_doc())).collect())
}

/// Removes all users of a database, together; tells who they were.
pub fn remove_users(op: &mut OpCx, db: &str) -> Result<Vec<Principal>> {
    op.write(|op| {
        let gone = names(op, Kind::User, db)?;
        for user in &gone {
            remove_within(op, Kind::User, user)?;
        }
        Ok(gone)
    })
}

/// Removes roles, also from the users and roles that have them, in one transaction: nobody is left with half of it.
pub fn remove_roles(op: &mut OpCx, gone: &[Principal]) -> Result<i32> {
    op.write(|op| {
        for kind in [Kind::User, Kind::Role] {
            for doc in list(op, kind, None)? {
                if roles_of(doc.as_doc()).iter().any(|role| gone.contains(role)) {
                    change_within(op, kind, &name_of(kind, doc.as_doc()), |old| Ok(with_roles(old, gone, false)))?;
                }
            }
        }
        let mut n = 0;
        for role in gone {
            n += i32::from(remove_within(op, Kind::Role, role)?);
        }
        Ok(n)
    })
}

/// The document with some fields replaced, in their places, or appended.
pub fn with_fields(old: Doc<'_>, fields: &[(&str, Value<'_>)]) -> DocBuf {
    DocBuf::build(|w| {
        for e in old {
            match fields.iter().find(|(name, _)| *name == e.name()) {
                Some((name, value)) => w.append(name, *value),
                None => w.append_element(&e),
            };
        }
        for (name, value) in fields.iter().filter(|(name, _)| !old.contains(name)) {
            w.append(name, *value);
        }
    })
}

/// Adds roles to what is stored, or takes them away.
pub fn change_roles(op: &mut OpCx, kind: Kind, who: &Principal, roles: &[Principal], grant: bool) -> Result<bool> {
    change(op, kind, who, |old| Ok(with_roles(old, roles, grant)))
}

fn with_roles(old: Doc<'_>, roles: &[Principal], grant: bool) -> DocBuf {
    let mut held = roles_of(old);
    held.retain(|role| grant || !roles.contains(role));
    if grant {
        let missing: Vec<_> = roles.iter().filter(|role| !held.contains(role)).cloned().collect();
        held.extend(missing);
    }
    with_fields(old, &[("roles", role_array(&held).view())])
}
