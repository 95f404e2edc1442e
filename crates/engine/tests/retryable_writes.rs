//! Retryable writes through the door: the same statement sent twice is applied once, also when the database was reopened between.

use smongo_bson::{Binary, DocBuf, DocWriter, Value};
use smongo_engine::{Client, Engine, Options};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn doc(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    DocBuf::build(fill)
}

fn open(dir: &tempfile::TempDir) -> Result<Engine> {
    Ok(Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?)
}

/// Adds the session and the number of the write.
fn write_number(w: &mut DocWriter<'_>, number: i64) {
    let mut raw = [4u8; 17];
    raw[1..].copy_from_slice(&[9; 16]);
    w.document("lsid").append("id", Value::Binary(Binary::from_raw(&raw)));
    w.append("txnNumber", number);
}

fn increment(number: i64) -> DocBuf {
    doc(|w| {
        w.append("update", "t");
        {
            let mut updates = w.array("updates");
            let mut statement = updates.document();
            statement.document("q").append("_id", 1);
            statement.document("u").document("$inc").append("v", 1);
            statement.append("upsert", true);
        }
        write_number(w, number);
    })
}

fn find_and_increment(number: i64) -> DocBuf {
    doc(|w| {
        w.append("findAndModify", "t");
        w.document("query").append("_id", 1);
        w.document("update").document("$inc").append("v", 1);
        w.append("new", true);
        write_number(w, number);
    })
}

fn insert(number: i64, count: i32) -> DocBuf {
    doc(|w| {
        w.append("insert", "many");
        {
            let mut documents = w.array("documents");
            for id in 0..count {
                documents.document().append("_id", id);
            }
        }
        write_number(w, number);
    })
}

fn run(engine: &Engine, command: &DocBuf) -> Result<DocBuf> {
    Ok(engine.session(Client::owner()).run_command("test", command)?)
}

fn value(engine: &Engine) -> Result<i64> {
    let reply = run(engine, &doc(|w| {
        w.append("find", "t");
    }))?;
    let batch = reply.get("cursor").as_doc().and_then(|c| c.get("firstBatch").as_array());
    let found = batch.and_then(|b| b.get(0).as_doc()).map(|d| d.get("v"));
    Ok(found.and_then(smongo_bson::number::to_i64_exact).unwrap_or(-1))
}

/// A reply without what differs from try to try: the times, and what tells that it is a later one.
fn answer(reply: &DocBuf) -> String {
    let kept = doc(|w| {
        for e in reply.as_doc().iter().filter(|e| !matches!(e.name(), "$clusterTime" | "operationTime" | "retriedStmtIds" | "retriedStmtId")) {
            w.append_element(&e);
        }
    });
    smongo_bson::json::value_to_relaxed(Value::Document(kept.as_doc()))
}

#[test]
fn a_statement_sent_twice_is_applied_once_with_the_first_reply() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    let first = answer(&run(&engine, &increment(1))?);
    let second = run(&engine, &increment(1))?;
    assert_eq!(first, answer(&second));
    assert!(first.contains("upserted"), "{first}");
    assert!(second.as_doc().contains("retriedStmtIds"), "{second:?}");
    assert_eq!(value(&engine)?, 1);
    let first = answer(&run(&engine, &find_and_increment(2))?);
    assert_eq!(first, answer(&run(&engine, &find_and_increment(2))?));
    assert_eq!(value(&engine)?, 2);
    // An older number is refused.
    let error = run(&engine, &increment(1)).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("txnNumber 1 is prohibited"), "{error}");
    Ok(())
}

#[test]
fn what_was_applied_is_remembered_when_the_database_is_opened_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    run(&engine, &increment(1))?;
    let first = answer(&run(&engine, &find_and_increment(2))?);
    engine.close()?;
    let engine = open(&dir)?;
    assert_eq!(first, answer(&run(&engine, &find_and_increment(2))?));
    assert_eq!(value(&engine)?, 2);
    let first = answer(&run(&engine, &insert(3, 1200))?);
    engine.close()?;
    let engine = open(&dir)?;
    assert_eq!(first, answer(&run(&engine, &insert(3, 1200))?));
    assert!(first.contains("1200"), "{first}");
    let error = run(&engine, &increment(2)).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("prohibited"), "{error}");
    Ok(())
}

#[test]
fn two_tries_at_once_are_applied_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(&dir)?;
    for number in 1..=50 {
        let tries: Vec<_> = (0..4)
            .map(|_| {
                let engine = engine.clone();
                std::thread::spawn(move || run(&engine, &increment(number)).map(|r| answer(&r)).map_err(|e| e.to_string()))
            })
            .collect();
        let answers: Vec<_> = tries.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a try panicked".into()))).collect();
        assert!(answers.iter().all(|a| a.is_ok() && *a == answers[0]), "{answers:?}");
        assert_eq!(value(&engine)?, number);
    }
    Ok(())
}
