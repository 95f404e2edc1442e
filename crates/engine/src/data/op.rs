//! One operation: its storage transaction, its locks, its deadline, and what it will write to the oplog.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smongo_bson::{Code, DocBuf, Error, Result, Timestamp, ValueBuf, bail, err};
use smongo_mql::running::{self, Entered, Operation};
use smongo_mql::stream::{Sink, SourceSpec, WriteSpec};
use smongo_mql::{CompileCx, Host, Stream};
use smongo_storage::{self as storage, Table};

use crate::data::above::{Above, Build};
use crate::data::api::Api;
use crate::data::catalog::{Collection, Collections, Created, LockGuard, State};
use crate::data::database::Data;
use crate::data::fsync_lock::WriteGuard;
use crate::data::limits;
use crate::data::lsid::{Lsid, Uid};
use crate::data::namespace::Ns;
use crate::data::oplog::Pending;
use crate::data::patience::Patience;
use crate::data::retry::{self, Retry, Statements};
use crate::data::snapshots::{Pin, Snapshot};
use crate::data::tally::add;
use crate::data::watchers::Touched;

/// What an operation and those who watch it tell each other.
#[derive(Default)]
pub struct KillSwitch {
    /// Set by whoever kills the operation: zero while it may run, else the code it must fail with.
    killed: AtomicI32,
    /// How far the operation has come, where it tells.
    progress: Mutex<Option<Progress>>,
}

/// What currentOp shows of a long operation: what it is at, and a figure that is asked for when it is shown.
#[derive(Clone)]
pub struct Progress {
    pub message: String,
    pub store: storage::Store,
    pub table: storage::Table,
}

impl KillSwitch {
    pub fn kill(&self, code: Code) {
        let _ = self.killed.compare_exchange(0, code.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// For the next operation of the same client.
    pub fn reset(&self) {
        self.killed.store(0, Ordering::Relaxed);
    }

    /// Whether somebody wants the operation to end.
    pub fn is_set(&self) -> bool {
        self.killed.load(Ordering::Relaxed) != 0
    }

    pub fn progress(&self) -> Option<Progress> {
        self.progress.lock().clone()
    }

    pub fn set_progress(&self, progress: Option<Progress>) {
        *self.progress.lock() = progress;
    }

    pub fn check(&self) -> Result<()> {
        match self.killed.load(Ordering::Relaxed) {
            0 => Ok(()),
            code if Code(code) == Code::InterruptedAtShutdown => bail!(InterruptedAtShutdown, "interrupted at shutdown"),
            code => Err(Error::new(Code(code), "operation was interrupted")),
        }
    }
}

/// Tells whether a transaction holds a part of a document's write and not the whole.
///
/// The statements of a group share a transaction, and one that fails must leave nothing of itself behind when the others are
/// committed. Documents and index entries are written through [`OpCx::put`], [`OpCx::put_new`] and [`OpCx::take`], which count.
#[derive(Default)]
struct Unit {
    written: u64,
    /// What was written when the last document was there with all its entries.
    whole: u64,
    /// What was written when the present item of a group began.
    item: u64,
}

/// What ran of a group of items.
pub struct Ran<T> {
    pub value: T,
    /// The item that failed, and how. What ran before it is in the transaction.
    pub failed: Option<(usize, Error)>,
}

/// Cursors of streams that were dropped half-way: an operation that opens thousands of them takes these first.
pub type Litter = Arc<Mutex<Vec<storage::CursorId>>>;

/// The context an operation runs in. Streams get it as their [`Host`].
///
/// A statement outside a multi-document transaction is a transaction of its own ([`OpCx::write`], [`OpCx::read`]); inside
/// one, this very context is kept by the logical session from command to command.
pub struct OpCx {
    pub data: Arc<Data>,
    above: Arc<dyn Above>,
    /// There from the first read or write on. While a kept snapshot is read, it is that one's.
    store: Option<storage::Session>,
    active: bool,
    /// The catalog's generation when the snapshot was taken.
    generation: u64,
    /// What existed when the snapshot was taken, where that matters: for transactions and snapshot reads.
    existing: Option<Arc<Collections>>,
    /// What the transaction has created.
    pub created: Created,
    /// The time of the kept snapshot that is read.
    kept_at: Option<Timestamp>,
    /// Keeps it between the commands of a transaction.
    pin: Option<Pin>,
    /// A multi-document transaction: nothing commits before `commitTransaction`.
    pub multi: bool,
    pub pending: Pending,
    guards: Vec<(Arc<Collection>, LockGuard)>,
    /// Held by what writes, so that `fsync: {lock: true}` waits for it and it for that.
    gate: Option<WriteGuard>,
    sizes: Vec<(Arc<State>, i64, i64)>,
    /// Documents inserted, updated, deleted in the transaction.
    pub changed: [u64; 3],
    unit: Unit,
    pub deadline: Option<Instant>,
    pub kill: Arc<KillSwitch>,
    /// What commands compile against: now, cluster time; collation and `let` are the command's to fill in.
    pub compile: CompileCx,
    /// Something was committed that the command's write concern may want on disk.
    pub committed: bool,
    /// What the command answers must be on disk whatever its concerns say.
    pub durable: bool,
    /// The user from whom others' operations, cursors and sessions are hidden.
    pub held_to: Option<Uid>,
    /// The command's bypassDocumentValidation, for `$out` and `$merge`.
    pub bypass_validation: bool,
    /// When a snapshot read, or a transaction of a given time, is to read.
    pub read_time: Option<Timestamp>,
    /// The level of the read concern that the transaction began with.
    pub read_level: Option<String>,
    /// The retryable write this command belongs to.
    pub retry: Option<Retry>,
    /// Of a multi-document transaction: what its commit is remembered under.
    pub transaction: Option<(Lsid, i64)>,
    /// A write of the multi-document transaction failed, so that it can only abort.
    pub doomed: Cell<bool>,
    /// A fail point wants the connection closed.
    pub close: bool,
    /// The Stable API's fields of the command, and its comment: what its cursor is bound to and hands on.
    pub api: Api,
    pub comment: Option<ValueBuf>,
    /// Query settings of the command's shape.
    pub settings: Option<DocBuf>,
    /// Statements that were answered from memory, because they had been sent before.
    pub repeated: RefCell<BTreeSet<i32>>,
    /// Streams are parked for long: they give up what memory they can.
    pub resting: bool,
    /// Storage cursors of streams that were dropped half-way, once there is a stream that could be.
    litter: Option<Litter>,
}

/// The session of an operation that is active; apart from the operation, whose other parts are needed beside it.
fn begun(store: &mut Option<storage::Session>) -> &mut storage::Session {
    match store {
        Some(store) => store,
        None => unreachable!("an active operation has a session"),
    }
}

impl OpCx {
    pub fn new(data: &Arc<Data>, above: Arc<dyn Above>, kill: Arc<KillSwitch>) -> OpCx {
        OpCx {
            store: None,
            data: data.clone(),
            above,
            active: false,
            generation: 0,
            existing: None,
            created: Created::default(),
            kept_at: None,
            pin: None,
            multi: false,
            pending: Pending::default(),
            guards: Vec::new(),
            gate: None,
            sizes: Vec::new(),
            changed: [0; 3],
            unit: Unit::default(),
            deadline: None,
            kill,
            compile: CompileCx::default(),
            committed: false,
            durable: false,
            held_to: None,
            bypass_validation: false,
            read_time: None,
            read_level: None,
            retry: None,
            transaction: None,
            doomed: Cell::new(false),
            close: false,
            api: Api::default(),
            comment: None,
            settings: None,
            repeated: RefCell::default(),
            resting: false,
            litter: None,
        }
    }

    /// A second operation of the database beside this one.
    pub fn another(&self) -> OpCx {
        OpCx::new(&self.data, self.above.clone(), Arc::default())
    }

    /// The storage session, with a transaction begun.
    pub fn store(&mut self) -> Result<&mut storage::Session> {
        if !self.active {
            match self.read_time {
                Some(at) => self.read_kept(Some(at))?,
                None => self.begin()?,
            }
        }
        Ok(begun(&mut self.store))
    }

    fn begin(&mut self) -> Result<()> {
        self.generation = self.data.catalog.generation();
        self.existing = self.multi.then(|| self.data.catalog.snapshot());
        self.session()?.begin(storage::Begin::default())?;
        self.active = true;
        Ok(())
    }

    /// The storage session, whether or not there is a transaction.
    fn session(&mut self) -> storage::Result<&mut storage::Session> {
        let session = match self.store.take() {
            Some(session) => session,
            None => self.data.store.session()?,
        };
        Ok(self.store.insert(session))
    }

    /// Before a long sleep: who needs a table for itself cannot reach the cursors of a session that is not in the pool. Streams
    /// must be parked.
    pub fn give_session_back(&mut self) {
        if !self.active {
            self.store = None;
        }
    }

    /// Reads a kept snapshot from here on: that of a time, or else of the present.
    pub fn read_kept(&mut self, at: Option<Timestamp>) -> Result<()> {
        let data = self.data.clone();
        let interrupt = || self.check_interrupt();
        let Snapshot { at: found, session, catalog, generation, pin } = match at {
            Some(at) => data.snapshots.of(&data, at, interrupt)?,
            None => data.snapshots.take(&data, interrupt)?,
        };
        self.store = Some(session);
        (self.generation, self.existing) = (generation, Some(catalog));
        self.kept_at = Some(found);
        self.pin = Some(pin);
        self.read_time = Some(at.unwrap_or(found));
        self.active = true;
        Ok(())
    }

    /// The time of a snapshot read outside of transactions, which its reply names.
    pub fn snapshot_time(&self) -> Option<Timestamp> {
        self.read_time.filter(|_| !self.multi)
    }

    /// A command of a transaction of a given time begins: it reads the snapshot that the commands before it read.
    pub fn resume_snapshot(&mut self) -> Result<()> {
        if self.multi && self.read_time.is_some() {
            self.store()?;
        }
        Ok(())
    }

    /// Gives a kept snapshot back; `false` when none is read.
    fn end_kept(&mut self) -> bool {
        let Some(at) = self.kept_at.take() else { return false };
        let catalog = self.existing.take().unwrap_or_default();
        if let Some((mut session, pin)) = self.store.take().zip(self.pin.clone()) {
            // It may rest for minutes; a cursor that stays is one more try for whoever verifies or drops its table.
            if let Err(e) = session.close_kept() {
                tracing::warn!("closing the cursors of a kept snapshot: {e}");
            }
            self.data.snapshots.give_back(Snapshot { at, session, catalog, generation: self.generation, pin });
        }
        self.active = false;
        true
    }

    /// A collection or view, as this operation's snapshot knows it.
    pub fn collection(&self, ns: &Ns) -> Result<Option<Arc<Collection>>> {
        if let Some(own) = self.created.get(ns) {
            return Ok(Some(own.clone()));
        }
        let now = self.data.catalog.get(ns).or_else(|| self.above.made(ns));
        now.as_ref().map_or(Ok(()), |coll| coll.usable())?;
        let Some(existing) = self.existing.as_ref().filter(|_| !now.as_ref().is_some_and(|coll| coll.is_made())) else { return Ok(now) };
        if now.as_ref().is_some_and(|coll| coll.buckets_of().is_some()) {
            let series = crate::data::buckets::series_of(ns).map_or(Ok(None), |series| self.collection(&series))?;
            return Ok(series.and_then(|series| crate::data::buckets::collection(&series)));
        }
        match (existing.get(ns), now) {
            (None, _) => Ok(None),
            (Some(then), Some(now)) if then.uuid == now.uuid => Ok(Some(now)),
            // Its tables may be gone already.
            (Some(_), _) => bail!(SnapshotUnavailable, "Unable to read from a snapshot due to pending collection catalog changes to {ns}; please retry the operation."),
        }
    }

    /// The same, or NamespaceNotFound.
    pub fn require(&self, ns: &Ns) -> Result<Arc<Collection>> {
        self.collection(ns)?.ok_or_else(|| err!(NamespaceNotFound, "ns does not exist: {ns}"))
    }

    /// The collection with the indexes that this operation's snapshot knows entirely.
    pub fn seen(&self, coll: &Arc<Collection>) -> Arc<Collection> {
        if self.existing.is_none() || coll.indexes.iter().all(|i| i.is_complete_in(self.generation)) {
            return coll.clone();
        }
        let known = coll.indexes.iter().filter(|i| i.is_complete_in(self.generation));
        Arc::new(coll.with_indexes(known.cloned().collect()))
    }

    /// Where dropped streams leave their storage cursors.
    pub fn litter(&mut self) -> Litter {
        self.litter.get_or_insert_default().clone()
    }

    /// The storage session for reading what a cursor lends; a transaction must have been begun.
    pub fn lent(&self) -> &storage::Session {
        match &self.store {
            Some(store) => store,
            None => unreachable!("nothing is lent before a transaction has begun"),
        }
    }

    /// Runs one statement that writes. Outside a multi-document transaction it commits, and is tried again after a write conflict.
    pub fn write<T>(&mut self, mut statement: impl FnMut(&mut OpCx) -> Result<T>) -> Result<T> {
        if self.multi {
            // The storage undoes whole transactions only: what the failed statement wrote is still there.
            return statement(self).inspect_err(|_| self.doomed.set(true));
        }
        let mut tries = 0;
        loop {
            self.rollback();
            match statement(self).and_then(|value| self.commit_statement().map(|()| value)) {
                Err(e) if e.code() == Code::WriteConflict && tries < limits::CONFLICT_RETRIES => {
                    add(&self.data.tally.write_conflicts, 1);
                    self.rollback();
                    tries += 1;
                    self.interrupt()?;
                    back_off(tries);
                }
                Err(e) => {
                    self.rollback();
                    return Err(e);
                }
                done => return done,
            }
        }
    }

    /// Runs a group of items in one transaction as if each were a write of its own: when one fails, nothing of it stays, and those
    /// before it are committed. `run` is given how many items it may run, begins each with [`OpCx::begin_item`], and stops at the
    /// first that fails, whose error comes back beside what was done. Errors of `run` itself undo everything; a multi-document
    /// transaction can only abort after either.
    ///
    /// The storage undoes whole transactions only: after a failed item that had begun to write, those before it run again.
    pub fn write_group<T>(&mut self, items: usize, mut run: impl FnMut(&mut OpCx, usize) -> Result<Ran<T>>) -> Result<(T, Option<Error>)> {
        let (mut limit, mut failed) = (items, None);
        loop {
            let mut torn = None;
            let done = self.write(|op| {
                torn = None;
                match run(op, limit)? {
                    Ran { value, failed: None } => Ok((value, None)),
                    Ran { failed: Some((_, e)), .. } if e.code() == Code::WriteConflict => Err(e),
                    Ran { value, failed: Some((_, e)) } if op.multi => {
                        op.doomed.set(true);
                        Ok((value, Some(e)))
                    }
                    Ran { value, failed: Some((_, e)) } if op.unit.written == op.unit.item => Ok((value, Some(e))),
                    Ran { failed: Some((at, e)), .. } => {
                        torn = Some(at);
                        Err(e)
                    }
                }
            });
            match (done, torn) {
                (Ok((value, e)), _) => return Ok((value, e.or(failed))),
                (Err(e), Some(at)) if at < limit => (limit, failed) = (at, Some(e)),
                (Err(e), _) => return Err(e),
            }
        }
    }

    /// An item of a group begins: what is written from here on goes when it fails.
    pub fn begin_item(&mut self) {
        self.unit.item = self.unit.written;
    }

    /// Writes a part of a document's write. See [`OpCx::whole`].
    #[inline]
    pub fn put(&mut self, table: &Table, key: &[u8], value: &[u8]) -> Result<()> {
        self.store()?.insert(table, key, value)?;
        self.unit.written += 1;
        Ok(())
    }

    /// The same under a new key; `false`, with nothing written, when the key is there.
    #[inline]
    pub fn put_new(&mut self, table: &Table, key: &[u8], value: &[u8]) -> Result<bool> {
        let free = self.store()?.insert_new(table, key, value)?;
        self.unit.written += u64::from(free);
        Ok(free)
    }

    /// Removes a key as a part of a document's write.
    #[inline]
    pub fn take(&mut self, table: &Table, key: &[u8]) -> Result<()> {
        self.store()?.remove(table, key)?;
        self.unit.written += 1;
        Ok(())
    }

    /// The document being written is there with all its entries. A transaction commits only then.
    pub fn whole(&mut self) {
        self.unit.whole = self.unit.written;
    }

    /// Commits a statement, unless the fail point of retryable writes comes between.
    fn commit_statement(&mut self) -> Result<()> {
        let wrote = self.retry.is_some() && !self.pending.is_empty();
        let Some(fail) = wrote.then(|| self.above.fails_write()).flatten() else { return self.commit() };
        // The command goes on; only that nobody will hear its reply.
        self.close |= fail.close;
        match fail.before_commit {
            Some(code) => Err(Error::new(Code(code), "failing a retryable write before its commit by the fail point")),
            None => self.commit(),
        }
    }

    /// Tells of the building of indexes.
    pub fn index_build(&self, ns: &Ns, specs: &[DocBuf], build: Build) -> Result<()> {
        self.above.index_build(ns, specs, build)
    }

    /// Ends reading: outside a multi-document transaction the snapshot is let go.
    pub fn end_read(&mut self) {
        if !self.multi {
            self.rollback();
        }
    }

    /// Writes the oplog entries of what was done and commits both together.
    pub fn commit(&mut self) -> Result<()> {
        if !self.active || self.end_kept() {
            self.release();
            return Ok(());
        }
        if self.unit.written != self.unit.whole || self.doomed.get() {
            self.rollback();
            bail!(InternalError, "what a failed write left was about to be committed");
        }
        if !self.pending.defines() {
            return self.commit_all();
        }
        let above = self.above.clone();
        // Before timestamps are taken, which others wait for.
        let told = above.before_definition(self).inspect_err(|_| self.rollback())?;
        self.commit_all().inspect_err(|e| above.undefined(told, e))
    }

    fn commit_all(&mut self) -> Result<()> {
        let wrote = !self.pending.is_empty() || !self.guards.is_empty();
        if let (true, Some((lsid, number))) = (wrote, &self.transaction) {
            retry::note_commit(&self.data, begun(&mut self.store), lsid, *number)?;
        }
        self.write_oplog()?;
        let created = std::mem::take(&mut self.created);
        let mut commit = || begun(&mut self.store).commit(storage::Durability::Lazy);
        let done = match created.is_empty() {
            true => commit(),
            false => self.data.catalog.commit_created(created, commit),
        };
        self.active = false;
        let timestamps = self.pending.timestamps();
        match &done {
            Ok(()) if timestamps.is_empty() => self.data.watchers.wake(&self.touched()),
            Ok(()) => self.data.ended(timestamps, self.touched()),
            Err(_) => self.data.ended(timestamps, Touched::Nothing),
        }
        if done.is_ok() {
            if self.pending.concerns_users() {
                self.data.users_changed();
            }
            self.committed |= wrote;
            let (entries, bytes) = self.pending.written();
            self.data.oplog_grew(entries, bytes);
            if let Some(retry) = &mut self.retry {
                retry.committed();
            }
            let tally = &self.data.tally;
            for (counter, n) in [&tally.inserted, &tally.updated, &tally.deleted].into_iter().zip(self.changed) {
                if n > 0 {
                    add(counter, n);
                }
            }
            for (state, documents, bytes) in self.sizes.drain(..) {
                state.add(documents, bytes);
            }
        }
        self.release();
        Ok(done?)
    }

    fn write_oplog(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.pending.write(&self.data, begun(&mut self.store), self.multi);
        if written.is_err() {
            self.data.ended(self.pending.timestamps(), Touched::Nothing);
        }
        written
    }

    /// Notes what the transaction changed where watchers look before they read the oplog; returns whom to wake.
    fn touched(&self) -> Touched {
        if let Some(last) = self.pending.timestamps().last().map(|ts| ts.to_u64()) {
            self.guards.iter().for_each(|(coll, _)| coll.state.changed(last));
            if self.pending.has_commands() {
                self.data.note_command(last);
            }
        }
        if self.pending.has_commands() || self.data.watchers.none() {
            return Touched::Everything;
        }
        Touched::Collections(self.guards.iter().map(|(coll, _)| coll.clone()).collect())
    }

    pub fn rollback(&mut self) {
        if self.active && !self.end_kept() {
            // A failed rollback leaves the session unusable; the pool notices when it gets it back.
            let _ = self.store.as_mut().map(|store| store.rollback());
            self.active = false;
        }
        self.release();
    }

    /// What an earlier try of this statement of a retryable write answered.
    pub fn retried(&self, statement: Option<i32>) -> Option<DocBuf> {
        let answer = self.retry.as_ref()?.answered(statement?)?;
        self.repeated.borrow_mut().extend(statement);
        Some(answer)
    }

    /// Remembers, in the transaction of the statements, what they answer if they are sent again.
    pub fn note(&mut self, statements: Option<(i32, i32)>, reply: impl FnOnce() -> DocBuf) -> Result<()> {
        let Some((first, last)) = statements else { return Ok(()) };
        self.store()?;
        match &mut self.retry {
            Some(retry) => retry.note(&self.data, begun(&mut self.store), Statements { first, last, reply: reply() }),
            None => Ok(()),
        }
    }

    fn release(&mut self) {
        if let Some(retry) = &mut self.retry {
            retry.noted.clear();
        }
        self.pending.clear();
        self.unit = Unit::default();
        self.sizes.clear();
        self.changed = [0; 3];
        self.guards.clear();
        self.gate = None;
        self.existing = None;
        if !self.created.is_empty() {
            self.data.catalog.forget_created(std::mem::take(&mut self.created));
        }
    }

    /// The way into every write. Keeps `fsync: {lock: true}` away until the transaction ends; waits while it is locked. A kept
    /// snapshot that was read so far is the transaction's own from here on.
    pub fn enter_gate(&mut self) -> Result<()> {
        if let Some(at) = self.kept_at {
            if !self.multi {
                bail!(InvalidOptions, "a snapshot of an earlier time is only read outside of transactions");
            }
            self.data.snapshots.forget(at);
            (self.kept_at, self.pin) = (None, None);
        }
        let mut patience = self.patience();
        while self.gate.is_none() {
            self.gate = self.data.fsync.enter(patience.step());
            if self.gate.is_none() {
                patience.check("Global")?;
                if self.data.shutting_down() {
                    bail!(InterruptedAtShutdown, "interrupted at shutdown");
                }
                self.interrupt()?;
            }
        }
        Ok(())
    }

    /// How long the operation waits for a lock: a transaction only so long, everybody else until it is interrupted.
    pub fn patience(&self) -> Patience {
        let limit = self.data.tuning.transaction_lock_wait().filter(|_| self.multi);
        Patience::new(limit)
    }

    /// Keeps data definition away from the collection until the transaction ends, and makes sure that the snapshot
    /// of it is still the current one.
    pub fn lock(&mut self, coll: &Arc<Collection>) -> Result<()> {
        if self.guards.iter().any(|(held, _)| Arc::ptr_eq(&held.state, &coll.state)) {
            return Ok(());
        }
        self.enter_gate()?;
        let mut patience = self.patience();
        let guard = loop {
            if let Some(guard) = coll.state.lock.try_read_arc_for(patience.step()) {
                break guard;
            }
            patience.check(coll.ns.as_str())?;
            self.interrupt()?;
        };
        match self.data.catalog.get(&coll.ns) {
            Some(current) if Arc::ptr_eq(&current, coll) => {
                self.guards.push((coll.clone(), guard));
                Ok(())
            }
            None if self.created.holds(coll) => {
                self.guards.push((coll.clone(), guard));
                Ok(())
            }
            // Data definition came between looking the collection up and locking it: the statement starts over.
            _ => bail!(WriteConflict, "collection {} changed while it was being opened", coll.ns),
        }
    }

    /// Remembers a change of a collection's size; it counts when the transaction commits.
    pub fn resize(&mut self, state: &Arc<State>, documents: i64, bytes: i64) {
        match self.sizes.last_mut() {
            Some((last, d, b)) if Arc::ptr_eq(last, state) => {
                *d += documents;
                *b += bytes;
            }
            _ => self.sizes.push((state.clone(), documents, bytes)),
        }
    }

    /// Documents and bytes by which this transaction has changed a collection so far.
    pub fn resized(&self, state: &Arc<State>) -> (i64, i64) {
        let mine = self.sizes.iter().filter(|(s, _, _)| Arc::ptr_eq(s, state));
        mine.fold((0, 0), |(d, b), (_, documents, bytes)| (d + documents, b + bytes))
    }

    /// Waits until everything committed so far is on disk, where the command asks for it, or it has committed and the
    /// options ask. A write that found nothing to change and a reader wait, too: what they saw may be on its way only.
    pub fn make_durable(&mut self, asked: bool) -> Result<()> {
        if asked || self.durable || (self.committed && self.data.options.always_durable) {
            self.data.store.sync_log()?;
        }
        Ok(())
    }

    fn check_interrupt(&self) -> Result<()> {
        check_interrupt(&self.kill, self.deadline)
    }

    /// Tells programs that run on this thread of the operation. A getMore has a time of its own to wait in, which is not meant.
    pub fn enter(&self, timed: bool) -> Entered {
        let (kill, deadline) = (self.kill.clone(), self.deadline.filter(|_| timed));
        let check = Box::new(move || check_interrupt(&kill, deadline));
        running::enter(Operation { check, now: self.compile.now, cluster_time: self.compile.cluster_time.unwrap_or_default() })
    }

    /// Between two commands of a transaction: nothing may point into the command that is over.
    pub fn rest(&mut self) {
        self.end_kept();
        self.deadline = None;
        self.kill = Arc::default();
        self.compile = CompileCx::default();
    }

    /// Checks the files of tables; what is wrong with each of them.
    pub fn verify(&mut self, tables: &[&storage::Table]) -> Result<Vec<storage::Result<()>>> {
        self.end_read();
        let store = self.data.store.clone();
        Ok(store.verify(self.session()?, tables)?)
    }

    /// Whether a transaction of the storage is under way.
    pub fn is_active(&self) -> bool {
        self.active
    }
}

impl Drop for OpCx {
    fn drop(&mut self) {
        self.rollback();
    }
}

fn check_interrupt(kill: &KillSwitch, deadline: Option<Instant>) -> Result<()> {
    kill.check()?;
    if deadline.is_some_and(|d| Instant::now() >= d) {
        bail!(MaxTimeMSExpired, "operation exceeded time limit");
    }
    Ok(())
}

/// Conflicting statements step aside a little longer each time, so that one of them gets through.
pub fn back_off(tries: u32) {
    match tries {
        0..4 => {}
        4..16 => std::thread::yield_now(),
        n => std::thread::sleep(Duration::from_micros(u64::from(n.min(200)) * 5)),
    }
}

impl Host for OpCx {
    fn interrupt(&mut self) -> Result<()> {
        self.check_interrupt()
    }

    fn open(&mut self, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>> {
        self.above.clone().open_pipeline(self, db, coll, stages, cx)
    }

    fn finds(&mut self, db: &str, coll: &str, path: &str, cx: &CompileCx) -> Result<bool> {
        self.above.clone().finds(self, db, coll, path, cx)
    }

    fn source(&mut self, source: &SourceSpec) -> Result<Box<dyn Stream>> {
        self.above.clone().open_source(self, source)
    }

    fn write(&mut self, target: &WriteSpec) -> Result<Box<dyn Sink>> {
        self.above.clone().open_sink(self, target)
    }

    fn resting(&self) -> bool {
        self.resting
    }

    fn memory_limit(&self) -> usize {
        self.data.options.blocking_bytes
    }

    fn spill_file(&mut self) -> Result<std::fs::File> {
        storage::descriptors::take(storage::descriptors::Need::Table)?;
        let made = match self.data.store.path() {
            Some(dir) => tempfile::tempfile_in(dir),
            None => tempfile::tempfile(),
        };
        made.map_err(|e| err!(OutOfDiskSpace, "cannot make a file to spill to: {e}"))
    }
}
