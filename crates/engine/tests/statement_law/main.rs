//! The law of failing statements: whatever fails leaves nothing of itself, in documents, indexes, counts, sizes and oplog.
//!
//! Statements run on small collections with every kind of index. After each of them the collection is what the language alone makes
//! of what it was before, as far as the reply says that it was done; indexes, counts and sizes say what the documents say; and
//! the oplog, replayed, gives the collection. `SMONGO_STATEMENTS=10000000` asks for that many statements.
#![allow(clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod statements;

use std::collections::BTreeMap;

use common::{Db, Random};
use judge::{Judged, State, Stored, key};
use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Options};
use smongo_mql::update::diff;

/// Statements run in one engine, on a few collections one after the other.
const EPISODES: usize = 4;
const STATEMENTS: usize = 250;
/// The first kind of statement that no transaction takes.
const OUTSIDE: usize = 17;

struct Law {
    db: Db,
    /// Somebody else's session, with a transaction of its own now and then.
    other: Db,
    r: Random,
    seed: u64,
    coll: String,
    state: State,
    /// The state before the open transaction, and what its commands say.
    transaction: Option<(State, String, bool)>,
    other_open: Option<String>,
    number: i64,
    failed: usize,
    done: usize,
}

fn number(v: Value<'_>) -> i64 {
    smongo_bson::number::to_i64_exact(v).unwrap_or(-1)
}

fn failed(reply: &DocBuf) -> bool {
    !reply.get("ok").truthy() || reply.as_doc().contains("writeErrors")
}

impl Law {
    /// What tells a command of the open transaction.
    fn suffix(&mut self) -> String {
        let Some((_, lsid, started)) = &mut self.transaction else { return "\"$db\": \"law\"".to_owned() };
        let start = if std::mem::replace(started, true) { "" } else { ", \"startTransaction\": true" };
        format!("\"$db\": \"law\", {lsid}{start}")
    }

    fn lsid(&mut self, who: u8) -> String {
        self.number += 1;
        let id = ["AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAAAg=="][usize::from(who)];
        format!("\"lsid\": {{\"id\": {{\"$binary\": {{\"base64\": \"{id}\", \"subType\": \"04\"}}}}}}, \"txnNumber\": {{\"$numberLong\": \"{}\"}}, \"autocommit\": false", self.number)
    }

    fn read(&mut self) -> State {
        let coll = self.coll.clone();
        let suffix = self.suffix();
        let docs = self.db.all(&format!("{{\"find\": \"{coll}\", \"hint\": {{\"$natural\": 1}}, \"batchSize\": 1000, {suffix}}}"), &coll, &suffix);
        docs.unwrap_or_else(|e| panic!("seed {}: {e}", self.seed)).into_iter().map(|d| (key(d.as_doc()), Stored(d))).collect()
    }

    /// Runs one statement and judges what it did.
    fn statement(&mut self) {
        let kind = self.r.below(20);
        if kind >= OUTSIDE && self.transaction.is_some() {
            return;
        }
        let coll = self.coll.clone();
        let suffix = self.suffix();
        let r = &mut self.r;
        let ordered = r.chance(2);
        let (command, judged) = match kind {
            0..6 => {
                let docs: Vec<String> = (0..1 + r.below(4)).map(|_| statements::document(r)).collect();
                let docs_text = docs.join(", ");
                (format!("{{\"insert\": \"{coll}\", \"documents\": [{docs_text}], \"ordered\": {ordered}, {suffix}}}"), Judged::Insert { docs, ordered })
            }
            6..13 => {
                let (multi, upsert) = (r.chance(2), r.chance(5));
                let (q, u) = (statements::filter(r), statements::update(r, multi));
                let command = format!("{{\"update\": \"{coll}\", \"updates\": [{{\"q\": {q}, \"u\": {u}, \"multi\": {multi}, \"upsert\": {upsert}}}], {suffix}}}");
                (command, Judged::Update { q, u, multi, upsert })
            }
            13 => {
                let (limit, q) = (r.below(2), statements::filter(r));
                (format!("{{\"delete\": \"{coll}\", \"deletes\": [{{\"q\": {q}, \"limit\": {limit}}}], {suffix}}}"), Judged::Delete { q, one: limit == 1 })
            }
            14 => {
                let (q, u, upsert) = (statements::filter(r), statements::update(r, false), r.chance(4));
                let command = format!("{{\"findAndModify\": \"{coll}\", \"query\": {q}, \"update\": {u}, \"upsert\": {upsert}, \"new\": {ordered}, {suffix}}}");
                (command, Judged::Update { q, u, multi: false, upsert })
            }
            15 => {
                let updates: Vec<String> = (0..2 + r.below(3))
                    .map(|_| {
                        let multi = r.chance(2);
                        format!("{{\"q\": {}, \"u\": {}, \"multi\": {multi}}}", statements::filter(r), statements::update(r, multi))
                    })
                    .collect();
                (format!("{{\"update\": \"{coll}\", \"updates\": [{}], \"ordered\": {ordered}, {suffix}}}", updates.join(", ")), Judged::Anything)
            }
            16 => {
                let ops: Vec<String> = (0..2 + r.below(4))
                    .map(|_| match r.below(3) {
                        0 => format!("{{\"insert\": 0, \"document\": {}}}", statements::document(r)),
                        1 => format!("{{\"update\": 0, \"filter\": {}, \"updateMods\": {}, \"multi\": true}}", statements::filter(r), statements::update(r, true)),
                        _ => format!("{{\"update\": 0, \"filter\": {}, \"updateMods\": {}}}", statements::filter(r), statements::update(r, false)),
                    })
                    .collect();
                let suffix = suffix.replace("\"$db\": \"law\"", "\"$db\": \"admin\"");
                (format!("{{\"bulkWrite\": 1, \"ops\": [{}], \"nsInfo\": [{{\"ns\": \"law.{coll}\"}}], \"ordered\": {ordered}, {suffix}}}", ops.join(", ")), Judged::Anything)
            }
            OUTSIDE => {
                let matched = r.pick(&["\"merge\"", "\"replace\"", "\"keepExisting\"", "[{\"$set\": {\"a\": [1, 2], \"u\": \"$$new.u\"}}]"]);
                (format!("{{\"aggregate\": \"source\", \"pipeline\": [{{\"$merge\": {{\"into\": \"{coll}\", \"whenMatched\": {matched}}}}}], \"cursor\": {{}}, {suffix}}}"), Judged::Anything)
            }
            18 if self.other_open.is_none() => match r.below(4) {
                0 => (format!("{{\"aggregate\": \"source\", \"pipeline\": [{{\"$out\": \"{coll}\"}}], \"cursor\": {{}}, {suffix}}}"), Judged::Out),
                1 => (format!("{{\"dropIndexes\": \"{coll}\", \"index\": \"{}\", {suffix}}}", r.pick(&["a", "u", "ab", "w", "g"])), Judged::Nothing),
                _ => (format!("{{\"createIndexes\": \"{coll}\", \"indexes\": [{}, {}], {suffix}}}", statements::index(r), statements::index(r)), Judged::Nothing),
            },
            _ => {
                let (q, u, number) = (statements::filter(r), statements::update(r, false), self.number + 1);
                self.number = number;
                // A retryable write, sent twice: the second is answered as the first, or tried anew after it failed.
                let command = format!(
                    "{{\"update\": \"{coll}\", \"updates\": [{{\"q\": {q}, \"u\": {u}}}, {{\"q\": {q}, \"u\": {u}}}], \"ordered\": false, {suffix}, \
                     \"lsid\": {{\"id\": {{\"$binary\": {{\"base64\": \"AAAAAAAAAAAAAAAAAAAAAw==\", \"subType\": \"04\"}}}}}}, \"txnNumber\": {{\"$numberLong\": \"{number}\"}}}}"
                );
                self.db.run(&command);
                (command, Judged::Anything)
            }
        };
        let reply = self.db.run(&command);
        self.done += 1;
        let wrong = failed(&reply) || number(reply.get("nErrors")) > 0;
        self.failed += usize::from(wrong);
        if wrong && self.transaction.is_some() {
            let (before, lsid, _) = self.transaction.take().expect("a transaction");
            let reply = self.db.run(&format!("{{\"commitTransaction\": 1, {lsid}, \"$db\": \"admin\"}}"));
            assert!(!reply.get("ok").truthy(), "seed {}: {command}: the transaction goes on", self.seed);
            self.state = before;
            assert_eq!(self.read(), self.state, "seed {}: {command}: the transaction left something", self.seed);
            return self.agree(&command);
        }
        let after = self.read();
        if let Err(why) = judged.check(&self.state, &after, &reply) {
            let indexes = self.db.run(&format!("{{\"listIndexes\": \"{coll}\", \"$db\": \"law\"}}"));
            panic!("seed {}: {command}\n{reply:?}\n{why}\nbefore {:#?}\nindexes {indexes:?}", self.seed, self.state);
        }
        self.state = after;
        if self.transaction.is_none() && (wrong || self.done.is_multiple_of(8)) {
            self.agree(&command);
        }
    }

    /// Indexes, counts and sizes say what the documents say.
    fn agree(&mut self, command: &str) {
        let (coll, seed) = (self.coll.clone(), self.seed);
        let report = self.db.must(&format!("{{\"validate\": \"{coll}\", \"$db\": \"law\"}}"));
        assert!(report.get("valid").truthy(), "seed {seed}: after {command}\n{report:?}");
        let count = self.db.must(&format!("{{\"count\": \"{coll}\", \"$db\": \"law\"}}"));
        assert_eq!(number(count.get("n")), self.state.len() as i64, "seed {seed}: the count after {command}");
        // Figures of files are slow to ask for.
        if !self.done.is_multiple_of(32) && command != "the end" {
            return;
        }
        let stats = self.db.must(&format!("{{\"collStats\": \"{coll}\", \"$db\": \"law\"}}"));
        let bytes: usize = self.state.values().map(|d| d.0.as_bytes().len()).sum();
        assert_eq!(number(stats.get("size")), bytes as i64, "seed {seed}: the size after {command}");
    }

    fn end_other(&mut self) {
        if let Some(lsid) = self.other_open.take() {
            self.other.run(&format!("{{\"abortTransaction\": 1, {lsid}, \"$db\": \"admin\"}}"));
        }
    }

    /// Transactions begin and end, also one of somebody else's that always aborts.
    fn transactions(&mut self) {
        if self.transaction.is_none() && self.r.chance(25) {
            let lsid = self.lsid(0);
            self.transaction = Some((self.state.clone(), lsid, false));
        } else if self.r.chance(6) && let Some((before, lsid, started)) = self.transaction.take() {
            if !started {
                return;
            }
            let commit = self.r.chance(2);
            let end = if commit { "commitTransaction" } else { "abortTransaction" };
            self.db.must(&format!("{{\"{end}\": 1, {lsid}, \"$db\": \"admin\"}}"));
            if !commit {
                self.state = before;
            }
            assert_eq!(self.read(), self.state, "seed {}: after {end}", self.seed);
            self.agree(end);
        }
        if self.r.chance(12) {
            self.end_other();
        } else if self.other_open.is_none() && self.r.chance(12) {
            let lsid = self.lsid(1);
            let n = 1000 + self.r.below(1000);
            let document = format!("{{\"_id\": {n}, \"u\": {n}, \"a\": [7, 8], \"c\": [{{\"x\": 7}}], \"v\": {n}, \"b\": {n}}}");
            self.other.run(&format!("{{\"insert\": \"{}\", \"documents\": [{document}], \"$db\": \"law\", {lsid}, \"startTransaction\": true}}", self.coll));
            self.other_open = Some(lsid);
        }
    }

    fn episode(&mut self) {
        let options = statements::options(&mut self.r);
        self.db.must(&format!("{{\"create\": \"{}\"{options}, \"$db\": \"law\"}}", self.coll));
        for _ in 0..2 + self.r.below(5) {
            let index = statements::index(&mut self.r);
            self.db.run(&format!("{{\"createIndexes\": \"{}\", \"indexes\": [{index}], \"$db\": \"law\"}}", self.coll));
        }
        self.state = State::new();
        for _ in 0..STATEMENTS {
            self.transactions();
            self.statement();
        }
        self.end_other();
        if let Some((before, lsid, true)) = self.transaction.take() {
            self.db.must(&format!("{{\"abortTransaction\": 1, {lsid}, \"$db\": \"admin\"}}"));
            self.state = before;
        }
        self.agree("the end");
        let replayed = self.replay();
        assert_eq!(replayed, self.state, "seed {}: what the oplog says", self.seed);
    }

    /// What the oplog makes of the collection.
    fn replay(&mut self) -> State {
        let entries = self.db.all("{\"find\": \"oplog.rs\", \"batchSize\": 1000, \"$db\": \"local\"}", "oplog.rs", "\"$db\": \"local\"").expect("the oplog");
        let mut all: BTreeMap<String, State> = BTreeMap::new();
        for entry in &entries {
            replay_entry(&mut all, entry.as_doc());
        }
        all.remove(&format!("law.{}", self.coll)).unwrap_or_default()
    }
}

fn replay_entry(all: &mut BTreeMap<String, State>, entry: Doc<'_>) {
    let (ns, change) = (entry.get("ns").as_str().unwrap_or_default().to_owned(), entry.get("o").as_doc().unwrap_or(Doc::EMPTY));
    let id = |doc: Value<'_>| key(doc.as_doc().unwrap_or(Doc::EMPTY));
    match entry.get("op").as_str() {
        Some("i") => {
            all.entry(ns).or_default().insert(id(entry.get("o")), Stored(DocBuf::from(change)));
        }
        Some("d") => {
            all.entry(ns).or_default().remove(&id(entry.get("o")));
        }
        Some("u") => {
            let state = all.entry(ns).or_default();
            let id = id(entry.get("o2"));
            let old = state.get(&id).cloned().unwrap_or_default();
            let new = match change.get("diff").as_doc() {
                Some(delta) if change.contains("$v") => diff::apply(delta, old.0.as_doc()).expect("a diff"),
                _ => DocBuf::from(change),
            };
            state.insert(id, Stored(new));
        }
        Some("c") => {
            if let Some(ops) = change.get("applyOps").as_array() {
                ops.iter().filter_map(|op| op.as_doc()).for_each(|op| replay_entry(all, op));
            } else if let (Some(from), Some(to)) = (change.get("renameCollection").as_str(), change.get("to").as_str()) {
                let moved = all.remove(from).unwrap_or_default();
                all.insert(to.to_owned(), moved);
            } else if let Some(name) = change.get("drop").as_str() {
                let db = ns.strip_suffix(".$cmd").unwrap_or(&ns);
                all.remove(&format!("{db}.{name}"));
            }
        }
        _ => {}
    }
}

/// One engine's statements: how many ran, and how many of them failed.
fn round(seed: u64) -> (usize, usize) {
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let session = || Db { session: engine.session(Client::owner()) };
    let mut law = Law {
        db: session(), other: session(), r: Random(seed), seed, coll: String::new(), state: State::new(), transaction: None, other_open: None, number: 0, failed: 0, done: 0,
    };
    let source: Vec<String> = (0..12).map(|id| format!("{{\"_id\": {id}, \"u\": {}, \"a\": {}, \"b\": {}}}", id * 2, if id % 3 == 0 { "[1, 2]" } else { "3" }, if id == 7 { "[4]" } else { "1" })).collect();
    law.db.must(&format!("{{\"insert\": \"source\", \"documents\": [{}], \"$db\": \"law\"}}", source.join(", ")));
    for n in 0..EPISODES {
        law.coll = format!("t{n}");
        law.episode();
    }
    (law.done, law.failed)
}

#[test]
fn what_fails_leaves_nothing() {
    let wanted: usize = std::env::var("SMONGO_STATEMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(60_000);
    let first: u64 = std::env::var("SMONGO_LAW_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let next = std::sync::atomic::AtomicU64::new(first);
    let (done, failed) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while done.load(order) < wanted {
                    let (ran, wrong) = round(next.fetch_add(1, order));
                    done.fetch_add(ran, order);
                    failed.fetch_add(wrong, order);
                }
            });
        }
    });
    let (done, failed) = (done.into_inner(), failed.into_inner());
    println!("{done} statements, {failed} of them failed");
    // Statements that cannot fail would prove nothing, nor would those that always do.
    assert!(failed * 10 > done && failed * 10 < done * 8, "{failed} of {done} statements failed");
}

#[test]
fn an_update_that_fails_on_a_later_document() {
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    db.must(r#"{"createIndexes": "t", "$db": "law", "indexes": [{"key": {"a": 1}, "name": "a"}, {"key": {"d": 1}, "name": "d", "unique": true}]}"#);
    db.must(r#"{"insert": "t", "$db": "law", "documents": [{"_id": 1, "a": 1, "d": 1}, {"_id": 2, "a": 2, "d": 2}, {"_id": 3, "a": 3, "d": 3}]}"#);
    let reply = db.run(r#"{"update": "t", "$db": "law", "updates": [{"q": {}, "u": {"$set": {"a": 9, "d": 9}}, "multi": true}]}"#);
    let errors = reply.get("writeErrors").as_array().expect("an error");
    assert_eq!(errors.iter().filter_map(|e| e.as_doc()).map(|e| number(e.get("code"))).collect::<Vec<_>>(), [11000]);
    let found = |db: &mut Db, filter: &str| db.all(&format!("{{\"find\": \"t\", \"filter\": {filter}, \"$db\": \"law\"}}"), "t", "\"$db\": \"law\"").expect("documents");
    let wanted = [(r#"{"a": 9}"#, r#"{"_id": 1, "a": 9, "d": 9}"#), (r#"{"a": 2}"#, r#"{"_id": 2, "a": 2, "d": 2}"#), (r#"{"d": 2}"#, r#"{"_id": 2, "a": 2, "d": 2}"#)];
    for (filter, document) in wanted {
        let documents: Vec<Stored> = found(&mut db, filter).into_iter().map(Stored).collect();
        assert_eq!(documents, [Stored(parse_doc(document).expect("a document"))], "{filter}");
    }
    let again = db.run(r#"{"insert": "t", "$db": "law", "documents": [{"_id": 4, "d": 2}]}"#);
    assert!(failed(&again), "{again:?}");
}
