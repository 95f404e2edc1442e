//! Who somebody is and what he may.

mod builtin;
pub mod grants;
pub mod roles;
