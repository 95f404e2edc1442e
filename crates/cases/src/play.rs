//! Playing a script through a door and checking the replies.

use smongo_bson::{Doc, DocBuf, Value, json};
use smongo_engine::door::witness::Witness;
use smongo_engine::{Client, Engine, Request};

use crate::script::{Expect, Script, Step};

/// A way into the engine: command bytes in, reply bytes out.
pub trait Door {
    fn run(&mut self, command: Doc<'_>) -> Result<DocBuf, String>;
}

/// The door itself, with the witness beside it: what a command touches and did not ask for fails the case.
pub struct Embedded(Witness);

impl Embedded {
    pub fn new(engine: &Engine) -> Embedded {
        let session = engine.session(Client { local: "localhost:27017".into(), ..Client::owner() });
        Embedded(Witness::new(session, engine.session(Client::owner())))
    }
}

impl Door for Embedded {
    fn run(&mut self, command: Doc<'_>) -> Result<DocBuf, String> {
        let mut out = Vec::new();
        if let Some(breach) = self.0.run(&Request::new(command), &mut out).first() {
            return Err(format!("the command {breach}"));
        }
        DocBuf::parse(out).map_err(|e| format!("the reply is not BSON: {e}"))
    }
}

/// Plays a script; the error says which line failed and how.
pub fn play(script: &Script, door: &mut dyn Door) -> Result<(), String> {
    for step in &script.steps {
        step_through(step, door).map_err(|e| format!("line {}: {e}\n  command: {}", step.line, json::to_relaxed(step.command.as_doc())))?;
    }
    Ok(())
}

fn step_through(step: &Step, door: &mut dyn Door) -> Result<(), String> {
    let command = with_database(step.command.as_doc());
    let reply = door.run(command.as_doc())?;
    let failed = !reply.get("ok").truthy();
    let expects_error = step.expect.iter().any(|e| matches!(e, Expect::Error { .. }));
    if failed && !expects_error {
        return Err(format!("the command failed: {}", json::to_relaxed(reply.as_doc())));
    }
    let wants_documents = step.expect.iter().any(|e| matches!(e, Expect::Document(_) | Expect::NoDocuments));
    let documents = if wants_documents { drain(&reply, command.get("$db"), door)? } else { Vec::new() };
    let mut rest = documents.iter();
    for expect in &step.expect {
        match expect {
            Expect::Fields(fields) => check_fields(fields.as_doc(), reply.as_doc())?,
            Expect::Document(doc) => match rest.next() {
                Some(got) if got.as_bytes() == doc.as_bytes() => {}
                Some(got) => return Err(format!("expected {}\n       got {}", json::to_canonical(doc.as_doc()), json::to_canonical(got.as_doc()))),
                None => return Err(format!("expected {}, but there is no further document", json::to_canonical(doc.as_doc()))),
            },
            Expect::NoDocuments => {}
            Expect::Error { code, name, text } => check_error(&reply, *code, name, text)?,
        }
    }
    match rest.next() {
        Some(extra) if wants_documents => Err(format!("a document nobody expected: {}", json::to_canonical(extra.as_doc()))),
        _ => Ok(()),
    }
}

pub(crate) fn with_database(command: Doc<'_>) -> DocBuf {
    DocBuf::build(|w| {
        w.append_all(command);
        if !command.contains("$db") {
            w.append("$db", "test");
        }
    })
}

/// All documents of the reply's cursor.
pub(crate) fn drain(reply: &DocBuf, db: Value<'_>, door: &mut dyn Door) -> Result<Vec<DocBuf>, String> {
    let mut documents = Vec::new();
    let mut reply = reply.clone();
    let mut batch = "firstBatch";
    loop {
        let Some(cursor) = reply.get("cursor").as_doc() else { return Err(format!("no cursor in the reply: {}", json::to_relaxed(reply.as_doc()))) };
        documents.extend(cursor.get(batch).as_array().into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc()).map(DocBuf::from)));
        let id = cursor.get("id");
        if !id.truthy() {
            return Ok(documents);
        }
        let coll = cursor.get("ns").as_str().and_then(|ns| ns.split_once('.')).map_or("", |(_, c)| c);
        let more = DocBuf::build(|w| {
            w.append("getMore", id).append("collection", coll).append("$db", db);
        });
        reply = door.run(more.as_doc())?;
        batch = "nextBatch";
    }
}

fn check_fields(expected: Doc<'_>, reply: Doc<'_>) -> Result<(), String> {
    for field in expected {
        match reply.element(field.name()) {
            Some(got) if got.raw() == field.raw() => {}
            got => {
                return Err(format!(
                    "field {}\n  expected {}\n       got {}",
                    field.name(),
                    json::value_to_canonical(field.value()),
                    got.map_or("nothing".to_owned(), |g| json::value_to_canonical(g.value()))
                ));
            }
        }
    }
    Ok(())
}

fn check_error(reply: &DocBuf, code: i32, name: &str, text: &str) -> Result<(), String> {
    let got = || json::to_relaxed(reply.as_doc());
    if reply.get("ok").truthy() {
        return Err(format!("expected error {code} {name}, got {}", got()));
    }
    let same = matches!(reply.get("code"), Value::Int32(c) if c == code) && reply.get("codeName").as_str() == Some(name);
    if !same || !reply.get("errmsg").as_str().unwrap_or_default().contains(text) {
        return Err(format!("expected error {code} {name} {text}\n       got {}", got()));
    }
    Ok(())
}
