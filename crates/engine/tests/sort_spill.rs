//! Sorts and windows of more than fits into their memory: they go to disk, or fail where they may not.
#![allow(clippy::expect_used, clippy::panic)]

use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Options, Request, Session};

const DOCS: i32 = 3000;
/// Each document has a kilobyte, so that a dozen of runs is written.
const MEMORY: usize = 256 << 10;

fn run(session: &mut Session, command: &str) -> DocBuf {
    let body = parse_doc(command).expect("a command");
    let mut out = Vec::new();
    session.run(&Request::new(body.as_doc()), &mut out);
    DocBuf::from_checked(out)
}

fn filled() -> Session {
    let engine = Engine::open(Options { blocking_bytes: MEMORY, ..Options::default() }).expect("an engine");
    let mut session = engine.session(Client::owner());
    let command = DocBuf::build(|w| {
        w.append("insert", "t");
        {
            let mut docs = w.array("documents");
            for n in 0..DOCS {
                let mut doc = docs.document();
                // Few different values of `k`, so that the order of equals shows.
                doc.append("_id", n).append("k", n.wrapping_mul(7919) % 97).append("text", &*"x".repeat(1000));
            }
        }
        w.append("$db", "test");
    });
    let mut out = Vec::new();
    session.run(&Request::new(command.as_doc()), &mut out);
    assert!(matches!(DocBuf::from_checked(out).get("n"), Value::Int32(DOCS)));
    session
}

/// `k` and `_id` of all documents of a cursor.
fn all(session: &mut Session, command: &str) -> Vec<(i32, i32)> {
    let mut reply = run(session, command);
    let mut rows = Vec::new();
    loop {
        let cursor = reply.get("cursor").as_doc().unwrap_or_else(|| panic!("{reply:?}"));
        for name in ["firstBatch", "nextBatch"] {
            for v in cursor.get(name).as_array().into_iter().flat_map(|a| a.iter()) {
                let doc = v.as_doc().unwrap_or(Doc::EMPTY);
                let (Value::Int32(k), Value::Int32(id)) = (doc.get("k"), doc.get("_id")) else { panic!("{doc:?}") };
                rows.push((k, id));
            }
        }
        let Value::Int64(id) = cursor.get("id") else { panic!("{reply:?}") };
        if id == 0 {
            return rows;
        }
        reply = run(session, &format!("{{\"getMore\": {{\"$numberLong\": \"{id}\"}}, \"collection\": \"t\", \"$db\": \"test\"}}"));
    }
}

#[test]
fn a_sort_beyond_its_memory_goes_to_disk() {
    let mut session = filled();
    for command in [
        "{\"find\": \"t\", \"sort\": {\"k\": 1}, \"$db\": \"test\"}",
        "{\"aggregate\": \"t\", \"pipeline\": [{\"$sort\": {\"k\": 1}}], \"cursor\": {}, \"$db\": \"test\"}",
    ] {
        let rows = all(&mut session, command);
        assert_eq!(rows.len(), DOCS as usize);
        assert!(rows.is_sorted(), "equal keys keep the order they came in");
    }
    let explain = "{\"explain\": {\"find\": \"t\", \"sort\": {\"k\": 1}}, \"verbosity\": \"executionStats\", \"$db\": \"test\"}";
    let reply = run(&mut session, explain);
    let stages = reply.get("executionStats").as_doc().map(|d| d.get("executionStages")).and_then(|v| v.as_doc()).unwrap_or(Doc::EMPTY);
    assert_eq!(stages.get("stage").as_str(), Some("SORT"));
    assert!(stages.get("usedDisk").truthy() && matches!(stages.get("spills"), Value::Int32(n) if n > 5), "{stages:?}");
}

#[test]
fn a_limited_sort_keeps_what_is_wanted_in_memory() {
    let mut session = filled();
    let rows = all(&mut session, "{\"find\": \"t\", \"sort\": {\"k\": -1}, \"skip\": 10, \"limit\": 50, \"allowDiskUse\": false, \"$db\": \"test\"}");
    let mut expected: Vec<(i32, i32)> = (0..DOCS).map(|n| (n.wrapping_mul(7919) % 97, n)).collect();
    expected.sort_by_key(|(k, id)| (-k, *id));
    assert_eq!(rows, expected[10..60]);
}

#[test]
fn a_partition_beyond_its_memory_goes_to_disk() {
    let mut session = filled();
    // The running number as `k`, the sum of all as `_id`.
    let output = "{\"k\": {\"$documentNumber\": {}}, \"_id\": {\"$sum\": \"$_id\"}}";
    let command = format!(
        "{{\"aggregate\": \"t\", \"pipeline\": [{{\"$setWindowFields\": {{\"sortBy\": {{\"_id\": 1}}, \"output\": {output}}}}}], \"cursor\": {{}}, \"$db\": \"test\"}}"
    );
    let total = DOCS * (DOCS - 1) / 2;
    assert_eq!(all(&mut session, &command), (1..=DOCS).map(|n| (n, total)).collect::<Vec<_>>());
}

#[test]
fn without_the_disk_it_fails() {
    let mut session = filled();
    for command in [
        "{\"find\": \"t\", \"sort\": {\"k\": 1}, \"allowDiskUse\": false, \"$db\": \"test\"}",
        "{\"aggregate\": \"t\", \"pipeline\": [{\"$sort\": {\"k\": 1}}], \"allowDiskUse\": false, \"cursor\": {}, \"$db\": \"test\"}",
    ] {
        let reply = run(&mut session, command);
        assert!(matches!(reply.get("code"), Value::Int32(292)), "{reply:?}");
    }
}
