//! The lock of `fsync: {lock: true}`: no write begins while it is held, and it is taken only between transactions that write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::lock_api::{ArcRwLockReadGuard, ArcRwLockWriteGuard};
use parking_lot::{Mutex, RawRwLock, RwLock};
use smongo_bson::{Result, bail};

use crate::data::limits;

/// A transaction that writes holds this until it ends.
pub type WriteGuard = ArcRwLockReadGuard<RawRwLock, ()>;

#[derive(Default)]
pub struct FsyncLock {
    gate: Arc<RwLock<()>>,
    held: Mutex<Held>,
    locked: AtomicBool,
}

/// How often the lock was taken and not given back.
#[derive(Default)]
struct Held {
    count: i64,
    guard: Option<ArcRwLockWriteGuard<RawRwLock, ()>>,
}

impl FsyncLock {
    /// Takes the lock once more; returns how often it is held now.
    pub fn lock(&self, timeout: Duration, mut interrupt: impl FnMut() -> Result<()>) -> Result<i64> {
        let until = Instant::now() + timeout;
        let mut held = self.held.lock();
        while held.guard.is_none() {
            held.guard = self.gate.try_write_arc_for(limits::LOCK_POLL);
            interrupt()?;
            if held.guard.is_none() && Instant::now() >= until {
                bail!(LockTimeout, "the fsync lock could not be taken within {} ms", timeout.as_millis());
            }
        }
        held.count += 1;
        self.locked.store(true, Ordering::Relaxed);
        Ok(held.count)
    }

    /// Gives the lock back once; returns how often it is still held.
    pub fn unlock(&self) -> Result<i64> {
        let mut held = self.held.lock();
        if held.count == 0 {
            bail!(IllegalOperation, "fsyncUnlock called when not locked");
        }
        held.count -= 1;
        if held.count == 0 {
            held.guard = None;
            self.locked.store(false, Ordering::Relaxed);
        }
        Ok(held.count)
    }

    /// Keeps writers out for good, at the end of a database; whether none is in any more.
    pub fn keep_out(&self, patience: Duration) -> bool {
        let mut held = self.held.lock();
        if held.guard.is_none() {
            held.guard = self.gate.try_write_arc_for(patience);
        }
        held.guard.is_some()
    }

    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }

    /// What a transaction takes before it writes; `None` when the lock is held.
    pub fn enter(&self, wait: Duration) -> Option<WriteGuard> {
        self.gate.try_read_arc().or_else(|| self.gate.try_read_arc_for(wait))
    }
}
