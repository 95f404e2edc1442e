//! Giving the room that deleted data leaves in the files back to the file system: at once, or in the background.

use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::table::Table;
use crate::wt;
use std::ffi::CString;
use std::time::{Duration, Instant};

/// How long a compaction waits, all in all, for the cache to have room for it, and between two tries.
const PRESSURE: Duration = Duration::from_secs(60);
const PRESSURE_PAUSE: Duration = Duration::from_millis(200);

/// How far a compaction has come: blocks that were moved, and about how many are to be moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactProgress {
    pub done: u64,
    pub total: u64,
}

/// Compaction in the background.
#[derive(Clone, Copy, Debug)]
pub struct AutoCompact<'a> {
    /// Files with less free bytes are left alone.
    pub free_space_target: u64,
    /// Ends when it has seen every table.
    pub run_once: bool,
    /// Tables that are left alone.
    pub exclude: &'a [&'a Table],
}

impl Store {
    /// Moves the blocks at the end of a table's file into its free ones and cuts the file off behind them, while others read and
    /// write. A file with less than `free_space_target` free bytes is left as it is. `interrupt` is asked now and then; when it says
    /// yes, the answer is `Interrupted`, and what was given back until then stays so. `Busy` when another compaction is at the
    /// table, or the cache has no room for a minute.
    pub fn compact(&self, table: &Table, free_space_target: u64, interrupt: impl FnMut() -> bool + 'static) -> Result<()> {
        if self.path().is_none() {
            return Ok(());
        }
        let target = free_space_target.max(1 << 20);
        let config = CString::new(format!("timeout=0,free_space_target={target}")).unwrap_or_default();
        // The compaction's own checkpoints would be the end of the store on a full disk: this one asks first.
        self.checkpoint()?;
        self.table_stats(table)?;
        let mut session = self.session()?;
        let begun = Instant::now();
        let asked = wt::interruptible(Box::new(interrupt));
        loop {
            match session.raw().compact(Some(table.uri()), &config) {
                Err(_) if asked.answered_yes() => return Err(Error::new(ErrorKind::Interrupted, "the compaction was interrupted")),
                Err(error) if error.kind() == ErrorKind::Busy && begun.elapsed() < PRESSURE => {
                    if asked.ask() {
                        return Err(Error::new(ErrorKind::Interrupted, "the compaction was interrupted"));
                    }
                    std::thread::sleep(PRESSURE_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// How far the compaction of a table has come. The library guesses the total once it has seen some of the table.
    pub fn compact_progress(&self, table: &Table) -> Result<CompactProgress> {
        let rows = self.table_statistics(table, c"statistics=(fast)")?;
        let figure = |name: &str| rows.iter().find(|(what, _)| what == name).map_or(0, |(_, n)| u64::try_from(*n).unwrap_or(0));
        let done = figure("btree: btree compact pages rewritten");
        Ok(CompactProgress { done, total: figure("btree: btree expected number of compact pages rewritten").max(done) })
    }

    /// Begins compacting all tables in the background, or with `None` ends it. `Busy` while the last such call is not yet heeded,
    /// `Invalid` when it runs with other settings, and in memory, where there are no files.
    pub fn auto_compact(&self, settings: Option<AutoCompact<'_>>) -> Result<()> {
        if self.path().is_none() {
            return Err(Error::new(ErrorKind::Invalid, "a database in memory has no files to compact"));
        }
        let config = match settings {
            None => "background=false".to_owned(),
            Some(AutoCompact { free_space_target, run_once, exclude }) => {
                // The library compares what follows the prefix with the names of files.
                let exclude: Vec<String> = exclude.iter().map(|table| format!("\"table:{}.wt\"", table.name())).collect();
                format!("background=true,free_space_target={free_space_target},run_once={run_once},exclude=[{}]", exclude.join(","))
            }
        };
        let config = CString::new(config).unwrap_or_default();
        self.session()?.raw().compact(None, &config)
    }
}
