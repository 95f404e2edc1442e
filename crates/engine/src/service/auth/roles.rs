//! Roles that are there from the start.

use smongo_mql::access::Actions;

pub use super::builtin::ROLES;

/// A built-in role.
pub struct Builtin {
    pub name: &'static str,
    /// Belongs to `admin` alone; else every database has it.
    pub of_admin: bool,
    /// Roles of the same database that it is made of besides.
    pub inherits: &'static [&'static str],
    pub privileges: &'static [(Target, Actions)],
}

/// What a built-in role's privilege is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Cluster,
    AnyResource,
    /// A collection of the role's own database; an empty name is the database.
    Own(&'static str),
    /// A database and a collection; an empty name is any.
    Ns(&'static str, &'static str),
}

/// The built-in role of a name in a database.
pub fn find(name: &str, db: &str) -> Option<&'static Builtin> {
    let at = ROLES.binary_search_by(|role| role.name.cmp(name)).ok()?;
    ROLES.get(at).filter(|role| db == "admin" || !role.of_admin)
}

/// The names of those of a database, sorted.
pub fn names(db: &str) -> impl Iterator<Item = &'static str> {
    ROLES.iter().filter(move |role| db == "admin" || !role.of_admin).map(|role| role.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_roles_are_sorted_and_inherit_what_exists() {
        assert!(ROLES.is_sorted_by(|a, b| a.name < b.name));
        assert!(ROLES.iter().flat_map(|role| role.inherits).all(|name| find(name, "admin").is_some()));
        assert!(find("root", "admin").is_some() && find("root", "d1").is_none() && find("read", "d1").is_some());
    }
}
