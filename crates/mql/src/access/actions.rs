//! Written by `cargo xtask access`: what privileges allow.

/// The actions of MongoDB's manual, *Privilege Actions*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    AddShard, AnalyzeShardKey, AnyAction, AppendOplogNote, ApplicationMessage, ApplyOps, AuthSchemaUpgrade, BypassDefaultMaxTimeMS,
    BypassDocumentValidation, BypassWriteBlockingMode, ChangeCustomData, ChangeOwnCustomData, ChangeOwnPassword, ChangePassword, ChangeStream,
    CheckMetadataConsistency, CleanupOrphaned, CleanupStructuredEncryptionData, ClearJumboFlag, CloseAllDatabases, CollMod, CollStats, Compact,
    CompactStructuredEncryptionData, ConnPoolStats, ConnPoolSync, ConvertToCapped, CpuProfiler, CreateCollection, CreateIndex, CreateRole,
    CreateSearchIndexes, CreateUser, DbHash, DbStats, DropCollection, DropConnections, DropDatabase, DropIndex, DropRole, DropSearchIndex, DropUser,
    EnableProfiler, EnableSharding, Find, FlushRouterConfig, ForceUUID, Fsync, GetClusterParameter, GetCmdLineOpts, GetDefaultRWConcern, GetLog,
    GetParameter, GetShardMap, GrantRole, HostInfo, Impersonate, IndexStats, Inprog, Insert, Internal, InvalidateUserCache, KillAnyCursor, KillAnySession,
    KillCursors, Killop, ListClusterCatalog, ListCollections, ListDatabases, ListIndexes, ListSearchIndexes, ListSessions, ListShards, LogRotate,
    MoveChunk, MoveCollection, OidReset, PerformRawDataOperations, PlanCacheIndexFilter, PlanCacheRead, PlanCacheWrite, QuerySettings, QueryStatsRead,
    QueryStatsReadTransformed, ReIndex, RefineCollectionShardKey, Remove, RemoveShard, RenameCollectionSameDB, ReplSetConfigure, ReplSetGetConfig,
    ReplSetGetStatus, ReplSetHeartbeat, ReplSetStateChange, ReshardCollection, Resync, RevokeRole, RewriteCollection, RotateCertificates, ServerStatus,
    SetAuthenticationRestriction, SetClusterParameter, SetDefaultRWConcern, SetFeatureCompatibilityVersion, SetParameter, SetUserWriteBlockMode,
    ShardedDataDistribution, ShardingState, Shutdown, SplitChunk, SplitVector, Top, Touch, TransitionFromDedicatedConfigServer,
    TransitionToDedicatedConfigServer, Unlock, UnshardCollection, Update, UpdateSearchIndex, UseUUID, Validate, ViewRole, ViewUser,
}

/// The names of all, sorted, in the order of the variants.
pub const NAMES: [&str; 123] = [
    "addShard", "analyzeShardKey", "anyAction", "appendOplogNote", "applicationMessage", "applyOps", "authSchemaUpgrade", "bypassDefaultMaxTimeMS",
    "bypassDocumentValidation", "bypassWriteBlockingMode", "changeCustomData", "changeOwnCustomData", "changeOwnPassword", "changePassword",
    "changeStream", "checkMetadataConsistency", "cleanupOrphaned", "cleanupStructuredEncryptionData", "clearJumboFlag", "closeAllDatabases", "collMod",
    "collStats", "compact", "compactStructuredEncryptionData", "connPoolStats", "connPoolSync", "convertToCapped", "cpuProfiler", "createCollection",
    "createIndex", "createRole", "createSearchIndexes", "createUser", "dbHash", "dbStats", "dropCollection", "dropConnections", "dropDatabase",
    "dropIndex", "dropRole", "dropSearchIndex", "dropUser", "enableProfiler", "enableSharding", "find", "flushRouterConfig", "forceUUID", "fsync",
    "getClusterParameter", "getCmdLineOpts", "getDefaultRWConcern", "getLog", "getParameter", "getShardMap", "grantRole", "hostInfo", "impersonate",
    "indexStats", "inprog", "insert", "internal", "invalidateUserCache", "killAnyCursor", "killAnySession", "killCursors", "killop", "listClusterCatalog",
    "listCollections", "listDatabases", "listIndexes", "listSearchIndexes", "listSessions", "listShards", "logRotate", "moveChunk", "moveCollection",
    "oidReset", "performRawDataOperations", "planCacheIndexFilter", "planCacheRead", "planCacheWrite", "querySettings", "queryStatsRead",
    "queryStatsReadTransformed", "reIndex", "refineCollectionShardKey", "remove", "removeShard", "renameCollectionSameDB", "replSetConfigure",
    "replSetGetConfig", "replSetGetStatus", "replSetHeartbeat", "replSetStateChange", "reshardCollection", "resync", "revokeRole", "rewriteCollection",
    "rotateCertificates", "serverStatus", "setAuthenticationRestriction", "setClusterParameter", "setDefaultRWConcern", "setFeatureCompatibilityVersion",
    "setParameter", "setUserWriteBlockMode", "shardedDataDistribution", "shardingState", "shutdown", "splitChunk", "splitVector", "top", "touch",
    "transitionFromDedicatedConfigServer", "transitionToDedicatedConfigServer", "unlock", "unshardCollection", "update", "updateSearchIndex", "useUUID",
    "validate", "viewRole", "viewUser",
];

/// All, in the order of their names.
pub const ALL: [Action; 123] = [
    Action::AddShard, Action::AnalyzeShardKey, Action::AnyAction, Action::AppendOplogNote, Action::ApplicationMessage, Action::ApplyOps,
    Action::AuthSchemaUpgrade, Action::BypassDefaultMaxTimeMS, Action::BypassDocumentValidation, Action::BypassWriteBlockingMode, Action::ChangeCustomData,
    Action::ChangeOwnCustomData, Action::ChangeOwnPassword, Action::ChangePassword, Action::ChangeStream, Action::CheckMetadataConsistency,
    Action::CleanupOrphaned, Action::CleanupStructuredEncryptionData, Action::ClearJumboFlag, Action::CloseAllDatabases, Action::CollMod,
    Action::CollStats, Action::Compact, Action::CompactStructuredEncryptionData, Action::ConnPoolStats, Action::ConnPoolSync, Action::ConvertToCapped,
    Action::CpuProfiler, Action::CreateCollection, Action::CreateIndex, Action::CreateRole, Action::CreateSearchIndexes, Action::CreateUser,
    Action::DbHash, Action::DbStats, Action::DropCollection, Action::DropConnections, Action::DropDatabase, Action::DropIndex, Action::DropRole,
    Action::DropSearchIndex, Action::DropUser, Action::EnableProfiler, Action::EnableSharding, Action::Find, Action::FlushRouterConfig, Action::ForceUUID,
    Action::Fsync, Action::GetClusterParameter, Action::GetCmdLineOpts, Action::GetDefaultRWConcern, Action::GetLog, Action::GetParameter,
    Action::GetShardMap, Action::GrantRole, Action::HostInfo, Action::Impersonate, Action::IndexStats, Action::Inprog, Action::Insert, Action::Internal,
    Action::InvalidateUserCache, Action::KillAnyCursor, Action::KillAnySession, Action::KillCursors, Action::Killop, Action::ListClusterCatalog,
    Action::ListCollections, Action::ListDatabases, Action::ListIndexes, Action::ListSearchIndexes, Action::ListSessions, Action::ListShards,
    Action::LogRotate, Action::MoveChunk, Action::MoveCollection, Action::OidReset, Action::PerformRawDataOperations, Action::PlanCacheIndexFilter,
    Action::PlanCacheRead, Action::PlanCacheWrite, Action::QuerySettings, Action::QueryStatsRead, Action::QueryStatsReadTransformed, Action::ReIndex,
    Action::RefineCollectionShardKey, Action::Remove, Action::RemoveShard, Action::RenameCollectionSameDB, Action::ReplSetConfigure,
    Action::ReplSetGetConfig, Action::ReplSetGetStatus, Action::ReplSetHeartbeat, Action::ReplSetStateChange, Action::ReshardCollection, Action::Resync,
    Action::RevokeRole, Action::RewriteCollection, Action::RotateCertificates, Action::ServerStatus, Action::SetAuthenticationRestriction,
    Action::SetClusterParameter, Action::SetDefaultRWConcern, Action::SetFeatureCompatibilityVersion, Action::SetParameter, Action::SetUserWriteBlockMode,
    Action::ShardedDataDistribution, Action::ShardingState, Action::Shutdown, Action::SplitChunk, Action::SplitVector, Action::Top, Action::Touch,
    Action::TransitionFromDedicatedConfigServer, Action::TransitionToDedicatedConfigServer, Action::Unlock, Action::UnshardCollection, Action::Update,
    Action::UpdateSearchIndex, Action::UseUUID, Action::Validate, Action::ViewRole, Action::ViewUser,
];
