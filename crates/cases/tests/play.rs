//! Plays every case file through the embedded door and through the wire.
//!
//! `SMONGO_CASE=text` plays only files whose path contains the text.

#![allow(clippy::unwrap_used, clippy::panic)]

mod wire;

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use smongo_cases::{Embedded, Script, play};
use smongo_engine::{Engine, Options};
use smongo_server::{Listen, Server};
use wire::Wire;

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "case") {
            found.push(path);
        }
    }
}

fn each(mut door: impl FnMut(&Script) -> Result<(), String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases");
    let wanted = std::env::var("SMONGO_CASE").unwrap_or_default();
    let mut all = Vec::new();
    files(&root, &mut all);
    all.retain(|path| path.to_string_lossy().contains(&wanted));
    assert!(!all.is_empty(), "no case file matches {wanted:?}");
    let mut failures = Vec::new();
    for path in &all {
        let text = std::fs::read_to_string(path).unwrap();
        let result = Script::parse(&text).and_then(|script| door(&script));
        if let Err(e) = result {
            failures.push(format!("{}: {e}", path.strip_prefix(&root).unwrap_or(path).display()));
        }
    }
    assert!(failures.is_empty(), "{} of {} case files fail:\n{}", failures.len(), all.len(), failures.join("\n"));
}

fn options() -> Options {
    Options { test_commands: true, ..Options::default() }
}

#[test]
fn embedded() {
    each(|script| {
        let engine = Engine::open(options()).map_err(|e| e.to_string())?;
        play(script, &mut Embedded::new(&engine))
    });
}

#[test]
fn wire() {
    each(|script| {
        let engine = Engine::open(options()).map_err(|e| e.to_string())?;
        let listen = Listen { tcp: vec![("127.0.0.1".into(), 0)], ..Listen::default() };
        let handle = Server::bind(&engine, listen).and_then(Server::spawn).map_err(|e| e.to_string())?;
        let stream = TcpStream::connect(handle.local_addrs()[0]).map_err(|e| e.to_string())?;
        let result = play(script, &mut Wire::new(stream));
        handle.shutdown();
        result
    });
}
