//! Repairing: tables of documents that no entry of the catalog names get one, in the database `local`.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result};
use smongo_storage::{Begin, Durability, Session};
use uuid::Uuid;

use super::{Catalog, IdIndex, State};
use super::ddl::id_spec;
use super::persist::{define, number_of};
use crate::data::keys::record_id;
use crate::data::namespace::Ns;

impl Catalog {
    /// Makes collections of documents' tables; empty ones go. Their indexes on `_id` are empty until they are built anew.
    pub(super) fn adopt(&mut self, session: &mut Session, names: &[&String]) -> Result<()> {
        for name in names {
            let Some(table) = self.store.table(name)? else { continue };
            let Some(last) = session.largest_key(&table)? else {
                self.doom(std::iter::once(table));
                continue;
            };
            let ns = Ns::unchecked("local", &format!("orphan.{name}"));
            let index = self.make_index(id_spec(smongo_bson::Doc::EMPTY, IdIndex::default()))?;
            let state = State::new(record_id(&last), State::UNKNOWN, 0);
            let coll = define(ns.clone(), Uuid::new_v4(), DocBuf::new(), Some((number_of(name), table)), vec![Arc::new(index)], Vec::new(), Arc::new(state))?;
            session.begin(Begin::default())?;
            self.save(session, &coll)?;
            session.commit(Durability::Durable)?;
            self.publish(Arc::new(coll));
            self.adopted.push(ns);
        }
        Ok(())
    }
}
