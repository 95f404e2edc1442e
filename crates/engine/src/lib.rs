//! The database: catalog, indexes, planner, execution, writes, oplog, commands, sessions, typed client.
//!
//! Everything enters by [`Session::run`] with a command's bytes and leaves as a reply's bytes. Synchronous; knows no runtime.

pub mod door;

use std::path::PathBuf;
use std::time::Duration;

pub use door::{After, Client, Request, Sequence, Session};
use smongo_bson::Result;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    pub cache_bytes: u64,
    /// `enableTestCommands`: fail points and the like.
    pub test_commands: bool,
    /// Values of `--setParameter`.
    pub parameters: Vec<(String, String)>,
    pub journal_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { path: None, cache_bytes: 256 << 20, test_commands: false, parameters: Vec::new(), journal_interval: Duration::from_millis(100) }
    }
}

/// An open database. Cheap to clone; the last one dropped closes it.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    pub fn open(_options: Options) -> Result<Engine> {
        Ok(Engine {})
    }

    /// A new session for one client.
    pub fn session(&self, client: Client) -> Session {
        Session { client }
    }

    /// Begins shutdown: wakes every waiter (awaitable hello, awaitData); commands from now on answer InterruptedAtShutdown.
    pub fn begin_shutdown(&self) {}

    /// Whether shutdown has begun, for instance by the `shutdown` command.
    pub fn shutting_down(&self) -> bool {
        false
    }

    /// Closes the database cleanly: open operations are interrupted, a checkpoint is written.
    pub fn close(self) -> Result<()> {
        Ok(())
    }
}
