//! The one door to WiredTiger: connections, sessions and cursors with Rust's rules around them.
//!
//! Why it is sound:
//! - A [`Connection`] may be shared between threads; it is closed when its last owner goes, and
//!   every [`RawSession`] is an owner.
//! - A [`RawSession`] moves between threads but is used by one at a time: `Send`, not `Sync`.
//! - Cursors live in a slab inside of their session and are named by [`Slot`]; a slot that is not
//!   open answers `Invalid`. Bytes of a cursor are borrowed from the session, and everything that
//!   could move or change them takes `&mut` of that session.
//! - After a call that fails or finds nothing the cursor is reset, so that it never keeps a
//!   pointer to the caller's key.
#![allow(unsafe_code)]

use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, OnceLock};
use wiredtiger_sys as sys;

thread_local! {
    /// What the library last said on this thread, and the code it said it for; the error with that
    /// code takes it.
    static MESSAGE: RefCell<(c_int, String)> = const { RefCell::new((0, String::new())) };
}

/// Homes of connections that failed and could not be closed, once for each.
static ABANDONED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An open database.
pub(crate) struct Connection {
    raw: NonNull<sys::WT_CONNECTION>,
    events: Arc<Events>,
    home: String,
}

// SAFETY: WiredTiger's connection handle may be used by any number of threads.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

/// A connection's callbacks, and what it learns by them. The library knows it by the address of its head.
#[repr(C)]
struct Events {
    handler: sys::WT_EVENT_HANDLER,
    /// A session went with a transaction that could not end any more. Closing the connection would wait for it for ever.
    stuck: AtomicBool,
    /// Why the library has failed for good, once it has. It may do so in a thread of its own, and from
    /// then on answers every call with a code that names no cause.
    failure: OnceLock<String>,
}

impl Events {
    fn new() -> Arc<Self> {
        // All callbacks are there, so that the library does not write defaults into it.
        let handler = sys::WT_EVENT_HANDLER {
            handle_error: Some(on_error),
            handle_message: Some(on_message),
            handle_progress: Some(on_progress),
            handle_close: Some(on_close),
            handle_general: Some(on_event),
        };
        Arc::new(Self { handler, stuck: AtomicBool::new(false), failure: OnceLock::new() })
    }

    /// The error of a call after the failure for good, or of the one that met it.
    fn error(&self, code: c_int) -> Error {
        let error = failure(code);
        match self.failure.get() {
            Some(cause) => {
                let message = format!("the database has failed and must be opened again: {cause}");
                Error::with_code(ErrorKind::Panic, code, message)
            }
            None => error,
        }
    }
}

extern "C" fn on_error(
    handler: *mut sys::WT_EVENT_HANDLER,
    _: *mut sys::WT_SESSION,
    code: c_int,
    message: *const c_char,
) -> c_int {
    let text = text(message);
    // SAFETY: every connection is opened with the head of its `Events`, which outlive it.
    let events = unsafe { handler.cast::<Events>().as_ref() };
    // A subscriber or a destroyed thread-local must not unwind into C.
    let _ = std::panic::catch_unwind(|| {
        match code {
            sys::WT_PANIC | sys::WT_TRY_SALVAGE => tracing::error!(code, "{text}"),
            BUSY => tracing::debug!(code, "{text}"),
            _ => tracing::warn!(code, "{text}"),
        }
        let _ = MESSAGE.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                if code == sys::WT_PANIC
                    && let Some(events) = events
                {
                    // The library tells the cause first, and then that it is fatal.
                    let cause = if last.1.is_empty() { tail(&text) } else { &last.1 };
                    let _ = events.failure.set(cause.to_owned());
                }
                // The first message of a failing call names the cause; later ones are consequences.
                if last.0 != code || last.1.is_empty() {
                    *last = (code, tail(&text).to_owned());
                }
            }
        });
    });
    0
}

extern "C" fn on_message(_: *mut sys::WT_EVENT_HANDLER, _: *mut sys::WT_SESSION, message: *const c_char) -> c_int {
    let text = text(message);
    let _ = std::panic::catch_unwind(|| tracing::debug!("{text}"));
    0
}

extern "C" fn on_progress(
    _: *mut sys::WT_EVENT_HANDLER,
    _: *mut sys::WT_SESSION,
    _: *const c_char,
    _: u64,
) -> c_int {
    0
}

extern "C" fn on_close(_: *mut sys::WT_EVENT_HANDLER, _: *mut sys::WT_SESSION, _: *mut sys::WT_CURSOR) -> c_int {
    0
}

extern "C" fn on_event(
    _: *mut sys::WT_EVENT_HANDLER,
    _: *mut sys::WT_CONNECTION,
    _: *mut sys::WT_SESSION,
    _: c_int,
    _: *mut c_void,
) -> c_int {
    0
}

/// The compressor of the journal, `journal.rs`; tables name theirs themselves.
static COMPRESSOR: sys::WT_COMPRESSOR =
    sys::WT_COMPRESSOR { compress: on_compress, decompress: on_decompress, pre_size: None, terminate: None };
const COMPRESSOR_NAME: &CStr = c"smongo";

/// What a connection's configuration says of the journal's compressor.
pub(crate) fn journal_compressor() -> &'static str {
    let name = COMPRESSOR_NAME.to_str().ok();
    name.filter(|_| sys::ASKS_FOR_JOURNAL_COMPRESSOR).unwrap_or("none")
}

/// Called by the library when a connection opens, before it reads the journal.
// SAFETY: nobody else defines a function of this name, which begins with ours.
#[unsafe(no_mangle)]
unsafe extern "C" fn smongo_journal_init(connection: *mut sys::WT_CONNECTION, _: *mut c_void) -> c_int {
    // SAFETY: the connection is being opened by this thread. The library reads the compressor only, and no longer than the
    // connection is open.
    unsafe {
        let add = (*connection).add_compressor;
        add(connection, COMPRESSOR_NAME.as_ptr(), ptr::from_ref(&COMPRESSOR).cast_mut(), ptr::null())
    }
}

/// What the library lends a compressor: bytes to read, and others to write.
///
/// # Safety
/// Both are there, with these lengths and apart from each other, for `'a`.
unsafe fn lent<'a>(source: *const u8, source_len: usize, place: *mut u8, place_len: usize) -> (&'a [u8], &'a mut [u8]) {
    // SAFETY: the caller's promise.
    unsafe { (std::slice::from_raw_parts(source, source_len), std::slice::from_raw_parts_mut(place, place_len)) }
}

unsafe extern "C" fn on_compress(
    _: *mut sys::WT_COMPRESSOR,
    _: *mut sys::WT_SESSION,
    source: *mut u8,
    source_len: usize,
    place: *mut u8,
    place_len: usize,
    result_len: *mut usize,
    failed: *mut c_int,
) -> c_int {
    // SAFETY: the library lends both for this call.
    let (record, out) = unsafe { lent(source, source_len, place, place_len) };
    let compressed = journal::compress(record, out);
    // SAFETY: both are places for the answer.
    unsafe {
        *result_len = compressed.unwrap_or(source_len);
        *failed = c_int::from(compressed.is_none());
    }
    0
}

unsafe extern "C" fn on_decompress(
    _: *mut sys::WT_COMPRESSOR,
    _: *mut sys::WT_SESSION,
    source: *mut u8,
    source_len: usize,
    place: *mut u8,
    place_len: usize,
    result_len: *mut usize,
) -> c_int {
    // SAFETY: as in `on_compress`.
    let (bytes, out) = unsafe { lent(source, source_len, place, place_len) };
    if journal::decompress(bytes, out).is_none() {
        return sys::WT_ERROR;
    }
    // SAFETY: a place for the answer.
    unsafe { *result_len = place_len };
    0
}

fn text(message: *const c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: the library passes a NUL-terminated string that lives during the call.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// The message without the library's prefix of time, thread and function names.
fn tail(message: &str) -> &str {
    message.rsplit_once("]: ").or_else(|| message.rsplit_once("], ")).map_or(message, |(_, tail)| tail)
}

// The same numbers on Linux and macOS, but for ENOTSUP and ETIMEDOUT, which are not needed.
const NO_ENTRY: c_int = 2;
const IO_ERROR: c_int = 5;
const NO_ACCESS: c_int = 13;
const BUSY: c_int = 16;
const EXISTS: c_int = 17;
const INVALID: c_int = 22;
const NO_SPACE: c_int = 28;
const READ_ONLY: c_int = 30;

/// The one reader of return codes: everything that is not success, "not found" or "duplicate".
#[cold]
fn failure(code: c_int) -> Error {
    let said = MESSAGE.try_with(|last| std::mem::take(&mut *last.borrow_mut())).unwrap_or_default();
    let said = if said.0 == code { said.1 } else { String::new() };
    let kind = match code {
        sys::WT_ROLLBACK | sys::WT_PREPARE_CONFLICT => ErrorKind::WriteConflict,
        sys::WT_DUPLICATE_KEY | EXISTS => ErrorKind::Duplicate,
        sys::WT_NOTFOUND | NO_ENTRY => ErrorKind::NotFound,
        sys::WT_PANIC | sys::WT_RUN_RECOVERY => ErrorKind::Panic,
        sys::WT_CACHE_FULL => ErrorKind::CacheFull,
        sys::WT_TRY_SALVAGE => ErrorKind::Corrupt,
        BUSY => ErrorKind::Busy,
        INVALID => ErrorKind::Invalid,
        NO_SPACE => ErrorKind::DiskFull,
        NO_ACCESS | READ_ONLY => ErrorKind::PermissionDenied,
        IO_ERROR => ErrorKind::Io,
        _ => ErrorKind::Other,
    };
    // SAFETY: answers a constant string for every number.
    let meaning = text(unsafe { sys::wiredtiger_strerror(code) });
    let message = if said.is_empty() { meaning } else { format!("{said}: {meaning}") };
    Error::with_code(kind, code, message)
}

#[inline]
fn check(code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(failure(code)) }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(ErrorKind::Invalid, "a name or setting contains a NUL byte"))
}

fn as_ptr(config: Option<&CStr>) -> *const c_char {
    config.map_or(ptr::null(), CStr::as_ptr)
}

impl Connection {
    /// Opens the database in `home`, which is a name only for one in memory.
    pub fn open(home: &str, config: &str) -> Result<Arc<Self>> {
        // The library refuses a home it has open already by comparing names. One that failed writes nothing any more, and must
        // not keep its database closed for as long as the process lives.
        let abandoned = ABANDONED.lock().iter().filter(|other| *other == home).count();
        let (name, config) = (c_string(&(home.to_owned() + &"/.".repeat(abandoned)))?, c_string(config)?);
        let _ = MESSAGE.try_with(|last| last.take());
        let mut raw = ptr::null_mut();
        let events = Events::new();
        let handler = Arc::as_ptr(&events).cast::<sys::WT_EVENT_HANDLER>().cast_mut();
        // SAFETY: strings are NUL-terminated; the handler is complete, so never written by the library,
        // and lives until the connection is closed; `raw` is a valid place for the answer.
        let code = unsafe { sys::wiredtiger_open(name.as_ptr(), handler, config.as_ptr(), &mut raw) };
        if code != 0 {
            return Err(events.error(code));
        }
        let raw = NonNull::new(raw).ok_or_else(|| Error::new(ErrorKind::Other, "WiredTiger gave no connection"))?;
        Ok(Arc::new(Self { raw, events, home: home.to_owned() }))
    }

    pub fn session(self: &Arc<Self>) -> Result<RawSession> {
        let mut raw = ptr::null_mut();
        // SAFETY: the connection is open; a null handler takes the connection's; null is "defaults".
        let code =
            unsafe { (self.raw.as_ref().open_session)(self.raw.as_ptr(), ptr::null_mut(), ptr::null(), &mut raw) };
        if code != 0 {
            return Err(self.events.error(code));
        }
        let raw = NonNull::new(raw).ok_or_else(|| Error::new(ErrorKind::Other, "WiredTiger gave no session"))?;
        Ok(RawSession { raw, connection: Arc::clone(self), slots: Vec::new(), free: Vec::new(), epoch: 1, running: false })
    }

    /// Whether the library has failed for good.
    pub fn panicked(&self) -> bool {
        self.events.failure.get().is_some()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.events.stuck.load(Atomic::Acquire) {
            // The handler must outlive what is left open.
            std::mem::forget(Arc::clone(&self.events));
            ABANDONED.lock().push(self.home.clone());
            // A process loses its locks of a file when it closes any handle of it: from here on others can open the database.
            let _ = std::fs::File::open(std::path::Path::new(&self.home).join("WiredTiger.lock"));
            tracing::error!("the failed store stays in the memory of this process: a transaction was under way");
            return;
        }
        // SAFETY: the last owner is going, so no session or cursor is left. A clean close writes a
        // checkpoint.
        if let Err(error) = check(unsafe { (self.raw.as_ref().close)(self.raw.as_ptr(), ptr::null()) }) {
            tracing::error!("closing the store: {error}");
        }
    }
}

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

const EMPTY: (*const u8, usize) = (NonNull::<u8>::dangling().as_ptr().cast_const(), 0);

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
}

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
            return if reason.is_empty() { error } else { Error::with_code(error.kind(), code, reason) };
        }
        failure(code)
    }

    pub fn begin(&mut self, config: Option<&CStr>) -> Result<()> {
        self.epoch += 1;
        session_call!(self.begin_transaction(as_ptr(config)))?;
        self.running = true;
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

    /// After the failure for good the library ends no transaction any more.
    fn ended(&mut self, failed_before: bool) {
        self.running &= failed_before;
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

    pub fn compact(&mut self, uri: &CStr, config: &CStr) -> Result<()> {
        session_call!(self.compact(uri.as_ptr(), config.as_ptr()))
    }

    pub fn checkpoint(&mut self, config: Option<&CStr>) -> Result<()> {
        session_call!(self.checkpoint(as_ptr(config)))
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

/// Gives memory that the C allocator keeps in holes between cached pages back to the system.
pub(crate) fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> c_int;
        }
        // SAFETY: thread-safe, takes a number, changes no live allocation.
        unsafe { malloc_trim(0) };
    }
}

#[cold]
fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[inline]
fn item(bytes: &[u8]) -> sys::WT_ITEM {
    sys::WT_ITEM {
        data: bytes.as_ptr().cast::<c_void>(),
        size: bytes.len(),
        mem: ptr::null_mut(),
        memsize: 0,
        flags: 0,
    }
}

/// An item's bytes in a form that is a valid slice also when empty.
#[inline]
fn bytes(item: &sys::WT_ITEM) -> (*const u8, usize) {
    if item.size == 0 { EMPTY } else { (item.data.cast(), item.size) }
}
