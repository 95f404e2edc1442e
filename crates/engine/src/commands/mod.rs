//! The commands: one row each, in a table sorted by name; a file per command or small family.

pub mod args;

mod aggregate;
mod apply_ops;
mod backup;
mod build_info;
mod bulk_write;
mod capped;
mod cluster_parameters;
mod clustered;
mod coll_mod;
mod compact;
mod compatibility;
mod compact_oplog;
mod count;
mod create;
mod default_concerns;
mod delete;
mod diagnostic;
mod distinct;
mod drop;
mod encryption;
mod explain;
mod fail_point;
mod find;
mod find_and_modify;
mod fsync;
mod get_more;
mod grid_fs;
mod handshake;
mod host;
mod index_spec;
mod indexes;
pub(crate) mod insert;
mod kill;
mod lists;
mod parameters;
mod plan_cache;
mod principals;
mod profile;
mod query_settings;
mod replica_set;
mod resize_oplog;
mod roles;
mod scram;
mod session_commands;
mod stats;
mod status;
pub(crate) mod target;
pub(crate) mod timeseries;
pub(crate) mod update;
mod users;
mod validate;
mod validate_metadata;
mod views;
mod write_block;
pub(crate) mod write_reply;

use smongo_bson::{DocWriter, Result, bail};

use crate::door::Cx;
use crate::usage::Kind;
pub use args::Args;
pub use cluster_parameters::{ClusterParameters, home as cluster_parameters_home, load as load_cluster_parameters};
pub use default_concerns::load as load_default_concerns;
pub use create::write_capped;

/// A command's handler: reads its arguments, does its work, writes the reply's fields (the door adds `ok` and the times).
pub type Handler = fn(&mut Cx<'_>, &mut Args<'_>, &mut DocWriter<'_>) -> Result<()>;

/// A row of the table of commands.
pub struct Command {
    pub name: &'static str,
    pub run: Handler,
    pub traits: u16,
    /// What it counts as.
    pub kind: Kind,
}

/// May run inside a multi-document transaction.
pub const IN_TXN: u16 = 1;
/// Takes a write concern, and waits for it.
pub const WRITES: u16 = 2;
/// Takes a read concern.
pub const READS: u16 = 4;
/// Runs against the `admin` database only.
pub const ADMIN: u16 = 8;
/// Its writes are retryable: it takes a `txnNumber` outside a transaction.
pub const RETRYABLE: u16 = 16;
/// Exists only with `enableTestCommands`.
pub const TEST_ONLY: u16 = 32;
/// Answers also while the server shuts down, and is not counted as an operation.
pub const LIGHT: u16 = 64;

/// Known and not implemented.
const TODO: u16 = 128;

impl Command {
    pub const fn new(name: &'static str, run: Handler, traits: u16) -> Command {
        Command { name, run, traits, kind: Kind::of(name) }
    }

    /// A command MongoDB has and smongo has not yet.
    pub const fn todo(name: &'static str) -> Command {
        Command::new(name, not_implemented, TODO)
    }

    pub fn is(&self, one: u16) -> bool {
        self.traits & one != 0
    }
}

fn not_implemented(cx: &mut Cx<'_>, _args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    bail!(NotImplemented, "the command '{}' is not implemented", cx.command.name)
}

/// Every command, sorted by name.
pub static COMMANDS: &[Command] = &[
    session_commands::ABORT_TRANSACTION,
    aggregate::AGGREGATE,
    replica_set::APPEND_OPLOG_NOTE,
    apply_ops::APPLY_OPS,
    host::AUTHENTICATE,
    compact::AUTO_COMPACT,
    backup::BACKUP,
    build_info::BUILD_INFO,
    build_info::BUILD_INFO_LOWER,
    bulk_write::BULK_WRITE,
    capped::CLONE_COLLECTION_AS_CAPPED,
    coll_mod::COLL_MOD,
    stats::COLL_STATS,
    stats::COLL_STATS_LOWER,
    session_commands::COMMIT_TRANSACTION,
    compact::COMPACT,
    compact_oplog::COMPACT_OPLOG,
    encryption::COMPACT,
    fail_point::CONFIGURE_FAIL_POINT,
    status::CONN_POOL_STATS,
    diagnostic::CONNECTION_STATUS,
    capped::CONVERT_TO_CAPPED,
    count::COUNT,
    create::CREATE,
    indexes::CREATE_INDEXES,
    roles::CREATE,
    users::CREATE,
    kill::CURRENT_OP,
    stats::DATA_SIZE,
    stats::DATA_SIZE_LOWER,
    stats::DB_HASH,
    stats::DB_STATS,
    stats::DB_HASH_LOWER,
    stats::DB_STATS_LOWER,
    delete::DELETE,
    indexes::DELETE_INDEXES,
    distinct::DISTINCT,
    drop::DROP,
    roles::DROP_ALL,
    users::DROP_ALL,
    host::DROP_CONNECTIONS,
    drop::DROP_DATABASE,
    indexes::DROP_INDEXES,
    roles::DROP,
    users::DROP,
    session_commands::END_SESSIONS,
    explain::EXPLAIN,
    host::FEATURES,
    grid_fs::FILE_MD5,
    find::FIND,
    find_and_modify::FIND_AND_MODIFY,
    find_and_modify::FIND_AND_MODIFY_LOWER,
    fsync::FSYNC,
    fsync::FSYNC_UNLOCK,
    cluster_parameters::GET,
    parameters::GET_CMD_LINE_OPTS,
    default_concerns::GET,
    diagnostic::GET_DIAGNOSTIC_DATA,
    host::GET_LAST_ERROR,
    host::GET_LOG,
    get_more::GET_MORE,
    parameters::GET_PARAMETER,
    host::GET_SHARD_MAP,
    host::GET_LAST_ERROR_LOWER,
    roles::GRANT_PRIVILEGES,
    roles::GRANT_ROLES,
    users::GRANT_ROLES,
    handshake::HELLO,
    host::HOST_INFO,
    insert::INSERT,
    roles::INVALIDATE_USER_CACHE,
    handshake::IS_MASTER,
    host::IS_DB_GRID,
    handshake::IS_MASTER_LOWER,
    kill::KILL_ALL_SESSIONS,
    kill::KILL_ALL_SESSIONS_BY_PATTERN,
    get_more::KILL_CURSORS,
    kill::KILL_OP,
    kill::KILL_SESSIONS,
    lists::LIST_COLLECTIONS,
    host::LIST_COMMANDS,
    lists::LIST_DATABASES,
    indexes::LIST_INDEXES,
    status::LOCK_INFO,
    host::LOG_ROTATE,
    host::LOGOUT,
    host::MAP_REDUCE,
    host::MAP_REDUCE_LOWER,
    handshake::PING,
    plan_cache::PLAN_CACHE_CLEAR,
    plan_cache::PLAN_CACHE_CLEAR_FILTERS,
    plan_cache::PLAN_CACHE_LIST_FILTERS,
    plan_cache::PLAN_CACHE_SET_FILTER,
    profile::PROFILE,
    compact::RE_INDEX,
    session_commands::REFRESH_SESSIONS,
    query_settings::REMOVE,
    drop::RENAME_COLLECTION,
    replica_set::FREEZE,
    replica_set::GET_CONFIG,
    replica_set::GET_STATUS,
    replica_set::INITIATE,
    replica_set::MAINTENANCE,
    replica_set::RECONFIG,
    resize_oplog::REPL_SET_RESIZE_OPLOG,
    replica_set::STEP_DOWN,
    replica_set::SYNC_FROM,
    roles::REVOKE_PRIVILEGES,
    roles::REVOKE_ROLES,
    users::REVOKE_ROLES,
    roles::INFO,
    status::SERVER_STATUS,
    cluster_parameters::SET,
    default_concerns::SET,
    compatibility::SET,
    indexes::SET_COMMIT_QUORUM,
    parameters::SET_PARAMETER,
    query_settings::SET,
    write_block::SET,
    host::SHARDING_STATE,
    replica_set::SHUTDOWN,
    session_commands::START_SESSION,
    fail_point::TEST_VERSION_2,
    status::TOP,
    update::UPDATE,
    roles::UPDATE,
    users::UPDATE,
    users::INFO,
    validate::VALIDATE,
    validate_metadata::VALIDATE_DB_METADATA,
    diagnostic::WHATS_MY_URI,
];

/// Names of all commands with whether they are implemented, sorted.
pub fn commands() -> impl Iterator<Item = (&'static str, bool)> {
    COMMANDS.iter().map(|row| (row.name, !row.is(TODO)))
}

/// The row of a command.
pub fn lookup(name: &str) -> Option<&'static Command> {
    COMMANDS.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &COMMANDS[at])
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_sorted() {
        assert!(super::COMMANDS.is_sorted_by(|a, b| a.name < b.name));
    }
}
