//! Repair: indexes made anew from the records.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smongo_bson::Result;
use smongo_bson::index_keys::Multikey;
use smongo_storage::TableKind;

use super::ddl::build;
use super::{Catalog, Index};
use crate::keys::index_table;
use crate::namespace::Ns;
use crate::op::OpCx;

impl Catalog {
    /// Builds the named indexes again and puts them in place of what there is. All of them or none; for clients nothing
    /// has changed, so the oplog does not tell.
    pub fn rebuild_indexes(&self, op: &mut OpCx, ns: &Ns, names: &[String]) -> Result<()> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        let _alone = self.exclusive(op, &coll)?;
        let mut indexes = coll.indexes.clone();
        let (mut fresh, mut old) = (Vec::new(), Vec::new());
        for place in indexes.iter_mut().filter(|i| names.contains(&i.name)) {
            let id = self.new_id();
            let table = self.store.create_table(&index_table(id), TableKind::Index)?;
            let index = Arc::new(Index::from_spec(id, place.spec.clone(), table, Multikey::default())?);
            fresh.push(index.clone());
            if let Err(e) = build(op, &coll, &index) {
                self.doom(fresh.iter().map(|i| i.table.clone()));
                return Err(e);
            }
            old.push(std::mem::replace(place, index).table.clone());
        }
        let changed = Arc::new(coll.with_indexes(indexes));
        self.change(op, |op| self.save(op.store()?, &changed))?;
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        fresh.iter().for_each(|index| index.completed(generation));
        self.publish(changed);
        self.doom(old.into_iter());
        Ok(())
    }
}
