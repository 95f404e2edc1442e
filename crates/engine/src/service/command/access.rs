//! What a command asks of who sends it. A rule is part of every row; the gate ([`super::gate`]) holds it against what somebody may.

use smongo_bson::{Result, Value};
use smongo_mql::access::{Action, Actions, Need, Resource};

use super::{Args, Command};
use crate::data::database::Data;
use crate::service::auth::grants::Grants;

/// The rule of a command.
#[derive(Clone, Copy)]
pub enum Access {
    /// Before anybody has said who he is.
    Open,
    /// Anybody who is somebody. The command itself sees to what belongs to whom.
    User,
    /// Actions on the cluster.
    Cluster(&'static [Action]),
    /// Actions on the command's database.
    Database(&'static [Action]),
    /// Actions on the collection that the command's first field names; by its UUID, `useUUID` besides.
    Named(&'static [Action]),
    /// What a function reads out of the command.
    Computed(Rule),
}

/// Reads what a command needs out of its fields, by the functions by which the command reads them. It checks nothing: what is
/// malformed the command refuses.
pub type Rule = fn(&Scope<'_, '_>, &mut Needs) -> Result<()>;

/// What a rule sees.
pub struct Scope<'s, 'a> {
    pub data: &'s Data,
    pub db: &'a str,
    pub args: &'s Args<'a>,
    /// What the caller may. Some rules ask for more of who may more.
    pub grants: &'s Grants,
    /// The caller's name and database.
    pub user: (&'s str, &'s str),
    /// Whether the caller has a role, by itself or inherited.
    pub has_role: &'s dyn Fn(&str, &str) -> bool,
}

impl<'a> Scope<'_, 'a> {
    /// The same caller with another command.
    pub fn of<'t>(&'t self, db: &'t str, args: &'t Args<'t>) -> Scope<'t, 't> {
        Scope { data: self.data, db, args, grants: self.grants, user: self.user, has_role: self.has_role }
    }

    pub fn field(&self, name: &str) -> Value<'a> {
        self.args.peek(name)
    }

    /// A flag that is on.
    pub fn says(&self, name: &str) -> bool {
        self.field(name).truthy()
    }
}

/// What a rule asks for.
#[derive(Clone, Debug, Default)]
pub struct Needs(Vec<Owned>);

#[derive(Clone, Debug)]
struct Owned {
    on: On,
    actions: Actions,
    /// What will do instead.
    or: Option<Box<Owned>>,
}

#[derive(Clone, Debug)]
enum On {
    Cluster,
    Db(Box<str>),
    Ns(Box<str>, Box<str>),
    Any,
    AnyResource,
}

impl Owned {
    fn new(need: Need<'_>) -> Owned {
        let on = match need.resource {
            Resource::Cluster => On::Cluster,
            Resource::Db(db) => On::Db(db.into()),
            Resource::Ns(db, coll) => On::Ns(db.into(), coll.into()),
            Resource::Any => On::Any,
            Resource::AnyResource => On::AnyResource,
        };
        Owned { on, actions: need.actions, or: None }
    }

    fn need(&self) -> Need<'_> {
        let resource = match &self.on {
            On::Cluster => Resource::Cluster,
            On::Db(db) => Resource::Db(db),
            On::Ns(db, coll) => Resource::Ns(db, coll),
            On::Any => Resource::Any,
            On::AnyResource => Resource::AnyResource,
        };
        Need { resource, actions: self.actions }
    }

    fn met(&self, grants: &Grants) -> bool {
        grants.hold(self.need()) || self.or.as_ref().is_some_and(|other| other.met(grants))
    }
}

impl Needs {
    pub fn add(&mut self, need: Need<'_>) {
        self.0.push(Owned::new(need));
    }

    pub fn cluster(&mut self, actions: &[Action]) {
        self.add(Need::new(Resource::Cluster, actions));
    }

    pub fn db(&mut self, db: &str, actions: &[Action]) {
        self.add(Need::new(Resource::Db(db), actions));
    }

    pub fn ns(&mut self, db: &str, coll: &str, actions: &[Action]) {
        self.add(Need::new(Resource::Ns(db, coll), actions));
    }

    pub fn any(&mut self, actions: &[Action]) {
        self.add(Need::new(Resource::Any, actions));
    }

    /// Asks for either of two.
    pub fn either(&mut self, one: Need<'_>, other: Need<'_>) {
        self.0.push(Owned { or: Some(Box::new(Owned::new(other))), ..Owned::new(one) });
    }

    /// Asks for what others ask for, too.
    pub fn extend(&mut self, others: &Needs) {
        self.0.extend(others.0.iter().cloned());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn met(&self, grants: &Grants) -> bool {
        self.0.iter().all(|owned| owned.met(grants))
    }

    /// All that were asked for, alternatives too.
    pub fn iter(&self) -> impl Iterator<Item = Need<'_>> {
        self.0.iter().flat_map(|owned| std::iter::successors(Some(owned), |owned| owned.or.as_deref())).map(Owned::need)
    }
}

/// Adds what a command needs.
pub fn needs(command: &Command, scope: &Scope<'_, '_>, needs: &mut Needs) -> Result<()> {
    add_needs(command.access, scope, needs)
}

/// Adds what a rule asks for.
pub fn add_needs(access: Access, scope: &Scope<'_, '_>, needs: &mut Needs) -> Result<()> {
    match access {
        Access::Open | Access::User => {}
        Access::Cluster(actions) => needs.cluster(actions),
        Access::Database(actions) => needs.db(scope.db, actions),
        Access::Named(actions) => named(scope, actions, needs),
        Access::Computed(rule) => rule(scope, needs)?,
    }
    Ok(())
}

/// Actions on the collection that the first field names.
pub fn named(scope: &Scope<'_, '_>, actions: &[Action], needs: &mut Needs) {
    match scope.args.peek_first() {
        Value::String(coll) => needs.ns(scope.db, coll, actions),
        Value::Binary(uuid) => {
            needs.cluster(&[Action::UseUUID]);
            let found = scope.data.catalog.all().into_iter().find(|coll| coll.ns.db() == scope.db && coll.uuid.as_bytes() == uuid.bytes());
            match found {
                Some(coll) => needs.ns(scope.db, coll.ns.coll(), actions),
                None => needs.db(scope.db, actions),
            }
        }
        // The command refuses it, and who may do nothing here does not hear of it.
        _ => needs.db(scope.db, actions),
    }
}
