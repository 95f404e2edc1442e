//! Running a database: settings, backup, space.

pub mod application_message;
pub mod apply_ops;
pub mod backup;
pub mod certificates;
pub mod cluster_parameters;
pub mod compact;
pub mod compact_oplog;
pub mod compatibility;
pub mod default_concerns;
pub mod fail_point;
pub mod fsync;
pub mod host;
pub mod parameters;
pub mod plan_cache;
pub mod profile;
pub mod query_settings;
pub mod replica_set;
pub mod resize_oplog;
pub mod write_block;
