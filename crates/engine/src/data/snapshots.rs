//! Snapshots that stay readable for a while: what `readConcern: snapshot` reads outside of transactions.
//!
//! The storage keeps no history by time, but a transaction of it reads one snapshot for as long as it is open. A snapshot read
//! that names no time opens one and leaves it here under the time it is of; later batches and later reads that name this time
//! read the very same. A time is served by any snapshot with no oplog entry between the two. They go when they are older than
//! `minSnapshotHistoryWindowInSeconds`, when there are too many, or when so much was written since that keeping the old versions
//! costs too much; but not while a transaction of that time is open. Such a transaction reads the shared snapshot from command to
//! command until it writes: from then on the snapshot is its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smongo_bson::{Result, Timestamp, bail};
use smongo_storage::{Begin, Session};

use crate::data::catalog::Collections;
use crate::data::database::Data;
use crate::data::limits;

#[derive(Default)]
pub struct Snapshots {
    kept: Mutex<Vec<Kept>>,
    returned: Condvar,
}

/// A snapshot, and who reads it.
struct Kept {
    /// It holds every change up to this time, and none after it.
    at: u64,
    /// `None` while an operation reads it.
    session: Option<Session>,
    catalog: Arc<Collections>,
    generation: u64,
    taken: Instant,
    used: Instant,
    /// Bytes of oplog entries that had been written when it was taken.
    written: u64,
    pin: Pin,
}

/// Keeps a snapshot for a transaction that will read it again.
pub type Pin = Arc<()>;

impl Kept {
    /// Nobody reads it, and nobody will come back to it.
    fn is_free(&self) -> bool {
        self.session.is_some() && Arc::strong_count(&self.pin) == 1
    }
}

/// A snapshot that an operation reads; to be given back.
pub struct Snapshot {
    pub at: Timestamp,
    pub session: Session,
    /// What existed at that time.
    pub catalog: Arc<Collections>,
    pub generation: u64,
    pub pin: Pin,
}

impl Snapshots {
    /// A snapshot of the present, left here for later readers.
    pub fn take(&self, data: &Data, interrupt: impl Fn() -> Result<()>) -> Result<Snapshot> {
        // While nothing is written, the newest snapshot is of the present.
        if let Some(last) = data.clock.last_settled()
            && let Some(found) = self.check_out(last.to_u64(), &interrupt)?
        {
            return Ok(found);
        }
        let mut session = data.store.session()?;
        let (generation, catalog) = (data.catalog.generation(), data.catalog.snapshot());
        // For writing, too: it may become a transaction's own.
        session.begin(Begin::default())?;
        // The storage's snapshot begins with the first read.
        let (at, read) = data.clock.settled(|| session.get(&data.oplog, &[0; 8]).map(|_| ()));
        read?;
        let now = Instant::now();
        let written = data.oplog_written.load(Ordering::Relaxed);
        let mut kept = self.kept.lock();
        while kept.len() >= limits::KEPT_SNAPSHOTS {
            let oldest = (0..kept.len()).filter(|n| kept[*n].is_free()).min_by_key(|n| kept[*n].used);
            match oldest {
                Some(n) => drop(kept.swap_remove(n)),
                None => break,
            }
        }
        let pin = Pin::default();
        if !kept.iter().any(|k| k.at == at.to_u64()) {
            kept.push(Kept { at: at.to_u64(), session: None, catalog: catalog.clone(), generation, taken: now, used: now, written, pin: pin.clone() });
        }
        Ok(Snapshot { at, session, catalog, generation, pin })
    }

    /// A snapshot that reads as the database was at a time; SnapshotTooOld when there is none any more.
    pub fn of(&self, data: &Data, at: Timestamp, interrupt: impl Fn() -> Result<()>) -> Result<Snapshot> {
        if let Some(found) = self.check_out(at.to_u64(), &interrupt)? {
            return Ok(found);
        }
        for near in self.neighbours(at.to_u64()) {
            if unchanged(data, near, at.to_u64())?
                && let Some(found) = self.check_out(near, &interrupt)?
            {
                return Ok(found);
            }
        }
        let present = self.take(data, interrupt)?;
        if unchanged(data, at.to_u64(), present.at.to_u64())? {
            return Ok(present);
        }
        self.give_back(present);
        bail!(SnapshotTooOld, "Read timestamp Timestamp({}, {}) is older than the oldest available timestamp.", at.time, at.increment)
    }

    /// The times of the snapshots next to a time, before and after it.
    fn neighbours(&self, at: u64) -> Vec<u64> {
        let kept = self.kept.lock();
        let before = kept.iter().map(|k| k.at).filter(|k| *k < at).max();
        let after = kept.iter().map(|k| k.at).filter(|k| *k > at).min();
        before.into_iter().chain(after).collect()
    }

    /// Takes the snapshot of exactly this time; waits while another operation reads it.
    fn check_out(&self, at: u64, interrupt: &impl Fn() -> Result<()>) -> Result<Option<Snapshot>> {
        let mut kept = self.kept.lock();
        loop {
            let Some(found) = kept.iter_mut().find(|k| k.at == at) else { return Ok(None) };
            if let Some(session) = found.session.take() {
                found.used = Instant::now();
                let (catalog, generation, pin) = (found.catalog.clone(), found.generation, found.pin.clone());
                return Ok(Some(Snapshot { at: Timestamp::from_u64(at), session, catalog, generation, pin }));
            }
            self.returned.wait_for(&mut kept, limits::LOCK_POLL);
            interrupt()?;
        }
    }

    pub fn give_back(&self, snapshot: Snapshot) {
        let Snapshot { at, mut session, .. } = snapshot;
        let usable = session.release_all().is_ok();
        let mut kept = self.kept.lock();
        if let Some(n) = kept.iter().position(|k| k.at == at.to_u64() && k.session.is_none()) {
            if usable {
                kept[n].session = Some(session);
            } else {
                kept.swap_remove(n);
            }
        }
        drop(kept);
        self.returned.notify_all();
    }

    /// Leaves the snapshot of this time to the transaction that reads it just now and is about to write.
    pub fn forget(&self, at: Timestamp) {
        self.kept.lock().retain(|k| k.at != at.to_u64() || k.session.is_some());
        self.returned.notify_all();
    }

    /// Lets go of snapshots that are older than `window` or cost too much.
    pub fn expire(&self, data: &Data, window: Duration) {
        let written = data.oplog_written.load(Ordering::Relaxed);
        let limit = data.options.snapshot_bytes();
        let fresh = |k: &Kept| k.taken.elapsed() < window && written.saturating_sub(k.written) < limit;
        self.kept.lock().retain(|k| !k.is_free() || fresh(k));
    }

    /// Lets go of all that nobody reads just now.
    pub fn clear(&self) {
        self.kept.lock().retain(|k| k.session.is_none());
    }
}

/// Whether no entry of the oplog lies between two times: behind the earlier one, up to the later one.
fn unchanged(data: &Data, a: u64, b: u64) -> Result<bool> {
    let (earlier, later) = (a.min(b), a.max(b));
    if earlier < data.oplog_trimmed() {
        return Ok(false);
    }
    let mut session = data.store.session()?;
    session.begin(Begin { read_only: true })?;
    let cursor = session.open(&data.oplog)?;
    let found = session.seek_ge(cursor, &(earlier + 1).to_be_bytes())?;
    let next = session.key(cursor).first_chunk::<8>().filter(|_| found).map(|k| u64::from_be_bytes(*k));
    Ok(next.is_none_or(|next| next > later))
}
