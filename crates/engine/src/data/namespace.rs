//! Namespaces: `database.collection`, checked.

use std::fmt;

use smongo_bson::{Result, bail};

use crate::data::limits;

/// A full collection name. The database part holds no dot, so the first dot divides.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ns {
    full: String,
    dot: usize,
}

impl Ns {
    /// Checks both names.
    pub fn new(db: &str, coll: &str) -> Result<Ns> {
        check_database(db)?;
        check_collection(db, coll)?;
        Ok(Ns::unchecked(db, coll))
    }

    /// For names that were checked before, or that only appear in messages and replies (`db.$cmd.aggregate`).
    pub fn unchecked(db: &str, coll: &str) -> Ns {
        let mut full = String::with_capacity(db.len() + 1 + coll.len());
        full.push_str(db);
        full.push('.');
        full.push_str(coll);
        Ns { full, dot: db.len() }
    }

    /// From `db.collection`.
    pub fn parse(full: &str) -> Result<Ns> {
        match full.split_once('.') {
            Some((db, coll)) => Ns::new(db, coll),
            None => bail!(InvalidNamespace, "Invalid namespace specified '{full}'"),
        }
    }

    pub fn db(&self) -> &str {
        &self.full[..self.dot]
    }

    pub fn coll(&self) -> &str {
        &self.full[self.dot + 1..]
    }

    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The server's own.
    pub fn is_internal(&self) -> bool {
        self.is_system() || matches!(self.db(), "admin" | "config" | "local")
    }

    pub fn is_system(&self) -> bool {
        self.coll().starts_with("system.")
    }
}

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// Whether a user may create a collection of this name. Few of the names that begin with `system.` are for users.
pub fn check_creatable(ns: &Ns) -> Result<()> {
    if ns.coll().starts_with("system.buckets.") {
        bail!(IllegalOperation, "Cannot create {ns}: it is the name of a time-series collection's buckets");
    }
    let known = ["system.views", "system.profile", "system.js", "system.users"].contains(&ns.coll());
    let admins = ns.db() == "admin" && ["system.roles", "system.version", "system.keys", "system.backup_users", "system.new_users"].contains(&ns.coll());
    let sessions = ns.db() == "config" && ["system.sessions", "system.indexBuilds"].contains(&ns.coll());
    if ns.is_system() && !known && !admins && !sessions {
        bail!(InvalidNamespace, "Invalid system namespace: {ns}");
    }
    Ok(())
}

/// Two databases may not differ in the case of their letters alone: some file systems could not tell them apart.
pub fn check_case(catalog: &crate::data::catalog::Catalog, db: &str) -> Result<()> {
    let same = |other: &String| other != db && other.eq_ignore_ascii_case(db);
    if let Some(other) = catalog.databases().iter().find(|other| same(other)) {
        bail!(DatabaseDifferCase, "db already exists with different case already have: [{other}] trying to create [{db}]");
    }
    Ok(())
}

pub fn check_database(db: &str) -> Result<()> {
    let bad = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
    let external = db == "$external";
    if db.is_empty() || db.len() > limits::DATABASE_NAME_BYTES || (db.contains(bad) && !external) {
        bail!(InvalidNamespace, "Invalid database name: '{db}'");
    }
    Ok(())
}

pub fn check_collection(db: &str, coll: &str) -> Result<()> {
    check_characters(db, coll)?;
    if db.len() + 1 + coll.len() > limits::NAMESPACE_BYTES {
        bail!(InvalidNamespace, "Fully qualified namespace is too long. Namespace: {db}.{coll} Max: {}", limits::NAMESPACE_BYTES);
    }
    Ok(())
}

/// What a collection's name may consist of, however long it is.
pub fn check_characters(db: &str, coll: &str) -> Result<()> {
    if coll.is_empty() {
        bail!(InvalidNamespace, "Invalid namespace specified '{db}.'");
    }
    let oplog = db == "local" && coll.starts_with("oplog.$");
    if coll.starts_with('.') || coll.contains('\0') || (coll.contains('$') && !oplog) {
        bail!(InvalidNamespace, "Invalid namespace specified '{db}.{coll}'");
    }
    Ok(())
}
