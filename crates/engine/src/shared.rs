//! What all sessions of one open database share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smongo_bson::{ObjectId, Result, Timestamp};
use smongo_storage::{Store, Table};

use crate::catalog::{Catalog, own_table};
use crate::clock::Clock;
use crate::commands::ClusterParameters;
use crate::cursors::Cursors;
use crate::default_concerns::DefaultConcerns;
use crate::failpoint::FailPoints;
use crate::fsync_lock::FsyncLock;
use crate::limits;
use crate::namespace::Ns;
use crate::operations::Operations;
use crate::parameters::Parameters;
use crate::profiler::Profiler;
use crate::query_settings::QuerySettings;
use crate::sessions::Sessions;
use crate::snapshots::Snapshots;
use crate::usage::Usage;
use crate::watchers::{Touched, Watchers};
use crate::write_block::WriteBlock;
use crate::{Options, oplog};

pub struct Shared {
    pub store: Store,
    pub oplog: Table,
    pub preimages: Table,
    /// What retryable writes answered: see [`crate::retry`].
    pub statements: Table,
    /// The newest timestamp whose oplog entry was removed to keep the oplog within its size; zero if none ever was.
    oplog_trimmed: AtomicU64,
    pub oplog_size: oplog::Size,
    /// Bytes of entries written since the database was opened.
    pub oplog_written: AtomicU64,
    /// The newest timestamp of data definition.
    last_command: AtomicU64,
    /// Changes up to this timestamp may be of the time before the database was opened.
    opened_at: u64,
    pub catalog: Catalog,
    pub clock: Clock,
    pub watchers: Watchers,
    pub snapshots: Snapshots,
    pub cursors: Cursors,
    pub sessions: Sessions,
    pub operations: Operations,
    pub failpoints: FailPoints,
    pub options: Options,
    pub started: Instant,
    /// hello's `topologyVersion.processId`, made anew with every open.
    pub process: ObjectId,
    /// Connections opened since the start, and those open now.
    pub connections: AtomicU64,
    pub open_connections: AtomicU64,
    pub usage: Usage,
    pub profiler: Profiler,
    pub fsync: FsyncLock,
    /// Collections of operations that have ended, to be dropped.
    pub temporary: Mutex<Vec<Ns>>,
    pub parameters: Parameters,
    pub default_concerns: DefaultConcerns,
    pub cluster_parameters: ClusterParameters,
    pub query_settings: QuerySettings,
    pub write_block: WriteBlock,
    /// The address by which the newest client reached the server.
    pub address: Mutex<String>,
    /// The version of the replica set's configuration.
    pub config_version: AtomicI32,
    shutdown: AtomicBool,
    closing: Mutex<bool>,
    closed: Condvar,
}

impl Shared {
    /// Opens a database, a damaged one after its tables were made readable.
    pub fn open(options: Options, repair: Option<&mut dyn FnMut(&Store) -> Result<()>>) -> Result<Arc<Shared>> {
        let store = Store::open(smongo_storage::Options { repair: repair.is_some(), ..options.storage() })?;
        let readable = repair.map_or(Ok(()), |make_readable| make_readable(&store));
        readable.and_then(|()| Shared::assemble(&store, options)).inspect_err(|_| store.abandon())
    }

    fn assemble(store: &Store, options: Options) -> Result<Arc<Shared>> {
        let catalog = Catalog::open(store)?;
        let oplog = own_table(store, crate::keys::OPLOG, smongo_storage::TableKind::Log)?;
        let oplog_size = oplog::Size::open(store, &catalog, &options)?;
        catalog.publish_oplog(&oplog, oplog_size.limits().bytes)?;
        let preimages = own_table(store, crate::keys::PREIMAGES, smongo_storage::TableKind::Log)?;
        let statements = own_table(store, crate::keys::SESSIONS, smongo_storage::TableKind::Index)?;
        let clock = Clock::starting_after(oplog::newest(store, &oplog)?.max(crate::clock::next_second()));
        let shared = Shared {
            oplog_size,
            oplog_trimmed: AtomicU64::new(oplog::trimmed(store, &catalog)?),
            oplog_written: AtomicU64::new(0),
            last_command: AtomicU64::new(0),
            opened_at: clock.last().to_u64(),
            oplog,
            preimages,
            statements,
            catalog,
            clock,
            watchers: Watchers::default(),
            snapshots: Snapshots::default(),
            cursors: Cursors::default(),
            sessions: Sessions::default(),
            operations: Operations::default(),
            failpoints: FailPoints::new(options.test_commands),
            started: Instant::now(),
            process: ObjectId::generate(),
            connections: AtomicU64::new(0),
            open_connections: AtomicU64::new(0),
            usage: Usage::default(),
            profiler: Profiler::default(),
            fsync: FsyncLock::default(),
            temporary: Mutex::default(),
            parameters: Parameters::new(&options)?,
            default_concerns: DefaultConcerns::default(),
            cluster_parameters: ClusterParameters::default(),
            query_settings: QuerySettings::default(),
            write_block: WriteBlock::default(),
            address: Mutex::new("localhost:27017".to_owned()),
            config_version: AtomicI32::new(1),
            shutdown: AtomicBool::new(false),
            closing: Mutex::new(false),
            closed: Condvar::new(),
            options,
            store: store.clone(),
        };
        Ok(Arc::new(shared))
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

    pub fn shutting_down(&self) -> bool {
        self.shutdown.load(Ordering::Relaxed)
    }

    /// hello's `topologyVersion.counter`: it changes when the server stops being a primary.
    pub fn topology_counter(&self) -> i64 {
        if self.shutting_down() { 2 } else { 1 }
    }

    /// Sleeps until shutdown begins, `timeout` is over, or it was killed.
    pub fn wait_for_shutdown(&self, timeout: Duration, killed: impl Fn() -> bool) {
        // A client may ask for more than a clock can hold.
        let until = Instant::now() + timeout.min(Duration::from_secs(24 * 3600));
        let mut closing = self.closing.lock();
        while !*closing && !killed() {
            if self.closed.wait_until(&mut closing, until).timed_out() {
                break;
            }
        }
    }

    /// Wakes commands that sleep, to look whether they were killed.
    pub fn wake_sleepers(&self) {
        self.watchers.wake_all();
        // Nobody is between looking and sleeping.
        drop(self.closing.lock());
        self.closed.notify_all();
    }

    pub fn begin_shutdown(&self) {
        self.shutdown.store(true, Ordering::Relaxed);
        *self.closing.lock() = true;
        self.closed.notify_all();
        self.operations.kill_all();
        self.watchers.wake_all();
    }

    pub fn close(&self) -> Result<()> {
        self.begin_shutdown();
        self.cursors.clear();
        self.sessions.clear();
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

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::warn!("closing the database: {e}");
        }
    }
}
