//! Clients that append to lists and read them, through whatever runs commands.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use smongo_bson::json::parse_doc;
use smongo_bson::{DocBuf, Value};

use crate::history::{Element, Key, Op, Outcome, Txn};

/// A client's way to the database.
pub trait Door {
    /// The reply; `None` when the connection broke, so that it is unknown whether the command was run.
    fn run(&mut self, db: &str, command: DocBuf) -> Option<DocBuf>;
}

/// splitmix64: a seed tells what each client wants to do, though not how threads interleave.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }
}

/// What a history is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub threads: usize,
    pub transactions: usize,
    pub keys: usize,
    /// Every acknowledgement, of reads too, is of what a crash leaves.
    pub durable: bool,
}

impl Plan {
    pub fn random(seed: u64, transactions: usize, durable: bool) -> Plan {
        let mut r = Random(seed);
        Plan { seed, threads: 1 + r.below(16), transactions, keys: 2 + r.below(11), durable }
    }
}

/// A history under way.
pub struct Run {
    pub plan: Plan,
    clock: AtomicU64,
    elements: AtomicI64,
    /// Transactions that have committed or may have.
    done: AtomicUsize,
}

/// The lists lie in two databases.
fn place(key: Key) -> (&'static str, &'static str) {
    if key.is_multiple_of(2) { ("even", "lists") } else { ("odd", "lists") }
}

impl Run {
    pub fn new(plan: Plan) -> Run {
        Run { plan, clock: AtomicU64::new(1), elements: AtomicI64::new(1), done: AtomicUsize::new(0) }
    }

    pub fn prepare(&self, door: &mut dyn Door) {
        for db in ["even", "odd"] {
            let index = r#"{"createIndexes": "lists", "indexes": [{"key": {"key": 1}, "name": "key_1"}]}"#;
            let Some(reply) = door.run(db, command(index)) else { panic!("lost") };
            assert!(reply.get("ok").truthy(), "{reply:?}");
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    pub fn over(&self) -> bool {
        self.done() >= self.plan.transactions
    }

    /// A client's life. `connect` gives it a new way to the database when the old one broke.
    pub fn client<D: Door>(&self, number: usize, connect: impl Fn() -> D) -> Vec<Txn> {
        let mut history = Vec::new();
        let mut random = Random(self.plan.seed ^ ((number as u64 + 1) << 32));
        while !self.over() {
            let mut client = Client { run: self, door: connect(), random: Random(random.next()), lsid: random.next(), txn_number: 0 };
            while !self.over() {
                let (txn, lost) = client.transaction();
                self.done.fetch_add(usize::from(txn.outcome != Outcome::Aborted), Ordering::Relaxed);
                history.push(txn);
                if lost {
                    break;
                }
            }
        }
        history
    }

    /// Reads every list when all is quiet: what was acknowledged must be there.
    pub fn read_all<D: Door>(&self, door: D) -> Txn {
        let mut client = Client { run: self, door, random: Random(0), lsid: 0, txn_number: 0 };
        let began = self.tick();
        let mut ops = Vec::new();
        for parity in 0..2 {
            let keys: Vec<Key> = (0..self.plan.keys as Key).filter(|key| key % 2 == parity).collect();
            client.find(&keys, "", &mut ops).unwrap_or_else(|_| panic!("the last read failed"));
        }
        Txn { ops, outcome: Outcome::Committed, began, ended: self.tick() }
    }
}

struct Client<'r, D> {
    run: &'r Run,
    door: D,
    random: Random,
    lsid: u64,
    txn_number: i64,
}

/// Why a command has no result.
enum Failure {
    /// A write conflict, which ends a transaction.
    Conflict,
    Lost,
}

impl<D: Door> Client<'_, D> {
    /// One transaction, and whether the connection broke.
    fn transaction(&mut self) -> (Txn, bool) {
        let began = self.run.tick();
        let mut ops = Vec::new();
        let (outcome, lost) = match self.random.below(10) {
            0..6 => self.several(&mut ops),
            6..8 => {
                let durable = if self.run.plan.durable { r#", "writeConcern": {"w": "majority"}"# } else { "" };
                self.single(&mut ops, |client, ops| client.append(durable, ops))
            }
            _ => {
                let durable = if self.run.plan.durable { r#", "readConcern": {"level": "majority"}"# } else { "" };
                self.single(&mut ops, |client, ops| client.read(durable, ops))
            }
        };
        (Txn { ops, outcome, began, ended: self.run.tick() }, lost)
    }

    /// A statement by itself: it is run again after a conflict, so none may show.
    fn single(&mut self, ops: &mut Vec<Op>, statement: impl Fn(&mut Self, &mut Vec<Op>) -> Result<(), Failure>) -> (Outcome, bool) {
        match statement(self, ops) {
            Ok(()) => (Outcome::Committed, false),
            Err(Failure::Conflict) => panic!("a write conflict outside of a transaction"),
            Err(Failure::Lost) => (Outcome::Unknown, true),
        }
    }

    fn several(&mut self, ops: &mut Vec<Op>) -> (Outcome, bool) {
        self.txn_number += 1;
        let session = format!(
            r#", "lsid": {{"id": {{"$uuid": "00000000-0000-4000-8000-{:012x}"}}}}, "txnNumber": {{"$numberLong": "{}"}}, "autocommit": false"#,
            self.lsid & 0xffff_ffff_ffff,
            self.txn_number
        );
        let mut fields = format!(r#"{session}, "startTransaction": true"#);
        for _ in 0..=self.random.below(6) {
            let step = if self.random.percent(55) { self.append(&fields, ops) } else { self.read(&fields, ops) };
            match step {
                Ok(()) => fields.clone_from(&session),
                Err(Failure::Conflict) => return (Outcome::Aborted, false),
                // Nobody asked for the commit.
                Err(Failure::Lost) => return (Outcome::Aborted, true),
            }
            if self.random.percent(10) {
                std::thread::yield_now();
            }
        }
        let (end, outcome) = if self.random.percent(8) { ("abortTransaction", Outcome::Aborted) } else { ("commitTransaction", Outcome::Committed) };
        let durable = if self.run.plan.durable { r#", "writeConcern": {"w": "majority"}"# } else { "" };
        match self.command("admin", &format!(r#"{{"{end}": 1{session}{durable}}}"#)) {
            Ok(_) => (outcome, false),
            Err(Failure::Conflict) => (Outcome::Aborted, false),
            Err(Failure::Lost) if outcome == Outcome::Committed => (Outcome::Unknown, true),
            Err(Failure::Lost) => (Outcome::Aborted, true),
        }
    }

    fn command(&mut self, db: &str, text: &str) -> Result<DocBuf, Failure> {
        let Some(reply) = self.door.run(db, command(text)) else { return Err(Failure::Lost) };
        let failed = match reply.get("writeErrors").as_array().and_then(|a| a.iter().next()) {
            Some(Value::Document(error)) => Some(error.get("code")),
            _ if !reply.get("ok").truthy() => Some(reply.get("code")),
            _ => None,
        };
        match failed {
            None => Ok(reply),
            Some(Value::Int32(112)) => Err(Failure::Conflict),
            Some(_) => panic!("{text}: {reply:?}"),
        }
    }

    fn key(&mut self) -> Key {
        self.random.below(self.run.plan.keys) as Key
    }

    fn append(&mut self, fields: &str, ops: &mut Vec<Op>) -> Result<(), Failure> {
        let (key, element) = (self.key(), self.run.elements.fetch_add(1, Ordering::Relaxed));
        let (db, coll) = place(key);
        // Recorded first: an append of which no answer came may have happened.
        ops.push(Op::Append(key, element));
        let change = format!(r#"{{"$push": {{"list": {element}}}, "$setOnInsert": {{"key": {key}}}}}"#);
        let filter = if self.random.percent(50) { format!(r#"{{"_id": {key}}}"#) } else { format!(r#"{{"_id": {key}, "key": {key}}}"#) };
        if self.random.percent(60) {
            self.command(db, &format!(r#"{{"update": "{coll}", "updates": [{{"q": {filter}, "u": {change}, "upsert": true}}]{fields}}}"#))?;
            return Ok(());
        }
        let text = format!(r#"{{"findAndModify": "{coll}", "query": {filter}, "update": {change}, "upsert": true, "new": true{fields}}}"#);
        let reply = self.command(db, &text)?;
        let Value::Document(now) = reply.get("value") else { panic!("{reply:?}") };
        ops.push(Op::Read(key, elements(now.get("list"))));
        Ok(())
    }

    /// One list, or several of one collection in one batch.
    fn read(&mut self, fields: &str, ops: &mut Vec<Op>) -> Result<(), Failure> {
        let first = self.key();
        let mut keys = vec![first];
        for _ in 0..self.random.below(4) {
            let other = self.key();
            if other % 2 == first % 2 && !keys.contains(&other) {
                keys.push(other);
            }
        }
        self.find(&keys, fields, ops)
    }

    fn find(&mut self, keys: &[Key], fields: &str, ops: &mut Vec<Op>) -> Result<(), Failure> {
        let Some(&first) = keys.first() else { return Ok(()) };
        let (db, coll) = place(first);
        let by = if self.random.percent(50) { "_id" } else { "key" };
        let reply = self.command(db, &format!(r#"{{"find": "{coll}", "filter": {{"{by}": {{"$in": {keys:?}}}}}{fields}}}"#))?;
        let Value::Document(cursor) = reply.get("cursor") else { panic!("{reply:?}") };
        assert!(matches!(cursor.get("id"), Value::Int64(0)));
        let batch = cursor.get("firstBatch");
        let found = batch.as_array().into_iter().flat_map(|batch| batch.iter()).filter_map(|v| v.as_doc());
        let lists: Vec<(i64, Vec<Element>)> = found.map(|d| (integer(d.get("_id")), elements(d.get("list")))).collect();
        for &key in keys {
            let mut of_key = lists.iter().filter(|(id, _)| *id == i64::from(key));
            ops.push(Op::Read(key, of_key.next().map(|(_, list)| list.clone()).unwrap_or_default()));
            assert!(of_key.next().is_none(), "document {key} twice in {reply:?}");
        }
        Ok(())
    }
}

fn command(text: &str) -> DocBuf {
    parse_doc(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn integer(value: Value<'_>) -> i64 {
    smongo_bson::number::to_i64_exact(value).unwrap_or_else(|| panic!("no integer: {value:?}"))
}

fn elements(value: Value<'_>) -> Vec<Element> {
    value.as_array().map(|list| list.iter().map(integer).collect()).unwrap_or_default()
}
