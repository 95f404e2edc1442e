//! An embeddable MongoDB: typed Rust client and the smongo program.

pub use smongo_bson as bson;
pub use smongo_engine::{Engine, Options};
