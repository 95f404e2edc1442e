//! Change streams through the door: what happens is reported once, in order, and a token brings a stream back to its place.
#![allow(clippy::expect_used, clippy::panic)]

use smongo_bson::{Doc, DocBuf, DocWriter, Value};
use smongo_engine::{Client, Engine, Options, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Watcher {
    session: Session,
    cursor: i64,
    token: DocBuf,
    events: Vec<DocBuf>,
}

fn array(w: &mut DocWriter<'_>, name: &str, docs: &[DocBuf]) {
    let mut list = w.array(name);
    for d in docs {
        list.push(d.as_doc());
    }
}

fn doc(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    DocBuf::build(fill)
}

fn options(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    doc(fill)
}

impl Watcher {
    fn open(engine: &Engine, coll: &str, options: &DocBuf, more: &[DocBuf]) -> Result<Watcher> {
        let mut session = engine.session(Client::owner());
        let mut stages = vec![doc(|w| {
            w.append("$changeStream", options.as_doc());
        })];
        stages.extend_from_slice(more);
        let command = doc(|w| {
            w.append("aggregate", coll);
            array(w, "pipeline", &stages);
            w.document("cursor");
        });
        let reply = session.run_command("test", &command)?;
        let mut watcher = Watcher { session, cursor: 0, token: DocBuf::new(), events: Vec::new() };
        watcher.take(reply, "firstBatch");
        Ok(watcher)
    }

    fn take(&mut self, reply: DocBuf, batch: &str) {
        let Value::Document(cursor) = reply.get("cursor") else { panic!("no cursor") };
        self.cursor = match cursor.get("id") {
            Value::Int64(n) => n,
            v => smongo_bson::number::to_i64_exact(v).unwrap_or(0),
        };
        self.token = DocBuf::from(cursor.get("postBatchResumeToken").as_doc().unwrap_or(Doc::EMPTY));
        let events = cursor.get(batch).as_array().into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc()));
        self.events.extend(events.map(DocBuf::from));
    }

    fn more(&mut self, coll: &str) -> Result<()> {
        let command = doc(|w| {
            w.append("getMore", self.cursor).append("collection", coll).append("maxTimeMS", 1);
        });
        let reply = self.session.run_command("test", &command)?;
        self.take(reply, "nextBatch");
        Ok(())
    }

    /// Type and `documentKey._id` of each event.
    fn summary(&self) -> Vec<String> {
        let one = |e: &DocBuf| {
            let id = e.get("documentKey").as_doc().map(|d| smongo_bson::json::value_to_relaxed(d.get("_id")));
            format!("{} {}", e.get("operationType").as_str().unwrap_or("?"), id.unwrap_or_default()).trim().to_owned()
        };
        self.events.iter().map(one).collect()
    }
}

fn insert(session: &mut Session, coll: &str, id: i32) -> Result<()> {
    let document = doc(|w| {
        w.append("_id", id).append("v", id);
    });
    session.run_command("test", &doc(|w| {
        w.append("insert", coll);
        array(w, "documents", &[document]);
    }))?;
    Ok(())
}

fn update(session: &mut Session, coll: &str, id: i32, change: DocBuf) -> Result<()> {
    let statement = doc(|w| {
        w.document("q").append("_id", id);
        w.append("u", change.as_doc());
    });
    session.run_command("test", &doc(|w| {
        w.append("update", coll);
        array(w, "updates", &[statement]);
    }))?;
    Ok(())
}

fn drop_collection(session: &mut Session, coll: &str) -> Result<()> {
    session.run_command("test", &doc(|w| {
        w.append("drop", coll);
    }))?;
    Ok(())
}

fn memory() -> Result<Engine> {
    Ok(Engine::open(Options::default())?)
}

#[test]
fn a_stream_reports_what_happens_after_it_was_opened() -> Result<()> {
    let engine = memory()?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, "t", 1)?;
    let mut watcher = Watcher::open(&engine, "t", &options(|_| {}), &[])?;
    assert!(watcher.events.is_empty());
    insert(&mut session, "other", 9)?;
    insert(&mut session, "t", 2)?;
    let set = doc(|w| {
        w.document("$set").append("v", 7);
    });
    update(&mut session, "t", 1, set)?;
    watcher.more("t")?;
    assert_eq!(watcher.summary(), ["insert 2", "update 1"]);
    let changed = watcher.events[1].get("updateDescription").as_doc().map(|d| smongo_bson::json::value_to_relaxed(d.get("updatedFields")));
    assert_eq!(changed.as_deref(), Some("{\"v\":7}"));
    drop_collection(&mut session, "t")?;
    watcher.more("t")?;
    assert_eq!(watcher.summary()[2..], ["drop", "invalidate"]);
    assert_eq!(watcher.cursor, 0);
    Ok(())
}

#[test]
fn every_token_of_a_stream_leads_to_the_rest_of_it() -> Result<()> {
    let engine = memory()?;
    let mut session = engine.session(Client::owner());
    let mut watcher = Watcher::open(&engine, "t", &options(|_| {}), &[])?;
    let start = watcher.token.clone();
    for id in 0..20 {
        insert(&mut session, "t", id)?;
    }
    drop_collection(&mut session, "t")?;
    watcher.more("t")?;
    let all = watcher.summary();
    assert_eq!(all.len(), 22);
    let again = Watcher::open(&engine, "t", &options(|w| {
        w.append("resumeAfter", start.as_doc());
    }), &[])?;
    assert_eq!(again.summary(), all);
    for (n, event) in watcher.events.iter().enumerate() {
        let resumed = Watcher::open(&engine, "t", &options(|w| {
            w.append("startAfter", event.get("_id"));
        }), &[])?;
        assert_eq!(resumed.summary(), all[n + 1..], "after event {n}");
    }
    Ok(())
}

#[test]
fn a_token_of_another_collection_is_not_found() -> Result<()> {
    let engine = memory()?;
    let mut session = engine.session(Client::owner());
    let mut other = Watcher::open(&engine, "other", &options(|_| {}), &[])?;
    insert(&mut session, "other", 1)?;
    other.more("other")?;
    let mut watcher = Watcher::open(&engine, "t", &options(|w| {
        w.append("resumeAfter", other.events[0].get("_id"));
    }), &[])?;
    insert(&mut session, "t", 1)?;
    let error = watcher.more("t").err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("resume token was not found"), "{error}");
    Ok(())
}

#[test]
fn the_token_must_stay_in_the_event() -> Result<()> {
    let engine = memory()?;
    let mut session = engine.session(Client::owner());
    let project = doc(|w| {
        w.document("$project").append("_id", 0);
    });
    let mut watcher = Watcher::open(&engine, "t", &options(|_| {}), &[project])?;
    insert(&mut session, "t", 1)?;
    let error = watcher.more("t").err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("was modified by the pipeline"), "{error}");
    Ok(())
}

#[test]
fn a_large_transaction_is_several_entries_and_one_run_of_events() -> Result<()> {
    // On disk, where the oplog may be larger than the transaction.
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, "t", -1)?;
    let mut watcher = Watcher::open(&engine, "t", &options(|_| {}), &[doc(|w| {
        w.document("$project").append("operationType", 1).append("documentKey", 1).append("clusterTime", 1);
    })])?;
    let lsid = doc(|w| {
        let mut raw = [4u8; 17];
        raw[1..].copy_from_slice(&[7; 16]);
        w.append("id", Value::Binary(smongo_bson::Binary::from_raw(&raw)));
    });
    let text = "x".repeat(5 << 20);
    for id in 0..8 {
        let document = doc(|w| {
            w.append("_id", id).append("text", &*text);
        });
        session.run_command("test", &doc(|w| {
            w.append("insert", "t");
            array(w, "documents", &[document]);
            w.append("lsid", lsid.as_doc()).append("txnNumber", 1i64).append("autocommit", false);
            if id == 0 {
                w.append("startTransaction", true);
            }
        }))?;
    }
    session.run_command("admin", &doc(|w| {
        w.append("commitTransaction", 1).append("lsid", lsid.as_doc()).append("txnNumber", 1i64).append("autocommit", false);
    }))?;
    watcher.more("t")?;
    let expected: Vec<String> = (0..8).map(|id| format!("insert {id}")).collect();
    assert_eq!(watcher.summary(), expected);
    let times: Vec<_> = watcher.events.iter().map(|e| format!("{:?}", e.get("clusterTime"))).collect();
    assert!(times.windows(2).all(|w| w[0] == w[1]));
    let resumed = Watcher::open(&engine, "t", &options(|w| {
        w.append("resumeAfter", watcher.events[5].get("_id"));
    }), &[])?;
    assert_eq!(resumed.summary(), expected[6..]);
    Ok(())
}

#[test]
fn tokens_outlive_the_process() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let token = {
        let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
        let mut session = engine.session(Client::owner());
        let mut watcher = Watcher::open(&engine, "t", &options(|_| {}), &[])?;
        insert(&mut session, "t", 1)?;
        watcher.more("t")?;
        insert(&mut session, "t", 2)?;
        engine.close()?;
        watcher.token
    };
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
    insert(&mut engine.session(Client::owner()), "t", 3)?;
    let resumed = Watcher::open(&engine, "t", &options(|w| {
        w.append("resumeAfter", token.as_doc());
    }), &[])?;
    assert_eq!(resumed.summary(), ["insert 2", "insert 3"]);
    Ok(())
}

#[test]
fn what_others_write_between_is_nobodys_event() -> Result<()> {
    let engine = Engine::open(Options::default())?;
    let mut session = engine.session(Client::owner());
    for coll in ["t", "other"] {
        insert(&mut session, coll, 0)?;
    }
    let mut watcher = Watcher::open(&engine, "t", &DocBuf::new(), &[])?;
    let mut whole = Watcher::open(&engine, "t", &options(|w| { w.append("showExpandedEvents", true); }), &[])?;
    for id in 1..4 {
        insert(&mut session, "t", id)?;
        watcher.more("t")?;
        // The stream passes by these and stands on the last of them.
        insert(&mut session, "other", id)?;
        insert(&mut session, "other", 10 + id)?;
        insert(&mut session, "t", 10 * id)?;
        insert(&mut session, "other", 20 + id)?;
        watcher.more("t")?;
        whole.more("t")?;
        whole.more("t")?;
    }
    let expected = ["insert 1", "insert 10", "insert 2", "insert 20", "insert 3", "insert 30"];
    assert_eq!(watcher.summary(), expected);
    assert_eq!(whole.summary(), expected);
    Ok(())
}

#[test]
fn a_wait_holds_no_table_and_ends_when_it_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
    let (mut session, mut killer) = (engine.session(Client::owner()), engine.session(Client::owner()));
    insert(&mut session, "c", 1)?;
    let opened = session.run_command("test", &doc(|w| {
        w.append("aggregate", "c");
        w.array("pipeline").document().document("$changeStream");
        w.document("cursor");
    }))?;
    let id = opened.get("cursor").as_doc().map_or(Value::Missing, |c| c.get("id"));
    let get_more = doc(|w| {
        w.append("getMore", id).append("collection", "c").append("maxTimeMS", 60_000);
    });
    let begun = std::time::Instant::now();
    let waiting = std::thread::spawn(move || session.run_command("test", &get_more).map(|_| ()));
    let opid = loop {
        let running = killer.run_command("admin", &doc(|w| { w.append("currentOp", 1).append("op", "getmore"); }))?;
        let found = running.get("inprog").as_array().and_then(|a| a.iter().next()).and_then(|v| v.as_doc()).map(|d| d.get("opid"));
        if let Some(Value::Int64(opid)) = found {
            break opid;
        }
        assert!(!waiting.is_finished(), "{:?}", waiting.join());
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    // Give it the time to fall asleep.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let report = killer.run_command("test", &doc(|w| { w.append("validate", "c").append("full", true); }))?;
    assert!(report.get("valid").truthy(), "{report:?}");
    assert_eq!(report.get("warnings").as_array().map(|warnings| warnings.iter().count()), Some(0), "{report:?}");
    killer.run_command("admin", &doc(|w| { w.append("killOp", 1).append("op", opid); }))?;
    let error = waiting.join().map_err(|_| "panicked")?.err().ok_or("no error")?;
    assert_eq!(error.code().0, 11601);
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    Ok(())
}
