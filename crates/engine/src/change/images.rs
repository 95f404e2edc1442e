//! Pre-images: documents as they were before a change, for collections that keep them (`changeStreamPreAndPostImages`).
//!
//! An image is written in the transaction of its change, under the timestamp of the oplog entry and the position of the operation in it,
//! and goes when the entry goes.

use smongo_bson::{Doc, DocBuf, Result};
use smongo_storage::{Begin, Durability, Session};

use super::token::Position;
use crate::clock::now_millis;
use crate::op::OpCx;
use crate::shared::Shared;

pub fn key(ts: u64, op: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&ts.to_be_bytes());
    key[8..].copy_from_slice(&op.to_be_bytes());
    key
}

pub fn write(shared: &Shared, session: &mut Session, ts: u64, op: u32, image: Doc<'_>) -> Result<()> {
    session.insert(&shared.preimages, &key(ts, op), image.as_bytes())?;
    Ok(())
}

/// Removes images older than `changeStreamOptions.preAndPostImages.expireAfterSeconds`.
pub fn expire(shared: &Shared) -> Result<()> {
    let Some(lifetime) = shared.cluster_parameters.image_lifetime() else { return Ok(()) };
    let oldest = (now_millis() / 1000).saturating_sub_unsigned(lifetime.as_secs());
    let Ok(oldest) = u32::try_from(oldest) else { return Ok(()) };
    let last = key(u64::from(oldest) << 32, 0);
    let mut session = shared.store.session()?;
    session.begin(Begin::default())?;
    let cursor = session.open(&shared.preimages)?;
    let any = session.next(cursor)? && session.key(cursor) < &last[..];
    session.release(cursor);
    if any {
        session.truncate(&shared.preimages, None, Some(&last))?;
        session.commit(Durability::Lazy)?;
    }
    Ok(())
}

pub(super) fn read(op: &mut OpCx, at: Position) -> Result<Option<DocBuf>> {
    let shared = op.shared.clone();
    let found = op.store()?.get(&shared.preimages, &key(at.ts, at.op))?;
    Ok(found.map(|bytes| DocBuf::from_checked(bytes.to_vec())))
}
