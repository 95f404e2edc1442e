//! A journal that cannot be read to its end is told of, and one that lacks a file is refused; never is anything lost in silence.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use smongo_storage::{Begin, Durability, ErrorKind, JournalEnd, Options, Store, TableKind};

const LOG: &str = "WiredTigerLog.";

/// A directory as a killed process leaves it, with `pairs` pairs of a kilobyte behind a checkpoint, and the store that made it.
fn killed(dir: &Path, pairs: u64) -> PathBuf {
    let from = dir.join("live");
    let store = Store::open(Options::at(&from)).unwrap();
    let table = store.create_table("records", TableKind::Records).unwrap();
    store.mark_complete().unwrap();
    store.checkpoint().unwrap();
    let mut session = store.session().unwrap();
    for key in 0..pairs {
        session.begin(Begin::default()).unwrap();
        session.insert(&table, &key.to_be_bytes(), &[key as u8 | 1; 1000]).unwrap();
        session.commit(Durability::Lazy).unwrap();
    }
    session.sync_log().unwrap();
    let to = dir.join("killed");
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // An open store removes files of the journal that it does not need any more.
        if entry.file_type().is_ok_and(|kind| kind.is_file()) && fs::copy(entry.path(), to.join(entry.file_name())).is_err() {
            assert!(!entry.path().exists());
        }
    }
}

fn logs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let mut logs: Vec<_> = entries.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with(LOG)).collect();
    logs.sort();
    logs
}

fn end_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn count(directory: &Path, repair: bool) -> (u64, JournalEnd) {
    let store = Store::open(Options { repair, ..Options::at(directory) }).unwrap();
    let (table, mut session) = (store.table("records").unwrap().unwrap(), store.session().unwrap());
    let cursor = session.open(&table).unwrap();
    let mut count = 0;
    while session.next(cursor).unwrap() {
        count += 1;
    }
    if repair {
        store.mark_complete().unwrap();
    }
    (count, store.journal_end().clone())
}

fn flip(file: &Path, at: usize) {
    let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte[0] ^ 4]).unwrap();
}

#[test]
fn a_sound_journal_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let at = killed(dir.path(), 40_000);
    assert!(logs(&at).len() > 2);
    let again = dir.path().join("again");
    copy(&at, &again);
    assert_eq!(count(&at, false), (40_000, JournalEnd::default()));
    // After a recovery, and to repair what is sound.
    assert_eq!(count(&at, false), (40_000, JournalEnd::default()));
    assert_eq!(count(&again, true), (40_000, JournalEnd::default()));
}

#[test]
fn a_flipped_bit_is_told_with_what_it_costs() {
    let dir = tempfile::tempdir().unwrap();
    let at = killed(dir.path(), 500);
    let log = logs(&at).pop().unwrap();
    let end = end_of(&fs::read(&log).unwrap());
    for (before, least) in [(end / 2, 100), (20_000, 10), (500, 0)] {
        let copied = dir.path().join(format!("flip{before}"));
        copy(&at, &copied);
        flip(&copied.join(log.file_name().unwrap()), end - before);
        let (found, told) = count(&copied, false);
        assert!(found < 500 && told.file == log.file_name().unwrap().to_str().unwrap(), "{told:?}");
        assert!(told.lost_bytes as usize >= before && told.lost_records >= least && !told.torn, "{told:?}");
        assert!(told.describe().contains("may be lost"), "{}", told.describe());
        // The recovery has dropped it: the next time there is nothing to tell.
        assert_eq!(count(&copied, false), (found, JournalEnd::default()));
    }
}

#[test]
fn a_record_that_was_being_written_is_told_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    let at = killed(dir.path(), 500);
    let log = logs(&at).pop().unwrap();
    let end = end_of(&fs::read(&log).unwrap());
    let mut file = OpenOptions::new().write(true).open(&log).unwrap();
    file.seek(SeekFrom::Start(end as u64 - 600)).unwrap();
    file.write_all(&[0; 700]).unwrap();
    let (found, told) = count(&at, false);
    assert_eq!(found, 499);
    assert!(told.torn && (1..1100).contains(&told.lost_bytes) && told.lost_records == 0, "{told:?}");
}

#[test]
fn what_the_checkpoint_needs_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let at = killed(dir.path(), 60_000);
    let names: Vec<_> = logs(&at).iter().map(|log| log.file_name().unwrap().to_owned()).collect();
    assert!(names.len() >= 4);
    let all: Vec<usize> = (0..names.len()).collect();
    for gone in [vec![0], vec![1], vec![names.len() - 2], all] {
        let copied = dir.path().join(format!("without{gone:?}"));
        copy(&at, &copied);
        gone.iter().for_each(|n| fs::remove_file(copied.join(&names[*n])).unwrap());
        let error = Store::open(Options::at(&copied)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(names[gone[0]].to_str().unwrap()) && error.message().contains("smongo repair"), "{error}");
        let (found, told) = count(&copied, true);
        assert!(found < 60_000 && told.file == names[gone[0]].to_str().unwrap(), "{found} {told:?}");
        // What is written afterwards survives the next kill.
        let store = Store::open(Options::at(&copied)).unwrap();
        let table = store.table("records").unwrap().unwrap();
        let mut session = store.session().unwrap();
        session.insert(&table, b"new", b"new").unwrap();
        session.sync_log().unwrap();
        let again = dir.path().join(format!("again{gone:?}"));
        copy(&copied, &again);
        assert_eq!(count(&again, false), (found + 1, JournalEnd::default()));
    }
}

#[test]
fn a_last_file_that_was_cut_off_or_is_an_older_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let at = killed(dir.path(), 500);
    let log = logs(&at).pop().unwrap();
    let bytes = fs::read(&log).unwrap();
    let end = end_of(&bytes);
    let put = |name: &str, bytes: &[u8]| {
        let copied = dir.path().join(name);
        copy(&at, &copied);
        fs::write(copied.join(log.file_name().unwrap()), bytes).unwrap();
        copied
    };
    let (found, told) = count(&put("half", &bytes[..end / 2]), false);
    assert!(found < 500 && !told.is_sound() && !told.torn, "{told:?}");
    let whole_records = end.next_multiple_of(128);
    let (found, told) = count(&put("end", &bytes[..whole_records]), false);
    assert!(found == 500 && told.cut_off, "{told:?}");
    let mut older = bytes.clone();
    older[1024..].fill(0);
    for bytes in [&older[..], &bytes[..1024], &[]] {
        let copied = put(&format!("short{}-{}", bytes.len(), older.len()), bytes);
        match Store::open(Options::at(&copied)) {
            Ok(store) => assert!(!store.journal_end().is_sound()),
            Err(error) => assert!(error.message().contains(log.file_name().unwrap().to_str().unwrap()), "{error}"),
        }
        fs::remove_dir_all(&copied).unwrap();
    }
}
