//! Connections, sessions and transactions, and ending what runs.

pub mod handshake;
pub mod kill;
pub mod session_commands;
