//! One engine session with the buffers it reuses.

use smongo_bson::{Doc, DocWriter, Value, check};
use smongo_engine::{After, Ns, Request, Sequence, Session};

/// Buffers larger than this are not kept between commands.
const KEPT: usize = 1 << 20;

pub struct Worker {
    session: Session,
    body: Vec<u8>,
    reply: Vec<u8>,
}

/// Why there is no reply to look at.
pub enum Failure {
    /// The bytes are not BSON.
    Invalid(smongo_bson::Error),
    /// A fail point closed the connection.
    Closed,
}

pub type Outcome<T> = std::result::Result<T, Failure>;

impl Worker {
    pub fn new(session: Session) -> Worker {
        Worker { session, body: Vec::new(), reply: Vec::new() }
    }

    pub fn trim(&mut self) {
        for buffer in [&mut self.body, &mut self.reply] {
            if buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
    }

    pub fn reply(&self) -> Doc<'_> {
        Doc::from_checked(&self.reply)
    }

    /// Runs a command; the reply stays here.
    pub fn run(&mut self, body: &[u8]) -> Outcome<()> {
        let body = Doc::parse(body).map_err(Failure::Invalid)?;
        self.reply.clear();
        after(self.session.run(&Request::new(body), &mut self.reply))
    }

    /// Runs the command whose elements are `prefix`, a document as the value of the name with which `prefix` ends, and `suffix`.
    pub fn splice(&mut self, prefix: &[u8], value: &[u8], suffix: &[u8]) -> Outcome<()> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        body.extend_from_slice(&[0; 4]);
        for part in [prefix, value, suffix, &[0]] {
            body.extend_from_slice(part);
        }
        let len = i32::try_from(body.len()).unwrap_or(0).to_le_bytes();
        body.splice(..4, len);
        let done = self.run(&body);
        self.body = body;
        done
    }

    /// Answers a find of the collection `ns` whose filter is `{_id: value}` without running a command; `false` where it must run.
    pub fn find_by_id(&mut self, ns: &str, filter: &[u8]) -> bool {
        let (Ok(filter), Ok(ns)) = (Doc::parse(filter), Ns::parse(ns)) else { return false };
        let mut fields = filter.iter();
        let (Some(id), None) = (fields.next().filter(|e| e.name_bytes() == b"_id"), fields.next()) else { return false };
        self.reply.clear();
        let mut reply = DocWriter::new(&mut self.reply);
        let found = self.session.find_by_id(&ns, id.value(), |doc| {
            let mut cursor = reply.document("cursor");
            let mut batch = cursor.array("firstBatch");
            if let Some(doc) = doc {
                batch.push(doc);
            }
        });
        reply.append("ok", 1.0);
        matches!(found, Some(Ok(())))
    }

    /// Inserts one document into the collection `ns` without running a command. `false` where the command must run, also to tell
    /// of an error: what failed has changed nothing.
    pub fn insert_one(&mut self, ns: &str, doc: &[u8]) -> bool {
        let (Ok(doc), Ok(ns)) = (Doc::parse(doc), Ns::parse(ns)) else { return false };
        if !matches!(self.session.insert_one(&ns, doc), Some(Ok(()))) {
            return false;
        }
        self.reply.clear();
        DocWriter::new(&mut self.reply).append("n", 1).append("ok", 1.0);
        true
    }

    /// Runs `body` with `docs`, one BSON document behind the other, as its array field `name`.
    pub fn sequence(&mut self, body: &[u8], name: &str, docs: &[u8]) -> Outcome<()> {
        let body = Doc::parse(body).map_err(Failure::Invalid)?;
        let mut rest = docs;
        while !rest.is_empty() {
            let (doc, after) = rest.split_at(check::prefix(rest).map_err(Failure::Invalid)?);
            check::document(doc).map_err(Failure::Invalid)?;
            rest = after;
        }
        self.reply.clear();
        after(self.session.run(&Request { body, sequences: &[Sequence { name, docs }] }, &mut self.reply))
    }

    /// Whether the reply says that all of it went well, with nothing more to read in it.
    pub fn flawless(&self) -> bool {
        let reply = self.reply();
        self.ok() && !reply.contains("writeErrors") && !reply.contains("writeConcernError")
    }

    pub fn ok(&self) -> bool {
        self.reply().get("ok").truthy()
    }

    /// The first document of the reply's cursor.
    pub fn first(&self) -> Option<Doc<'_>> {
        self.batch()?.iter().next()?.as_doc()
    }

    /// The documents of the reply's batch, one behind the other.
    pub fn documents(&self) -> Vec<u8> {
        let Some(batch) = self.batch() else { return Vec::new() };
        let mut all = Vec::with_capacity(batch.as_bytes().len());
        for doc in batch.elements() {
            all.extend_from_slice(doc.value_bytes());
        }
        all
    }

    /// The cursor's id and namespace.
    pub fn cursor(&self) -> (i64, &str) {
        let Some(cursor) = self.reply().get("cursor").as_doc() else { return (0, "") };
        let id = match cursor.get("id") {
            Value::Int64(id) => id,
            _ => 0,
        };
        (id, cursor.get("ns").as_str().unwrap_or_default())
    }

    fn batch(&self) -> Option<smongo_bson::Array<'_>> {
        let cursor = self.reply().get("cursor").as_doc()?;
        cursor.iter().find(|e| matches!(e.name_bytes(), b"firstBatch" | b"nextBatch"))?.value().as_array()
    }
}

fn after(after: After) -> Outcome<()> {
    match after {
        After::Reply => Ok(()),
        After::Close => Err(Failure::Closed),
    }
}
