//! The tree of a plan.

use std::sync::Arc;

use smongo_bson::{DocBuf, ValueBuf};
use smongo_mql::Matcher;
use smongo_mql::matcher::Node;

use super::cover::Covered;
use super::interval::{Intervals, is_full};
use crate::data::catalog::Index;
use crate::query::exec::Ranges;

/// A step of a plan; its inputs are below it.
pub enum PlanNode {
    /// Nothing can match.
    Eof,
    /// Equality of `_id`: index, then record.
    Id { value: ValueBuf },
    CollScan { forward: bool, filter: Option<Filter>, tailable: bool },
    IndexScan(IndexScan),
    /// The documents of a clustered collection, in the order of `_id`.
    Clustered { scan: IndexScan, filter: Option<Filter> },
    /// The documents around a point, nearest first. The scan's field at `part` is what grows with the distance.
    Near { scan: IndexScan, part: usize, filter: Option<Filter> },
    /// The documents a `$text` finds. The scan's field at `part` is set to one term after the other.
    Text { scan: IndexScan, part: usize, filter: Option<Filter> },
    /// The documents of entries.
    Fetch { input: Box<PlanNode>, filter: Option<Filter> },
    /// Each record of any input once.
    Or { inputs: Vec<PlanNode> },
    /// The same, of inputs that are in the query's order.
    MergeSort { inputs: Vec<PlanNode> },
    /// By the query's sort pattern; only the first `limit` documents are wanted.
    Sort { input: Box<PlanNode>, limit: Option<u64> },
    Skip { input: Box<PlanNode>, count: u64 },
    Limit { input: Box<PlanNode>, count: u64 },
    /// Documents made of the keys alone, as far as they are needed.
    Cover { input: Box<PlanNode>, covered: Covered },
    /// The entries whose keys pass.
    KeyFilter { input: Box<PlanNode>, covered: Covered, filter: Filter },
}

impl PlanNode {
    /// Nothing reads the documents the keys stand for.
    pub fn ends_in_keys(&self) -> bool {
        match self {
            PlanNode::IndexScan(_) => true,
            PlanNode::Skip { input, .. } | PlanNode::Limit { input, .. } => input.ends_in_keys(),
            _ => false,
        }
    }

    /// A sort that keeps only as many as are wanted, maybe with some skipped.
    pub fn is_limited_sort(&self) -> bool {
        match self {
            PlanNode::Sort { limit, .. } => limit.is_some(),
            PlanNode::Skip { input, .. } => input.is_limited_sort(),
            _ => false,
        }
    }

    /// The same rows without reading documents, where nothing needs them.
    pub fn without_documents(self) -> PlanNode {
        match self {
            PlanNode::Fetch { input, filter: None } => *input,
            PlanNode::Skip { input, count } => PlanNode::Skip { input: Box::new(input.without_documents()), count },
            PlanNode::Limit { input, count } => PlanNode::Limit { input: Box::new(input.without_documents()), count },
            other => other,
        }
    }
}

/// A scan of an index.
pub struct IndexScan {
    pub index: Arc<Index>,
    /// For each field, ascending.
    pub fields: Vec<Intervals>,
    /// `min` and `max` of a find instead of `fields`.
    pub between: Option<Between>,
    pub forward: bool,
    /// One record may have several keys in the bounds.
    pub dedup: bool,
    /// One entry for each different beginning, up to and including this field, is enough, unless the field is null.
    pub distinct: Option<usize>,
}

impl IndexScan {
    /// Whether the scan goes through all keys between two: points, one interval, and then everything.
    pub fn is_one_range(&self) -> bool {
        let mut rest = self.fields.iter().skip_while(|f| matches!(f.as_slice(), [only] if only.is_point()));
        rest.next().is_none_or(|f| f.len() == 1) && rest.all(|f| is_full(f))
    }
}

/// Bounds that are given as whole keys.
pub struct Between {
    pub ranges: Ranges,
    pub min: Option<DocBuf>,
    pub max: Option<DocBuf>,
}

/// The way from the root of a filter to one of its nodes, by positions of children.
pub type NodePath = Vec<usize>;

/// A filter, or the part of it that an index has not answered already.
#[derive(Clone)]
pub struct Filter {
    pub matcher: Arc<Matcher>,
    /// All of these must hold; `None` is the whole filter.
    pub parts: Option<Vec<NodePath>>,
}

impl Filter {
    /// The whole filter; `None` when it matches everything.
    pub fn whole(matcher: &Arc<Matcher>) -> Option<Filter> {
        (!matcher.is_empty()).then(|| Filter { matcher: matcher.clone(), parts: None })
    }

    pub fn node(&self, path: &[usize]) -> Option<&Node> {
        path.iter().try_fold(&self.matcher.root, |node, at| match node {
            Node::And(children) | Node::Or(children) | Node::Nor(children) => children.get(*at),
            Node::Not(child) => Some(&**child),
            _ => None,
        })
    }
}
