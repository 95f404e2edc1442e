//! The case files: text scripts of commands and expected replies, played through every door.
//!
//! ```text
//! # What the case shows.
//! > {"insert": "t", "documents": [{"_id": 1}]}
//! < {"n": 1}
//! > {"find": "t"}
//! = {"_id": 1}
//! > {"insert": "t", "documents": [{"_id": 1}], "nosuch": 1}
//! ! 40415 IDLUnknownField
//! ```
//!
//! - `>` runs a command against the database `test` (or the one its `$db` names). Lines that begin with a blank continue the one above.
//! - `<` names fields of the reply, each with its exact value, types and order of fields included; other fields may be there too.
//! - `=` is the next document of the reply's cursor, which is read to its end; there must be as many as there are lines.
//!   `=.` alone says that there are none.
//! - `!` is the code and name of the error; text behind the name must occur in the message.
//!   A write error inside a reply is checked with `<`.
//! - `#` begins a comment. Each file starts with an empty database.

mod bless;
mod play;
mod script;

pub use bless::bless;
pub use play::{Door, Embedded, play};
pub use script::{Expect, Script, Step};
