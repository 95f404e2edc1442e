//! The short way in answers as the commands do, or leaves the answer to them.

#![allow(clippy::unwrap_used)]

use smongo_bson::json::{parse_doc, to_relaxed};
use smongo_bson::{Code, Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Ns, Options, Session};

fn run(session: &mut Session, db: &str, command: &str) -> DocBuf {
    session.run_command(db, &parse_doc(command).unwrap()).unwrap()
}

fn insert(session: &mut Session, coll: &str, doc: &str) -> Option<Result<(), Code>> {
    let done = session.insert_one(&Ns::new("d", coll).unwrap(), parse_doc(doc).unwrap().as_doc());
    done.map(|r| r.map_err(|e| e.code()))
}

fn find(session: &mut Session, coll: &str, id: Value<'_>) -> Option<Option<String>> {
    let found = session.find_by_id(&Ns::new("d", coll).unwrap(), id, |doc: Option<Doc<'_>>| doc.map(to_relaxed));
    found.map(Result::unwrap)
}

#[test]
fn what_goes_in_comes_out_and_is_logged_and_counted() {
    let engine = Engine::open(Options::default()).unwrap();
    let s = &mut engine.session(Client::owner());
    assert_eq!(insert(s, "c", r#"{"_id": 1}"#), None, "a collection is made by the command");
    run(s, "d", r#"{"create": "c"}"#);
    assert_eq!(insert(s, "c", r#"{"a": 5, "_id": 1}"#), Some(Ok(())));
    assert_eq!(insert(s, "c", r#"{"_id": 1.0}"#), Some(Err(Code::DuplicateKey)));
    assert_eq!(insert(s, "c", r#"{"_id": [1]}"#), Some(Err(Code::InvalidIdField)));
    // `_id` has moved to the front, as it does in MongoDB.
    assert_eq!(find(s, "c", Value::Double(1.0)), Some(Some(r#"{"_id":1,"a":5}"#.to_owned())));
    assert_eq!(find(s, "c", Value::Int32(2)), Some(None));
    let logged = run(s, "local", r#"{"find": "oplog.rs", "filter": {"op": "i", "ns": "d.c"}, "projection": {"o": 1, "_id": 0}}"#);
    assert_eq!(logged.get("cursor").as_doc().unwrap().get("firstBatch").as_array().unwrap().len(), 1);
    let counters = run(s, "admin", r#"{"serverStatus": 1}"#);
    let counters = counters.get("opcounters").as_doc().unwrap();
    assert!(matches!(counters.get("insert"), Value::Int64(3)));
}

#[test]
fn what_is_not_plain_is_left_to_the_command() {
    let engine = Engine::open(Options::default()).unwrap();
    let s = &mut engine.session(Client::owner());
    run(s, "d", r#"{"create": "c"}"#);
    run(s, "d", r#"{"create": "v", "viewOn": "c", "pipeline": []}"#);
    run(s, "d", r#"{"create": "capped", "capped": true, "size": 4096}"#);
    run(s, "d", r#"{"create": "collated", "collation": {"locale": "en", "strength": 2}}"#);
    assert_eq!(insert(s, "v", "{}"), None);
    assert_eq!(insert(s, "capped", "{}"), None);
    assert_eq!(find(s, "v", Value::Int32(1)), None);
    assert_eq!(find(s, "collated", Value::String("A")), None);
    let operator = parse_doc(r#"{"$gt": 1}"#).unwrap();
    assert_eq!(find(s, "c", Value::Document(operator.as_doc())), None);
    run(s, "d", r#"{"profile": 2}"#);
    assert_eq!(insert(s, "c", "{}"), None);
    assert_eq!(find(s, "c", Value::Int32(1)), None);
}

/// The variables of a validator's expressions are the command's.
#[test]
fn a_validator_asks_for_the_command() {
    let engine = Engine::open(Options::default()).unwrap();
    let s = &mut engine.session(Client::owner());
    run(s, "d", r#"{"create": "c", "validator": {"n": {"$gt": 0}}}"#);
    assert_eq!(insert(s, "c", r#"{"_id": 1, "n": 1}"#), None);
    assert_eq!(find(s, "c", Value::Int32(1)), Some(None));
}
