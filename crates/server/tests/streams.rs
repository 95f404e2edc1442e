//! Exhaust streams, and ends of connections that the engine asks for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Frame, body, code, msg, ok, sequence, start};
use smongo_bson::{DocBuf, Value};

const EXHAUST: u32 = 1 << 16;
const MORE: u32 = 2;

fn version(reply: &Frame) -> DocBuf {
    DocBuf::from(reply.body().get("topologyVersion").as_doc().expect("a topologyVersion"))
}

#[test]
fn an_awaitable_hello_waits_and_streams() {
    let server = start();
    let mut client = server.client();
    let plain = DocBuf::build(|w| {
        w.append("hello", 1).append("$db", "admin");
    });
    // Without a version to wait on there is one reply, at once.
    let first = client.round(&msg(1, EXHAUST, &[body(&plain)])).unwrap();
    assert_eq!(first.flags(), 0);
    let awaiting = DocBuf::build(|w| {
        w.append("hello", 1).append("topologyVersion", version(&first).as_doc()).append("maxAwaitTimeMS", 300).append("$db", "admin");
    });
    let begun = Instant::now();
    let mut last = client.round(&msg(2, EXHAUST, &[body(&awaiting)])).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    assert_eq!((last.flags(), last.header.response_to), (MORE, 2));
    for _ in 0..2 {
        let next = client.recv().unwrap();
        assert!(ok(next.body().as_doc()));
        assert_eq!((next.flags(), next.header.response_to), (MORE, last.header.request_id));
        last = next;
    }
    // Without the flag it is awaited once.
    let mut other = server.client();
    assert_eq!(other.round(&msg(3, 0, &[body(&awaiting)])).unwrap().flags(), 0);
    assert!(other.ping_works());
}

#[test]
fn a_streamed_hello_ends_when_the_server_does() {
    let server = start();
    let mut client = server.client();
    let plain = DocBuf::build(|w| {
        w.append("hello", 1).append("$db", "admin");
    });
    let first = client.round(&msg(1, 0, &[body(&plain)])).unwrap();
    let awaiting = DocBuf::build(|w| {
        w.append("hello", 1).append("topologyVersion", version(&first).as_doc()).append("maxAwaitTimeMS", 600_000).append("$db", "admin");
    });
    client.send(&msg(2, EXHAUST, &[body(&awaiting)]));
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    server.engine.begin_shutdown();
    server.handle.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    while let Some(frame) = client.recv() {
        assert_eq!(frame.flags() & MORE, 0);
    }
}

#[test]
fn get_more_streams_batches_until_the_cursor_ends() {
    let server = start();
    let mut client = server.client();
    let docs: Vec<DocBuf> = (0..10)
        .map(|n| {
            DocBuf::build(|w| {
                w.append("_id", n);
            })
        })
        .collect();
    let insert = DocBuf::build(|w| {
        w.append("insert", "c").append("$db", "t");
    });
    assert!(ok(client.round(&msg(1, 0, &[body(&insert), sequence("documents", &docs)])).unwrap().body().as_doc()));
    let found = client.run(|w| {
        w.append("find", "c").append("batchSize", 2).append("$db", "t");
    });
    let cursor = found.get("cursor").as_doc().unwrap().get("id");
    let more = DocBuf::build(|w| {
        w.append("getMore", cursor).append("collection", "c").append("batchSize", 3).append("$db", "t");
    });
    client.send(&msg(9, EXHAUST, &[body(&more)]));
    let mut ids = Vec::new();
    let mut before = 9;
    loop {
        let frame = client.recv().unwrap();
        assert_eq!(frame.header.response_to, before);
        before = frame.header.request_id;
        let reply = frame.body();
        let cursor = reply.get("cursor").as_doc().unwrap();
        let Value::Array(batch) = cursor.get("nextBatch") else { panic!("{reply:?}") };
        ids.extend(batch.iter().filter_map(|d| common::number(d.as_doc()?.get("_id"))));
        let done = common::number(cursor.get("id")) == Some(0.0);
        assert_eq!(frame.flags(), if done { 0 } else { MORE });
        if done {
            break;
        }
    }
    assert_eq!(ids, [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let again = client.round(&msg(10, EXHAUST, &[body(&more)])).unwrap();
    assert_eq!((again.flags(), code(again.body().as_doc())), (0, 43));
}

#[test]
fn a_fail_point_closes_the_connection() {
    let server = start();
    let mut client = server.client();
    let set = client.run(|w| {
        w.append("configureFailPoint", "failCommand");
        w.document("mode").append("times", 1);
        let mut data = w.document("data");
        data.append("closeConnection", true);
        data.array("failCommands").push("ping");
        data.finish();
        w.append("$db", "admin");
    });
    assert!(ok(set.as_doc()), "{set:?}");
    assert!(client.round(&msg(1, 0, &[body(&common::ping())])).is_none());
    assert!(server.client().ping_works());
}

#[test]
fn the_shutdown_command_stops_the_server() {
    let server = start();
    let mut idle = server.client();
    assert!(idle.ping_works());
    let mut client = server.client();
    let shutdown = DocBuf::build(|w| {
        w.append("shutdown", 1).append("$db", "admin");
    });
    let _ = client.round(&msg(1, 0, &[body(&shutdown)]));
    assert!(client.recv().is_none());
    assert!(idle.recv().is_none());
    assert!(server.engine.shutting_down());
}

/// Filters nested as deep as BSON allows run on a connection's stack.
#[test]
fn the_deepest_commands_fit_on_a_connections_stack() {
    fn nest(w: &mut smongo_bson::DocWriter<'_>, operator: &str, levels: usize) {
        if levels == 0 {
            w.append("a", 1);
            return;
        }
        let mut list = w.array(operator);
        nest(&mut list.document(), operator, levels - 1);
    }
    fn expression(w: &mut smongo_bson::DocWriter<'_>, levels: usize) {
        match levels {
            0 => w.append("$add", 1),
            _ => {
                expression(&mut w.document("$abs"), levels - 1);
                w
            }
        };
    }
    let server = start();
    let mut client = server.client();
    let insert = client.run(|w| {
        w.append("insert", "c").append("$db", "t");
        let mut docs = w.array("documents");
        let mut doc = docs.document();
        doc.append("a", 1);
        nest(&mut doc, "x", 80);
    });
    assert!(ok(insert.as_doc()), "{insert:?}");
    for operator in ["$and", "$nor", "$or"] {
        let found = client.run(|w| {
            w.append("find", "c");
            nest(&mut w.document("filter"), operator, 94);
            w.append("$db", "t");
        });
        // MongoDB itself limits the depth of a filter; an answer is what matters here.
        assert!(found.as_doc().contains("ok"), "{found:?}");
        assert!(client.ping_works());
    }
    let computed = client.run(|w| {
        w.append("aggregate", "c");
        w.document("cursor");
        let mut stages = w.array("pipeline");
        let mut stage = stages.document();
        let mut project = stage.document("$project");
        expression(&mut project.document("y"), 180);
        project.finish();
        stage.finish();
        stages.finish();
        w.append("$db", "t");
    });
    assert!(computed.as_doc().contains("ok"), "{computed:?}");
    assert!(client.ping_works());
}
