//! The distinct values of one field: where an index has them in order, a scan reads one key for each.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result};

use super::{Plan, PlanNode, Query, plan};
use super::cover::Covered;
use super::interval::Interval;
use super::node::IndexScan;
use crate::data::catalog::{Collection, Index};
use crate::data::op::OpCx;

/// A plan for documents that hold at least one of each of the values of `key` that the query's documents have.
pub fn distinct(op: &mut OpCx, coll: &Arc<Collection>, query: Query, key: &str) -> Result<Plan> {
    let mut plan = plan(op, coll, query)?;
    // Under a collation values that are distinct bytes may be equal, and which of them is the first depends on the plan.
    if plan.query.filter.collation.is_some() || coll.collation.is_some() {
        return Ok(plan);
    }
    let scan = match std::mem::replace(&mut plan.root, PlanNode::Eof) {
        PlanNode::Fetch { input, filter: None } => match *input {
            PlanNode::IndexScan(scan) if part_of(&scan.index, key).is_some() => Some(scan),
            other => {
                plan.root = PlanNode::Fetch { input: Box::new(other), filter: None };
                None
            }
        },
        PlanNode::CollScan { forward: true, filter: None, tailable: false } if plan.query.hint.is_none() => {
            plan.root = PlanNode::CollScan { forward: true, filter: None, tailable: false };
            coll.indexes.iter().find(|i| leads(i, key)).map(whole)
        }
        other => {
            plan.root = other;
            None
        }
    };
    if let Some(scan) = scan
        && let Some((part, covered)) = part_of(&scan.index, key)
    {
        let scan = IndexScan { distinct: Some(part), forward: true, dedup: false, ..scan };
        plan.query.projection_doc = DocBuf::build(|w| {
            w.append("_id", 0).append(key, 1);
        });
        plan.root = PlanNode::Cover { input: Box::new(PlanNode::IndexScan(scan)), covered };
    }
    Ok(plan)
}

/// The key's place in an index whose keys tell its values.
fn part_of(index: &Arc<Index>, key: &str) -> Option<(usize, Covered)> {
    let part = index.paths.iter().position(|p| p.text() == key)?;
    // Another field's array repeats the key, which changes nothing; the key's own values must be whole.
    Some((part, Covered::of(index, [key])?))
}

/// Whether the values of a field stand together in an index, and all documents that have the field are in it.
fn leads(index: &Arc<Index>, key: &str) -> bool {
    !index.hidden && index.partial.is_none() && part_of(index, key).is_some_and(|(part, _)| part == 0)
}

fn whole(index: &Arc<Index>) -> IndexScan {
    let fields = index.parts.iter().map(|_| vec![Interval::full()]).collect();
    IndexScan { index: index.clone(), fields, between: None, forward: true, dedup: false, distinct: None }
}
