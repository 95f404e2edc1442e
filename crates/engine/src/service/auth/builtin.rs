//! Written by `cargo xtask access`: the roles that are there from the start, and what they allow.

use smongo_mql::access::{Action, Actions};

use super::roles::{Builtin, Target};

/// Sorted by name.
pub static ROLES: &[Builtin] = &[
    Builtin {
        name: "__queryableBackup",
        of_admin: true,
        inherits: &[],
        privileges: &[
        ],
    },
    Builtin {
        name: "__system",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::AnyResource, Actions::of(&[
                Action::AnyAction,
            ])),
        ],
    },
    Builtin {
        name: "backup",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::AnyResource, Actions::of(&[
                Action::CollStats, Action::ListCollections, Action::ListDatabases, Action::ListIndexes, Action::ListSearchIndexes,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::AppendOplogNote, Action::GetParameter, Action::ListDatabases, Action::ServerStatus, Action::SetUserWriteBlockMode, Action::UseUUID,
            ])),
            (Target::Ns("", ""), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("config", ""), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("local", ""), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("", "system.js"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("", "system.profile"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("", "system.users"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "system.users"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "system.roles"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "system.version"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "system.backup_users"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "system.new_users"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("local", "system.replset"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("local", "replset.election"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("local", "replset.minvalid"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("config", "settings"), Actions::of(&[
                Action::Find, Action::Insert, Action::Update,
            ])),
        ],
    },
    Builtin {
        name: "clusterAdmin",
        of_admin: true,
        inherits: &["clusterMonitor", "clusterManager", "hostManager"],
        privileges: &[
            (Target::Ns("", ""), Actions::of(&[
                Action::DropDatabase,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::QuerySettings,
            ])),
        ],
    },
    Builtin {
        name: "clusterManager",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Cluster, Actions::of(&[
                Action::AddShard, Action::AppendOplogNote, Action::ApplicationMessage, Action::CheckMetadataConsistency, Action::CleanupOrphaned,
                Action::FlushRouterConfig, Action::GetClusterParameter, Action::GetDefaultRWConcern, Action::ListSessions, Action::ListShards, Action::MoveCollection,
                Action::QuerySettings, Action::RemoveShard, Action::ReplSetConfigure, Action::ReplSetGetConfig, Action::ReplSetGetStatus, Action::ReplSetStateChange,
                Action::Resync, Action::SetClusterParameter, Action::SetDefaultRWConcern, Action::SetFeatureCompatibilityVersion,
                Action::TransitionFromDedicatedConfigServer, Action::TransitionToDedicatedConfigServer, Action::UnshardCollection,
            ])),
            (Target::Ns("", ""), Actions::of(&[
                Action::AnalyzeShardKey, Action::ClearJumboFlag, Action::EnableSharding, Action::MoveChunk, Action::RefineCollectionShardKey,
                Action::ReshardCollection, Action::SplitVector,
            ])),
            (Target::Ns("config", ""), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::EnableSharding, Action::Find, Action::Insert, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::MoveChunk, Action::PlanCacheRead, Action::Remove, Action::Update,
            ])),
            (Target::Ns("config", "system.js"), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections, Action::ListIndexes,
                Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("local", ""), Actions::of(&[
                Action::EnableSharding, Action::Insert, Action::MoveChunk, Action::Remove, Action::Update,
            ])),
            (Target::Ns("local", "system.replset"), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections, Action::ListIndexes,
                Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("local", "replset.election"), Actions::of(&[
                Action::Insert, Action::Remove, Action::Update,
            ])),
            (Target::Ns("local", "replset.minvalid"), Actions::of(&[
                Action::Insert, Action::Remove, Action::Update,
            ])),
        ],
    },
    Builtin {
        name: "clusterMonitor",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Cluster, Actions::of(&[
                Action::ConnPoolStats, Action::GetCmdLineOpts, Action::GetDefaultRWConcern, Action::GetLog, Action::GetParameter, Action::GetShardMap,
                Action::HostInfo, Action::Inprog, Action::ListClusterCatalog, Action::ListDatabases, Action::ListSessions, Action::ListShards, Action::QueryStatsRead,
                Action::QueryStatsReadTransformed, Action::ReplSetGetConfig, Action::ReplSetGetStatus, Action::ServerStatus, Action::ShardingState, Action::Top,
                Action::UseUUID,
            ])),
            (Target::Ns("", ""), Actions::of(&[
                Action::CollStats, Action::DbStats, Action::IndexStats,
            ])),
            (Target::Ns("", "system.profile"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("config", ""), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::IndexStats, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("config", "system.js"), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections, Action::ListIndexes,
                Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("local", ""), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::IndexStats, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("local", "system.js"), Actions::of(&[
                Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections, Action::ListIndexes,
                Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("local", "system.replset"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("local", "replset.election"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("local", "replset.minvalid"), Actions::of(&[
                Action::Find,
            ])),
        ],
    },
    Builtin {
        name: "dbAdmin",
        of_admin: false,
        inherits: &[],
        privileges: &[
            (Target::Own(""), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CollStats, Action::Compact, Action::ConvertToCapped, Action::CreateCollection,
                Action::CreateIndex, Action::CreateSearchIndexes, Action::DbStats, Action::DropCollection, Action::DropDatabase, Action::DropIndex,
                Action::DropSearchIndex, Action::EnableProfiler, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheIndexFilter,
                Action::PlanCacheRead, Action::PlanCacheWrite, Action::ReIndex, Action::RenameCollectionSameDB, Action::UpdateSearchIndex, Action::Validate,
            ])),
            (Target::Own("system.profile"), Actions::of(&[
                Action::ChangeStream, Action::CollStats, Action::ConvertToCapped, Action::CreateCollection, Action::DbHash, Action::DbStats, Action::DropCollection,
                Action::Find, Action::KillCursors, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
        ],
    },
    Builtin {
        name: "dbAdminAnyDatabase",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Ns("", ""), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CollStats, Action::Compact, Action::ConvertToCapped, Action::CreateCollection,
                Action::CreateIndex, Action::CreateSearchIndexes, Action::DbStats, Action::DropCollection, Action::DropDatabase, Action::DropIndex,
                Action::DropSearchIndex, Action::EnableProfiler, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheIndexFilter,
                Action::PlanCacheRead, Action::PlanCacheWrite, Action::ReIndex, Action::RenameCollectionSameDB, Action::UpdateSearchIndex, Action::Validate,
            ])),
            (Target::Ns("", "system.profile"), Actions::of(&[
                Action::ChangeStream, Action::CollStats, Action::ConvertToCapped, Action::CreateCollection, Action::DbHash, Action::DbStats, Action::DropCollection,
                Action::Find, Action::KillCursors, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::ApplyOps, Action::ListDatabases,
            ])),
        ],
    },
    Builtin {
        name: "dbOwner",
        of_admin: false,
        inherits: &["readWrite", "dbAdmin", "userAdmin"],
        privileges: &[
        ],
    },
    Builtin {
        name: "directShardOperations",
        of_admin: true,
        inherits: &[],
        privileges: &[
        ],
    },
    Builtin {
        name: "enableSharding",
        of_admin: false,
        inherits: &[],
        privileges: &[
            (Target::Own(""), Actions::of(&[
                Action::AnalyzeShardKey, Action::EnableSharding, Action::MoveCollection, Action::RefineCollectionShardKey, Action::ReshardCollection,
                Action::UnshardCollection,
            ])),
        ],
    },
    Builtin {
        name: "hostManager",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Cluster, Actions::of(&[
                Action::ApplicationMessage, Action::CloseAllDatabases, Action::Compact, Action::ConnPoolSync, Action::FlushRouterConfig, Action::Fsync,
                Action::InvalidateUserCache, Action::KillAnyCursor, Action::KillAnySession, Action::Killop, Action::LogRotate, Action::OidReset, Action::Resync,
                Action::RotateCertificates, Action::SetParameter, Action::Shutdown, Action::Touch, Action::Unlock,
            ])),
            (Target::Ns("", ""), Actions::of(&[
                Action::KillCursors,
            ])),
        ],
    },
    Builtin {
        name: "read",
        of_admin: false,
        inherits: &[],
        privileges: &[
            (Target::Own(""), Actions::of(&[
                Action::ChangeStream, Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Own("system.js"), Actions::of(&[
                Action::ChangeStream, Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
        ],
    },
    Builtin {
        name: "readAnyDatabase",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Ns("", ""), Actions::of(&[
                Action::ChangeStream, Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Ns("", "system.js"), Actions::of(&[
                Action::ChangeStream, Action::CollStats, Action::DbHash, Action::DbStats, Action::Find, Action::KillCursors, Action::ListCollections,
                Action::ListIndexes, Action::ListSearchIndexes, Action::PlanCacheRead,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::ListDatabases,
            ])),
        ],
    },
    Builtin {
        name: "readWrite",
        of_admin: false,
        inherits: &[],
        privileges: &[
            (Target::Own(""), Actions::of(&[
                Action::ChangeStream, Action::CleanupStructuredEncryptionData, Action::CollStats, Action::CompactStructuredEncryptionData, Action::ConvertToCapped,
                Action::CreateCollection, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropCollection, Action::DropIndex,
                Action::DropSearchIndex, Action::Find, Action::Insert, Action::KillCursors, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes,
                Action::PerformRawDataOperations, Action::PlanCacheRead, Action::Remove, Action::RenameCollectionSameDB, Action::Update, Action::UpdateSearchIndex,
            ])),
            (Target::Own("system.js"), Actions::of(&[
                Action::ChangeStream, Action::CleanupStructuredEncryptionData, Action::CollStats, Action::CompactStructuredEncryptionData, Action::ConvertToCapped,
                Action::CreateCollection, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropCollection, Action::DropIndex,
                Action::DropSearchIndex, Action::Find, Action::Insert, Action::KillCursors, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes,
                Action::PerformRawDataOperations, Action::PlanCacheRead, Action::Remove, Action::RenameCollectionSameDB, Action::Update, Action::UpdateSearchIndex,
            ])),
        ],
    },
    Builtin {
        name: "readWriteAnyDatabase",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Ns("", ""), Actions::of(&[
                Action::ChangeStream, Action::CleanupStructuredEncryptionData, Action::CollStats, Action::CompactStructuredEncryptionData, Action::ConvertToCapped,
                Action::CreateCollection, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropCollection, Action::DropIndex,
                Action::DropSearchIndex, Action::Find, Action::Insert, Action::KillCursors, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes,
                Action::PerformRawDataOperations, Action::PlanCacheRead, Action::Remove, Action::RenameCollectionSameDB, Action::Update, Action::UpdateSearchIndex,
            ])),
            (Target::Ns("", "system.js"), Actions::of(&[
                Action::ChangeStream, Action::CleanupStructuredEncryptionData, Action::CollStats, Action::CompactStructuredEncryptionData, Action::ConvertToCapped,
                Action::CreateCollection, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropCollection, Action::DropIndex,
                Action::DropSearchIndex, Action::Find, Action::Insert, Action::KillCursors, Action::ListCollections, Action::ListIndexes, Action::ListSearchIndexes,
                Action::PerformRawDataOperations, Action::PlanCacheRead, Action::Remove, Action::RenameCollectionSameDB, Action::Update, Action::UpdateSearchIndex,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::ListDatabases,
            ])),
        ],
    },
    Builtin {
        name: "restore",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Cluster, Actions::of(&[
                Action::BypassWriteBlockingMode, Action::ForceUUID, Action::GetParameter, Action::SetUserWriteBlockMode, Action::UseUUID,
            ])),
            (Target::AnyResource, Actions::of(&[
                Action::ListCollections,
            ])),
            (Target::Ns("", ""), Actions::of(&[
                Action::BypassDocumentValidation, Action::ChangeCustomData, Action::ChangePassword, Action::CollMod, Action::ConvertToCapped, Action::CreateCollection,
                Action::CreateIndex, Action::CreateRole, Action::CreateSearchIndexes, Action::CreateUser, Action::DropCollection, Action::DropRole, Action::DropUser,
                Action::GrantRole, Action::Insert, Action::RevokeRole, Action::SetAuthenticationRestriction, Action::UpdateSearchIndex, Action::ViewRole,
                Action::ViewUser,
            ])),
            (Target::Ns("", "system.js"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Insert,
                Action::UpdateSearchIndex,
            ])),
            (Target::Ns("config", ""), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Insert,
                Action::UpdateSearchIndex,
            ])),
            (Target::Ns("local", ""), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Insert,
                Action::UpdateSearchIndex,
            ])),
            (Target::Ns("local", "replset.election"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Insert,
                Action::UpdateSearchIndex,
            ])),
            (Target::Ns("local", "replset.minvalid"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Insert,
                Action::UpdateSearchIndex,
            ])),
            (Target::Ns("admin", "system.version"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Find, Action::Insert,
                Action::UpdateSearchIndex,
            ])),
            (Target::Ns("admin", "system.roles"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Find, Action::Insert,
                Action::Remove, Action::Update, Action::UpdateSearchIndex,
            ])),
            (Target::Ns("admin", "tempusers"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "temproles"), Actions::of(&[
                Action::Find,
            ])),
            (Target::Ns("admin", "system.users"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Find, Action::Insert,
                Action::Remove, Action::Update, Action::UpdateSearchIndex,
            ])),
            (Target::Ns("", "system.users"), Actions::of(&[
                Action::BypassDocumentValidation, Action::CollMod, Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::Find, Action::Insert,
                Action::Remove, Action::Update, Action::UpdateSearchIndex,
            ])),
            (Target::Ns("", "system.views"), Actions::of(&[
                Action::DropCollection,
            ])),
        ],
    },
    Builtin {
        name: "root",
        of_admin: true,
        inherits: &["readWriteAnyDatabase", "dbAdminAnyDatabase", "userAdminAnyDatabase", "clusterAdmin", "restore", "backup"],
        privileges: &[
            (Target::AnyResource, Actions::of(&[
                Action::Validate,
            ])),
            (Target::Ns("config", "system.preimages"), Actions::of(&[
                Action::Find, Action::Remove,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::BypassDefaultMaxTimeMS,
            ])),
        ],
    },
    Builtin {
        name: "searchCoordinator",
        of_admin: true,
        inherits: &["readAnyDatabase"],
        privileges: &[
            (Target::Ns("__mdb_internal_search", ""), Actions::of(&[
                Action::CreateCollection, Action::CreateIndex, Action::DropCollection, Action::DropIndex, Action::Insert, Action::Remove, Action::Update,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::BypassDefaultMaxTimeMS,
            ])),
        ],
    },
    Builtin {
        name: "userAdmin",
        of_admin: false,
        inherits: &[],
        privileges: &[
            (Target::Own(""), Actions::of(&[
                Action::ChangeCustomData, Action::ChangePassword, Action::CreateRole, Action::CreateUser, Action::DropRole, Action::DropUser, Action::GrantRole,
                Action::RevokeRole, Action::SetAuthenticationRestriction, Action::ViewRole, Action::ViewUser,
            ])),
        ],
    },
    Builtin {
        name: "userAdminAnyDatabase",
        of_admin: true,
        inherits: &[],
        privileges: &[
            (Target::Ns("", ""), Actions::of(&[
                Action::ChangeCustomData, Action::ChangePassword, Action::CreateRole, Action::CreateUser, Action::DropRole, Action::DropUser, Action::GrantRole,
                Action::RevokeRole, Action::SetAuthenticationRestriction, Action::ViewRole, Action::ViewUser,
            ])),
            (Target::Cluster, Actions::of(&[
                Action::AuthSchemaUpgrade, Action::InvalidateUserCache, Action::ListDatabases,
            ])),
            (Target::Ns("admin", "system.users"), Actions::of(&[
                Action::CollStats, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropIndex, Action::DropSearchIndex,
                Action::Find, Action::KillCursors, Action::PlanCacheRead,
            ])),
            (Target::Ns("admin", "system.roles"), Actions::of(&[
                Action::CollStats, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropIndex, Action::DropSearchIndex,
                Action::Find, Action::KillCursors, Action::PlanCacheRead,
            ])),
            (Target::Ns("", "system.users"), Actions::of(&[
                Action::CollStats, Action::CreateIndex, Action::CreateSearchIndexes, Action::DbHash, Action::DbStats, Action::DropIndex, Action::DropSearchIndex,
                Action::Find, Action::KillCursors, Action::PlanCacheRead,
            ])),
        ],
    },
];
