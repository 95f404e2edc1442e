//! What outlives a command, and what a command is: its arguments, its context, its row in the table.

pub mod audit;
pub mod auth;
pub mod cluster_parameters;
pub mod command;
pub mod current_op;
pub mod cursors;
pub mod default_concerns;
pub mod failpoint;
pub mod host;
pub mod log_components;
pub mod operations;
pub mod parameters;
pub mod profiler;
pub mod query_settings;
pub mod replica_set;
pub mod sessions;
pub mod shared;
pub mod sink;
pub mod timeseries;
pub mod usage;
pub mod write_block;
