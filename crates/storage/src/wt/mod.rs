//! The one door to WiredTiger: connections, sessions and cursors with Rust's rules around them. The only hand-written `unsafe`
//! of the workspace is in this folder.
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
mod callbacks;
mod connection;
mod session;

use crate::error::{Error, ErrorKind, Result, TOO_MANY_FILES};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use wiredtiger_sys as sys;

pub(crate) use callbacks::{interruptible, journal_compressor};
pub(crate) use connection::Connection;
pub(crate) use session::{RawSession, Slot};

fn text(message: *const c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: the library passes a NUL-terminated string that lives during the call.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// The message without the library's prefix of time, thread and function names.
fn tail(message: &str) -> &str {
    let tail = message.rsplit_once("]: ").or_else(|| message.rsplit_once("], ")).map_or(message, |(_, tail)| tail);
    // Some begin with a function and the number of a line.
    match tail.split_once(": ") {
        Some((place, rest)) if place.starts_with("__") && place.contains(", ") => rest,
        _ => tail,
    }
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
    let said = callbacks::message_of(code);
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
        code if TOO_MANY_FILES.contains(&code) => ErrorKind::TooManyFiles,
        NO_ACCESS | READ_ONLY => ErrorKind::PermissionDenied,
        IO_ERROR => ErrorKind::Io,
        _ => ErrorKind::Other,
    };
    let kind = match kind {
        ErrorKind::NotFound | ErrorKind::Io | ErrorKind::Other if callbacks::damaged_file(&said).is_some() => ErrorKind::Corrupt,
        kind => kind,
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

const EMPTY: (*const u8, usize) = (NonNull::<u8>::dangling().as_ptr().cast_const(), 0);

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
