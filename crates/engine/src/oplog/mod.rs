//! The oplog: every change, in the transaction of the change.

mod trim;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Timestamp, Value};
use smongo_storage::{Session, Store, Table};
use uuid::Uuid;

use crate::clock::now_millis;
use crate::namespace::Ns;
use crate::shared::Shared;
pub use trim::trim;

/// What an entry takes besides the document, about.
const ENTRY_BYTES: usize = 192;

/// Entries of a transaction that has not committed: everything but their timestamps.
#[derive(Default)]
pub struct Pending {
    /// BSON documents, one behind the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// `lsid`, `txnNumber`, `stmtId` … of a retryable write, put in front of each entry.
    pub origin: Option<DocBuf>,
}

/// What kind of change an entry tells of.
pub enum Change<'a> {
    Insert { doc: Doc<'a> },
    /// `delta` is the `$v: 2` description or the replacement; `id` is the document's `_id`.
    Update { id: Value<'a>, delta: Doc<'a> },
    Delete { id: Value<'a> },
    Command { command: Doc<'a> },
    Noop { message: Doc<'a> },
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds the entry of a change. Order of fields as in MongoDB's oplog.
    pub fn add(&mut self, ns: &Ns, uuid: Option<&Uuid>, change: Change<'_>) {
        if let Change::Insert { doc } = &change {
            self.bytes.reserve(doc.as_bytes().len() + ENTRY_BYTES);
        }
        let mut w = DocWriter::new(&mut self.bytes);
        if let Some(origin) = &self.origin {
            w.append_all(origin.as_doc());
        }
        let op = match change {
            Change::Insert { .. } => "i",
            Change::Update { .. } => "u",
            Change::Delete { .. } => "d",
            Change::Command { .. } => "c",
            Change::Noop { .. } => "n",
        };
        w.append("op", op);
        match change {
            Change::Command { .. } => w.append("ns", &*format!("{}.$cmd", ns.db())),
            Change::Noop { .. } => w.append("ns", ""),
            _ => w.append("ns", ns.as_str()),
        };
        if let Some(uuid) = uuid {
            let mut raw = [4; 17];
            raw[1..].copy_from_slice(uuid.as_bytes());
            w.append("ui", Value::Binary(smongo_bson::Binary::from_raw(&raw)));
        }
        match change {
            Change::Insert { doc } => {
                w.append("o", doc);
                w.document("o2").append("_id", doc.get("_id"));
            }
            Change::Update { id, delta } => {
                w.append("o", delta);
                w.document("o2").append("_id", id);
            }
            Change::Delete { id } => {
                w.document("o").append("_id", id);
            }
            Change::Command { command } => {
                w.append("o", command);
            }
            Change::Noop { message } => {
                w.append("o", message);
            }
        }
        w.finish();
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = Doc<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| Doc::from_checked(&self.bytes[start..*end]))
    }

    /// Gives each entry its timestamp and writes it. A multi-document transaction becomes one `applyOps` entry.
    pub fn write(&self, shared: &Shared, session: &mut Session, multi: bool, taken: &mut Vec<Timestamp>) -> Result<()> {
        let mut entry = Vec::with_capacity(self.bytes.len() / self.ends.len().max(1) + 128);
        if multi {
            let bundle = DocBuf::build(|w| {
                w.append("op", "c").append("ns", "admin.$cmd");
                let mut command = w.document("o");
                let mut ops = command.array("applyOps");
                for op in self.iter() {
                    ops.push(op);
                }
            });
            return write_entry(shared, session, bundle.as_doc(), &mut entry, taken);
        }
        self.iter().try_for_each(|op| write_entry(shared, session, op, &mut entry, taken))
    }
}

fn write_entry(shared: &Shared, session: &mut Session, op: Doc<'_>, entry: &mut Vec<u8>, taken: &mut Vec<Timestamp>) -> Result<()> {
    let ts = shared.clock.take();
    taken.push(ts);
    entry.clear();
    let mut w = DocWriter::new(entry);
    w.append_all(op);
    w.append("ts", ts).append("t", 1i64).append("v", 2i64).append("wall", Value::DateTime(now_millis()));
    w.finish();
    session.insert(&shared.oplog, &ts.to_u64().to_be_bytes(), entry)?;
    shared.oplog_bytes.fetch_add(entry.len() as u64, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// The timestamp of the newest entry.
pub fn newest(store: &Store, oplog: &Table) -> Result<Timestamp> {
    let mut session = store.session()?;
    let key = session.largest_key(oplog)?;
    let ts = key.as_deref().and_then(|k| k.first_chunk::<8>()).map(|k| u64::from_be_bytes(*k));
    Ok(Timestamp::from_u64(ts.unwrap_or(0)))
}
