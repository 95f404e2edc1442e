//! `smongo user`, as somebody runs it who has just a directory.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use smongo_engine::{Client, Engine, Options};

struct Place(tempfile::TempDir);

impl Place {
    fn user(&self, args: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
        command.arg("user").args(args).arg("--dbpath").arg(self.0.path().join("db"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end without having read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn ok(&self, args: &[&str], input: &str) -> String {
        let output = self.user(args, input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str], input: &str, status: i32, why: &str) {
        let output = self.user(args, input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(status) && said.contains(why), "{args:?}: {:?} {said}", output.status);
    }

    fn logs_in(&self, user: &str, password: &str, db: &str) -> bool {
        let engine = Engine::open(Options { path: Some(self.0.path().join("db")), ..Options::default() }).unwrap();
        let in_it = engine.session(Client::owner()).login(user, password, db).is_ok();
        engine.close().unwrap();
        in_it
    }
}

#[test]
fn users_are_added_changed_listed_and_dropped() {
    let place = Place(tempfile::tempdir().unwrap());
    place.fails(&["list"], "", 1, "there is no directory");
    place.fails(&["add", "ann", "--password-file", "-"], "\n", 1, "the password is empty");
    assert_eq!(place.ok(&["add", "ann", "--password-file", "-"], "pencil\nmore\n"), "added ann@admin with root@admin\n");
    place.fails(&["add", "bob", "--password-file", "-"], "p\n", 2, "--role");
    place.fails(&["add", "bob", "--role", "@shop", "--password-file", "-"], "p\n", 2, "--role");
    place.fails(&["add", "bob", "--role", "nosuch", "--password-file", "-"], "p\n", 1, "Could not find role: nosuch@admin");
    place.fails(&["add", "ann", "--role", "read", "--password-file", "-"], "p\n", 1, "already exists");
    let file = place.0.path().join("password");
    std::fs::write(&file, "from a file\r\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(place.ok(&["add", "bob", "--db", "shop", "--role", "read", "--role", "readWrite@other", "--password-file", file], ""), "added bob@shop with read@shop, readWrite@other\n");
    place.fails(&["add", "eve", "--role", "read", "--password-file", "/no/such/file"], "", 1, "/no/such/file");
    assert_eq!(
        place.ok(&["list"], ""),
        "ann@admin\troot@admin\tSCRAM-SHA-1, SCRAM-SHA-256\nbob@shop\tread@shop, readWrite@other\tSCRAM-SHA-1, SCRAM-SHA-256\n"
    );
    assert_eq!(place.ok(&["list", "--db", "shop"], "").lines().count(), 1);
    assert!(place.logs_in("ann", "pencil", "admin") && place.logs_in("bob", "from a file", "shop") && !place.logs_in("ann", "from a file", "admin"));
    place.fails(&["passwd", "bob", "--password-file", "-"], "x\n", 1, "there is one with --db shop");
    assert_eq!(place.ok(&["passwd", "ann", "--password-file", "-"], "pen"), "ann@admin has a new password\n");
    assert!(place.logs_in("ann", "pen", "admin") && !place.logs_in("ann", "pencil", "admin"));
    assert_eq!(place.ok(&["drop", "bob", "--db", "shop"], ""), "removed bob@shop\n");
    place.fails(&["drop", "bob", "--db", "shop"], "", 1, "there is no user bob of the database shop");
    assert_eq!(place.ok(&["list"], "").lines().count(), 1);
}

#[test]
fn a_directory_that_is_in_use_is_left_alone() {
    let place = Place(tempfile::tempdir().unwrap());
    place.ok(&["add", "ann", "--password-file", "-"], "pencil\n");
    let engine = Engine::open(Options { path: Some(place.0.path().join("db")), ..Options::default() }).unwrap();
    place.fails(&["passwd", "ann", "--password-file", "-"], "x\n", 1, "stop the server first");
    engine.close().unwrap();
}

/// There is no way to say a password where others see it, and without a terminal nobody is asked.
#[test]
fn passwords_are_not_arguments() {
    let place = Place(tempfile::tempdir().unwrap());
    place.fails(&["add", "ann", "--password", "x"], "", 2, "--password");
    let output = Command::new("setsid").arg(env!("CARGO_BIN_EXE_smongo")).args(["user", "add", "ann", "--dbpath"]).arg(place.0.path().join("db")).output().unwrap();
    assert!(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).contains("--password-file"), "{output:?}");
}
