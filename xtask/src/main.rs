//! Tasks of the workspace, by `cargo xtask NAME`.

mod access;
mod suite;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask test         all tests: Rust, Python, real drivers; installs what they need into .tools/
cargo xtask ci           what CI runs: tidy, test
cargo xtask tidy         the rules of the house
cargo xtask case TEXT    the case files whose path contains TEXT
cargo xtask bless TEXT   rewrites the expectations of those files as the engine answers now: review what it did
cargo xtask compat       writes COMPAT.md from the tables of the code
cargo xtask access       writes the actions and the built-in roles from the table of privileges
cargo xtask bench        the benchmarks";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let task = args.first().map_or("help", String::as_str);
    let result = match task {
        "test" => suite::test(),
        "ci" => suite::ci(),
        "tidy" => tidy::check(&root()).map(|n| println!("tidy: {n} files in order")),
        "case" => suite::case(args.get(1).map_or("", String::as_str)),
        "bless" => suite::bless(args.get(1).map_or("", String::as_str)),
        "compat" => suite::compat(),
        "access" => access::write(),
        "bench" => suite::bench(),
        _ => {
            println!("{HELP}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cargo xtask {task}: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs a program at the root; fails when it does.
pub fn run(program: &str, args: &[&str]) -> Result<(), String> {
    println!("$ {program} {}", args.join(" "));
    let status = Command::new(program).args(args).current_dir(root()).status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("{program} {} ended with {s}", args.join(" "))),
        Err(e) => Err(format!("{program} does not start: {e}")),
    }
}
