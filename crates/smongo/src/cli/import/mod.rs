//! `smongo import`: JSON, NDJSON and CSV into a collection.

mod csv;
mod json;
mod record;
mod sink;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use smongo_bson::{DocBuf, ObjectId};

use self::record::{Records, with_id};
use self::sink::{Bad, Sink};
use super::target::{self, Target, batch};
use super::{Failure, Outcome};

/// Bad lines beyond this are counted, not shown.
const SHOWN: u64 = 100;
/// Exit status when some records were stored and others were not.
const PARTLY: u8 = 2;

#[derive(clap::Args, Clone)]
pub struct Args {
    #[command(flatten)]
    target: target::Args,
    #[arg(short, long)]
    db: String,
    /// By default the file's name without its extension
    #[arg(short, long)]
    collection: Option<String>,
    /// The file to read; - is standard input
    #[arg(long, default_value = "-")]
    file: PathBuf,
    /// By default what the file's extension says, or json
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// The first line of the CSV file has the names of the fields
    #[arg(long, conflicts_with = "fields")]
    headerline: bool,
    /// Names of the CSV file's fields; dots nest
    #[arg(short, long, value_delimiter = ',')]
    fields: Option<Vec<String>>,
    /// Leave out the fields of empty CSV cells
    #[arg(long = "ignoreBlanks")]
    ignore_blanks: bool,
    /// Drop the collection first
    #[arg(long)]
    drop: bool,
    /// insert; upsert replaces the document with the same upsert fields; merge sets its fields
    #[arg(long, value_enum, default_value_t = Mode::Insert)]
    mode: Mode,
    /// Fields by which upsert and merge find a document
    #[arg(long = "upsertFields", value_delimiter = ',', default_value = "_id")]
    upsert_fields: Vec<String>,
    /// End at the first bad record; what was stored before stays
    #[arg(long = "stopOnError")]
    stop_on_error: bool,
    /// Store every record of the file or none; the file is read twice
    #[arg(long = "all-or-nothing", conflicts_with = "stop_on_error")]
    all_or_nothing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Json,
    Ndjson,
    Csv,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    Insert,
    Upsert,
    Merge,
}

/// What became of a file.
struct Report {
    stored: u64,
    failed: u64,
}

pub fn main(args: Args) -> Outcome {
    let collection = match &args.collection {
        Some(name) => name.clone(),
        None => named_after(&args.file)?,
    };
    if args.all_or_nothing && args.mode != Mode::Insert {
        return Err(Failure::new("--all-or-nothing works with --mode insert only"));
    }
    if args.all_or_nothing && is_stdin(&args.file) {
        return Err(Failure::new("--all-or-nothing reads its input twice: give it a --file"));
    }
    if args.all_or_nothing {
        check(&args)?;
    }
    let mut target = Target::open(&args.target, true)?;
    let report = if args.all_or_nothing { all_or_nothing(&args, &collection, &mut target) } else { plain(&args, &collection, &mut target) };
    target.close()?;
    let Report { stored, failed } = report?;
    let documents = if stored == 1 { "document" } else { "documents" };
    eprintln!("imported {stored} {documents} into {}.{collection}, {failed} failed", args.db);
    Ok(match (stored, failed) {
        (_, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(PARTLY),
    })
}

fn plain(args: &Args, collection: &str, target: &mut Target) -> Result<Report, Failure> {
    if args.drop {
        drop_collection(target, &args.db, collection)?;
    }
    let mut sink = Sink::new(target, (&args.db, collection), args.mode, args.upsert_fields.clone(), args.stop_on_error);
    copy(args, &mut sink)
}

/// Into a collection of its own that takes the place of the real one at the end; or, where that one holds documents
/// already, beside them, and back out again at the first failure.
fn all_or_nothing(args: &Args, collection: &str, target: &mut Target) -> Result<Report, Failure> {
    let fresh = args.drop || !exists(target, &args.db, collection)?;
    let staging = format!("{collection}.import.{}", ObjectId::generate());
    let into = if fresh { staging.as_str() } else { collection };
    let mut sink = Sink::new(target, (&args.db, into), Mode::Insert, Vec::new(), true);
    if !fresh {
        sink.remember();
    }
    let outcome = copy(args, &mut sink);
    let complete = matches!(&outcome, Ok(report) if report.failed == 0);
    match (complete, fresh) {
        (true, true) if matches!(&outcome, Ok(report) if report.stored > 0) => rename(target, &args.db, &staging, collection, args.drop)?,
        (true, true) if args.drop => drop_collection(target, &args.db, collection)?,
        (true, _) => {}
        (false, true) => drop_collection(target, &args.db, &staging)?,
        (false, false) => sink.take_back()?,
    }
    let report = outcome?;
    Ok(if complete { report } else { Report { stored: 0, failed: report.failed } })
}

/// Reads the whole file without storing anything; fails if a record is bad.
fn check(args: &Args) -> Result<(), Failure> {
    let (mut records, bar) = open(args)?;
    let mut failed = 0;
    while let Some(record) = records.next()? {
        if let Err(reason) = record.doc {
            show(&bar, &mut failed, &Bad { line: record.line, reason });
        }
    }
    bar.finish_and_clear();
    if failed > 0 { Err(Failure::new(format!("{failed} bad records: nothing was imported"))) } else { Ok(()) }
}

fn copy(args: &Args, sink: &mut Sink<'_>) -> Result<Report, Failure> {
    let stop = args.stop_on_error || args.all_or_nothing;
    let (mut records, bar) = open(args)?;
    let (mut failed, mut bad) = (0, Vec::new());
    while let Some(record) = records.next()? {
        match record.doc {
            Ok(doc) if args.mode == Mode::Merge => sink.push(record.line, doc, &mut bad)?,
            Ok(doc) if args.mode == Mode::Insert => sink.push(record.line, with_id(doc), &mut bad)?,
            Ok(doc) => sink.push(record.line, doc, &mut bad)?,
            Err(reason) => {
                // What stands before it in the file is stored before it is reported.
                if stop {
                    sink.flush(&mut bad)?;
                }
                bad.push(Bad { line: record.line, reason });
            }
        }
        bad.drain(..).for_each(|b| show(&bar, &mut failed, &b));
        if stop && failed > 0 {
            break;
        }
    }
    if !(stop && failed > 0) {
        sink.flush(&mut bad)?;
        bad.drain(..).for_each(|b| show(&bar, &mut failed, &b));
    }
    bar.finish_and_clear();
    Ok(Report { stored: sink.stored, failed })
}

fn show(bar: &ProgressBar, failed: &mut u64, bad: &Bad) {
    *failed += 1;
    if *failed <= SHOWN {
        bar.suspend(|| eprintln!("line {}: {}", bad.line, bad.reason));
    } else if *failed == SHOWN + 1 {
        bar.suspend(|| eprintln!("further bad lines are only counted"));
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn named_after(file: &Path) -> Result<String, Failure> {
    let stem = file.file_stem().and_then(|s| s.to_str()).filter(|_| !is_stdin(file));
    stem.map(str::to_string).ok_or_else(|| Failure::new("--collection is missing"))
}

type Input = Box<dyn BufRead>;

/// Opens the input, with a progress bar over it.
fn open(args: &Args) -> Result<(Records<Input>, ProgressBar), Failure> {
    let bar = if io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let raw: Box<dyn Read> = if is_stdin(&args.file) {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file).map_err(|e| Failure::new(format!("{}: {e}", args.file.display())))?;
        let len = file.metadata()?.len();
        bar.set_length(len);
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Box::new(file)
    };
    let mut input: Input = Box::new(BufReader::with_capacity(256 << 10, bar.wrap_read(raw)));
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    Ok((records(args, input)?, bar))
}

fn records(args: &Args, mut input: Input) -> Result<Records<Input>, Failure> {
    let extension = args.file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let kind = args.kind.unwrap_or(match extension.as_str() {
        "csv" => Kind::Csv,
        "ndjson" | "jsonl" => Kind::Ndjson,
        _ => Kind::Json,
    });
    if kind != Kind::Csv && (args.headerline || args.fields.is_some()) {
        return Err(Failure::new("--headerline and --fields are for --type csv"));
    }
    Ok(match kind {
        Kind::Ndjson => Records::Lines(json::Lines::new(input)),
        Kind::Csv if !args.headerline && args.fields.is_none() => return Err(Failure::new("--type csv needs --headerline or --fields")),
        Kind::Csv => {
            let csv = csv::Csv::new(input, args.fields.clone(), args.ignore_blanks);
            Records::Csv(Box::new(csv.map_err(Failure::new)?))
        }
        Kind::Json => {
            let start = input.fill_buf()?.trim_ascii_start();
            let first = start.split(|b| *b == b'\n').next().unwrap_or_default();
            let whole_line = std::str::from_utf8(first).is_ok_and(|line| smongo_bson::json::parse_doc(line).is_ok());
            match start.first() {
                Some(b'[') => Records::Elements(json::Elements::new(input, true)),
                // Lines where the first one is a document: a bad line then ends where it ends.
                _ if whole_line => Records::Lines(json::Lines::new(input)),
                _ => Records::Elements(json::Elements::new(input, false)),
            }
        }
    })
}

fn exists(target: &mut Target, db: &str, collection: &str) -> Result<bool, Failure> {
    let body = DocBuf::build(|w| {
        w.append("listCollections", 1).append("nameOnly", true).append("$db", db);
        w.document("filter").append("name", collection);
    });
    let reply = target.run(&body, None)?;
    Ok(reply.get("cursor").as_doc().is_some_and(|cursor| batch(cursor).next().is_some()))
}

fn drop_collection(target: &mut Target, db: &str, collection: &str) -> Result<(), Failure> {
    if exists(target, db, collection)? {
        let body = DocBuf::build(|w| {
            w.append("drop", collection).append("$db", db);
        });
        target.run(&body, None)?;
    }
    Ok(())
}

fn rename(target: &mut Target, db: &str, from: &str, to: &str, drop_target: bool) -> Result<(), Failure> {
    let body = DocBuf::build(|w| {
        w.append("renameCollection", format!("{db}.{from}").as_str()).append("to", format!("{db}.{to}").as_str());
        w.append("dropTarget", drop_target).append("$db", "admin");
    });
    target.run(&body, None)?;
    Ok(())
}
