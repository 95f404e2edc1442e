//! The database that a tool works on: a directory opened in this process, or a server reached by its URI.

use std::io::{Read, Write};
use std::path::PathBuf;

use smongo_bson::{Binary, Doc, DocBuf, Value};
use smongo_engine::{Asking, Client, Engine, Mechanism, Options, Request, Sequence, Session};
use smongo_server::frame::{self, OP_MSG, Reader};
use smongo_server::message;

use super::uri::Uri;
use super::{Failure, user};

/// Where the data is unless somebody says otherwise.
const DATA: &str = "./data";

#[derive(clap::Args, Clone)]
#[group(id = "where")]
pub struct Args {
    #[arg(long, value_name = "DIR", help = format!("Directory of the data [default: {DATA}]"), conflicts_with = "uri")]
    dbpath: Option<PathBuf>,
    /// Make a new database in the directory though there are other files in it
    #[arg(long, conflicts_with = "uri")]
    allow_other_files: bool,
    /// A running server instead, as mongodb://ann@127.0.0.1:27017/?authSource=admin. SMONGO_URI in the environment says the same, and
    /// may have a password in it, which everybody on the machine could read here
    #[arg(long)]
    uri: Option<String>,
    #[command(flatten)]
    password: user::Password,
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
        let uri = match &args.uri {
            Some(uri) => Some(Uri::parse(uri, false)?),
            // Who names a directory means it.
            None if args.dbpath.is_some() => None,
            None => std::env::var("SMONGO_URI").ok().map(|uri| Uri::parse(&uri, true)).transpose()?,
        };
        if let Some(uri) = uri {
            let mut target = Target::Wire { stream: uri.connect()?, reader: Reader::default(), last_id: 0 };
            if let Some(user) = &uri.user {
                let password = match &uri.password {
                    Some(password) => password.clone(),
                    None => args.password.known(user)?,
                };
                target.log_in(&uri, user, &password)?;
            }
            return Ok(target);
        }
        let dbpath = args.dbpath.clone().unwrap_or_else(|| PathBuf::from(DATA));
        if !create && !dbpath.is_dir() {
            return Err(Failure::new(format!("there is no directory {}", dbpath.display())));
        }
        let engine = Engine::open(Options { path: Some(dbpath), allow_other_files: args.allow_other_files, ..Options::default() })?;
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
                stream.flush()?;
                receive(stream, reader)?
            }
        };
        match reply.get("ok") {
            Value::Double(1.0) => Ok(reply),
            _ => Err(Failure::new(reply.get("errmsg").as_str().unwrap_or("the command failed without a message"))),
        }
    }

    /// Proves to the server who we are, and has it prove that it knows us.
    fn log_in(&mut self, uri: &Uri, user: &str, password: &str) -> Result<(), Failure> {
        let mechanism = match uri.mechanism {
            Some(mechanism) => mechanism,
            None => self.mechanism(uri, user)?,
        };
        let (asking, first) = Asking::begin(mechanism, user, password)?;
        // The subtype of plain bytes is zero, and stands in front of them.
        let binary = |payload: &str| [&[0], payload.as_bytes()].concat();
        let reply = self.run(&DocBuf::build(|w| {
            w.append("saslStart", 1).append("mechanism", mechanism.name()).append("payload", Value::Binary(Binary::from_raw(&binary(&first)))).append("$db", &*uri.source);
            w.document("options").append("skipEmptyExchange", true);
        }), None)?;
        let (proof, expected) = asking.prove(payload(&reply))?;
        let last = self.run(&DocBuf::build(|w| {
            w.append("saslContinue", 1).append("conversationId", reply.get("conversationId")).append("payload", Value::Binary(Binary::from_raw(&binary(&proof)))).append("$db", &*uri.source);
        }), None)?;
        if payload(&last) != expected.as_bytes() || !last.get("done").truthy() {
            return Err(Failure::new("the server does not know this user's password: it is not the one it pretends to be"));
        }
        Ok(())
    }

    /// The better one of those that the user has.
    fn mechanism(&mut self, uri: &Uri, user: &str) -> Result<Mechanism, Failure> {
        let reply = self.run(&DocBuf::build(|w| {
            w.append("hello", 1).append("saslSupportedMechs", format!("{}.{user}", uri.source).as_str()).append("$db", "admin");
        }), None)?;
        let offered = reply.get("saslSupportedMechs").as_array();
        let has = |name: &str| offered.is_some_and(|a| a.elements().any(|e| e.value().as_str() == Some(name)));
        Ok(if has(Mechanism::Sha256.name()) { Mechanism::Sha256 } else { Mechanism::Sha1 })
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

fn payload(reply: &DocBuf) -> &[u8] {
    match reply.get("payload") {
        Value::Binary(binary) => binary.bytes(),
        _ => &[],
    }
}

/// The documents of `cursor.firstBatch` or `cursor.nextBatch`.
pub fn batch(cursor: Doc<'_>) -> impl Iterator<Item = Doc<'_>> {
    let batch = ["firstBatch", "nextBatch"].into_iter().find_map(|name| cursor.get(name).as_array());
    batch.into_iter().flat_map(|a| a.elements().filter_map(|e| e.value().as_doc()))
}
