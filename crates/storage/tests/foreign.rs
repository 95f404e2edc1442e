//! Directories that are not ours are left alone: nothing in them is opened, locked, written or made.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use smongo_storage::{ErrorKind, Options, Store, TableKind};

const MARK: &str = "smongo.format";

fn make(directory: &Path, tables: &[&str]) {
    let store = Store::open(Options::at(directory)).unwrap();
    for name in tables {
        let table = store.create_table(name, if name.starts_with('i') { TableKind::Index } else { TableKind::Records }).unwrap();
        store.session().unwrap().insert(&table, b"key", name.as_bytes()).unwrap();
    }
    store.mark_complete().unwrap();
    store.close().unwrap();
}

fn contents(directory: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).ok())).collect()
}

/// Opens nothing, says all of these words, and leaves everything as it was.
fn refused(directory: &Path, words: &[&str]) {
    let before = contents(directory);
    for repair in [false, true] {
        let Err(error) = Store::open(Options { repair, ..Options::at(directory) }) else { panic!("{} opens", directory.display()) };
        assert_eq!(error.kind(), ErrorKind::InvalidPath, "{error}");
        for word in words.iter().chain([&directory.to_str().unwrap()]) {
            assert!(error.message().contains(word), "{error}");
        }
    }
    assert!(contents(directory) == before, "{}: a file has changed", directory.display());
}

/// A directory as another program that uses the library has it.
fn foreign(directory: &Path, tables: &[&str]) {
    make(directory, tables);
    fs::remove_file(directory.join(MARK)).unwrap();
}

#[test]
fn other_programs_directories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    foreign(&at("mongod"), &["_mdb_catalog", "sizeStorer", "collection-0-1", "index-1-1"]);
    fs::write(at("mongod").join("storage.bson"), "x").unwrap();
    refused(&at("mongod"), &["mongod", "mongodump", "mongorestore"]);
    foreign(&at("other"), &["access", "c1"]);
    refused(&at("other"), &["another program"]);
    // Names as ours, and one more.
    foreign(&at("more"), &["catalog", "meta", "c1", "orders"]);
    refused(&at("more"), &["another program"]);
    // Tables called as ours, but made in another way.
    foreign(&at("alike"), &["icatalog", "imeta"]);
    for name in ["catalog", "meta"] {
        fs::rename(at("alike").join(format!("i{name}.wt")), at("alike").join(format!("{name}.wt"))).unwrap();
    }
    refused(&at("alike"), &["another program"]);
    // Single files of the library.
    fs::create_dir(at("single")).unwrap();
    fs::write(at("single").join("table.wt"), "x").unwrap();
    refused(&at("single"), &["another program"]);
}

#[test]
fn directories_of_versions_without_a_mark_open() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("old");
    foreign(&at, &["catalog", "meta", "oplog", "c1", "i2"]);
    let store = Store::open(Options::at(&at)).unwrap();
    assert!(store.is_unmarked() && !store.is_new());
    let table = store.table("c1").unwrap().unwrap();
    assert_eq!(store.session().unwrap().get(&table, b"key").unwrap(), Some(b"c1".as_slice()));
    // As after a kill: what the directory holds while it is open.
    let killed = dir.path().join("killed");
    fs::create_dir(&killed).unwrap();
    for name in contents(&at).keys() {
        // The library's temporary files come and go.
        match fs::copy(at.join(name), killed.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {e}"),
            _ => {}
        }
    }
    assert!(Store::open(Options::at(&killed)).unwrap().is_unmarked());
    store.mark_complete().unwrap();
    store.close().unwrap();
    assert!(!Store::open(Options::at(&at)).unwrap().is_unmarked());
}

#[test]
fn a_newer_format_and_a_damaged_mark_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("data");
    make(&at, &["catalog", "meta"]);
    let text = fs::read_to_string(at.join(MARK)).unwrap();
    fs::write(at.join(MARK), text.replace("format 1", "format 2")).unwrap();
    refused(&at, &["newer", "format is 2", "up to 1"]);
    for damaged in ["", "\0\0\0\0", "smongo format 1 complex\n", "smongo format 0 complete\n", "smongo"] {
        fs::write(at.join(MARK), damaged).unwrap();
        let before = contents(&at);
        let error = Store::open(Options::at(&at)).err().unwrap();
        assert!(error.kind() == ErrorKind::Corrupt && error.message().contains(MARK), "{error}");
        assert!(contents(&at) == before);
    }
    let store = Store::open(Options { repair: true, ..Options::at(&at) }).unwrap();
    store.mark_complete().unwrap();
    store.close().unwrap();
    assert_eq!(fs::read_to_string(at.join(MARK)).unwrap(), text);
}

#[test]
fn other_files_are_lived_with_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // As good as empty.
    fs::create_dir_all(at("free").join("lost+found")).unwrap();
    for name in [".gitkeep", ".DS_Store", "smongo.log"] {
        fs::write(at("free").join(name), "").unwrap();
    }
    make(&at("free"), &["t"]);
    for name in ["notes.txt", "folder", ".git"] {
        let place = at(&format!("with-{name}"));
        fs::create_dir_all(&place).unwrap();
        if name.ends_with(".txt") { fs::write(place.join(name), "mine").unwrap() } else { fs::create_dir(place.join(name)).unwrap() }
        let before = contents(&place);
        let error = Store::open(Options::at(&place)).err().unwrap();
        assert!(error.kind() == ErrorKind::InvalidPath && error.message().contains("--allow-other-files"), "{error}");
        assert!(contents(&place) == before);
        let store = Store::open(Options { allow_other_files: true, ..Options::at(&place) }).unwrap();
        store.mark_complete().unwrap();
        store.close().unwrap();
        // Once it is a database nobody is asked again, and what was there is there.
        Store::open(Options::at(&place)).unwrap();
        assert!(before.keys().all(|name| place.join(name).exists()));
    }
}

#[test]
fn a_creation_that_was_cut_off_goes_on_and_a_database_without_its_root_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("data");
    fs::create_dir(&at).unwrap();
    fs::write(at.join(MARK), "smongo format 1 being-made\n").unwrap();
    let store = Store::open(Options::at(&at)).unwrap();
    assert!(store.is_new());
    store.mark_complete().unwrap();
    store.close().unwrap();
    for name in contents(&at).keys().filter(|name| *name != MARK) {
        fs::remove_file(at.join(name)).unwrap();
    }
    let error = Store::open(Options::at(&at)).err().unwrap();
    assert!(error.kind() == ErrorKind::Corrupt && error.message().contains("WiredTiger.turtle"), "{error}");
    fs::write(at.join(MARK), "smongo format 1 being-copied\n").unwrap();
    let error = Store::open(Options::at(&at)).err().unwrap();
    assert!(error.message().contains("not finished"), "{error}");
}

#[test]
fn a_copy_is_marked_and_two_at_once_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::at(dir.path().join("data"))).unwrap();
    let table = store.create_table("t", TableKind::Records).unwrap();
    let mut session = store.session().unwrap();
    for key in 0..4000_u64 {
        session.insert(&table, &key.to_be_bytes(), &[key as u8; 4000]).unwrap();
    }
    store.checkpoint().unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let copies: Vec<_> = (0..4).map(|n| (n, dir.path().join(format!("copy{n}")))).map(|(_, to)| {
            let store = &store;
            scope.spawn(move || (store.backup(&to), to))
        }).collect();
        copies.into_iter().map(|copy| copy.join().unwrap()).collect()
    });
    assert!(results.iter().any(|(done, _)| done.is_ok()));
    for (done, to) in results {
        match done {
            Ok(()) => assert!(fs::read_to_string(to.join(MARK)).unwrap().contains("complete")),
            Err(error) => {
                assert!(error.kind() == ErrorKind::Busy && error.message().contains("another backup"), "{error}");
                assert!(!to.exists());
            }
        }
    }
}
