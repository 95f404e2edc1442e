//! Cursors: filling batches from streams, and streams parked between batches.

use std::collections::{HashMap, HashSet};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smongo_bson::{ArrayWriter, DocBuf, DocWriter, Result, Timestamp, Value, ValueBuf, bail};
use smongo_mql::Stream;

use crate::data::api::Api;
use crate::data::clock::now_millis;
use crate::data::limits;
use crate::data::lsid::{Lsid, Uid};
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::tally::add;
use crate::data::watchers::Interest;
use crate::query::change::Watch;
use crate::service::command::Clearance;
use crate::service::shared::Shared;

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
    /// Whose it is, and what the next batch needs.
    pub clearance: Clearance,
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
    /// What the command that opened the cursor said beside: getMore must use the same API, and takes over the comment.
    pub api: Api,
    pub comment: Option<ValueBuf>,
    /// What is left of the maxTimeMS of the command that opened the cursor; waiting between batches does not count.
    pub time_left: Option<Duration>,
    /// Why the cursor cannot go on, when its collection is gone.
    pub killed: Option<&'static str>,
    /// Its stream was asked to give up what memory it can since it was last used.
    rested: bool,
}

#[derive(Default)]
pub struct Cursors {
    all: Mutex<All>,
    /// A stream has rested.
    rested: Condvar,
    /// Cursors that were parked since the start, and those that timed out.
    pub opened: AtomicU64,
    pub timed_out: AtomicU64,
}

#[derive(Default)]
struct All {
    /// `None` while a command uses the cursor.
    places: HashMap<i64, Option<Parked>>,
    /// Those that no command uses although their place is empty.
    resting: HashSet<i64>,
    /// Whose those are that a command uses, and what they are over.
    taken: HashMap<i64, (Ns, Option<Uid>)>,
}

/// How a batch ends.
#[derive(Clone, Copy)]
pub struct Batch {
    /// `None`: as many as fit.
    pub documents: Option<usize>,
}

impl Parked {
    pub fn new(ns: Ns, stream: Box<dyn Stream>, clearance: Clearance) -> Parked {
        Parked {
            id: 0,
            ns,
            stream,
            held: false,
            left: None,
            clearance,
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
            api: Api::default(),
            comment: None,
            time_left: None,
            killed: None,
            rested: false,
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
        add(&op.data.tally.returned, out.count() as u64);
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
        cursor.api.clone_from(&op.api);
        cursor.comment.clone_from(&op.comment);
        if let Some(at) = cursor.read_time {
            w.append("atClusterTime", at);
        }
        let ns = cursor.ns.clone();
        let id = if done {
            cursor.stream.park(op);
            0
        } else {
            self.park(op, cursor)?
        };
        w.append("id", id).append("ns", ns.as_str());
        Ok(())
    }

    /// Parks a cursor under a new id.
    fn park(&self, op: &mut OpCx, mut cursor: Parked) -> Result<i64> {
        cursor.stream.park(op);
        let forgotten = self.all.lock().make_room();
        if forgotten.as_ref().is_some_and(Vec::is_empty) {
            bail!(ExceededMemoryLimit, "too many open cursors");
        }
        drop(forgotten);
        let mut all = self.all.lock();
        let all = &mut all.places;
        loop {
            // Ids cannot be guessed from earlier ones.
            let id = (RandomState::new().build_hasher().finish() >> 1) as i64;
            if id != 0 && !all.contains_key(&id) {
                cursor.id = id;
                add(&self.opened, 1);
                all.insert(id, Some(cursor));
                return Ok(id);
            }
        }
    }

    /// Takes a cursor out for a `getMore`.
    pub fn take(&self, id: i64) -> Result<Parked> {
        let mut all = self.all.lock();
        loop {
            let Some(place) = all.places.get_mut(&id) else { bail!(CursorNotFound, "cursor id {id} not found") };
            if let Some(cursor) = place.take() {
                all.taken.insert(id, (cursor.ns.clone(), cursor.clearance.owner()));
                return Ok(cursor);
            }
            if !all.resting.contains(&id) {
                bail!(CursorInUse, "cursor id {id} is already in use");
            }
            self.rested.wait(&mut all);
        }
    }

    /// Puts a cursor back after a `getMore`, unless it was killed meanwhile.
    pub fn put_back(&self, op: &mut OpCx, id: i64, mut cursor: Parked) {
        cursor.stream.park(op);
        cursor.last_use = Instant::now();
        cursor.rested = false;
        let mut all = self.all.lock();
        all.taken.remove(&id);
        if let Some(place) = all.places.get_mut(&id) {
            *place = Some(cursor);
        }
    }

    /// Of those that there are, what they are over and whose they are.
    pub fn owned(&self, ids: &[i64]) -> Vec<(Ns, Option<Uid>)> {
        let all = self.all.lock();
        let one = |id: &i64| match all.places.get(id)? {
            Some(cursor) => Some((cursor.ns.clone(), cursor.clearance.owner())),
            None => all.taken.get(id).cloned(),
        };
        ids.iter().filter_map(one).collect()
    }

    /// Has streams that nobody has read for a while give up what memory they can.
    pub fn rest(&self, shared: &Arc<Shared>) {
        let idle = |c: &Parked| !c.rested && c.last_use.elapsed() > limits::CURSOR_RESTS;
        let ids: Vec<i64> = self.all.lock().places.values().flatten().filter(|c| idle(c)).map(|c| c.id).collect();
        for id in ids {
            let taken = {
                let mut all = self.all.lock();
                let taken = all.places.get_mut(&id).and_then(|place| place.take_if(|c| idle(c)));
                if taken.is_some() {
                    all.resting.insert(id);
                }
                taken
            };
            let Some(mut cursor) = taken else { continue };
            let rested = catch_unwind(AssertUnwindSafe(|| {
                let mut op = shared.op();
                op.resting = true;
                cursor.stream.park(&mut op);
                cursor.rested = true;
                cursor
            }));
            let mut all = self.all.lock();
            all.resting.remove(&id);
            // One that panicked is gone.
            match (rested, all.places.get_mut(&id)) {
                (Ok(cursor), Some(place)) => *place = Some(cursor),
                (Err(_), _) => drop(all.places.remove(&id)),
                _ => {}
            }
            drop(all);
            self.rested.notify_all();
        }
    }

    /// Forgets a cursor; `None` when there is none of this id, else the namespace it belonged to if it was not in use.
    pub fn kill(&self, id: i64) -> bool {
        let mut all = self.all.lock();
        all.taken.remove(&id);
        all.places.remove(&id).is_some()
    }

    pub fn exists(&self, id: i64) -> bool {
        self.all.lock().places.contains_key(&id)
    }

    /// Kills the cursors that `doomed` picks, for instance those of an ended session or a dropped collection.
    pub fn kill_where(&self, doomed: impl Fn(&Parked) -> bool) -> usize {
        // Dropped behind the lock: they may have files and much memory.
        let gone: Vec<(i64, Option<Parked>)> = {
            let mut all = self.all.lock();
            all.places.extract_if(|_, place| place.as_ref().is_some_and(&doomed)).collect()
        };
        gone.len()
    }

    /// Marks the cursors whose collection is gone: their next batch fails and tells why. Change streams report the end themselves.
    pub fn invalidate(&self, why: &'static str, gone: impl Fn(&Ns) -> bool) {
        for cursor in self.all.lock().places.values_mut().flatten().filter(|c| c.watch.is_none() && gone(&c.ns)) {
            cursor.killed = Some(why);
        }
    }

    /// Ends cursors that were not used for that long. Those of sessions live as long as these, whatever their `noCursorTimeout`.
    pub fn expire(&self, idle: Duration) {
        let gone = self.kill_where(|c| !c.no_timeout && c.lsid.is_none() && c.last_use.elapsed() > idle);
        add(&self.timed_out, gone as u64);
    }

    /// The cursors no command uses just now, as `$currentOp` shows them.
    pub fn list_idle(&self, only: Option<Uid>) -> Vec<DocBuf> {
        self.all.lock().places.values().flatten().filter(|c| only.is_none() || c.clearance.owner() == only).map(Parked::describe).collect()
    }

    /// Open cursors in all, and those that never time out.
    pub fn counts(&self) -> (usize, usize) {
        let all = self.all.lock();
        (all.places.len(), all.places.values().flatten().filter(|c| c.no_timeout).count())
    }

    /// Cursors that a command uses just now.
    pub fn in_use(&self) -> usize {
        let all = self.all.lock();
        all.places.iter().filter(|(id, place)| place.is_none() && !all.resting.contains(id)).count()
    }

    pub fn clear(&self) {
        self.all.lock().places.clear();
    }
}

impl All {
    /// Where there are too many, takes out those that nobody has read for the longest time, a hundredth of what there may be at
    /// most. Somebody who opens cursors and forgets them must not keep all others from opening one.
    fn make_room(&mut self) -> Option<Vec<Parked>> {
        (self.places.len() >= limits::OPEN_CURSORS).then(|| self.take_forgotten())
    }

    fn take_forgotten(&mut self) -> Vec<Parked> {
        let forgotten = |c: &&Parked| c.last_use.elapsed() > limits::CURSOR_FORGOTTEN;
        let mut idle: Vec<(Instant, i64)> = self.places.values().flatten().filter(forgotten).map(|c| (c.last_use, c.id)).collect();
        idle.sort_unstable();
        idle.truncate(limits::OPEN_CURSORS / 100);
        idle.iter().filter_map(|(_, id)| self.places.remove(id).flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use smongo_mql::stream::Docs;

    use super::*;
    use crate::data::options::Options;

    /// Parks a cursor of a session that was last used some seconds ago.
    fn park(shared: &Arc<Shared>, lsid: Option<Lsid>, ago: u64) -> i64 {
        let mut cursor = Parked::new(Ns::unchecked("a", "b"), Box::new(Docs::new(Vec::new())), Clearance::default());
        cursor.lsid = lsid;
        cursor.last_use = Instant::now() - Duration::from_secs(ago);
        shared.cursors.park(&mut shared.op(), cursor).unwrap_or_default()
    }

    fn lsid(n: u8) -> Lsid {
        Lsid { id: [n; 16], uid: None }
    }

    #[test]
    fn cursors_end_with_their_session() {
        let shared = &Shared::open(Options::default(), &[], None).unwrap_or_else(|e| unreachable!("{e}"));
        shared.sessions.refresh(&[lsid(1), lsid(2)]).unwrap_or_default();
        let (mine, other, own) = (park(shared, Some(lsid(1)), 900), park(shared, Some(lsid(2)), 0), park(shared, None, 900));
        // A session of its own keeps a cursor from the time limit of cursors.
        shared.cursors.expire(Duration::from_secs(600));
        assert!(shared.cursors.exists(mine) && !shared.cursors.exists(own));
        shared.sessions.end(&[lsid(1)]);
        shared.end_orphans();
        assert!(!shared.cursors.exists(mine) && shared.cursors.exists(other));
        // A session expires, but not while one of its commands runs.
        shared.sessions.expire(Duration::from_secs(60), Duration::from_secs(60));
        shared.end_orphans();
        assert!(shared.cursors.exists(other));
        std::thread::sleep(Duration::from_millis(5));
        shared.sessions.expire(Duration::ZERO, Duration::from_secs(60));
        shared.end_orphans();
        assert!(!shared.cursors.exists(other));
    }

    #[test]
    fn forgotten_cursors_make_room_for_new_ones() {
        let mut all = All::default();
        for n in 1..=3000 {
            let mut cursor = Parked::new(Ns::unchecked("a", "b"), Box::new(Docs::new(Vec::new())), Clearance::default());
            cursor.id = n;
            // The first 2,000 were not used for minutes, the first for the longest time.
            cursor.last_use = Instant::now() - if n <= 2000 { Duration::from_secs(9000 - n as u64) } else { Duration::ZERO };
            all.places.insert(n, Some(cursor));
        }
        assert_eq!(all.take_forgotten().len(), 1000);
        assert!((1..=1000).all(|n| !all.places.contains_key(&n)) && (1001..=3000).all(|n| all.places.contains_key(&n)));
        assert_eq!(all.take_forgotten().len(), 1000);
        assert_eq!(all.take_forgotten().len(), 0, "those in use stay");
    }
}
