//! What can go wrong in the store. The engine maps [`ErrorKind`] to MongoDB's codes.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// The kinds a caller can react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Another transaction changed what this one wants to change, or the cache is under pressure:
    /// roll back and run the transaction again.
    WriteConflict,
    /// The transaction holds so much of the cache that others cannot go on; it would again.
    TransactionTooLarge,
    /// The key exists already.
    Duplicate,
    /// No such table.
    NotFound,
    /// The table is in use by another session.
    Busy,
    /// The caller wanted it to end.
    Interrupted,
    /// An in-memory store has no room left.
    CacheFull,
    /// Data on disk is damaged.
    Corrupt,
    /// The store has failed for good; nothing works until it is opened again.
    Panic,
    /// The directory is open in another process, or a second time in this one.
    LockedByOther,
    DiskFull,
    /// The process may not open another file.
    TooManyFiles,
    PermissionDenied,
    /// No place for a database or a copy: a file, a directory with something in it.
    InvalidPath,
    Io,
    /// A call that the store's contract does not allow: a stale cursor, a write in a read-only
    /// transaction, an empty key.
    Invalid,
    /// The store was closed.
    Closed,
    Other,
}

/// An error of the store; one pointer wide, since results travel through every hot call.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    code: i32,
    message: String,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::with_code(kind, 0, message)
    }

    pub(crate) fn with_code(kind: ErrorKind, code: i32, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, code, message: message.into() }))
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// WiredTiger's code or errno; 0 when the error is our own.
    pub fn code(&self) -> i32 {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

/// Of the system and of this process; the same numbers on Linux and macOS.
pub(crate) const TOO_MANY_FILES: [i32; 2] = [23, 24];

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            _ if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => ErrorKind::TooManyFiles,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => ErrorKind::InvalidPath,
            _ => ErrorKind::Io,
        };
        Self::with_code(kind, error.raw_os_error().unwrap_or(0), error.to_string())
    }
}
