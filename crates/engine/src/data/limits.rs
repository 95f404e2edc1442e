//! Every limit of the engine.

use std::time::Duration;

/// Connections to the server at one time, about.
pub const CONNECTIONS: usize = 65_536;
/// A document as a user stores it.
pub const DOCUMENT_BYTES: usize = 16 * 1024 * 1024;
/// A document inside the engine and in replies: room for what commands wrap around a user's document.
pub const INTERNAL_DOCUMENT_BYTES: usize = DOCUMENT_BYTES + 16 * 1024;
/// A wire message, as hello announces it.
pub const MESSAGE_BYTES: i32 = 48_000_000;
/// Statements in one write command, as hello announces it.
pub const WRITE_BATCH: usize = 100_000;
/// Documents of a first batch when the command names no `batchSize`.
pub const FIRST_BATCH: usize = 101;
pub const CURSOR_IDLE: Duration = Duration::from_secs(600);
pub const SESSION_IDLE_MINUTES: i32 = 30;
/// The most query shapes of one collection whose plans are remembered.
pub const CACHED_PLANS: usize = 1000;
/// Where there are that many, those that were not read for the longest time go, if it is more than a minute.
pub const OPEN_CURSORS: usize = 100_000;
pub const CURSOR_FORGOTTEN: Duration = Duration::from_secs(60);
/// After that time without use a cursor gives up what memory it can.
pub const CURSOR_RESTS: Duration = Duration::from_secs(10);
/// Records of retryable writes that one step of removing old ones looks at.
pub const EXPIRE_STEP: usize = 1000;
/// Seconds between two passes over the records of retryable writes.
pub const EXPIRE_SECONDS: u64 = 300;
pub const LOGICAL_SESSIONS: usize = 1_000_000;
/// Tries of one statement that meets write conflicts; each waits a little longer, up to about a second in all.
pub const CONFLICT_RETRIES: u32 = 10_000;
pub const TRANSACTION_LIFETIME: Duration = Duration::from_secs(60);
pub const TRANSACTION_LOCK_WAIT: Duration = Duration::from_millis(5);
pub const INDEXES_PER_COLLECTION: usize = 64;
pub const INDEX_FIELDS: usize = 32;
/// Bytes of `db.collection`.
pub const NAMESPACE_BYTES: usize = 255;
pub const DATABASE_NAME_BYTES: usize = 63;
/// Views on views may be this deep.
pub const VIEW_DEPTH: usize = 20;
/// Bytes of the pipelines of a view and of those under it: room is left for the command around them.
pub const VIEW_PIPELINE_BYTES: usize = 16_000_000;
/// The largest size of a capped collection: a petabyte.
pub const CAPPED_BYTES: i64 = 1 << 50;
/// Documents that a statement changes in one transaction, and bytes of changes in the cache from which on the next begins.
pub const GROUP_DOCUMENTS: usize = 500;
pub const GROUP_BYTES: u64 = 4 << 20;
/// Bytes of entries the oplog keeps on disk, about.
pub const OPLOG_BYTES: u64 = 512 << 20;
/// The same for a database in memory, where every byte counts.
pub const OPLOG_BYTES_IN_MEMORY: u64 = 16 << 20;
/// Bytes that one step of trimming removes.
pub const OPLOG_TRIM_STEP: u64 = 4 << 20;
/// Room for the data of a database in memory, which takes only what it holds.
pub const IN_MEMORY_BYTES: u64 = 4 << 30;
/// Snapshots that are kept for later readers at one time: each is a session of the storage.
pub const KEPT_SNAPSHOTS: usize = 64;
/// Bytes written behind a kept snapshot of a database in memory until it is given up.
pub const SNAPSHOT_BYTES_IN_MEMORY: u64 = 64 << 20;
/// Seconds for which they are kept.
pub const SNAPSHOT_SECONDS: i64 = 300;
/// How long closing a database waits for writers that do not hear that they were interrupted.
pub const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// Seconds between two passes over the TTL indexes.
pub const TTL_SECONDS: u64 = 60;
/// How long a write waits for data definition on its collection before it looks again whether it was killed.
pub const LOCK_POLL: Duration = Duration::from_millis(50);
/// The longest key of a document in a clustered collection.
pub const CLUSTERED_KEY_BYTES: usize = 8 << 20;
/// Users, and names that nobody has, that are kept in memory.
pub const KEPT_USERS: usize = 4096;
/// Longer names are not kept: anybody may ask for them.
pub const KEPT_USER_BYTES: usize = 512;
/// What a client sends in one step of a login, and the time it has for all of them.
pub const LOGIN_BYTES: usize = 8 << 10;
pub const LOGIN_TIME: Duration = Duration::from_secs(10);
/// Failed logins of one name from one address, in this time, that are answered at once; each after that waits twice as long.
pub const FAILED_LOGINS_FREE: u32 = 3;
pub const FAILED_LOGINS_FOR: Duration = Duration::from_secs(600);
pub const FAILED_LOGIN_DELAY: Duration = Duration::from_millis(100);
pub const FAILED_LOGIN_DELAY_MOST: Duration = Duration::from_secs(1);
/// From this many on they are refused unread, for so long.
pub const FAILED_LOGINS_REFUSED: u32 = 20;
pub const LOGIN_REFUSED_FOR: Duration = Duration::from_secs(60);
/// Failed logins from one address in a minute, of whatever name, after which each waits.
pub const FAILED_LOGINS_OF_ADDRESS: u32 = 60;
/// Names and addresses that failed logins are counted of.
pub const FAILED_LOGINS_KEPT: usize = 65_536;
/// Bytes of lines of the audit log that wait to be written.
pub const AUDIT_QUEUE_BYTES: usize = 8 << 20;
