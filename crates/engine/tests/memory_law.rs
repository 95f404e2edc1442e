//! The law of memory: what a database holds in memory is what its store says, whatever was aborted, conflicted or failed.
//!
//! After rounds of such things a copy of the database is opened, and everything that clients can ask for must be the same there.
//! `SMONGO_MEMORY_ROUNDS=100000` asks for that many rounds.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{Db, Random};
use smongo_bson::json::{to_relaxed, value_to_relaxed};
use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Options};

/// Rounds between two comparisons.
const APART: usize = 40;
const COLLECTIONS: usize = 8;

fn open(directory: &Path) -> Engine {
    Engine::open(Options { path: Some(directory.to_owned()), cache_bytes: 32 << 20, ..Options::default() }).expect("a database")
}

fn value(r: &mut Random) -> String {
    match r.below(4) {
        0 => format!("[{}, {}]", r.below(9), r.below(9)),
        1 => format!("[{{\"x\": {}}}, {{\"x\": [1]}}]", r.below(9)),
        2 => format!("{{\"x\": {}}}", if r.chance(2) { "[1, 2]".to_owned() } else { r.below(9).to_string() }),
        _ => r.below(9).to_string(),
    }
}

fn document(r: &mut Random) -> String {
    let mut fields = vec![format!("\"_id\": {}", r.below(12))];
    for field in ["a", "b", "u"] {
        if r.chance(2) {
            fields.push(format!("\"{field}\": {}", value(r)));
        }
    }
    format!("{{{}}}", fields.join(", "))
}

fn specification(r: &mut Random) -> String {
    let (key, name) = [("\"a\": 1", "a"), ("\"b\": 1, \"a\": -1", "ba"), ("\"a.x\": 1", "ax"), ("\"u\": 1", "u"), ("\"a.x\": 1, \"b.x\": 1", "axbx")][r.below(5)];
    let unique = if name == "u" { ", \"unique\": true, \"sparse\": true" } else { "" };
    format!("{{\"key\": {{{key}}}, \"name\": \"{name}\"{unique}}}")
}

struct Law {
    one: Db,
    two: Db,
    r: Random,
    number: i64,
}

impl Law {
    fn new(engine: &Engine, seed: u64) -> Law {
        let session = || Db { session: engine.session(Client::owner()) };
        Law { one: session(), two: session(), r: Random(seed), number: (seed as i64) << 32 }
    }

    fn lsid(&mut self, who: u8) -> String {
        self.number += 1;
        let id = ["AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAAAg=="][usize::from(who)];
        format!("\"lsid\": {{\"id\": {{\"$binary\": {{\"base64\": \"{id}\", \"subType\": \"04\"}}}}}}, \"txnNumber\": {{\"$numberLong\": \"{}\"}}, \"autocommit\": false", self.number)
    }

    fn write(&mut self) -> String {
        let r = &mut self.r;
        let coll = format!("t{}", r.below(COLLECTIONS));
        match r.below(4) {
            0 | 1 => format!("\"insert\": \"{coll}\", \"documents\": [{}, {}], \"ordered\": false", document(r), document(r)),
            2 => format!("\"update\": \"{coll}\", \"updates\": [{{\"q\": {{\"_id\": {{\"$gte\": {}}}}}, \"u\": {{\"$set\": {{\"a\": {}, \"u\": {}}}}}, \"multi\": true}}]", r.below(12), value(r), value(r)),
            _ => format!("\"delete\": \"{coll}\", \"deletes\": [{{\"q\": {{\"_id\": {}}}, \"limit\": 1}}]", r.below(12)),
        }
    }

    /// A transaction that writes a little, beside another that wants the same, and ends in some way.
    fn transactions(&mut self) {
        let (mine, theirs) = (self.lsid(0), self.lsid(1));
        let mut start = ", \"startTransaction\": true";
        for _ in 0..1 + self.r.below(3) {
            let write = match self.r.below(8) {
                0 => format!("\"create\": \"n{}\"", self.r.below(4)),
                1 => format!("\"createIndexes\": \"n{}\", \"indexes\": [{}]", self.r.below(4), specification(&mut self.r)),
                _ => self.write(),
            };
            let reply = self.one.run(&format!("{{{write}, \"$db\": \"law\", {mine}{start}}}"));
            start = "";
            if !reply.get("ok").truthy() {
                break;
            }
        }
        if self.r.chance(2) {
            let write = self.write();
            self.two.run(&format!("{{{write}, \"$db\": \"law\", {theirs}, \"startTransaction\": true}}"));
            let end = self.r.pick(&["abortTransaction", "commitTransaction"]);
            self.two.run(&format!("{{\"{end}\": 1, {theirs}, \"$db\": \"admin\"}}"));
        }
        let end = self.r.pick(&["abortTransaction", "abortTransaction", "commitTransaction"]);
        self.one.run(&format!("{{\"{end}\": 1, {mine}, \"$db\": \"admin\"}}"));
    }

    fn definition(&mut self) {
        let r = &mut self.r;
        let coll = format!("t{}", r.below(COLLECTIONS));
        let command = match r.below(14) {
            0 | 1 => format!("{{\"createIndexes\": \"{coll}\", \"indexes\": [{}, {}], \"$db\": \"law\"}}", specification(r), specification(r)),
            2 => format!("{{\"dropIndexes\": \"{coll}\", \"index\": \"{}\", \"$db\": \"law\"}}", r.pick(&["a", "ba", "ax", "u"])),
            3 => format!("{{\"drop\": \"{}\", \"$db\": \"law\"}}", r.pick(&["n0", "n1", "n2", "n3", "t0", "t1"])),
            4 => format!("{{\"renameCollection\": \"law.{coll}\", \"to\": \"law.n{}\", \"dropTarget\": {}, \"$db\": \"admin\"}}", r.below(4), r.chance(2)),
            5 => format!("{{\"collMod\": \"{coll}\", \"index\": {{\"name\": \"a\", \"hidden\": {}}}, \"$db\": \"law\"}}", r.chance(2)),
            6 => format!("{{\"collMod\": \"{coll}\", \"validator\": {{\"a\": {{\"$ne\": {}}}}}, \"$db\": \"law\"}}", r.below(9)),
            7 => format!("{{\"createUser\": \"u{}\", \"pwd\": \"x\", \"roles\": [\"read\"], \"mechanisms\": [\"SCRAM-SHA-256\"], \"$db\": \"law\"}}", r.below(3)),
            8 => format!("{{\"dropUser\": \"u{}\", \"$db\": \"law\"}}", r.below(3)),
            9 => format!("{{\"setDefaultRWConcern\": 1, \"defaultWriteConcern\": {{\"w\": 1, \"wtimeout\": {}}}, \"$db\": \"admin\"}}", r.below(100)),
            10 => format!("{{\"setClusterParameter\": {{\"changeStreamOptions\": {{\"preAndPostImages\": {{\"expireAfterSeconds\": {}}}}}}}, \"$db\": \"admin\"}}", 100 + r.below(100)),
            11 => format!("{{\"aggregate\": \"{coll}\", \"pipeline\": [{{\"$out\": \"n{}\"}}], \"cursor\": {{}}, \"$db\": \"law\"}}", r.below(4)),
            12 => format!("{{\"aggregate\": \"{coll}\", \"pipeline\": [{{\"$merge\": {{\"into\": \"t{}\", \"whenMatched\": \"merge\"}}}}], \"cursor\": {{}}, \"$db\": \"law\"}}", r.below(COLLECTIONS)),
            _ => format!("{{\"create\": \"k{}\", \"capped\": true, \"size\": 4096, \"max\": 3, \"$db\": \"law\"}}", r.below(2)),
        };
        self.one.run(&command);
        if self.r.chance(4) {
            let (n, doc) = (self.r.below(2), document(&mut self.r));
            self.one.run(&format!("{{\"insert\": \"k{n}\", \"documents\": [{doc}], \"$db\": \"law\"}}"));
        }
    }

    fn round(&mut self) {
        match self.r.below(5) {
            0 | 1 => self.transactions(),
            2 => self.definition(),
            _ => {
                let write = self.write();
                self.one.run(&format!("{{{write}, \"$db\": \"law\"}}"));
            }
        }
    }
}

fn text_of(reply: &DocBuf, without: &[&str]) -> String {
    let fields = reply.as_doc().iter().filter(|e| !without.contains(&e.name()) && !["$clusterTime", "operationTime", "localTime"].contains(&e.name()));
    fields.map(|e| format!("{}: {}", e.name(), value_to_relaxed(e.value()))).collect::<Vec<_>>().join(", ")
}

/// What explain says of where an index is multikey.
fn multikey(plan: Value<'_>) -> Option<String> {
    let plan = plan.as_doc()?;
    if plan.contains("multiKeyPaths") {
        return Some(value_to_relaxed(plan.get("multiKeyPaths")));
    }
    multikey(plan.get("inputStage"))
}

/// Everything that clients can ask for, a line each.
fn view(engine: &Engine) -> Vec<String> {
    let mut db = Db { session: engine.session(Client::owner()) };
    let mut lines = Vec::new();
    let law = "\"$db\": \"law\"";
    for info in db.all(&format!("{{\"listCollections\": 1, {law}}}"), "$cmd.listCollections", law).expect("collections") {
        lines.push(to_relaxed(info.as_doc()));
        let name = info.get("name").as_str().unwrap_or_default().to_owned();
        let docs = db.all(&format!("{{\"find\": \"{name}\", \"hint\": {{\"$natural\": 1}}, {law}}}"), &name, law).expect("documents");
        lines.extend(docs.iter().map(|d| format!("{name} {}", to_relaxed(d.as_doc()))));
        let count = db.must(&format!("{{\"count\": \"{name}\", {law}}}"));
        let stats = db.must(&format!("{{\"collStats\": \"{name}\", {law}}}"));
        lines.push(format!("{name} counts {:?} {:?} {:?}", count.get("n"), stats.get("count"), stats.get("size")));
        let report = db.must(&format!("{{\"validate\": \"{name}\", {law}}}"));
        assert!(report.get("valid").truthy(), "{report:?}");
        for index in db.all(&format!("{{\"listIndexes\": \"{name}\", {law}}}"), &name, law).expect("indexes") {
            let index_name = index.get("name").as_str().unwrap_or_default();
            let path = index.get("key").as_doc().and_then(|k| k.iter().next()).map_or("_id", |e| e.name()).to_owned();
            let plan = db.run(&format!("{{\"explain\": {{\"find\": \"{name}\", \"filter\": {{\"{path}\": 1}}, \"hint\": \"{index_name}\"}}, \"verbosity\": \"queryPlanner\", {law}}}"));
            let planner = plan.get("queryPlanner").as_doc().unwrap_or(Doc::EMPTY);
            lines.push(format!("{name} {} multikey {:?}", to_relaxed(index.as_doc()), multikey(planner.get("winningPlan"))));
        }
    }
    lines.push(text_of(&db.must(&format!("{{\"usersInfo\": 1, {law}}}")), &[]));
    lines.push(text_of(&db.must("{\"getClusterParameter\": \"changeStreamOptions\", \"$db\": \"admin\"}"), &[]));
    // What commands without a concern get, before the command that reads it anew is asked.
    lines.push(text_of(&db.must("{\"getDefaultRWConcern\": 1, \"inMemory\": true, \"$db\": \"admin\"}"), &["localUpdateWallClockTime"]));
    lines.push(text_of(&db.must("{\"listDatabases\": 1, \"nameOnly\": true, \"$db\": \"admin\"}"), &[]));
    lines
}

fn compare(original: &[String], copy: &[String], seed: u64, what: &str) {
    if original != copy {
        let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>().join("\n  ");
        panic!("seed {seed}: {what}\nin memory only:\n  {}\nin the store only:\n  {}", only(original, copy), only(copy, original));
    }
}

/// A database under rounds of trouble, compared with copies of it; returns how many rounds there were.
fn database(seed: u64, comparisons: usize) -> usize {
    let (home, copies) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let mut engine = open(home.path());
    for n in 0..comparisons {
        let mut law = Law::new(&engine, seed.wrapping_mul(1000).wrapping_add(n as u64));
        (0..APART).for_each(|_| law.round());
        drop(law);
        let before = view(&engine);
        if n % 4 == 3 {
            engine.close().expect("a clean end");
            engine = open(home.path());
            compare(&before, &view(&engine), seed, "closed and opened again");
        } else {
            let copy = copies.path().join(n.to_string());
            engine.backup(&copy).expect("a copy");
            let reopened = open(&copy);
            compare(&before, &view(&reopened), seed, "a copy");
            reopened.close().expect("a clean end");
            let _ = std::fs::remove_dir_all(&copy);
        }
    }
    comparisons * APART
}

#[test]
fn memory_says_what_the_store_says() {
    let wanted: usize = std::env::var("SMONGO_MEMORY_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(800);
    let first: u64 = std::env::var("SMONGO_LAW_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let (mut done, mut seed) = (0, first);
    while done < wanted {
        done += database(seed, 10);
        seed += 1;
    }
    println!("{done} rounds");
}
