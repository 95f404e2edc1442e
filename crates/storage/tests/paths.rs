//! Places where no database can be, or no copy of one: the error says which path, and what is wrong with it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use smongo_storage::{Error, ErrorKind, Options, Store};

fn refused(path: &Path) -> Error {
    match Store::open(Options::at(path)) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(e) => e,
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    let store = Store::open(Options::at(dir.path().join("data"))).unwrap();
    for path in [file.clone(), file.join("below")] {
        let backup = store.backup(&path).unwrap_err();
        for error in [refused(&path), backup] {
            assert_eq!(error.kind(), ErrorKind::InvalidPath, "{error}");
            assert!(error.message().contains(path.to_str().unwrap()) && error.message().contains("not a directory"), "{error}");
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn what_cannot_be_written_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, data, closed) = (dir.path().join("empty"), dir.path().join("data"), dir.path().join("closed"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&closed).unwrap();
    let store = Store::open(Options::at(&data)).unwrap();
    store.create_table("t", smongo_storage::TableKind::Records).unwrap();
    store.close().unwrap();
    mode(&empty, 0o555);
    mode(&data, 0o555);
    mode(&closed, 0o000);
    // Nothing is forbidden to root.
    if fs::write(empty.join("file"), "").is_err() {
        for path in [&empty, &data, &closed, &empty.join("new"), &closed.join("new")] {
            let error = refused(path);
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            assert!(error.message().contains(path.to_str().unwrap()), "{error}");
        }
    }
    mode(&empty, 0o755);
    mode(&data, 0o755);
    mode(&closed, 0o755);
    let store = Store::open(Options::at(&data)).unwrap();
    assert!(store.table_exists("t").unwrap(), "an opening that was refused has changed nothing");
    mode(&empty, 0o555);
    if fs::write(empty.join("file"), "").is_err() {
        assert_eq!(store.backup(&empty.join("copy")).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    mode(&empty, 0o755);
}
