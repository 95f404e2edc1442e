//! What the library calls: its messages, and the compressor of the journal.

use super::{BUSY, failure, tail, text};
use crate::error::{Error, ErrorKind};
use crate::journal;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use wiredtiger_sys as sys;

thread_local! {
    /// What the library last said on this thread, and the code it said it for; the error with that
    /// code takes it.
    static MESSAGE: RefCell<(c_int, String)> = const { RefCell::new((0, String::new())) };
}

/// What the library said last on this thread, if it was for this code.
pub(super) fn message_of(code: c_int) -> String {
    let said = MESSAGE.try_with(|last| std::mem::take(&mut *last.borrow_mut())).unwrap_or_default();
    if said.0 == code { said.1 } else { String::new() }
}

/// Before a call whose messages must not be mixed with older ones.
pub(super) fn forget_message() {
    let _ = MESSAGE.try_with(|last| last.take());
}

/// A connection's callbacks, and what it learns by them. The library knows it by the address of its head.
#[repr(C)]
pub(super) struct Events {
    pub handler: sys::WT_EVENT_HANDLER,
    /// A session went with a transaction that could not end any more. Closing the connection would wait for it for ever.
    pub stuck: AtomicBool,
    /// Why the library has failed for good, once it has. It may do so in a thread of its own, and from
    /// then on answers every call with a code that names no cause.
    pub failure: OnceLock<String>,
    /// The first error it told of: of an opening that fails, the cause.
    pub first: OnceLock<String>,
    /// Files that turned out to be damaged, with what was said first of each.
    pub damaged: Mutex<BTreeMap<String, String>>,
}

/// What the library says of a file that is damaged, cut off or missing.
const DAMAGE: [&str; 8] = [
    "fatal read error",
    "potential hardware corruption",
    "unable to read root page",
    "does not appear to be a WiredTiger file",
    "is smaller than allocation size",
    "handle-open: open: No such file",
    "handle-read: ",
    "is corrupted",
];

/// The file that a message calls damaged.
pub(super) fn damaged_file(message: &str) -> Option<&str> {
    if !DAMAGE.iter().any(|words| message.contains(words)) {
        return None;
    }
    let end = message.find(".wt").map(|at| at + 3)?;
    let start = message[..end].rfind([' ', '/', ':']).map_or(0, |at| at + 1);
    Some(&message[start..end])
}

impl Events {
    pub fn new() -> Arc<Self> {
        // All callbacks are there, so that the library does not write defaults into it.
        let handler = sys::WT_EVENT_HANDLER {
            handle_error: Some(on_error),
            handle_message: Some(on_message),
            handle_progress: Some(on_progress),
            handle_close: Some(on_close),
            handle_general: Some(on_event),
        };
        Arc::new(Self { handler, stuck: AtomicBool::new(false), failure: OnceLock::new(), first: OnceLock::new(), damaged: Mutex::default() })
    }

    /// The error of a call after the failure for good, or of the one that met it.
    pub fn error(&self, code: c_int) -> Error {
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
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        match code {
            sys::WT_PANIC | sys::WT_TRY_SALVAGE => tracing::error!(code, "{text}"),
            BUSY => tracing::debug!(code, "{text}"),
            // The bytes of a damaged block.
            0 if text.contains("(chunk ") => tracing::trace!("{text}"),
            _ => tracing::warn!(code, "{text}"),
        }
        if let Some(events) = events {
            let said = tail(&text);
            if let Some(file) = damaged_file(said) {
                events.damaged.lock().entry(file.to_owned()).or_insert_with(|| said.to_owned());
            }
            if code != BUSY {
                let _ = events.first.set(said.to_owned());
            }
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
    }));
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
    event: c_int,
    _: *mut c_void,
) -> c_int {
    // What asks must not unwind into C; a panic in it ends the compaction.
    let ask = || event == sys::WT_EVENT_COMPACT_CHECK && Interrupt::asked();
    c_int::from(std::panic::catch_unwind(ask).unwrap_or(true))
}

type Question = Box<dyn FnMut() -> bool>;

thread_local! {
    /// Whether the compaction that this thread is at must end: what to ask, and whether it was answered with yes.
    static INTERRUPT: RefCell<(Option<Question>, bool)> = const { RefCell::new((None, false)) };
}

/// For as long as it lives, compactions of this thread ask a question now and then, and end when the answer is yes.
pub(crate) struct Interrupt(PhantomData<*const ()>);

pub(crate) fn interruptible(question: Question) -> Interrupt {
    INTERRUPT.with_borrow_mut(|at| *at = (Some(question), false));
    Interrupt(PhantomData)
}

impl Interrupt {
    fn asked() -> bool {
        let asked = INTERRUPT.try_with(|at| {
            let Ok(mut at) = at.try_borrow_mut() else { return false };
            let yes = at.1 || at.0.as_mut().is_some_and(|question| question());
            at.1 = yes;
            yes
        });
        asked.unwrap_or(false)
    }

    pub fn ask(&self) -> bool {
        Interrupt::asked()
    }

    pub fn answered_yes(&self) -> bool {
        INTERRUPT.with_borrow(|at| at.1)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        let _ = INTERRUPT.try_with(|at| at.take());
    }
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
