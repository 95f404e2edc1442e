//! What was acknowledged as durable is there after kill -9. The test starts itself again as the victim.
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

/// Not a test by itself: writes durably with four threads, says what it has written, until killed.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let store = Store::open(Options::at(dir)).unwrap();
    let records = store.create_table("records", TableKind::Records).unwrap();
    let index = store.create_table("index", TableKind::Index).unwrap();
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
                    session.insert(&records, &key, &[key[7]; 700]).unwrap();
                    session.insert(&index, &[&[1][..], &key].concat(), b"").unwrap();
                    session.commit(Durability::Durable).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "wrote {}", u64::from_be_bytes(key)).unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
fn durable_commits_survive_kill_9() {
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
        let [records, index, bulk] = ["records", "index", "bulk"].map(|name| store.table(name).unwrap().unwrap());
        let mut session = store.session().unwrap();
        for &number in &acknowledged {
            let key = number.to_be_bytes();
            let found = session.get(&records, &key).unwrap();
            assert_eq!(found, Some([key[7]; 700].as_slice()), "round {round}: {number} was lost");
        }
        let mut counts = [0; 3];
        for (count, table) in counts.iter_mut().zip([&records, &index, &bulk]) {
            let cursor = session.open(table).unwrap();
            while session.next(cursor).unwrap() {
                *count += 1;
            }
            session.release(cursor);
        }
        assert_eq!(counts[0], counts[1], "an index out of step with its records");
        assert_eq!(counts[2], 1000, "a finished bulk load");
        for (verified, name) in store.verify(&mut session, &[&records, &index, &bulk]).unwrap().into_iter().zip(["records", "index", "bulk"]) {
            verified.unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        drop(session);
        store.close().unwrap();
    }
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
