//! Room on the disk: who may still write when it runs out, and what is kept back so that a database on a full disk can be read.
//!
//! The library fails for good when it cannot write its log or a checkpoint. So writes are refused while there is still room for
//! what was accepted before them, and a small file keeps room that opening and closing need: it is given up on a full disk,
//! and made again when there is room.

use crate::error::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The file that keeps room. The beginning of its name makes it one of the library's, as far as whose files these are.
const RESERVE: &str = "WiredTiger.reserve";
/// Bytes of it. The journal's file has four times as many.
const RESERVE_BYTES: u64 = 4 << 20;
/// The least and the most room, beside that for changed pages, that writes must leave: the journal goes on for a while.
const LEAST: u64 = 8 << 20;
const MOST: u64 = 64 << 20;
/// Who has more need not ask what it is for.
const NEAR: u64 = 1 << 30;
/// Bytes of commits between two looks, at most.
const LOOK: u64 = 2 << 20;
/// The journal may begin another file.
const LOG: u64 = 16 << 20;
/// What a checkpoint writes beside changed pages.
const CHECKPOINT: u64 = 256 << 10;
/// How long who needs what was kept back may take.
const USE: Duration = Duration::from_secs(5);

/// What is known of the room in a database's directory.
pub(crate) struct Space {
    directory: PathBuf,
    full: AtomicBool,
    /// Bytes that were left at the last look.
    left: AtomicU64,
    /// When what was kept back was given up for something that must not fail.
    used: Mutex<Option<Instant>>,
    /// Bytes that were committed since the last look.
    written: AtomicU64,
    filled: AtomicBool,
}

/// Bytes of a file system that this user may write, and of all of it.
fn room(directory: &Path) -> Option<(u64, u64)> {
    let stat = statvfs(directory).ok()?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

impl Space {
    /// Before the library opens the directory: on a full disk it gets what was kept back for this moment.
    pub fn new(directory: &Path) -> Self {
        let space = Self { directory: directory.to_owned(), full: AtomicBool::new(false), left: AtomicU64::new(u64::MAX), used: Mutex::default(), written: AtomicU64::new(0), filled: AtomicBool::new(false) };
        space.look(|| 0);
        space.filled();
        space.use_reserve();
        space
    }

    /// Whether writes are accepted.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(self.refusal()) } else { Ok(()) }
    }

    #[cold]
    fn refusal(&self) -> Error {
        let left = self.left.load(Ordering::Relaxed) >> 20;
        let message = format!("the disk is full: {left} MB are left for {}; it can be read, and dropping gives room", self.directory.display());
        Error::new(ErrorKind::DiskFull, message)
    }

    /// Notes a commit of so many bytes. True when it is time to look again: on a small disk a tenth of a second is long.
    #[inline]
    pub fn committed(&self, bytes: u64) -> bool {
        self.left.load(Ordering::Relaxed) < NEAR && self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > LOOK
    }

    /// Whether the disk has become full since this was asked last: now there is room for a checkpoint.
    pub fn filled(&self) -> bool {
        self.filled.swap(false, Ordering::AcqRel)
    }

    /// Looks at the room that is left; `dirty` tells the bytes that the next checkpoint writes.
    pub fn look(&self, dirty: impl FnOnce() -> u64) {
        self.written.store(0, Ordering::Relaxed);
        let Some((left, total)) = room(&self.directory) else { return };
        self.left.store(left, Ordering::Relaxed);
        let slack = (total / 32).clamp(LEAST, MOST);
        let was = self.full.load(Ordering::Relaxed);
        // A little more to begin again than to stop, or the two would take turns.
        let needed = if was { slack + slack / 2 } else { slack };
        let full = left < needed || (left < NEAR && left < needed + LOG + dirty() * 5 / 4);
        if was != full {
            self.full.store(full, Ordering::Relaxed);
            match full {
                true => tracing::error!("{}: the disk is full, {} MB are left: writes are refused", self.directory.display(), left >> 20),
                false => tracing::warn!("{}: the disk has room again: writes are accepted", self.directory.display()),
            }
        }
        if full && !was {
            self.filled.store(true, Ordering::Release);
        }
    }

    /// Something is about to be written that must not fail: opening, closing, what gives room.
    pub fn use_reserve(&self) {
        if self.full.load(Ordering::Relaxed) && room(&self.directory).is_none_or(|(left, _)| left < RESERVE_BYTES) {
            *self.used.lock() = Some(Instant::now());
            let _ = std::fs::remove_file(self.directory.join(RESERVE));
        }
    }

    /// Whether so many bytes, and a little for the checkpoint that writes them, can be written. Looks anew: others fill disks, too.
    pub fn fits(&self, bytes: u64) -> bool {
        self.look(|| bytes);
        if self.full.load(Ordering::Relaxed) {
            self.use_reserve();
            return room(&self.directory).is_none_or(|(left, _)| left > bytes + CHECKPOINT);
        }
        true
    }

    /// Keeps room back again, when who needed it should be done.
    pub fn keep_later(&self) {
        if self.used.lock().is_none_or(|used| used.elapsed() > USE) {
            self.keep();
        }
    }

    /// Keeps room back, on a full disk most of what is left.
    pub fn keep(&self) {
        let path = self.directory.join(RESERVE);
        let Some((left, _)) = room(&self.directory).filter(|_| !path.exists()) else { return };
        let bytes = RESERVE_BYTES.min(left - left / 8);
        if bytes > 0 && !File::create_new(&path).is_ok_and(|file| fallocate(&file, FallocateFlags::empty(), 0, bytes).is_ok()) {
            let _ = std::fs::remove_file(path);
        }
    }
}
