//! The scripted workloads: what an application does to a database, each statement written to the journal before and after.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use smongo_bson::{DocBuf, Result, Value};
use smongo_engine::{Engine, Options, Session};

use crate::model::{Effect, run};

/// An application with its database open, in this process.
pub struct Host {
    path: PathBuf,
    engine: Option<Engine>,
    session: Option<Session>,
    journal: File,
    /// Makes each `v` another.
    version: i64,
}

/// The one workload of which calls count while the database is made, too.
pub const OPENING: &str = "the first opening";

/// A workload: it goes on after errors, as applications do.
pub type Workload = fn(&mut Host);

pub const ALL: &[(&str, Workload)] = &[
    ("inserts", |h| {
        (0..12).for_each(|id| h.put("t.a", id));
        h.checkpoint();
        (12..16).for_each(|id| h.put("t.a", id));
    }),
    ("insert many", |h| {
        h.put_many("t.a", 0..300, 50);
        h.checkpoint();
        h.put_many("t.a", 300..600, 50);
    }),
    ("large documents", |h| {
        h.put_many("t.a", 0..12, 300_000);
        h.checkpoint();
        h.put_many("t.a", 12..24, 300_000);
    }),
    ("several log files", |h| {
        for n in 0..6 {
            h.put_many("t.a", n * 4..n * 4 + 4, 800_000);
        }
    }),
    ("the first opening", |_| {}),
    ("updates", |h| {
        h.put_many("t.a", 0..20, 100);
        for id in (0..20).chain(0..20) {
            h.put("t.a", id);
        }
        h.checkpoint();
        (0..5).for_each(|id| h.put("t.a", id));
    }),
    ("deletes", |h| {
        h.put_many("t.a", 0..30, 1000);
        (0..10).for_each(|id| h.gone("t.a", id));
        h.checkpoint();
        (10..20).for_each(|id| h.gone("t.a", id));
        h.checkpoint();
    }),
    ("indexes", |h| {
        h.put_many("t.a", 0..200, 100);
        h.index("t.a", "v_1", r#"{"v": 1}"#, "");
        h.put_many("t.a", 200..260, 100);
        h.index("t.a", "pad_1_v_-1", r#"{"pad": 1, "v": -1}"#, r#", "unique": true"#);
        h.checkpoint();
        (0..10).for_each(|id| h.gone("t.a", id));
        h.drop_index("t.a", "v_1");
        h.put("t.a", 300);
    }),
    ("creates", |h| {
        for n in 0..4 {
            let ns = format!("t{}.c{n}", n % 2);
            h.put(&ns, 1);
            h.index(&ns, "v_1", r#"{"v": 1}"#, "");
        }
        h.checkpoint();
        h.put("t1.c9", 1);
    }),
    ("drops", |h| {
        for n in 0..4 {
            let ns = format!("t.c{n}");
            h.put_many(&ns, 0..20, 100);
            h.index(&ns, "v_1", r#"{"v": 1}"#, "");
        }
        h.checkpoint();
        (0..3).for_each(|n| h.drop(&format!("t.c{n}")));
        h.checkpoint();
        h.put("t.c0", 1);
        h.put("t.c3", 1);
    }),
    ("dropDatabase", |h| {
        h.put_many("gone.a", 0..20, 100);
        h.put_many("gone.b", 0..20, 100);
        h.put("kept.a", 1);
        let effects = [Effect::Drop("gone.a".into()), Effect::Drop("gone.b".into())];
        h.step("gone", r#"{"dropDatabase": 1, "writeConcern": {"w": "majority"}}"#, &effects);
        h.put("kept.a", 2);
    }),
    ("renames", |h| {
        h.put_many("t.a", 0..20, 100);
        h.put_many("t.b", 50..60, 100);
        h.rename("t.a", "t.c");
        h.checkpoint();
        h.put("t.c", 3);
        h.rename("t.c", "t.b");
        h.put("t.b", 4);
    }),
    ("transactions", |h| {
        h.put("t.a", 0);
        h.put("u.b", 0);
        for n in 1..8 {
            h.both(n, true);
            h.both(n, n % 2 == 0);
        }
        h.checkpoint();
        h.both(3, true);
    }),
    ("statements that fail", |h| {
        h.put_many("t.a", 0..6, 20);
        h.index("t.a", "v_1", r#"{"v": 1}"#, "");
        h.index("t.a", "pad_1", r#"{"pad": 1}"#, r#", "unique": true"#);
        for round in 0..3 {
            // The second document is refused: the first is changed, and nothing of the second.
            let v = h.next();
            let text = format!(r#"{{"update": "a", "updates": [{{"q": {{}}, "u": {{"$set": {{"v": {v}, "pad": "the same {round}"}}}}, "multi": true}}], "writeConcern": {{"w": "majority"}}}}"#);
            h.step("t", &text, &(0..6).map(|id| Effect::Put("t.a".into(), id, v)).collect::<Vec<_>>());
            let v = h.next();
            let docs = format!(r#"[{{"_id": {0}, "v": {v}, "pad": "{v}"}}, {{"_id": {1}, "v": {v}, "pad": "the same {round}"}}]"#, 10 + round, 20 + round);
            let text = format!(r#"{{"insert": "a", "documents": {docs}, "writeConcern": {{"w": "majority"}}}}"#);
            h.step("t", &text, &[Effect::Put("t.a".into(), 10 + round, v)]);
            h.checkpoint();
        }
        h.put("t.a", 1);
    }),
    ("find and modify", |h| {
        for id in [1, 2, 3, 1, 2, 3] {
            let v = h.next();
            let text = format!(r#"{{"findAndModify": "a", "query": {{"_id": {id}}}, "update": {{"$set": {{"v": {v}}}}}, "upsert": true, "writeConcern": {{"j": true}}}}"#);
            h.step("t", &text, &[Effect::Put("t.a".into(), id, v)]);
        }
        h.checkpoint();
    }),
    ("bulkWrite", |h| {
        for round in 0..4 {
            let (a, b) = (h.next(), h.next());
            let insert = |ns: i32, id: i64, v: i64| format!(r#"{{"update": {ns}, "filter": {{"_id": {id}}}, "updateMods": {{"$set": {{"v": {v}}}}}, "upsert": true}}"#);
            let ops = format!(r#"[{}, {}, {{"delete": 0, "filter": {{"_id": {}}}}}]"#, insert(0, round, a), insert(1, round, b), round - 1);
            let text = format!(r#"{{"bulkWrite": 1, "ops": {ops}, "nsInfo": [{{"ns": "t.a"}}, {{"ns": "u.b"}}], "writeConcern": {{"w": "majority"}}}}"#);
            h.step("admin", &text, &[Effect::Put("t.a".into(), round, a), Effect::Put("u.b".into(), round, b), Effect::Gone("t.a".into(), round - 1)]);
        }
    }),
    ("$out and $merge", |h| {
        // Of a collection that is not there they make nothing, and rightly so.
        if !h.put_many("t.a", 0..40, 100) {
            return;
        }
        let v = h.next();
        for (stage, to, step) in [(r#"{"$out": "b"}"#, "t.b", 1), (r#"{"$merge": "c"}"#, "t.c", 0), (r#"{"$out": "b"}"#, "t.b", 2)] {
            let text = format!(r#"{{"aggregate": "a", "pipeline": [{{"$set": {{"v": {}}}}}, {stage}], "cursor": {{}}, "writeConcern": {{"w": "majority"}}}}"#, v + step);
            let effects: Vec<Effect> = (0..40).map(|id| Effect::Put(to.into(), id, v + step)).collect();
            h.step("t", &text, &effects);
        }
        h.version += 3;
        h.put("t.b", 3);
    }),
    ("sort that spills", |h| {
        h.put_many("t.a", 0..300, 500);
        let group = r#"{"aggregate": "a", "pipeline": [{"$group": {"_id": "$_id", "all": {"$push": "$$ROOT"}}}, {"$sort": {"all.pad": -1}}, {"$limit": 3}], "cursor": {}, "allowDiskUse": true}"#;
        h.step("t", group, &[]);
        h.put("t.a", 1);
    }),
    ("opening and closing", |h| {
        for round in 0..2 {
            h.put("t.a", round);
            h.close();
            h.open();
        }
        h.put("t.a", 9);
    }),
    ("reading back", |h| {
        h.put_many("t.a", 0..100, 2000);
        h.index("t.a", "v_1", r#"{"v": 1}"#, "");
        h.close();
        h.open();
        for filter in ["{}", r#"{"v": {"$gt": 0}}"#] {
            h.step("t", &format!(r#"{{"find": "a", "filter": {filter}, "batchSize": 1000}}"#), &[]);
        }
        h.step("t", r#"{"validate": "a", "full": true}"#, &[]);
        h.put("t.a", 1);
    }),
    ("collMod and capped", |h| {
        h.step("t", r#"{"create": "log", "capped": true, "size": 1000000, "writeConcern": {"w": "majority"}}"#, &[]);
        (0..10).for_each(|id| h.put("t.log", id));
        h.put("t.a", 1);
        h.index("t.a", "v_1", r#"{"v": 1}"#, "");
        h.step("t", r#"{"collMod": "a", "index": {"name": "v_1", "hidden": true}, "validator": {"v": {"$type": "number"}}, "writeConcern": {"w": "majority"}}"#, &[]);
        h.put("t.a", 2);
    }),
    ("retryable writes", |h| {
        for n in 1..6 {
            let v = h.next();
            let text = format!(
                r#"{{"insert": "a", "documents": [{{"_id": {n}, "v": {v}}}], "lsid": {{"id": {{"$uuid": "00000000-0000-4000-8000-00000000000a"}}}}, "txnNumber": {{"$numberLong": "{n}"}}, "writeConcern": {{"w": "majority"}}}}"#
            );
            // Sent twice, as drivers do: it is applied once.
            h.step("t", &text, &[Effect::Put("t.a".into(), n, v)]);
            h.step("t", &text, &[Effect::Put("t.a".into(), n, v)]);
        }
    }),
];

impl Host {
    pub fn new(path: &Path, journal: File) -> Host {
        Host { path: path.to_owned(), engine: None, session: None, journal, version: 0 }
    }

    fn note(&mut self, line: &str) {
        writeln!(self.journal, "{line}").unwrap();
    }

    pub fn open(&mut self) {
        match Engine::open(Options { path: Some(self.path.clone()), cache_bytes: 8 << 20, ..Options::default() }) {
            Ok(engine) => {
                self.session = Some(engine.session(smongo_engine::Client::owner()));
                self.engine = Some(engine);
            }
            Err(e) => self.note(&format!("failed open: {e}")),
        }
    }

    pub fn close(&mut self) {
        self.session = None;
        if let Some(Err(e)) = self.engine.take().map(Engine::close) {
            self.note(&format!("failed close: {e}"));
        }
    }

    fn next(&mut self) -> i64 {
        self.version += 1;
        self.version
    }

    /// One statement, which is as good as not there when the database did not open.
    pub fn step(&mut self, db: &str, text: &str, effects: &[Effect]) -> Option<DocBuf> {
        let mut session = self.session.take()?;
        for effect in effects {
            self.note(&effect.line());
        }
        let answer = run(&mut session, db, text).and_then(without_write_errors);
        self.session = Some(session);
        match answer {
            Ok(reply) => {
                self.note("done");
                Some(reply)
            }
            Err(e) => {
                self.note(&format!("failed {e}"));
                None
            }
        }
    }

    /// Inserts or updates, durably.
    fn put(&mut self, ns: &str, id: i64) {
        let ((db, coll), v) = (split(ns), self.next());
        let text = format!(
            r#"{{"update": "{coll}", "updates": [{{"q": {{"_id": {id}}}, "u": {{"$set": {{"v": {v}}}, "$setOnInsert": {{"pad": {v}}}}}, "upsert": true}}], "writeConcern": {{"w": "majority"}}}}"#
        );
        self.step(db, &text, &[Effect::Put(ns.into(), id, v)]);
    }

    /// Inserts documents of about `size` bytes that do not compress. Whether they are there.
    fn put_many(&mut self, ns: &str, ids: std::ops::Range<i64>, size: usize) -> bool {
        let (db, coll) = split(ns);
        let (mut docs, mut effects) = (Vec::new(), Vec::new());
        for id in ids {
            let v = self.next();
            docs.push(format!(r#"{{"_id": {id}, "v": {v}, "pad": "{}"}}"#, noise(v as u64, size)));
            effects.push(Effect::Put(ns.into(), id, v));
        }
        let text = format!(r#"{{"insert": "{coll}", "documents": [{}], "writeConcern": {{"j": true}}}}"#, docs.join(", "));
        self.step(db, &text, &effects).is_some()
    }

    fn gone(&mut self, ns: &str, id: i64) {
        let (db, coll) = split(ns);
        let text = format!(r#"{{"delete": "{coll}", "deletes": [{{"q": {{"_id": {id}}}, "limit": 1}}], "writeConcern": {{"j": true}}}}"#);
        self.step(db, &text, &[Effect::Gone(ns.into(), id)]);
    }

    fn checkpoint(&mut self) {
        self.step("admin", r#"{"fsync": 1}"#, &[]);
    }

    fn index(&mut self, ns: &str, name: &str, key: &str, more: &str) {
        let (db, coll) = split(ns);
        let text = format!(r#"{{"createIndexes": "{coll}", "indexes": [{{"key": {key}, "name": "{name}"{more}}}], "writeConcern": {{"w": "majority"}}}}"#);
        self.step(db, &text, &[Effect::Index(ns.into(), name.into(), true)]);
    }

    fn drop_index(&mut self, ns: &str, name: &str) {
        let (db, coll) = split(ns);
        let text = format!(r#"{{"dropIndexes": "{coll}", "index": "{name}", "writeConcern": {{"w": "majority"}}}}"#);
        self.step(db, &text, &[Effect::Index(ns.into(), name.into(), false)]);
    }

    fn drop(&mut self, ns: &str) {
        let (db, coll) = split(ns);
        self.step(db, &format!(r#"{{"drop": "{coll}", "writeConcern": {{"w": "majority"}}}}"#), &[Effect::Drop(ns.into())]);
    }

    fn rename(&mut self, from: &str, to: &str) {
        let text = format!(r#"{{"renameCollection": "{from}", "to": "{to}", "dropTarget": true, "writeConcern": {{"w": "majority"}}}}"#);
        self.step("admin", &text, &[Effect::Drop(to.into()), Effect::Rename(from.into(), to.into())]);
    }

    /// A transaction that writes one `v` to a document of two databases each, and commits or aborts.
    fn both(&mut self, id: i64, commit: bool) {
        self.note(&format!("pair t.a {id} u.b {id}"));
        let v = self.next();
        let session = format!(r#""lsid": {{"id": {{"$uuid": "00000000-0000-4000-8000-00000000000b"}}}}, "txnNumber": {{"$numberLong": "{v}"}}, "autocommit": false"#);
        let change = |coll: &str, more: &str| {
            format!(r#"{{"update": "{coll}", "updates": [{{"q": {{"_id": {id}}}, "u": {{"$set": {{"v": {v}}}}}, "upsert": true}}], {session}{more}}}"#)
        };
        if self.step("t", &change("a", r#", "startTransaction": true"#), &[]).is_none() || self.step("u", &change("b", ""), &[]).is_none() {
            return;
        }
        let effects = [Effect::Put("t.a".into(), id, v), Effect::Put("u.b".into(), id, v)];
        let (end, effects) = if commit { ("commitTransaction", &effects[..]) } else { ("abortTransaction", &[][..]) };
        self.step("admin", &format!(r#"{{"{end}": 1, {session}, "writeConcern": {{"w": "majority"}}}}"#), effects);
    }
}

fn without_write_errors(reply: DocBuf) -> Result<DocBuf> {
    let errors = reply.get("writeErrors").as_array().is_some_and(|a| a.iter().next().is_some());
    let concern = matches!(reply.get("writeConcernError"), Value::Document(_));
    let bulk = smongo_bson::number::to_i64_exact(reply.get("nErrors")).is_some_and(|n| n > 0);
    if errors || concern || bulk {
        return Err(smongo_bson::err!(UnknownError, "{}", smongo_bson::json::to_relaxed(reply.as_doc())));
    }
    Ok(reply)
}

fn split(ns: &str) -> (&str, &str) {
    ns.split_once('.').unwrap_or((ns, ""))
}

/// Text without patterns.
fn noise(seed: u64, size: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..size).map(letter).collect()
}
