//! What a store does without room: on a small disk that fills up, in a cache that a transaction outgrows.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use smongo_storage::{Begin, Durability, ErrorKind, Options, Store, Table, TableKind};

/// A file system of its own size; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount.
    fn new(megabytes: u64) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap().keep();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        let disk = Disk(dir);
        mounted.then_some(disk)
    }

    /// Another program takes the rest.
    fn fill(&self) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.0.join("hog")).unwrap();
        for block in [1 << 16, 1 << 12] {
            while std::io::Write::write_all(&mut file, &vec![0; block]).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn insert(store: &Store, records: &Table, key: u64) -> smongo_storage::Result<()> {
    let mut value = vec![0; 10_000];
    // Not to be compressed.
    let mut state = key | 1;
    for byte in &mut value {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 33) as u8;
    }
    let mut session = store.session()?;
    session.begin(Begin::default())?;
    session.insert(records, &key.to_be_bytes(), &value)?;
    session.commit(Durability::Lazy)
}

fn all_there(store: &Store, records: &Table, count: u64) {
    let mut session = store.session().unwrap();
    for key in 0..count {
        assert_eq!(session.get(records, &key.to_be_bytes()).unwrap().map(<[u8]>::len), Some(10_000), "{key}");
    }
}

fn open(dir: &Path) -> (Store, Table) {
    let store = Store::open(Options::at(dir)).unwrap();
    let records = store.create_table("records", TableKind::Records).unwrap();
    (store, records)
}

#[test]
fn a_full_disk_can_be_read_closed_and_opened() {
    let Some(disk) = Disk::new(96) else {
        eprintln!("not tried: this user may not mount a file system");
        return;
    };
    let dir = disk.0.join("db");
    let (store, records) = open(&dir);
    let mut count = 0;
    let error = loop {
        match insert(&store, &records, count) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(error.kind() == ErrorKind::DiskFull && count > 1000, "{count}: {error}");
    // The checkpoint that a disk becoming full begins, which takes its time on a busy machine.
    let (until, begun) = (Instant::now() + Duration::from_secs(20), store.stats().unwrap().checkpoints);
    while store.stats().unwrap().checkpoints == begun && store.stats().unwrap().cache_dirty > 100_000 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    disk.fill();
    all_there(&store, &records, count);
    store.checkpoint().unwrap();
    store.close().unwrap();
    for _ in 0..3 {
        disk.fill();
        let (store, records) = open(&dir);
        all_there(&store, &records, count);
        assert_eq!(insert(&store, &records, count).unwrap_err().kind(), ErrorKind::DiskFull);
        store.close().unwrap();
    }
    let (store, records) = open(&dir);
    std::fs::remove_file(disk.0.join("hog")).unwrap();
    store.session().unwrap().write_though_full();
    store.drop_table(&records).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let records = loop {
        match store.create_table("again", TableKind::Records) {
            Ok(table) => break table,
            Err(error) => assert!(error.kind() == ErrorKind::DiskFull && Instant::now() < until, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    insert(&store, &records, 0).unwrap();
    store.close().unwrap();
}

#[test]
fn a_transaction_that_outgrows_the_cache_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options { cache_bytes: 16 << 20, ..Options::at(dir.path()) }).unwrap();
    let records = store.create_table("records", TableKind::Records).unwrap();
    let mut session = store.session().unwrap();
    session.begin(Begin::default()).unwrap();
    let began = Instant::now();
    let mut key = 0_u64;
    let error = loop {
        match session.insert(&records, &key.to_be_bytes(), &[7; 1000]) {
            Ok(()) => key += 1,
            Err(error) => break error,
        }
    };
    assert!(error.kind() == ErrorKind::TransactionTooLarge && key > 3000, "{error} after {key} in {:?}", began.elapsed());
    session.rollback().unwrap();
    // Nothing else has happened.
    session.begin(Begin::default()).unwrap();
    assert_eq!(session.get(&records, &0_u64.to_be_bytes()).unwrap(), None);
    session.insert(&records, &[1], b"small").unwrap();
    session.commit(Durability::Durable).unwrap();
}
