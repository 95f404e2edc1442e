//! Aggregation pipelines: stages compiled from BSON, opened as streams over a source.

use smongo_bson::{Array, Result, bail};

use crate::cx::CompileCx;
use crate::matcher::Matcher;
use crate::projection::Projection;
use crate::sort::SortPattern;
use crate::stream::Stream;

/// A compiled pipeline.
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

/// A stage. Those the planner can absorb into an index plan are visible; the others only make streams.
pub enum Stage {
    Match(Matcher),
    Sort { pattern: SortPattern, limit: Option<u64> },
    Limit(u64),
    Skip(u64),
    Project(Projection),
    Other(Box<dyn Operator>),
}

/// A stage that turns a stream into another.
pub trait Operator: Send {
    /// The stage's name, `$group` for instance.
    fn name(&self) -> &'static str;
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>>;
    /// Stages such as `$documents`, `$collStats`, `$currentOp` make their own documents and must come first.
    fn is_source(&self) -> bool {
        false
    }
}

impl Pipeline {
    pub fn compile(_stages: Array<'_>, _cx: &CompileCx) -> Result<Pipeline> {
        bail!(NotImplemented, "aggregation is not implemented yet")
    }

    /// Folds the stages over a source.
    pub fn open(self, _source: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        bail!(NotImplemented, "aggregation is not implemented yet")
    }
}
