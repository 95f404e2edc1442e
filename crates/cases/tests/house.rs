//! The tables against the cases and COMPAT.md: every row has a case, and what is claimed is what is there.
//!
//! `SMONGO_BLESS=1` writes COMPAT.md (`cargo xtask compat`), and with `SMONGO_CASE=text` the expectations of the case
//! files whose path contains the text (`cargo xtask bless text`).

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use smongo_bson::{Array, DocBuf, ValueBuf, json};
use smongo_cases::{Embedded, bless};
use smongo_engine::{Engine, Options};
use smongo_mql::accum::{self, Accumulator};
use smongo_mql::{CompileCx, Matcher, Pipeline, expr, matcher, pipeline, update};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

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

/// A table of names: its title, and each name with whether it is implemented.
type Table = (&'static str, Vec<(&'static str, bool)>);

fn not_implemented<T>(result: Result<T, smongo_bson::Error>) -> bool {
    result.is_err_and(|e| e.code() == smongo_bson::Code::NotImplemented)
}

/// Compiling tells whether a row is there: what is only known answers NotImplemented whatever its argument.
fn done(name: &str, compile: impl Fn(&str) -> bool) -> bool {
    ["1", "{}", "\"\"", "[]"].iter().all(|arg| !compile(&format!("{{\"{name}\": {arg}}}")))
}

fn stage_done(name: &str) -> bool {
    // They are read, and refused when they run: whether there is something to search is known only then.
    let read_only = ["$search", "$searchMeta"].contains(&name);
    !read_only && done(name, |doc| {
        let stages = ValueBuf::array(|w| {
            w.push(json::parse_doc(doc).unwrap().as_doc());
        });
        let compile = |coll: &str| {
            let cx = CompileCx { coll: coll.to_owned(), db: "admin".to_owned(), ..CompileCx::default() };
            not_implemented(Pipeline::compile(stages.as_array().unwrap_or(Array::EMPTY), &cx))
        };
        compile("t") || compile("")
    })
}

fn filter_done(name: &str) -> bool {
    let cx = CompileCx::default();
    let compile = |doc: &DocBuf| not_implemented(Matcher::compile(doc.as_doc(), &cx));
    done(name, |doc| compile(&json::parse_doc(doc).unwrap()) || compile(&json::parse_doc(&format!("{{\"f\": {doc}}}")).unwrap()))
}

fn accumulator_done(name: &str) -> bool {
    let cx = CompileCx::default();
    done(name, |doc| {
        let doc = json::parse_doc(doc).unwrap();
        not_implemented(Accumulator::compile(name, doc.get(name), &cx))
    })
}

fn tables() -> Vec<Table> {
    let all = |names: &mut dyn Iterator<Item = &'static str>, done: &dyn Fn(&str) -> bool| names.map(|n| (n, done(n))).collect();
    vec![
        ("Commands", smongo_engine::commands().collect()),
        ("Stages", all(&mut pipeline::stages(), &stage_done)),
        ("Query operators", all(&mut matcher::operators(), &filter_done)),
        ("Update operators", all(&mut update::operators(), &|_| true)),
        ("Expressions", expr::operators().collect()),
        ("Accumulators", all(&mut accum::accumulators(), &accumulator_done)),
        ("Window functions, besides accumulators", all(&mut pipeline::window_functions(), &|_| true)),
    ]
}

#[test]
fn tables_are_sorted() {
    for (title, rows) in tables() {
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "{title} are not sorted by name");
    }
}

#[test]
#[ignore = "the whole tree has to be in order: cargo xtask ci runs it"]
fn every_row_has_a_case() {
    let mut all = Vec::new();
    files(&root().join("cases"), &mut all);
    let text: String = all.iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
    // Names stand in quotes; a tail of a path is none.
    let words: BTreeSet<&str> = text.split('"').collect();
    let mut missing = String::new();
    for (title, rows) in tables() {
        let names: Vec<&str> = rows.iter().filter(|(name, done)| *done && !words.contains(name)).map(|(name, _)| *name).collect();
        if !names.is_empty() {
            let _ = writeln!(missing, "{title}: {}", names.join(" "));
        }
    }
    assert!(missing.is_empty(), "add a case (cases/…) for each of:\n{missing}");
}

fn compat() -> String {
    let mut out = String::from(
        "# What of MongoDB 8.2 is there\n\nWritten by `cargo xtask compat` from the tables of the code, and checked by a test. What stands under *known* \
         answers NotImplemented (238); names that stand nowhere are unknown, with MongoDB's error for unknown names. Deliberate differences: `cases/diff/`.\n",
    );
    for (title, rows) in tables() {
        let names = |wanted: bool| rows.iter().filter(|(_, done)| *done == wanted).map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>();
        let (there, known) = (names(true), names(false));
        let _ = write!(out, "\n## {title}\n\n{} there: {}\n", there.len(), there.join(" "));
        if !known.is_empty() {
            let _ = write!(out, "\n{} known: {}\n", known.len(), known.join(" "));
        }
    }
    let mut diffs = Vec::new();
    files(&root().join("cases/diff"), &mut diffs);
    out.push_str("\n## Deliberate differences\n\n");
    for path in diffs {
        let text = std::fs::read_to_string(&path).unwrap();
        let reason: Vec<&str> = text.lines().map_while(|l| l.strip_prefix("# ")).collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let _ = writeln!(out, "- `{name}`: {}", reason.join(" "));
    }
    out
}

#[test]
#[ignore = "the whole tree has to be in order: cargo xtask ci runs it"]
fn compat_is_current() {
    let path = root().join("COMPAT.md");
    let wanted = compat();
    if std::env::var_os("SMONGO_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "COMPAT.md is not what the tables say: `cargo xtask compat` writes it");
}

#[test]
#[ignore = "rewrites files: cargo xtask bless runs it"]
fn bless_cases() {
    let Some(wanted) = std::env::var("SMONGO_CASE").ok().filter(|_| std::env::var_os("SMONGO_BLESS").is_some()) else { return };
    let mut all = Vec::new();
    files(&root().join("cases"), &mut all);
    for path in all.iter().filter(|p| p.to_string_lossy().contains(&wanted)) {
        let engine = Engine::open(Options { test_commands: true, ..Options::default() }).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let blessed = bless(&text, &mut Embedded::new(&engine)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        std::fs::write(path, blessed).unwrap();
    }
}
