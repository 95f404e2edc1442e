//! `$text`: the text index of the collection, with what a query says of the fields before the terms.

use smongo_bson::{Result, bail};

use super::candidate::{Question, candidate};
use super::choose::Choice;
use super::interval::all_points;
use super::node::{IndexScan, PlanNode};
use super::predicate::conjuncts;
use super::{Filter, Query, partial};
use crate::catalog::{Collection, IndexKind, TERM_PART};

pub fn source(coll: &Collection, query: &Query) -> Result<Choice> {
    if query.hint.is_some() {
        bail!(BadValue, "Can't use hint or $natural together with $text");
    }
    let Some(index) = coll.indexes.iter().find(|i| i.kind == IndexKind::Text) else {
        bail!(IndexNotFound, "text index required for $text query");
    };
    let no_plan = |why: &str| smongo_bson::err!(NoQueryExecutionPlans, "error processing query: ns={} planner returned error :: caused by :: {why}", coll.ns);
    if index.hidden {
        return Err(no_plan("the text index is hidden"));
    }
    if query.filter.text().is_none() {
        return Err(no_plan("Failed to produce a solution for TEXT under OR with other non-indexed clauses"));
    }
    let all = conjuncts(&query.filter.root, &[]);
    let question = Question { matcher: &query.filter, conjuncts: &all, sort: None, hinted: true };
    let holds_all = index.partial.as_ref().is_none_or(|wanted| partial::implies(&all, &wanted.root, None));
    let Some(part) = index.parts.iter().position(|p| p.path.text() == TERM_PART).filter(|_| holds_all) else {
        return Err(no_plan("failed to use text index to satisfy $text query"));
    };
    let Some(c) = candidate(index, None, &question) else { return Err(no_plan("failed to use text index to satisfy $text query")) };
    // Each term is one place in the index only below constant values of the fields before it.
    let prefix = c.fields.get(..part).unwrap_or_default();
    if !prefix.iter().all(|f| f.len() == 1 && all_points(f)) {
        return Err(no_plan("failed to use text index to satisfy $text query (if text index is compound, are equality predicates given for all prefix fields?)"));
    }
    let scan = IndexScan { index: index.clone(), fields: c.fields, between: None, forward: true, dedup: false, distinct: None };
    Ok(Choice { root: PlanNode::Text { scan, part, filter: Filter::whole(&query.filter) }, sorted: false, rejected: Vec::new(), costs: Vec::new() })
}
