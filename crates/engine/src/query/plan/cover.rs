//! Which plans the keys of an index answer alone, so that no record is read.

use std::sync::Arc;

use smongo_mql::matcher::Node;

use super::Filter;
use super::node::{IndexScan, PlanNode};
use crate::data::catalog::{Index, IndexKind};

/// Fields of an index, from whose keys documents are made.
#[derive(Clone)]
pub struct Covered {
    pub index: Arc<Index>,
    /// Positions in the index, in its order.
    pub parts: Vec<usize>,
}

impl Covered {
    /// The fields of an index by their paths, if its keys tell their values: the whole value, as it is stored. They do not
    /// where an array was taken apart, under a collation, and for paths that may mean an array's element or a field.
    pub fn of<'n>(index: &Arc<Index>, needed: impl IntoIterator<Item = &'n str>) -> Option<Covered> {
        if index.kind != IndexKind::Btree || index.clustered || index.collation.is_some() {
            return None;
        }
        let mut parts = Vec::new();
        for path in needed {
            let part = index.parts.iter().position(|p| p.path.text() == path)?;
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.sort_unstable();
        let covered = Covered { index: index.clone(), parts };
        let plain = |n: &usize| index.paths.get(*n).is_some_and(|p| p.parts().iter().all(|c| c.index.is_none()));
        (covered.parts.iter().all(plain) && covered.disjoint() && covered.holds()).then_some(covered)
    }

    /// Whether the keys still tell: documents with arrays may have come since the plan was made.
    pub fn holds(&self) -> bool {
        let multikey = self.index.multikey();
        !self.parts.iter().any(|n| multikey.is_multikey(*n))
    }

    /// No path leads to a field within another one's value.
    fn disjoint(&self) -> bool {
        let paths: Vec<&str> = self.parts.iter().filter_map(|n| self.index.paths.get(*n)).map(|p| p.text()).collect();
        let inside = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('.'));
        !paths.iter().any(|a| paths.iter().any(|b| inside(a, b)))
    }
}

/// The same plan without its fetches, where the scans below hold all the fields that are needed of a document.
pub fn cover(root: PlanNode, needed: &[&str]) -> PlanNode {
    match root {
        PlanNode::Fetch { input, filter: None } => match input.index_scan().and_then(|s| Covered::of(&s.index, needed.iter().copied())) {
            Some(covered) => PlanNode::Cover { input, covered },
            None => PlanNode::Fetch { input, filter: None },
        },
        PlanNode::Sort { input, limit } => PlanNode::Sort { input: Box::new(cover(*input, needed)), limit },
        PlanNode::Skip { input, count } => PlanNode::Skip { input: Box::new(cover(*input, needed)), count },
        PlanNode::Limit { input, count } => PlanNode::Limit { input: Box::new(cover(*input, needed)), count },
        PlanNode::MergeSort { inputs } => PlanNode::MergeSort { inputs: inputs.into_iter().map(|i| cover(i, needed)).collect() },
        other => other,
    }
}

impl PlanNode {
    /// The scan itself, when the node is one, or one whose keys are tested.
    pub fn index_scan(&self) -> Option<&IndexScan> {
        match self {
            PlanNode::IndexScan(scan) => Some(scan),
            PlanNode::KeyFilter { input, .. } => input.index_scan(),
            _ => None,
        }
    }

    /// Whether documents are put together before they are in order, so that their sort fields are needed.
    pub fn sorts(&self) -> bool {
        match self {
            PlanNode::Sort { .. } | PlanNode::MergeSort { .. } => true,
            PlanNode::Skip { input, .. } | PlanNode::Limit { input, .. } => input.sorts(),
            _ => false,
        }
    }

    /// Whether documents are made of keys.
    pub fn is_covered(&self) -> bool {
        match self {
            PlanNode::Cover { .. } => true,
            PlanNode::Sort { input, .. } | PlanNode::Skip { input, .. } | PlanNode::Limit { input, .. } => input.is_covered(),
            PlanNode::MergeSort { inputs } => inputs.iter().all(PlanNode::is_covered),
            _ => false,
        }
    }
}

/// Splits what is left to test of a document into what its key tells as well, and the rest.
pub fn split(index: &Arc<Index>, filter: Filter) -> (Option<(Filter, Covered)>, Option<Filter>) {
    let all = match &filter.parts {
        Some(parts) => parts.clone(),
        None => match &filter.matcher.root {
            Node::And(children) => (0..children.len()).map(|n| vec![n]).collect(),
            _ => vec![Vec::new()],
        },
    };
    let (by_key, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|at| filter.node(at).and_then(key_path).is_some_and(|p| Covered::of(index, [p]).is_some()));
    let paths: Vec<&str> = by_key.iter().filter_map(|at| filter.node(at).and_then(key_path)).collect();
    let Some(covered) = Covered::of(index, paths).filter(|_| !by_key.is_empty()) else { return (None, Some(filter)) };
    let of = |parts| Filter { matcher: filter.matcher.clone(), parts: Some(parts) };
    (Some((of(by_key), covered)), (!rest.is_empty()).then(|| of(rest)))
}

/// The path of a predicate that bounds answer roughly and a key exactly; null and a missing field are the same to it.
fn key_path(node: &Node) -> Option<&str> {
    match node {
        Node::Regex { .. } | Node::Mod { .. } | Node::In { .. } => node.path(),
        Node::Not(inner) => key_path(inner),
        _ => None,
    }
}
