//! Execution: plans as streams of documents.
//!
//! Every node is a [`Rows`]: it pulls from its inputs and reaches the storage through the operation. Leaves hold a storage
//! cursor while they run; [`Rows::park`] gives it up and remembers the position.

mod clustered;
mod collscan;
mod combine;
mod cover;
mod cursor;
mod fetch;
mod id;
mod ixscan;
mod near;
mod pipeline;
mod ranges;
mod shape;
mod sort;
mod source;
mod text;
mod vector_search;

use std::any::Any;
use std::sync::Arc;

use smongo_bson::keystring::{self, TypeBitsReader};
use smongo_bson::{Doc, DocWriter, Result, bail};
use smongo_mql::pipeline::spill::Spilled;
use smongo_mql::{Arena, Host, SortPattern, Stream};
use smongo_storage::Table;

use crate::data::catalog::{Collection, Index};
use crate::data::keys::RecordId;
use crate::data::op::OpCx;
use crate::data::tally::add;
use crate::query::plan::{Filter, IndexScan, Plan, PlanNode, Query};
pub use cursor::Held;
pub use pipeline::{Prepared, finds, open_hinted, open_pipeline, prepare};
pub use ranges::Ranges;
pub use source::{list_search_indexes, open as open_source, storage_stats};
pub use vector_search::check as check_vector_search;

/// How many keys or documents are looked at between two looks at the clock; whether the operation was killed is looked at each
/// time, since one document may take its time (a polygon with thousands of corners).
const INTERRUPT_EVERY: u64 = 32;

/// Documents of a collection, one after the other.
pub trait Rows: Send {
    /// Moves to the next document; `false` at the end.
    fn advance(&mut self, op: &mut OpCx) -> Result<bool>;
    fn record_id(&self) -> RecordId;
    /// The current document, in memory of its own: the storage may be changed while it is borrowed.
    fn doc(&self) -> Doc<'_>;
    /// The rows below, where what they found each document by is passed on.
    fn input(&self) -> Option<&dyn Rows> {
        None
    }

    /// The index entry the document was found by, where it is kept.
    fn entry(&self) -> Option<Entry<'_>> {
        self.input()?.entry()
    }

    /// What a search attached to the document, for `$meta`.
    fn meta(&self) -> Doc<'_> {
        self.input().map_or(Doc::EMPTY, Rows::meta)
    }

    /// Appends the fields of that entry under the names of the key pattern; none where no index was used.
    fn key_document(&self, out: &mut Vec<u8>) -> Result<()> {
        match self.input() {
            Some(input) => input.key_document(out),
            None => write_key(self.entry(), out),
        }
    }

    /// Lets go of the storage and remembers the position; the next `advance` continues behind it, in whatever snapshot is then current.
    fn park(&mut self, op: &mut OpCx);
    /// What was done so far, here and then in the inputs.
    fn counters(&self, out: &mut Vec<Counters>);
}

fn write_key(entry: Option<Entry<'_>>, out: &mut Vec<u8>) -> Result<()> {
    let mut w = DocWriter::new(out);
    let Some(Entry { index, key, bits }) = entry else { return Ok(()) };
    let mut bits = TypeBitsReader::new(bits);
    let mut rest = key;
    for part in &index.parts {
        let (value, after) = keystring::decode_with(rest, part.descending, &mut bits)?;
        rest = after;
        w.append(part.path.text(), value.view());
    }
    Ok(())
}

/// An entry of an index: its key without the record id, and the type bits.
pub struct Entry<'a> {
    pub index: &'a Arc<Index>,
    pub key: &'a [u8],
    pub bits: &'a [u8],
}

/// What a node did, for explain and the profile.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub advanced: u64,
    pub keys: u64,
    pub docs: u64,
    pub seeks: u64,
    pub dups: u64,
    pub sorted: Spilled,
}

/// Adds to the server's counts what rows have looked at since they were counted last, and tells where they are now.
pub(crate) fn count(op: &OpCx, rows: &dyn Rows, counted: (u64, u64)) -> (u64, u64) {
    let mut nodes = Vec::with_capacity(4);
    rows.counters(&mut nodes);
    let now = nodes.iter().fold((0, 0), |(keys, docs), node| (keys + node.keys, docs + node.docs));
    let tally = &op.data.tally;
    add(&tally.keys, now.0.saturating_sub(counted.0));
    add(&tally.documents, now.1.saturating_sub(counted.1));
    now
}

/// The rows of a plan, without its projection.
pub(crate) fn open_rows(plan: Plan) -> Result<Box<dyn Rows>> {
    Build::new(&plan, true).node(&plan.root)
}

/// The same for a plan that is still needed.
pub(crate) fn rows(plan: &Plan) -> Result<Box<dyn Rows>> {
    Build::new(plan, false).node(&plan.root)
}

/// The documents of a plan as the client sees them.
pub(crate) fn open_stream(plan: Plan) -> Result<Box<dyn Stream>> {
    let rows = rows(&plan)?;
    let Query { projection, filter, show_record_id, return_key, sort_key, .. } = plan.query;
    let sort_key = plan.sort.filter(|_| sort_key);
    Ok(Box::new(shape::Documents::new(rows, shape::Shape { projection, filter, show_record_id, return_key, sort_key })))
}

/// Makes the nodes of a plan.
struct Build<'p> {
    coll: &'p Arc<Collection>,
    query: &'p Query,
    sort: Option<&'p Arc<SortPattern>>,
    /// Documents may be changed while the plan runs, and come by once more under another key.
    dedup: bool,
    /// Somebody above wants the index entries.
    entries: bool,
    /// And wants them as `$meta`.
    keys: bool,
}

impl<'p> Build<'p> {
    fn new(plan: &'p Plan, dedup: bool) -> Build<'p> {
        Build { coll: &plan.coll, query: &plan.query, sort: plan.sort.as_ref(), dedup, entries: plan.query.return_key, keys: plan.query.keep_keys }
    }

    fn with_entries(&self) -> Build<'p> {
        Build { entries: true, ..*self }
    }

    fn records(&self) -> Result<Table> {
        match self.coll.storage() {
            Some(storage) => Ok(storage.records.clone()),
            None => bail!(InternalError, "a plan for the records of a view"),
        }
    }

    fn inputs(&self, nodes: &[PlanNode]) -> Result<Vec<Box<dyn Rows>>> {
        nodes.iter().map(|n| self.node(n)).collect()
    }

    fn pattern(&self) -> Result<Arc<SortPattern>> {
        match self.sort {
            Some(pattern) => Ok(pattern.clone()),
            None => bail!(InternalError, "a sort without pattern"),
        }
    }

    fn index_scan(&self, scan: &IndexScan) -> ixscan::IndexScan {
        scan.index.used();
        let ranges = match &scan.between {
            Some(between) => between.ranges.clone(),
            None => Ranges::compile(&scan.index, &scan.fields),
        };
        ixscan::IndexScan::new(&scan.index, ranges, scan.forward, scan.dedup || self.dedup, self.entries).distinct(scan.distinct)
    }

    fn node(&self, node: &PlanNode) -> Result<Box<dyn Rows>> {
        // What finds the documents knows their keys; what is above it hands on what it is told.
        if self.keys && !matches!(node, PlanNode::Sort { .. } | PlanNode::Skip { .. } | PlanNode::Limit { .. }) {
            return Ok(Box::new(shape::Keyed::new(Build { entries: true, keys: false, ..*self }.node(node)?)));
        }
        Ok(match node {
            PlanNode::Eof => Box::new(shape::Nothing),
            PlanNode::Id { value } => Box::new(id::IdRows::new(self.coll, value.clone())),
            PlanNode::CollScan { forward, filter, tailable } => {
                Box::new(collscan::CollScan::new(self.coll, *forward, filter.clone(), *tailable)?)
            }
            PlanNode::IndexScan(scan) => Box::new(self.index_scan(scan)),
            PlanNode::Clustered { scan, filter } => {
                let Some(storage) = self.coll.storage() else { bail!(InternalError, "a clustered scan of a view") };
                Box::new(clustered::ClusteredScan::new(self.index_scan(scan), storage.records.clone(), filter.clone()))
            }
            PlanNode::Near { scan, part, filter } => {
                scan.index.used();
                Box::new(near::NearRows::new(self.coll, scan, *part, &self.query.filter, filter.clone())?)
            }
            PlanNode::Text { scan, part, filter } => {
                scan.index.used();
                Box::new(text::TextRows::new(self.coll, scan, *part, &self.query.filter, filter.clone())?)
            }
            PlanNode::Fetch { input, filter } => {
                Box::new(fetch::Fetch::new(self.node(input)?, self.records()?, filter.clone()))
            }
            PlanNode::Or { inputs } => Box::new(combine::Or::new(self.inputs(inputs)?)),
            PlanNode::MergeSort { inputs } => Box::new(combine::MergeSort::new(self.inputs(inputs)?, self.pattern()?)),
            PlanNode::Sort { input, limit } => {
                let Query { allow_disk_use, return_key, .. } = *self.query;
                Box::new(sort::Sort::new(self.node(input)?, self.pattern()?, *limit, allow_disk_use, return_key))
            }
            PlanNode::Skip { input, count } => Box::new(shape::Skip::new(self.node(input)?, *count)),
            PlanNode::Limit { input, count } => Box::new(shape::Limit::new(self.node(input)?, *count)),
            PlanNode::Cover { input, covered } => {
                Box::new(cover::Cover::documents(self.with_entries().node(input)?, self.records()?, covered.clone()))
            }
            PlanNode::KeyFilter { input, covered, filter } => {
                Box::new(cover::Cover::filter(self.with_entries().node(input)?, self.records()?, covered.clone(), filter.clone()))
            }
        })
    }
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

