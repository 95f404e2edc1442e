//! The commands: one row each, in a table sorted by name; a file per command or small family.

pub mod access;
pub mod admin;
pub mod crud;
pub mod definition;
pub mod diagnostic;
pub mod index;
pub mod rules;
pub mod session;

use access::{login, merge, roles, users};
use admin::{application_message, apply_ops, backup, certificates, cluster_parameters, compact, compact_oplog, compatibility, default_concerns, fail_point, fsync, host, parameters, plan_cache, profile, query_settings, replica_set, resize_oplog, write_block};
use crud::{aggregate, bulk_write, count, delete, distinct, explain, find, find_and_modify, get_more, insert, update};
use definition::{capped, coll_mod, create, drop, encryption, lists, validate, validate_metadata};
use diagnostic::{build_info, connection, grid_fs, stats, status};
use index::{indexes, search_indexes};
use session::{handshake, kill, session_commands};
use crate::service::command::{Command, TODO};
pub use cluster_parameters::{load as load_cluster_parameters, write_all as write_cluster_parameters};
pub use default_concerns::load as load_default_concerns;

/// Every command, sorted by name.
pub static COMMANDS: &[Command] = &[
    merge::MERGE,
    session_commands::ABORT_TRANSACTION,
    aggregate::AGGREGATE,
    replica_set::APPEND_OPLOG_NOTE,
    apply_ops::APPLY_OPS,
    login::AUTHENTICATE,
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
    connection::CONNECTION_STATUS,
    capped::CONVERT_TO_CAPPED,
    count::COUNT,
    create::CREATE,
    indexes::CREATE_INDEXES,
    roles::CREATE,
    search_indexes::CREATE,
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
    search_indexes::DROP,
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
    connection::GET_DIAGNOSTIC_DATA,
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
    search_indexes::LIST,
    status::LOCK_INFO,
    application_message::LOG,
    host::LOG_ROTATE,
    login::LOGOUT,
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
    certificates::ROTATE,
    login::SASL_CONTINUE,
    login::SASL_START,
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
    search_indexes::UPDATE,
    users::UPDATE,
    users::INFO,
    validate::VALIDATE,
    validate_metadata::VALIDATE_DB_METADATA,
    connection::WHATS_MY_URI,
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

    #[test]
    fn commands_that_writes_are_blocked_for_exist() {
        let blocked = crate::service::write_block::CHANGING;
        assert!(blocked.is_sorted() && blocked.iter().all(|name| super::lookup(name).is_some()));
    }
}
