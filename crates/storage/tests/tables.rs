//! Tables under change: dropped, filled in bulk, truncated, verified, copied, shared by threads.
#![allow(clippy::unwrap_used)]

use smongo_storage::{Begin, Durability, ErrorKind, Options, Session, Store, Table, TableKind};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn on_disk() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::at(dir.path())).unwrap();
    (dir, store)
}

fn count(session: &mut Session, table: &Table) -> usize {
    let cursor = session.open(table).unwrap();
    let mut found = 0;
    while session.next(cursor).unwrap() {
        found += 1;
    }
    session.release(cursor);
    found
}

fn each_kind_of_store(run: impl Fn(&Store)) {
    let (_dir, disk) = on_disk();
    run(&disk);
    run(&Store::open(Options::in_memory()).unwrap());
}

#[test]
fn a_table_is_dropped_though_resting_sessions_keep_cursors_on_it() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let mut sessions: Vec<_> = (0..5).map(|_| store.session().unwrap()).collect();
        for session in &mut sessions {
            session.insert(&table, b"k", b"v").unwrap();
            assert_eq!(count(session, &table), 1);
            session.remove(&table, b"none").unwrap();
        }
        drop(sessions);
        store.drop_table(&table).unwrap();
        assert!(store.list_tables().unwrap().is_empty());
        let mut session = store.session().unwrap();
        assert_eq!(session.get(&table, b"k").unwrap_err().kind(), ErrorKind::NotFound);

        let again = store.create_table("t", TableKind::Index).unwrap();
        assert_ne!(again, table);
        assert_eq!(session.get(&again, b"k").unwrap(), None);
        assert_eq!(session.get(&table, b"k").unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_table_in_use_is_busy_and_goes_when_it_is_free() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let mut reader = store.session().unwrap();
        reader.insert(&table, b"k", b"v").unwrap();
        reader.begin(Begin { read_only: true }).unwrap();
        let cursor = reader.open(&table).unwrap();
        assert!(reader.next(cursor).unwrap());
        assert_eq!(store.drop_table(&table).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(reader.value(cursor), b"v", "the reader is not disturbed");

        store.drop_table_later(&table).unwrap();
        assert_eq!(store.list_tables().unwrap(), ["t"]);
        drop(reader);
        let started = Instant::now();
        while !store.list_tables().unwrap().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_session_at_work_closes_kept_cursors_at_its_next_transaction() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let other = store.create_table("other", TableKind::Records).unwrap();
        let mut session = store.session().unwrap();
        session.insert(&table, b"k", b"v").unwrap();
        store.drop_table_later(&table).unwrap();
        let started = Instant::now();
        while store.list_tables().unwrap().len() > 1 {
            session.begin(Begin::default()).unwrap();
            session.insert(&other, b"k", b"v").unwrap();
            session.commit(Durability::Lazy).unwrap();
            assert!(started.elapsed() < Duration::from_secs(5));
        }
    });
}

#[test]
fn a_table_goes_though_an_older_snapshot_is_open() {
    each_kind_of_store(|store| {
        let kept = store.create_table("kept", TableKind::Records).unwrap();
        store.session().unwrap().insert(&kept, b"k", b"old").unwrap();
        let mut reader = store.session().unwrap();
        reader.begin(Begin { read_only: true }).unwrap();
        assert_eq!(reader.get(&kept, b"k").unwrap(), Some(&b"old"[..]));
        for n in 0..20 {
            let table = store.create_table("t", TableKind::Records).unwrap();
            let mut writer = store.session().unwrap();
            writer.insert(&table, b"k", b"v").unwrap();
            writer.insert(&kept, b"k", b"new").unwrap();
            drop(writer);
            // Both ways, and the name can be used again at once.
            if n % 2 == 0 { store.drop_table(&table) } else { store.drop_table_later(&table) }.unwrap();
            assert_eq!(store.list_tables().unwrap(), ["kept"]);
        }
        store.checkpoint().unwrap_or_default();
        assert_eq!(reader.get(&kept, b"k").unwrap(), Some(&b"old"[..]), "the snapshot is as it was");
    });
}

/// The library would throw memory away that the transaction still points to.
#[test]
fn a_table_with_changes_that_are_not_committed_stays() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let mut writer = store.session().unwrap();
        writer.begin(Begin::default()).unwrap();
        writer.insert(&table, b"a", b"v").unwrap();
        assert_eq!(store.drop_table(&table).unwrap_err().kind(), ErrorKind::Busy);
        store.drop_table_later(&table).unwrap();
        // Not even a session that gives up all of its cursors lets go of what it wrote to.
        let cursor = writer.open(&table).unwrap();
        assert!(writer.next(cursor).unwrap());
        writer.release_all().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(store.list_tables().unwrap(), ["t"]);
        writer.insert(&table, b"b", b"v").unwrap();
        writer.commit(Durability::Lazy).unwrap();
        let started = Instant::now();
        while !store.list_tables().unwrap().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_bulk_load_takes_sorted_pairs_and_only_those() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Index).unwrap();
        let mut session = store.session().unwrap();
        let mut bulk = session.bulk(&table).unwrap();
        for n in 0..10_000_u32 {
            bulk.insert(&n.to_be_bytes(), b"").unwrap();
        }
        bulk.finish().unwrap();
        assert_eq!(count(&mut session, &table), 10_000);
        session.insert(&table, b"after", b"").unwrap();
        assert_eq!(session.bulk(&table).err().unwrap().kind(), ErrorKind::Invalid, "not empty");
        assert_eq!(count(&mut session, &table), 10_001);
        let fresh = store.create_table("fresh", TableKind::Index).unwrap();
        let mut bulk = session.bulk(&fresh).unwrap();
        bulk.insert(b"b", b"").unwrap();
        if store.path().is_some() {
            assert_eq!(bulk.insert(b"a", b"").unwrap_err().kind(), ErrorKind::Invalid);
        }
    });
}

#[test]
fn truncate_takes_both_bounds() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Log).unwrap();
        let mut session = store.session().unwrap();
        for key in b"abcdefgh" {
            session.insert(&table, &[*key], b"").unwrap();
        }
        session.truncate(&table, Some(b"c"), Some(b"d")).unwrap();
        assert_eq!(count(&mut session, &table), 6);
        session.begin(Begin::default()).unwrap();
        session.truncate(&table, None, Some(b"bb")).unwrap();
        assert_eq!(count(&mut session, &table), 4);
        session.rollback().unwrap();
        assert_eq!(count(&mut session, &table), 6);
        session.truncate(&table, Some(b"x"), Some(b"z")).unwrap();
        session.truncate(&table, Some(b"g"), None).unwrap();
        assert_eq!(count(&mut session, &table), 4);
        session.truncate(&table, None, None).unwrap();
        assert_eq!(count(&mut session, &table), 0);
    });
}

#[test]
fn verify_compact_and_figures() {
    let (_dir, store) = on_disk();
    let table = store.create_table("t", TableKind::Records).unwrap();
    let mut session = store.session().unwrap();
    for n in 0..5_000_u32 {
        session.insert(&table, &n.to_be_bytes(), &[n as u8; 500]).unwrap();
    }
    let stats = store.stats().unwrap();
    assert_eq!(stats.cache_max, 256 << 20);
    assert!(stats.cache_used > 1_000_000 && stats.log_written > 1_000_000, "{stats:?}");
    // Its own cursors are no hindrance, those of another session at work are.
    assert!(store.verify(&mut session, &[&table]).unwrap()[0].is_ok());
    session.begin(Begin::default()).unwrap();
    let cursor = session.open(&table).unwrap();
    while session.next(cursor).unwrap() {}
    session.release(cursor);
    session.rollback().unwrap();
    store.verify(&mut session, &[&table]).unwrap().remove(0).unwrap();
    let mut other = store.session().unwrap();
    let cursor = other.open(&table).unwrap();
    assert_eq!(store.verify(&mut session, &[&table]).unwrap()[0].as_ref().unwrap_err().kind(), ErrorKind::Busy);
    other.release(cursor);
    drop((session, other));
    store.compact(&table, 0, || false).unwrap();
    let figures = store.table_stats(&table).unwrap();
    assert!(figures.file_bytes > 50_000 && store.file_bytes(&table).unwrap() == figures.file_bytes);
    let stats = store.stats().unwrap();
    assert!(stats.checkpoints > 0 && stats.open_sessions > 0, "{stats:?}");
}

#[test]
fn a_compaction_gives_room_back_or_ends_when_it_is_told_to() {
    let (_dir, store) = on_disk();
    let table = store.create_table("t", TableKind::Index).unwrap();
    let mut session = store.session().unwrap();
    let value = |n: u32| -> Vec<u8> { (0..1000u32).map(|i| (n.wrapping_mul(2_654_435_761).wrapping_add(i * i) >> 7) as u8).collect() };
    for n in 0..20_000_u32 {
        session.insert(&table, &n.to_be_bytes(), &value(n)).unwrap();
    }
    store.checkpoint().unwrap();
    let before = store.file_bytes(&table).unwrap();
    session.truncate(&table, Some(&1000_u32.to_be_bytes()), Some(&19_000_u32.to_be_bytes())).unwrap();
    drop(session);
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    let free = store.table_stats(&table).unwrap().reusable_bytes;
    assert!(free > before / 2, "{free} of {before}");
    let error = store.compact(&table, 0, || true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    store.compact(&table, before * 2, || false).unwrap();
    assert!(store.file_bytes(&table).unwrap() > before / 2, "less was free than was wanted");
    store.compact(&table, 0, || false).unwrap();
    assert!(store.file_bytes(&table).unwrap() < before / 2);
    let progress = store.compact_progress(&table).unwrap();
    assert!(progress.done > 0 && progress.total >= progress.done, "{progress:?}");
    assert!(Store::open(Options::in_memory()).unwrap().auto_compact(None).is_err());
}

#[test]
fn a_backup_made_during_writes_opens_as_a_store() {
    let (dir, store) = on_disk();
    let table = store.create_table("t", TableKind::Records).unwrap();
    let mut session = store.session().unwrap();
    for n in 0..500_u32 {
        session.insert(&table, &n.to_be_bytes(), b"checkpointed").unwrap();
    }
    store.checkpoint().unwrap();
    for n in 500..1000_u32 {
        session.insert(&table, &n.to_be_bytes(), b"logged").unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    store.backup(copy.path()).unwrap();
    assert_eq!(store.backup(dir.path()).unwrap_err().kind(), ErrorKind::InvalidPath, "not empty");
    session.insert(&table, b"later", b"").unwrap();

    let copy = Store::open(Options::at(copy.path())).unwrap();
    let table = copy.table("t").unwrap().unwrap();
    assert_eq!(count(&mut copy.session().unwrap(), &table), 1000);
}

#[test]
fn many_threads_keep_a_table_and_its_index_in_step() {
    each_kind_of_store(|store| {
        let records = store.create_table("records", TableKind::Records).unwrap();
        let index = store.create_table("index", TableKind::Index).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (records, index) = (&records, &index);
                scope.spawn(move || {
                    for n in 0..300_u64 {
                        let mut session = store.session().unwrap();
                        let key = (n % 50).to_be_bytes();
                        let value = (thread << 32 | n).to_be_bytes();
                        loop {
                            session.begin(Begin::default()).unwrap();
                            match put(&mut session, records, index, &key, &value) {
                                Ok(()) => break session.commit(Durability::Lazy).unwrap(),
                                Err(error) => assert_eq!(error.kind(), ErrorKind::WriteConflict, "{error}"),
                            }
                            session.rollback().unwrap();
                        }
                    }
                });
            }
        });
        let mut session = store.session().unwrap();
        assert_eq!(count(&mut session, &records), 50);
        assert_eq!(count(&mut session, &index), 50);
        let cursor = session.open(&records).unwrap();
        while session.next(cursor).unwrap() {
            let entry = [session.value(cursor), session.key(cursor)].concat();
            assert!(session.get(&index, &entry).unwrap().is_some());
        }
    });
}

/// Puts a record and moves its index entry.
fn put(session: &mut Session, records: &Table, index: &Table, key: &[u8], value: &[u8]) -> smongo_storage::Result<()> {
    if let Some(old) = session.get(records, key)? {
        let entry = [old, key].concat();
        assert!(session.remove(index, &entry)?);
    }
    session.insert(records, key, value)?;
    assert!(session.insert_new(index, &[value, key].concat(), b"")?);
    Ok(())
}
