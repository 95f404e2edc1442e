//! Pre-images: documents as they were before a change, for collections that keep them (`changeStreamPreAndPostImages`).
//!
//! An image is written in the transaction of its change, under the timestamp of the oplog entry and the position of the operation in it,
//! and goes when the entry goes.

use smongo_bson::{Doc, DocBuf, Result};
use smongo_storage::Session;

use super::token::Position;
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

pub(super) fn read(op: &mut OpCx, at: Position) -> Result<Option<DocBuf>> {
    let shared = op.shared.clone();
    let found = op.store()?.get(&shared.preimages, &key(at.ts, at.op))?;
    Ok(found.map(|bytes| DocBuf::from_checked(bytes.to_vec())))
}
