//! What is stored and how it changes. Knows nothing of queries, sessions or commands; what it must ask of them is the trait [`above::Above`].

pub mod above;
pub mod api;
pub mod buckets;
pub mod catalog;
pub mod clock;
pub mod damage;
pub mod database;
pub mod fsync_lock;
pub mod keys;
pub mod limits;
pub mod lsid;
pub mod namespace;
pub mod op;
pub mod oplog;
pub mod options;
pub mod patience;
pub mod retry;
pub mod snapshots;
pub mod tally;
pub mod tuning;
pub mod watchers;
pub mod write;
