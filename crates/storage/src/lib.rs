//! Ordered byte tables with snapshot transactions over WiredTiger
//!
//! A [`Store`] is an open database: a directory, or memory. It hands out [`Session`]s, which run
//! transactions and own cursors, and names its tables by [`Table`]. Keys and values are bytes; keys
//! are ordered as `memcmp` orders them. All `unsafe` of the workspace is in `wt/`.

mod commit;
mod compact;
pub mod descriptors;
mod directory;
mod error;
mod journal;
mod journal_check;
mod memory;
mod mongo;
mod options;
mod session;
mod space;
mod stats;
mod store;
mod table;
pub mod witness;
mod wt;

pub use compact::{AutoCompact, CompactProgress};
pub use error::{Error, ErrorKind, Result};
pub use journal_check::JournalEnd;
pub use options::{Compressor, Options, SyncMethod};
pub use session::{Begin, Bulk, CursorId, Durability, Session};
pub use stats::{Stats, TableStats};
pub use store::Store;
pub use table::{Table, TableKind};
