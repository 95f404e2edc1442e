//! Where imported documents go: batches of inserts or upserts, and their failures by place.

use smongo_bson::{DocBuf, DocWriter, Value, ValueBuf};

use super::Mode;
use super::record::Place;
use crate::cli::Failure;
use crate::cli::target::Target;

const BATCH_DOCUMENTS: usize = 1000;
/// Well under the size of a message, and small enough for one to be in memory twice.
const BATCH_BYTES: usize = 4 << 20;

/// A record that could not be stored: its place and why.
pub struct Bad {
    pub at: Place,
    pub reason: String,
}

pub struct Sink<'t> {
    target: &'t mut Target,
    db: String,
    collection: String,
    mode: Mode,
    key: Vec<String>,
    ordered: bool,
    inserts: Batch,
    updates: Batch,
    pub stored: u64,
    /// The ids of what was stored, kept only when it may have to be taken back.
    ids: Option<Vec<ValueBuf>>,
}

/// Documents on their way: one behind the other, with the place of each.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.places.len() >= BATCH_DOCUMENTS || self.bytes.len() >= BATCH_BYTES
    }
}

impl<'t> Sink<'t> {
    /// `key` are the fields by which an upsert finds the document it replaces; `ordered` ends at the first failure.
    pub fn new(target: &'t mut Target, namespace: (&str, &str), mode: Mode, key: Vec<String>, ordered: bool) -> Sink<'t> {
        let (db, collection) = (namespace.0.to_string(), namespace.1.to_string());
        Sink { target, db, collection, mode, key, ordered, inserts: Batch::default(), updates: Batch::default(), stored: 0, ids: None }
    }

    /// Keeps the ids of what is stored, for [`take_back`](Self::take_back).
    pub fn remember(&mut self) {
        self.ids = Some(Vec::new());
    }

    /// Takes one document; what turned out bad in a batch sent on this occasion is appended to `bad`.
    pub fn push(&mut self, at: Place, doc: DocBuf, bad: &mut Vec<Bad>) -> Result<(), Failure> {
        let filter = match self.mode {
            Mode::Insert => None,
            Mode::Upsert | Mode::Merge => self.filter(&doc),
        };
        let batch = match filter {
            // A document without the fields it would be found by can only be new.
            None => {
                self.inserts.bytes.extend_from_slice(doc.as_bytes());
                &mut self.inserts
            }
            Some(filter) => {
                let mut w = DocWriter::new(&mut self.updates.bytes);
                w.append("q", filter.as_doc());
                if self.mode == Mode::Merge {
                    w.document("u").append("$set", doc.as_doc());
                } else {
                    w.append("u", doc.as_doc());
                }
                w.append("upsert", true);
                w.finish();
                &mut self.updates
            }
        };
        batch.places.push(at);
        if batch.is_full() { self.flush(bad) } else { Ok(()) }
    }

    /// Sends what is waiting.
    pub fn flush(&mut self, bad: &mut Vec<Bad>) -> Result<(), Failure> {
        let inserts = std::mem::take(&mut self.inserts);
        self.send("insert", "documents", inserts, bad)?;
        let updates = std::mem::take(&mut self.updates);
        self.send("update", "updates", updates, bad)
    }

    fn filter(&self, doc: &DocBuf) -> Option<DocBuf> {
        let mut all = true;
        let filter = DocBuf::build(|w| {
            for name in &self.key {
                match at_path(doc, name) {
                    Value::Missing => all = false,
                    value => {
                        w.append(name, value);
                    }
                }
            }
        });
        all.then_some(filter)
    }

    fn send(&mut self, command: &str, field: &str, batch: Batch, bad: &mut Vec<Bad>) -> Result<(), Failure> {
        if batch.places.is_empty() {
            return Ok(());
        }
        let body = DocBuf::build(|w| {
            w.append(command, self.collection.as_str()).append("ordered", self.ordered).append("$db", self.db.as_str());
        });
        let reply = self.target.run(&body, Some((field, &batch.bytes)))?;
        let mut failed = vec![false; batch.places.len()];
        if let Value::Array(errors) = reply.get("writeErrors") {
            for error in errors.iter().filter_map(|e| e.as_doc()) {
                let Value::Int32(index) = error.get("index") else { continue };
                let index = usize::try_from(index).unwrap_or_default();
                if let (Some(flag), Some(at)) = (failed.get_mut(index), batch.places.get(index)) {
                    *flag = true;
                    bad.push(Bad { at: *at, reason: error.get("errmsg").as_str().unwrap_or_default().to_string() });
                }
            }
        }
        // An ordered batch ends at its first failure.
        let attempted = match failed.iter().position(|f| *f) {
            Some(first) if self.ordered => first,
            _ => failed.len(),
        };
        self.stored += failed.iter().take(attempted).filter(|f| !**f).count() as u64;
        self.note_ids(&batch.bytes, failed.get(..attempted).unwrap_or(&failed));
        Ok(())
    }

    fn note_ids(&mut self, docs: &[u8], failed: &[bool]) {
        let Some(ids) = &mut self.ids else { return };
        let mut rest = docs;
        for failed in failed {
            let Ok(len) = smongo_bson::check::prefix(rest) else { return };
            let (doc, after) = rest.split_at(len);
            if !failed {
                ids.push(ValueBuf::new(smongo_bson::Doc::from_checked(doc).get("_id")));
            }
            rest = after;
        }
    }

    /// Deletes what was stored since [`remember`](Self::remember).
    pub fn take_back(&mut self) -> Result<(), Failure> {
        let ids = self.ids.take().unwrap_or_default();
        for chunk in ids.chunks(BATCH_DOCUMENTS) {
            let body = DocBuf::build(|w| {
                w.append("delete", self.collection.as_str()).append("$db", self.db.as_str());
                let mut deletes = w.array("deletes");
                let mut delete = deletes.document();
                let mut wanted = delete.document("q");
                let mut operator = wanted.document("_id");
                let mut list = operator.array("$in");
                for id in chunk {
                    list.push(id.view());
                }
                list.finish();
                operator.finish();
                wanted.finish();
                delete.append("limit", 0);
            });
            self.target.run(&body, None)?;
        }
        self.stored = 0;
        Ok(())
    }
}

/// The value at a dotted path through documents.
fn at_path<'a>(doc: &'a DocBuf, path: &str) -> Value<'a> {
    let mut value = Value::Document(doc.as_doc());
    for name in path.split('.') {
        value = match value {
            Value::Document(d) => d.get(name),
            _ => return Value::Missing,
        };
    }
    value
}
