//! Users as they are known to those who log in and to the gate: read where they are stored, kept until somebody changes users or
//! roles.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use smongo_bson::{Doc, DocBuf, Escaped, Result, Value, bail};
use smongo_mql::access::{Action, Actions};

use super::grants::Grants;
use super::principals::{self, Kind, Principal};
use super::privileges::{self, Privilege};
use super::restrictions::{self, Restriction};
use super::roles;
use super::scram::{Keys, Mechanism};
use crate::data::limits;
use crate::data::op::OpCx;
use crate::service::command::Client;
use crate::service::shared::Shared;

/// A user's document, read.
pub struct Account {
    pub principal: Principal,
    /// Another one under the same name is another user. Users of old versions have none.
    pub user_id: Option<[u8; 16]>,
    keys: [Option<Keys>; 2],
    /// Known elsewhere, by a certificate.
    pub external: bool,
    roles: Vec<Principal>,
    restrictions: Vec<Restriction>,
}

/// A user with all that comes of its roles.
pub struct User {
    pub principal: Principal,
    pub user_id: Option<[u8; 16]>,
    /// What sessions of the user are known by: the hash of `name@db`.
    pub uid: [u8; 32],
    /// The roles it was granted, and all that they are made of.
    pub all_roles: Vec<Principal>,
    /// What all stored roles allow, one for each resource.
    pub privileges: Vec<Privilege>,
    /// What all roles allow, added up.
    pub grants: Grants,
    /// The user's own list and those of its roles: each must admit who logs in.
    restrictions: Vec<Vec<Restriction>>,
}

impl Account {
    fn parse(who: &Principal, doc: Doc<'_>) -> Result<Account> {
        if doc.get("user").as_str() != Some(&who.name) || doc.get("db").as_str() != Some(&who.db) {
            bail!(UnsupportedFormat, "its name and database are not those of its _id");
        }
        let user_id = match doc.get("userId") {
            Value::Missing => None,
            Value::Binary(id) if id.subtype() == 4 => id.bytes().try_into().ok(),
            v => bail!(UnsupportedFormat, "its userId is no UUID but a {}", v.type_name()),
        };
        let Value::Document(credentials) = doc.get("credentials") else { bail!(UnsupportedFormat, "it has no credentials") };
        let mut keys = [None, None];
        for (place, mechanism) in keys.iter_mut().zip(Mechanism::ALL) {
            if let Value::Document(stored) = credentials.get(mechanism.name()) {
                let Some(found) = Keys::parse(mechanism, stored) else { bail!(UnsupportedFormat, "its {} credentials are none", mechanism.name()) };
                *place = Some(found);
            }
        }
        let Value::Array(roles) = doc.get("roles") else { bail!(UnsupportedFormat, "it has no array of roles") };
        Ok(Account {
            principal: who.clone(),
            user_id,
            keys,
            external: credentials.get("external").truthy(),
            roles: Principal::parse_all(Kind::Role, roles, "")?,
            restrictions: restrictions::stored(doc)?,
        })
    }

    pub fn keys(&self, mechanism: Mechanism) -> Option<&Keys> {
        self.keys[mechanism as usize].as_ref()
    }

    /// The mechanisms by which the user can log in.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(|mechanism| self.keys(*mechanism).is_some())
    }
}

impl User {
    /// Adds up what the roles allow, and where from. `all_roles` with the documents of those that are stored.
    fn of(account: Account, all_roles: Vec<Principal>, stored: &[DocBuf]) -> Result<User> {
        let Account { principal, user_id, restrictions, .. } = account;
        let mut user = User { uid: uid(&principal), principal, user_id, all_roles, privileges: Vec::new(), grants: Grants::default(), restrictions: vec![restrictions] };
        for role in stored {
            // A restriction that nobody understands might forbid it.
            user.restrictions.push(restrictions::stored(role.as_doc())?);
            privileges::stored(role.as_doc()).iter().for_each(|privilege| privileges::add(&mut user.privileges, privilege));
        }
        for Privilege { resource, actions } in &user.privileges {
            let known = actions.iter().filter_map(|name| Action::parse(name)).map(Actions::one);
            user.grants.add(resource.as_doc(), known.fold(Actions::NONE, Actions::and));
        }
        for role in &user.all_roles {
            if let Some(builtin) = roles::find(&role.name, &role.db) {
                user.grants.add_builtin(builtin, &role.db);
            }
        }
        Ok(user)
    }

    /// What all roles allow, the built-in ones too, as it is shown.
    pub fn all_privileges(&self) -> Vec<Privilege> {
        let mut all = self.privileges.clone();
        privileges::add_builtin(&mut all, &self.all_roles);
        privileges::sort(&mut all);
        all
    }

    /// Whether the user may be somebody who comes from there.
    pub fn admits(&self, client: &Client) -> bool {
        restrictions::admit(&self.restrictions, client.peer.way)
    }
}

/// The hash by which sessions of a user are known.
pub fn uid(who: &Principal) -> [u8; 32] {
    Sha256::digest(who.to_string()).into()
}

/// Those who were asked for. Names that nobody has are kept, too, so that both take the same way.
#[derive(Default)]
pub struct Users(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The generation of users that all of these are of.
    generation: u64,
    names: HashMap<Principal, Place>,
    ticks: u64,
}

#[derive(Default)]
struct Place {
    used: u64,
    account: Option<Option<Arc<Account>>>,
    user: Option<Option<Arc<User>>>,
}

impl Users {
    /// What is stored of a user; `None` when there is none who could log in.
    pub fn account(&self, shared: &Arc<Shared>, who: &Principal) -> Result<Option<Arc<Account>>> {
        self.known(shared, who, |place| &mut place.account, |op| Ok(read(op, who)?.map(Arc::new)))
    }

    /// The user with what comes of its roles.
    pub fn user(&self, shared: &Arc<Shared>, who: &Principal) -> Result<Option<Arc<User>>> {
        self.known(shared, who, |place| &mut place.user, |op| match read(op, who)? {
            Some(account) => {
                let (all_roles, stored) = principals::resolve(op, &account.roles)?;
                Ok(sensible(who, User::of(account, all_roles, &stored)).map(Arc::new))
            }
            None => Ok(None),
        })
    }

    fn known<T: Clone>(&self, shared: &Arc<Shared>, who: &Principal, at: fn(&mut Place) -> &mut Option<T>, read: impl FnOnce(&mut OpCx) -> Result<T>) -> Result<T> {
        if who.name.len() + who.db.len() > limits::KEPT_USER_BYTES {
            return read(&mut shared.op());
        }
        // Before the snapshot: who changes users commits first and raises the generation then.
        let generation = shared.users_generation();
        if let Some(place) = self.0.lock().place(generation, who)
            && let Some(known) = at(place)
        {
            return Ok(known.clone());
        }
        let found = read(&mut shared.op())?;
        if let Some(place) = self.0.lock().place(generation, who) {
            *at(place) = Some(found.clone());
        }
        Ok(found)
    }
}

impl Kept {
    /// The place of a name; none when users have changed again.
    fn place(&mut self, generation: u64, who: &Principal) -> Option<&mut Place> {
        if generation < self.generation {
            return None;
        }
        if generation > self.generation {
            self.names.clear();
            self.generation = generation;
        }
        self.ticks += 1;
        if self.names.len() >= limits::KEPT_USERS && !self.names.contains_key(who) {
            self.make_room();
        }
        let place = self.names.entry(who.clone()).or_default();
        place.used = self.ticks;
        Some(place)
    }

    /// Half of them go, those that were not asked for the longest.
    fn make_room(&mut self) {
        let mut used: Vec<u64> = self.names.values().map(|place| place.used).collect();
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        let median = *median;
        self.names.retain(|_, place| place.used > median);
    }
}

fn read(op: &mut OpCx, who: &Principal) -> Result<Option<Account>> {
    let found = principals::find(op, Kind::User, who)?;
    Ok(found.and_then(|doc| sensible(who, Account::parse(who, doc.as_doc()))))
}

/// What makes no sense is nobody, and the log says so.
fn sensible<T>(who: &Principal, read: Result<T>) -> Option<T> {
    read.inspect_err(|e| tracing::warn!(target: "smongo::access", "the user {} cannot log in: {}", Escaped(&who.to_string()), Escaped(e.message()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_not_asked_for_make_room() {
        let mut kept = Kept::default();
        let name = |n: usize| Principal::new(&n.to_string(), "d");
        for n in 0..3 * limits::KEPT_USERS {
            assert!(kept.place(1, &name(n)).is_some());
            assert!(kept.place(1, &name(0)).is_some_and(|place| place.used > 0));
            assert!(kept.names.len() <= limits::KEPT_USERS);
        }
        assert!(kept.names.contains_key(&name(0)));
        assert!(kept.place(0, &name(0)).is_none());
        assert!(kept.place(2, &name(5)).is_some());
        assert_eq!(kept.names.len(), 1);
    }

    #[test]
    fn sessions_are_known_by_the_hash_of_the_full_name() {
        let hex: String = uid(&Principal::new("ann", "test"))[..4].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex.len(), 8);
        assert_ne!(uid(&Principal::new("ann", "test")), uid(&Principal::new("ann", "test2")));
    }
}
