//! What one index can do for a query: bounds for its fields, order, and what is left to test.

use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::index_keys::Multikey;
use smongo_bson::Value;
use smongo_mql::collation::Collation;
use smongo_mql::matcher::{CompareOp, GeoOrder, KeyRanges, Node};
use smongo_mql::{Matcher, SortPattern};

use super::{Filter, partial};
use super::bounds::{self, Bounds, Field};
use super::interval::{Interval, Intervals, all_points, intersect, is_full, width};
use super::predicate::{Conjunct, Group, Predicate, predicates};
use super::wildcard::{self, Answer, View};
use crate::data::catalog::{Index, IndexKind};

/// The most scans that one scan is taken apart into so that their order can be merged.
const MOST_MERGED: usize = 200;

/// How the order of an index relates to the order that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not at all: the documents must be sorted.
    None,
    /// The scan yields the order.
    Scan,
    /// One scan for each combination of points of the first fields yields it; they are merged.
    Merge { fields: usize },
}

/// A scan of one index that finds every document that can match.
#[derive(Clone)]
pub struct Candidate {
    pub index: Arc<Index>,
    /// For each field of the index, ascending.
    pub fields: Vec<Intervals>,
    pub forward: bool,
    pub order: Order,
    /// What must still be tested once the document is there.
    pub residual: Option<Filter>,
    /// Some field is restricted.
    pub bounded: bool,
    pub multikey: Multikey,
}

/// What the planner asks of an index.
pub struct Question<'q> {
    pub matcher: &'q Arc<Matcher>,
    /// All of these must hold.
    pub conjuncts: &'q [Conjunct<'q>],
    pub sort: Option<&'q SortPattern>,
    /// The index was named by a hint: it is used however little it helps.
    pub hinted: bool,
    /// The conditions are those of one branch of an `$or` and what stands beside it, not the whole filter.
    pub branch: bool,
}

pub fn same_collation(a: Option<&Collation>, b: Option<&Collation>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.spec.as_bytes() == b.spec.as_bytes(),
        _ => false,
    }
}

/// The scans of an index that suit the question: a wildcard index may serve in several ways, any other in one.
pub fn candidates(index: &Arc<Index>, question: &Question<'_>) -> Vec<Candidate> {
    match index.kind {
        IndexKind::Text => Vec::new(),
        IndexKind::Wildcard => wildcard::views(index, question).iter().filter_map(|view| candidate(&view.index, Some(view), question)).collect(),
        _ => candidate(index, None, question).into_iter().collect(),
    }
}

/// The scan of an index that suits the question; `None` when the index cannot be used.
pub fn candidate(index: &Arc<Index>, view: Option<&View>, question: &Question<'_>) -> Option<Candidate> {
    let collation = question.matcher.collation.as_deref();
    let same = same_collation(index.collation.as_deref(), collation);
    let collator = collation.filter(|_| same).map(|c| c as &dyn Collator);
    if let Some(wanted) = &index.partial
        && !question.hinted
        && !partial::implies(question.conjuncts, &wanted.root, collator)
    {
        return None;
    }
    let found = predicates(question.conjuncts);
    let multikey = index.multikey();
    let mut chooser = Chooser {
        index,
        view,
        multikey: &multikey,
        found: &found,
        collator,
        strings_differ: !same,
        used: vec![None; index.parts.len()],
        known: false,
        geo: false,
    };
    let (fields, answered) = chooser.fields(question.conjuncts.len());
    if index.sparse && !chooser.known && !question.hinted {
        return None;
    }
    // Documents without a geometry are not in the index.
    if index.kind == IndexKind::Geo && !chooser.geo && !question.hinted {
        return None;
    }
    let bounded = chooser.used.iter().any(Option::is_some);
    let (forward, order) = match question.sort.filter(|_| matches!(index.kind, IndexKind::Btree | IndexKind::Wildcard)) {
        Some(sort) if same_collation(index.collation.as_deref(), sort.collation.as_deref()) => Ordering { index, multikey: &multikey, fields: &fields, sort }.find(),
        _ => (true, Order::None),
    };
    let leads = chooser.used.first().is_some_and(Option::is_some);
    let useful = leads || question.hinted || (order != Order::None && index.kind == IndexKind::Btree);
    let residual = residual(question, &answered);
    useful.then(|| Candidate { index: index.clone(), residual, fields, forward, order, bounded, multikey })
}

/// The conjuncts that the index does not answer.
fn residual(question: &Question<'_>, answered: &[bool]) -> Option<Filter> {
    let left: Vec<_> = question.conjuncts.iter().zip(answered).filter(|(_, done)| !**done).map(|(c, _)| c.at.clone()).collect();
    let whole = !question.branch && left.len() == question.conjuncts.len();
    match left.len() {
        0 => None,
        _ if whole => Some(Filter { matcher: question.matcher.clone(), parts: None }),
        _ => Some(Filter { matcher: question.matcher.clone(), parts: Some(left) }),
    }
}

struct Chooser<'c, 'q> {
    index: &'c Arc<Index>,
    view: Option<&'c View>,
    multikey: &'c Multikey,
    found: &'c [Predicate<'q>],
    collator: Option<&'c dyn Collator>,
    strings_differ: bool,
    /// For each field that is restricted, the `$elemMatch` the restriction is from.
    used: Vec<Option<Option<Group>>>,
    /// Some predicate holds only for documents the (sparse) index knows.
    known: bool,
    /// A field of cells is restricted.
    geo: bool,
}

impl Chooser<'_, '_> {
    /// The intervals of every field, and which conjuncts they answer entirely.
    fn fields(&mut self, conjuncts: usize) -> (Vec<Intervals>, Vec<bool>) {
        let mut answered = vec![false; conjuncts];
        let fields = (0..self.index.parts.len()).map(|part| self.field(part, &mut answered)).collect();
        (fields, answered)
    }

    fn field(&mut self, part: usize, answered: &mut [bool]) -> Intervals {
        let full = vec![Interval::full()];
        let index = self.index;
        let Some(key) = index.parts.get(part) else { return full };
        if let Some(view) = self.view.filter(|v| v.path_part == part) {
            if let Some(slot) = self.used.get_mut(part).filter(|_| view.answers) {
                *slot = Some(None);
            }
            return view.paths.clone();
        }
        let of_path = self.view.is_some_and(|v| v.path_part + 1 == part);
        let multikey = self.multikey.is_multikey(part);
        let field = Field {
            collator: self.collator,
            strings_differ: self.strings_differ,
            multikey,
            numbered: key.path.parts().iter().any(|p| p.index.is_some()),
            element: false,
        };
        let mut options: Vec<(&Predicate<'_>, Bounds)> = Vec::new();
        for p in self.found.iter().filter(|p| p.path == key.path.text()) {
            let bounds = match &key.geo {
                Some(order) => geo(p, order),
                None if key.hashed => hashed(p, field),
                None if of_path => match wildcard::answers(p) {
                    Some(Answer::Values) => bounds::of_either(p.node, p.negated, field),
                    Some(Answer::Presence) => Some(Bounds { intervals: vec![Interval::full()], exact: false, matches_missing: false }),
                    None => None,
                },
                None => bounds::of_either(p.node, p.negated, field),
            };
            if let Some(bounds) = bounds {
                self.known |= !bounds.matches_missing;
                let no_key = bounds.matches_missing && index.omits_elements(self.multikey);
                options.extend((!no_key).then_some((p, bounds)));
            }
        }
        if multikey {
            options.retain(|(p, _)| self.compatible(part, p.group));
            self.of_one_element(part, &mut options);
        }
        let Some((first, _)) = options.first() else { return full };
        self.geo |= key.geo.is_some();
        if let Some(slot) = self.used.get_mut(part) {
            *slot = Some(first.group);
        }
        let mut intervals = full;
        for (p, b) in &options {
            intervals = intersect(&intervals, &b.intervals, self.collator);
            if b.exact && !p.partial && !key.hashed && let Some(done) = answered.get_mut(p.conjunct) {
                *done = true;
            }
        }
        intervals
    }

    /// Different elements of an array may satisfy two predicates, so that only one of them restricts the keys, or those
    /// that stand in one `$elemMatch` if its elements hold no further arrays on the way.
    fn of_one_element(&self, part: usize, options: &mut Vec<(&Predicate<'_>, Bounds)>) {
        options.sort_by(|a, b| width(&a.1.intervals).total_cmp(&width(&b.1.intervals)));
        let Some(group) = options.first().and_then(|(p, _)| p.group) else {
            options.truncate(1);
            return;
        };
        let inner_arrays = self.multikey.components(part).checked_shr(group.depth as u32).unwrap_or(0);
        if inner_arrays == 0 {
            options.retain(|(p, _)| p.group == Some(group));
        } else {
            options.truncate(1);
        }
    }

    /// Fields that run through one array can be restricted together only for the same element of it: the one an
    /// `$elemMatch` is about, below which they must not share another array.
    fn compatible(&self, part: usize, group: Option<Group>) -> bool {
        self.used.iter().enumerate().take(part).all(|(other, used)| match (used, shared_arrays(self.index, self.multikey, other, part)) {
            (None, _) | (_, 0) => true,
            (Some(theirs), data) => group.is_some_and(|g| *theirs == Some(g) && data.checked_shr(g.depth as u32).unwrap_or(0) == 0),
        })
    }
}

/// The components of their paths that are arrays and the same for both fields, as bits.
fn shared_arrays(index: &Index, multikey: &Multikey, a: usize, b: usize) -> u64 {
    let (Some(x), Some(y)) = (index.paths.get(a), index.paths.get(b)) else { return 0 };
    let common = x.parts().iter().zip(y.parts()).take_while(|(p, q)| p.name == q.name).count();
    let mask = 1u64.checked_shl(common as u32).map_or(u64::MAX, |bit| bit - 1);
    multikey.components(a) & multikey.components(b) & mask
}

/// The cells a predicate may find its geometries in.
fn geo(p: &Predicate<'_>, order: &GeoOrder) -> Option<Bounds> {
    let Node::Field { test, .. } = p.node else { return None };
    if p.negated {
        return None;
    }
    Some(Bounds { intervals: cells(&test.geo_ranges(order)?), exact: false, matches_missing: false })
}

/// Ranges of keys as intervals.
pub fn cells(ranges: &KeyRanges) -> Intervals {
    ranges.iter().map(|(low, high)| Interval::new(Value::Int64(*low), true, Value::Int64(*high), true)).collect()
}

/// Equality with values whose hashes are in the index.
fn hashed(p: &Predicate<'_>, field: Field<'_>) -> Option<Bounds> {
    if p.negated || field.collator.is_some() || field.numbered {
        return None;
    }
    match p.node {
        Node::Compare { op: CompareOp::Eq, .. } | Node::In { .. } => {}
        _ => return None,
    }
    let bounds = bounds::of(p.node, field)?;
    if !all_points(&bounds.intervals) {
        return None;
    }
    let hash = |i: &Interval| Interval::point(Value::Int64(smongo_bson::hash::hash_value(i.low.view()) as i64));
    let points = bounds.intervals.iter().map(hash).collect();
    Some(Bounds { intervals: super::interval::union(points, None), exact: false, ..bounds })
}

/// Whether a scan yields the order of a sort pattern, and in which direction.
struct Ordering<'o> {
    index: &'o Index,
    multikey: &'o Multikey,
    fields: &'o [Intervals],
    sort: &'o SortPattern,
}

impl Ordering<'_> {
    fn find(&self) -> (bool, Order) {
        let towards = |forward| (forward, self.towards(forward));
        [true, false].into_iter().map(towards).find(|(_, order)| *order != Order::None).unwrap_or((true, Order::None))
    }

    fn towards(&self, forward: bool) -> Order {
        let mut wanted = self.sort.parts.iter().peekable();
        let (mut merged, mut scans, mut matched) = (0, 1, false);
        for (n, (part, intervals)) in self.index.parts.iter().zip(self.fields).enumerate() {
            let one = all_points(intervals) && intervals.len() <= 1;
            let Some(next) = wanted.peek() else { break };
            if next.meta.is_some() {
                return Order::None;
            }
            if !part.hashed && next.path == part.path && next.descending == (part.descending == forward) {
                if !self.sorts_by(n) {
                    return Order::None;
                }
                matched = true;
                wanted.next();
            } else if one && !(self.multikey.is_multikey(n) && next.path == part.path) {
                // A constant changes nothing.
                if next.path == part.path {
                    wanted.next();
                }
            } else if all_points(intervals) && !matched {
                merged = n + 1;
                scans *= intervals.len();
            } else {
                return Order::None;
            }
        }
        match (wanted.next(), merged) {
            (Some(_), _) => Order::None,
            (None, 0) => Order::Scan,
            (None, fields) if scans <= MOST_MERGED => Order::Merge { fields },
            _ => Order::None,
        }
    }

    /// An array counts with its least or greatest element, which a restricted scan may leave out.
    fn sorts_by(&self, part: usize) -> bool {
        if !self.multikey.is_multikey(part) {
            return true;
        }
        let numbered = self.index.paths.get(part).is_some_and(|p| p.parts().iter().any(|c| c.index.is_some()));
        let restricted = |n: usize| self.fields.get(n).is_some_and(|f| !is_full(f));
        let data = |n: usize| n == part || shared_arrays(self.index, self.multikey, n, part) != 0;
        !numbered && !self.index.omits_elements(self.multikey) && !(0..self.index.parts.len()).any(|n| restricted(n) && data(n))
    }
}
