//! Compaction gives the room of deleted documents back, under writers, and says how far it is.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smongo_bson::{Code, DocBuf, DocWriter, number};
use smongo_engine::{Client, Engine, Options, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn doc(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    DocBuf::build(fill)
}

fn run(session: &mut Session, db: &str, fill: impl FnOnce(&mut DocWriter<'_>)) -> Result<DocBuf> {
    Ok(session.run_command(db, &doc(fill))?)
}

/// A text that does not compress.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    (0..bytes).map(|_| next()).collect()
}

fn insert(session: &mut Session, ids: std::ops::Range<i32>) -> Result<()> {
    let ids: Vec<i32> = ids.collect();
    for some in ids.chunks(500) {
        run(session, "test", |w| {
            w.append("insert", "t");
            let mut documents = w.array("documents");
            for id in some {
                documents.document().append("_id", *id).append("k", *id % 97).append("text", &*noise(*id as u64, 1000));
            }
        })?;
    }
    Ok(())
}

/// A collection of 40 MB whose last 95 % are deleted, and its files written.
fn mostly_deleted(session: &mut Session) -> Result<()> {
    run(session, "test", |w| {
        w.append("createIndexes", "t");
        let mut indexes = w.array("indexes");
        let mut index = indexes.document();
        index.document("key").append("k", 1);
        index.append("name", "k_1");
    })?;
    insert(session, 0..40_000)?;
    run(session, "admin", |w| {
        w.append("fsync", 1);
    })?;
    run(session, "test", |w| {
        w.append("delete", "t");
        let mut deletes = w.array("deletes");
        let mut delete = deletes.document();
        delete.document("q").document("_id").append("$gte", 2000);
        delete.append("limit", 0);
    })?;
    for _ in 0..2 {
        run(session, "admin", |w| {
            w.append("fsync", 1);
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn figure(doc: &DocBuf, name: &str) -> i64 {
    number::to_f64(doc.get(name)).map_or(-1, |n| n as i64)
}

fn data_bytes(path: &Path) -> Result<u64> {
    let mut all = 0;
    for file in std::fs::read_dir(path)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with('c') && name.ends_with(".wt") {
            all += file.metadata()?.len();
        }
    }
    Ok(all)
}

fn stats(session: &mut Session) -> Result<DocBuf> {
    run(session, "test", |w| {
        w.append("collStats", "t");
    })
}

#[test]
fn room_comes_back_under_writers_and_is_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
    let mut session = engine.session(Client::owner());
    mostly_deleted(&mut session)?;
    let before = stats(&mut session)?;
    let (size, free) = (figure(&before, "storageSize"), figure(&before, "freeStorageSize"));
    assert!(free > size / 2 && size > 30 << 20, "{before:?}");
    let whole = run(&mut session, "test", |w| {
        w.append("dbStats", 1).append("freeStorage", 1);
    })?;
    assert!(figure(&whole, "freeStorageSize") >= free && figure(&whole, "totalFreeStorageSize") >= free, "{whole:?}");
    let guess = run(&mut session, "test", |w| {
        w.append("compact", "t").append("dryRun", true);
    })?;
    assert!(figure(&guess, "estimatedBytesFreed") >= free, "{guess:?}");
    // Less is free than is wanted: nothing happens.
    let nothing = run(&mut session, "test", |w| {
        w.append("compact", "t").append("freeSpaceTargetMB", 10_000);
    })?;
    assert_eq!(figure(&nothing, "bytesFreed"), 0);
    let done = AtomicBool::new(false);
    let (freed, progress) = std::thread::scope(|scope| -> Result<_> {
        let writer = scope.spawn(|| {
            let mut session = engine.session(Client::owner());
            let mut id = 100_000;
            while !done.load(Ordering::Relaxed) {
                insert(&mut session, id..id + 10).map_err(|e| e.to_string())?;
                id += 10;
            }
            Ok::<i32, String>(id - 100_000)
        });
        let watcher = scope.spawn(|| {
            let mut session = engine.session(Client::owner());
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let ops = run(&mut session, "admin", |w| {
                    w.append("currentOp", 1);
                }).map_err(|e| e.to_string())?;
                let all = ops.get("inprog").as_array();
                seen += all.into_iter().flat_map(|a| a.iter()).filter(|op| {
                    let op = op.as_doc().unwrap_or(smongo_bson::Doc::EMPTY);
                    op.get("msg").as_str().is_some_and(|m| m.starts_with("compact: ")) && op.get("progress").as_doc().is_some_and(|p| p.contains("done") && p.contains("total"))
                }).count();
            }
            Ok::<usize, String>(seen)
        });
        let freed = run(&mut session, "test", |w| {
            w.append("compact", "t");
        });
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().map_err(|_| "the watcher panicked")??;
        let written = writer.join().map_err(|_| "the writer panicked")??;
        assert!(written > 0);
        Ok((freed?, seen))
    })?;
    assert!(progress > 0, "currentOp showed nothing of it");
    assert!(figure(&freed, "bytesFreed") > size / 2, "{freed:?}");
    assert!(data_bytes(dir.path())? < size as u64 / 2);
    let valid = run(&mut session, "test", |w| {
        w.append("validate", "t").append("full", true);
    })?;
    assert!(valid.get("valid").truthy(), "{valid:?}");
    let count = run(&mut session, "test", |w| {
        w.append("count", "t");
        w.document("query").document("_id").append("$lt", 100_000);
    })?;
    assert_eq!(figure(&count, "n"), 2000);
    Ok(())
}

#[test]
fn a_deadline_ends_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
    let mut session = engine.session(Client::owner());
    mostly_deleted(&mut session)?;
    let late = session.run_command("test", &doc(|w| {
        w.append("compact", "t").append("maxTimeMS", 1);
    }));
    assert_eq!(late.err().map(|e| e.code()), Some(Code::MaxTimeMSExpired));
    // What it had begun is finished by the next.
    run(&mut session, "test", |w| {
        w.append("compact", "t");
    })?;
    assert!(data_bytes(dir.path())? < 20 << 20);
    Ok(())
}

#[test]
fn the_background_compacts_what_is_worth_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() })?;
    let mut session = engine.session(Client::owner());
    mostly_deleted(&mut session)?;
    let before = data_bytes(dir.path())?;
    let auto = |session: &mut Session, on: bool, target: i32, once: bool| {
        session.run_command("admin", &doc(|w| {
            w.append("autoCompact", on);
            if on {
                w.append("freeSpaceTargetMB", target).append("runOnce", once);
            }
        }))
    };
    auto(&mut session, true, 5, false)?;
    let begun = Instant::now();
    while data_bytes(dir.path())? > before / 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing comes back");
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = run(&mut session, "admin", |w| {
        w.append("serverStatus", 1);
    })?;
    let figures = status.get("wiredTiger").as_doc().and_then(|d| d.get("background-compact").as_doc()).ok_or("no figures")?;
    assert_eq!(number::to_i64_exact(figures.get("background compact running")), Some(1), "{figures:?}");
    auto(&mut session, true, 5, false)?;
    assert_eq!(auto(&mut session, true, 6, false).err().map(|e| e.code()), Some(Code::AlreadyInitialized));
    auto(&mut session, false, 0, false)?;
    Ok(())
}
