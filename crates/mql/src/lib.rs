//! The query language: pure functions over BSON, compiled once, run per document.
//!
//! No IO and no clock: what a program needs of the world it gets when it is compiled ([`CompileCx`]: now, collation,
//! `let` constants) or, for stages that read other collections, through the [`Host`] that runs it.
//!
//! - [`matcher`]: filters. [`expr`]: aggregation expressions. [`accum`]: accumulators and window functions.
//! - [`access`]: what privileges are made of. [`update`], [`projection`], [`sort`]: what their names say. [`pipeline`]: stages and the streams they make.

pub mod access;
pub mod accum;
pub mod arena;
pub mod collation;
pub mod cx;
pub mod expr;
mod fields;
pub mod matcher;
pub mod pipeline;
pub mod projection;
pub mod rand;
pub mod regex;
pub mod running;
pub mod sort;
mod sorted;
pub mod stream;
pub mod text;
pub mod update;

pub use arena::Arena;
pub use cx::{Clock, CompileCx, Cx};
pub use expr::Expr;
pub use matcher::Matcher;
pub use pipeline::Pipeline;
pub use projection::Projection;
pub use sort::SortPattern;
pub use stream::{Host, Stream};
pub use update::Update;
