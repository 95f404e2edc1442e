//! `smongo export`: a collection, or what a query finds in it, as JSON lines, a JSON array or CSV.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use smongo_bson::{Doc, DocBuf, Value, json};

use super::target::{self, Target, batch};
use super::{Failure, Outcome};

#[derive(clap::Args, Clone)]
pub struct Args {
    #[command(flatten)]
    target: target::Args,
    #[arg(short, long)]
    db: String,
    #[arg(short, long)]
    collection: String,
    /// A filter, in Extended JSON
    #[arg(short, long, default_value = "{}", value_parser = document)]
    query: Json,
    /// As {"year": -1}
    #[arg(long, default_value = "{}", value_parser = document)]
    sort: Json,
    /// Fields to write, separated by commas; CSV needs them
    #[arg(short, long, value_delimiter = ',')]
    fields: Option<Vec<String>>,
    #[arg(long, default_value_t = 0)]
    skip: u32,
    /// Most documents to write; 0 is all
    #[arg(long, default_value_t = 0)]
    limit: u32,
    #[arg(long = "type", value_enum, default_value_t = Kind::Json)]
    kind: Kind,
    /// One JSON array instead of a document a line
    #[arg(long = "jsonArray")]
    json_array: bool,
    /// canonical Extended JSON tells every type
    #[arg(long = "jsonFormat", value_enum, default_value_t = Format::Relaxed)]
    json_format: Format,
    /// CSV without the line of names
    #[arg(long = "noHeaderLine")]
    no_header_line: bool,
    /// The file to write; - is standard output
    #[arg(short, long, default_value = "-")]
    out: PathBuf,
}

/// A document given as Extended JSON.
#[derive(Clone)]
struct Json(DocBuf);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Json,
    Csv,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Relaxed,
    Canonical,
}

fn document(text: &str) -> Result<Json, String> {
    json::parse_doc(text).map(Json).map_err(|e| e.message().to_string())
}

pub fn main(args: Args) -> Outcome {
    if args.kind == Kind::Csv && args.fields.is_none() {
        return Err(Failure::new("--type csv needs --fields"));
    }
    let mut target = Target::open(&args.target, false)?;
    let written = export(&args, &mut target);
    target.close()?;
    let written = written?;
    let documents = if written == 1 { "document" } else { "documents" };
    eprintln!("exported {written} {documents}");
    Ok(ExitCode::SUCCESS)
}

fn export(args: &Args, target: &mut Target) -> Result<u64, Failure> {
    let out: Box<dyn Write> = if args.out.as_os_str() == "-" { Box::new(io::stdout().lock()) } else { Box::new(File::create(&args.out)?) };
    let mut sink = Sink::begin(args, BufWriter::with_capacity(256 << 10, out))?;
    let mut command = find(args);
    let mut written = 0;
    loop {
        let reply = target.run(&command, None)?;
        let Some(cursor) = reply.get("cursor").as_doc() else {
            return Err(Failure::new("the reply has no cursor"));
        };
        for doc in batch(cursor) {
            sink.write(doc)?;
            written += 1;
        }
        let Value::Int64(id) = cursor.get("id") else { break };
        if id == 0 {
            break;
        }
        command = DocBuf::build(|w| {
            w.append("getMore", id).append("collection", args.collection.as_str()).append("$db", args.db.as_str());
        });
    }
    sink.end()?;
    Ok(written)
}

fn find(args: &Args) -> DocBuf {
    DocBuf::build(|w| {
        w.append("find", args.collection.as_str()).append("filter", args.query.0.as_doc());
        if !args.sort.0.as_doc().is_empty() {
            w.append("sort", args.sort.0.as_doc());
        }
        if let Some(fields) = &args.fields {
            let mut projection = w.document("projection");
            fields.iter().for_each(|name| {
                projection.append(name, 1);
            });
            // CSV writes exactly the fields asked for; JSON has the _id always, as with mongoexport.
            if args.kind == Kind::Csv && !fields.iter().any(|name| name == "_id") {
                projection.append("_id", 0);
            }
        }
        if args.skip > 0 {
            w.append("skip", i64::from(args.skip));
        }
        if args.limit > 0 {
            w.append("limit", i64::from(args.limit));
        }
        w.append("$db", args.db.as_str());
    })
}

/// The file being written, in one of its forms.
enum Sink<W: Write> {
    Lines { out: W, format: Format },
    Array { out: W, format: Format, first: bool },
    Csv { out: Box<csv::Writer<W>>, fields: Vec<String> },
}

impl<W: Write> Sink<W> {
    fn begin(args: &Args, mut out: W) -> io::Result<Sink<W>> {
        if args.kind == Kind::Csv {
            let fields = args.fields.clone().unwrap_or_default();
            let mut out = Box::new(csv::Writer::from_writer(out));
            if !args.no_header_line {
                out.write_record(&fields)?;
            }
            return Ok(Sink::Csv { out, fields });
        }
        if args.json_array {
            out.write_all(b"[")?;
            return Ok(Sink::Array { out, format: args.json_format, first: true });
        }
        Ok(Sink::Lines { out, format: args.json_format })
    }

    fn write(&mut self, doc: Doc<'_>) -> io::Result<()> {
        match self {
            Sink::Lines { out, format } => writeln!(out, "{}", format.text(doc)),
            Sink::Array { out, format, first } => {
                let between = if std::mem::take(first) { "" } else { ",\n" };
                write!(out, "{between}{}", format.text(doc))
            }
            Sink::Csv { out, fields } => {
                out.write_record(fields.iter().map(|path| cell(at_path(doc, path))))?;
                Ok(())
            }
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Sink::Lines { mut out, .. } => out.flush(),
            Sink::Array { mut out, .. } => {
                out.write_all(b"]\n")?;
                out.flush()
            }
            Sink::Csv { mut out, .. } => out.flush(),
        }
    }
}

impl Format {
    fn text(self, doc: Doc<'_>) -> String {
        match self {
            Format::Relaxed => json::to_relaxed(doc),
            Format::Canonical => json::to_canonical(doc),
        }
    }
}

/// The value at a dotted path through documents and positions of arrays.
fn at_path<'a>(doc: Doc<'a>, path: &str) -> Value<'a> {
    path.split('.').fold(Value::Document(doc), |value, name| match value {
        Value::Document(d) => d.get(name),
        Value::Array(a) => name.parse().map_or(Value::Missing, |n| a.get(n)),
        _ => Value::Missing,
    })
}

/// Plain text for what has one; Extended JSON for the rest.
fn cell(value: Value<'_>) -> String {
    match value {
        Value::Missing | Value::Null => String::new(),
        Value::String(s) | Value::Symbol(s) => s.to_string(),
        Value::ObjectId(id) => id.to_string(),
        Value::DateTime(_) => unwrapped(value, "$date"),
        Value::Int64(n) => n.to_string(),
        Value::Decimal(_) => unwrapped(value, "$numberDecimal"),
        other => json::value_to_relaxed(other),
    }
}

/// The text that relaxed Extended JSON wraps as `{"$name": text}`.
fn unwrapped(value: Value<'_>, name: &str) -> String {
    let wrapped = json::value_to_relaxed(value);
    let inner = wrapped.strip_prefix(&format!("{{\"{name}\":\"")).and_then(|rest| rest.strip_suffix("\"}"));
    inner.unwrap_or(&wrapped).to_string()
}
