//! What all sessions of one open database share: its data, and what outlives a command.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use smongo_bson::{ObjectId, Result};
use smongo_mql::Host;
use smongo_storage::Store;

use crate::data::database::Data;
use crate::data::limits;
use crate::data::op::{KillSwitch, OpCx};
use crate::data::options::Options;
use crate::service::audit::{self, Audit, Event, Weight};
use crate::service::auth::attempts::Attempts;
use crate::service::auth::tally::Logins;
use crate::service::auth::users::Users;
use crate::service::auth::Secret;
use crate::service::cluster_parameters::ClusterParameters;
use crate::service::command::Command;
use crate::service::cursors::Cursors;
use crate::service::default_concerns::DefaultConcerns;
use crate::service::failpoint::FailPoints;
use crate::service::operations::Operations;
use crate::service::parameters::Parameters;
use crate::service::profiler::Profiler;
use crate::service::query_settings::QuerySettings;
use crate::service::sessions::Sessions;
use crate::service::usage::Usage;
use crate::service::write_block::WriteBlock;

/// Reads the certificates of a server anew: what is wrong with them, and `None` once the server is gone.
pub type Rotate = Box<dyn Fn() -> Option<std::result::Result<(), String>> + Send + Sync>;

pub struct Shared {
    pub data: Arc<Data>,
    pub cursors: Cursors,
    pub sessions: Sessions,
    pub operations: Operations,
    pub failpoints: FailPoints,
    /// hello's `topologyVersion.processId`, made anew with every open.
    pub process: ObjectId,
    /// Connections opened since the start, and those open now.
    pub connections: AtomicU64,
    pub open_connections: AtomicU64,
    /// Those that have said nothing yet, and have no session.
    pub waiting_connections: AtomicU64,
    pub usage: Usage,
    pub profiler: Profiler,
    pub parameters: Parameters,
    pub default_concerns: DefaultConcerns,
    pub cluster_parameters: ClusterParameters,
    pub query_settings: QuerySettings,
    pub write_block: WriteBlock,
    /// Who did what, where it is written.
    pub audit: Option<Audit>,
    pub users: Users,
    /// Of it come the salts of users who are not there.
    pub secret: Secret,
    pub logins: Logins,
    /// Logins that failed.
    pub attempts: Attempts,
    /// The address by which the newest client reached the server.
    pub address: Mutex<String>,
    /// The version of the replica set's configuration.
    pub config_version: AtomicI32,
    /// What reads the certificates of each of the servers in front of this anew.
    rotation: Mutex<Vec<Rotate>>,
    /// What whoever started this should know, beside what the opening found: how it is reached and by whom.
    warnings: Mutex<Vec<String>>,
    /// Held by who changes a setting that is stored: the store first, then memory, one at a time, so that both say the same.
    settings: Mutex<()>,
    closing: Mutex<bool>,
    closed: Condvar,
}

/// Whoever has what is shared has the data.
impl Deref for Shared {
    type Target = Data;

    fn deref(&self) -> &Data {
        &self.data
    }
}

impl Shared {
    /// Opens a database, a damaged one after its tables were made readable. `commands` is their table, for counting them.
    pub fn open(options: Options, commands: &'static [Command], repair: Option<&mut dyn FnMut(&Store) -> Result<()>>) -> Result<Arc<Shared>> {
        let parameters = Parameters::new(&options)?;
        let failpoints = FailPoints::new(options.test_commands);
        let audit = options.audit.clone();
        let filter = audit.as_ref().map_or(Ok(None), audit::filter)?;
        let data = Data::open(options, parameters.tuning.clone(), repair)?;
        let process = ObjectId::generate();
        let audit = audit.map(|options| Audit::open(&options, filter, process)).transpose().inspect_err(|_| {
            let _ = data.close();
        })?;
        Ok(Arc::new(Shared {
            data,
            audit,
            cursors: Cursors::default(),
            sessions: Sessions::default(),
            operations: Operations::default(),
            failpoints,
            process,
            connections: AtomicU64::new(0),
            open_connections: AtomicU64::new(0),
            waiting_connections: AtomicU64::new(0),
            usage: Usage::new(commands),
            profiler: Profiler::default(),
            parameters,
            default_concerns: DefaultConcerns::default(),
            cluster_parameters: ClusterParameters::default(),
            query_settings: QuerySettings::default(),
            write_block: WriteBlock::default(),
            users: Users::default(),
            secret: Secret::default(),
            logins: Logins::default(),
            attempts: Attempts::default(),
            address: Mutex::new("localhost:27017".to_owned()),
            config_version: AtomicI32::new(1),
            rotation: Mutex::default(),
            warnings: Mutex::default(),
            settings: Mutex::default(),
            closing: Mutex::new(false),
            closed: Condvar::new(),
        }))
    }

    /// The context of an operation of the database's own.
    pub fn op(self: &Arc<Shared>) -> OpCx {
        self.op_with(Arc::default())
    }

    /// The same for an operation that can be killed.
    pub fn op_with(self: &Arc<Shared>, kill: Arc<KillSwitch>) -> OpCx {
        OpCx::new(&self.data, self.clone(), kill)
    }

    /// To be held from reading a stored setting until memory has its new value.
    pub fn alone_in_settings(&self, op: &mut OpCx) -> Result<MutexGuard<'_, ()>> {
        loop {
            if let Some(guard) = self.settings.try_lock_for(limits::LOCK_POLL) {
                return Ok(guard);
            }
            op.interrupt()?;
        }
    }

    /// hello's `topologyVersion.counter`: it changes when the server stops being a primary.
    pub fn topology_counter(&self) -> i64 {
        if self.shutting_down() { 2 } else { 1 }
    }

    /// Says something that whoever started this should know, in the log and to `getLog`.
    pub fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        self.warnings.lock().push(warning);
    }

    /// Adds what reads a server's certificates anew.
    pub fn on_rotate_certificates(&self, rotate: Rotate) {
        self.rotation.lock().push(rotate);
    }

    /// Reads all certificates anew, of each server as far as it can; `None` where there are none.
    pub fn rotate_certificates(&self) -> Option<std::result::Result<(), String>> {
        let mut rotation = self.rotation.lock();
        let mut done = None;
        rotation.retain(|rotate| match rotate() {
            Some(outcome) => {
                done = Some(done.take().map_or(outcome.clone(), |before: std::result::Result<(), String>| before.and(outcome)));
                true
            }
            None => false,
        });
        done
    }

    /// All that whoever started this should know.
    pub fn warnings(&self) -> Vec<String> {
        let found = crate::data::damage::warnings(self);
        found.into_iter().chain(self.warnings.lock().iter().cloned()).collect()
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

    /// Ends cursors whose session has ended or expired, also while a command used them.
    pub fn end_orphans(&self) {
        self.cursors.kill_where(|cursor| cursor.lsid.as_ref().is_some_and(|lsid| !self.sessions.exists(lsid)));
    }

    pub fn begin_shutdown(&self) {
        if let (false, Some(audit)) = (self.shutting_down(), &self.audit) {
            let _ = audit::speaking(self, |who| audit.tell(who, Weight::Past, &Event::new("shutdown", |_| {})));
        }
        self.data.shut_down();
        *self.closing.lock() = true;
        self.closed.notify_all();
        self.operations.kill_all();
        self.watchers.wake_all();
    }

    pub fn close(&self) -> Result<()> {
        self.begin_shutdown();
        self.cursors.clear();
        self.sessions.clear();
        let closed = self.data.close();
        if let Some(audit) = &self.audit {
            audit.close();
        }
        closed
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::warn!("closing the database: {e}");
        }
    }
}
