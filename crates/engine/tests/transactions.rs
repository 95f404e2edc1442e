//! Data definition in transactions, snapshot reads and commands that meet, through the door.

use smongo_bson::{Binary, DocBuf, DocWriter, Value};
use smongo_engine::{Client, Engine, Options, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn doc(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    DocBuf::build(fill)
}

fn open(dir: &tempfile::TempDir) -> Result<Engine> {
    Ok(Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?)
}

/// Adds the transaction's fields.
fn within(w: &mut DocWriter<'_>, session: u8, start: bool) {
    let mut raw = [session; 17];
    raw[0] = 4;
    w.document("lsid").append("id", Value::Binary(Binary::from_raw(&raw)));
    w.append("txnNumber", 1i64).append("autocommit", false);
    if start {
        w.append("startTransaction", true);
    }
}

fn insert(coll: &str, id: i32, more: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    doc(|w| {
        w.append("insert", coll);
        w.array("documents").document().append("_id", id).append("a", id);
        more(w);
    })
}

fn create_index(coll: &str, more: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    doc(|w| {
        w.append("createIndexes", coll);
        {
            let mut indexes = w.array("indexes");
            let mut index = indexes.document();
            index.document("key").append("a", 1);
            index.append("name", "a_1");
        }
        more(w);
    })
}

fn end(session: &mut Session, command: &str, lsid: u8) -> smongo_bson::Result<DocBuf> {
    let command = doc(|w| {
        w.append(command, 1);
        within(w, lsid, false);
    });
    session.run_command("admin", &command)
}

fn collections(session: &mut Session) -> Result<Vec<String>> {
    let reply = session.run_command("test", &doc(|w| {
        w.append("listCollections", 1).append("nameOnly", true);
    }))?;
    let batch = reply.get("cursor").as_doc().map(|c| c.get("firstBatch"));
    let docs = batch.and_then(|b| b.as_array()).into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc()));
    Ok(docs.filter_map(|d| d.get("name").as_str().map(str::to_owned)).collect())
}

fn files(dir: &tempfile::TempDir) -> Result<usize> {
    Ok(std::fs::read_dir(dir.path())?.filter_map(|e| e.ok()).filter(|e| e.path().extension().is_some_and(|x| x == "wt")).count())
}

#[test]
fn a_transaction_that_did_not_commit_leaves_no_tables_behind() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let before = files(&dir)?;
    let mut session = engine.session(Client::owner());
    session.run_command("test", &create_index("made", |w| within(w, 1, true)))?;
    session.run_command("test", &insert("made", 1, |w| within(w, 1, false)))?;
    assert!(files(&dir)? > before);
    // As after a crash: nobody ends the transaction, and its tables stay.
    let copy = tempfile::tempdir()?;
    let target = copy.path().join("copy");
    engine.backup(&target)?;
    drop(session);
    engine.close()?;

    for path in [dir.path().to_owned(), target] {
        let engine = Engine::open(Options { path: Some(path.clone()), ..Options::default() })?;
        let mut session = engine.session(Client::owner());
        assert_eq!(collections(&mut session)?, Vec::<String>::new());
        let left = std::fs::read_dir(&path)?.filter_map(|e| e.ok()).filter(|e| e.path().extension().is_some_and(|x| x == "wt")).count();
        assert_eq!(left, before, "{}", path.display());
        // The name and the numbers are free.
        session.run_command("test", &insert("made", 1, |_| {}))?;
        assert_eq!(collections(&mut session)?, ["made"]);
    }
    Ok(())
}

#[test]
fn what_a_transaction_created_is_there_after_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let mut session = engine.session(Client::owner());
    session.run_command("test", &create_index("made", |w| within(w, 1, true)))?;
    session.run_command("test", &insert("made", 1, |w| within(w, 1, false)))?;
    end(&mut session, "commitTransaction", 1)?;
    drop(session);
    engine.close()?;
    let engine = open(&dir)?;
    let mut session = engine.session(Client::owner());
    assert_eq!(collections(&mut session)?, ["made"]);
    let report = session.run_command("test", &doc(|w| {
        w.append("validate", "made").append("full", true);
    }))?;
    assert!(report.get("valid").truthy(), "{report:?}");
    assert_eq!(report.get("keysPerIndex").as_doc().map(|d| d.iter().count()), Some(2));
    Ok(())
}

#[test]
fn a_name_waits_for_the_transaction_that_has_taken_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let (mut first, mut second) = (engine.session(Client::owner()), engine.session(Client::owner()));
    first.run_command("test", &insert("made", 1, |w| within(w, 1, true)))?;
    let e = second.run_command("test", &insert("made", 2, |w| within(w, 2, true))).err().ok_or("no conflict")?;
    assert_eq!(e.code().0, 112);
    let outside = std::thread::spawn({
        let engine = engine.clone();
        move || engine.session(Client::owner()).run_command("test", &insert("made", 3, |_| {})).map(|_| ())
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!outside.is_finished());
    end(&mut first, "commitTransaction", 1)?;
    outside.join().map_err(|_| "panicked")??;
    let count = first.run_command("test", &doc(|w| {
        w.append("count", "made");
    }))?;
    assert_eq!(smongo_bson::number::to_i64_exact(count.get("n")), Some(2));
    Ok(())
}

#[test]
fn commands_of_one_transaction_take_turns() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let mut session = engine.session(Client::owner());
    session.run_command("test", &insert("t", 0, |_| {}))?;
    session.run_command("test", &insert("t", 1, |w| within(w, 1, true)))?;
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let engine = engine.clone();
            std::thread::spawn(move || -> smongo_bson::Result<()> {
                let mut session = engine.session(Client::owner());
                for n in 0..50 {
                    session.run_command("test", &insert("t", 100 + thread * 50 + n, |w| within(w, 1, false)))?;
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "panicked")??;
    }
    end(&mut session, "commitTransaction", 1)?;
    let count = session.run_command("test", &doc(|w| {
        w.append("count", "t");
    }))?;
    assert_eq!(smongo_bson::number::to_i64_exact(count.get("n")), Some(402));
    Ok(())
}

#[test]
fn snapshots_are_of_one_time_while_others_write() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Each transaction writes one document into each of two collections: a snapshot holds as many of the one as of the other.
    let mut session = engine.session(Client::owner());
    for coll in ["x", "y"] {
        session.run_command("test", &insert(coll, 0, |_| {}))?;
    }
    let writers: Vec<_> = (1..4u8)
        .map(|thread| {
            let (engine, stop) = (engine.clone(), stop.clone());
            std::thread::spawn(move || -> smongo_bson::Result<()> {
                let mut session = engine.session(Client::owner());
                let mut number = 1i64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for (n, coll) in ["x", "y"].iter().enumerate() {
                        let command = doc(|w| {
                            w.append("insert", *coll);
                            w.array("documents").document();
                            let mut raw = [thread; 17];
                            raw[0] = 4;
                            w.document("lsid").append("id", Value::Binary(Binary::from_raw(&raw)));
                            w.append("txnNumber", number).append("autocommit", false);
                            if n == 0 {
                                w.append("startTransaction", true);
                            }
                        });
                        session.run_command("test", &command)?;
                    }
                    let commit = doc(|w| {
                        w.append("commitTransaction", 1);
                        let mut raw = [thread; 17];
                        raw[0] = 4;
                        w.document("lsid").append("id", Value::Binary(Binary::from_raw(&raw)));
                        w.append("txnNumber", number).append("autocommit", false);
                    });
                    session.run_command("admin", &commit)?;
                    number += 1;
                    std::thread::sleep(std::time::Duration::from_micros(500));
                }
                Ok(())
            })
        })
        .collect();
    let count = |session: &mut Session, coll: &str, at: Value<'_>| -> Result<(usize, DocBuf)> {
        let reply = session.run_command("test", &doc(|w| {
            w.append("find", coll).append("batchSize", 1_000_000);
            w.document("readConcern").append("level", "snapshot").append("atClusterTime", at);
        }))?;
        let cursor = DocBuf::from(reply.get("cursor").as_doc().ok_or("no cursor")?);
        let found = cursor.get("firstBatch").as_array().map_or(0, |a| a.iter().count());
        Ok((found, cursor))
    };
    let mut last = 0;
    for _ in 0..20 {
        let (x, cursor) = count(&mut session, "x", Value::Missing)?;
        let at = cursor.get("atClusterTime");
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(count(&mut session, "y", at)?.0, x);
        assert_eq!(count(&mut session, "x", at)?.0, x);
        assert!(x >= last);
        last = x;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        writer.join().map_err(|_| "panicked")??;
    }
    Ok(())
}

#[test]
fn a_transaction_of_an_earlier_time_reads_it_and_conflicts_with_what_came_later() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let (mut session, mut other) = (engine.session(Client::owner()), engine.session(Client::owner()));
    let snapshot = |at: Value<'_>, more: &dyn Fn(&mut DocWriter<'_>)| {
        doc(|w| {
            w.append("find", "a");
            w.document("readConcern").append("level", "snapshot").append("atClusterTime", at);
            more(w);
        })
    };
    let ids = |reply: &DocBuf| -> Vec<i64> {
        let batch = reply.get("cursor").as_doc().map(|c| c.get("firstBatch"));
        let docs = batch.and_then(|b| b.as_array()).into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc()));
        docs.filter_map(|d| smongo_bson::number::to_i64_exact(d.get("_id"))).collect()
    };
    let read_on = |lsid: u8| {
        doc(|w| {
            w.append("find", "a");
            within(w, lsid, false);
        })
    };
    for id in [1, 2] {
        session.run_command("test", &insert("a", id, |_| {}))?;
    }
    let kept = session.run_command("test", &snapshot(Value::Missing, &|_| {}))?;
    let at = kept.get("cursor").as_doc().map_or(Value::Missing, |c| c.get("atClusterTime"));
    session.run_command("test", &insert("a", 3, |_| {}))?;

    // Two transactions, and a read outside of them, share the snapshot.
    for lsid in [1, 2] {
        assert_eq!(ids(&session.run_command("test", &snapshot(at, &|w| within(w, lsid, true)))?), [1, 2]);
    }
    assert_eq!(ids(&other.run_command("test", &snapshot(at, &|_| {}))?), [1, 2]);
    assert_eq!(ids(&session.run_command("test", &read_on(2))?), [1, 2]);

    // One that writes has it for itself, and commits what nobody else has touched since.
    session.run_command("test", &insert("a", 4, |w| within(w, 1, false)))?;
    assert_eq!(ids(&session.run_command("test", &read_on(1))?), [1, 2, 4]);
    assert_eq!(ids(&other.run_command("test", &doc(|w| { w.append("find", "a"); }))?), [1, 2, 3]);
    let gone = session.run_command("test", &read_on(2)).err().ok_or("a snapshot that another transaction writes in")?;
    assert_eq!(gone.code().0, 239);
    end(&mut session, "commitTransaction", 1)?;
    assert_eq!(ids(&other.run_command("test", &doc(|w| { w.append("find", "a"); }))?), [1, 2, 3, 4]);

    // Of the past as it was kept; its writes meet those that came after it.
    let kept = session.run_command("test", &snapshot(Value::Missing, &|_| {}))?;
    let at = kept.get("cursor").as_doc().map_or(Value::Missing, |c| c.get("atClusterTime"));
    session.run_command("test", &insert("a", 5, |_| {}))?;
    assert_eq!(ids(&session.run_command("test", &snapshot(at, &|w| within(w, 3, true)))?), [1, 2, 3, 4]);
    let conflict = session.run_command("test", &insert("a", 5, |w| within(w, 3, false))).err().ok_or("no conflict")?;
    assert_eq!(conflict.code().0, 112);
    // A time that nobody has kept.
    let old = smongo_bson::Timestamp { time: 1, increment: 1 };
    let error = session.run_command("test", &snapshot(Value::Timestamp(old), &|w| within(w, 4, true))).err().ok_or("too old")?;
    assert_eq!(error.code().0, 239);
    Ok(())
}

#[test]
fn a_transaction_that_outgrows_the_cache_is_not_one_to_try_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), cache_bytes: 16 << 20, ..Options::default() })?;
    let mut session = engine.session(Client::owner());
    session.run_command("test", &insert("a", -1, |_| {}))?;
    let long = "x".repeat(10_000);
    for first in (0..60_000).step_by(50) {
        let many = doc(|w| {
            w.append("insert", "a");
            {
                let mut documents = w.array("documents");
                for id in first..first + 50 {
                    documents.document().append("_id", id).append("long", &*long);
                }
            }
            within(w, 1, first == 0);
        });
        let Err(error) = session.run_command("test", &many) else { continue };
        assert!(first > 100 && error.code().0 == 313, "{first}: {error:?}");
        assert!(error.info().is_none_or(|reply| reply.get("errorLabels").is_missing()), "{error:?}");
        // The next one, in a transaction of its own, goes on.
        session.run_command("test", &insert("a", 1, |_| {}))?;
        return Ok(());
    }
    Err("600 MB in a cache of 16".into())
}
