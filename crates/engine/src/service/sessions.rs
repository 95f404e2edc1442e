//! Logical sessions: what drivers' `lsid` names. They hold transactions between commands and remember retryable writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smongo_bson::{Code, Doc, DocBuf, Result, Value, bail};

use crate::data::limits;
use crate::data::lsid::{Lsid, Uid};
use crate::data::op::OpCx;
use crate::data::retry::{self, Answers, Retry, Statements, TURN_POLL, Turn};
use crate::data::tally::add;
use crate::service::command::{Args, Generic};
use crate::service::shared::Shared;

impl Lsid {
    pub fn parse(doc: Doc<'_>) -> Result<Lsid> {
        let mut args = Args::nested("lsid.", doc);
        let id = match args.value("id") {
            Value::Binary(b) if b.subtype() == 4 => match b.bytes().try_into() {
                Ok(id) => id,
                Err(_) => bail!(InvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype"),
            },
            v if v.is_nullish() => return Err(args.missing("id")),
            v => return Err(args.wrong_type("id", v, "binData")),
        };
        let uid = digest(&mut args, "uid")?;
        args.accept(&["txnNumber", "txnUUID", "stmtId"]);
        args.finish()?;
        Ok(Lsid { id, uid })
    }
}

/// The hash of a user's name.
pub fn digest(args: &mut Args<'_>, name: &str) -> Result<Option<[u8; 32]>> {
    match args.value(name) {
        v if v.is_nullish() => Ok(None),
        Value::Binary(b) => match b.bytes().try_into() {
            Ok(uid) => Ok(Some(uid)),
            Err(_) => bail!(UnsupportedFormat, "Unsupported SHA256Block length: {}", b.bytes().len()),
        },
        v => Err(args.wrong_type(name, v, "binData")),
    }
}

#[derive(Default)]
pub struct Sessions {
    all: Mutex<HashMap<Lsid, Slot>>,
    /// Transactions that began and that committed since the start.
    pub started: AtomicU64,
    pub committed: AtomicU64,
}

pub type Slot = Arc<Mutex<Logical>>;

/// One logical session.
pub struct Logical {
    pub last_use: Instant,
    txn_number: i64,
    txn: Txn,
    /// Statements of the retryable write `txn_number` that were applied, with what their reply said.
    statements: Vec<Statements>,
    /// What the store remembers from before this process was read.
    loaded: bool,
    /// Held by the command of a retryable write or of a transaction while it runs.
    turn: Arc<Mutex<()>>,
}

enum Txn {
    /// No transaction of this number: a retryable write, or nothing yet.
    None,
    /// `op` is out while a command runs.
    InProgress { op: Option<Box<OpCx>>, since: Instant },
    Committed,
    Aborted,
}

/// A transaction checked out for one command.
pub struct TxnRef {
    /// `None` when it has committed already and the command is a repeated `commitTransaction`.
    pub op: Option<Box<OpCx>>,
    pub slot: Slot,
    /// Keeps other commands of the transaction waiting.
    pub turn: Turn,
}

impl Sessions {
    fn slot(&self, lsid: &Lsid) -> Result<Slot> {
        let mut all = self.all.lock();
        if let Some(slot) = all.get(lsid) {
            return Ok(slot.clone());
        }
        if all.len() >= limits::LOGICAL_SESSIONS {
            bail!(TooManyLogicalSessions, "cannot add session into the cache");
        }
        let slot = Arc::new(Mutex::new(Logical::new()));
        all.insert(lsid.clone(), slot.clone());
        Ok(slot)
    }

    /// A command of a session outside a transaction; with a `txnNumber` it is a retryable write, and waits for another try of it.
    pub fn touch(&self, shared: &Shared, lsid: &Lsid, generic: &Generic<'_>) -> Result<Option<Retry>> {
        let slot = self.slot(lsid)?;
        slot.lock().last_use = Instant::now();
        let Some(number) = generic.txn_number else { return Ok(None) };
        let turn = take_turn(shared, &slot, generic.max_time_ms)?;
        let mut s = slot.lock();
        s.load(shared, lsid)?;
        s.advance(number)?;
        if !matches!(s.txn, Txn::None) {
            bail!(IncompleteTransactionHistory, "Cannot retry a retryable write that has been converted into a transaction");
        }
        drop(s);
        Ok(Some(Retry { session: slot, lsid: lsid.clone(), number, noted: Vec::new(), _turn: turn }))
    }

    /// A command inside a transaction: checks it out, or starts it.
    pub fn enter(&self, shared: &Arc<Shared>, lsid: &Lsid, generic: &Generic<'_>) -> Result<TxnRef> {
        let slot = self.slot(lsid)?;
        let number = generic.txn_number.unwrap_or(-1);
        let turn = take_turn(shared, &slot, generic.max_time_ms)?;
        let mut s = slot.lock();
        s.last_use = Instant::now();
        s.load(shared, lsid)?;
        if generic.start_transaction {
            if number == s.txn_number && !matches!(s.txn, Txn::Aborted) {
                bail!(ConflictingOperationInProgress, "Cannot start transaction with number {number} on session because a transaction or retryable write with the same number has already started on this session");
            }
            s.advance(number)?;
            add(&self.started, 1);
            let mut op = Box::new(shared.op());
            op.multi = true;
            op.transaction = Some((lsid.clone(), number));
            op.read_time = generic.read_concern.at_cluster_time;
            op.read_level = generic.read_concern.level.clone();
            s.txn = Txn::InProgress { op: None, since: Instant::now() };
            drop(s);
            return Ok(TxnRef { op: Some(op), slot, turn });
        }
        if number < s.txn_number {
            bail!(TransactionTooOld, "Cannot continue transaction {number} because a newer one with number {} has already started on this session", s.txn_number);
        }
        if number > s.txn_number {
            bail!(NoSuchTransaction, "Given transaction number {number} does not match any in-progress transactions. The active transaction number is {}", s.txn_number);
        }
        let found = match &mut s.txn {
            Txn::InProgress { op, .. } => match op.take() {
                Some(op) => Some(op),
                // Its last command broke off: what the transaction had done was rolled back with it.
                None => {
                    s.txn = Txn::Aborted;
                    bail!(NoSuchTransaction, "Transaction with {{ txnNumber: {number} }} has been aborted.")
                }
            },
            Txn::Committed if generic.command == "commitTransaction" => None,
            Txn::Committed => bail!(TransactionCommitted, "Transaction with {{ txnNumber: {number} }} has been committed."),
            Txn::Aborted => bail!(NoSuchTransaction, "Transaction with {{ txnNumber: {number} }} has been aborted."),
            Txn::None => bail!(NoSuchTransaction, "Given transaction number {number} does not match any in-progress transactions."),
        };
        drop(s);
        Ok(TxnRef { op: found, slot, turn })
    }

    /// The command is over: puts the transaction back, or ends it.
    pub fn leave(&self, slot: Slot, mut op: OpCx, done: Result<()>, command: &str) -> Result<()> {
        let mut s = slot.lock();
        s.last_use = Instant::now();
        match (command, &done) {
            ("commitTransaction", Ok(())) => {
                // One that is sent again finds it committed.
                if matches!(s.txn, Txn::InProgress { .. }) {
                    add(&self.committed, 1);
                }
                s.txn = Txn::Committed;
            }
            // Whether a commit that timed out or was interrupted took place is decided: it did not.
            ("abortTransaction", _) | (_, Err(_)) => abort(&mut s, &mut op),
            _ if op.doomed.get() => abort(&mut s, &mut op),
            _ => {
                if let Txn::InProgress { op: place, .. } = &mut s.txn {
                    op.rest();
                    *place = Some(Box::new(op));
                }
            }
        }
        done
    }

    /// Ends sessions: their transactions abort, their retryable writes are forgotten.
    pub fn end(&self, ids: &[Lsid]) {
        let gone: Vec<Slot> = {
            let mut all = self.all.lock();
            ids.iter().filter_map(|id| all.remove(id)).collect()
        };
        drop(gone);
    }

    /// Aborts the transactions of sessions that do not run a command just now.
    pub fn abort(&self, ids: &[Lsid]) {
        let all = self.all.lock();
        for slot in ids.iter().filter_map(|id| all.get(id)) {
            if let Some(mut s) = slot.try_lock()
                && matches!(s.txn, Txn::InProgress { op: Some(_), .. })
            {
                s.txn = Txn::Aborted;
            }
        }
    }

    pub fn refresh(&self, ids: &[Lsid]) -> Result<()> {
        for id in ids {
            self.slot(id)?.lock().last_use = Instant::now();
        }
        Ok(())
    }

    pub fn open_transactions(&self) -> usize {
        let slots: Vec<Slot> = self.all.lock().values().cloned().collect();
        slots.iter().filter(|slot| slot.try_lock().is_some_and(|logical| matches!(logical.txn, Txn::InProgress { .. }))).count()
    }

    /// The transactions no command runs in just now, as `$currentOp` shows them.
    pub fn list_idle(&self, only: Option<Uid>) -> Vec<DocBuf> {
        let shown = |id: &&Lsid| only.is_none() || id.uid == only;
        let slots: Vec<(Lsid, Slot)> = self.all.lock().iter().filter(|(id, _)| shown(id)).map(|(id, slot)| (id.clone(), slot.clone())).collect();
        slots.iter().filter_map(|(id, slot)| slot.try_lock()?.describe_idle(id)).collect()
    }

    pub fn ids(&self) -> Vec<Lsid> {
        self.all.lock().keys().cloned().collect()
    }

    /// Aborts transactions that are over their lifetime, forgets sessions that were idle for that long.
    pub fn expire(&self, idle: Duration, lifetime: Duration) {
        // Rolled back and dropped when others can reach their sessions again: it may take its time.
        let (mut over, mut gone) = (Vec::new(), Vec::new());
        let mut all = self.all.lock();
        all.retain(|_, slot| {
            let Some(mut s) = slot.try_lock() else { return true };
            if let Txn::InProgress { op: Some(_), since } = &s.txn
                && since.elapsed() > lifetime
            {
                over.push(std::mem::replace(&mut s.txn, Txn::Aborted));
            }
            let stays = s.last_use.elapsed() < idle;
            if !stays {
                gone.push(slot.clone());
            }
            stays
        });
        drop(all);
    }

    /// Counts those that commands run in as used just now.
    pub fn keep(&self, at_work: &[Lsid]) {
        let all = self.all.lock();
        for slot in at_work.iter().filter_map(|id| all.get(id)) {
            if let Some(mut s) = slot.try_lock() {
                s.last_use = Instant::now();
            }
        }
    }

    pub fn exists(&self, id: &Lsid) -> bool {
        self.all.lock().contains_key(id)
    }

    pub fn clear(&self) {
        self.all.lock().clear();
    }
}

/// Waits until no other command of the session's retryable write or transaction runs.
fn take_turn(shared: &Shared, slot: &Slot, max_time_ms: i64) -> Result<Turn> {
    let turn = slot.lock().turn.clone();
    let deadline = (max_time_ms > 0).then(|| Instant::now() + Duration::from_millis(max_time_ms as u64));
    loop {
        if let Some(guard) = turn.try_lock_arc_for(TURN_POLL) {
            return Ok(guard);
        }
        if shared.shutting_down() {
            bail!(InterruptedAtShutdown, "interrupted at shutdown");
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            bail!(MaxTimeMSExpired, "operation exceeded time limit");
        }
    }
}

impl Answers for Mutex<Logical> {
    fn answered(&self, statement: i32) -> Option<DocBuf> {
        self.lock().statements.iter().find(|s| (s.first..=s.last).contains(&statement)).map(|s| s.reply.clone())
    }

    fn remember(&self, statements: &mut Vec<Statements>) {
        self.lock().statements.append(statements);
    }
}

impl Logical {
    fn new() -> Logical {
        Logical { last_use: Instant::now(), txn_number: -1, txn: Txn::None, statements: Vec::new(), loaded: false, turn: Arc::default() }
    }

    /// Reads what the store remembers of the session, the first time it matters.
    fn load(&mut self, shared: &Shared, lsid: &Lsid) -> Result<()> {
        if self.loaded {
            return Ok(());
        }
        if let Some(remembered) = retry::load(shared, lsid)? {
            self.txn_number = remembered.number;
            self.txn = if remembered.committed { Txn::Committed } else { Txn::None };
            self.statements = remembered.statements;
        }
        self.loaded = true;
        Ok(())
    }

    fn describe_idle(&self, lsid: &Lsid) -> Option<DocBuf> {
        let Txn::InProgress { op: Some(_), since } = &self.txn else { return None };
        let micros = |then: Instant| then.elapsed().as_micros() as i64;
        Some(DocBuf::build(|w| {
            w.append("type", "idleSession").append("desc", "inactive transaction").append("lsid", lsid.to_doc().as_doc());
            {
                let mut txn = w.document("transaction");
                txn.document("parameters").append("txnNumber", self.txn_number).append("autocommit", false);
                txn.append("timeOpenMicros", micros(*since)).append("timeInactiveMicros", micros(self.last_use));
            }
            w.append("active", false);
        }))
    }


    /// Moves on to a transaction number; a transaction of an older number aborts.
    fn advance(&mut self, number: i64) -> Result<()> {
        if number < self.txn_number {
            bail!(TransactionTooOld, "Retryable write with txnNumber {number} is prohibited on this session because a newer retryable write with txnNumber {} has already started on this session.", self.txn_number);
        }
        if number > self.txn_number {
            self.txn_number = number;
            self.txn = Txn::None;
            self.statements.clear();
        }
        Ok(())
    }
}

fn abort(session: &mut Logical, op: &mut OpCx) {
    op.rollback();
    session.txn = Txn::Aborted;
}

/// Commits the transaction of the operation, for `commitTransaction`.
pub fn commit(op: &mut OpCx) -> Result<()> {
    if !op.multi {
        return Ok(());
    }
    op.commit().map_err(|e| if e.code() == Code::WriteConflict { e.with_label("TransientTransactionError") } else { e })?;
    op.multi = false;
    Ok(())
}
