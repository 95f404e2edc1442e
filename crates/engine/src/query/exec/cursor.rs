//! A storage cursor that a node of a plan holds while it runs.

use smongo_bson::{Result, bail};
use smongo_storage::{CursorId, Table};

use crate::data::op::{Litter, OpCx};

/// Opened when first needed, given back when the stream is parked, at its end, or dropped.
#[derive(Default)]
pub struct Held {
    open: Option<(CursorId, Litter)>,
}

impl Held {
    /// The cursor, if it is open.
    #[inline]
    pub fn get(&self) -> Option<CursorId> {
        self.open.as_ref().map(|(id, _)| *id)
    }

    pub fn open(&mut self, op: &mut OpCx, table: &Table) -> Result<CursorId> {
        if let Some(id) = self.get() {
            return Ok(id);
        }
        let litter = op.litter();
        let left: Vec<CursorId> = std::mem::take(&mut *litter.lock());
        let store = op.store()?;
        left.into_iter().for_each(|id| store.release(id));
        let id = store.open(table)?;
        self.open = Some((id, litter));
        Ok(id)
    }

    pub fn release(&mut self, op: &mut OpCx) {
        if let Some((id, _)) = self.open.take()
            && let Ok(store) = op.store()
        {
            store.release(id);
        }
    }

    pub fn require(&self) -> Result<CursorId> {
        match self.get() {
            Some(id) => Ok(id),
            None => bail!(InternalError, "a scan without cursor"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((id, litter)) = self.open.take() {
            litter.lock().push(id);
        }
    }
}
