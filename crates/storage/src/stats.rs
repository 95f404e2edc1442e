//! Figures of a store and of a table.

/// Figures of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes.
    pub cache_max: u64,
    /// Bytes.
    pub cache_used: u64,
    /// Bytes in the cache not yet written to the tables' files.
    pub cache_dirty: u64,
    /// Bytes read from the tables' files into the cache.
    pub cache_read: u64,
    /// Bytes written from the cache to the tables' files.
    pub cache_written: u64,
    /// Bytes.
    pub log_written: u64,
    pub log_syncs: u64,
    /// Microseconds.
    pub log_sync_time: u64,
    pub transactions_begun: u64,
    pub transactions_committed: u64,
    pub transactions_rolled_back: u64,
    pub checkpoints: u64,
    pub open_sessions: u64,
    pub open_cursors: u64,
}

/// Figures of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Bytes of the file, free blocks included; 0 in memory.
    pub file_bytes: u64,
    /// Bytes of the file that the next writes can use again.
    pub reusable_bytes: u64,
}

/// How a figure is called in the library's statistics, and where it goes.
type Row = (&'static str, fn(&mut Stats) -> &mut u64);

const ROWS: &[Row] = &[
    ("cache: bytes currently in the cache", |s| &mut s.cache_used),
    ("cache: bytes read into cache", |s| &mut s.cache_read),
    ("cache: bytes written from cache", |s| &mut s.cache_written),
    ("cache: maximum bytes configured", |s| &mut s.cache_max),
    ("cache: tracked dirty bytes in the cache", |s| &mut s.cache_dirty),
    ("checkpoint: total succeed number of checkpoints", |s| &mut s.checkpoints),
    ("log: log bytes written", |s| &mut s.log_written),
    ("log: log sync operations", |s| &mut s.log_syncs),
    ("log: log sync time duration (usecs)", |s| &mut s.log_sync_time),
    ("session: open cursor count", |s| &mut s.open_cursors),
    ("session: open session count", |s| &mut s.open_sessions),
    ("transaction: transaction begins", |s| &mut s.transactions_begun),
    ("transaction: transactions committed", |s| &mut s.transactions_committed),
    ("transaction: transactions rolled back", |s| &mut s.transactions_rolled_back),
];

impl Stats {
    pub(crate) fn from_rows(rows: &[(String, i64)]) -> Self {
        let mut stats = Self::default();
        for (what, count) in rows {
            if let Ok(at) = ROWS.binary_search_by(|row| row.0.cmp(what.as_str())) {
                *ROWS[at].1(&mut stats) = u64::try_from(*count).unwrap_or(0);
            }
        }
        stats
    }
}

impl TableStats {
    pub(crate) fn from_rows(rows: &[(String, i64)]) -> Self {
        let figure = |name: &str| {
            let row = rows.iter().find(|(what, _)| what == name);
            row.and_then(|(_, count)| u64::try_from(*count).ok()).unwrap_or(0)
        };
        Self {
            file_bytes: figure("block-manager: file size in bytes"),
            reusable_bytes: figure("block-manager: file bytes available for reuse"),
        }
    }
}
