//! Sessions: transactions, cursors, reads and writes.

use crate::error::{Error, ErrorKind, Result};
use crate::space::Space;
use crate::store::{Inner, Shared};
use crate::table::Table;
use crate::witness;
use crate::wt::{RawSession, Slot};
use std::cmp::Ordering;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

/// How to begin a transaction. Every transaction reads one snapshot, taken when it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begin {
    /// Writes answer `Invalid`.
    pub read_only: bool,
}

/// What has happened when a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Visible to others; its log record is with the operating system, so that it survives the end of the process, and on disk
    /// with the next sync of the log.
    #[default]
    Lazy,
    /// On disk.
    Durable,
}

/// Names a cursor of a session: a place in its slab and how often the place was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CursorId(u32);

const NONE: Slot = Slot::MAX;
/// A session that comes home with more cursors than this gives them up.
const MOST_CACHED: usize = 512;

/// A pooled session, used by one thread at a time. Dropping it rolls back its transaction and
/// returns it to the pool. Its methods are those of [`Work`].
pub struct Session {
    store: Arc<Inner>,
    /// `None` only while being dropped.
    work: Option<Box<Work>>,
}

impl Session {
    pub(crate) fn new(store: Arc<Inner>, work: Box<Work>) -> Self {
        Self { store, work: Some(work) }
    }
}

impl Deref for Session {
    type Target = Work;

    #[inline]
    fn deref(&self) -> &Work {
        match &self.work {
            Some(work) => work,
            None => unreachable!("a session has its work until it is dropped"),
        }
    }
}

impl DerefMut for Session {
    #[inline]
    fn deref_mut(&mut self) -> &mut Work {
        match &mut self.work {
            Some(work) => work,
            None => unreachable!("a session has its work until it is dropped"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(mut work) = self.work.take()
            && work.rest().is_ok()
        {
            self.store.take_back(work);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Read,
    Write,
}

/// The cursors a session keeps for one table.
struct Cached {
    generation: u32,
    /// For `get`, `insert`; overwrites.
    main: Slot,
    /// For the calls that tell a missing from an existing key; does not overwrite.
    strict: Slot,
    /// Released by the caller.
    spare: Vec<Slot>,
}

/// Which cursor of the caller a slot is.
#[derive(Clone, Copy)]
struct Owner {
    generation: u16,
    open: bool,
    table: u32,
    table_generation: u32,
}

/// What a [`Session`] does.
///
/// Outside of a transaction each write commits alone, and reads see one snapshot for as long as a
/// cursor of the session has a position, so reset or release cursors when done. A transaction's end
/// resets every cursor: their ids stay good, their positions are gone.
pub struct Work {
    raw: RawSession,
    shared: Arc<Shared>,
    cached: Vec<Cached>,
    owners: Vec<Owner>,
    cursors: usize,
    transaction: Transaction,
    wrote: bool,
    /// The cursor whose value `get` lent outside of a transaction: its position holds a snapshot.
    lent: Slot,
    /// The newest wish of `shared.dropping` that was granted.
    drops_seen: u64,
    /// Writes are accepted on a full disk.
    urgent: bool,
    /// The newest wish when the library was last asked to let go of tables that are gone, and how often it is still to be asked.
    swept: u64,
    sweeps: u8,
}

impl Work {
    pub(crate) fn new(raw: RawSession, shared: Arc<Shared>) -> Self {
        let drops_seen = shared.drops.load(Atomic::Acquire);
        Self {
            raw,
            shared,
            cached: Vec::new(),
            owners: Vec::new(),
            cursors: 0,
            transaction: Transaction::None,
            wrote: false,
            lent: NONE,
            drops_seen,
            urgent: false,
            swept: drops_seen,
            sweeps: 0,
        }
    }

    pub(crate) fn raw(&mut self) -> &mut RawSession {
        &mut self.raw
    }

    // Transactions

    pub fn begin(&mut self, begin: Begin) -> Result<()> {
        if self.transaction != Transaction::None {
            return Err(invalid("a transaction has begun already"));
        }
        self.settle()?;
        self.raw.begin(None)?;
        self.transaction = if begin.read_only { Transaction::Read } else { Transaction::Write };
        self.wrote = false;
        Ok(())
    }

    /// Ends the transaction; after an error nothing of it has happened.
    ///
    /// One exception: when the log cannot be written or, for `Durable`, synced, the commit may be visible and its
    /// fate in a crash is unknown.
    pub fn commit(&mut self, durability: Durability) -> Result<()> {
        if self.transaction == Transaction::None {
            return Err(invalid("no transaction has begun"));
        }
        self.transaction = Transaction::None;
        // Not `sync=on`: sharing the flush ourselves gave 12,000 durable commits a second with 8
        // threads where the library's own way gave 3,000.
        let result = self.raw.commit(None);
        self.settle()?;
        result?;
        if !self.wrote {
            return Ok(());
        }
        if let Some(space) = &self.shared.space
            && space.committed(self.raw.changed())
            && let Ok(rows) = self.raw.statistics(c"statistics:", None)
        {
            space.look(|| crate::Stats::from_rows(&rows).cache_dirty);
        }
        // The library tells a write that failed to who made it; others whose records were in it hear nothing.
        self.raw.alive()?;
        if durability == Durability::Durable || self.shared.sync_on_commit {
            return self.sync_log();
        }
        self.shared.mark_unsynced();
        Ok(())
    }

    pub fn rollback(&mut self) -> Result<()> {
        if self.transaction == Transaction::None {
            return Ok(());
        }
        self.transaction = Transaction::None;
        self.raw.rollback()?;
        self.settle()
    }

    /// Bytes that the transaction's changes take in the cache, about, where they stay until it ends.
    pub fn changed_bytes(&self) -> u64 {
        self.raw.changed()
    }

    pub fn in_transaction(&self) -> bool {
        self.transaction != Transaction::None
    }

    /// Returns when everything committed before the call is on disk.
    pub fn sync_log(&mut self) -> Result<()> {
        let Some(config) = self.shared.flush_config else { return Ok(()) };
        let raw = &mut self.raw;
        self.shared.group.wait(|| raw.log_flush(config))
    }

    /// At a transaction boundary: no lent value is left, and cursors of tables being dropped go.
    #[inline]
    fn settle(&mut self) -> Result<()> {
        if self.lent != NONE {
            self.unlend()?;
        }
        if self.shared.drops.load(Atomic::Acquire) != self.drops_seen {
            self.close_dropped();
        }
        Ok(())
    }

    fn unlend(&mut self) -> Result<()> {
        let slot = std::mem::replace(&mut self.lent, NONE);
        if slot == NONE { Ok(()) } else { self.raw.reset_cursor(slot) }
    }

    /// Closes kept cursors of tables that somebody has begun to want to drop since the last call.
    ///
    /// Not while a transaction has written: a table that holds changes which are not committed must stay busy, since the library
    /// looks for open cursors alone before it throws the table's memory away.
    #[cold]
    pub(crate) fn close_dropped(&mut self) {
        if self.holds_changes() {
            return;
        }
        let wishes: Vec<_> = {
            let dropping = self.shared.dropping.lock();
            let new = dropping.range(self.drops_seen + 1..).map(|(_, table)| *table).collect();
            // Wishes are numbered under this lock.
            self.drops_seen = self.shared.drops.load(Atomic::Acquire);
            new
        };
        for (id, generation) in wishes {
            if self.close_cached(id, generation) {
                self.shared.released.store(true, Atomic::Release);
            }
        }
    }

    /// For a session that rests: asks the library to let go of tables that are gone. Twice after the last drop, because it does not
    /// look again shortly after it has looked.
    pub(crate) fn sweep(&mut self) {
        let drops = self.shared.drops.load(Atomic::Acquire);
        if self.swept != drops {
            (self.swept, self.sweeps) = (drops, 2);
        }
        if self.sweeps > 0 {
            self.sweeps -= 1;
            if let Err(error) = self.raw.sweep() {
                tracing::debug!("sweeping a session: {error}");
            }
        }
    }

    /// Closes the kept cursors of a table; whether there were any.
    pub(crate) fn close_cached(&mut self, id: u32, generation: u32) -> bool {
        let Some(cached) = self.cached.get_mut(id as usize).filter(|cached| cached.generation == generation) else { return false };
        let slots = std::mem::take(&mut cached.spare);
        let kept = [std::mem::replace(&mut cached.main, NONE), std::mem::replace(&mut cached.strict, NONE)];
        let before = self.cursors;
        self.close_slots(slots.into_iter().chain(kept));
        self.cursors < before
    }

    fn close_slots(&mut self, slots: impl Iterator<Item = Slot>) {
        for slot in slots.filter(|&slot| slot != NONE) {
            if self.lent == slot {
                self.lent = NONE;
            }
            // A cursor that fails to close leaves its table busy, which the drop reports.
            let _ = self.raw.close(slot);
            self.cursors -= 1;
        }
    }

    /// Gives up every cursor and lets the transaction go on: its snapshot stays for whoever reads it next.
    pub fn release_all(&mut self) -> Result<()> {
        for slot in 0..self.owners.len() {
            if self.owners[slot].open {
                self.give_back(slot)?;
            }
        }
        self.settle()
    }

    /// Makes the session ready for the pool.
    fn rest(&mut self) -> Result<()> {
        let seen = self.drops_seen;
        self.rollback()?;
        self.release_all()?;
        if self.drops_seen != seen {
            // What was given back since may be of a table that is wanted.
            self.drops_seen = seen;
            self.close_dropped();
        }
        if self.cursors > MOST_CACHED {
            self.close_cached_but(None);
        }
        self.urgent = false;
        Ok(())
    }

    /// Closes all cursors, the kept ones, too, so that who needs a table for itself is not kept away. A transaction goes on.
    pub fn close_kept(&mut self) -> Result<()> {
        self.release_all()?;
        self.close_cached_but(None);
        Ok(())
    }

    /// A transaction has written and not ended. Its cursors stay open, see [`Self::close_dropped`].
    fn holds_changes(&self) -> bool {
        self.transaction == Transaction::Write && self.wrote
    }

    /// Gives up the kept cursors of all tables but one, unless a transaction holds changes by them.
    pub(crate) fn close_cached_but(&mut self, table: Option<u32>) {
        if self.holds_changes() {
            return;
        }
        for id in (0..self.cached.len()).filter(|&id| table.is_none_or(|table| table as usize != id)) {
            self.close_cached(id as u32, self.cached[id].generation);
        }
    }

    /// What follows gives room, or is little and needed: until the session rests it writes on a full disk, too.
    pub fn write_though_full(&mut self) {
        self.urgent = true;
        self.shared.space.as_ref().inspect(|space| space.use_reserve());
    }

    // Cursors

    /// The kept cursors of a table, after closing those of a dropped table that had its number.
    fn cached(&mut self, table: &Table) -> Result<&mut Cached> {
        let at = table.id as usize;
        if self.cached.len() <= at {
            let empty = || Cached { generation: 0, main: NONE, strict: NONE, spare: Vec::new() };
            self.cached.resize_with(at + 1, empty);
        }
        let generation = self.cached[at].generation;
        if generation > table.generation {
            return Err(Error::new(ErrorKind::NotFound, format!("the table {} was dropped", table.name())));
        }
        if generation < table.generation {
            self.close_cached(table.id, generation);
        }
        let cached = &mut self.cached[at];
        cached.generation = table.generation;
        Ok(cached)
    }

    fn open_slot(&mut self, table: &Table, config: Option<&std::ffi::CStr>) -> Result<Slot> {
        if self.shared.admit_file().is_err() {
            self.close_cached_but(Some(table.id));
            self.shared.await_file()?;
        }
        let slot = self.raw.open(table.uri(), config)?;
        self.cursors += 1;
        Ok(slot)
    }

    #[inline]
    fn main(&mut self, table: &Table) -> Result<Slot> {
        match self.cached.get(table.id as usize) {
            Some(cached) if cached.generation == table.generation && cached.main != NONE => Ok(cached.main),
            _ => self.open_main(table),
        }
    }

    #[cold]
    fn open_main(&mut self, table: &Table) -> Result<Slot> {
        self.cached(table)?;
        let slot = self.open_slot(table, None)?;
        self.cached(table)?.main = slot;
        Ok(slot)
    }

    #[inline]
    fn strict(&mut self, table: &Table) -> Result<Slot> {
        match self.cached.get(table.id as usize) {
            Some(cached) if cached.generation == table.generation && cached.strict != NONE => Ok(cached.strict),
            _ => self.open_strict(table),
        }
    }

    #[cold]
    fn open_strict(&mut self, table: &Table) -> Result<Slot> {
        self.cached(table)?;
        let slot = self.open_slot(table, Some(c"overwrite=false"))?;
        self.cached(table)?.strict = slot;
        Ok(slot)
    }

    /// A cursor without a position.
    pub fn open(&mut self, table: &Table) -> Result<CursorId> {
        witness::note(table, false);
        let slot = match self.cached(table)?.spare.pop() {
            Some(slot) => slot,
            None => self.open_slot(table, None)?,
        };
        let at = slot as usize;
        if at > usize::from(u16::MAX) {
            self.close_slots([slot].into_iter());
            return Err(invalid("too many cursors in one session"));
        }
        if self.owners.len() <= at {
            let nobody = Owner { generation: 0, open: false, table: 0, table_generation: 0 };
            self.owners.resize(at + 1, nobody);
        }
        let owner = &mut self.owners[at];
        owner.open = true;
        owner.generation = owner.generation.wrapping_add(1);
        owner.table = table.id;
        owner.table_generation = table.generation;
        Ok(CursorId(slot | u32::from(owner.generation) << 16))
    }

    /// Ends the use of a cursor and keeps it for the next [`open`](Self::open) of its table. A stale id is ignored.
    pub fn release(&mut self, id: CursorId) {
        if let Ok(slot) = self.slot(id) {
            // A cursor that cannot be reset is closed by `give_back`.
            let _ = self.give_back(slot as usize);
        }
    }

    fn give_back(&mut self, at: usize) -> Result<()> {
        let owner = self.owners[at];
        self.owners[at].open = false;
        let slot = at as Slot;
        let reset = self.raw.reset_cursor(slot);
        if reset.is_ok()
            && let Some(cached) = self.cached.get_mut(owner.table as usize)
            && cached.generation == owner.table_generation
        {
            cached.spare.push(slot);
        } else {
            self.close_slots([slot].into_iter());
        }
        reset
    }

    #[inline]
    fn slot(&self, id: CursorId) -> Result<Slot> {
        let slot = id.0 & 0xffff;
        match self.owners.get(slot as usize) {
            Some(owner) if owner.open && owner.generation == (id.0 >> 16) as u16 => Ok(slot),
            _ => Err(invalid("a stale cursor")),
        }
    }

    /// Moves to exactly this key; false, and no position, when it does not exist.
    #[inline]
    pub fn seek(&mut self, id: CursorId, key: &[u8]) -> Result<bool> {
        let slot = self.slot(id)?;
        self.raw.search(slot, key)
    }

    /// Moves to the first key that is not less; false, and no position, when there is none.
    #[inline]
    pub fn seek_ge(&mut self, id: CursorId, key: &[u8]) -> Result<bool> {
        let slot = self.slot(id)?;
        match self.raw.search_near(slot, key)? {
            Some(Ordering::Less) => self.raw.next(slot),
            found => Ok(found.is_some()),
        }
    }

    /// Moves to the last key that is not greater; false, and no position, when there is none.
    #[inline]
    pub fn seek_le(&mut self, id: CursorId, key: &[u8]) -> Result<bool> {
        let slot = self.slot(id)?;
        match self.raw.search_near(slot, key)? {
            Some(Ordering::Greater) => self.raw.prev(slot),
            found => Ok(found.is_some()),
        }
    }

    /// Moves to the next key, or without a position to the first; false, and no position, at the end.
    #[inline]
    pub fn next(&mut self, id: CursorId) -> Result<bool> {
        let slot = self.slot(id)?;
        self.raw.next(slot)
    }

    /// Moves to the previous key, or without a position to the last; false, and no position, at the end.
    #[inline]
    pub fn prev(&mut self, id: CursorId) -> Result<bool> {
        let slot = self.slot(id)?;
        self.raw.prev(slot)
    }

    /// Gives up the position.
    #[inline]
    pub fn reset(&mut self, id: CursorId) -> Result<()> {
        let slot = self.slot(id)?;
        self.raw.reset_cursor(slot)
    }

    /// The key under the cursor; empty without a position.
    #[inline]
    pub fn key(&self, id: CursorId) -> &[u8] {
        self.slot(id).map_or(&[], |slot| self.raw.key(slot))
    }

    /// The value under the cursor; empty without a position.
    #[inline]
    pub fn value(&self, id: CursorId) -> &[u8] {
        self.slot(id).map_or(&[], |slot| self.raw.value(slot))
    }

    // Reads and writes by key

    /// The value of a key.
    #[inline]
    pub fn get(&mut self, table: &Table, key: &[u8]) -> Result<Option<&[u8]>> {
        witness::note(table, false);
        let slot = self.main(table)?;
        if self.transaction == Transaction::None {
            self.unlend()?;
            self.lent = slot;
        }
        Ok(if self.raw.search(slot, key)? { Some(self.raw.value(slot)) } else { None })
    }

    #[inline]
    fn writable(&mut self, table: &Table) -> Result<()> {
        witness::note(table, true);
        if let (false, Some(space)) = (self.urgent, &self.shared.space) {
            space.check()?;
        }
        match self.transaction {
            Transaction::Write => self.wrote = true,
            Transaction::Read => return Err(invalid("a write in a read-only transaction")),
            Transaction::None => {
                self.unlend()?;
                self.shared.mark_unsynced();
            }
        }
        Ok(())
    }

    /// Puts a pair, over the old value if the key exists.
    #[inline]
    pub fn insert(&mut self, table: &Table, key: &[u8], value: &[u8]) -> Result<()> {
        self.writable(table)?;
        let slot = self.main(table)?;
        self.raw.insert(slot, key, value).map(|_| ())
    }

    /// Puts a pair under a new key; false when the key exists.
    #[inline]
    pub fn insert_new(&mut self, table: &Table, key: &[u8], value: &[u8]) -> Result<bool> {
        self.writable(table)?;
        let slot = self.strict(table)?;
        self.raw.insert(slot, key, value)
    }

    /// Replaces the value of a key; false when the key does not exist.
    #[inline]
    pub fn update(&mut self, table: &Table, key: &[u8], value: &[u8]) -> Result<bool> {
        self.writable(table)?;
        let slot = self.strict(table)?;
        self.raw.update(slot, key, value)
    }

    /// Removes a key; false when it does not exist.
    #[inline]
    pub fn remove(&mut self, table: &Table, key: &[u8]) -> Result<bool> {
        self.writable(table)?;
        let slot = self.strict(table)?;
        self.raw.remove(slot, key)
    }

    /// Changes parts of a value, which writes less to the log than the whole of it. Each change is
    /// an offset, the number of bytes that go, and the bytes that come. False when the key does not
    /// exist. In a transaction only.
    pub fn modify(&mut self, table: &Table, key: &[u8], changes: &[(usize, usize, &[u8])]) -> Result<bool> {
        if self.transaction == Transaction::None {
            return Err(invalid("a partial update outside of a transaction"));
        }
        self.writable(table)?;
        let slot = self.main(table)?;
        self.raw.modify(slot, key, changes)
    }

    /// The largest key, committed or not; `None` when the table is empty.
    pub fn largest_key(&mut self, table: &Table) -> Result<Option<Vec<u8>>> {
        witness::note(table, false);
        let slot = self.main(table)?;
        self.raw.largest_key(slot)
    }

    /// Removes the keys between two bounds, both inclusive; `None` is the end of the table.
    pub fn truncate(&mut self, table: &Table, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<()> {
        self.writable(table)?;
        let (main, strict) = (self.main(table)?, self.strict(table)?);
        let (from, to) = (from.map(|key| (main, key)), to.map(|key| (strict, key)));
        match self.raw.truncate(from, to, table.uri()) {
            // Nothing lies between the bounds.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Starts the fast filling of an empty table that nobody else uses, outside of a transaction.
    /// What is put is on disk when [`Bulk::finish`] returns, and lost in a crash before.
    pub fn bulk(&mut self, table: &Table) -> Result<Bulk<'_>> {
        witness::note(table, true);
        if self.transaction != Transaction::None {
            return Err(invalid("a bulk load in a transaction"));
        }
        // In memory the library takes a bulk cursor for any other.
        if self.largest_key(table)?.is_some() {
            return Err(invalid("a bulk load into a table that is not empty"));
        }
        self.settle()?;
        self.close_cached(table.id, table.generation);
        let slot = self.open_slot(table, Some(c"bulk"))?;
        Ok(Bulk { work: self, slot })
    }
}

/// Fills an empty table with sorted pairs, without log and transactions.
pub struct Bulk<'s> {
    work: &'s mut Work,
    slot: Slot,
}

impl Bulk<'_> {
    /// Puts a pair; the key must be greater than the one before (`Invalid`, but for stores in memory,
    /// where any order is taken).
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.work.shared.space.as_ref().map_or(Ok(()), Space::check)?;
        self.work.raw.insert(self.slot, key, value).map(|_| ())
    }

    pub fn finish(mut self) -> Result<()> {
        self.close()
    }

    fn close(&mut self) -> Result<()> {
        let slot = std::mem::replace(&mut self.slot, NONE);
        if slot == NONE {
            return Ok(());
        }
        self.work.cursors -= 1;
        self.work.raw.close(slot)
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

#[cold]
fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
