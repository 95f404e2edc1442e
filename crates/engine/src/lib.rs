//! The database: catalog, indexes, planner, execution, writes, oplog, commands, sessions, typed client.
//!
//! Everything enters by [`Session::run`] with a command's bytes and leaves as a reply's bytes. Synchronous; knows no runtime.
//!
//! Seven floors, each a folder; what stands on one names its own floor and those below it:
//! `data` (what is stored and how it changes), `query` (plan, exec, change streams), `service` (what outlives a command, and what a command is),
//! [`commands`], [`door`] (a command's way in and its reply's way out), `life` (opening a database, its background threads, repair), [`client`].

pub mod client;
mod commands;
mod data;
pub mod door;
mod life;
mod query;
mod service;

pub use commands::commands;
pub use service::command::{After, Client, Peer, Request, Sequence, Trust, Way};
pub use door::Session;
pub use life::engine::Engine;
pub use data::namespace::Ns;
pub use service::auth::scram::{Asking, Mechanism};
pub use service::operations::Watched;
pub use data::options::{Audit, Destination, Options};
pub use life::repair::repair;
pub use smongo_storage::descriptors;
