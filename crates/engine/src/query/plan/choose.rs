//! Choosing among the indexes.

use std::sync::Arc;

use smongo_bson::{Doc, Result, bail, keystring};
use smongo_bson::compare::Collator;
use smongo_mql::SortPattern;
use smongo_mql::matcher::Node;

use super::{Filter, Hint, Query, cover};
use super::candidate::{Candidate, Order, Question, candidates};
use super::interval::{Interval, all_points, width};
use super::node::{Between, IndexScan, PlanNode};
use super::predicate::{Conjunct, conjuncts};
use crate::data::catalog::{Collection, Index, IndexFilter, PATH_PART, same_key};
use crate::query::exec::Ranges;

/// A source of documents, and whether they come in the query's order.
pub struct Choice {
    pub root: PlanNode,
    pub sorted: bool,
    /// Other sources, and whether they are in order.
    pub rejected: Vec<(PlanNode, bool)>,
    /// The estimated costs of all of them, the best first.
    pub costs: Vec<f64>,
}

impl Choice {
    fn unsorted(root: PlanNode) -> Choice {
        Choice { root, sorted: false, rejected: Vec::new(), costs: Vec::new() }
    }
}

/// The best source for a query.
pub fn choose(coll: &Collection, query: &Query, sort: Option<&SortPattern>, only: Option<&IndexFilter>) -> Result<Choice> {
    if query.min.is_some() || query.max.is_some() {
        return between(coll, query);
    }
    let all = conjuncts(&query.filter.root, &[]);
    let scan = |forward| match coll.id_index() {
        Some(index) if index.clustered => {
            let fields = vec![vec![Interval::full()]];
            let scan = IndexScan { index: index.clone(), fields, between: None, forward, dedup: false, distinct: None };
            PlanNode::Clustered { scan, filter: Filter::whole(&query.filter) }
        }
        _ => PlanNode::CollScan { forward, filter: Filter::whole(&query.filter), tailable: query.tailable },
    };
    let question = Question { matcher: &query.filter, conjuncts: &all, sort, hinted: query.hint.is_some() && only.is_none(), branch: false };
    // An index filter is stronger than a hint.
    match query.hint.as_ref().filter(|_| only.is_none()) {
        Some(Hint::Natural { forward }) => return Ok(Choice::unsorted(scan(*forward))),
        Some(hint) => {
            let index = hinted(coll, hint)?;
            let best = candidates(index, &question).into_iter().min_by(|a, b| cost(coll, query, a).total_cmp(&cost(coll, query, b)));
            let or = || union(coll, query, &question, &[index]);
            return match best.map(|c| single(&c)).or_else(|| or().map(|(_, choice)| choice)) {
                Some(choice) => Ok(choice),
                None => bail!(291, "error processing query: ns={} planner returned error: no plan can use the hinted index", coll.ns),
            };
        }
        None if query.tailable => return Ok(Choice::unsorted(scan(true))),
        None => {}
    }
    let visible: Vec<&Arc<Index>> = coll.indexes.iter().filter(|i| !i.hidden && only.is_none_or(|f| f.allows(i))).collect();
    let mut options: Vec<(f64, Choice)> = visible.iter().flat_map(|i| candidates(i, &question)).map(|c| option(coll, query, &c)).collect();
    if let Some(or) = union(coll, query, &question, &visible) {
        options.push(or);
    }
    options.sort_by(|a, b| a.0.total_cmp(&b.0));
    let costs = options.iter().map(|(cost, _)| *cost).collect();
    let mut options = options.into_iter().map(|(_, c)| c);
    match options.next() {
        None => Ok(Choice::unsorted(scan(true))),
        Some(best) => Ok(Choice { rejected: options.map(|c| (c.root, c.sorted)).collect(), costs, ..best }),
    }
}

/// The index a hint names.
pub fn hinted<'c>(coll: &'c Collection, hint: &Hint) -> Result<&'c Arc<Index>> {
    let found = match hint {
        Hint::Name(name) => coll.indexes.iter().find(|i| i.name == *name),
        Hint::Key(key) => coll.indexes.iter().find(|i| same_key(i.key(), key.as_doc())),
        Hint::Natural { .. } => None,
    };
    match found.filter(|i| !i.hidden) {
        Some(index) => Ok(index),
        None => bail!(
            BadValue,
            "error processing query: ns={} planner returned error :: caused by :: hint provided does not correspond to an existing index",
            coll.ns
        ),
    }
}

fn option(coll: &Collection, query: &Query, c: &Candidate) -> (f64, Choice) {
    (cost(coll, query, c), single(c))
}

/// A plan over one index.
fn single(c: &Candidate) -> Choice {
    let (root, sorted) = match c.order {
        Order::Merge { fields } => {
            let inputs = exploded(c, fields).into_iter().map(|s| fetch_filtered(c, s)).collect();
            (PlanNode::MergeSort { inputs }, true)
        }
        order => (fetch_filtered(c, scan(c)), order == Order::Scan),
    };
    Choice { root, sorted, rejected: Vec::new(), costs: Vec::new() }
}

/// The documents of a candidate's scan. What the keys tell is tested before.
pub fn fetch_filtered(c: &Candidate, scan: PlanNode) -> PlanNode {
    let Some(filter) = c.residual.clone() else { return fetch(scan, None) };
    match cover::split(&c.index, filter) {
        (Some((filter, covered)), rest) => fetch(PlanNode::KeyFilter { input: Box::new(scan), covered, filter }, rest),
        (None, rest) => fetch(scan, rest),
    }
}

fn fetch(scan: PlanNode, filter: Option<Filter>) -> PlanNode {
    if let PlanNode::IndexScan(scan) = scan {
        return match scan.index.clustered {
            true => PlanNode::Clustered { scan, filter },
            false => PlanNode::Fetch { input: Box::new(PlanNode::IndexScan(scan)), filter },
        };
    }
    PlanNode::Fetch { input: Box::new(scan), filter }
}

pub fn scan(c: &Candidate) -> PlanNode {
    scan_of(c, c.fields.clone())
}

fn scan_of(c: &Candidate, fields: Vec<Vec<Interval>>) -> PlanNode {
    let one_key = fields.iter().all(|f| f.len() <= 1 && all_points(f));
    let dedup = (c.multikey.any() || c.index.repeats()) && !one_key;
    PlanNode::IndexScan(IndexScan { index: c.index.clone(), fields, between: None, forward: c.forward, dedup, distinct: None })
}

/// One scan for each combination of points of the first fields.
fn exploded(c: &Candidate, count: usize) -> Vec<PlanNode> {
    let mut combinations = vec![Vec::new()];
    for intervals in c.fields.iter().take(count) {
        let longer = |start: &Vec<Vec<Interval>>| {
            let start = start.clone();
            intervals.iter().map(move |point| start.iter().cloned().chain([vec![point.clone()]]).collect()).collect::<Vec<_>>()
        };
        combinations = combinations.iter().flat_map(longer).collect();
    }
    let rest = c.fields.get(count..).unwrap_or_default();
    combinations.into_iter().map(|start| scan_of(c, start.into_iter().chain(rest.iter().cloned()).collect())).collect()
}

/// A guess at the work: keys, documents, sorting.
fn cost(coll: &Collection, query: &Query, c: &Candidate) -> f64 {
    let total = coll.state.known_documents().unwrap_or(10_000).max(10) as f64;
    let mut keys = 1.0;
    let mut docs = 1.0;
    let mut prefix = true;
    for (part, intervals) in c.index.parts.iter().zip(&c.fields) {
        // That a key is of the right path says nothing about how many there are.
        let w = if part.path.text() == PATH_PART { 1.0 } else { width(intervals) };
        docs *= w;
        keys *= if prefix { w } else { 0.5 + w / 2.0 };
        prefix = prefix && (all_points(intervals) || part.path.text() == PATH_PART);
    }
    if c.index.unique && c.fields.iter().all(|f| f.len() == 1 && all_points(f)) {
        (keys, docs) = (0.0, 0.0);
    }
    let (mut keys, mut docs) = ((keys * total).max(1.0), (docs * total).max(1.0));
    let tests = c.residual.as_ref().map_or(0, |f| f.parts.as_ref().map_or(1, Vec::len));
    let sorted = query.sort_doc.as_doc().is_empty() && query.sort.is_none() || c.order != Order::None;
    if let Some(limit) = query.limit
        && sorted
    {
        let wanted = (limit.saturating_add(query.skip)) as f64 * 2f64.powi(tests as i32);
        let part = (wanted / docs).min(1.0);
        keys *= part;
        docs *= part;
    }
    let sorting = if sorted { 0.0 } else { docs * (1.0 + docs.log2().max(1.0) * 0.2) };
    keys * 0.5 + docs * (2.0 + 0.1 * tests as f64) + sorting
}

/// The conditions of one branch of the `$or` that stands at a place among conjuncts, and those beside the `$or`.
pub fn of_branch<'q>(all: &[Conjunct<'q>], or: usize, branch: usize) -> Vec<Conjunct<'q>> {
    let Some(Conjunct { node: Node::Or(branches), at }) = all.get(or) else { return Vec::new() };
    let path: Vec<usize> = at.iter().copied().chain([branch]).collect();
    let mut conditions = branches.get(branch).map_or_else(Vec::new, |b| conjuncts(b, &path));
    let others = all.iter().enumerate().filter(|(n, _)| *n != or);
    conditions.extend(others.map(|(_, c)| Conjunct { node: c.node, at: c.at.clone() }));
    conditions
}

/// The cheapest scan of an index that a question restricts, and its cost.
pub fn best_bounded(coll: &Collection, query: &Query, question: &Question<'_>, visible: &[&Arc<Index>]) -> Option<(f64, Candidate)> {
    let found = visible.iter().flat_map(|i| candidates(i, question)).filter(|c| c.bounded);
    found.map(|c| (cost(coll, query, &c), c)).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// A union over the branches of an `$or`, when each of them has an index.
fn union(coll: &Collection, query: &Query, question: &Question<'_>, visible: &[&Arc<Index>]) -> Option<(f64, Choice)> {
    let (at, or) = question.conjuncts.iter().enumerate().find(|(_, c)| matches!(c.node, Node::Or(_)))?;
    let Node::Or(branches) = or.node else { return None };
    let mut inputs = Vec::new();
    let mut total = 0.0;
    let mut sorted = question.sort.is_some();
    for n in 0..branches.len() {
        let all = of_branch(question.conjuncts, at, n);
        let inner = Question { conjuncts: &all, hinted: false, branch: true, ..*question };
        let (cost, best) = best_bounded(coll, query, &inner, visible)?;
        total += cost;
        sorted &= best.order == Order::Scan;
        inputs.push(best);
    }
    let root = if sorted {
        PlanNode::MergeSort { inputs: inputs.iter().map(|c| fetch_filtered(c, scan(c))).collect() }
    } else if inputs.iter().all(|c| c.residual.is_none()) {
        fetch(PlanNode::Or { inputs: inputs.iter().map(scan).collect() }, None)
    } else {
        PlanNode::Or { inputs: inputs.iter().map(|c| fetch_filtered(c, scan(c))).collect() }
    };
    Some((total, Choice { root, sorted, rejected: Vec::new(), costs: Vec::new() }))
}

/// `min` and `max`: a range of whole keys of the index that is hinted.
fn between(coll: &Collection, query: &Query) -> Result<Choice> {
    let Some(hint) = &query.hint else { bail!(51173, "When using min()/max() a hint of which index to use must be provided") };
    if matches!(hint, Hint::Natural { .. }) {
        bail!(BadValue, "The index hint cannot be $natural with min()/max()");
    }
    let index = hinted(coll, hint)?;
    if index.special.is_some() {
        bail!(51174, "The index chosen is not compatible with min/max");
    }
    let min = query.min.as_ref().map(|d| key_of(index, d.as_doc(), "min")).transpose()?;
    let max = query.max.as_ref().map(|d| key_of(index, d.as_doc(), "max")).transpose()?;
    if let (Some(min), Some(max)) = (&min, &max)
        && min >= max
    {
        bail!(51175, "The value provided for min() does not come before the value provided for max() in the hinted index");
    }
    let fields = vec![vec![Interval::full()]; index.parts.len()];
    let ranges = Ranges::between(min.unwrap_or_default(), max);
    let between = Some(Between { ranges, min: query.min.clone(), max: query.max.clone() });
    let scan = IndexScan { index: index.clone(), fields, between, forward: true, dedup: index.multikey().any(), distinct: None };
    Ok(Choice::unsorted(fetch(PlanNode::IndexScan(scan), Filter::whole(&query.filter))))
}

fn key_of(index: &Index, bound: Doc<'_>, name: &str) -> Result<Vec<u8>> {
    let fits = bound.len() == index.parts.len() && bound.iter().zip(&index.parts).all(|(e, p)| e.name() == p.path.text());
    if !fits {
        bail!(51174, "The index chosen is not compatible with {name}");
    }
    let collator = index.collation.as_deref().map(|c| c as &dyn Collator);
    let mut key = Vec::new();
    for (e, part) in bound.iter().zip(&index.parts) {
        keystring::append(&mut key, e.value(), part.descending, collator);
    }
    Ok(key)
}
