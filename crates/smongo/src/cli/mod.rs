//! The command line: one file per subcommand.

mod audit;
mod backup;
mod config;
mod container;
mod export;
mod import;
mod log;
mod network;
mod repair;
mod serve;
mod target;
mod tls;
mod uri;
mod user;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use smongo_bson::escaped::is_unsafe;

/// What stops a subcommand: words for people and the exit status.
pub struct Failure {
    pub message: String,
    pub status: u8,
}

/// The exit status of wrong arguments.
const USAGE: u8 = 2;

impl Failure {
    pub fn new(message: impl std::fmt::Display) -> Failure {
        Failure { message: message.to_string(), status: 1 }
    }

    /// The arguments are at fault, not what they name: the status is that of arguments nobody knows.
    pub fn usage(message: impl std::fmt::Display) -> Failure {
        Failure { message: message.to_string(), status: USAGE }
    }
}

impl From<smongo_bson::Error> for Failure {
    fn from(e: smongo_bson::Error) -> Failure {
        Failure::new(e.message())
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        Failure::new(e)
    }
}

type Outcome = Result<ExitCode, Failure>;

/// An embeddable, MongoDB-compatible document database. Without a subcommand it serves.
#[derive(Parser)]
#[command(name = "smongo", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Copy a database, also one that is in use, into another directory
    Backup(backup::Args),
    /// Write a collection as JSON or CSV
    Export(export::Args),
    /// Read JSON, NDJSON or CSV into a collection
    Import(import::Args),
    /// Make a damaged database usable again: save what can be read, and say what is lost
    Repair(repair::Args),
    /// Serve a database to MongoDB's drivers and shells (the default)
    Serve(serve::Args),
    /// Add, change, list and remove users, without a server
    User(user::Args),
}

/// What was given on the command line, and behind it what the configuration file that is named there says.
fn arguments() -> Result<Cli, Failure> {
    let given: Vec<OsString> = std::env::args_os().collect();
    // What the flags lack may stand in the file.
    let matches = Cli::command().ignore_errors(true).get_matches_from(&given);
    let serve = match matches.subcommand() {
        None => Some(&matches),
        Some(("serve", serve)) => Some(serve),
        _ => None,
    };
    let of_file = match serve.and_then(|serve| Some((config::file(serve)?, serve))) {
        Some((file, serve)) => config::arguments(file, serve)?,
        None => Vec::new(),
    };
    let matches = Cli::command().get_matches_from(given.into_iter().chain(of_file));
    Cli::from_arg_matches(&matches).map_err(Failure::usage)
}

pub fn main() -> ExitCode {
    let outcome = arguments().and_then(|Cli { command, serve }| match command {
        None => serve::main(serve),
        Some(Command::Backup(args)) => backup::main(args),
        Some(Command::Export(args)) => export::main(args),
        Some(Command::Import(args)) => import::main(args),
        Some(Command::Repair(args)) => repair::main(args),
        Some(Command::Serve(args)) => serve::main(args),
        Some(Command::User(args)) => user::main(args),
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            // Names in it may be those of a client, or of whoever wrote a file.
            let shown: String = failure.message.chars().map(|c| if c != '\n' && is_unsafe(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect();
            eprintln!("smongo: {shown}");
            ExitCode::from(failure.status)
        }
    }
}
