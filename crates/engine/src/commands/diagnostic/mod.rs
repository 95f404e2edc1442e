//! What a server tells of itself and of what it holds.

pub mod build_info;
pub mod connection;
pub mod grid_fs;
pub mod stats;
pub mod status;
