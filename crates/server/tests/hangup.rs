//! What a client that leaves leaves behind: nothing that runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Running, body, msg, ok, start};
use smongo_bson::json::parse_doc;
use smongo_bson::{DocBuf, Value};

fn command(text: &str) -> DocBuf {
    parse_doc(&text.replace('\'', "\"")).unwrap()
}

/// The names of the commands that run, but for the one that asks.
fn running(server: &Running) -> Vec<String> {
    let mut session = server.engine.session(smongo_engine::Client::owner());
    let reply = session.run_command("admin", &command("{'currentOp': 1}")).unwrap();
    let list = reply.get("inprog").as_array().unwrap();
    let name = |v: Value<'_>| v.as_doc()?.get("command").as_doc()?.first().map(|e| e.name().to_owned());
    list.iter().filter_map(name).filter(|name| name != "currentOp").collect()
}

fn eventually(what: &str, done: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

/// Sends a command that takes minutes, closes the connection while it runs, and waits for its end.
fn leave_during(server: &Running, text: &str) {
    let name = command(text).as_doc().first().unwrap().name().to_owned();
    let mut client = server.client();
    client.send(&msg(9, 0, &[body(&command(text))]));
    eventually("it begins", || running(server).contains(&name));
    std::thread::sleep(Duration::from_millis(150));
    assert!(running(server).contains(&name), "it should take long: {text}");
    drop(client);
    let took = eventually("it ends", || !running(server).contains(&name));
    assert!(took < Duration::from_secs(2), "{name} went on for {took:?}");
}

fn filled() -> Running {
    let server = start();
    let docs: Vec<String> = (0..5000).map(|n| format!("{{'_id': {n}, 'n': {n}}}")).collect();
    let insert = format!("{{'insert': 't', 'documents': [{}], '$db': 'test'}}", docs.join(","));
    let mut client = server.client();
    assert!(ok(client.round(&msg(1, 0, &[body(&command(&insert))])).unwrap().body().as_doc()));
    server
}

const CROSS: &str = "{'$lookup': {'from': 't', 'let': {'n': '$n'}, 'as': 'all', 'pipeline': [{'$match': {'$expr': {'$lt': [{'$mod': ['$n', '$$n']}, -1]}}}, {'$count': 'c'}]}}";

#[test]
fn reading_ends_when_its_client_leaves() {
    let server = filled();
    let skip = "{'$match': {'n': {'$gt': 0}}}";
    leave_during(&server, &format!("{{'aggregate': 't', 'pipeline': [{skip}, {CROSS}, {{'$group': {{'_id': null, 'c': {{'$sum': 1}}}}}}], 'cursor': {{}}, '$db': 'test'}}"));
}

#[test]
fn waiting_for_data_ends_when_its_client_leaves() {
    let server = filled();
    let mut client = server.client();
    let opened = client.round(&msg(2, 0, &[body(&command("{'aggregate': 't', 'pipeline': [{'$changeStream': {}}], 'cursor': {}, '$db': 'test'}"))])).unwrap().body();
    let Value::Int64(id) = opened.get("cursor").as_doc().unwrap().get("id") else { panic!("{opened:?}") };
    leave_during(&server, &format!("{{'getMore': {{'$numberLong': '{id}'}}, 'collection': 't', 'maxTimeMS': 600000, '$db': 'test'}}"));
}

#[test]
fn an_awaitable_hello_ends_when_its_client_leaves() {
    let server = start();
    let mut client = server.client();
    let hello = client.round(&msg(3, 0, &[body(&command("{'hello': 1, '$db': 'admin'}"))])).unwrap().body();
    let waits = DocBuf::build(|w| {
        w.append("hello", 1).append("topologyVersion", hello.get("topologyVersion")).append("maxAwaitTimeMS", 600_000i64).append("$db", "admin");
    });
    client.send(&msg(4, 0, &[body(&waits)]));
    eventually("it waits", || running(&server).contains(&"hello".to_owned()));
    drop(client);
    let took = eventually("it ends", || running(&server).is_empty());
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn writing_goes_on_when_its_client_leaves() {
    let server = filled();
    let few = "{'$match': {'n': {'$gt': 0, '$lte': 400}}}";
    let mut client = server.client();
    client.send(&msg(9, 0, &[body(&command(&format!("{{'aggregate': 't', 'pipeline': [{few}, {CROSS}, {{'$out': 'u'}}], 'cursor': {{}}, '$db': 'test'}}")))]));
    eventually("it begins", || running(&server).contains(&"aggregate".to_owned()));
    drop(client);
    eventually("it ends", || running(&server).is_empty());
    let mut session = server.engine.session(smongo_engine::Client::owner());
    let counted = session.run_command("test", &command("{'count': 'u'}")).unwrap();
    assert!(matches!(counted.get("n"), Value::Int32(400)), "{counted:?}");
}

/// Signals are the program's: an engine and a server inside of another program touch none.
#[cfg(target_os = "linux")]
#[test]
fn signals_are_left_alone() {
    let handled = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().filter(|line| line.starts_with("SigCgt") || line.starts_with("SigIgn")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = handled();
    let server = start();
    assert!(server.client().ping_works());
    assert_eq!(handled(), before);
    server.handle.shutdown();
    assert_eq!(handled(), before);
}
