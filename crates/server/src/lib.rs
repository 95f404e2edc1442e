//! The sockets: MongoDB's wire protocol over TCP and unix sockets.
//!
//! Framing, compression, exhaust streaming, connections and their end live here; what a command means is the engine's.
//! One blocking thread serves one connection: an operation is one read, one call of [`smongo_engine::Session::run`] and one
//! write, with no hop between threads. An awaitable hello blocks only its own thread.
//!
//! - [`frame`]: header and length of a message, read into a reused buffer.
//! - [`message`]: OP_MSG to a request (the one validation of foreign bytes) and a reply to OP_MSG.
//! - [`legacy`]: OP_QUERY hello. [`compress`]: OP_COMPRESSED. `exhaust`: one request, many replies.
//! - `lobby`: connections that have said nothing yet cost no thread; `limits`: what peers may take before they have logged in.
//! - `hangup`: commands whose client is gone end. `first`, `tls`, `wire`: encrypted connections and plain ones on one port.
//! - [`Server`]: listening sockets, the register of connections, shutdown.

mod accept;
pub mod compress;
mod connection;
mod dn;
mod exhaust;
mod first;
pub mod frame;
mod hangup;
mod listen;
mod lobby;
pub mod legacy;
mod limits;
pub mod message;
mod server;
mod starting;
mod stream;
pub mod tls;
mod told;
mod watch;
mod wire;

pub use listen::{Exposure, Listen};
pub use server::{Handle, Server, Stopper};
pub use tls::{Certificates, Mode, Tls};
