//! A number that only this database knows: of it come the salts of users who are not there. It lies in no collection, so that no
//! dump has it, and stays the same as long as the database.

use std::sync::{Arc, OnceLock};

use smongo_bson::Result;
use smongo_storage::{Begin, Durability};

use super::principals::Principal;
use super::scram::{Mechanism, keyed_hash, random};
use crate::service::shared::Shared;

/// Its name in the table `meta`.
const NAME: &[u8] = b"auth_secret";

#[derive(Default)]
pub struct Secret(OnceLock<[u8; 32]>);

impl Secret {
    /// Reads it, or makes it when the database has none, as the database is opened.
    pub fn load(shared: &Arc<Shared>) -> Result<()> {
        let mut session = shared.store.session()?;
        let known = shared.catalog.meta(&mut session, NAME)?.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let secret = match known {
            Some(secret) => secret,
            None => {
                let mut secret = [0; 32];
                random(&mut secret)?;
                session.begin(Begin::default())?;
                shared.catalog.save_meta(&mut session, NAME, &secret)?;
                session.commit(Durability::Lazy)?;
                secret
            }
        };
        let _ = shared.secret.0.set(secret);
        Ok(())
    }

    /// The salt of a user who is not there: the same each time, as if there were one. As long as any mechanism's.
    pub fn salt(&self, mechanism: Mechanism, who: &Principal) -> Vec<u8> {
        let secret = self.0.get().copied().unwrap_or_default();
        keyed_hash(&secret, format!("{}\0{}\0{}", mechanism.name(), who.db, who.name).as_bytes())
    }
}
