//! What somebody may: the privileges of all of one's roles, added up so that asking is quick.

use std::collections::HashMap;

use smongo_bson::{Doc, Value};
use smongo_mql::access::{Action, Actions, Need, Resource, is_internal, is_system};

use super::roles::{self, Target};

/// The actions held, by what they are on.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    cluster: Actions,
    /// `{db: "", collection: ""}`.
    any: Actions,
    /// `{anyResource: true}`.
    any_resource: Actions,
    /// `{db, collection: ""}`.
    databases: HashMap<Box<str>, Actions>,
    /// `{db: "", collection}`.
    named: HashMap<Box<str>, Actions>,
    /// `{db, collection}`, by database and then name.
    collections: HashMap<Box<str>, HashMap<Box<str>, Actions>>,
    /// `{db, system_buckets}`, likewise; the database may be empty.
    buckets: HashMap<Box<str>, HashMap<Box<str>, Actions>>,
}

/// What time series' buckets lie in.
const BUCKETS: &str = "system.buckets.";

fn add(held: &mut Actions, actions: Actions) {
    *held = held.and(actions);
}

fn entry<'m>(map: &'m mut HashMap<Box<str>, Actions>, key: &str) -> &'m mut Actions {
    map.entry(key.into()).or_default()
}

fn of(map: &HashMap<Box<str>, Actions>, key: &str) -> Actions {
    map.get(key).copied().unwrap_or_default()
}

fn at(map: &HashMap<Box<str>, HashMap<Box<str>, Actions>>, db: &str, name: &str) -> Actions {
    map.get(db).map(|names| of(names, name)).unwrap_or_default()
}

impl Grants {
    /// Adds what a built-in role of a database allows, with what it inherits.
    pub fn add_builtin(&mut self, role: &roles::Builtin, db: &str) {
        for (target, actions) in role.privileges {
            match *target {
                Target::Cluster => add(&mut self.cluster, *actions),
                Target::AnyResource => add(&mut self.any_resource, *actions),
                Target::Own(coll) => self.add_ns(db, coll, *actions),
                Target::Ns(db, coll) => self.add_ns(db, coll, *actions),
            }
        }
        for parent in role.inherits.iter().filter_map(|name| roles::find(name, db)) {
            self.add_builtin(parent, db);
        }
    }

    /// Adds a privilege as it is stored: a resource document and actions. What nobody understands allows nothing.
    pub fn add(&mut self, resource: Doc<'_>, actions: Actions) {
        let (db, coll) = (resource.get("db").as_str(), resource.get("collection").as_str());
        let whole = |name: &str| match resource.get(name) {
            Value::Null | Value::Undefined => Value::Missing,
            value => value,
        };
        match (whole("cluster"), whole("anyResource"), resource.get("system_buckets").as_str()) {
            (Value::Bool(true), Value::Missing, None) if db.is_none() && coll.is_none() => add(&mut self.cluster, actions),
            (Value::Missing, Value::Bool(true), None) if db.is_none() && coll.is_none() => add(&mut self.any_resource, actions),
            (Value::Missing, Value::Missing, Some(name)) if coll.is_none() => add(entry(self.buckets.entry(db.unwrap_or_default().into()).or_default(), name), actions),
            (Value::Missing, Value::Missing, None) => {
                if let (Some(db), Some(coll)) = (db, coll) {
                    self.add_ns(db, coll, actions);
                }
            }
            _ => {}
        }
    }

    fn add_ns(&mut self, db: &str, coll: &str, actions: Actions) {
        let held = match (db, coll) {
            ("", "") => &mut self.any,
            ("", coll) => entry(&mut self.named, coll),
            (db, "") => entry(&mut self.databases, db),
            (db, coll) => entry(self.collections.entry(db.into()).or_default(), coll),
        };
        add(held, actions);
    }

    /// The actions held on a resource. `anyAction` is all of them.
    pub fn on(&self, resource: Resource<'_>) -> Actions {
        let held = self.any_resource.and(match resource {
            Resource::Cluster => self.cluster,
            Resource::AnyResource => Actions::NONE,
            Resource::Any => self.any,
            Resource::Db(db) => self.on_database(db),
            Resource::Ns(db, coll) => self.on_collection(db, coll),
        });
        if held.hold(Actions::one(Action::AnyAction)) { Actions::of(&smongo_mql::access::ALL) } else { held }
    }

    fn on_database(&self, db: &str) -> Actions {
        let any = if is_internal(db) { Actions::NONE } else { self.any };
        of(&self.databases, db).and(any)
    }

    fn on_collection(&self, db: &str, coll: &str) -> Actions {
        let exact = at(&self.collections, db, coll).and(of(&self.named, coll));
        if let Some(measured) = coll.strip_prefix(BUCKETS) {
            let of_series = ["", db].into_iter().flat_map(|db| ["", measured].map(|name| at(&self.buckets, db, name)));
            return of_series.fold(exact, Actions::and);
        }
        if is_system(db, coll) { exact } else { exact.and(self.on_database(db)) }
    }

    /// Whether all that is needed is held.
    #[inline]
    pub fn hold(&self, need: Need<'_>) -> bool {
        self.on(need.resource).hold(need.actions)
    }

    /// Whether anything is held on a database or on a collection of it.
    pub fn reach(&self, db: &str) -> bool {
        let within = |map: &HashMap<Box<str>, HashMap<Box<str>, Actions>>| map.get(db).into_iter().flat_map(HashMap::values).any(|held| !held.is_empty());
        !self.on(Resource::Db(db)).is_empty() || within(&self.collections) || within(&self.buckets)
    }

    /// Whether anything is held on a collection.
    pub fn reach_collection(&self, db: &str, coll: &str) -> bool {
        !self.on(Resource::Ns(db, coll)).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;

    use super::*;

    fn grants(privileges: &[(&str, &[Action])]) -> Grants {
        let mut grants = Grants::default();
        for (resource, actions) in privileges {
            let resource = parse_doc(&resource.replace('\'', "\"")).unwrap_or_default();
            grants.add(resource.as_doc(), Actions::of(actions));
        }
        grants
    }

    fn holds(grants: &Grants, resource: Resource<'_>, action: Action) -> bool {
        grants.hold(Need::new(resource, &[action]))
    }

    #[test]
    fn a_database_reaches_its_collections_but_not_the_systems() {
        let g = grants(&[("{'db': 'd', 'collection': ''}", &[Action::Find])]);
        assert!(holds(&g, Resource::Ns("d", "c"), Action::Find) && holds(&g, Resource::Db("d"), Action::Find));
        for (db, coll) in [("d", "system.users"), ("d", "system.buckets.t"), ("e", "c")] {
            assert!(!holds(&g, Resource::Ns(db, coll), Action::Find), "{db}.{coll}");
        }
        assert!(!holds(&g, Resource::Ns("d", "c"), Action::Insert) && !holds(&g, Resource::Any, Action::Find) && !holds(&g, Resource::Cluster, Action::Find));
    }

    #[test]
    fn all_databases_are_neither_local_nor_config() {
        let g = grants(&[("{'db': '', 'collection': ''}", &[Action::Find])]);
        assert!(holds(&g, Resource::Ns("d", "c"), Action::Find) && holds(&g, Resource::Any, Action::Find));
        for db in ["local", "config"] {
            assert!(!holds(&g, Resource::Ns(db, "c"), Action::Find) && !holds(&g, Resource::Db(db), Action::Find));
        }
        let g = grants(&[("{'db': '', 'collection': 'c'}", &[Action::Find])]);
        assert!(holds(&g, Resource::Ns("local", "c"), Action::Find) && !holds(&g, Resource::Ns("local", "d"), Action::Find));
    }

    #[test]
    fn any_resource_reaches_everything_and_any_action_allows_it() {
        let g = grants(&[("{'anyResource': true}", &[Action::Find])]);
        assert!(holds(&g, Resource::Ns("local", "system.x"), Action::Find) && holds(&g, Resource::Cluster, Action::Find) && !holds(&g, Resource::Cluster, Action::Top));
        let g = grants(&[("{'anyResource': true}", &[Action::AnyAction])]);
        assert!(holds(&g, Resource::Cluster, Action::Shutdown) && holds(&g, Resource::AnyResource, Action::Find));
        let g = grants(&[("{'cluster': true}", &[Action::Top]), ("{'cluster': true, 'db': 'd'}", &[Action::Find]), ("{'db': 'd'}", &[Action::Find]), ("{}", &[Action::Find])]);
        assert!(holds(&g, Resource::Cluster, Action::Top) && !holds(&g, Resource::Cluster, Action::Find) && !holds(&g, Resource::Db("d"), Action::Find));
    }

    #[test]
    fn buckets_are_reached_by_their_own_resource() {
        let g = grants(&[("{'db': 'd', 'system_buckets': 't'}", &[Action::Find]), ("{'db': 'e', 'collection': 'system.buckets.t'}", &[Action::Find])]);
        assert!(holds(&g, Resource::Ns("d", "system.buckets.t"), Action::Find) && holds(&g, Resource::Ns("e", "system.buckets.t"), Action::Find));
        assert!(!holds(&g, Resource::Ns("d", "t"), Action::Find) && !holds(&g, Resource::Ns("d", "system.buckets.u"), Action::Find));
    }

    #[test]
    fn built_in_roles_belong_to_a_database() {
        let mut g = Grants::default();
        if let Some(role) = roles::find("readWrite", "d") {
            g.add_builtin(role, "d");
        }
        assert!(holds(&g, Resource::Ns("d", "c"), Action::Insert) && !holds(&g, Resource::Ns("e", "c"), Action::Insert));
        assert!(g.reach("d") && !g.reach("e") && g.reach_collection("d", "system.js") && !g.reach_collection("d", "system.views"));
        let mut g = Grants::default();
        if let Some(role) = roles::find("root", "admin") {
            g.add_builtin(role, "admin");
        }
        assert!(holds(&g, Resource::Cluster, Action::Shutdown) && holds(&g, Resource::Ns("d", "c"), Action::Insert) && holds(&g, Resource::Ns("admin", "system.users"), Action::Update));
        assert!(!holds(&g, Resource::AnyResource, Action::AnyAction) && !holds(&g, Resource::Ns("d", "system.views"), Action::Find));
    }
}
