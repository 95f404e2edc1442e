//! The test suites, in the order in which they are quickest to fail.

use std::path::Path;

use crate::{access, root, run, tidy};

const RUST_TESTS: [&str; 6] = ["test", "--release", "--quiet", "--workspace", "--exclude", "smongo-python"];
const VENV: &str = ".tools/venv";

/// All tests: Rust, Python, real drivers, the quickstart on real data.
pub fn test() -> Result<(), String> {
    // One selection of packages for all Rust tests: another one has other features, and compiles everything once more. The tests
    // of the program have it built, too.
    run("cargo", &RUST_TESTS)?;
    python()?;
    run("python3", &["tests/drivers/run.py", "--bin", "target/release/smongo"])?;
    no_secrets()?;
    kill9()?;
    soak()?;
    damage()?;
    quickstart()
}

/// What CI runs.
pub fn ci() -> Result<(), String> {
    let files = tidy::check(&root())?;
    println!("tidy: {files} files in order");
    access::check()?;
    test()?;
    run("cargo", &[&RUST_TESTS[..], &["--test", "house", "--", "--ignored"]].concat())
}

pub fn case(text: &str) -> Result<(), String> {
    cases("play", &[], &[("SMONGO_CASE", text)])
}

/// Without a text every file would be rewritten, which nobody reviews.
pub fn bless(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("which cases? give a part of their path".into());
    }
    cases("house", &["bless_cases", "--", "--ignored"], &[("SMONGO_CASE", text), ("SMONGO_BLESS", "1")])?;
    run("git", &["diff", "--stat", "--", "cases"])
}

pub fn compat() -> Result<(), String> {
    cases("house", &["compat_is_current", "--", "--ignored"], &[("SMONGO_BLESS", "1")])?;
    run("git", &["diff", "--stat", "--", "COMPAT.md"])
}

/// A test of the cases with some environment.
fn cases(test: &str, filter: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let mut command = std::process::Command::new("cargo");
    command.args(["test", "--release", "--quiet", "--package", "smongo-cases", "--test", test]);
    command.args(filter);
    match command.envs(env.iter().copied()).current_dir(root()).status() {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("the cases fail: {s}")),
        Err(e) => Err(e.to_string()),
    }
}

pub fn bench() -> Result<(), String> {
    run("cargo", &["run", "--release", "--quiet", "--package", "smongo-storage", "--example", "floor"])?;
    run("cargo", &["run", "--release", "--quiet", "--package", "smongo-engine", "--example", "engine_floor"])
}

/// A virtual environment with what the Python tests need, and the package built into it.
fn python() -> Result<(), String> {
    if !root().join("pyproject.toml").exists() {
        return Ok(());
    }
    venv()?;
    let pip = format!("{VENV}/bin/pip");
    run(&pip, &["install", "--quiet", "--disable-pip-version-check", "."])?;
    run(&format!("{VENV}/bin/python"), &["-m", "pytest", "-q", "python/tests"])
}

fn venv() -> Result<(), String> {
    if !root().join(VENV).join("bin/python").exists() {
        run("python3", &["-m", "venv", VENV])?;
    }
    let requirements = "tests/requirements.txt";
    run(&format!("{VENV}/bin/pip"), &["install", "--quiet", "--disable-pip-version-check", "-r", requirements])
}

/// A word in every field that holds a secret is found nowhere.
fn no_secrets() -> Result<(), String> {
    venv()?;
    run(&format!("{VENV}/bin/python"), &["tests/drivers/no_secrets.py", "--bin", "target/release/smongo"])
}

/// kill -9 of servers and of embedding programs under writers, transactions and data definition; the full run is 1,000 kills of each.
fn kill9() -> Result<(), String> {
    venv()?;
    run(&format!("{VENV}/bin/python"), &["tests/crash/kill9.py", "--bin", "target/release/smongo", "--kills", "50"])
}

/// Work and rest by turns; the full run is an hour.
fn soak() -> Result<(), String> {
    venv()?;
    run(&format!("{VENV}/bin/python"), &["tests/crash/soak.py", "--bin", "target/release/smongo", "--seconds", "24"])
}

/// Files damaged in every way; the full run is without arguments.
fn damage() -> Result<(), String> {
    let few = ["--flips", "12", "--truncations", "3", "--whole", "10"];
    let script = ["tests/crash/damage.py", "--bin", "target/release/smongo"];
    run(&format!("{VENV}/bin/python"), &[&script[..], &few].concat())
}

fn quickstart() -> Result<(), String> {
    let script = "examples/quickstart/run.py";
    if !Path::new(&root().join(script)).exists() {
        return Ok(());
    }
    venv()?;
    run(&format!("{VENV}/bin/python"), &[script, "--bin", "target/release/smongo"])
}
