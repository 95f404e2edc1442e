//! What the oplog holds and keeps: within its limit nothing goes, over it the oldest, over restarts of every kind.

use std::path::Path;
use std::time::{Duration, Instant};

use smongo_bson::{DocBuf, DocWriter, Timestamp, Value, number};
use smongo_engine::{Client, Engine, Options, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn doc(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    DocBuf::build(fill)
}

fn open(path: &Path) -> Result<Engine> {
    Ok(Engine::open(Options { path: Some(path.to_owned()), oplog_bytes: Some(1 << 20), ..Options::default() })?)
}

/// Documents of about 10 KB.
fn insert(session: &mut Session, ids: std::ops::Range<i32>) -> Result<()> {
    let text = "x".repeat(10_000);
    for id in ids {
        session.run_command("test", &doc(|w| {
            w.append("insert", "t");
            w.array("documents").document().append("_id", id).append("text", &*text);
        }))?;
    }
    Ok(())
}

/// The oplog as a reader finds it: entries, their bytes, the first and the last timestamp.
fn entries(session: &mut Session) -> Result<(i64, i64, Timestamp, Timestamp)> {
    let (mut count, mut bytes, mut ends) = (0, 0, Vec::new());
    let mut reply = session.run_command("local", &doc(|w| {
        w.append("find", "oplog.rs").append("batchSize", 1_000_000);
    }))?;
    loop {
        let cursor = reply.get("cursor").as_doc().ok_or("no cursor")?;
        let batch = [cursor.get("firstBatch"), cursor.get("nextBatch")].into_iter().find_map(|b| b.as_array()).ok_or("no batch")?;
        for entry in batch.iter().filter_map(|v| v.as_doc()) {
            count += 1;
            bytes += entry.as_bytes().len() as i64;
            ends.extend(match entry.get("ts") {
                Value::Timestamp(ts) => Some(ts),
                _ => None,
            });
        }
        let id = number::to_i64_exact(cursor.get("id")).unwrap_or(0);
        if id == 0 {
            return Ok((count, bytes, *ends.first().ok_or("empty")?, *ends.last().ok_or("empty")?));
        }
        reply = session.run_command("local", &doc(|w| {
            w.append("getMore", id).append("collection", "oplog.rs").append("batchSize", 1_000_000);
        }))?;
    }
}

/// The same as the statistics say: entries, bytes, the most bytes.
fn said(session: &mut Session) -> Result<(i64, i64, i64)> {
    let stats = session.run_command("local", &doc(|w| {
        w.append("collStats", "oplog.rs");
    }))?;
    let figure = |name: &str| number::to_i64_exact(stats.get(name)).ok_or_else(|| format!("no {name}"));
    Ok((figure("count")?, figure("size")?, figure("maxSize")?))
}

/// Waits for a turn of the maintenance thread that leaves the oplog this large at most.
fn wait_for_trim(session: &mut Session, most: i64) -> Result<()> {
    let begun = Instant::now();
    while said(session)?.1 > most {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is trimmed");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

const TURN: Duration = Duration::from_millis(1300);

#[test]
fn restarts_trim_nothing_within_the_limit() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("db");
    let engine = open(&path)?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, 0..300)?;
    wait_for_trim(&mut session, 1 << 20 | 1 << 16)?;
    let held = entries(&mut session)?;
    assert!(held.1 > 1 << 20, "no more goes than must: {held:?}");
    assert_eq!((held.0, held.1, 1 << 20), said(&mut session)?);
    drop(session);
    engine.close()?;
    for _ in 0..2 {
        let engine = open(&path)?;
        std::thread::sleep(TURN);
        let mut session = engine.session(Client::owner());
        assert_eq!(entries(&mut session)?, held);
        assert_eq!((held.0, held.1, 1 << 20), said(&mut session)?);
        drop(session);
        engine.close()?;
    }
    // A copy of the files of an open database is what a crash leaves.
    let engine = open(&path)?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, 1000..1002)?;
    let held = entries(&mut session)?;
    session.run_command("admin", &doc(|w| {
        w.append("fsync", 1);
    }))?;
    let crashed = dir.path().join("crashed");
    std::fs::create_dir(&crashed)?;
    for file in std::fs::read_dir(&path)? {
        let file = file?;
        std::fs::copy(file.path(), crashed.join(file.file_name()))?;
    }
    let other = open(&crashed)?;
    let mut after = other.session(Client::owner());
    // The first to ask counts; new entries count themselves meanwhile.
    insert(&mut after, 2000..2001)?;
    std::thread::sleep(TURN);
    let now = entries(&mut after)?;
    assert_eq!((now.0, now.2), (held.0 + 1, held.2));
    assert_eq!((now.0, now.1, 1 << 20), said(&mut after)?);
    Ok(())
}

#[test]
fn an_aborted_transaction_counts_nothing() -> Result<()> {
    let engine = Engine::open(Options::default())?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, 0..2)?;
    let within = |w: &mut DocWriter<'_>, number: i64| {
        let mut raw = [7u8; 17];
        raw[0] = 4;
        w.document("lsid").append("id", Value::Binary(smongo_bson::Binary::from_raw(&raw)));
        w.append("txnNumber", number).append("autocommit", false);
    };
    for (number, end) in [(1, "abortTransaction"), (2, "commitTransaction")] {
        session.run_command("test", &doc(|w| {
            w.append("insert", "t");
            w.array("documents").document().append("_id", 50 + number);
            within(w, number.into());
            w.append("startTransaction", true);
        }))?;
        session.run_command("admin", &doc(|w| {
            w.append(end, 1);
            within(w, number.into());
        }))?;
    }
    let (count, bytes, ..) = entries(&mut session)?;
    let said = said(&mut session)?;
    assert_eq!((count, bytes), (said.0, said.1));
    Ok(())
}

#[test]
fn a_resized_oplog_keeps_its_limits() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, 0..300)?;
    session.run_command("admin", &doc(|w| {
        w.append("replSetResizeOplog", 1).append("size", 1000.5).append("minRetentionHours", 1.5);
    }))?;
    assert_eq!(said(&mut session)?.2, 1_049_100_288);
    drop(session);
    engine.close()?;
    // The option is that of a new oplog.
    let engine = open(dir.path())?;
    let mut session = engine.session(Client::owner());
    assert_eq!(said(&mut session)?.2, 1_049_100_288);
    let status = session.run_command("admin", &doc(|w| {
        w.append("serverStatus", 1);
    }))?;
    let hours = status.get("oplogTruncation").as_doc().map(|d| d.get("oplogMinRetentionHours"));
    assert!(matches!(hours, Some(Value::Double(hours)) if hours == 1.5), "{hours:?}");
    Ok(())
}

#[test]
fn young_entries_stay_whatever_the_size() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = |hours| Options { path: Some(dir.path().to_owned()), oplog_bytes: Some(1 << 20), oplog_retention_hours: Some(hours), ..Options::default() };
    let engine = Engine::open(options(0.01))?;
    let mut session = engine.session(Client::owner());
    insert(&mut session, 0..200)?;
    std::thread::sleep(TURN);
    let held = entries(&mut session)?;
    assert!(held.0 >= 200, "{held:?}");
    drop(session);
    engine.close()?;
    let engine = Engine::open(options(0.0))?;
    let mut session = engine.session(Client::owner());
    wait_for_trim(&mut session, 1 << 20 | 1 << 16)?;
    assert!(entries(&mut session)?.2 > held.2);
    Ok(())
}
