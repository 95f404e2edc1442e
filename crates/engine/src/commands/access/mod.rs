//! Users and roles, and logging in.

pub mod login;
pub mod merge;
pub mod roles;
pub mod users;
