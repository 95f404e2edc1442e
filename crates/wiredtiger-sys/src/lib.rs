//! C declarations of WiredTiger and the build of its pinned release
//!
//! Only what `smongo-storage` calls has a type; every other slot of a method table is a [`Slot`],
//! so that the order stays that of `wiredtiger.h`. A test compares the layout with the C compiler's.
#![allow(non_camel_case_types, non_upper_case_globals, unsafe_code)]
#![no_std]

use core::ffi::{c_char, c_int, c_void};

// Linked for the library: its allocator and the builtin block compressors.
extern crate libmimalloc_sys as _;
extern crate lz4_sys as _;
extern crate zstd_sys as _;

/// A method that is not used.
pub type Slot = *mut c_void;

/// Conflict between concurrent operations: roll the transaction back and run it again.
pub const WT_ROLLBACK: c_int = -31800;
pub const WT_DUPLICATE_KEY: c_int = -31801;
/// A failure without a more specific code; the event handler got a message.
pub const WT_ERROR: c_int = -31802;
pub const WT_NOTFOUND: c_int = -31803;
/// The library has failed for good: every later call returns this code.
pub const WT_PANIC: c_int = -31804;
/// The event by which a compaction asks whether it may go on.
pub const WT_EVENT_COMPACT_CHECK: c_int = 0;
pub const WT_RUN_RECOVERY: c_int = -31806;
/// An in-memory database is full.
pub const WT_CACHE_FULL: c_int = -31807;
pub const WT_PREPARE_CONFLICT: c_int = -31808;
pub const WT_TRY_SALVAGE: c_int = -31809;

/// Bytes lent to or by the library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WT_ITEM {
    pub data: *const c_void,
    pub size: usize,
    pub mem: *mut c_void,
    pub memsize: usize,
    pub flags: u32,
}

/// One change of a partial update.
#[repr(C)]
pub struct WT_MODIFY {
    pub data: WT_ITEM,
    pub offset: usize,
    pub size: usize,
}

/// Callbacks. The library fills in defaults for those that are missing, so a handler in read-only
/// memory must have them all.
#[repr(C)]
pub struct WT_EVENT_HANDLER {
    pub handle_error:
        Option<unsafe extern "C" fn(*mut WT_EVENT_HANDLER, *mut WT_SESSION, c_int, *const c_char) -> c_int>,
    pub handle_message: Option<unsafe extern "C" fn(*mut WT_EVENT_HANDLER, *mut WT_SESSION, *const c_char) -> c_int>,
    pub handle_progress:
        Option<unsafe extern "C" fn(*mut WT_EVENT_HANDLER, *mut WT_SESSION, *const c_char, u64) -> c_int>,
    pub handle_close: Option<unsafe extern "C" fn(*mut WT_EVENT_HANDLER, *mut WT_SESSION, *mut WT_CURSOR) -> c_int>,
    pub handle_general: Option<
        unsafe extern "C" fn(*mut WT_EVENT_HANDLER, *mut WT_CONNECTION, *mut WT_SESSION, c_int, *mut c_void) -> c_int,
    >,
}

#[repr(C)]
pub struct WT_CONNECTION {
    pub close: unsafe extern "C" fn(*mut WT_CONNECTION, *const c_char) -> c_int,
    pub debug_info: Slot,
    pub reconfigure: unsafe extern "C" fn(*mut WT_CONNECTION, *const c_char) -> c_int,
    pub get_home: Slot,
    pub compile_configuration:
        unsafe extern "C" fn(*mut WT_CONNECTION, *const c_char, *const c_char, *mut *const c_char) -> c_int,
    pub configure_method: Slot,
    pub is_new: unsafe extern "C" fn(*mut WT_CONNECTION) -> c_int,
    pub open_session: unsafe extern "C" fn(
        *mut WT_CONNECTION,
        *mut WT_EVENT_HANDLER,
        *const c_char,
        *mut *mut WT_SESSION,
    ) -> c_int,
    pub query_timestamp: Slot,
    pub set_timestamp: Slot,
    pub rollback_to_stable: Slot,
    pub load_extension: Slot,
    pub add_data_source: Slot,
    pub add_collator: Slot,
    pub add_compressor:
        unsafe extern "C" fn(*mut WT_CONNECTION, *const c_char, *mut WT_COMPRESSOR, *const c_char) -> c_int,
    pub add_encryptor: Slot,
    pub add_extractor: Slot,
    pub set_file_system: Slot,
    pub add_storage_source: Slot,
    pub get_storage_source: Slot,
    pub get_extension_api: Slot,
}

/// What shortens blocks or the journal's records: from a source to a destination, with a place for the length of the result and,
/// for `compress`, one for whether the source is to be kept as it is.
#[repr(C)]
pub struct WT_COMPRESSOR {
    pub compress: unsafe extern "C" fn(
        *mut WT_COMPRESSOR,
        *mut WT_SESSION,
        *mut u8,
        usize,
        *mut u8,
        usize,
        *mut usize,
        *mut c_int,
    ) -> c_int,
    pub decompress: unsafe extern "C" fn(
        *mut WT_COMPRESSOR,
        *mut WT_SESSION,
        *mut u8,
        usize,
        *mut u8,
        usize,
        *mut usize,
    ) -> c_int,
    pub pre_size: Option<unsafe extern "C" fn(*mut WT_COMPRESSOR, *mut WT_SESSION, *mut u8, usize, *mut usize) -> c_int>,
    pub terminate: Option<unsafe extern "C" fn(*mut WT_COMPRESSOR, *mut WT_SESSION) -> c_int>,
}

/// A call on a session with a configuration string.
pub type SessionConfig = unsafe extern "C" fn(*mut WT_SESSION, *const c_char) -> c_int;
/// A call on a session with an object's URI and a configuration string.
pub type SessionObject = unsafe extern "C" fn(*mut WT_SESSION, *const c_char, *const c_char) -> c_int;

#[repr(C)]
pub struct WT_SESSION {
    pub connection: *mut WT_CONNECTION,
    pub app_private: *mut c_void,
    pub close: SessionConfig,
    pub reconfigure: SessionConfig,
    pub strerror: Slot,
    pub open_cursor: unsafe extern "C" fn(
        *mut WT_SESSION,
        *const c_char,
        *mut WT_CURSOR,
        *const c_char,
        *mut *mut WT_CURSOR,
    ) -> c_int,
    pub alter: Slot,
    pub bind_configuration: Slot,
    pub create: SessionObject,
    pub compact: SessionObject,
    pub drop: SessionObject,
    pub join: Slot,
    pub log_flush: SessionConfig,
    pub log_printf: Slot,
    pub rename: Slot,
    pub reset: unsafe extern "C" fn(*mut WT_SESSION) -> c_int,
    pub salvage: SessionObject,
    pub truncate: unsafe extern "C" fn(
        *mut WT_SESSION,
        *const c_char,
        *mut WT_CURSOR,
        *mut WT_CURSOR,
        *const c_char,
    ) -> c_int,
    pub verify: SessionObject,
    pub begin_transaction: SessionConfig,
    pub commit_transaction: SessionConfig,
    pub prepare_transaction: Slot,
    pub rollback_transaction: SessionConfig,
    pub query_timestamp: Slot,
    pub timestamp_transaction: Slot,
    pub timestamp_transaction_uint: Slot,
    pub checkpoint: SessionConfig,
    pub reset_snapshot: Slot,
    pub transaction_pinned_range: Slot,
    pub get_rollback_reason: unsafe extern "C" fn(*mut WT_SESSION) -> *const c_char,
    pub breakpoint: Slot,
}

/// A call on a cursor that takes nothing else.
pub type CursorCall = unsafe extern "C" fn(*mut WT_CURSOR) -> c_int;

/// The public head of a cursor; the library's private fields follow it in memory.
#[repr(C)]
pub struct WT_CURSOR {
    pub session: *mut WT_SESSION,
    pub uri: *const c_char,
    pub key_format: *const c_char,
    pub value_format: *const c_char,
    /// With `raw` cursors the one argument is a `*mut WT_ITEM`, otherwise one pointer per column.
    pub get_key: unsafe extern "C" fn(*mut WT_CURSOR, ...) -> c_int,
    pub get_value: unsafe extern "C" fn(*mut WT_CURSOR, ...) -> c_int,
    pub get_raw_key_value: unsafe extern "C" fn(*mut WT_CURSOR, *mut WT_ITEM, *mut WT_ITEM) -> c_int,
    pub set_key: unsafe extern "C" fn(*mut WT_CURSOR, ...),
    pub set_value: unsafe extern "C" fn(*mut WT_CURSOR, ...),
    pub compare: unsafe extern "C" fn(*mut WT_CURSOR, *mut WT_CURSOR, *mut c_int) -> c_int,
    pub equals: Slot,
    pub next: CursorCall,
    pub prev: CursorCall,
    pub reset: CursorCall,
    pub search: CursorCall,
    pub search_near: unsafe extern "C" fn(*mut WT_CURSOR, *mut c_int) -> c_int,
    pub insert: CursorCall,
    pub modify: unsafe extern "C" fn(*mut WT_CURSOR, *mut WT_MODIFY, c_int) -> c_int,
    pub update: CursorCall,
    pub remove: CursorCall,
    pub reserve: CursorCall,
    pub checkpoint_id: Slot,
    pub close: CursorCall,
    pub largest_key: CursorCall,
    pub reconfigure: unsafe extern "C" fn(*mut WT_CURSOR, *const c_char) -> c_int,
    pub bound: unsafe extern "C" fn(*mut WT_CURSOR, *const c_char) -> c_int,
}

unsafe extern "C" {
    pub fn wiredtiger_open(
        home: *const c_char,
        handler: *mut WT_EVENT_HANDLER,
        config: *const c_char,
        connection: *mut *mut WT_CONNECTION,
    ) -> c_int;
    pub fn wiredtiger_strerror(error: c_int) -> *const c_char;
}

/// Whether a connection that opens calls `smongo_journal_init`, with itself and a pointer that means nothing, for a compressor of
/// the journal. It does in the library built here; whoever links that has to define it.
pub const ASKS_FOR_JOURNAL_COMPRESSOR: bool = cfg!(wiredtiger_layout);

#[cfg(all(test, wiredtiger_layout))]
mod layout;
