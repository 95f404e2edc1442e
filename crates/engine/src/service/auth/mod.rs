//! Who somebody is and what he may: users and roles as they are stored, logging in, what a connection knows of its user, and what
//! the user's roles allow.

pub mod attempts;
mod builtin;
mod connection;
mod conversation;
pub mod grants;
pub mod principals;
pub mod privileges;
pub mod restrictions;
pub mod roles;
pub mod scram;
mod secret;
pub mod tally;
pub mod users;

pub use connection::{Connection, Peer};
pub use conversation::{Answer, SaslStart};
pub use secret::Secret;
