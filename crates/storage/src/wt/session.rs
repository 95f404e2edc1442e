//! Sessions and their cursors.

use super::connection::Connection;
use super::{EMPTY, as_ptr, bytes, check, failure, invalid, item, text};
use crate::error::{Error, ErrorKind, Result};
use std::cmp::Ordering;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use wiredtiger_sys as sys;

/// A cursor's place in the slab of its session.
pub(crate) type Slot = u32;

/// A cursor and the bytes it stands on, as fetched right after its last move.
struct Cursor {
    raw: *mut sys::WT_CURSOR,
    /// The bytes may be read while this is the session's epoch.
    epoch: u64,
    key: (*const u8, usize),
    value: (*const u8, usize),
}

/// One thread of work on the database with its cursors.
pub(crate) struct RawSession {
    raw: NonNull<sys::WT_SESSION>,
    connection: Arc<Connection>,
    slots: Vec<Cursor>,
    free: Vec<Slot>,
    /// Raised at every transaction boundary, where the bytes of all cursors go away; never 0.
    epoch: u64,
    /// A transaction is under way.
    running: bool,
    /// What the transaction has changed so far, in bytes of the cache, about.
    changed: u64,
}

/// The part of the cache from which on a transaction is too large.
const TOO_LARGE: u64 = 4;
/// Bytes of the cache that a change takes beside its key and value.
const CHANGE: usize = 100;
/// The library's reasons to end a transaction that are not another's change.
const PRESSURE: [&str; 2] = ["oldest pinned transaction ID rolled back for eviction", "transaction rolled back because of cache overflow"];

// SAFETY: WiredTiger lets a session and its cursors move between threads as long as one uses them
// at a time, and `&mut` sees to that. Not `Sync`, for the raw pointers.
unsafe impl Send for RawSession {}

impl Drop for RawSession {
    fn drop(&mut self) {
        if self.running && self.connection.panicked() {
            self.connection.events.stuck.store(true, Atomic::Release);
        }
        // SAFETY: the session is open; closing it rolls back its transaction and closes its cursors,
        // which nobody can reach any more.
        let _ = check(unsafe { (self.raw.as_ref().close)(self.raw.as_ptr(), ptr::null()) });
    }
}

/// Calls that name a method of the session's table.
macro_rules! session_call {
    ($self:ident . $method:ident ( $($arg:expr),* )) => {{
        let raw = $self.raw.as_ptr();
        // SAFETY: the session is open and, by `&mut self`, used by this thread alone; the arguments
        // are null or NUL-terminated strings that live during the call.
        let code = unsafe { ((*raw).$method)(raw $(, $arg)*) };
        $self.checked(code)
    }};
}

impl RawSession {
    pub(super) fn new(raw: NonNull<sys::WT_SESSION>, connection: Arc<Connection>) -> RawSession {
        RawSession { raw, connection, slots: Vec::new(), free: Vec::new(), epoch: 1, running: false, changed: 0 }
    }

    #[inline]
    fn checked(&self, code: c_int) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.failed(code)) }
    }

    #[cold]
    fn failed(&self, code: c_int) -> Error {
        if code == sys::WT_PANIC {
            return self.connection.events.error(code);
        }
        if code == sys::WT_ROLLBACK {
            // SAFETY: the session is open; the answer is null or a string of the session.
            let reason = text(unsafe { (self.raw.as_ref().get_rollback_reason)(self.raw.as_ptr()) });
            let error = failure(code);
            // Changes that have not been committed cannot leave the cache. A part of this size will not fit the next time either;
            // a smaller one was in the way of others.
            if PRESSURE.contains(&&*reason) && self.running && self.changed >= self.connection.cache_bytes / TOO_LARGE {
                let message = "Transaction is too large and will not fit in the storage engine cache";
                return Error::with_code(ErrorKind::TransactionTooLarge, code, message);
            }
            return if reason.is_empty() { error } else { Error::with_code(error.kind(), code, reason) };
        }
        failure(code)
    }

    pub fn begin(&mut self, config: Option<&CStr>) -> Result<()> {
        self.epoch += 1;
        session_call!(self.begin_transaction(as_ptr(config)))?;
        self.running = true;
        self.changed = 0;
        Ok(())
    }

    /// Ends the transaction, also when it fails; every cursor is reset.
    pub fn commit(&mut self, config: Option<&CStr>) -> Result<()> {
        self.epoch += 1;
        let failed_before = self.connection.panicked();
        let done = session_call!(self.commit_transaction(as_ptr(config)));
        self.ended(failed_before);
        done
    }

    /// Ends the transaction; every cursor is reset.
    pub fn rollback(&mut self) -> Result<()> {
        self.epoch += 1;
        let failed_before = self.connection.panicked();
        let done = session_call!(self.rollback_transaction(ptr::null()));
        self.ended(failed_before);
        done
    }

    /// Fails when the library has failed for good.
    #[inline]
    pub fn alive(&self) -> Result<()> {
        if self.connection.panicked() { Err(self.connection.events.error(sys::WT_PANIC)) } else { Ok(()) }
    }

    /// After the failure for good the library ends no transaction any more.
    fn ended(&mut self, failed_before: bool) {
        self.running &= failed_before;
    }

    /// What the transaction has changed so far, in bytes of the cache, about.
    pub fn changed(&self) -> u64 {
        self.changed
    }

    pub fn create(&mut self, uri: &CStr, config: &CStr) -> Result<()> {
        session_call!(self.create(uri.as_ptr(), config.as_ptr()))
    }

    pub fn drop_object(&mut self, uri: &CStr, config: Option<&CStr>) -> Result<()> {
        session_call!(self.drop(uri.as_ptr(), as_ptr(config)))
    }

    pub fn verify(&mut self, uri: &CStr) -> Result<()> {
        session_call!(self.verify(uri.as_ptr(), ptr::null()))
    }

    /// Makes a table of what can be read of its file.
    pub fn salvage(&mut self, uri: &CStr) -> Result<()> {
        session_call!(self.salvage(uri.as_ptr(), c"force=true".as_ptr()))
    }

    /// Compacts an object, or without one sets what the background does.
    pub fn compact(&mut self, uri: Option<&CStr>, config: &CStr) -> Result<()> {
        session_call!(self.compact(as_ptr(uri), config.as_ptr()))
    }

    pub fn checkpoint(&mut self, config: Option<&CStr>) -> Result<()> {
        session_call!(self.checkpoint(as_ptr(config)))
    }

    /// Outside of a transaction: lets go of what the library keeps with the session of tables that are gone, if it has not looked
    /// for them lately. It does so by itself only in a session that opens something.
    pub fn sweep(&mut self) -> Result<()> {
        // The library keeps cursors that were closed, to open them faster; each holds its table's memory. Without them it has none.
        session_call!(self.reconfigure(c"cache_cursors=false".as_ptr()))?;
        session_call!(self.reconfigure(c"cache_cursors=true".as_ptr()))?;
        session_call!(self.reset())
    }

    pub fn log_flush(&mut self, config: &CStr) -> Result<()> {
        session_call!(self.log_flush(config.as_ptr()))
    }

    /// Removes the keys between two bounds, inclusive; `None` is the end of the table.
    pub fn truncate(&mut self, from: Option<(Slot, &[u8])>, to: Option<(Slot, &[u8])>, uri: &CStr) -> Result<()> {
        let mut bounds = [ptr::null_mut(); 2];
        for (bound, at) in bounds.iter_mut().zip([from, to]) {
            if let Some((slot, key)) = at {
                *bound = self.at(slot)?;
                self.set_key(*bound, key);
            }
        }
        let uri = if bounds.iter().all(|bound| bound.is_null()) { uri.as_ptr() } else { ptr::null() };
        let done = session_call!(self.truncate(uri, bounds[0], bounds[1], ptr::null()));
        for (slot, _) in [from, to].into_iter().flatten() {
            self.reset_cursor(slot)?;
        }
        done
    }

    /// Opens a cursor. Both formats of what it opens must be `u`, or `raw` must be in `config`.
    pub fn open(&mut self, uri: &CStr, config: Option<&CStr>) -> Result<Slot> {
        let mut raw = ptr::null_mut();
        session_call!(self.open_cursor(uri.as_ptr(), ptr::null_mut(), as_ptr(config), &mut raw))?;
        let cursor = Cursor { raw, epoch: 0, key: EMPTY, value: EMPTY };
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = cursor;
            return Ok(slot);
        }
        let slot = Slot::try_from(self.slots.len()).map_err(|_| invalid("too many cursors"))?;
        self.slots.push(cursor);
        Ok(slot)
    }

    pub fn close(&mut self, slot: Slot) -> Result<()> {
        let raw = self.at(slot)?;
        self.slots[slot as usize] = Cursor { raw: ptr::null_mut(), epoch: 0, key: EMPTY, value: EMPTY };
        self.free.push(slot);
        // SAFETY: open until now, and its slot says no longer so.
        let code = unsafe { ((*raw).close)(raw) };
        self.checked(code)
    }

    #[inline]
    fn at(&mut self, slot: Slot) -> Result<*mut sys::WT_CURSOR> {
        match self.slots.get_mut(slot as usize) {
            Some(cursor) if !cursor.raw.is_null() => {
                cursor.epoch = 0;
                Ok(cursor.raw)
            }
            _ => Err(invalid("the cursor is closed")),
        }
    }

    #[inline]
    fn set_key(&mut self, raw: *mut sys::WT_CURSOR, key: &[u8]) {
        let mut item = item(key);
        // SAFETY: an open cursor with key format `u`, whose one argument is an item. The library
        // keeps the pointer until the call that follows in the same function, or the reset after it.
        unsafe { ((*raw).set_key)(raw, &raw mut item) }
    }

    #[inline]
    fn set_value(&mut self, raw: *mut sys::WT_CURSOR, value: &[u8]) {
        let mut item = item(value);
        // SAFETY: as for `set_key`.
        unsafe { ((*raw).set_value)(raw, &raw mut item) }
    }

    /// Remembers the bytes under the cursor after a move, or resets it when the move failed.
    #[inline]
    fn arrived(&mut self, slot: Slot, raw: *mut sys::WT_CURSOR, code: c_int) -> Result<bool> {
        if code != 0 {
            return self.missed(raw, code);
        }
        let (mut key, mut value) = (item(&[]), item(&[]));
        // SAFETY: the cursor is open and positioned.
        let code = unsafe { ((*raw).get_raw_key_value)(raw, &mut key, &mut value) };
        self.checked(code)?;
        let cursor = &mut self.slots[slot as usize];
        cursor.key = bytes(&key);
        cursor.value = bytes(&value);
        cursor.epoch = self.epoch;
        Ok(true)
    }

    #[cold]
    fn missed(&mut self, raw: *mut sys::WT_CURSOR, code: c_int) -> Result<bool> {
        let answer = if code == sys::WT_NOTFOUND { Ok(false) } else { Err(self.failed(code)) };
        // SAFETY: the cursor is open. Whatever resetting answers, the first failure counts.
        unsafe { ((*raw).reset)(raw) };
        answer
    }

    /// Finds exactly this key.
    #[inline]
    pub fn search(&mut self, slot: Slot, key: &[u8]) -> Result<bool> {
        let raw = self.at(slot)?;
        self.set_key(raw, key);
        // SAFETY: the cursor is open and `key` lives until the end of this call.
        let code = unsafe { ((*raw).search)(raw) };
        self.arrived(slot, raw, code)
    }

    /// Moves to this key or a neighbour; how the found key compares with it. `None` in an empty table.
    #[inline]
    pub fn search_near(&mut self, slot: Slot, key: &[u8]) -> Result<Option<Ordering>> {
        let raw = self.at(slot)?;
        self.set_key(raw, key);
        let mut exact = 0;
        // SAFETY: as for `search`.
        let code = unsafe { ((*raw).search_near)(raw, &mut exact) };
        Ok(self.arrived(slot, raw, code)?.then(|| exact.cmp(&0)))
    }

    /// Moves on by one; from no position, to the first key.
    #[inline]
    pub fn next(&mut self, slot: Slot) -> Result<bool> {
        let raw = self.at(slot)?;
        // SAFETY: the cursor is open.
        let code = unsafe { ((*raw).next)(raw) };
        self.arrived(slot, raw, code)
    }

    /// Moves back by one; from no position, to the last key.
    #[inline]
    pub fn prev(&mut self, slot: Slot) -> Result<bool> {
        let raw = self.at(slot)?;
        // SAFETY: the cursor is open.
        let code = unsafe { ((*raw).prev)(raw) };
        self.arrived(slot, raw, code)
    }

    /// The largest key, whether or not this transaction can see it. The cursor has no value then.
    pub fn largest_key(&mut self, slot: Slot) -> Result<Option<Vec<u8>>> {
        let raw = self.at(slot)?;
        // SAFETY: the cursor is open.
        let code = unsafe { ((*raw).largest_key)(raw) };
        if code != 0 {
            return self.missed(raw, code).map(|_| None);
        }
        let mut key = item(&[]);
        // SAFETY: the call just made has set the key; its one argument is an item.
        let code = unsafe { ((*raw).get_key)(raw, &raw mut key) };
        let (at, len) = bytes(&key);
        // SAFETY: the bytes stay until the reset below; an item of length 0 is a dangling pointer.
        let found = (code == 0).then(|| unsafe { std::slice::from_raw_parts(at, len) }.to_vec());
        self.checked(code)?;
        self.reset_cursor(slot)?;
        Ok(found)
    }

    /// Gives up the position, and with it pages and, outside of a transaction, the snapshot.
    #[inline]
    pub fn reset_cursor(&mut self, slot: Slot) -> Result<()> {
        let raw = self.at(slot)?;
        // SAFETY: the cursor is open.
        let code = unsafe { ((*raw).reset)(raw) };
        self.checked(code)
    }

    /// Puts a pair. With a cursor that does not overwrite, false for a key that exists.
    #[inline]
    pub fn insert(&mut self, slot: Slot, key: &[u8], value: &[u8]) -> Result<bool> {
        let raw = self.at(slot)?;
        self.changed += (key.len() + value.len() + CHANGE) as u64;
        self.set_key(raw, key);
        self.set_value(raw, value);
        // SAFETY: the cursor is open; key and value live until the end of the call. An insert that
        // succeeds leaves neither position nor key behind; one that fails is reset by `missed`.
        match unsafe { ((*raw).insert)(raw) } {
            0 => Ok(true),
            sys::WT_DUPLICATE_KEY => self.missed(raw, sys::WT_NOTFOUND),
            code => self.missed(raw, code),
        }
    }

    /// Replaces the value of a key. With a cursor that does not overwrite, false for a missing key.
    #[inline]
    pub fn update(&mut self, slot: Slot, key: &[u8], value: &[u8]) -> Result<bool> {
        let raw = self.at(slot)?;
        self.changed += (key.len() + value.len() + CHANGE) as u64;
        self.set_key(raw, key);
        self.set_value(raw, value);
        // SAFETY: as for `insert`, but that the position is kept, hence the reset.
        match unsafe { ((*raw).update)(raw) } {
            0 => self.reset_cursor(slot).map(|()| true),
            code => self.missed(raw, code),
        }
    }

    /// Removes a key. With a cursor that does not overwrite, false for a missing key.
    #[inline]
    pub fn remove(&mut self, slot: Slot, key: &[u8]) -> Result<bool> {
        let raw = self.at(slot)?;
        self.changed += (key.len() + CHANGE) as u64;
        self.set_key(raw, key);
        // SAFETY: as for `insert`; a remove by key keeps no position.
        match unsafe { ((*raw).remove)(raw) } {
            0 => self.reset_cursor(slot).map(|()| true),
            code => self.missed(raw, code),
        }
    }

    /// Changes parts of a key's value in a transaction; each change is an offset, the number of
    /// bytes that go, and the bytes that come. False for a missing key.
    pub fn modify(&mut self, slot: Slot, key: &[u8], changes: &[(usize, usize, &[u8])]) -> Result<bool> {
        if !self.search(slot, key)? {
            return Ok(false);
        }
        let mut entries: Vec<_> = changes
            .iter()
            .map(|&(offset, size, data)| sys::WT_MODIFY { data: item(data), offset, size })
            .collect();
        let count = c_int::try_from(entries.len()).map_err(|_| invalid("too many changes"))?;
        self.changed += changes.iter().map(|(_, _, data)| (data.len() + CHANGE) as u64).sum::<u64>();
        let raw = self.at(slot)?;
        // SAFETY: the cursor is open and positioned; entries and their bytes live during the call.
        match unsafe { ((*raw).modify)(raw, entries.as_mut_ptr(), count) } {
            0 => self.reset_cursor(slot).map(|()| true),
            code => self.missed(raw, code),
        }
    }

    /// The key under the cursor, as of its last move; empty without a position.
    #[inline]
    pub fn key(&self, slot: Slot) -> &[u8] {
        match self.slots.get(slot as usize) {
            // SAFETY: memory of the cursor or of a page that it pins, unchanged until it moves, is
            // reset or closed (which clears its epoch), or a transaction begins or ends (which raises
            // the session's): all of them take `&mut self`.
            Some(at) if at.epoch == self.epoch => unsafe { std::slice::from_raw_parts(at.key.0, at.key.1) },
            _ => &[],
        }
    }

    /// The value under the cursor, as of its last move; empty without a position.
    #[inline]
    pub fn value(&self, slot: Slot) -> &[u8] {
        match self.slots.get(slot as usize) {
            // SAFETY: as for `key`.
            Some(at) if at.epoch == self.epoch => unsafe { std::slice::from_raw_parts(at.value.0, at.value.1) },
            _ => &[],
        }
    }

    /// Every row of a statistics cursor: what it counts and the count.
    pub fn statistics(&mut self, uri: &CStr, config: Option<&CStr>) -> Result<Vec<(String, i64)>> {
        let slot = self.open(uri, config)?;
        let raw = self.at(slot)?;
        let mut rows = Vec::new();
        // SAFETY: the cursor is open.
        while unsafe { ((*raw).next)(raw) } == 0 {
            let (mut what, mut shown, mut count) = (ptr::null::<c_char>(), ptr::null::<c_char>(), 0_i64);
            // SAFETY: positioned, with value format `SSq`: two strings and a 64-bit integer.
            let code = unsafe { ((*raw).get_value)(raw, &raw mut what, &raw mut shown, &raw mut count) };
            self.checked(code)?;
            rows.push((text(what), count));
        }
        self.close(slot)?;
        Ok(rows)
    }

    /// The next file name of a backup cursor.
    pub fn next_backup_file(&mut self, slot: Slot) -> Result<Option<String>> {
        let raw = self.at(slot)?;
        // SAFETY: the cursor is open.
        match unsafe { ((*raw).next)(raw) } {
            0 => {}
            code => return self.missed(raw, code).map(|_| None),
        }
        let mut name = ptr::null::<c_char>();
        // SAFETY: positioned, with key format `S`: one string.
        let code = unsafe { ((*raw).get_key)(raw, &raw mut name) };
        self.checked(code)?;
        Ok(Some(text(name)))
    }
}
