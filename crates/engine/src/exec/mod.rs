//! Execution: plans as streams of documents.
//!
//! Every node is a [`Rows`]: it pulls from its inputs and reaches the storage through the operation. Leaves hold a storage
//! cursor while they run; [`Rows::park`] gives it up and remembers the position.

mod collscan;
mod cursor;
mod id;
mod pipeline;
mod shape;
mod sort;

use std::any::Any;
use std::sync::Arc;

use smongo_bson::{Doc, Result, bail};
use smongo_mql::{Arena, Host, Stream};

use crate::keys::RecordId;
use crate::op::OpCx;
use crate::plan::{Filter, Plan, PlanNode, Query};
pub use id::find_by_id;
pub use cursor::Litter;
pub use pipeline::open_pipeline;

/// Documents of a collection, one after the other.
pub trait Rows: Send {
    /// Moves to the next document; `false` at the end.
    fn advance(&mut self, op: &mut OpCx) -> Result<bool>;
    fn record_id(&self) -> RecordId;
    /// The current document, in memory of its own: the storage may be changed while it is borrowed.
    fn doc(&self) -> Doc<'_>;
    /// Lets go of the storage and remembers the position; the next `advance` continues behind it, in whatever snapshot is then current.
    fn park(&mut self, op: &mut OpCx);
}

/// The rows of a plan, without its projection.
pub(crate) fn open_rows(plan: Plan) -> Result<Box<dyn Rows>> {
    let Plan { coll, mut query, root } = plan;
    build(&coll, &mut query, root)
}

/// The documents of a plan as the client sees them.
pub(crate) fn open_stream(plan: Plan, _op: &mut OpCx) -> Result<Box<dyn Stream>> {
    let Plan { coll, mut query, root } = plan;
    let rows = build(&coll, &mut query, root)?;
    let shape = shape::Shape { projection: query.projection.take(), filter: query.filter.clone(), show_record_id: query.show_record_id };
    Ok(Box::new(shape::Documents::new(rows, shape)))
}

fn build(coll: &Arc<crate::catalog::Collection>, query: &mut Query, node: PlanNode) -> Result<Box<dyn Rows>> {
    Ok(match node {
        PlanNode::Eof => Box::new(shape::Nothing),
        PlanNode::Id { value } => Box::new(id::IdRows::new(coll, value)),
        PlanNode::CollScan { forward, filter, tailable } => Box::new(collscan::CollScan::new(coll, forward, filter, tailable)?),
        PlanNode::Sort { input, limit } => {
            let Some(pattern) = query.sort.take() else { bail!(InternalError, "a sort without pattern") };
            let allow_disk = query.allow_disk_use;
            Box::new(sort::Sort::new(build(coll, query, *input)?, pattern, limit, allow_disk))
        }
        PlanNode::Skip { input, count } => Box::new(shape::Skip::new(build(coll, query, *input)?, count)),
        PlanNode::Limit { input, count } => Box::new(shape::Limit::new(build(coll, query, *input)?, count)),
    })
}

/// The operation that runs a stream.
pub(crate) fn op_of(host: &mut dyn Host) -> Result<&mut OpCx> {
    let host: &mut dyn Any = host;
    match host.downcast_mut::<OpCx>() {
        Some(op) => Ok(op),
        None => bail!(InternalError, "a stream of the engine under a foreign host"),
    }
}

/// A filter ready to run, with the arena its expressions need.
pub(crate) struct Test {
    filter: Option<Filter>,
    arena: Arena,
}

impl Test {
    pub fn new(filter: Option<Filter>) -> Test {
        Test { filter, arena: Arena::new() }
    }

    #[inline]
    pub fn passes(&mut self, doc: Doc<'_>) -> Result<bool> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let passed = match &filter.parts {
            None => filter.matcher.matches(doc, &self.arena)?,
            Some(parts) => {
                let mut all = true;
                for path in parts {
                    let Some(node) = filter.node(path) else { bail!(InternalError, "a filter lost a part") };
                    all = all && filter.matcher.node_matches(node, doc, &self.arena)?;
                }
                all
            }
        };
        self.arena.reset();
        Ok(passed)
    }
}

