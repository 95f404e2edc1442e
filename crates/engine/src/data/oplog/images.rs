//! Pre-images: documents as they were before a change, for collections that keep them (`changeStreamPreAndPostImages`).
//!
//! An image is written in the transaction of its change, under the timestamp of the oplog entry and the position of the operation in it,
//! and goes when the entry goes.

use std::time::Duration;

use smongo_bson::{Doc, DocBuf, Result};
use smongo_storage::{Begin, Durability, Session};

use crate::data::clock::now_millis;
use crate::data::database::Data;
use crate::data::op::OpCx;

pub fn key(ts: u64, op: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&ts.to_be_bytes());
    key[8..].copy_from_slice(&op.to_be_bytes());
    key
}

pub fn write(data: &Data, session: &mut Session, ts: u64, op: u32, image: Doc<'_>) -> Result<()> {
    session.insert(&data.preimages, &key(ts, op), image.as_bytes())?;
    Ok(())
}

/// Removes images that are older than their lifetime.
pub fn expire(data: &Data, lifetime: Duration) -> Result<()> {
    let oldest = (now_millis() / 1000).saturating_sub_unsigned(lifetime.as_secs());
    let Ok(oldest) = u32::try_from(oldest) else { return Ok(()) };
    let last = key(u64::from(oldest) << 32, 0);
    let mut session = data.store.session()?;
    session.begin(Begin::default())?;
    let cursor = session.open(&data.preimages)?;
    let any = session.next(cursor)? && session.key(cursor) < &last[..];
    session.release(cursor);
    if any {
        session.truncate(&data.preimages, None, Some(&last))?;
        session.commit(Durability::Lazy)?;
    }
    Ok(())
}

/// The image of an operation: a timestamp, and the position in its entry.
pub fn read(cx: &mut OpCx, ts: u64, op: u32) -> Result<Option<DocBuf>> {
    let data = cx.data.clone();
    let found = cx.store()?.get(&data.preimages, &key(ts, op))?;
    Ok(found.map(|bytes| DocBuf::from_checked(bytes.to_vec())))
}
