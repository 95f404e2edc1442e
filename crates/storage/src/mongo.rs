//! What the store's errors are in MongoDB's table.

use smongo_bson::{Code, Error as MongoError};

use crate::{Error, ErrorKind};

impl From<Error> for MongoError {
    fn from(e: Error) -> MongoError {
        let (code, text) = match e.kind() {
            ErrorKind::WriteConflict => (Code::WriteConflict, "Caused by :: Write conflict during plan execution and yielding is disabled."),
            ErrorKind::TransactionTooLarge => (Code::TransactionTooLargeForCache, e.message()),
            ErrorKind::Duplicate => (Code::DuplicateKey, e.message()),
            ErrorKind::NotFound => (Code::NamespaceNotFound, e.message()),
            ErrorKind::Interrupted => (Code::Interrupted, e.message()),
            ErrorKind::Busy => (Code::ObjectIsBusy, e.message()),
            ErrorKind::CacheFull => (Code::ExceededMemoryLimit, "the database in memory is full: delete documents, or open it with a larger cache"),
            ErrorKind::LockedByOther => (Code::LockBusy, e.message()),
            ErrorKind::DiskFull => (Code::OutOfDiskSpace, e.message()),
            ErrorKind::TooManyFiles => (Code::TooManyFilesOpen, e.message()),
            ErrorKind::InvalidPath => (Code::InvalidPath, e.message()),
            ErrorKind::PermissionDenied => (Code::FileOpenFailed, e.message()),
            ErrorKind::Closed => (Code::InterruptedAtShutdown, e.message()),
            ErrorKind::Corrupt | ErrorKind::Panic | ErrorKind::Io | ErrorKind::Invalid | ErrorKind::Other => (Code::InternalError, e.message()),
        };
        MongoError::new(code, text)
    }
}
