//! How a store is opened, and the configuration strings that follow from it.

use std::path::PathBuf;
use std::time::Duration;

/// How a durable commit reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMethod {
    /// `fdatasync` after the write.
    #[default]
    Fsync,
    /// Nothing waits for the disk: what is committed survives the end of the process, but a power
    /// failure can damage the store. For tests and for data that can be made again.
    None,
}

/// How blocks of record tables are compressed on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compressor {
    None,
    #[default]
    Lz4,
    Zstd,
}

impl Compressor {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// The length of a file of the journal, in bytes.
pub(crate) const JOURNAL_FILE: u64 = 16 << 20;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory, created when missing; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// The most memory the cache takes, in bytes; at least 1 MiB. In memory, also the room for data.
    pub cache_bytes: u64,
    pub sync: SyncMethod,
    /// Time between checkpoints; zero for none but the one at the end.
    pub checkpoint_interval: Duration,
    /// How blocks of new record tables are compressed. Old tables keep theirs.
    pub compressor: Compressor,
    /// Makes every commit durable before it returns.
    pub sync_on_commit: bool,
    /// Time between syncs of the log in the background, the most that a crash of the machine can
    /// take of commits that did not ask for durability; zero for none. A crash of the process takes no commit.
    pub journal_interval: Duration,
    /// Makes a new database also in a directory that has other files in it.
    pub allow_other_files: bool,
    /// Opens also what is refused otherwise, as far as it can be read: without missing files of the journal, over damaged
    /// metadata, with the changes of the journal left out that belong on damaged pages.
    pub repair: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: None,
            cache_bytes: 256 << 20,
            sync: SyncMethod::default(),
            checkpoint_interval: Duration::from_secs(60),
            compressor: Compressor::default(),
            sync_on_commit: false,
            journal_interval: Duration::from_millis(100),
            allow_other_files: false,
            repair: false,
        }
    }
}

impl Options {
    /// The defaults for a directory.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// The defaults for a store in memory.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// The configuration of `wiredtiger_open`.
    pub(crate) fn connection_config(&self) -> String {
        let cache = self.cache_bytes.max(1 << 20);
        // Nothing from the environment or from files beside the data; room for many parked cursors
        // of clients; small tables of handles, since a store has few more than it has collections.
        let mut config = format!(
            "create,use_environment=false,config_base=false,cache_size={cache},session_max=10000,\
             session_scratch_max=64KB,statistics=(fast),\
             eviction=(threads_min=1,threads_max=2),{},\
             file_manager=({})",
            eviction(cache),
            idle_tables(crate::descriptors::limit())
        );
        if self.path.is_none() {
            config.push_str(",in_memory=true");
            return config;
        }
        // Every commit hands its log record to the operating system, in one write with those who commit at the same time, before
        // anybody sees what it did: a process that dies takes nothing with it. Syncing is `GroupCommit`'s.
        //
        // Log files are allocated whole, so their size is also that of an empty database; below
        // 16 MB changing them costs writers time, above it gains nothing.
        config.push_str(&format!(
            ",log=(enabled=true,file_max={JOURNAL_FILE},prealloc=false,remove=true,compressor={}),\
             transaction_sync=(enabled=true,method=none),\
             builtin_extension_config=(zstd=(compression_level=1))",
            crate::wt::journal_compressor()
        ));
        if self.sync == SyncMethod::None {
            config.push_str(",checkpoint_sync=false");
        }
        if self.repair {
            config.push_str(",salvage=true");
        }
        config
    }
}

/// When the library closes the files of tables that nobody uses: soon where few may be open.
fn idle_tables(limit: u64) -> String {
    let (idle, scan) = if limit < 8192 { (2, 1) } else { (600, 10) };
    format!("close_idle_time={idle},close_scan_interval={scan},close_handle_minimum={}", (limit / 8).min(500))
}

/// How much of the cache, in percent, may be changed pages before they are written.
///
/// The library's 5 and 20 percent are made for caches of many gigabytes. A small cache with random
/// inserts writes and reads its pages over and over; a large one should not grow its checkpoints.
fn eviction(cache: u64) -> String {
    let target = (100 * (100 << 20) / cache.max(1)).clamp(5, 40);
    let trigger = (target * 2).clamp(20, 70);
    let (updates_target, updates_trigger) = (target * 3 / 4, trigger * 3 / 4);
    format!(
        "eviction_dirty_target={target},eviction_dirty_trigger={trigger},\
         eviction_updates_target={updates_target},eviction_updates_trigger={updates_trigger}"
    )
}
