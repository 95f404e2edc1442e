//! Aggregation expressions: compiled from BSON to a tree of function pointers, evaluated per document.

use smongo_bson::{Result, Value, bail};

use crate::cx::{CompileCx, Cx};

/// A compiled expression.
pub struct Expr {
    slots: usize,
}

impl Expr {
    /// Compiles an expression; constants are folded, names and paths resolved, argument errors found here.
    pub fn compile(_expr: Value<'_>, _cx: &CompileCx) -> Result<Expr> {
        bail!(NotImplemented, "expressions are not implemented yet")
    }

    /// The value for one document; `Missing` where a field path leads nowhere.
    pub fn eval<'a>(&'a self, _cx: &Cx<'a>) -> Result<Value<'a>> {
        bail!(NotImplemented, "expressions are not implemented yet")
    }

    /// How many variable slots a [`Cx`] for this program needs.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The constant this expression always yields, if it is one.
    pub fn constant(&self) -> Option<Value<'_>> {
        None
    }
}
