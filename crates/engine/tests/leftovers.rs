//! What is left of operations that end half-way, and of what was under them when it went.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Options, Request, Session};

fn run(session: &mut Session, command: &str) -> DocBuf {
    let body = parse_doc(&command.replace('\'', "\"")).unwrap();
    let body = DocBuf::build(|w| {
        w.append_all(body.as_doc());
        if !body.as_doc().contains("$db") {
            w.append("$db", "test");
        }
    });
    let mut out = Vec::new();
    session.run(&Request::new(body.as_doc()), &mut out);
    DocBuf::from_checked(out)
}

fn code(reply: &DocBuf) -> i32 {
    match reply.get("code") {
        Value::Int32(code) => code,
        _ => 0,
    }
}

fn fill(session: &mut Session, coll: &str, docs: i32) {
    let docs: Vec<String> = (0..docs).map(|n| format!("{{'_id': {n}, 'n': {n}}}")).collect();
    assert_eq!(code(&run(session, &format!("{{'insert': '{coll}', 'documents': [{}]}}", docs.join(",")))), 0);
}

fn collections(session: &mut Session) -> Vec<String> {
    let reply = run(session, "{'listCollections': 1, 'nameOnly': true}");
    let list = reply.get("cursor").as_doc().unwrap().get("firstBatch").as_array().unwrap();
    let mut names: Vec<String> = list.iter().filter_map(|v| Some(v.as_doc()?.get("name").as_str()?.to_owned())).collect();
    names.sort();
    names
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn at(path: &Path) -> Engine {
    Engine::open(Options { path: Some(path.to_owned()), ..Options::default() }).unwrap()
}

#[test]
fn an_out_that_runs_out_of_time_leaves_nothing() {
    let engine = Engine::open(Options::default()).unwrap();
    let mut session = engine.session(Client::owner());
    fill(&mut session, "t", 3000);
    let cross = "{'$lookup': {'from': 't', 'let': {'n': '$n'}, 'as': 'all', 'pipeline': [{'$match': {'$expr': {'$lt': ['$n', {'$subtract': [0, '$$n']}]}}}]}}";
    let reply = run(&mut session, &format!("{{'aggregate': 't', 'pipeline': [{cross}, {{'$out': 'u'}}], 'cursor': {{}}, 'maxTimeMS': 150}}"));
    assert_eq!(code(&reply), 50, "{reply:?}");
    assert_eq!(collections(&mut session), ["t"]);
}

#[test]
fn an_out_that_was_under_way_when_the_process_ended_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = at(dir.path());
    let mut session = engine.session(Client::owner());
    fill(&mut session, "tmp.agg_out.0123456789abcdef0123456789abcdef", 10);
    fill(&mut session, "tmp.agg_out.mine", 10);
    drop(session);
    engine.close().unwrap();
    let engine = at(dir.path());
    assert_eq!(collections(&mut engine.session(Client::owner())), ["tmp.agg_out.mine"]);
}

/// Opens a cursor by a command; its id.
fn open(session: &mut Session, command: &str) -> i64 {
    let reply = run(session, command);
    match reply.get("cursor").as_doc().map(|cursor| cursor.get("id")) {
        Some(Value::Int64(id)) if id != 0 => id,
        _ => panic!("{reply:?}"),
    }
}

fn more(session: &mut Session, id: i64) -> DocBuf {
    run(session, &format!("{{'getMore': {{'$numberLong': '{id}'}}, 'collection': 't'}}"))
}

#[test]
fn a_cursor_whose_index_or_collection_is_gone_says_so() {
    let engine = Engine::open(Options::default()).unwrap();
    let mut session = engine.session(Client::owner());
    fill(&mut session, "t", 500);
    run(&mut session, "{'createIndexes': 't', 'indexes': [{'key': {'n': 1}, 'name': 'n_1'}, {'key': {'m': 1}, 'name': 'm_1'}]}");
    let find = "{'find': 't', 'filter': {'n': {'$gte': 0}}, 'hint': 'n_1', 'batchSize': 2}";
    let aggregate = "{'aggregate': 't', 'pipeline': [{'$match': {'n': {'$gte': 0}}}], 'hint': 'n_1', 'cursor': {'batchSize': 2}}";
    let (by_index, folded, scan) = (open(&mut session, find), open(&mut session, aggregate), open(&mut session, "{'find': 't', 'batchSize': 2}"));
    let other = open(&mut session, find);
    // Dropping another index disturbs nobody.
    run(&mut session, "{'dropIndexes': 't', 'index': 'm_1'}");
    assert_eq!(code(&more(&mut session, other)), 0);
    run(&mut session, "{'dropIndexes': 't', 'index': 'n_1'}");
    for id in [by_index, folded] {
        let reply = more(&mut session, id);
        assert_eq!(code(&reply), 175, "{reply:?}");
        assert_eq!(reply.get("errmsg").as_str().filter(|m| m.contains("index 'n_1' dropped")).map(|_| ()), Some(()), "{reply:?}");
        assert_eq!(code(&more(&mut session, id)), 43, "it is gone then");
    }
    assert_eq!(code(&run(&mut session, "{'find': 't', 'filter': {'n': 7}}")), 0);
    run(&mut session, "{'drop': 't'}");
    assert_eq!(code(&more(&mut session, scan)), 175);
}

#[test]
fn transactions_end_in_time_under_an_fsync_lock() {
    let dir = tempfile::tempdir().unwrap();
    let parameters = [("transactionLifetimeLimitSeconds", "1"), ("ttlMonitorSleepSecs", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let options = Options { path: Some(dir.path().to_owned()), parameters: parameters.to_vec(), ..Options::default() };
    let engine = Engine::open(options).unwrap();
    let mut session = engine.session(Client::owner());
    fill(&mut session, "t", 3);
    run(&mut session, "{'createIndexes': 'old', 'indexes': [{'key': {'at': 1}, 'name': 'at_1', 'expireAfterSeconds': 3600}]}");
    assert_eq!(code(&run(&mut session, "{'fsync': 1, 'lock': true, '$db': 'admin'}")), 0);
    // Something for the background to write, which must wait.
    let mut writer = engine.session(Client::owner());
    let waits = std::thread::spawn(move || run(&mut writer, "{'insert': 'old', 'documents': [{'at': {'$date': '2020-01-01T00:00:00Z'}}]}"));
    run(&mut session, "{'fsyncUnlock': 1, '$db': 'admin'}");
    waits.join().unwrap();
    assert_eq!(code(&run(&mut session, "{'fsync': 1, 'lock': true, '$db': 'admin'}")), 0);
    std::thread::sleep(Duration::from_millis(2500));
    let lsid = "{'id': {'$binary': {'base64': 'AAAAAAAAAAAAAAAAAAAAAA==', 'subType': '04'}}}";
    let begun = format!("{{'find': 't', 'lsid': {lsid}, 'txnNumber': {{'$numberLong': '1'}}, 'startTransaction': true, 'autocommit': false}}");
    assert_eq!(code(&run(&mut session, &begun)), 0);
    let open = |session: &mut Session| {
        let status = run(session, "{'serverStatus': 1, '$db': 'admin'}");
        matches!(status.get("transactions").as_doc().unwrap_or(Doc::EMPTY).get("currentOpen"), Value::Int64(1))
    };
    assert!(open(&mut session));
    eventually("the transaction ends", || !open(&mut session));
    run(&mut session, "{'fsyncUnlock': 1, '$db': 'admin'}");
    eventually("what was expired goes", || matches!(run(&mut session, "{'count': 'old'}").get("n"), Value::Int32(0)));
}

#[test]
fn a_sort_that_nobody_reads_keeps_little_and_loses_nothing() {
    const DOCS: i32 = 6000;
    let dir = tempfile::tempdir().unwrap();
    let engine = at(dir.path());
    let mut session = engine.session(Client::owner());
    let command = DocBuf::build(|w| {
        w.append("insert", "t");
        {
            let mut docs = w.array("documents");
            for n in 0..DOCS {
                docs.document().append("_id", n).append("n", DOCS - n).append("text", &*"x".repeat(1000));
            }
        }
        w.append("$db", "test");
    });
    session.run(&Request::new(command.as_doc()), &mut Vec::new());
    let cursors = [
        "{'find': 't', 'sort': {'n': 1}, 'batchSize': 2}",
        "{'find': 't', 'sort': {'n': 1}, 'batchSize': 2, 'allowDiskUse': false}",
        "{'aggregate': 't', 'pipeline': [{'$sort': {'n': 1}}], 'cursor': {'batchSize': 2}}",
        "{'aggregate': 't', 'pipeline': [{'$group': {'_id': '$n', 'text': {'$push': '$text'}}}], 'cursor': {'batchSize': 2}}",
    ]
    .map(|command| open(&mut session, command));
    let spilled = || {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        names.filter(|name| name.starts_with(dir.path()) && name.to_string_lossy().ends_with(" (deleted)")).count()
    };
    std::thread::sleep(Duration::from_secs(10));
    if cfg!(target_os = "linux") {
        // All but the one that may not use the disk.
        eventually("they go to disk", || spilled() == 3);
    }
    for (n, id) in cursors.into_iter().enumerate() {
        let mut seen = Vec::new();
        loop {
            let reply = more(&mut session, id);
            let cursor = reply.get("cursor").as_doc().unwrap_or_else(|| panic!("{reply:?}"));
            let batch = cursor.get("nextBatch").as_array().unwrap();
            let key = |v: Value<'_>| match (v.as_doc().unwrap_or(Doc::EMPTY).get("n"), v.as_doc().unwrap_or(Doc::EMPTY).get("_id")) {
                (Value::Int32(n), _) | (Value::Missing, Value::Int32(n)) => n,
                other => panic!("{other:?}"),
            };
            seen.extend(batch.iter().map(key));
            if matches!(cursor.get("id"), Value::Int64(0)) {
                break;
            }
        }
        if n == 3 {
            seen.sort_unstable();
            assert_eq!(seen.len(), DOCS as usize - 2);
            seen.dedup();
            assert_eq!(seen.len(), DOCS as usize - 2);
        } else {
            assert!(seen.iter().copied().eq(3..=DOCS), "cursor {n}: {} documents", seen.len());
        }
    }
}

#[test]
fn server_status_has_every_figure_of_the_storage() {
    let engine = Engine::open(Options::default()).unwrap();
    let status = run(&mut engine.session(Client::owner()), "{'serverStatus': 1, '$db': 'admin'}");
    let figures = status.get("wiredTiger").as_doc().unwrap();
    for (section, name) in [
        ("cache", "bytes written from cache"),
        ("cache", "tracked dirty bytes in the cache"),
        ("cache", "modified pages evicted"),
        ("checkpoint", "total succeed number of checkpoints"),
        ("checkpoint", "most recent time (msecs)"),
        ("data-handle", "connection data handles currently active"),
        ("log", "log bytes written"),
        ("transaction", "transactions committed"),
    ] {
        let found = figures.get(section).as_doc().unwrap_or_else(|| panic!("{section}")).get(name);
        assert!(matches!(found, Value::Int64(_)), "{section}: {name}: {found:?}");
    }
}
