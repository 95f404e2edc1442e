//! The audit log of the program: its flags and settings, and what of it survives what.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use smongo_bson::json;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn smongo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
        for name in ["SMONGO_URI", "MONGO_INITDB_DATABASE", "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD"] {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A server, its port, and what it printed before it was ready.
    fn serve(&self, args: &[&str]) -> (Child, String, Vec<String>) {
        let mut child = self.smongo(&[&["--port", "0", "--storageEngine", "inMemory"], args].concat()).spawn().unwrap();
        let mut before = Vec::new();
        let mut out = BufReader::new(child.stdout.as_mut().unwrap());
        loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "{}", err(&child.wait_with_output().unwrap()));
            match line.split("mongodb://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()) {
                Some(port) => return (child, port.to_owned(), before),
                None => before.push(line),
            }
        }
    }

    /// Makes a collection by putting a document into it.
    fn import(&self, port: &str, coll: &str) -> bool {
        let mut import = self.smongo(&["import", "--uri", &format!("mongodb://127.0.0.1:{port}"), "-d", "t", "-c", coll]).spawn().unwrap();
        let _ = import.stdin.take().unwrap().write_all(b"{\"a\":1}\n");
        import.wait_with_output().unwrap().status.success()
    }

    fn files(&self) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(self.0.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").arg(name).arg(child.id().to_string()).status().unwrap().success());
}

#[test]
fn flags_that_make_no_sense_end_the_start() {
    let place = Place::new();
    for (args, words) in [
        (&["--auditDestination", "file"][..], "--auditPath FILE"),
        (&["--auditDestination", "console", "--auditPath", "x"], "--auditPath is for"),
        (&["--auditPath", "x"], "--auditDestination"),
        (&["--auditFilter", "{}"], "--auditDestination"),
        (&["--auditDestination", "file", "--auditPath", "x", "--auditFormat", "BSON"], "written as JSON"),
        (&["--auditDestination", "file", "--auditPath", "x", "--auditSchema", "OCSF"], "schema mongo"),
        (&["--auditDestination", "console", "--auditSync"], "--auditSync is for"),
        (&["--auditDestination", "console", "--auditFilter", "{a: {$gtx: 1}}"], "the filter of the audit log"),
        (&["--auditDestination", "console", "--auditFilter", "{a: 1"], "--auditFilter"),
        (&["--auditDestination", "nowhere"], "nowhere"),
        (&["--auditDestination", "file", "--auditPath", "no/such/file"], "the audit log cannot be written to no/such/file"),
    ] {
        let refused = place.smongo(&[&["--storageEngine", "inMemory", "--port", "0"], args].concat()).output().unwrap();
        assert!(!refused.status.success() && err(&refused).contains(words), "{args:?}: {}", err(&refused));
    }
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn settings_come_from_a_file_and_a_signal_begins_a_new_one() {
    let place = Place::new();
    let text = "auditLog:\n  destination: file\n  format: JSON\n  path: audit.json\n  schema: mongo\n  sync: true\n  filter: '{ atype: { $in: [ \"startup\", \"createCollection\" ] }, \"param.ns\": { $ne: \"t.hidden\" } }'\n";
    std::fs::write(place.path("conf"), text).unwrap();
    let (child, port, _) = place.serve(&["--config", &place.path("conf")]);
    assert!(place.import(&port, "shown") && place.import(&port, "hidden"));
    let read = || std::fs::read_to_string(place.path("audit.json")).unwrap();
    let atypes: Vec<String> = read().lines().map(|line| line.split('"').nth(3).unwrap().to_owned()).collect();
    assert_eq!(atypes, ["startup", "createCollection"], "{}", read());
    assert!(read().contains(r#""auditLog":{"destination":"file","format":"JSON","path":"audit.json","filter":"#) && read().contains(r#""sync":true"#), "{}", read());
    assert!(read().contains(r#""ns":"t.shown"},"result":0}"#) && read().contains(r#""remote":{"ip":"127.0.0.1","port":"#), "{}", read());
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(place.path("audit.json")).unwrap().permissions()) & 0o777, 0o600);
    signal(&child, "-USR1");
    let until = Instant::now() + Duration::from_secs(10);
    while place.files().len() < 3 || !read().is_empty() {
        assert!(Instant::now() < until, "{:?}", place.files());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(place.import(&port, "later"));
    assert!(read().contains("t.later") && !read().contains("t.shown"));
    signal(&child, "-TERM");
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn the_console_shows_lines() {
    let place = Place::new();
    let (child, port, before) = place.serve(&["--auditDestination", "console"]);
    assert!(before.len() == 1 && before[0].starts_with(r#"{"atype":"startup""#), "{before:?}");
    assert!(place.import(&port, "c"));
    signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(r#"{"atype":"createCollection""#) && said.trim_end().lines().last().unwrap().starts_with(r#"{"atype":"shutdown""#), "{said}");
}

/// What was answered has its line, and lines are whole.
#[test]
fn a_process_that_is_killed_leaves_whole_lines() {
    let place = Place::new();
    for round in 0..3 {
        let (mut child, port, _) = place.serve(&["--auditDestination", "file", "--auditPath", "audit.json"]);
        let made = std::thread::scope(|scope| {
            let making = scope.spawn(|| (0..).map(|n| format!("c{round}_{n}")).take_while(|name| place.import(&port, name)).collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(400 + 130 * round));
            child.kill().unwrap();
            child.wait().unwrap();
            making.join().unwrap()
        });
        let text = std::fs::read_to_string(place.path("audit.json")).unwrap();
        assert!(text.ends_with('\n') && !made.is_empty());
        for line in text.lines() {
            json::parse_doc(&line.replace("\"$binary\"", "\"binary\"").replace("\"$type\"", "\"type\"")).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
        for name in made {
            assert!(text.contains(&format!(r#""ns":"t.{name}"}},"result":0}}"#)), "{name}");
        }
    }
}
