//! BSON values, their order, paths, numbers, key encoding and the error table.
//!
//! The ground everything else stands on. It knows no storage, no query language and no transport.
//!
//! - [`Doc`], [`Array`], [`Value`]: `Copy` views that borrow checked bytes; reading them cannot fail.
//! - [`DocBuf`], [`ValueBuf`]: the owned forms. [`DocWriter`], [`ArrayWriter`]: append BSON to a buffer.
//! - [`check`]: the one validation of foreign bytes. [`compare`]: the one order. [`number`]: the one arithmetic.
//! - [`keystring`]: the one key layout, byte order = value order. [`path`]: the one walker of dotted paths.
//! - [`error`]: the one error table.

pub mod check;
pub mod compare;
pub mod decimal;
mod display;
pub mod escaped;
pub mod doc;
pub mod error;
pub mod hash;
pub mod md5_hash;
pub mod index_keys;
pub mod json;
pub mod keystring;
pub mod number;
pub mod oid;
pub mod owned;
pub mod path;
mod scan;
#[cfg(feature = "testing")]
pub mod testing;
pub mod value;
pub mod wildcard;
pub mod write;

pub use decimal::Decimal;
pub use doc::{Array, Doc, Element, Iter};
pub use escaped::Escaped;
pub use error::{Code, Error, Result};
pub use oid::ObjectId;
pub use owned::{DocBuf, ValueBuf};
pub use value::{Binary, Regex, Timestamp, Type, Value};
pub use write::{ArrayWriter, DocWriter};
