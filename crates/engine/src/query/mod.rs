//! Questions: which plan answers a query, running it, and watching changes. Knows the floor of data alone.

pub mod change;
pub mod exec;
pub mod plan;
pub mod statement;
