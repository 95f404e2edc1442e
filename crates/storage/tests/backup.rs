//! Copies of an open store, made while it is written to, open by themselves with everything committed before.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use smongo_storage::{Begin, Durability, ErrorKind, Options, Store, TableKind};

#[test]
fn a_copy_made_under_writers_has_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::at(dir.path().join("data"))).unwrap();
    let records = store.create_table("records", TableKind::Records).unwrap();
    let index = store.create_table("index", TableKind::Index).unwrap();
    let (committed, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = store.session().unwrap();
            // Bounded, so that a failure of the other thread shows.
            while !over.load(Ordering::Relaxed) && committed.load(Ordering::Relaxed) < 200_000 {
                let key = committed.load(Ordering::Relaxed).to_be_bytes();
                session.begin(Begin::default()).unwrap();
                session.insert(&records, &key, &[1; 2000]).unwrap();
                session.insert(&index, &key, b"").unwrap();
                session.commit(Durability::Lazy).unwrap();
                committed.fetch_add(1, Ordering::Release);
            }
        });
        for n in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(60));
            if n == 2 {
                store.checkpoint().unwrap();
            }
            let before = committed.load(Ordering::Acquire);
            let to = dir.path().join(format!("copy{n}"));
            store.backup(&to).unwrap();
            assert_eq!(store.backup(&to).unwrap_err().kind(), ErrorKind::InvalidPath, "a directory with a copy in it");
            let copy = Store::open(Options::at(&to)).unwrap();
            let count = |name: &str| {
                let (table, mut session) = (copy.table(name).unwrap().unwrap(), copy.session().unwrap());
                let cursor = session.open(&table).unwrap();
                let mut count = 0;
                while session.next(cursor).unwrap() {
                    count += 1;
                }
                count
            };
            assert!(count("records") >= before, "copy {n} has {} of {before}", count("records"));
            assert_eq!(count("records"), count("index"), "a torn transaction in copy {n}");
        }
        over.store(true, Ordering::Relaxed);
    });
}
