//! A database's life: opening, background threads, repair.

pub mod bootstrap;
pub mod engine;
pub mod maintenance;
pub mod repair;
pub mod ttl;
