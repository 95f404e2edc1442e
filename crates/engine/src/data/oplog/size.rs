//! How much the oplog holds, and how much it may.
//!
//! Entries and their bytes are counted with the commits that write them, and kept with the counts of collections at a clean close.
//! After a crash nobody knows them: the maintenance thread counts the entries that were there when the database was opened, and
//! until it has, nothing is trimmed. So a restart, clean or not, removes nothing that is within the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use smongo_bson::{DocBuf, Result, number};
use smongo_storage::{Begin, Durability, Store};

use crate::data::catalog::{Catalog, State};
use crate::data::database::Data;
use crate::data::limits;
use crate::data::options::Options;

/// Where the store remembers the limits.
const LIMITS: &[u8] = b"oplog_limits";
/// Bytes of entries that are counted in one snapshot.
const COUNT_STEP: i64 = 4 << 20;

/// What the oplog may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub bytes: u64,
    /// Entries that are younger stay, whatever the size.
    pub retention_hours: f64,
}

impl Limits {
    fn stored(store: &Store, catalog: &Catalog) -> Result<Option<Limits>> {
        let mut session = store.session()?;
        let Some(bytes) = catalog.meta(&mut session, LIMITS)? else { return Ok(None) };
        let doc = DocBuf::from_checked(bytes);
        let size = number::to_i64_exact(doc.get("size")).and_then(|n| u64::try_from(n).ok());
        let hours = number::to_f64(doc.get("minRetentionHours")).unwrap_or(0.0);
        Ok(size.map(|bytes| Limits { bytes, retention_hours: hours }))
    }

    fn save(&self, store: &Store, catalog: &Catalog) -> Result<()> {
        let doc = DocBuf::build(|w| {
            w.append("size", self.bytes as i64).append("minRetentionHours", self.retention_hours);
        });
        let mut session = store.session()?;
        session.begin(Begin::default())?;
        catalog.save_meta(&mut session, LIMITS, doc.as_bytes())?;
        Ok(session.commit(Durability::Durable)?)
    }
}

/// The oplog's size and its limits.
pub struct Size {
    /// Entries and bytes of what has committed; those of the collection `local.oplog.rs`.
    state: Arc<State>,
    limits: Mutex<Limits>,
    /// Held by what counts or removes entries.
    alone: Mutex<()>,
    /// What trimming has done since the database was opened, for serverStatus.
    pub steps: AtomicU64,
    pub trim_micros: AtomicU64,
    pub count_micros: AtomicU64,
}

impl Size {
    /// Reads the limits. The size of the options is that of a new oplog: one that exists keeps its own, as in MongoDB.
    pub fn open(store: &Store, catalog: &Catalog, options: &Options) -> Result<Size> {
        let stored = Limits::stored(store, catalog)?;
        let usual = if store.path().is_some() { limits::OPLOG_BYTES } else { limits::OPLOG_BYTES_IN_MEMORY };
        let mut now = stored.unwrap_or(Limits { bytes: options.oplog_bytes.unwrap_or(usual), retention_hours: 0.0 });
        now.retention_hours = options.oplog_retention_hours.unwrap_or(now.retention_hours);
        if stored != Some(now) {
            now.save(store, catalog)?;
        }
        Ok(Size {
            state: catalog.oplog_state().clone(),
            limits: Mutex::new(now),
            alone: Mutex::default(),
            steps: AtomicU64::new(0),
            trim_micros: AtomicU64::new(0),
            count_micros: AtomicU64::new(0),
        })
    }

    pub fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Adds what a transaction wrote, or takes away what was removed, after its commit.
    pub fn add(&self, entries: i64, bytes: i64) {
        self.state.add(entries, bytes);
    }

    /// Bytes beyond the limit.
    pub fn excess(&self) -> u64 {
        let held = self.state.bytes.load(Ordering::Relaxed).max(0) as u64;
        held.saturating_sub(self.limits().bytes)
    }

    /// Keeps others from removing entries, once it is known how many there are. `interrupt` may end the counting.
    pub(super) fn alone(&self, data: &Data, interrupt: impl FnMut() -> Result<()>) -> Result<parking_lot::MutexGuard<'_, ()>> {
        let guard = self.alone.lock();
        if self.state.known_documents().is_none() {
            let begun = Instant::now();
            let (entries, bytes) = count_old(data, interrupt)?;
            self.state.add(entries - State::UNKNOWN, bytes);
            self.count_micros.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        Ok(guard)
    }
}

/// Makes the oplog's size known.
pub fn count(data: &Data, interrupt: impl FnMut() -> Result<()>) -> Result<()> {
    data.oplog_size.alone(data, interrupt).map(|_| ())
}

/// Changes the limits, on disk first. What is too much goes with the next turn of the maintenance thread.
pub fn resize(data: &Data, change: impl FnOnce(&mut Limits)) -> Result<()> {
    let mut limits = data.oplog_size.limits.lock();
    let mut wanted = *limits;
    change(&mut wanted);
    if wanted != *limits {
        wanted.save(&data.store, &data.catalog)?;
        *limits = wanted;
        data.catalog.publish_oplog(&data.oplog, wanted.bytes)?;
    }
    Ok(())
}

/// Entries that were there when the database was opened, and their bytes. New ones have later timestamps and count themselves.
fn count_old(data: &Data, mut interrupt: impl FnMut() -> Result<()>) -> Result<(i64, i64)> {
    let (mut entries, mut bytes) = (0, 0);
    let mut from = Some(0u64);
    while let Some(start) = from.take() {
        interrupt()?;
        let mut session = data.store.session()?;
        session.begin(Begin { read_only: true })?;
        let cursor = session.open(&data.oplog)?;
        let mut more = session.seek_ge(cursor, &start.to_be_bytes())?;
        let enough = bytes + COUNT_STEP;
        while more {
            let at = session.key(cursor).first_chunk::<8>().map_or(u64::MAX, |key| u64::from_be_bytes(*key));
            if at > data.opened_at() {
                break;
            }
            if bytes >= enough {
                from = Some(at);
                break;
            }
            entries += 1;
            bytes += session.value(cursor).len() as i64;
            more = session.next(cursor)?;
        }
    }
    Ok((entries, bytes))
}
