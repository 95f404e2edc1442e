//! Keeping the oplog within its size: the oldest entries go, in small steps, and writers never wait for it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use smongo_bson::{Result, err};
use smongo_storage::{Begin, Durability, Store};

use super::images;
use crate::data::catalog::Catalog;
use crate::data::clock::now_millis;
use crate::data::database::Data;
use crate::data::limits;

/// Where the store remembers up to which timestamp entries were removed.
const TRIMMED: &[u8] = b"oplog_trimmed";

/// The newest timestamp whose entry was removed; zero if none ever was.
pub fn trimmed(store: &Store, catalog: &Catalog) -> Result<u64> {
    let mut session = store.session()?;
    Ok(catalog.meta(&mut session, TRIMMED)?.and_then(|b| b.first_chunk::<8>().copied()).map_or(0, u64::from_be_bytes))
}

/// Removes the oldest entries while the oplog holds more bytes than it may, and they are older than they must become.
pub fn trim(data: &Data) -> Result<()> {
    let size = &data.oplog_size;
    let limits = size.limits();
    // What one second brings is not worth a transaction.
    let slack = limits::OPLOG_TRIM_STEP.min(limits.bytes / 16);
    let stop = || if data.shutting_down() { Err(err!(InterruptedAtShutdown, "interrupted at shutdown")) } else { Ok(()) };
    let _alone = match size.alone(data, stop) {
        Err(_) if data.shutting_down() => return Ok(()),
        known => known?,
    };
    if size.excess() <= slack {
        return Ok(());
    }
    let begun = Instant::now();
    let end = retained(limits.retention_hours);
    while !data.shutting_down() && remove_step(data, end.as_ref().map(|key| &key[..]), size.excess())?.is_some() {
        size.steps.fetch_add(1, Ordering::Relaxed);
    }
    size.trim_micros.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
    Ok(())
}

/// The key from which on entries are too young to go.
fn retained(hours: f64) -> Option<[u8; 8]> {
    let oldest = (hours > 0.0).then(|| now_millis() / 1000 - (hours * 3600.0) as i64)?;
    Some((u64::from(u32::try_from(oldest).unwrap_or(0)) << 32).to_be_bytes())
}

/// Removes all entries but the newest `keep`. Returns how many went.
pub fn keep_newest(data: &Data, keep: u64, mut interrupt: impl FnMut() -> Result<()>) -> Result<u64> {
    let mut removed = 0;
    let alone = data.oplog_size.alone(data, &mut interrupt)?;
    if let Some(oldest) = nth_newest(data, keep, &mut interrupt)? {
        while let Some(step) = remove_step(data, Some(&oldest), u64::MAX)? {
            removed += step;
            interrupt()?;
        }
    }
    drop(alone);
    Ok(removed)
}

/// The key behind which, it included, there are `n` entries; `None` when there are not more than that.
fn nth_newest(data: &Data, n: u64, interrupt: &mut impl FnMut() -> Result<()>) -> Result<Option<Vec<u8>>> {
    let mut session = data.store.session()?;
    session.begin(Begin { read_only: true })?;
    let cursor = session.open(&data.oplog)?;
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

/// Removes some of the oldest entries, those before `end` only and no more bytes than `most`; how many, or `None` when there are
/// none.
fn remove_step(data: &Data, end: Option<&[u8]>, most: u64) -> Result<Option<u64>> {
    let mut session = data.store.session()?;
    session.begin(Begin::default())?;
    let cursor = session.open(&data.oplog)?;
    let (mut bytes, mut count, mut last) = (0u64, 0, Vec::new());
    while bytes < limits::OPLOG_TRIM_STEP && session.next(cursor)? && end.is_none_or(|end| session.key(cursor) < end) {
        let with_this = bytes + session.value(cursor).len() as u64;
        if with_this > most {
            break;
        }
        bytes = with_this;
        count += 1;
        last.clear();
        last.extend_from_slice(session.key(cursor));
    }
    session.release(cursor);
    if last.is_empty() {
        return Ok(None);
    }
    let ts = last.first_chunk::<8>().map_or(0, |k| u64::from_be_bytes(*k));
    data.set_oplog_trimmed(ts);
    data.catalog.save_meta(&mut session, TRIMMED, &last)?;
    session.truncate(&data.oplog, None, Some(&last))?;
    // The images of an entry go with it.
    session.truncate(&data.preimages, None, Some(&images::key(ts, u32::MAX)))?;
    session.commit(Durability::Lazy)?;
    data.oplog_size.add(-(count as i64), -(bytes as i64));
    Ok(Some(count))
}
