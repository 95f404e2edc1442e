//! The program before directories that are not its own, and damaged ones.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap_or_default())).collect()
}

fn import(db: &Path, file: &Path) {
    let done = run(&["import", "--dbpath", db.to_str().unwrap(), "-d", "a", "-c", "t", "--file", file.to_str().unwrap()]);
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn nothing_touches_a_directory_of_another_program() {
    let dir = tempfile::tempdir().unwrap();
    let (foreign, own, json, text) = (dir.path().join("foreign"), dir.path().join("own"), dir.path().join("d.json"), dir.path().join("text"));
    fs::write(&json, "{\"_id\": 1}\n").unwrap();
    import(&foreign, &json);
    import(&own, &json);
    fs::remove_file(foreign.join("smongo.format")).unwrap();
    fs::rename(foreign.join("c1.wt"), foreign.join("collection-7.wt")).unwrap();
    fs::create_dir(&text).unwrap();
    fs::write(text.join("notes.txt"), "mine").unwrap();
    for (directory, words) in [(&foreign, "another program"), (&text, "--allow-other-files")] {
        let (at, out, before) = (directory.to_str().unwrap(), dir.path().join("out"), contents(directory));
        let from_own = ["backup", "--dbpath", own.to_str().unwrap(), "--out", at];
        let file = json.to_str().unwrap();
        let refused = [
            run(&["serve", "--dbpath", at, "--port", "0"]),
            run(&["--dbpath", at, "--port", "0"]),
            run(&["export", "--dbpath", at, "-d", "a", "-c", "t"]),
            run(&["import", "--dbpath", at, "-d", "a", "-c", "t", "--file", file]),
            run(&["backup", "--dbpath", at, "--out", out.to_str().unwrap()]),
            run(&["repair", "--dbpath", at]),
            run(&["--repair", "--dbpath", at]),
        ];
        for output in refused {
            let said = said(&output);
            assert!(!output.status.success() && said.contains(words) && said.contains(at), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        let copied = run(&from_own);
        assert!(!copied.status.success() && said(&copied).contains("not empty"), "{}", said(&copied));
        assert!(contents(directory) == before && !out.exists(), "{at} has changed");
    }
    let output = run(&["import", "--dbpath", text.to_str().unwrap(), "--allow-other-files", "-d", "a", "-c", "t", "--file", json.to_str().unwrap()]);
    assert!(output.status.success() && text.join("notes.txt").exists(), "{}", said(&output));
}

#[test]
fn a_refused_opening_names_the_file_and_repair_says_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let (db, json) = (dir.path().join("db"), dir.path().join("d.json"));
    fs::write(&json, (0..500).map(|n| format!("{{\"_id\": {n}, \"x\": {n}}}\n")).collect::<String>()).unwrap();
    import(&db, &json);
    let at = db.to_str().unwrap();
    let mut bytes = fs::read(db.join("catalog.wt")).unwrap();
    (4096..bytes.len()).step_by(4096).for_each(|at| bytes[at + 60] ^= 1);
    fs::write(db.join("catalog.wt"), bytes).unwrap();
    let refused = run(&["serve", "--dbpath", at, "--port", "0"]);
    assert!(!refused.status.success() && said(&refused).lines().last().unwrap().contains("catalog.wt"), "{}", said(&refused));
    let repaired = run(&["repair", "--dbpath", at]);
    let told = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(repaired.status.success() && told.contains("catalog.wt is damaged") && told.contains("local.orphan."), "{told}{}", said(&repaired));
    let serving = run(&["export", "--dbpath", at, "-d", "local", "-c", told.split("local.").nth(1).unwrap().lines().next().unwrap()]);
    assert!(serving.status.success(), "{}", said(&serving));
}
