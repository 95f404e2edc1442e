//! What write statements have in common: which documents they are about, and changing one of them.

mod target;
mod update;

pub use target::Target;
pub use update::{apply, retry_upsert, upsert};
