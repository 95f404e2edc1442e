//! Server parameters that the floors of data and queries read. They are set above.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::data::limits;

pub struct Tuning {
    /// `notablescan`.
    pub no_table_scan: AtomicBool,
    /// `maxTransactionLockRequestTimeoutMillis`.
    pub lock_wait_ms: AtomicI64,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { no_table_scan: false.into(), lock_wait_ms: (limits::TRANSACTION_LOCK_WAIT.as_millis() as i64).into() }
    }
}

impl Tuning {
    /// Queries that would read whole collections are refused.
    pub fn no_table_scan(&self) -> bool {
        self.no_table_scan.load(Ordering::Relaxed)
    }

    /// How long a transaction waits for a lock that another operation holds; negative is for as long as it takes.
    pub fn transaction_lock_wait(&self) -> Option<Duration> {
        u64::try_from(self.lock_wait_ms.load(Ordering::Relaxed)).ok().map(Duration::from_millis)
    }
}
