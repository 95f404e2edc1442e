//! A store and its tables: what goes in comes out, also after closing; what must be refused is.
#![allow(clippy::unwrap_used)]

use smongo_storage::{Begin, Durability, ErrorKind, Options, Session, Store, Table, TableKind};
use tempfile::TempDir;

fn on_disk() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::at(dir.path())).unwrap();
    (dir, store)
}

fn pairs(session: &mut Session, table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let cursor = session.open(table).unwrap();
    let mut found = Vec::new();
    while session.next(cursor).unwrap() {
        found.push((session.key(cursor).to_vec(), session.value(cursor).to_vec()));
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
fn what_goes_in_comes_out_in_order() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let mut session = store.session().unwrap();
        session.begin(Begin::default()).unwrap();
        for key in [b"b".as_slice(), b"a\0", b"a", b"\xff\xff"] {
            session.insert(&table, key, &[key, b"!"].concat()).unwrap();
        }
        assert!(!session.insert_new(&table, b"a", b"other").unwrap());
        assert!(session.insert_new(&table, b"c", b"").unwrap());
        session.commit(Durability::Durable).unwrap();

        let keys: Vec<_> = pairs(&mut session, &table).into_iter().map(|pair| pair.0).collect();
        assert_eq!(keys, [b"a".as_slice(), b"a\0", b"b", b"c", b"\xff\xff"]);
        assert_eq!(session.get(&table, b"a").unwrap(), Some(b"a!".as_slice()));
        assert_eq!(session.get(&table, b"c").unwrap(), Some(b"".as_slice()));
        assert_eq!(session.get(&table, b"d").unwrap(), None);
        assert_eq!(session.largest_key(&table).unwrap().as_deref(), Some(b"\xff\xff".as_slice()));

        assert!(session.update(&table, b"a", b"new").unwrap());
        assert!(!session.update(&table, b"zz", b"new").unwrap());
        assert!(session.remove(&table, b"b").unwrap());
        assert!(!session.remove(&table, b"b").unwrap());
        session.begin(Begin::default()).unwrap();
        assert!(session.modify(&table, b"a", &[(1, 1, b"--"), (0, 0, b"+")]).unwrap());
        session.commit(Durability::Lazy).unwrap();
        assert_eq!(session.get(&table, b"a").unwrap(), Some(b"+n--w".as_slice()));
    });
}

#[test]
fn cursors_seek_and_walk_both_ways() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Index).unwrap();
        let mut session = store.session().unwrap();
        for key in [b"b", b"d", b"f"] {
            session.insert(&table, key, b"").unwrap();
        }
        let at = session.open(&table).unwrap();
        let other = session.open(&table).unwrap();
        for (key, ge, le) in [
            (b"a".as_slice(), Some(b"b"), None),
            (b"b", Some(b"b"), Some(b"b")),
            (b"c", Some(b"d"), Some(b"b")),
            (b"e", Some(b"f"), Some(b"d")),
            (b"g", None, Some(b"f")),
        ] {
            assert_eq!(session.seek_ge(at, key).unwrap(), ge.is_some(), "{key:?}");
            assert_eq!(session.key(at), ge.map_or(b"".as_slice(), |key| key));
            assert_eq!(session.seek_le(other, key).unwrap(), le.is_some(), "{key:?}");
            assert_eq!(session.key(other), le.map_or(b"".as_slice(), |key| key));
            assert_eq!(session.key(at), ge.map_or(b"".as_slice(), |key| key), "the cursors are apart");
        }
        assert!(session.prev(at).unwrap(), "from no position to the last");
        assert_eq!(session.key(at), b"f");
        assert!(session.prev(at).unwrap() && session.key(at) == b"d");
        session.release(at);
        assert_eq!(session.next(at).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(session.key(at), b"");
        let again = session.open(&table).unwrap();
        assert_ne!(again, at, "an id is not used twice");
        assert!(session.next(again).unwrap() && session.key(again) == b"b", "a kept cursor has no position");
    });
}

#[test]
fn a_transaction_rolls_back_on_drop_and_resets_cursors() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let mut session = store.session().unwrap();
        session.begin(Begin::default()).unwrap();
        session.insert(&table, b"kept", b"1").unwrap();
        session.commit(Durability::Lazy).unwrap();
        session.begin(Begin::default()).unwrap();
        session.insert(&table, b"lost", b"1").unwrap();
        let cursor = session.open(&table).unwrap();
        assert!(session.next(cursor).unwrap());
        drop(session);
        let mut session = store.session().unwrap();
        assert!(!session.in_transaction());
        assert_eq!(session.next(cursor).unwrap_err().kind(), ErrorKind::Invalid, "ids end with their session");
        assert_eq!(pairs(&mut session, &table), [(b"kept".to_vec(), b"1".to_vec())]);
        session.begin(Begin { read_only: true }).unwrap();
        let cursor = session.open(&table).unwrap();
        assert!(session.next(cursor).unwrap());
        assert_eq!(session.insert(&table, b"x", b"").unwrap_err().kind(), ErrorKind::Invalid);
        session.rollback().unwrap();
        assert_eq!(session.value(cursor), b"");
    });
}

#[test]
fn snapshots_do_not_see_later_commits_and_writers_conflict() {
    each_kind_of_store(|store| {
        let table = store.create_table("t", TableKind::Records).unwrap();
        let (mut one, mut two) = (store.session().unwrap(), store.session().unwrap());
        one.insert(&table, b"k", b"0").unwrap();
        one.begin(Begin::default()).unwrap();
        two.begin(Begin::default()).unwrap();
        one.insert(&table, b"k", b"1").unwrap();
        assert_eq!(two.get(&table, b"k").unwrap(), Some(b"0".as_slice()));
        let conflict = two.insert(&table, b"k", b"2").unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::WriteConflict, "{conflict}");
        two.rollback().unwrap();
        two.begin(Begin::default()).unwrap();
        one.commit(Durability::Lazy).unwrap();
        assert_eq!(two.get(&table, b"k").unwrap(), Some(b"0".as_slice()));
        let conflict = two.update(&table, b"k", b"2").unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::WriteConflict, "committed after the snapshot: {conflict}");
        two.rollback().unwrap();
        assert_eq!(two.get(&table, b"k").unwrap(), Some(b"1".as_slice()));
    });
}

#[test]
fn everything_is_there_after_a_clean_close() {
    let (dir, store) = on_disk();
    let table = store.create_table("t", TableKind::Records).unwrap();
    let mut session = store.session().unwrap();
    for n in 0..1000_u32 {
        session.insert(&table, &n.to_be_bytes(), &[7; 300]).unwrap();
    }
    drop(session);
    store.close().unwrap();
    let store = Store::open(Options::at(dir.path())).unwrap();
    assert_eq!(store.list_tables().unwrap(), ["t"]);
    let table = store.table("t").unwrap().unwrap();
    let mut session = store.session().unwrap();
    assert_eq!(pairs(&mut session, &table).len(), 1000);
    assert_eq!(session.get(&table, &999_u32.to_be_bytes()).unwrap(), Some([7; 300].as_slice()));
    assert!(store.table("u").unwrap().is_none());
}

#[test]
fn a_second_open_is_refused_and_names_the_directory() {
    let (dir, store) = on_disk();
    for path in [dir.path().to_path_buf(), dir.path().join("../").join(dir.path().file_name().unwrap())] {
        let error = Store::open(Options::at(path)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::LockedByOther);
        assert!(error.message().contains(dir.path().to_str().unwrap()), "{error}");
    }
    store.close().unwrap();
    Store::open(Options::at(dir.path())).unwrap();
}
