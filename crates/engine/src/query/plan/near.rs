//! `$near` and `$geoNear`: the index by whose order a search grows around a point.

use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::{Result, bail};
use smongo_mql::matcher::{GeoOrder, Near};

use super::{Filter, Hint, Query, partial};
use super::candidate::{Question, candidate, same_collation};
use super::choose::{Choice, hinted};
use super::node::{IndexScan, PlanNode};
use super::predicate::conjuncts;
use crate::data::catalog::{Collection, Index};

/// The source of a query whose results come nearest first.
pub fn source(coll: &Collection, query: &Query, near: &Near) -> Result<Choice> {
    if let Some(Hint::Natural { .. }) = query.hint {
        bail!(BadValue, "geoNear expression not allowed with $natural hint");
    }
    let all = conjuncts(&query.filter.root, &[]);
    let question = Question { matcher: &query.filter, conjuncts: &all, sort: None, hinted: true, branch: false };
    let by_hint = match &query.hint {
        Some(hint @ (Hint::Name(_) | Hint::Key(_))) => Some(hinted(coll, hint)?),
        _ => None,
    };
    let usable = |index: &&Arc<Index>| match by_hint {
        Some(wanted) => Arc::ptr_eq(index, wanted),
        None => !index.hidden && holds_all(index, &question),
    };
    for kind in near.index_kinds() {
        for index in coll.indexes.iter().filter(usable) {
            let Some(part) = index.parts.iter().position(|p| p.path == near.path && p.geo.as_ref().is_some_and(|o| name(o) == *kind)) else { continue };
            let Some(c) = candidate(index, None, &question) else { continue };
            if let Some(order) = index.parts.get(part).and_then(|p| p.geo) {
                near.check(&order)?;
            }
            let scan = IndexScan { index: index.clone(), fields: c.fields, between: None, forward: true, dedup: true, distinct: None };
            let root = PlanNode::Near { scan, part, filter: Filter::whole(&query.filter) };
            return Ok(Choice { root, sorted: true, rejected: Vec::new(), costs: Vec::new() });
        }
    }
    bail!(
        NoQueryExecutionPlans,
        "error processing query: ns={} planner returned error :: caused by :: unable to find index for $geoNear query",
        coll.ns
    )
}

/// Whether a partial index knows every document the query can match.
fn holds_all(index: &Index, question: &Question<'_>) -> bool {
    let collation = question.matcher.collation.as_deref();
    let collator = collation.filter(|_| same_collation(index.collation.as_deref(), collation)).map(|c| c as &dyn Collator);
    index.partial.as_ref().is_none_or(|wanted| partial::implies(question.conjuncts, &wanted.root, collator))
}

fn name(order: &GeoOrder) -> &'static str {
    match order {
        GeoOrder::Sphere => "2dsphere",
        GeoOrder::Flat(_) => "2d",
    }
}

/// The field a `$geoNear` without `key` is about: that of the only `2d` index, else that of the only `2dsphere` index.
pub fn only_key(coll: &Collection) -> Result<String> {
    for kind in ["2d", "2dsphere"] {
        let parts = coll.indexes.iter().flat_map(|i| &i.parts);
        let fields: Vec<&str> = parts.filter(|p| p.geo.as_ref().is_some_and(|o| name(o) == kind)).map(|p| p.path.text()).collect();
        match fields.as_slice() {
            [] => {}
            [one] => return Ok((*one).to_owned()),
            more => bail!(IndexNotFound, "There is more than one {kind} index on {} ({}); unsure which to use for $geoNear", coll.ns, more.len()),
        }
    }
    bail!(IndexNotFound, "$geoNear requires a 2d or 2dsphere index, but none were found")
}
