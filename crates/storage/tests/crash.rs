//! What was committed, as durable or not, is there after kill -9. The test starts itself again as the victim.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use smongo_storage::{Begin, Durability, ErrorKind, Options, Store, TableKind};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

const VICTIM: &str = "SMONGO_STORAGE_CRASH_DIR";

fn start_victim(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A document, as far as the journal looks at it, which writes one once that a transaction holds twice.
fn document(key: [u8; 8]) -> Vec<u8> {
    let mut bytes = vec![key[7]; 700];
    bytes[..4].copy_from_slice(&700_u32.to_le_bytes());
    bytes[4..9].copy_from_slice(b"\x12_id\0");
    bytes[9..17].copy_from_slice(&key);
    bytes[699] = 0;
    bytes
}

/// An entry of the oplog for a document.
fn entry(document: &[u8]) -> Vec<u8> {
    [b"an entry".as_slice(), document, b"of the oplog"].concat()
}

/// Not a test by itself: writes with four threads, every other commit durable, says what it has written, until killed.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let store = Store::open(Options::at(dir)).unwrap();
    let records = store.create_table("records", TableKind::Records).unwrap();
    let index = store.create_table("index", TableKind::Index).unwrap();
    let oplog = store.create_table("oplog", TableKind::Records).unwrap();
    let largest = store.session().unwrap().largest_key(&records).unwrap();
    let next = AtomicU64::new(largest.map_or(0, |key| u64::from_be_bytes(key.try_into().unwrap()) + 1));
    let bulk = store.create_table("bulk", TableKind::Index).unwrap();
    let mut session = store.session().unwrap();
    if let Ok(mut load) = session.bulk(&bulk) {
        for n in 0..1000_u64 {
            load.insert(&n.to_be_bytes(), b"").unwrap();
        }
        load.finish().unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = store.session().unwrap();
                loop {
                    let key = next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                    session.begin(Begin::default()).unwrap();
                    let document = document(key);
                    session.insert(&records, &key, &document).unwrap();
                    session.insert(&index, &[&[1][..], &key].concat(), b"").unwrap();
                    session.insert(&oplog, &key, &entry(&document)).unwrap();
                    session.commit(if key[7] % 2 == 0 { Durability::Durable } else { Durability::Lazy }).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "wrote {}", u64::from_be_bytes(key)).unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
fn commits_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut victim = start_victim(dir.path());
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let until = acknowledged.len() + 40 + 70 * round;
        while acknowledged.len() < until {
            let line = lines.next().expect("the victim lives").unwrap();
            // The harness may print in front of the first line.
            if let Some((_, number)) = line.split_once("wrote ") {
                acknowledged.push(number.parse::<u64>().unwrap());
            }
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(Ok(number)) = line.strip_prefix("wrote ").map(str::parse::<u64>) {
                acknowledged.push(number);
            }
        }

        let store = Store::open(Options::at(dir.path())).unwrap();
        let [records, index, oplog, bulk] = ["records", "index", "oplog", "bulk"].map(|name| store.table(name).unwrap().unwrap());
        let mut session = store.session().unwrap();
        for &number in &acknowledged {
            let key = number.to_be_bytes();
            let document = document(key);
            let found = session.get(&records, &key).unwrap();
            assert_eq!(found, Some(document.as_slice()), "round {round}: {number} was lost");
            let found = session.get(&oplog, &key).unwrap();
            assert_eq!(found, Some(entry(&document).as_slice()), "round {round}: the entry of {number} was lost");
        }
        let mut counts = [0; 4];
        for (count, table) in counts.iter_mut().zip([&records, &index, &oplog, &bulk]) {
            let cursor = session.open(table).unwrap();
            while session.next(cursor).unwrap() {
                *count += 1;
            }
            session.release(cursor);
        }
        assert_eq!(counts[0], counts[1], "an index out of step with its records");
        assert_eq!(counts[0], counts[2], "an oplog out of step with the records");
        assert_eq!(counts[3], 1000, "a finished bulk load");
        for verified in store.verify(&mut session, &[&records, &index, &oplog, &bulk]).unwrap() {
            verified.unwrap();
        }
        drop(session);
        store.close().unwrap();
    }
}

#[test]
fn the_journal_holds_a_document_once_that_goes_to_two_tables() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::at(dir.path())).unwrap();
    let tables = ["records", "oplog"].map(|name| store.create_table(name, TableKind::Records).unwrap());
    let mut session = store.session().unwrap();
    let before = store.stats().unwrap().log_written;
    for key in 0..1000_u64 {
        let document = document(key.to_be_bytes());
        session.begin(Begin::default()).unwrap();
        session.insert(&tables[0], &key.to_be_bytes(), &document).unwrap();
        session.insert(&tables[1], &key.to_be_bytes(), &entry(&document)).unwrap();
        session.commit(Durability::Lazy).unwrap();
    }
    let written = store.stats().unwrap().log_written - before;
    assert!((700_000..1_100_000).contains(&written), "{written} bytes for 700,000");
}

#[test]
fn a_directory_in_use_by_another_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut victim = start_victim(dir.path());
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    while !lines.next().expect("the victim lives").unwrap().contains("wrote") {}
    let error = Store::open(Options::at(dir.path())).err().unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(error.kind(), ErrorKind::LockedByOther);
    assert!(error.message().contains(dir.path().to_str().unwrap()), "{error}");
    Store::open(Options::at(dir.path())).unwrap();
}
