//! Cursors: filling batches from streams, and streams parked between batches.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smongo_bson::{ArrayWriter, DocBuf, DocWriter, Result, Timestamp, Value, bail, err};
use smongo_mql::Stream;

use crate::change::Watch;
use crate::clock::now_millis;
use crate::limits;
use crate::namespace::Ns;
use crate::op::OpCx;
use crate::sessions::Lsid;
use crate::watchers::Interest;

/// A cursor between two batches.
pub struct Parked {
    /// Zero until it is parked for the first time.
    pub id: i64,
    pub ns: Ns,
    pub stream: Box<dyn Stream>,
    /// The stream stands on a document that did not fit into the last batch.
    pub held: bool,
    /// Documents still to come, when the command named a limit.
    pub left: Option<u64>,
    pub lsid: Option<Lsid>,
    /// The transaction the cursor lives in.
    pub txn_number: Option<i64>,
    pub no_timeout: bool,
    pub tailable: bool,
    pub await_data: bool,
    /// The stream is a change stream.
    pub watch: Option<Watch>,
    /// The time of a snapshot read; later batches read at the same.
    pub read_time: Option<Timestamp>,
    pub created: Instant,
    pub last_use: Instant,
    /// Batches and documents it has given so far.
    batches: u64,
    documents: u64,
    /// What is left of the maxTimeMS of the command that opened the cursor; waiting between batches does not count.
    pub time_left: Option<Duration>,
    /// Why the cursor cannot go on, when its collection is gone.
    pub killed: Option<&'static str>,
}

#[derive(Default)]
pub struct Cursors {
    all: Mutex<HashMap<i64, Option<Parked>>>,
}

/// How a batch ends.
#[derive(Clone, Copy)]
pub struct Batch {
    /// `None`: as many as fit.
    pub documents: Option<usize>,
}

impl Parked {
    pub fn new(ns: Ns, stream: Box<dyn Stream>) -> Parked {
        Parked {
            id: 0,
            ns,
            stream,
            held: false,
            left: None,
            lsid: None,
            txn_number: None,
            no_timeout: false,
            tailable: false,
            await_data: false,
            watch: None,
            read_time: None,
            created: Instant::now(),
            last_use: Instant::now(),
            batches: 0,
            documents: 0,
            time_left: None,
            killed: None,
        }
    }

    /// Hands on what is left of the operation's time limit to the batches to come. Tailable cursors have limits of their own.
    pub fn limit_time(&mut self, op: &OpCx, tailable: bool) {
        self.time_left = op.deadline.filter(|_| !tailable).map(|until| until.saturating_duration_since(Instant::now()));
    }

    /// Appends `name: [documents]` to the cursor document; returns whether the stream is exhausted.
    pub fn fill(&mut self, op: &mut OpCx, batch: Batch, w: &mut DocWriter<'_>, name: &str) -> Result<bool> {
        let mut out = w.array(name);
        let done = self.fill_array(op, batch, &mut out)?;
        self.batches += 1;
        self.documents += out.count() as u64;
        Ok(done)
    }

    fn fill_array(&mut self, op: &mut OpCx, batch: Batch, out: &mut ArrayWriter<'_>) -> Result<bool> {
        loop {
            if self.left == Some(0) {
                return Ok(!self.tailable);
            }
            if batch.documents.is_some_and(|n| out.count() >= n) {
                return Ok(false);
            }
            if !self.held && !self.stream.advance(op)? {
                return Ok(self.watch.as_mut().map_or(!self.tailable, Watch::caught_up));
            }
            let doc = self.stream.doc();
            let size = doc.as_bytes().len();
            self.held = !out.is_empty() && out.len() + size > limits::DOCUMENT_BYTES;
            if self.held {
                return Ok(false);
            }
            if size > limits::INTERNAL_DOCUMENT_BYTES {
                bail!(BSONObjectTooLarge, "BSONObj size: {size} is invalid. Size must be between 0 and {}", limits::INTERNAL_DOCUMENT_BYTES);
            }
            out.push(doc);
            if let Some(watch) = &mut self.watch {
                watch.delivered(doc);
                // A watcher must never have seen what a crash undoes.
                op.durable = true;
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
            }
        }
    }
}

impl Parked {
    /// The idle cursor as `$currentOp` shows it.
    fn describe(&self) -> DocBuf {
        let ago = |then: Instant| Value::DateTime(now_millis() - then.elapsed().as_millis() as i64);
        DocBuf::build(|w| {
            w.append("type", "idleCursor").append("ns", self.ns.as_str());
            if let Some(lsid) = &self.lsid {
                w.append("lsid", lsid.to_doc().as_doc());
            }
            let mut cursor = w.document("cursor");
            cursor.append("cursorId", self.id).append("createdDate", ago(self.created)).append("lastAccessDate", ago(self.last_use));
            cursor.append("nDocsReturned", self.documents as i64).append("nBatchesReturned", self.batches as i64);
            cursor.append("noCursorTimeout", self.no_timeout).append("tailable", self.tailable).append("awaitData", self.await_data);
        })
    }

    /// The changes that may give a cursor that awaits data something.
    pub fn interest(&self) -> Interest {
        match &self.watch {
            Some(watch) => watch.interest.clone(),
            None if self.ns.as_str() == "local.oplog.rs" => Interest::Everything,
            None => Interest::Collection(self.ns.clone()),
        }
    }

    /// What a change stream's reply says behind the batch.
    pub fn append_token(&self, w: &mut DocWriter<'_>) {
        if let Some(watch) = &self.watch {
            w.append("postBatchResumeToken", watch.token.as_doc());
        }
    }
}

impl Cursors {
    /// Writes `cursor: {firstBatch, id, ns}`, and parks the stream unless it is exhausted or only one batch is wanted.
    pub fn first_batch(&self, op: &mut OpCx, mut cursor: Parked, batch: Batch, single: bool, reply: &mut DocWriter<'_>) -> Result<()> {
        let mut w = reply.document("cursor");
        let done = cursor.fill(op, batch, &mut w, "firstBatch")? || single;
        cursor.append_token(&mut w);
        cursor.read_time = op.snapshot_time();
        if let Some(at) = cursor.read_time {
            w.append("atClusterTime", at);
        }
        let ns = cursor.ns.clone();
        let id = if done { 0 } else { self.park(op, cursor)? };
        w.append("id", id).append("ns", ns.as_str());
        Ok(())
    }

    /// Parks a cursor under a new id.
    fn park(&self, op: &mut OpCx, mut cursor: Parked) -> Result<i64> {
        cursor.stream.park(op);
        let mut all = self.all.lock();
        if all.len() >= limits::OPEN_CURSORS {
            bail!(ExceededMemoryLimit, "too many open cursors");
        }
        loop {
            // Ids cannot be guessed from earlier ones.
            let id = (RandomState::new().build_hasher().finish() >> 1) as i64;
            if id != 0 && !all.contains_key(&id) {
                cursor.id = id;
                all.insert(id, Some(cursor));
                return Ok(id);
            }
        }
    }

    /// Takes a cursor out for a `getMore`.
    pub fn take(&self, id: i64) -> Result<Parked> {
        let mut all = self.all.lock();
        match all.get_mut(&id) {
            None => Err(err!(CursorNotFound, "cursor id {id} not found")),
            Some(place) => place.take().ok_or_else(|| err!(CursorInUse, "cursor id {id} is already in use")),
        }
    }

    /// Puts a cursor back after a `getMore`, unless it was killed meanwhile.
    pub fn put_back(&self, op: &mut OpCx, id: i64, mut cursor: Parked) {
        cursor.stream.park(op);
        cursor.last_use = Instant::now();
        if let Some(place) = self.all.lock().get_mut(&id) {
            *place = Some(cursor);
        }
    }

    /// Forgets a cursor; `None` when there is none of this id, else the namespace it belonged to if it was not in use.
    pub fn kill(&self, id: i64) -> bool {
        self.all.lock().remove(&id).is_some()
    }

    pub fn exists(&self, id: i64) -> bool {
        self.all.lock().contains_key(&id)
    }

    /// Kills the cursors that `doomed` picks, for instance those of an ended session or a dropped collection.
    pub fn kill_where(&self, doomed: impl Fn(&Parked) -> bool) {
        self.all.lock().retain(|_, place| !place.as_ref().is_some_and(&doomed));
    }

    /// Marks the cursors whose collection is gone: their next batch fails and tells why. Change streams report the end themselves.
    pub fn invalidate(&self, why: &'static str, gone: impl Fn(&Ns) -> bool) {
        for cursor in self.all.lock().values_mut().flatten().filter(|c| c.watch.is_none() && gone(&c.ns)) {
            cursor.killed = Some(why);
        }
    }

    pub fn expire(&self, idle: Duration) {
        self.kill_where(|c| !c.no_timeout && c.lsid.is_none() && c.last_use.elapsed() > idle);
    }

    /// The cursors no command uses just now, as `$currentOp` shows them.
    pub fn list_idle(&self) -> Vec<DocBuf> {
        self.all.lock().values().flatten().map(Parked::describe).collect()
    }

    /// Open cursors in all, and those that never time out.
    pub fn counts(&self) -> (usize, usize) {
        let all = self.all.lock();
        (all.len(), all.values().flatten().filter(|c| c.no_timeout).count())
    }

    pub fn clear(&self) {
        self.all.lock().clear();
    }
}
