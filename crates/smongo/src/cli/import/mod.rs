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

use self::record::{Place, Records, with_id};
use self::sink::{Bad, Sink};
use super::target::{self, Target, batch};
use super::{Failure, Outcome};

/// Bad lines beyond this are counted, not shown.
const SHOWN: u64 = 100;
/// Exit status when some records were stored and others were not. That of wrong arguments is 2, and 1 says that nothing was stored.
const PARTLY: u8 = 3;

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
    /// Why it was not read, or not stored, to its end.
    broken: Option<Failure>,
}

pub fn main(args: Args) -> Outcome {
    let collection = match &args.collection {
        Some(name) => name.clone(),
        None => named_after(&args.file)?,
    };
    if args.all_or_nothing && args.mode != Mode::Insert {
        return Err(Failure::usage("--all-or-nothing works with --mode insert only"));
    }
    if args.all_or_nothing && is_stdin(&args.file) {
        return Err(Failure::usage("--all-or-nothing reads its input twice: give it a --file"));
    }
    if args.all_or_nothing {
        check(&args)?;
    }
    let mut target = Target::open(&args.target, true)?;
    let report = if args.all_or_nothing { all_or_nothing(&args, &collection, &mut target) } else { plain(&args, &collection, &mut target) };
    target.close()?;
    let Report { stored, failed, broken } = report?;
    let documents = if stored == 1 { "document" } else { "documents" };
    eprintln!("imported {stored} {documents} into {}.{collection}, {failed} failed", args.db);
    if let Some(failure) = broken {
        return Err(Failure { status: if stored > 0 { PARTLY } else { failure.status }, ..failure });
    }
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
    Ok(copy(args, &mut sink))
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
    let report = copy(args, &mut sink);
    let complete = report.failed == 0 && report.broken.is_none();
    match (complete, fresh) {
        (true, true) if report.stored > 0 => rename(target, &args.db, &staging, collection, args.drop)?,
        (true, true) if args.drop => drop_collection(target, &args.db, collection)?,
        (true, _) => {}
        (false, true) => drop_collection(target, &args.db, &staging)?,
        (false, false) => sink.take_back()?,
    }
    Ok(if complete { report } else { Report { stored: 0, ..report } })
}

/// Reads the whole file without storing anything; fails if a record is bad.
fn check(args: &Args) -> Result<(), Failure> {
    let (mut records, bar) = open(args)?;
    let mut failed = 0;
    while let Some(record) = records.next()? {
        if let Err(reason) = record.doc {
            show(&bar, &mut failed, &Bad { at: record.at, reason });
        }
    }
    bar.finish_and_clear();
    if failed > 0 { Err(Failure::new(format!("{failed} bad records: nothing was imported"))) } else { Ok(()) }
}

/// Stores what the input holds, to its end or to what breaks it off; what was read before that is stored.
fn copy(args: &Args, sink: &mut Sink<'_>) -> Report {
    let mut failed = 0;
    let mut read = || -> Result<(), Failure> {
        let (mut records, bar) = open(args)?;
        let done = copy_all(args, &mut records, sink, |bad| show(&bar, &mut failed, bad));
        bar.finish_and_clear();
        done
    };
    let broken = read().err();
    Report { stored: sink.stored, failed, broken }
}

fn copy_all(args: &Args, records: &mut Records<Input>, sink: &mut Sink<'_>, mut show: impl FnMut(&Bad)) -> Result<(), Failure> {
    let stop = args.stop_on_error || args.all_or_nothing;
    let mut bad = Vec::new();
    loop {
        let record = match records.next() {
            Ok(Some(record)) => record,
            read => {
                sink.flush(&mut bad)?;
                bad.iter().for_each(&mut show);
                return read.map(|_| ()).map_err(|e| Failure::new(format!("reading {}: {e}", args.file.display())));
            }
        };
        match record.doc {
            Ok(doc) if args.mode == Mode::Insert => sink.push(record.at, with_id(doc), &mut bad)?,
            Ok(doc) => sink.push(record.at, doc, &mut bad)?,
            Err(reason) => {
                // What stands before it in the file is stored before it is reported.
                if stop {
                    sink.flush(&mut bad)?;
                }
                bad.push(Bad { at: record.at, reason });
            }
        }
        let any = !bad.is_empty();
        bad.drain(..).for_each(|b| show(&b));
        if stop && any {
            return Ok(());
        }
    }
}

fn show(bar: &ProgressBar, failed: &mut u64, bad: &Bad) {
    *failed += 1;
    if *failed <= SHOWN {
        bar.suspend(|| eprintln!("{}: {}", bad.at, bad.reason));
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
        let name = args.file.display();
        let file = File::open(&args.file).map_err(|e| Failure::new(format!("{name}: {e}")))?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(Failure::new(format!("{name} is a directory: name a file")));
        }
        let len = about.len();
        bar.set_length(len);
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Box::new(file)
    };
    let mut input: Input = Box::new(BufReader::with_capacity(256 << 10, bar.wrap_read(raw)));
    let start = input.fill_buf().map_err(|e| Failure::new(format!("reading {}: {e}", args.file.display())))?;
    if let Some(what) = not_text(start) {
        return Err(Failure::new(format!("line 1, byte 1: {what}")));
    }
    let mut at = Place::START;
    if start.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
        at.bytes = 3;
    }
    Ok((records(args, input, at)?, bar))
}

/// What an input is whose first bytes say that it is no text in UTF-8.
fn not_text(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("the input is compressed by gzip: unpack it first, as with gzip -dc FILE | smongo import --file -"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("the input is compressed by zstd: unpack it first, as with zstd -dc FILE | smongo import --file -"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("the input is compressed by xz: unpack it first, as with xz -dc FILE | smongo import --file -"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("the input is compressed by bzip2: unpack it first, as with bzip2 -dc FILE | smongo import --file -"),
        [b'P', b'K', 3, 4, ..] => Some("the input is a zip archive: unpack it first"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'[' | b'{', 0, ..] | [0, b'[' | b'{', ..] => {
            Some("the input is UTF-16: make it UTF-8 first, as with iconv -f UTF-16 -t UTF-8 FILE | smongo import --file -")
        }
        _ => None,
    }
}

fn records(args: &Args, mut input: Input, at: Place) -> Result<Records<Input>, Failure> {
    let extension = args.file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let kind = args.kind.unwrap_or(match extension.as_str() {
        "csv" => Kind::Csv,
        "ndjson" | "jsonl" => Kind::Ndjson,
        _ => Kind::Json,
    });
    if kind != Kind::Csv && (args.headerline || args.fields.is_some()) {
        return Err(Failure::usage("--headerline and --fields are for --type csv"));
    }
    Ok(match kind {
        Kind::Ndjson => Records::Lines(json::Lines::new(input, at)),
        Kind::Csv if !args.headerline && args.fields.is_none() => return Err(Failure::usage("--type csv needs --headerline or --fields")),
        Kind::Csv => {
            let csv = csv::Csv::new(input, args.fields.clone(), args.ignore_blanks, at.bytes);
            Records::Csv(Box::new(csv.map_err(Failure::new)?))
        }
        Kind::Json => {
            let start = input.fill_buf()?.trim_ascii_start();
            let first = start.split(|b| *b == b'\n').next().unwrap_or_default();
            let whole_line = std::str::from_utf8(first).is_ok_and(|line| smongo_bson::json::parse_doc(line).is_ok());
            match start.first() {
                Some(b'[') => Records::Elements(json::Elements::new(input, true, at)),
                // Lines where the first one is a document: a bad line then ends where it ends.
                _ if whole_line => Records::Lines(json::Lines::new(input, at)),
                _ => Records::Elements(json::Elements::new(input, false, at)),
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
