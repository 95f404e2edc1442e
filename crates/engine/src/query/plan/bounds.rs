//! What one predicate asks of one index field.

use smongo_bson::compare::Collator;
use smongo_bson::{Array, Binary, Doc, ObjectId, Timestamp, Value, number};
use smongo_mql::matcher::{CompareOp, Node, TypeSet};
use smongo_mql::regex::Regex;

use super::interval::{Interval, Intervals, complement, intersect, union};

/// The intervals that hold every key by which a document can match.
pub struct Bounds {
    pub intervals: Intervals,
    /// Every document with a key in them matches: the predicate need not be tested again.
    pub exact: bool,
    /// A document without the field may match; sparse indexes do not know it.
    pub matches_missing: bool,
}

/// What is known of the field.
#[derive(Clone, Copy)]
pub struct Field<'i> {
    /// The query's and index's collation; without one, strings are compared bytewise.
    pub collator: Option<&'i dyn Collator>,
    /// Query and index differ in collation: strings say nothing.
    pub strings_differ: bool,
    pub multikey: bool,
    /// The path has a numbered component: null in the index does not tell what is missing.
    pub numbered: bool,
    /// The predicate applies to array elements themselves (`$elemMatch` over values).
    pub element: bool,
}

const NOTHING: Bounds = Bounds { intervals: Vec::new(), exact: true, matches_missing: false };

fn exact(intervals: Intervals) -> Option<Bounds> {
    Some(Bounds { intervals, exact: true, matches_missing: false })
}

fn rough(intervals: Intervals) -> Option<Bounds> {
    Some(Bounds { intervals, exact: false, matches_missing: false })
}

/// The bounds of a predicate, or of its negation; `None` when the index cannot help.
pub fn of_either(node: &Node, negated: bool, field: Field<'_>) -> Option<Bounds> {
    if !negated {
        return of(node, field);
    }
    let bounds = negation(node, field)?;
    (!field.numbered || !bounds.matches_missing).then_some(bounds)
}

/// The bounds of a predicate; `None` when the index cannot help.
pub fn of(node: &Node, field: Field<'_>) -> Option<Bounds> {
    let mut bounds = match node {
        Node::Compare { op, value, .. } => compare(*op, value.view(), field),
        Node::Implied { op, value, .. } => implied(*op, value.view(), field),
        Node::In { values, regexes, .. } => {
            let mut all = NOTHING;
            for v in values {
                add(&mut all, compare(CompareOp::Eq, v.view(), field)?);
            }
            for r in regexes {
                add(&mut all, regex(r, field));
            }
            all.intervals = union(all.intervals, field.collator);
            Some(all)
        }
        Node::Regex { regex: r, .. } => Some(regex(r, field)),
        Node::Type { types, .. } => type_of(*types, field),
        Node::Exists { .. } => rough(vec![Interval::full()]),
        Node::Mod { .. } => rough(vec![numbers()]),
        Node::ElemMatchValue { filter, .. } if !field.element => elem_match(filter, field),
        Node::Not(child) => negation(child, field),
        Node::AlwaysFalse => Some(NOTHING),
        _ => None,
    }?;
    if field.numbered {
        if bounds.matches_missing {
            return None;
        }
        bounds.exact = false;
    }
    Some(bounds)
}

fn add(all: &mut Bounds, more: Bounds) {
    all.intervals.extend(more.intervals);
    all.exact &= more.exact;
    all.matches_missing |= more.matches_missing;
}

/// Whether comparing with a value depends on how strings compare.
fn has_strings(value: Value<'_>) -> bool {
    matches!(value, Value::String(_) | Value::Symbol(_) | Value::Document(_) | Value::Array(_))
}

fn compare(op: CompareOp, value: Value<'_>, field: Field<'_>) -> Option<Bounds> {
    if field.strings_differ && has_strings(value) {
        return None;
    }
    let inclusive = matches!(op, CompareOp::Eq | CompareOp::Gte | CompareOp::Lte);
    match value {
        Value::Null | Value::Missing => Some(if inclusive { null(field) } else { NOTHING }),
        Value::MinKey | Value::MaxKey => end(op, value, field),
        Value::Array(a) => array(op, a, field),
        v if v.is_number() && number::is_nan(v) => exact(if inclusive { vec![Interval::point(v)] } else { Vec::new() }),
        v => match op {
            CompareOp::Eq => exact(vec![Interval::point(v)]),
            _ => range(op, v),
        },
    }
}

/// A comparison of an expression: over all types, and of arrays as a whole, which the index does not know. What is missing is less than
/// all else but minKey.
fn implied(op: CompareOp, value: Value<'_>, field: Field<'_>) -> Option<Bounds> {
    if field.multikey || field.numbered || (field.strings_differ && has_strings(value)) {
        return None;
    }
    let above = matches!(value, Value::MinKey);
    let (interval, matches_missing) = match op {
        CompareOp::Eq => (Interval::point(value), false),
        CompareOp::Gt | CompareOp::Gte => (Interval::new(value, op == CompareOp::Gte, Value::MaxKey, true), above),
        CompareOp::Lt | CompareOp::Lte => (Interval::new(Value::MinKey, true, value, op == CompareOp::Lte), !above),
    };
    Some(Bounds { intervals: if interval.is_empty() { Vec::new() } else { vec![interval] }, exact: true, matches_missing })
}

/// Equality with null: null, and what is missing.
fn null(field: Field<'_>) -> Bounds {
    let mut intervals = vec![Interval::point(Value::Null)];
    if field.multikey {
        intervals.insert(0, Interval::point(Value::Undefined));
    }
    Bounds { intervals, exact: !field.multikey && !field.numbered, matches_missing: !field.element }
}

/// Comparisons with minKey and maxKey, which reach over all types.
fn end(op: CompareOp, value: Value<'_>, field: Field<'_>) -> Option<Bounds> {
    let intervals = match (op, matches!(value, Value::MinKey)) {
        (CompareOp::Eq, _) | (CompareOp::Lte, true) | (CompareOp::Gte, false) => return exact(vec![Interval::point(value)]),
        (CompareOp::Lt, true) | (CompareOp::Gt, false) => Vec::new(),
        // An array is above minKey also when that is all it holds.
        (CompareOp::Gt, true) if !field.multikey => vec![Interval::new(Value::MinKey, false, Value::MaxKey, true)],
        (CompareOp::Lt, false) if !field.multikey => vec![Interval::new(Value::MinKey, true, Value::MaxKey, false)],
        _ => vec![Interval::full()],
    };
    Some(Bounds { intervals, exact: false, matches_missing: true })
}

/// An array equals one whose elements are indexed, or an element that is an array itself.
fn array(op: CompareOp, a: Array<'_>, field: Field<'_>) -> Option<Bounds> {
    let whole = Interval::point(Value::Array(a));
    match op {
        CompareOp::Eq if field.element => rough(vec![whole]),
        CompareOp::Eq => {
            let first = a.iter().next().unwrap_or(Value::Undefined);
            rough(union(vec![Interval::point(first), whole], field.collator))
        }
        // Arrays are not in the index as a whole.
        _ => Some(Bounds { intervals: vec![Interval::full()], exact: false, matches_missing: false }),
    }
}

fn range(op: CompareOp, v: Value<'_>) -> Option<Bounds> {
    let Some(class) = class_of(v) else { return rough(vec![Interval::full()]) };
    let interval = match op {
        CompareOp::Gt | CompareOp::Gte => {
            Interval { low: v.into(), low_in: op == CompareOp::Gte, high: class.high, high_in: class.high_in }
        }
        // NaN is below all numbers in the index, but not less than any.
        _ => {
            let low = if v.is_number() { Value::Double(f64::NEG_INFINITY).into() } else { class.low };
            Interval { low, low_in: true, high: v.into(), high_in: op == CompareOp::Lte }
        }
    };
    let nothing = interval.is_empty();
    exact(if nothing { Vec::new() } else { vec![interval] })
}

impl Interval {
    fn is_empty(&self) -> bool {
        let order = smongo_bson::compare::compare(self.low.view(), self.high.view());
        order.is_gt() || (order.is_eq() && !(self.low_in && self.high_in))
    }
}

fn numbers() -> Interval {
    Interval::new(Value::Double(f64::NAN), true, Value::Double(f64::INFINITY), true)
}

/// All values that compare with a value, where that is a closed set.
fn class_of(v: Value<'_>) -> Option<Interval> {
    Some(match v {
        v if v.is_number() => numbers(),
        Value::String(_) | Value::Symbol(_) => Interval::new(Value::String(""), true, Value::Document(Doc::EMPTY), false),
        Value::Document(_) => Interval::new(Value::Document(Doc::EMPTY), true, Value::Array(Array(Doc::EMPTY)), false),
        Value::Bool(_) => Interval::new(Value::Bool(false), true, Value::Bool(true), true),
        Value::DateTime(_) => Interval::new(Value::DateTime(i64::MIN), true, Value::DateTime(i64::MAX), true),
        Value::Timestamp(_) => Interval::new(Timestamp::from_u64(0).into(), true, Timestamp::from_u64(u64::MAX).into(), true),
        Value::ObjectId(_) => Interval::new(ObjectId([0; 12]).into(), true, ObjectId([0xff; 12]).into(), true),
        Value::Binary(_) => {
            let empty = Binary::from_raw(&[0]);
            Interval::new(Value::Binary(empty), true, Value::ObjectId(ObjectId([0; 12])), false)
        }
        _ => return None,
    })
}

/// Strings by their prefix where the expression has one, and the expression itself.
fn regex(r: &Regex, field: Field<'_>) -> Bounds {
    let mut strings = Interval::new(Value::String(""), true, Value::Document(Doc::EMPTY), false);
    let mut is_exact = false;
    if field.collator.is_none()
        && !field.strings_differ
        && let Some(prefix) = r.prefix().filter(|p| !p.is_empty())
    {
        strings = match next_string(prefix) {
            Some(next) => Interval::new(Value::String(prefix), true, Value::String(&next), false),
            None => Interval::new(Value::String(prefix), true, Value::Document(Doc::EMPTY), false),
        };
        is_exact = r.is_exact_prefix();
    }
    let mut raw = r.pattern.as_bytes().to_vec();
    raw.push(0);
    raw.extend_from_slice(r.options.as_bytes());
    raw.push(0);
    let itself = Interval::point(Value::Regex(smongo_bson::Regex::from_raw(&raw)));
    Bounds { intervals: vec![strings, itself], exact: is_exact, matches_missing: false }
}

/// The least string that is greater than all that begin with `prefix`.
fn next_string(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last as u32 + 1 {
            // Surrogates are no characters.
            0xd800 => Some('\u{e000}'),
            n => char::from_u32(n),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn type_of(types: TypeSet, field: Field<'_>) -> Option<Bounds> {
    // Arrays are not in the index as a whole, so that no key tells of them.
    if types.contains(4) {
        return rough(vec![Interval::full()]);
    }
    let mut intervals = Vec::new();
    let samples: [(u8, Value<'_>); 12] = [
        (1, Value::Int32(0)),
        (16, Value::Int32(0)),
        (18, Value::Int32(0)),
        (19, Value::Int32(0)),
        (2, Value::String("")),
        (14, Value::String("")),
        (3, Value::Document(Doc::EMPTY)),
        (5, Value::Binary(Binary::from_raw(&[0]))),
        (7, Value::ObjectId(ObjectId([0; 12]))),
        (8, Value::Bool(true)),
        (9, Value::DateTime(0)),
        (17, Value::Timestamp(Timestamp::from_u64(0))),
    ];
    let mut left = types.0;
    for (tag, sample) in samples {
        if types.contains(tag) {
            intervals.extend(class_of(sample));
            left &= !TypeSet::of(tag).0;
        }
    }
    for (tag, value) in [(255, Value::MinKey), (127, Value::MaxKey), (10, Value::Null), (6, Value::Undefined)] {
        if types.contains(tag) {
            intervals.push(Interval::point(value));
            left &= !TypeSet::of(tag).0;
        }
    }
    if left != 0 {
        return rough(vec![Interval::full()]);
    }
    rough(union(intervals, field.collator))
}

/// One array element passes all of them, and each element is a key.
fn elem_match(filter: &Node, field: Field<'_>) -> Option<Bounds> {
    let field = Field { element: true, ..field };
    let children: &[Node] = match filter {
        Node::And(children) => children,
        one => std::slice::from_ref(one),
    };
    let mut intervals = vec![Interval::full()];
    for child in children {
        // Negations hold for elements of any kind, nulls too; as bounds of one element they are exact.
        if let Some(b) = of(child, Field { multikey: false, ..field }) {
            intervals = intersect(&intervals, &b.intervals, field.collator);
        }
    }
    rough(intervals)
}

/// The complement of what is exact; a document has a key there whenever none of its values matches.
fn negation(child: &Node, field: Field<'_>) -> Option<Bounds> {
    match child {
        Node::Exists { .. } => {
            return Some(Bounds { intervals: vec![Interval::point(Value::Null)], exact: false, matches_missing: true });
        }
        Node::Compare { .. } | Node::In { .. } | Node::AlwaysFalse => {}
        Node::Regex { regex, .. } if regex.is_exact_prefix() => {}
        _ => return None,
    }
    let inner = match child {
        // As for one value: which of several values of an array is null does not matter to the complement.
        Node::Compare { op: CompareOp::Eq, value, .. } if matches!(value.view(), Value::Null) && field.multikey => return None,
        _ => of(child, field)?,
    };
    if !inner.exact {
        return None;
    }
    Some(Bounds {
        intervals: complement(&inner.intervals),
        exact: !field.multikey && !field.element,
        matches_missing: !inner.matches_missing && !field.element,
    })
}

/// The intervals of a positive predicate taken by itself, for comparing predicates with each other.
pub fn plain(node: &Node, collator: Option<&dyn Collator>) -> Option<Intervals> {
    let field = Field { collator, strings_differ: false, multikey: false, numbered: false, element: false };
    match node {
        Node::Compare { value, .. } if matches!(value.view(), Value::Array(_)) => None,
        Node::Compare { .. } | Node::In { .. } | Node::Regex { .. } | Node::Type { .. } => of(node, field).map(|b| b.intervals),
        _ => None,
    }
}
