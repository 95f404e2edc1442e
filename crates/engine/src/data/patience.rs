//! How long somebody waits for a lock.

use std::time::{Duration, Instant};

use smongo_bson::{Result, err};

use crate::data::limits;

/// Waiting for a lock, in steps between which somebody looks up.
pub struct Patience {
    limit: Option<Duration>,
    until: Option<Instant>,
}

impl Patience {
    pub fn new(limit: Option<Duration>) -> Patience {
        Patience { limit, until: limit.map(|limit| Instant::now() + limit) }
    }

    pub fn at_most(self, most: Option<Duration>) -> Patience {
        match (self.limit, most) {
            (Some(limit), Some(most)) if limit <= most => self,
            (_, Some(most)) => Patience { limit: Some(most), until: Some(Instant::now() + most) },
            (_, None) => self,
        }
    }

    /// How long to wait before looking up.
    pub fn step(&mut self) -> Duration {
        self.until.map_or(limits::LOCK_POLL, |until| until.saturating_duration_since(Instant::now()).min(limits::LOCK_POLL))
    }

    /// Fails when it is over.
    pub fn check(&self, lock: &str) -> Result<()> {
        match (self.until, self.limit) {
            (Some(until), Some(limit)) if Instant::now() >= until => {
                Err(err!(LockTimeout, "Unable to acquire lock on '{lock}' within {}ms", limit.as_millis()).with_label("TransientTransactionError"))
            }
            _ => Ok(()),
        }
    }
}
