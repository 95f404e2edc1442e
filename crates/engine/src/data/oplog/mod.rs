//! The oplog: every change, in the transaction of the change.

pub mod images;
mod size;
mod trim;

use std::cell::Cell;
use std::mem::take;

use smongo_bson::{Binary, Doc, DocBuf, DocWriter, Result, Timestamp, Value, bail};
use smongo_storage::{Session, Store, Table};
use uuid::Uuid;

use crate::data::clock::Taken;
use crate::data::database::Data;
use crate::data::limits;
use crate::data::namespace::Ns;
pub use size::{Size, count, resize};
pub use trim::{keep_newest, trim, trimmed};

/// What an entry takes besides the document, about.
const ENTRY_BYTES: usize = 192;

/// Entries of a transaction that has not committed: everything but their timestamps.
pub struct Pending {
    /// BSON documents, one behind the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The timestamps that [`Pending::write`] gave.
    taken: Vec<Timestamp>,
    /// Documents as they were before, with the number of the entry that tells of their change.
    images: Vec<(usize, DocBuf)>,
    /// `lsid` and `txnNumber` of a retryable write or a multi-document transaction.
    pub origin: Option<DocBuf>,
    /// The statement of a retryable write that is being executed.
    pub statement: Option<i32>,
    /// There is more than changes of documents.
    commands: bool,
    /// There may be changes of users or roles.
    users: bool,
    /// Data definition that the oplog tells nothing of.
    unlogged: Vec<DocBuf>,
    /// Bytes of the entries that [`Pending::write`] wrote.
    written: u64,
}

/// What kind of change an entry tells of.
pub enum Change<'a> {
    Insert { doc: Doc<'a> },
    /// `delta` is the `$v: 2` description or the replacement; `id` is the document's `_id`.
    Update { id: Value<'a>, delta: Doc<'a> },
    Delete { id: Value<'a> },
    /// `before` is what the command changed or removed, where MongoDB tells.
    Command { command: Doc<'a>, before: Option<Doc<'a>> },
    Noop { message: Doc<'a> },
}

impl Change<'_> {
    fn op(&self) -> &'static str {
        match self {
            Change::Insert { .. } => "i",
            Change::Update { .. } => "u",
            Change::Delete { .. } => "d",
            Change::Command { .. } => "c",
            Change::Noop { .. } => "n",
        }
    }
}

/// Bytes of entries up to which their memory is kept for the next transaction.
const SPARE_BYTES: usize = 64 << 10;

thread_local! {
    /// The memory of the last transaction that ended on this thread: most write a single entry, and asking for it anew took as
    /// long as the writing.
    static SPARE: Cell<(Vec<u8>, Vec<usize>, Vec<Timestamp>)> = const { Cell::new((Vec::new(), Vec::new(), Vec::new())) };
}

impl Default for Pending {
    fn default() -> Pending {
        let (bytes, ends, taken) = SPARE.try_with(Cell::take).unwrap_or_default();
        Pending { bytes, ends, taken, images: Vec::new(), origin: None, statement: None, commands: false, users: false, unlogged: Vec::new(), written: 0 }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.clear();
        if (1..=SPARE_BYTES).contains(&self.bytes.capacity()) {
            let spare = (take(&mut self.bytes), take(&mut self.ends), take(&mut self.taken));
            // At the end of a thread there is nobody left to keep it for.
            let _ = SPARE.try_with(|kept| kept.set(spare));
        }
    }
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.taken.clear();
        self.images.clear();
        self.commands = false;
        self.users = false;
        self.unlogged.clear();
        self.written = 0;
    }

    /// Whether there is data definition, which concerns every watcher.
    pub fn has_commands(&self) -> bool {
        self.commands
    }

    /// Whether somebody may be another user, or may do something else, than before.
    pub fn concerns_users(&self) -> bool {
        self.users
    }

    /// Whether there is something to tell of before it is committed: data definition, or changes of users or roles.
    pub fn defines(&self) -> bool {
        self.commands || self.users || !self.unlogged.is_empty()
    }

    /// The entries that tell of it.
    pub fn definitions(&self) -> Vec<DocBuf> {
        let tells = |entry: &Doc<'_>| match entry.get("op").as_str() {
            Some("c") => true,
            Some("n") => false,
            _ => self.users && entry.get("ns").as_str().is_some_and(|ns| matches!(ns, "admin.system.users" | "admin.system.roles")),
        };
        self.unlogged.iter().cloned().chain(self.iter().filter(tells).map(DocBuf::from)).collect()
    }

    /// Keeps the document as it was before the change that is added next.
    pub fn pre_image(&mut self, old: Doc<'_>) {
        self.images.push((self.ends.len(), DocBuf::from(old)));
    }

    /// Adds the entry of a change, unless it is one that concerns nobody but this server. Order of fields as in MongoDB's oplog.
    pub fn add(&mut self, ns: &Ns, uuid: Option<&Uuid>, change: Change<'_>) {
        if ns.db() == LOCAL {
            if let Change::Command { command, .. } = change {
                self.unlogged.push(DocBuf::build(|w| {
                    w.append("op", "c").append("ns", &*format!("{LOCAL}.$cmd")).append("o", command);
                }));
            }
            return;
        }
        if let Change::Insert { doc } = &change {
            self.bytes.reserve(doc.as_bytes().len() + ENTRY_BYTES);
        }
        let mut w = DocWriter::new(&mut self.bytes);
        w.append("op", change.op());
        self.commands |= matches!(change, Change::Command { .. } | Change::Noop { .. });
        self.users |= concerns_users(ns, &change);
        match change {
            Change::Command { .. } => w.append("ns", &*format!("{}.$cmd", ns.db())),
            Change::Noop { .. } => w.append("ns", ""),
            _ => w.append("ns", ns.as_str()),
        };
        if let Some(uuid) = uuid {
            w.append("ui", Value::Binary(Binary::from_raw(&uuid_bytes(uuid))));
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
            Change::Command { command, before } => {
                w.append("o", command);
                if let Some(before) = before {
                    w.append("o2", before);
                }
            }
            Change::Noop { message } => {
                w.append("o", message);
            }
        }
        if let Some(statement) = self.statement {
            w.append("stmtId", statement);
        }
        w.finish();
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = Doc<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| Doc::from_checked(&self.bytes[start..*end]))
    }

    /// The timestamps of the entries that were written, which somebody must say are done.
    pub fn timestamps(&self) -> &[Timestamp] {
        &self.taken
    }

    /// The entries that were written, and their bytes, which count once they are committed.
    pub fn written(&self) -> (i64, i64) {
        (self.taken.len() as i64, self.written as i64)
    }

    /// Gives each entry its timestamp and writes it, and the pre-images.
    pub fn write(&mut self, data: &Data, session: &mut Session, multi: bool) -> Result<()> {
        if !multi && self.ends.len() == 1 && self.origin.is_none() && self.images.is_empty() {
            return self.write_one(data, session);
        }
        let mut taken = take(&mut self.taken);
        let written = self.write_all(data, session, multi, &mut taken);
        self.taken = taken;
        self.written = written?;
        Ok(())
    }

    fn write_all(&self, data: &Data, session: &mut Session, multi: bool, taken: &mut Vec<Timestamp>) -> Result<u64> {
        let mut log = Log { data, session, written: 0, origin: self.origin.as_ref(), entry: Vec::with_capacity(self.bytes.len() / self.ends.len().max(1) + 128) };
        if multi {
            self.write_transaction(&mut log, taken)?;
            return Ok(log.written);
        }
        let mut images = self.images.iter().peekable();
        for (n, op) in self.iter().enumerate() {
            let at = log.take(taken);
            log.write(at, |w| {
                w.append_all(op);
            })?;
            while let Some((_, image)) = images.next_if(|(of, _)| *of == n) {
                images::write(data, log.session, at.ts.to_u64(), 0, image.as_doc())?;
            }
        }
        Ok(log.written)
    }

    /// One entry with nothing to go in front, the usual thing: it gets its end where it stands, and is not copied again.
    fn write_one(&mut self, data: &Data, session: &mut Session) -> Result<()> {
        let at = data.clock.take(true);
        self.taken.push(at.ts);
        append_end(&mut DocWriter::reopen(&mut self.bytes, 0), at);
        insert_entry(data, session, at.ts, &self.bytes)?;
        self.written = self.bytes.len() as u64;
        Ok(())
    }

    /// A multi-document transaction is one `applyOps` entry, or several that are linked by `prevOpTime`, each within the size of a
    /// document; all but the last say `partialTxn`. The last one's timestamp is the transaction's.
    fn write_transaction(&self, log: &mut Log<'_>, taken: &mut Vec<Timestamp>) -> Result<()> {
        let ops: Vec<Doc<'_>> = self.iter().collect();
        let (mut from, mut previous) = (0, Timestamp::default());
        while from < ops.len() {
            let mut bytes = 0;
            let fits = |op: &&Doc<'_>| {
                bytes += op.as_bytes().len() + ARRAY_ELEMENT_BYTES;
                bytes <= limits::DOCUMENT_BYTES
            };
            let to = from + ops[from..].iter().take_while(fits).count().max(1);
            let at = log.take(taken);
            log.write(at, |w| {
                w.append("op", "c").append("ns", "admin.$cmd");
                {
                    let mut command = w.document("o");
                    {
                        let mut list = command.array("applyOps");
                        ops[from..to].iter().for_each(|op| {
                            list.push(*op);
                        });
                    }
                    if to < ops.len() {
                        command.append("partialTxn", true);
                    } else if from > 0 {
                        command.append("count", ops.len() as i64);
                    }
                }
                w.document("prevOpTime").append("ts", previous).append("t", if from == 0 { -1i64 } else { TERM });
            })?;
            (from, previous) = (to, at.ts);
        }
        for (n, image) in &self.images {
            images::write(log.data, log.session, previous.to_u64(), *n as u32, image.as_doc())?;
        }
        Ok(())
    }
}

/// Whether a change may be one of users or roles, whoever makes it. A renaming may come from another database.
fn concerns_users(ns: &Ns, change: &Change<'_>) -> bool {
    match change {
        Change::Command { command, .. } => ns.db() == "admin" || command.contains("renameCollection"),
        Change::Noop { .. } => false,
        _ => ns.db() == "admin" && matches!(ns.coll(), "system.users" | "system.roles"),
    }
}

/// The database that the oplog tells nothing of.
const LOCAL: &str = "local";
/// The only term there is: one member, elected once.
const TERM: i64 = 1;
/// What an element of an array takes beside its document: the tag and the position.
const ARRAY_ELEMENT_BYTES: usize = 12;

/// Writes entries in the session's transaction.
struct Log<'a> {
    data: &'a Data,
    session: &'a mut Session,
    origin: Option<&'a DocBuf>,
    entry: Vec<u8>,
    written: u64,
}

impl Log<'_> {
    fn take(&self, taken: &mut Vec<Timestamp>) -> Taken {
        let at = self.data.clock.take(taken.is_empty());
        taken.push(at.ts);
        at
    }

    fn write(&mut self, at: Taken, fields: impl FnOnce(&mut DocWriter<'_>)) -> Result<()> {
        self.entry.clear();
        let mut w = DocWriter::new(&mut self.entry);
        if let Some(origin) = self.origin {
            w.append_all(origin.as_doc());
        }
        fields(&mut w);
        append_end(&mut w, at);
        w.finish();
        insert_entry(self.data, self.session, at.ts, &self.entry)?;
        self.written += self.entry.len() as u64;
        Ok(())
    }
}

/// The fields every entry ends with: `ts` and `wall` are to be filled in, `t` is the [`TERM`], `v` the version of the oplog.
const END: [u8; 48] = *b"\x11ts\0........\x12t\0\x01\0\0\0\0\0\0\0\x12v\0\x02\0\0\0\0\0\0\0\x09wall\0........";

fn append_end(w: &mut DocWriter<'_>, at: Taken) {
    let mut end = END;
    end[4..12].copy_from_slice(&at.ts.to_u64().to_le_bytes());
    end[40..].copy_from_slice(&at.millis.to_le_bytes());
    w.append_raw(&end);
}

fn insert_entry(data: &Data, session: &mut Session, ts: Timestamp, entry: &[u8]) -> Result<()> {
    Ok(session.insert(&data.oplog, &ts.to_u64().to_be_bytes(), entry)?)
}

/// The whole of a transaction whose last entry this is: one `applyOps` with all its operations. Earlier entries may have been
/// trimmed away: then it is ChangeStreamHistoryLost.
pub fn whole_transaction(data: &Data, session: &mut Session, last: Doc<'_>) -> Result<DocBuf> {
    let mut parts = vec![DocBuf::from(last)];
    while let Some(Timestamp { time, increment }) = parts.last().and_then(|p| previous(p.as_doc())) {
        let key = Timestamp { time, increment }.to_u64().to_be_bytes();
        match session.get(&data.oplog, &key)? {
            Some(bytes) => parts.push(DocBuf::from_checked(bytes.to_vec())),
            None => bail!(ChangeStreamHistoryLost, "Resume of change stream was not possible, as the resume point may no longer be in the oplog."),
        }
    }
    Ok(DocBuf::build(|w| {
        for field in last {
            if field.name() != "o" {
                w.append_element(&field);
            }
        }
        let mut command = w.document("o");
        let mut list = command.array("applyOps");
        for part in parts.iter().rev() {
            let ops = part.get("o").as_doc().and_then(|o| o.get("applyOps").as_array());
            ops.into_iter().flat_map(|a| a.iter()).for_each(|op| {
                list.push(op);
            });
        }
    }))
}

/// Whether an entry is an earlier part of a transaction.
pub fn is_part(entry: Doc<'_>) -> bool {
    entry.get("o").as_doc().is_some_and(|o| o.get("partialTxn").truthy())
}

/// Whether an entry is the last part of a transaction that has others.
pub fn is_last_of_many(entry: Doc<'_>) -> bool {
    previous(entry).is_some() && !is_part(entry)
}

/// The entry before this one of the same transaction.
fn previous(entry: Doc<'_>) -> Option<Timestamp> {
    match entry.get("prevOpTime").as_doc()?.get("ts") {
        Value::Timestamp(ts) if ts != Timestamp::default() => Some(ts),
        _ => None,
    }
}

pub fn uuid_bytes(uuid: &Uuid) -> [u8; 17] {
    let mut raw = [4; 17];
    raw[1..].copy_from_slice(uuid.as_bytes());
    raw
}

/// The timestamp of the newest entry.
pub fn newest(store: &Store, oplog: &Table) -> Result<Timestamp> {
    let mut session = store.session()?;
    let key = session.largest_key(oplog)?;
    let ts = key.as_deref().and_then(|k| k.first_chunk::<8>()).map(|k| u64::from_be_bytes(*k));
    Ok(Timestamp::from_u64(ts.unwrap_or(0)))
}
