//! A store in memory that is full: a clear error, and everything that needs no room goes on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use smongo_storage::{Begin, Durability, ErrorKind, Options, Store, TableKind};

#[test]
fn a_full_store_refuses_writes_and_serves_reads_and_deletes() {
    let store = Store::open(Options { cache_bytes: 8 << 20, ..Options::in_memory() }).unwrap();
    let records = store.create_table("records", TableKind::Records).unwrap();
    let log = store.create_table("log", TableKind::Log).unwrap();
    let mut session = store.session().unwrap();
    let began = Instant::now();
    let mut written = 0_u64;
    let error = loop {
        match session.insert(&records, &written.to_be_bytes(), &[7; 10_000]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::CacheFull, "{error}");
    assert!(began.elapsed() < Duration::from_secs(30) && written > 100, "{written} in {:?}", began.elapsed());
    assert_eq!(session.get(&records, &0_u64.to_be_bytes()).unwrap().map(<[u8]>::len), Some(10_000));
    for key in 0..written {
        session.begin(Begin::default()).unwrap();
        assert!(session.remove(&records, &key.to_be_bytes()).unwrap());
        session.insert(&log, &key.to_be_bytes(), b"removed").unwrap();
        session.commit(Durability::Lazy).unwrap();
    }
    // The room comes back as pages are cleaned in the background.
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = session.insert(&records, b"again", &[7; 10_000]) {
        assert!(error.kind() == ErrorKind::CacheFull && Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
