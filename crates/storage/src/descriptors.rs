//! File descriptors: how many this process may have, and who is refused before there are none left.
//!
//! Without one for its next log file or checkpoint the library fails for good. So whoever brings more of them (a connection, a
//! table, a file to spill to) asks here first, and hears of the limit while those who must not fail still have enough.

use crate::error::{Error, ErrorKind, Result, TOO_MANY_FILES};
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// The most that is asked for. Some systems allow a billion, and programs walk through all of them.
const MOST: u64 = 1 << 20;
/// What macOS gives where it says that there is no limit.
const OPEN_MAX: u64 = 10_240;
/// A count costs as much as there are descriptors: it is made no sooner than after so many times the time it took.
const COUNT_PAUSE: u32 = 4;

/// Who asks, from the most to the least needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The file of a table that is there, or one to spill to: what is there must be readable.
    Table,
    /// One of the first connections: somebody must be able to drop something.
    FirstConnection,
    /// A table that is about to be made.
    NewTable,
    Connection,
}

impl Need {
    /// Descriptors that are left to others.
    fn reserve(self, limit: i64) -> i64 {
        match self {
            Self::Table | Self::FirstConnection => (limit / 16).clamp(16, 256),
            Self::NewTable => (limit / 4).min(1024),
            Self::Connection => (limit * 3 / 8).min(2048),
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Table => "the file of a collection or an index",
            Self::Connection | Self::FirstConnection => "a connection",
            Self::NewTable => "a new collection or index",
        }
    }
}

/// Raises the process's soft limit as far as it may, once; the limit from then on.
pub fn limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let before = getrlimit(Resource::Nofile);
        let (soft, hard) = (before.current.unwrap_or(u64::MAX), before.maximum.unwrap_or(u64::MAX));
        for wanted in [hard.min(MOST), hard.min(OPEN_MAX)] {
            let raised = Rlimit { current: Some(wanted), maximum: before.maximum };
            if wanted > soft && setrlimit(Resource::Nofile, raised).is_ok() {
                return wanted;
            }
        }
        soft
    })
}

/// Connections that there can be at one time when there is little else.
pub fn most_connections() -> u64 {
    let limit = limit().min(MOST) as i64;
    (limit - Need::Connection.reserve(limit)) as u64
}

/// Descriptors that are free, at least, as far as those who took them have asked here.
static FREE: AtomicI64 = AtomicI64::new(0);
/// Below this many they are counted again.
static STALE: AtomicI64 = AtomicI64::new(i64::MAX);
/// When the next count may be made; `None` before the first.
static COUNTED: Mutex<Option<Instant>> = Mutex::new(None);

/// Asks for one descriptor. Nobody gives it back: they are counted from time to time.
///
/// # Errors
/// `TooManyFiles`, with the name of the limit.
pub fn take(need: Need) -> Result<()> {
    let reserve = need.reserve(limit().min(MOST) as i64);
    let left = FREE.fetch_sub(1, Ordering::Relaxed) - 1;
    if (left < reserve || left < STALE.load(Ordering::Relaxed)) && count(need) - 1 < reserve {
        let message = format!(
            "too many open files: nothing is left for {}; this process may open {} (RLIMIT_NOFILE, see ulimit -n)",
            need.what(),
            limit()
        );
        return Err(Error::new(ErrorKind::TooManyFiles, message));
    }
    Ok(())
}

/// Asks for a connection's descriptor where so many are open.
///
/// # Errors
/// As for [`take`].
pub fn take_connection(open: usize) -> Result<()> {
    take(if (open as u64) < limit() / 8 { Need::FirstConnection } else { Need::Connection })
}

/// How many are free. Connections come and go by the thousand and are refused by what was counted last, from which those that went
/// since are missing; a table is refused by what is so.
#[cold]
fn count(need: Need) -> i64 {
    let mut counted = COUNTED.lock();
    let began = Instant::now();
    let connects = matches!(need, Need::Connection | Need::FirstConnection);
    if !connects || counted.is_none_or(|next| next <= began) {
        let free = match open() {
            Some(open) => limit().min(MOST) as i64 - open,
            // Nobody tells: what is asked for is given.
            None => i64::MAX / 2,
        };
        FREE.store(free, Ordering::Relaxed);
        STALE.store(free / 2, Ordering::Relaxed);
        *counted = Some(Instant::now() + began.elapsed() * COUNT_PAUSE);
    }
    FREE.load(Ordering::Relaxed)
}

/// How many are open in this process.
fn open() -> Option<i64> {
    const LIST: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    match std::fs::read_dir(LIST) {
        // One of them is the list's.
        Ok(list) => Some(list.count() as i64 - 1),
        Err(error) if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => Some(i64::MAX / 4),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_fail_is_left_most() {
        for limit in [256, 1024, 10_240, 65_536, MOST as i64] {
            let [table, new, connection] = [Need::Table, Need::NewTable, Need::Connection].map(|need| need.reserve(limit));
            assert!(16 <= table && 2 * table <= new && new < connection && connection < limit / 2, "{limit}: {table} {new} {connection}");
        }
    }
}
