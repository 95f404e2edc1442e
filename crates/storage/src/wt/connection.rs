//! An open database.

use super::callbacks::{Events, forget_message};
use super::session::RawSession;
use super::{INVALID, NO_ENTRY, c_string, check};
use crate::error::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use wiredtiger_sys as sys;

/// Homes of connections that failed and could not be closed, once for each.
static ABANDONED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An open database.
pub(crate) struct Connection {
    raw: NonNull<sys::WT_CONNECTION>,
    pub(super) events: Arc<Events>,
    home: String,
    pub(super) cache_bytes: u64,
}

// SAFETY: WiredTiger's connection handle may be used by any number of threads.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

impl Connection {
    /// Opens the database in `home`, which is a name only for one in memory.
    pub fn open(home: &str, config: &str, cache_bytes: u64) -> Result<Arc<Self>> {
        // The library refuses a home it has open already by comparing names. One that failed writes nothing any more, and must
        // not keep its database closed for as long as the process lives.
        let abandoned = ABANDONED.lock().iter().filter(|other| *other == home).count();
        let (name, config) = (c_string(&(home.to_owned() + &"/.".repeat(abandoned)))?, c_string(config)?);
        forget_message();
        let mut raw = ptr::null_mut();
        let events = Events::new();
        let handler = Arc::as_ptr(&events).cast::<sys::WT_EVENT_HANDLER>().cast_mut();
        // SAFETY: strings are NUL-terminated; the handler is complete, so never written by the library,
        // and lives until the connection is closed; `raw` is a valid place for the answer.
        let code = unsafe { sys::wiredtiger_open(name.as_ptr(), handler, config.as_ptr(), &mut raw) };
        if code != 0 {
            return Err(not_opened(&events, code));
        }
        let raw = NonNull::new(raw).ok_or_else(|| Error::new(ErrorKind::Other, "WiredTiger gave no connection"))?;
        Ok(Arc::new(Self { raw, events, home: home.to_owned(), cache_bytes }))
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
        Ok(RawSession::new(raw, Arc::clone(self)))
    }

    pub fn damaged_files(&self) -> Vec<(String, String)> {
        self.events.damaged.lock().iter().map(|(file, said)| (file.clone(), said.clone())).collect()
    }

    pub fn forget_damage(&self, table: &str) {
        self.events.damaged.lock().remove(&format!("{table}.wt"));
    }

    /// Whether the library has failed for good.
    pub fn panicked(&self) -> bool {
        self.events.failure.get().is_some()
    }
}

/// Why a database does not open. Of several things that the library says then, the first names the cause.
fn not_opened(events: &Events, code: std::ffi::c_int) -> Error {
    let error = events.error(code);
    let damaged = events.damaged.lock().values().next().cloned();
    match damaged.map(|said| (ErrorKind::Corrupt, said)) {
        Some((kind, said)) => Error::with_code(kind, code, said),
        None if matches!(code, sys::WT_TRY_SALVAGE | sys::WT_PANIC | sys::WT_ERROR | sys::WT_NOTFOUND | NO_ENTRY | INVALID) => {
            let said = events.first.get().cloned().unwrap_or_else(|| error.message().to_owned());
            let named = ["WiredTiger.turtle", "WiredTigerLog.", ".wt", "WiredTiger version file"].iter().any(|name| said.contains(name));
            // What is said of the text of the metadata does not tell from which file it came.
            let said = if named { said } else { format!("WiredTiger.turtle or WiredTiger.wt is damaged: {said}") };
            Error::with_code(ErrorKind::Corrupt, code, said)
        }
        None => error,
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
