//! An embeddable document database that works with MongoDB drivers: the typed Rust client, and the smongo program.
//!
//! [`Client::open`] opens a directory, [`Client::in_memory`] none; see [`client`] for an example.

pub use smongo_bson::{Code, Error};
pub use smongo_engine::client;
pub use smongo_engine::client::{Client, Collection, Cursor, Database};
pub use smongo_engine::{Engine, Options};
