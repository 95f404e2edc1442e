//! What is stored and what keeps track of how it changes: all that the floor of data knows of an open database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use smongo_bson::{Result, Timestamp};
use smongo_storage::{Store, Table};

use crate::data::{limits, oplog};
use crate::data::catalog::{Catalog, own_table};
use crate::data::clock::Clock;
use crate::data::fsync_lock::FsyncLock;
use crate::data::namespace::Ns;
use crate::data::options::Options;
use crate::data::snapshots::Snapshots;
use crate::data::tally::Tally;
use crate::data::tuning::Tuning;
use crate::data::watchers::{Touched, Watchers};

pub struct Data {
    pub store: Store,
    pub oplog: Table,
    pub preimages: Table,
    /// What retryable writes answered: see [`crate::data::retry`].
    pub statements: Table,
    /// The newest timestamp whose oplog entry was removed to keep the oplog within its size; zero if none ever was.
    oplog_trimmed: AtomicU64,
    pub oplog_size: oplog::Size,
    /// Bytes of entries written since the database was opened.
    pub oplog_written: AtomicU64,
    /// The newest timestamp of data definition.
    last_command: AtomicU64,
    /// Raised by each commit that may have changed users or roles.
    users_generation: AtomicU64,
    /// Changes up to this timestamp may be of the time before the database was opened.
    opened_at: u64,
    pub catalog: Catalog,
    pub clock: Clock,
    pub watchers: Watchers,
    pub snapshots: Snapshots,
    pub tally: Tally,
    pub fsync: FsyncLock,
    /// Collections of operations that have ended, to be dropped.
    pub temporary: Mutex<Vec<Ns>>,
    pub tuning: Arc<Tuning>,
    pub options: Options,
    pub started: Instant,
    shutdown: AtomicBool,
}

impl Data {
    /// Opens a database, a damaged one after its tables were made readable.
    pub fn open(options: Options, tuning: Arc<Tuning>, repair: Option<&mut dyn FnMut(&Store) -> Result<()>>) -> Result<Arc<Data>> {
        let store = Store::open(smongo_storage::Options { repair: repair.is_some(), ..options.storage() })?;
        let readable = repair.map_or(Ok(()), |make_readable| make_readable(&store));
        readable.and_then(|()| Data::assemble(&store, options, tuning)).inspect_err(|_| store.abandon())
    }

    fn assemble(store: &Store, options: Options, tuning: Arc<Tuning>) -> Result<Arc<Data>> {
        let catalog = Catalog::open(store)?;
        let oplog = own_table(store, crate::data::keys::OPLOG, smongo_storage::TableKind::Log)?;
        let oplog_size = oplog::Size::open(store, &catalog, &options)?;
        catalog.publish_oplog(&oplog, oplog_size.limits().bytes)?;
        let preimages = own_table(store, crate::data::keys::PREIMAGES, smongo_storage::TableKind::Log)?;
        let statements = own_table(store, crate::data::keys::SESSIONS, smongo_storage::TableKind::Index)?;
        let clock = Clock::starting_after(oplog::newest(store, &oplog)?.max(crate::data::clock::next_second()));
        Ok(Arc::new(Data {
            oplog_size,
            oplog_trimmed: AtomicU64::new(oplog::trimmed(store, &catalog)?),
            oplog_written: AtomicU64::new(0),
            last_command: AtomicU64::new(0),
            users_generation: AtomicU64::new(0),
            opened_at: clock.last().to_u64(),
            oplog,
            preimages,
            statements,
            catalog,
            clock,
            watchers: Watchers::default(),
            snapshots: Snapshots::default(),
            tally: Tally::default(),
            fsync: FsyncLock::default(),
            temporary: Mutex::default(),
            started: Instant::now(),
            shutdown: AtomicBool::new(false),
            tuning,
            options,
            store: store.clone(),
        }))
    }

    /// Entries of this many bytes were committed.
    pub fn oplog_grew(&self, entries: i64, bytes: i64) {
        if entries > 0 {
            self.oplog_size.add(entries, bytes);
            self.oplog_written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub fn oplog_trimmed(&self) -> u64 {
        self.oplog_trimmed.load(Ordering::Acquire)
    }

    /// Said before the entries are removed: who still finds them does no harm by giving up too early.
    pub fn set_oplog_trimmed(&self, ts: u64) {
        self.oplog_trimmed.store(ts, Ordering::Release);
    }

    /// No entry of the oplog up to this timestamp is of this process.
    pub fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// The transaction of these timestamps has ended; wakes those whom it concerns.
    pub fn ended(&self, timestamps: &[Timestamp], touched: Touched) {
        if !timestamps.is_empty() {
            self.watchers.wake(&self.clock.done(timestamps, touched));
        }
    }

    /// To be called before the timestamp becomes visible.
    pub fn note_command(&self, ts: u64) {
        self.last_command.fetch_max(ts, Ordering::AcqRel);
    }

    /// Whether there may be data definition at or after a timestamp, or anything that this process does not remember.
    pub fn maybe_redefined_since(&self, ts: u64) -> bool {
        ts <= self.opened_at || self.last_command.load(Ordering::Acquire) >= ts
    }

    /// Where users and roles stand. To be asked before they are read: who changes them commits first, and raises it then.
    #[inline]
    pub fn users_generation(&self) -> u64 {
        self.users_generation.load(Ordering::Acquire)
    }

    /// Users or roles may have changed.
    pub fn users_changed(&self) {
        self.users_generation.fetch_add(1, Ordering::AcqRel);
    }

    pub fn shutting_down(&self) -> bool {
        self.shutdown.load(Ordering::Relaxed)
    }

    /// From here on commands answer that the database is closed.
    pub fn shut_down(&self) {
        self.shutdown.store(true, Ordering::Relaxed);
    }

    /// Closes the storage. Nothing may read any more.
    pub fn close(&self) -> Result<()> {
        self.snapshots.clear();
        // Counts that are followed by another commit would be wrong for good; without any they are counted again.
        if self.fsync.keep_out(limits::CLOSE_WAIT) {
            self.catalog.save_counts()?;
        } else {
            tracing::warn!("closing the database while something still writes: its counts are not kept");
        }
        self.store.clone().close()?;
        Ok(())
    }
}
