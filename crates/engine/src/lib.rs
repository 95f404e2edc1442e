//! The database: catalog, indexes, planner, execution, writes, oplog, commands, sessions, typed client.
//!
//! Everything enters by [`Session::run`] with a command's bytes and leaves as a reply's bytes. Synchronous; knows no runtime.
//!
//! - [`door`]: a command's way in and its reply's way out. [`commands`]: one row each.
//! - `catalog`: what exists. `plan`, `exec`: queries. `write`: the only module that changes documents. `oplog`: what changed. `change`: watching it.
//! - `op`: the context of one operation, and its transaction. `sessions`, `cursors`, `operations`: what outlives a command.

mod bootstrap;
mod buckets;
mod catalog;
mod change;
pub mod client;
mod clock;
mod commands;
mod current_op;
mod cursors;
mod damage;
mod default_concerns;
pub mod door;
mod exec;
mod failpoint;
mod fsync_lock;
mod keys;
mod limits;
mod log_components;
mod maintenance;
mod namespace;
mod op;
mod operations;
mod oplog;
mod options;
mod parameters;
mod plan;
mod profiler;
mod query_settings;
mod repair;
mod replica_set;
mod retry;
mod sessions;
mod shared;
mod snapshots;
mod ttl;
mod usage;
mod watchers;
mod write;
mod write_block;

use std::collections::HashSet;
use std::sync::Arc;

pub use commands::commands;
pub use door::{After, Client, Request, Sequence, Session};
pub use namespace::Ns;
pub use operations::Watched;
pub use options::Options;
pub use repair::repair;
pub use smongo_storage::descriptors;
use shared::Shared;
use smongo_bson::Result;

/// An open database. Cheap to clone; the last one dropped closes it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Opens the database, creating it where there is none. A second process on the same directory gets LockBusy.
    pub fn open(options: Options) -> Result<Engine> {
        let shared = Shared::open(options, None)?;
        bootstrap::run(&shared)?;
        match shared.store.mark_complete() {
            // An earlier version's database is proven to be ours without it, also on a disk that is full.
            Err(e) if shared.store.is_unmarked() => tracing::warn!("marking the directory: {e}"),
            marked => marked?,
        }
        maintenance::start(&shared);
        Ok(Engine { shared })
    }

    /// Opens what is damaged, as far as it can be, and starts nothing that changes it in the background.
    pub(crate) fn open_repairing(options: Options, damaged: &mut HashSet<String>, say: &mut dyn FnMut(&str)) -> Result<Engine> {
        let shared = Shared::open(options, Some(&mut |store| repair::make_readable(store, damaged, say)))?;
        for name in shared.catalog.adopted() {
            say(&format!("documents of a collection that the catalog does not name any more are in {name}"));
        }
        bootstrap::run(&shared)?;
        Ok(Engine { shared })
    }

    /// A new session for one client.
    pub fn session(&self, client: Client) -> Session {
        Session::new(self, client)
    }

    /// Begins shutdown: wakes every waiter (awaitable hello, awaitData); commands from now on answer InterruptedAtShutdown.
    pub fn begin_shutdown(&self) {
        self.shared.begin_shutdown();
    }

    /// Whether connections that come and go are not worth a line.
    pub fn quiet(&self) -> bool {
        self.shared.parameters.quiet()
    }

    /// Whether shutdown has begun, for instance by the `shutdown` command.
    pub fn shutting_down(&self) -> bool {
        self.shared.shutting_down()
    }

    /// Copies the database into an empty or missing directory while it is in use: everything committed before the call is
    /// in the copy, which opens as any database.
    pub fn backup(&self, directory: &std::path::Path) -> Result<()> {
        Ok(self.shared.store.backup(directory)?)
    }

    /// Closes the database cleanly: open operations are interrupted, a checkpoint is written.
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }
}
