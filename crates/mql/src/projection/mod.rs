//! Projections: find's `projection`, and the bodies of `$project`, `$addFields`, `$unset`.

use smongo_bson::{Doc, Result, Value, bail};

use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::matcher::Matcher;

/// A compiled projection.
pub struct Projection {}

impl Projection {
    /// A find or findAndModify projection, which may use `$`, `$slice`, `$elemMatch`; the positional `$` needs the filter.
    pub fn compile_find(_spec: Doc<'_>, _cx: &CompileCx) -> Result<Projection> {
        bail!(NotImplemented, "projections are not implemented yet")
    }

    /// The body of a `$project` stage.
    pub fn compile_project(_spec: Doc<'_>, _cx: &CompileCx) -> Result<Projection> {
        bail!(NotImplemented, "projections are not implemented yet")
    }

    /// The body of `$addFields` / `$set`.
    pub fn compile_add_fields(_spec: Doc<'_>, _cx: &CompileCx) -> Result<Projection> {
        bail!(NotImplemented, "projections are not implemented yet")
    }

    /// The body of a `$unset` stage: a path or an array of paths.
    pub fn compile_unset(_spec: Value<'_>, _cx: &CompileCx) -> Result<Projection> {
        bail!(NotImplemented, "projections are not implemented yet")
    }

    /// Writes the projected document to `out`. `filter` is the query's, for the positional operator.
    pub fn apply(&self, _doc: Doc<'_>, _filter: Option<&Matcher>, _arena: &Arena, _out: &mut Vec<u8>) -> Result<()> {
        bail!(NotImplemented, "projections are not implemented yet")
    }

    /// Top-level and dotted fields the projection reads, when that is a closed set (inclusions without expressions over
    /// `$$ROOT`): what a covered index must hold.
    pub fn needed_fields(&self) -> Option<&[String]> {
        None
    }
}
