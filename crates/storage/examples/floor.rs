//! The floor under the engine: what the store alone takes for the operations of a document database.
//!
//! `cargo run --release -p smongo-storage --example floor [-- --docs N --memory --dir DIR
//! --compressor none|lz4|zstd --cache MIB]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use smongo_storage::{Begin, Compressor, Durability, Options, Session, Store, Table, TableKind};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Args {
    docs: u64,
    options: Options,
}

fn args() -> Args {
    let mut options = Options::at(std::env::temp_dir().join(format!("smongo-floor-{}", std::process::id())));
    let mut docs = 200_000;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("the option takes a value");
        match word.as_str() {
            "--docs" => docs = value().parse().expect("a number"),
            "--memory" => options.path = None,
            "--dir" => options.path = Some(value().into()),
            "--cache" => options.cache_bytes = value().parse::<u64>().expect("a number") << 20,
            "--compressor" => {
                options.compressor = match value().as_str() {
                    "none" => Compressor::None,
                    "lz4" => Compressor::Lz4,
                    "zstd" => Compressor::Zstd,
                    other => panic!("no compressor {other}"),
                }
            }
            other => panic!("unknown option {other}"),
        }
    }
    Args { docs, options }
}

fn main() {
    let Args { docs, options } = args();
    let started = Instant::now();
    let store = Store::open(options.clone()).unwrap();
    println!("open an empty store      {:>9.1} ms   RSS {} MB", millis(started.elapsed()), rss());
    let records = store.create_table("records", TableKind::Records).unwrap();
    let index = store.create_table("index", TableKind::Index).unwrap();
    let mut session = store.session().unwrap();

    one("insert record + index entry", docs, |n| insert(&mut session, &records, &index, n, Durability::Lazy));
    one("get by key", docs, |n| {
        let key = shuffled(n, docs).to_be_bytes();
        black_box(session.get(&records, &key).unwrap().unwrap());
    });
    one("begin, get, rollback", docs, |n| {
        session.begin(Begin { read_only: true }).unwrap();
        black_box(session.get(&records, &shuffled(n, docs).to_be_bytes()).unwrap().unwrap());
        session.rollback().unwrap();
    });
    one("get through an index", docs, |n| {
        let found = session.get(&index, &index_key(shuffled(n, docs))).unwrap().unwrap();
        let key: [u8; 8] = found.try_into().unwrap();
        black_box(session.get(&records, &key).unwrap().unwrap());
    });
    one("update a record", docs, |n| {
        let key = shuffled(n, docs).to_be_bytes();
        session.begin(Begin::default()).unwrap();
        let mut document = session.get(&records, &key).unwrap().unwrap().to_vec();
        document[20] ^= 1;
        session.insert(&records, &key, &document).unwrap();
        session.commit(Durability::Lazy).unwrap();
    });
    let started = Instant::now();
    let cursor = session.open(&records).unwrap();
    let mut bytes = 0;
    while session.next(cursor).unwrap() {
        bytes += black_box(session.value(cursor)).len() as u64;
    }
    session.release(cursor);
    report("scan", docs, started.elapsed());
    one("take and return a session", docs, |_| drop(black_box(store.session().unwrap())));
    drop(session);
    println!("{} MB in {docs} records, RSS {} MB, {:?}", bytes >> 20, rss(), store.stats().unwrap());

    bulk(&store, docs);
    if let Some(path) = &options.path {
        durable(&store, &records, &index, path, docs);
        let started = Instant::now();
        store.checkpoint().unwrap();
        println!("checkpoint               {:>9.1} ms", millis(started.elapsed()));
        println!("records on disk          {:>9} MB", store.table_stats(&records).unwrap().file_bytes >> 20);
        let started = Instant::now();
        store.close().unwrap();
        println!("close                    {:>9.1} ms", millis(started.elapsed()));
        let started = Instant::now();
        let store = Store::open(options.clone()).unwrap();
        println!("open again               {:>9.1} ms", millis(started.elapsed()));
        let records = store.table("records").unwrap().unwrap();
        let mut session = store.session().unwrap();
        let started = Instant::now();
        let cursor = session.open(&records).unwrap();
        while session.next(cursor).unwrap() {
            black_box(session.value(cursor));
        }
        report("scan from disk", docs, started.elapsed());
        drop((session, store));
        let _ = std::fs::remove_dir_all(path);
    }
}

/// A document-like kilobyte: half of it text that repeats, half of it not.
fn document(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut document = n.to_le_bytes().to_vec();
    while document.len() < 1024 {
        document.extend_from_slice(b"name: a person, city: Berlin, ");
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            document.extend_from_slice(&state.to_le_bytes());
        }
    }
    document.truncate(1024);
    document
}

fn index_key(n: u64) -> [u8; 13] {
    let mut key = [0x64; 13];
    key[1..9].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[9..].copy_from_slice(&(n as u32).to_be_bytes());
    key
}

fn shuffled(n: u64, docs: u64) -> u64 {
    n.wrapping_mul(2_654_435_761) % docs
}

fn insert(session: &mut Session, records: &Table, index: &Table, n: u64, durability: Durability) {
    let document = document(n);
    session.begin(Begin::default()).unwrap();
    session.insert(records, &n.to_be_bytes(), &document).unwrap();
    assert!(session.insert_new(index, &index_key(n), &n.to_be_bytes()).unwrap());
    session.commit(durability).unwrap();
}

fn bulk(store: &Store, docs: u64) {
    let table = store.create_table("bulk", TableKind::Index).unwrap();
    let mut session = store.session().unwrap();
    let started = Instant::now();
    let mut bulk = session.bulk(&table).unwrap();
    for n in 0..docs {
        bulk.insert(&n.to_be_bytes(), b"").unwrap();
    }
    bulk.finish().unwrap();
    report("bulk load an entry", docs, started.elapsed());
    drop(session);
    let started = Instant::now();
    for n in 0..50 {
        let table = store.create_table(&format!("short-{n}"), TableKind::Records).unwrap();
        store.drop_table(&table).unwrap();
    }
    report("create and drop a table", 50, started.elapsed());
}

/// Durable commits against what the disk can do.
fn durable(store: &Store, records: &Table, index: &Table, path: &Path, docs: u64) {
    let mut file = std::fs::File::create(path.join("fsync-probe")).unwrap();
    let (started, mut syncs) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&[0; 1200]).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    let _ = std::fs::remove_file(path.join("fsync-probe"));
    let next = AtomicU64::new(docs);
    println!("fdatasync of the machine {:>9.0} /s", f64::from(syncs) / started.elapsed().as_secs_f64());
    for threads in [1, 8, 32] {
        let before = store.stats().unwrap().log_syncs;
        let started = Instant::now();
        let total: u64 = std::thread::scope(|scope| {
            let next = &next;
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let mut session = store.session().unwrap();
                    scope.spawn(move || {
                        let mut done = 0;
                        while started.elapsed() < Duration::from_secs(2) {
                            let n = next.fetch_add(1, Ordering::Relaxed);
                            insert(&mut session, records, index, n, Durability::Durable);
                            done += 1;
                        }
                        done
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        let seconds = started.elapsed().as_secs_f64();
        let syncs = store.stats().unwrap().log_syncs - before;
        println!(
            "durable inserts, {threads:>2} threads {:>7.0} /s with {:.0} syncs/s",
            total as f64 / seconds,
            syncs as f64 / seconds
        );
    }
}

fn one(what: &str, count: u64, mut run: impl FnMut(u64)) {
    let started = Instant::now();
    for n in 0..count {
        run(n);
    }
    report(what, count, started.elapsed());
}

fn report(what: &str, count: u64, took: Duration) {
    println!("{what:<28} {:>8.2} µs", took.as_secs_f64() * 1e6 / count as f64);
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Megabytes of memory of this process; 0 where /proc does not tell.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}
