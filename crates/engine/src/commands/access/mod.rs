//! Users and roles.

pub mod principals;
pub mod roles;
pub mod scram;
pub mod users;
