//! `$text`: the text index of the collection, with what a query says of the fields before the terms.

use std::sync::Arc;

use smongo_bson::{Error, Result, Value, bail, err};
use smongo_mql::matcher::{CompareOp, Node};

use super::{Filter, Query, partial};
use super::candidate::{Question, candidate};
use super::choose::{self, Choice};
use super::interval::{Interval, Intervals, all_points};
use super::node::{IndexScan, PlanNode};
use super::predicate::{Conjunct, conjuncts};
use crate::data::catalog::{Collection, Index, IndexKind, TERM_PART};

pub fn source(coll: &Collection, query: &Query) -> Result<Choice> {
    if query.hint.is_some() {
        bail!(BadValue, "Can't use hint or $natural together with $text");
    }
    let Some(index) = coll.indexes.iter().find(|i| i.kind == IndexKind::Text) else {
        bail!(IndexNotFound, "text index required for $text query");
    };
    if index.hidden {
        return Err(no_plan(coll, "the text index is hidden"));
    }
    let all = conjuncts(&query.filter.root, &[]);
    let root = match query.filter.text() {
        Some(_) => {
            let question = Question { matcher: &query.filter, conjuncts: &all, sort: None, hinted: true, branch: false };
            search(coll, index, &question, Filter::whole(&query.filter))?
        }
        None => under_or(coll, query, index, &all)?,
    };
    Ok(Choice { root, sorted: false, rejected: Vec::new(), costs: Vec::new() })
}

fn no_plan(coll: &Collection, why: &str) -> Error {
    err!(NoQueryExecutionPlans, "error processing query: ns={} planner returned error :: caused by :: {why}", coll.ns)
}

/// The scan of the text index for conditions, one of which is the `$text`.
fn search(coll: &Collection, index: &Arc<Index>, question: &Question<'_>, filter: Option<Filter>) -> Result<PlanNode> {
    let holds_all = index.partial.as_ref().is_none_or(|wanted| partial::implies(question.conjuncts, &wanted.root, None));
    let Some(part) = index.parts.iter().position(|p| p.path.text() == TERM_PART).filter(|_| holds_all) else {
        return Err(no_plan(coll, "failed to use text index to satisfy $text query"));
    };
    let Some(c) = candidate(index, None, question) else {
        return Err(no_plan(coll, "failed to use text index to satisfy $text query"));
    };
    let mut fields = c.fields;
    for (n, field) in fields.iter_mut().enumerate().take(part) {
        // No array is in a text index, but the query may well ask for one.
        if let Some(array) = equal_to_array(index, n, question.conjuncts) {
            *field = array;
        }
    }
    // Each term is one place in the index only below constant values of the fields before it.
    let prefix = fields.get(..part).unwrap_or_default();
    if !prefix.iter().all(|f| f.len() == 1 && all_points(f)) {
        return Err(no_plan(
            coll,
            "failed to use text index to satisfy $text query (if text index is compound, are equality predicates given for all prefix fields?)",
        ));
    }
    let scan = IndexScan { index: index.clone(), fields, between: None, forward: true, dedup: false, distinct: None };
    Ok(PlanNode::Text { scan, part, filter })
}

/// The array a field of the index must equal.
fn equal_to_array(index: &Index, part: usize, conditions: &[Conjunct<'_>]) -> Option<Intervals> {
    let path = index.parts.get(part)?.path.text();
    conditions.iter().find_map(|c| match c.node {
        Node::Compare { op: CompareOp::Eq, value, .. } if c.node.path() == Some(path) && matches!(value.view(), Value::Array(_)) => {
            Some(vec![Interval::point(value.view())])
        }
        _ => None,
    })
}

/// A `$text` in a branch of an `$or`, all of whose other branches have indexes of their own.
fn under_or(coll: &Collection, query: &Query, index: &Arc<Index>, all: &[Conjunct<'_>]) -> Result<PlanNode> {
    let unsolved = || no_plan(coll, "Failed to produce a solution for TEXT under OR with other non-indexed clauses");
    let is_text = |c: &Conjunct<'_>| matches!(c.node, Node::Text(_));
    let others: Vec<&Arc<Index>> = coll.indexes.iter().filter(|i| !i.hidden && i.kind != IndexKind::Text).collect();
    for (at, conjunct) in all.iter().enumerate() {
        let Node::Or(branches) = conjunct.node else { continue };
        let conditions: Vec<Vec<Conjunct<'_>>> = (0..branches.len()).map(|n| choose::of_branch(all, at, n)).collect();
        if !conditions.iter().flatten().any(is_text) {
            continue;
        }
        let (mut searches, mut scans) = (Vec::new(), Vec::new());
        for conditions in &conditions {
            let question = Question { matcher: &query.filter, conjuncts: conditions, sort: None, hinted: false, branch: true };
            if conditions.iter().any(is_text) {
                let parts = conditions.iter().filter(|c| !is_text(c)).map(|c| c.at.clone()).collect();
                let filter = Filter { matcher: query.filter.clone(), parts: Some(parts) };
                searches.push(search(coll, index, &Question { hinted: true, ..question }, Some(filter))?);
            } else {
                let (_, best) = choose::best_bounded(coll, query, &question, &others).ok_or_else(unsolved)?;
                scans.push(choose::fetch_filtered(&best, choose::scan(&best)));
            }
        }
        // The documents of the search first, since those have scores.
        searches.extend(scans);
        return Ok(PlanNode::Or { inputs: searches });
    }
    Err(unsolved())
}
