//! What a cursor keeps of the command that opened it, and what a document may not be: through the door, where a case file cannot
//! name the cursor or write the document.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::Db;
use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Options, Request};

fn open() -> (Engine, Db) {
    let engine = Engine::open(Options::default()).expect("a database in memory");
    let session = engine.session(Client::owner());
    (engine, Db { session })
}

fn cursor(reply: &DocBuf) -> i64 {
    match reply.get("cursor").as_doc().map_or(Value::Missing, |c| c.get("id")) {
        Value::Int64(id) => id,
        other => panic!("no cursor but {other:?}: {reply:?}"),
    }
}

fn code(reply: &DocBuf) -> i32 {
    match reply.get("code") {
        Value::Int32(code) => code,
        _ => 0,
    }
}

#[test]
fn a_cursor_is_read_with_the_api_it_was_opened_with() {
    let (_engine, mut db) = open();
    db.must(r#"{"insert": "t", "documents": [{"_id": 1}, {"_id": 2}, {"_id": 3}], "$db": "test"}"#);
    for command in [r#"{"find": "t", "batchSize": 1"#, r#"{"aggregate": "t", "pipeline": [], "cursor": {"batchSize": 1}"#, r#"{"listIndexes": "t", "cursor": {"batchSize": 0}"#] {
        let id = cursor(&db.must(&format!(r#"{command}, "apiVersion": "1", "apiStrict": true, "$db": "test"}}"#)));
        let mut more = |rest: &str| db.run(&format!(r#"{{"getMore": {{"$numberLong": "{id}"}}, "collection": "t", "$db": "test"{rest}}}"#));
        assert_eq!(code(&more("")), 325, "{command}");
        assert_eq!(code(&more(r#", "apiVersion": "1""#)), 325, "{command}");
        assert_eq!(code(&more(r#", "apiVersion": "1", "apiStrict": true, "apiDeprecationErrors": true"#)), 325, "{command}");
        // It is still there for who asks rightly.
        assert_eq!(code(&more(r#", "apiVersion": "1", "apiStrict": true"#)), 0, "{command}");
    }
    let id = cursor(&db.must(r#"{"find": "t", "batchSize": 1, "$db": "test"}"#));
    assert_eq!(code(&db.run(&format!(r#"{{"getMore": {{"$numberLong": "{id}"}}, "collection": "t", "$db": "test", "apiVersion": "1"}}"#))), 325);
}

#[test]
fn a_get_more_is_profiled_with_the_comment_of_its_cursor() {
    let (_engine, mut db) = open();
    db.must(r#"{"insert": "t", "documents": [{"_id": 1}, {"_id": 2}, {"_id": 3}], "$db": "test"}"#);
    db.must(r#"{"profile": 2, "$db": "test"}"#);
    let id = cursor(&db.must(r#"{"find": "t", "batchSize": 1, "comment": "why", "$db": "test"}"#));
    let more = format!(r#""getMore": {{"$numberLong": "{id}"}}, "collection": "t", "batchSize": 1, "$db": "test""#);
    db.must(&format!("{{{more}}}"));
    db.must(&format!(r#"{{{more}, "comment": "its own"}}"#));
    db.must(r#"{"profile": 0, "$db": "test"}"#);
    let entries = db.all(r#"{"find": "system.profile", "filter": {"op": "getmore"}, "$db": "test"}"#, "system.profile", r#""$db": "test""#).expect("the profile");
    let comments: Vec<String> = entries.iter().map(|e| e.get("command").as_doc().unwrap_or(Doc::EMPTY).get("comment").as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(comments, ["why", "its own"]);
}

/// `{a: {a: {… }}}` with that many levels, the document itself included.
fn nested(levels: usize) -> DocBuf {
    (1..levels).fold(DocBuf::new(), |inner, _| DocBuf::build(|w| {
        w.append("a", Value::Document(inner.as_doc()));
    }))
}

#[test]
fn documents_are_not_stored_deeper_than_mongodb_does() {
    let (_engine, mut db) = open();
    let mut run = |command: &DocBuf| {
        let mut out = Vec::new();
        db.session.run(&Request::new(command.as_doc()), &mut out);
        let reply = DocBuf::from_checked(out);
        let errors = reply.get("writeErrors").as_array().and_then(|all| all.iter().next()).and_then(|e| e.as_doc().map(DocBuf::from));
        errors.map_or_else(|| code(&reply), |e| code(&e))
    };
    let insert = |coll: &str, doc: &DocBuf| DocBuf::build(|w| {
        w.append("insert", coll).append("$db", "test");
        w.array("documents").push(doc.as_doc());
    });
    assert_eq!(run(&insert("t", &nested(180))), 0);
    assert_eq!(run(&insert("t", &nested(181))), 15);
    let update = |levels: usize, upsert: bool| DocBuf::build(|w| {
        w.append("update", "t").append("$db", "test");
        let mut updates = w.array("updates");
        let mut statement = updates.document();
        let mut filter = statement.document("q");
        if upsert {
            filter.append("none", 1);
        }
        filter.finish();
        statement.document("u").document("$set").append("b", nested(levels).as_doc());
        statement.append("upsert", upsert);
    });
    for upsert in [false, true] {
        assert_eq!(run(&update(179, upsert)), 0);
        assert_eq!(run(&update(180, upsert)), 15);
    }
    // A path makes levels, too.
    let path = vec!["p"; 180].join(".");
    let deep = DocBuf::build(|w| {
        w.append("update", "t").append("$db", "test");
        let mut updates = w.array("updates");
        let mut statement = updates.document();
        statement.document("q");
        statement.document("u").document("$set").append(&path, 1);
    });
    assert_eq!(run(&deep), 0);
    let deeper = DocBuf::build(|w| {
        w.append("update", "t").append("$db", "test");
        let mut updates = w.array("updates");
        let mut statement = updates.document();
        statement.document("q");
        statement.document("u").document("$set").append(&vec!["q"; 181].join("."), 1);
    });
    assert_eq!(run(&deeper), 15);
    // A refused one leaves no collection.
    assert_eq!(run(&insert("none", &nested(181))), 15);
    let list = db.must(r#"{"listCollections": 1, "filter": {"name": "none"}, "$db": "test"}"#);
    assert!(list.get("cursor").as_doc().and_then(|c| c.get("firstBatch").as_array()).is_some_and(|all| all.iter().next().is_none()));
}

/// A driver's `with_transaction` reads from the command's own error whether to try all of it again.
#[test]
fn a_lock_timeout_fails_each_command_of_a_transaction_with_its_label() {
    let (_engine, mut db) = open();
    db.must(r#"{"insert": "t", "documents": [{"_id": 1}], "$db": "test"}"#);
    db.must(r#"{"fsync": 1, "lock": true, "$db": "admin"}"#);
    let writes = [
        r#""insert": "t", "documents": [{"_id": 2}], "$db": "test""#,
        r#""insert": "t", "documents": [{"_id": 2}], "ordered": false, "$db": "test""#,
        r#""update": "t", "updates": [{"q": {"_id": 1}, "u": {"$set": {"a": 1}}}], "$db": "test""#,
        r#""update": "t", "updates": [{"q": {}, "u": {"$set": {"a": 1}}, "multi": true}], "$db": "test""#,
        r#""delete": "t", "deletes": [{"q": {"_id": 1}, "limit": 1}], "$db": "test""#,
        r#""delete": "t", "deletes": [{"q": {}, "limit": 0}], "$db": "test""#,
        r#""findAndModify": "t", "query": {"_id": 1}, "remove": true, "$db": "test""#,
        r#""bulkWrite": 1, "ops": [{"insert": 0, "document": {"_id": 2}}], "nsInfo": [{"ns": "test.t"}], "$db": "admin""#,
    ];
    for (n, write) in writes.iter().enumerate() {
        let reply = db.run(&format!(
            r#"{{{write}, "lsid": {{"id": {{"$uuid": "00000000-0000-4000-8000-000000000051"}}}}, "txnNumber": {{"$numberLong": "{n}"}}, "autocommit": false, "startTransaction": true}}"#
        ));
        assert_eq!(code(&reply), 24, "{write}: {reply:?}");
        let labels: Vec<&str> = reply.get("errorLabels").as_array().into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_str())).collect();
        assert_eq!(labels, ["TransientTransactionError"], "{write}");
    }
    db.must(r#"{"fsyncUnlock": 1, "$db": "admin"}"#);
}
