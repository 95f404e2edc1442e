//! How a database is opened.

use std::path::PathBuf;
use std::time::Duration;

use smongo_bson::DocBuf;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Below [`Options::LEAST_CACHE`] what works on little at a time works; large documents and many clients do not fit.
    pub cache_bytes: u64,
    /// Memory that one sort, group and the like may hold before it goes to disk, or fails where that is not allowed.
    pub blocking_bytes: usize,
    /// Every acknowledged write is on disk, also without `j: true`.
    pub always_durable: bool,
    /// Bytes that a new oplog may hold; one that exists keeps its size.
    pub oplog_bytes: Option<u64>,
    /// Hours for which entries of the oplog stay at least; `None` leaves it as it was.
    pub oplog_retention_hours: Option<f64>,
    /// `enableTestCommands`: fail points and the like.
    pub test_commands: bool,
    /// Values of `--setParameter`.
    pub parameters: Vec<(String, String)>,
    /// The name of the replica set of which this database is the only member.
    pub replica_set: String,
    /// Time between flushes of the journal for writes that did not ask for durability.
    pub journal_interval: Duration,
    /// Time between checkpoints; zero for none but those that are asked for and the one at the end.
    pub checkpoint_interval: Duration,
    /// Makes a new database also in a directory that has other files in it.
    pub allow_other_files: bool,
    /// The audit log; `None` for none.
    pub audit: Option<Audit>,
}

/// The audit log: who did what.
#[derive(Clone, Debug)]
pub struct Audit {
    pub destination: Destination,
    /// Of the events those that match, as documents.
    pub filter: Option<DocBuf>,
    /// What waits for its line waits until it is on disk.
    pub sync: bool,
    /// What cannot be written is counted and goes on; else it is refused.
    pub goes_on: bool,
    /// What its first line tells of how the program was started.
    pub startup: DocBuf,
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    File(PathBuf),
    Console,
    Syslog,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            path: None,
            cache_bytes: 256 << 20,
            blocking_bytes: 100 << 20,
            always_durable: false,
            oplog_bytes: None,
            oplog_retention_hours: None,
            test_commands: false,
            parameters: Vec::new(),
            replica_set: "rs0".to_owned(),
            journal_interval: Duration::from_millis(100),
            checkpoint_interval: Duration::from_secs(60),
            allow_other_files: false,
            audit: None,
        }
    }
}

impl Options {
    /// The least cache that programs give their users: in a smaller one they wait for each other's pages for half a minute.
    pub const LEAST_CACHE: u64 = 64 << 20;

    pub(crate) fn storage(&self) -> smongo_storage::Options {
        smongo_storage::Options {
            path: self.path.clone(),
            cache_bytes: if self.path.is_some() { self.cache_bytes } else { self.cache_bytes.max(crate::data::limits::IN_MEMORY_BYTES) },
            journal_interval: self.journal_interval,
            checkpoint_interval: self.checkpoint_interval,
            allow_other_files: self.allow_other_files,
            ..smongo_storage::Options::default()
        }
    }

    /// Bytes of oplog entries that may be written while a kept snapshot makes the storage hold the versions before them.
    /// On disk the storage moves them out of the cache.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        if self.path.is_some() { self.cache_bytes / 2 } else { crate::data::limits::SNAPSHOT_BYTES_IN_MEMORY }
    }
}
