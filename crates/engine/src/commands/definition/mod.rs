//! Collections and databases: creating, changing, listing, dropping them.

pub mod capped;
pub mod clustered;
pub mod coll_mod;
pub mod create;
pub mod drop;
pub mod encryption;
pub mod lists;
pub mod timeseries;
pub mod validate;
pub mod validate_metadata;
pub mod views;
