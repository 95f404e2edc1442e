//! Files that are missing, cut off or overwritten: an error, or all of the data. Never a crash, never less than there was,
//! and never a file removed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use smongo_storage::{Options, Result, Store, TableKind};

const PAIRS: u64 = 2000;

fn make(directory: &Path) {
    let store = Store::open(Options::at(directory)).unwrap();
    let table = store.create_table("records", TableKind::Records).unwrap();
    let mut session = store.session().unwrap();
    for key in 0..PAIRS {
        session.insert(&table, &key.to_be_bytes(), &[key as u8; 300]).unwrap();
    }
    drop(session);
    store.close().unwrap();
}

fn count(directory: &Path) -> Result<u64> {
    let store = Store::open(Options::at(directory))?;
    let Some(table) = store.table("records")? else { return Ok(0) };
    let mut session = store.session()?;
    let cursor = session.open(&table)?;
    let mut count = 0;
    while session.next(cursor)? {
        count += 1;
    }
    Ok(count)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn damaged_files_are_errors_and_cost_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    make(&sound);
    let damages: [(&str, fn(&Path)); 5] = [
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("empty", |file| fs::write(file, "").unwrap()),
        ("half", |file| OpenOptions::new().write(true).open(file).unwrap().set_len(fs::metadata(file).unwrap().len() / 2).unwrap()),
        ("junk", |file| overwrite(file, fs::metadata(file).unwrap().len() / 3, &[0xa5; 200])),
        ("zeros", |file| overwrite(file, 0, &[0; 4096])),
    ];
    for name in names(&sound) {
        for (how, damage) in damages {
            let at = dir.path().join(format!("{how}-{name}"));
            fs::create_dir(&at).unwrap();
            for file in names(&sound) {
                fs::copy(sound.join(&file), at.join(&file)).unwrap();
            }
            damage(&at.join(&name));
            let before = names(&at);
            match count(&at) {
                Ok(found) => assert_eq!(found, PAIRS, "{how} {name}: pairs are lost silently"),
                Err(error) => {
                    assert!(!error.message().is_empty(), "{how} {name}");
                    let after = names(&at);
                    assert!(before.iter().all(|file| file.contains("Log.") || after.contains(file)), "{how} {name}: {before:?} became {after:?}");
                }
            }
            fs::remove_dir_all(&at).unwrap();
        }
    }
}
