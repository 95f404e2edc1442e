//! What privileges are made of: actions on resources. Data only; who holds what is the engine's.

mod actions;

use std::fmt;

pub use actions::{ALL, Action, NAMES};

impl Action {
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// The action of a name.
    pub fn parse(name: &str) -> Option<Action> {
        NAMES.binary_search(&name).ok().map(|at| ALL[at])
    }
}

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u128);

// A bit for each.
const _: () = assert!(NAMES.len() <= 128);

impl Actions {
    pub const NONE: Actions = Actions(0);

    pub const fn of(list: &[Action]) -> Actions {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u8;
            at += 1;
        }
        Actions(bits)
    }

    pub const fn one(action: Action) -> Actions {
        Actions(1 << action as u8)
    }

    pub const fn and(self, others: Actions) -> Actions {
        Actions(self.0 | others.0)
    }

    /// Those that are not among `others`.
    pub const fn without(self, others: Actions) -> Actions {
        Actions(self.0 & !others.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `others` are here.
    pub const fn hold(self, others: Actions) -> bool {
        others.0 & !self.0 == 0
    }

    /// In the order of their names.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        ALL.into_iter().filter(move |action| self.hold(Actions::one(*action)))
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What an action is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Cluster,
    /// A database as a whole.
    Db(&'a str),
    /// A collection: database and name.
    Ns(&'a str, &'a str),
    /// All databases.
    Any,
    /// Everything there is.
    AnyResource,
}

/// What somebody must hold: all of the actions on the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    pub resource: Resource<'a>,
    pub actions: Actions,
}

impl<'a> Need<'a> {
    pub const fn new(resource: Resource<'a>, actions: &[Action]) -> Need<'a> {
        Need { resource, actions: Actions::of(actions) }
    }
}

/// Collections that privileges on a database do not reach.
pub fn is_system(db: &str, coll: &str) -> bool {
    coll.starts_with("system.") || db == "local" && coll.starts_with("replset.")
}

/// Databases that privileges on all databases do not reach.
pub fn is_internal(db: &str) -> bool {
    matches!(db, "local" | "config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_actions_belong_together() {
        assert!(NAMES.is_sorted() && ALL.iter().all(|action| Action::parse(action.name()) == Some(*action)));
        assert_eq!((Action::parse("find"), Action::parse("found")), (Some(Action::Find), None));
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = Actions::of(&[Action::Find, Action::Validate, Action::AddShard]);
        assert!(set.hold(Actions::of(&[Action::Validate, Action::Find])) && !set.hold(Actions::of(&[Action::Find, Action::Insert])));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Action::AddShard, Action::Find, Action::Validate]);
        assert_eq!(set.without(Actions::one(Action::Find)).and(Actions::one(Action::Top)).iter().count(), 3);
    }
}
