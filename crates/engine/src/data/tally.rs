//! What happened to documents, keys and cursors, for serverStatus.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Default)]
pub struct Tally {
    pub inserted: AtomicU64,
    pub updated: AtomicU64,
    pub deleted: AtomicU64,
    pub returned: AtomicU64,
    /// Keys and documents that queries looked at.
    pub keys: AtomicU64,
    pub documents: AtomicU64,
    pub write_conflicts: AtomicU64,
    pub ttl_passes: AtomicU64,
    pub ttl_deleted: AtomicU64,
}

impl Tally {
    /// A read by `_id` found so many documents.
    pub fn point_read(&self, found: u64) {
        for counter in [&self.returned, &self.keys, &self.documents] {
            add(counter, found);
        }
    }
}

pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
