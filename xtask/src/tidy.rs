//! The rules of the house that a compiler does not know: budgets of files and functions, unsafe in one place,
//! arrows between crates and between the floors of the engine.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 100;
/// The one file with hand-written `unsafe`; `wiredtiger-sys` only declares.
const UNSAFE: &[&str] = &["crates/storage/src/wt/", "crates/wiredtiger-sys/"];

/// Which crates of the workspace a crate may name as dependencies: arrows point down.
const ARROWS: &[(&str, &[&str])] = &[
    ("bson", &[]),
    ("cases", &["bson", "engine", "server"]),
    ("engine", &["bson", "mql", "search", "storage"]),
    ("mql", &["bson"]),
    ("python", &["bson", "engine", "server"]),
    ("search", &["bson"]),
    ("server", &["bson", "engine"]),
    ("smongo", &["bson", "engine", "server"]),
    ("storage", &["bson"]),
    ("wiredtiger-sys", &[]),
];

/// The floors of the engine, from the ground up: folders of `crates/engine/src`. A file names what is on its own floor and on those below.
const FLOORS: &[&str] = &["data", "query", "service", "commands", "door", "life", "client"];
const ENGINE: &str = "crates/engine/src/";
/// What may stand at the root of the engine.
const ENGINE_ENTRIES: usize = 12;

/// Checks everything; the error lists every breach.
pub fn check(root: &Path) -> Result<usize, String> {
    let mut files = Vec::new();
    for dir in ["crates", "xtask"] {
        collect(&root.join(dir), &mut files);
    }
    let mut breaches = Vec::new();
    for path in &files {
        let Ok(text) = fs::read_to_string(path) else { continue };
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        check_file(&name, &text, &mut breaches);
    }
    for (name, allowed) in ARROWS {
        check_arrows(root, name, allowed, &mut breaches);
    }
    let entries = fs::read_dir(root.join(ENGINE)).map_or(0, |dir| dir.flatten().count());
    if entries > ENGINE_ENTRIES {
        breaches.push(format!("{ENGINE}: {entries} entries, more than {ENGINE_ENTRIES}"));
    }
    if breaches.is_empty() { Ok(files.len()) } else { Err(format!("{} breaches:\n{}", breaches.len(), breaches.join("\n"))) }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn check_file(name: &str, text: &str, breaches: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES {
        breaches.push(format!("{name}: {lines} lines, more than {FILE_LINES}: make it a folder"));
    }
    let code = |l: &&str| !l.trim_start().starts_with("//");
    if !UNSAFE.iter().any(|p| name.starts_with(p)) {
        let word = ["uns", "afe {"].concat();
        let declared = ["uns", "afe fn"].concat();
        if text.lines().filter(code).any(|l| l.contains(&word) || l.contains(&declared)) {
            breaches.push(format!("{name}: hand-written unsafe belongs into crates/storage/src/wt/"));
        }
    }
    long_functions(name, text, breaches);
    if let Some((floor, _)) = name.strip_prefix(ENGINE).and_then(|rest| rest.split_once('/')) {
        check_floor(name, floor, text, breaches);
    }
}

/// No arrow of the engine leads up.
fn check_floor(name: &str, floor: &str, text: &str, breaches: &mut Vec<String>) {
    let level = |room: &str| FLOORS.iter().position(|f| *f == room);
    let Some(own) = level(floor) else {
        breaches.push(format!("{name}: {floor} is no floor of the engine"));
        return;
    };
    for (n, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for room in rooms(code) {
            if level(room).is_some_and(|other| other > own) {
                breaches.push(format!("{name}:{}: an arrow leads up from {floor} to {room}", n + 1));
            }
        }
    }
}

/// The first components of the paths from the root of the crate: `crate::room::…` and `crate::{room::…, room}`.
fn rooms(code: &str) -> Vec<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(&rest[..word(rest)]);
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (n, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && !c.is_whitespace() => {
                    found.push(&list[n..n + word(&list[n..])]);
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Functions are found by their indentation, as rustfmt leaves it.
fn long_functions(name: &str, text: &str, breaches: &mut Vec<String>) {
    let mut open: Option<(usize, usize, &str)> = None;
    for (n, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if let Some((start, depth, head)) = open {
            if indent == depth && line.trim_start().starts_with('}') {
                if n - start > FUNCTION_LINES {
                    breaches.push(format!("{name}:{}: {} lines in `{}`, more than {FUNCTION_LINES}", start + 1, n - start, head.trim()));
                }
                open = None;
            }
            continue;
        }
        let head = line.trim_start();
        let is_fn = head.starts_with("fn ") || (head.starts_with("pub") && head.contains(" fn "));
        if is_fn && line.trim_end().ends_with('{') {
            open = Some((n, indent, line));
        }
    }
}

fn check_arrows(root: &Path, name: &str, allowed: &[&str], breaches: &mut Vec<String>) {
    let Ok(manifest) = fs::read_to_string(root.join("crates").join(name).join("Cargo.toml")) else { return };
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
    let dependencies = dependencies.split("\n[").next().unwrap_or("");
    for line in dependencies.lines() {
        let Some(rest) = line.strip_prefix("smongo-") else { continue };
        let target = rest.split(['.', ' ', '=']).next().unwrap_or("");
        if !allowed.contains(&target) {
            breaches.push(format!("crates/{name}: no arrow leads from it to {target}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(floor: &str, code: &str) -> usize {
        let mut found = Vec::new();
        check_floor("crates/engine/src/x.rs", floor, code, &mut found);
        found.len()
    }

    #[test]
    fn an_arrow_up_is_a_breach() {
        assert_eq!(breaches("data", "use crate::data::op::OpCx;"), 0);
        assert_eq!(breaches("query", "use crate::data::{op::OpCx, limits};"), 0);
        assert_eq!(breaches("data", "use crate::query::plan;"), 1);
        assert_eq!(breaches("query", "    let x = crate::service::sessions::now();"), 1);
        assert_eq!(breaches("service", "use crate::{data::{limits, op}, commands::crud, door};"), 2);
        assert_eq!(breaches("data", "// crate::door is above"), 0);
        assert_eq!(breaches("cellar", ""), 1);
    }
}
