//! Keeping the oplog within its size: the oldest entries go, in small steps, and writers never wait for it.

use std::sync::atomic::Ordering;

use smongo_bson::Result;
use smongo_storage::{Begin, Durability, Store};

use crate::catalog::Catalog;
use crate::change::images;
use crate::limits;
use crate::shared::Shared;

/// Where the store remembers up to which timestamp entries were removed.
const TRIMMED: &[u8] = b"oplog_trimmed";

/// The newest timestamp whose entry was removed; zero if none ever was.
pub fn trimmed(store: &Store, catalog: &Catalog) -> Result<u64> {
    let mut session = store.session()?;
    Ok(catalog.meta(&mut session, TRIMMED)?.and_then(|b| b.first_chunk::<8>().copied()).map_or(0, u64::from_be_bytes))
}

/// Removes the oldest entries while the oplog holds more bytes than it may.
pub fn trim(shared: &Shared) -> Result<()> {
    let limit = if shared.store.path().is_some() { limits::OPLOG_BYTES } else { limits::OPLOG_BYTES_IN_MEMORY };
    while shared.oplog_bytes.load(Ordering::Relaxed) > limit && !shared.shutting_down() {
        if !step(shared)? {
            break;
        }
    }
    Ok(())
}

/// Removes all entries but the newest `keep`, and gives the room back to the file system. Returns how many went.
pub fn keep_newest(shared: &Shared, keep: u64, mut interrupt: impl FnMut() -> Result<()>) -> Result<u64> {
    let mut removed = 0;
    if let Some(oldest) = nth_newest(shared, keep, &mut interrupt)? {
        while let Some(step) = remove_step(shared, Some(&oldest))? {
            removed += step;
            interrupt()?;
        }
    }
    shared.store.compact(&shared.oplog)?;
    Ok(removed)
}

/// The key behind which, it included, there are `n` entries; `None` when there are not more than that.
fn nth_newest(shared: &Shared, n: u64, interrupt: &mut impl FnMut() -> Result<()>) -> Result<Option<Vec<u8>>> {
    let mut session = shared.store.session()?;
    session.begin(Begin { read_only: true })?;
    let cursor = session.open(&shared.oplog)?;
    let mut key = u64::MAX.to_be_bytes().to_vec();
    for seen in 0..n {
        if !session.prev(cursor)? {
            return Ok(None);
        }
        key.clear();
        key.extend_from_slice(session.key(cursor));
        if seen.is_multiple_of(4096) {
            interrupt()?;
        }
    }
    Ok(Some(key))
}

/// Removes some of the oldest entries; `false` when there are none.
fn step(shared: &Shared) -> Result<bool> {
    if remove_step(shared, None)?.is_some() {
        return Ok(true);
    }
    // Nothing to remove: the estimate was too high.
    shared.oplog_bytes.store(0, Ordering::Relaxed);
    Ok(false)
}

/// Removes some of the oldest entries, those before `end` only; how many, or `None` when there are none.
fn remove_step(shared: &Shared, end: Option<&[u8]>) -> Result<Option<u64>> {
    let mut session = shared.store.session()?;
    session.begin(Begin::default())?;
    let cursor = session.open(&shared.oplog)?;
    let (mut bytes, mut count, mut last) = (0u64, 0, Vec::new());
    while bytes < limits::OPLOG_TRIM_STEP && session.next(cursor)? && end.is_none_or(|end| session.key(cursor) < end) {
        bytes += session.value(cursor).len() as u64;
        count += 1;
        last.clear();
        last.extend_from_slice(session.key(cursor));
    }
    session.release(cursor);
    if last.is_empty() {
        return Ok(None);
    }
    let ts = last.first_chunk::<8>().map_or(0, |k| u64::from_be_bytes(*k));
    shared.set_oplog_trimmed(ts);
    shared.catalog.save_meta(&mut session, TRIMMED, &last)?;
    session.truncate(&shared.oplog, None, Some(&last))?;
    // The images of an entry go with it.
    session.truncate(&shared.preimages, None, Some(&images::key(ts, u32::MAX)))?;
    session.commit(Durability::Lazy)?;
    let before = shared.oplog_bytes.load(Ordering::Relaxed);
    shared.oplog_bytes.fetch_sub(bytes.min(before), Ordering::Relaxed);
    Ok(Some(count))
}
