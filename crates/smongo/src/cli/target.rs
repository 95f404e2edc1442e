//! The database that a tool works on: a directory opened in this process, or a server reached by its URI.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Client, Engine, Options, Request, Sequence, Session};
use smongo_server::frame::{self, OP_MSG, Reader};
use smongo_server::message;

use super::Failure;

#[derive(clap::Args, Clone)]
#[group(id = "where")]
pub struct Args {
    /// Directory of the data
    #[arg(long, value_name = "DIR", default_value = "./data", conflicts_with = "uri")]
    dbpath: PathBuf,
    /// Make a new database in the directory though there are other files in it
    #[arg(long, conflicts_with = "uri")]
    allow_other_files: bool,
    /// A running server instead, as mongodb://127.0.0.1:27017
    #[arg(long)]
    uri: Option<String>,
}

pub enum Target {
    Embedded { engine: Engine, session: Session },
    Wire { stream: Box<dyn ReadWrite>, reader: Reader, last_id: i32 },
}

pub trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Target {
    /// Opens what the arguments name; a directory that does not exist is made only if asked.
    pub fn open(args: &Args, create: bool) -> Result<Target, Failure> {
        if let Some(uri) = &args.uri {
            return Ok(Target::Wire { stream: connect(uri)?, reader: Reader::default(), last_id: 0 });
        }
        if !create && !args.dbpath.is_dir() {
            return Err(Failure::new(format!("there is no directory {}", args.dbpath.display())));
        }
        let engine = Engine::open(Options { path: Some(args.dbpath.clone()), allow_other_files: args.allow_other_files, ..Options::default() })?;
        let session = engine.session(Client::owner());
        Ok(Target::Embedded { engine, session })
    }

    /// Runs a command, with a document sequence if it takes one. An error reply is a failure; write errors are the caller's.
    pub fn run(&mut self, body: &DocBuf, sequence: Option<(&str, &[u8])>) -> Result<DocBuf, Failure> {
        let reply = match self {
            Target::Embedded { session, .. } => {
                let sequences = sequence.map(|(name, docs)| Sequence { name, docs });
                let request = Request { body: body.as_doc(), sequences: sequences.as_slice() };
                let mut reply = Vec::new();
                session.run(&request, &mut reply);
                DocBuf::from_checked(reply)
            }
            Target::Wire { stream, reader, last_id } => {
                *last_id += 1;
                stream.write_all(&frame(*last_id, body, sequence))?;
                receive(stream, reader)?
            }
        };
        match reply.get("ok") {
            Value::Double(1.0) => Ok(reply),
            _ => Err(Failure::new(reply.get("errmsg").as_str().unwrap_or("the command failed without a message"))),
        }
    }

    /// Closes the database, so that all is on disk.
    pub fn close(self) -> Result<(), Failure> {
        if let Target::Embedded { engine, session } = self {
            drop(session);
            engine.begin_shutdown();
            engine.close()?;
        }
        Ok(())
    }
}

fn frame(id: i32, body: &DocBuf, sequence: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    frame::begin(&mut out, id, 0, OP_MSG);
    out.extend_from_slice(&[0; 5]);
    out.extend_from_slice(body.as_bytes());
    if let Some((name, docs)) = sequence {
        out.push(1);
        out.extend_from_slice(&((4 + name.len() + 1 + docs.len()) as i32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(docs);
    }
    frame::finish(&mut out);
    out
}

fn receive(stream: &mut Box<dyn ReadWrite>, reader: &mut Reader) -> Result<DocBuf, Failure> {
    let Some((header, bytes)) = reader.next(stream)? else {
        return Err(Failure::new("the server closed the connection"));
    };
    if header.opcode != OP_MSG {
        return Err(Failure::new(format!("the server answered with operation code {}", header.opcode)));
    }
    match message::parse(bytes) {
        Ok(message) => Ok(DocBuf::from(message.body)),
        Err(e) => Err(Failure::new(format!("the server's answer is malformed: {e:?}"))),
    }
}

/// Connects to the one host of a plain URI. Credentials, TLS and options that change meaning are refused.
fn connect(uri: &str) -> Result<Box<dyn ReadWrite>, Failure> {
    let refuse = |why: &str| Err(Failure::new(format!("--uri {uri}: {why}")));
    let Some(rest) = uri.strip_prefix("mongodb://") else {
        return refuse("expected mongodb://HOST[:PORT]");
    };
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return refuse("user names and passwords are not supported");
    }
    if host.is_empty() || host.contains(',') {
        return refuse("exactly one host is expected");
    }
    if let Some(option) = options.split('&').find(|o| !o.is_empty() && !o.eq_ignore_ascii_case("directConnection=true")) {
        return refuse(&format!("the option {option} is not supported"));
    }
    if host.to_ascii_lowercase().contains("%2f") {
        let path = host.replace("%2F", "/").replace("%2f", "/");
        let stream = UnixStream::connect(&path).map_err(|e| Failure::new(format!("cannot connect to {path}: {e}")))?;
        return Ok(Box::new(stream));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_string() } else { format!("{host}:27017") };
    let stream = TcpStream::connect(&address).map_err(|e| Failure::new(format!("cannot connect to {address}: {e}")))?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// The documents of `cursor.firstBatch` or `cursor.nextBatch`.
pub fn batch(cursor: Doc<'_>) -> impl Iterator<Item = Doc<'_>> {
    let batch = ["firstBatch", "nextBatch"].into_iter().find_map(|name| cursor.get(name).as_array());
    batch.into_iter().flat_map(|a| a.elements().filter_map(|e| e.value().as_doc()))
}
