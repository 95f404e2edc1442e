//! Accumulators (`$group`, `$bucket`, expressions) and window functions (`$setWindowFields`).
//!
//! An [`Accumulator`] is what `{$sum: "$x"}` compiles to; each group holds a [`State`] made by it. The arithmetic of `$sum`, `$avg`,
//! `$stdDevPop` … is in [`summation`], which the expressions of the same names use too.

mod arrays;
pub mod percentile;
mod pick;
pub mod ranked;
pub mod removable;
mod scalar;
mod spec;
pub mod summation;

use std::sync::Arc;

use smongo_bson::{Doc, Result, Value, ValueBuf, bail};

use crate::collation::Collation;
use crate::cx::Cx;
use crate::expr::Expr;
use crate::sort::SortPattern;

pub use scalar::{count_value, list};
pub use spec::{Arguments, accumulators, is_accumulator, parse_n};

/// What a group remembers of its documents for one accumulator.
pub trait State: Send {
    /// Takes the argument's value for one document. `key` is the sort key of `$top`'s kin, empty for all others.
    fn add(&mut self, value: Value<'_>, key: &[u8]) -> Result<()>;

    /// The result so far; documents may still be added.
    fn finish(&mut self) -> Result<ValueBuf>;

    /// The state as a value, to be spilled; the state is spent.
    fn partial(&mut self) -> Result<ValueBuf>;

    /// Adds a state taken by [`State::partial`], of documents that came after those of this one.
    fn merge(&mut self, partial: Value<'_>) -> Result<()>;

    /// Bytes held beyond a fixed small size; zero for states that do not grow.
    fn size(&self) -> usize {
        0
    }
}

/// The most bytes the state of one group may take up.
const MAX_STATE: usize = 100 * 1024 * 1024;

/// A compiled accumulator with its arguments.
pub struct Accumulator {
    /// `$sum` for instance.
    pub name: &'static str,
    args: Arguments,
    collation: Option<Arc<Collation>>,
    make: spec::Make,
    grows: bool,
}

impl Accumulator {
    /// Compiles `{$sum: …}`: `name` and the value beside it.
    pub fn compile(name: &str, arg: Value<'_>, cx: &crate::CompileCx) -> Result<Accumulator> {
        spec::compile(name, arg, cx)
    }

    /// What strings are compared by.
    pub fn collation(&self) -> Option<Arc<Collation>> {
        self.collation.clone()
    }

    /// A new state. `id` is the group's `_id` when that is a document (`n` may read it), else an empty document.
    pub fn start(&self, id: Doc<'_>, arena: &crate::Arena) -> Result<Box<dyn State>> {
        Ok(self.start_with(self.n(id, arena)?))
    }

    /// A new state for a value of `n` that is known.
    pub fn start_with(&self, n: usize) -> Box<dyn State> {
        (self.make)(self, n)
    }

    /// The value of `n`; 1 where there is none.
    pub fn n(&self, id: Doc<'_>, arena: &crate::Arena) -> Result<usize> {
        self.args.n().map_or(Ok(1), |n| parse_n(n.eval(&Cx::new(arena, id, n.slots()))?))
    }

    /// Adds the document `cx.root` to a state.
    pub fn feed<'a>(&'a self, state: &mut dyn State, cx: &Cx<'a>, key: &mut Vec<u8>) -> Result<()> {
        key.clear();
        if let (Some(sort), Value::Document(d)) = (self.sort(), cx.root) {
            sort.append_key(d, key)?;
        }
        state.add(self.evaluate(cx)?, key)
    }

    /// What a state takes of the document `cx.root`, beside its sort key.
    pub fn evaluate<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let (Arguments::One(e) | Arguments::N { input: e, .. } | Arguments::Percentile { input: e, .. } | Arguments::Top { output: e, .. }) = &self.args;
        e.eval(cx)
    }

    /// Fails when a state has become larger than any is allowed to be: one state cannot be spilled.
    pub fn check_size(&self, state: &dyn State) -> Result<()> {
        if self.grows && state.size() > MAX_STATE {
            bail!(ExceededMemoryLimit, "{} used too much memory and spilling to disk cannot reduce memory consumption any further. Memory limit: {MAX_STATE} bytes", self.name);
        }
        Ok(())
    }

    /// Whether the state's memory grows with the documents.
    pub fn grows(&self) -> bool {
        self.grows
    }

    /// Variable slots its expressions need in a [`Cx`].
    pub fn slots(&self) -> usize {
        self.args.exprs().map(Expr::slots).max().unwrap_or(0)
    }

    /// The argument expressions and, for `$top` and its kin, the sort pattern.
    pub fn arguments(&self) -> &Arguments {
        &self.args
    }

    pub fn sort(&self) -> Option<&SortPattern> {
        match &self.args {
            Arguments::Top { sort, .. } => Some(sort),
            _ => None,
        }
    }
}
