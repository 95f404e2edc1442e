//! Every table of the store and the layout of its keys.
//!
//! | table | key | value |
//! |---|---|---|
//! | `catalog` | namespace | the collection's entry (BSON) |
//! | `oplog` | timestamp, 8 bytes big-endian | the entry (BSON) |
//! | `meta` | name | BSON |
//! | `preimages` | timestamp of the oplog entry, position of the operation in it (4 bytes) | the document before the change |
//! | `sessions` | see [`session_key`] | what a statement of a retryable write answered, or that a transaction committed (BSON) |
//! | `cN` | record id, 8 bytes big-endian | the document |
//! | `iN`, not unique | key string, record id | type bits |
//! | `iN`, unique | key string | record id, type bits |
//!
//! The values in a key string are those at the index's paths, but for wildcard indexes (path, value), `2d` and `2dsphere` (a cell's
//! number) and text (term, score): see `catalog/special.rs`.
//!
//! `N` is the id the catalog gave the collection or index; ids are never used again.

pub const CATALOG: &str = "catalog";
pub const OPLOG: &str = "oplog";
pub const META: &str = "meta";
pub const PREIMAGES: &str = "preimages";
pub const SESSIONS: &str = "sessions";

/// The statement number under which a committed transaction is remembered.
pub const COMMIT_STATEMENT: i32 = -1;

/// A session's id (16 bytes), the hash of its user (0, or 1 and 32 bytes), the number of the statement (4 bytes).
pub fn session_key(id: &[u8; 16], user: Option<&[u8; 32]>, statement: i32) -> Vec<u8> {
    let mut key = session_prefix(id, user);
    key.extend_from_slice(&statement.to_be_bytes());
    key
}

/// What all keys of a session begin with.
pub fn session_prefix(id: &[u8; 16], user: Option<&[u8; 32]>) -> Vec<u8> {
    let mut key = Vec::with_capacity(53);
    key.extend_from_slice(id);
    match user {
        None => key.push(0),
        Some(user) => {
            key.push(1);
            key.extend_from_slice(user);
        }
    }
    key
}

/// The position of a document in its collection; grows with insertion.
pub type RecordId = i64;

pub fn records_table(id: u64) -> String {
    format!("c{id}")
}

pub fn index_table(id: u64) -> String {
    format!("i{id}")
}

/// Record ids are positive, so their big-endian bytes sort as they do.
#[inline]
pub fn record_key(id: RecordId) -> [u8; 8] {
    id.to_be_bytes()
}

#[inline]
pub fn record_id(key: &[u8]) -> RecordId {
    key.first_chunk::<8>().map_or(0, |b| i64::from_be_bytes(*b))
}

/// The record id at the end of an entry's key in an index that is not unique.
#[inline]
pub fn trailing_record_id(key: &[u8]) -> RecordId {
    key.last_chunk::<8>().map_or(0, |b| i64::from_be_bytes(*b))
}
