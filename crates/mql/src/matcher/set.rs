//! `$in`: sets of constants in which an element is found without a linear search.

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Element, Value, ValueBuf};

use super::compare::{CompareOp, Test};

/// Up to this many values are compared one by one.
const FEW: usize = 8;

/// The constants of an `$in`, in the form that is fastest for them.
#[derive(Debug)]
pub enum InSet {
    Few(Vec<Test>),
    /// Integers only.
    Ints(Box<[i64]>),
    Oids(Box<[[u8; 12]]>),
    /// Strings only, compared bytewise: indexes into the sorted values.
    Strings(Box<[Box<[u8]>]>),
    /// Binary search by the general comparison.
    Sorted,
}

/// Sorts values and removes those that are equal.
pub(super) fn normalise(values: &mut Vec<ValueBuf>, collator: Option<&dyn Collator>) {
    values.sort_by(|a, b| compare_with(a.view(), b.view(), collator));
    values.dedup_by(|a, b| compare_with(a.view(), b.view(), collator).is_eq());
}

impl InSet {
    /// `values` are sorted and without duplicates.
    pub fn new(values: &[ValueBuf], collated: bool) -> InSet {
        let tests: Vec<Test> = values.iter().map(|v| Test::new(v.view(), collated)).collect();
        if tests.len() <= FEW {
            return InSet::Few(tests);
        }
        let ints: Vec<i64> = tests.iter().filter_map(|t| if let Test::Int(n) = t { Some(*n) } else { None }).collect();
        if ints.len() == tests.len() {
            return InSet::Ints(ints.into());
        }
        let oids: Vec<[u8; 12]> = tests.iter().filter_map(|t| if let Test::Oid(id) = t { Some(*id) } else { None }).collect();
        if oids.len() == tests.len() {
            return InSet::Oids(oids.into());
        }
        if tests.iter().all(|t| matches!(t, Test::Str(_))) {
            return InSet::Strings(tests.into_iter().filter_map(|t| if let Test::Str(s) = t { Some(s) } else { None }).collect());
        }
        InSet::Sorted
    }

    pub fn contains(&self, values: &[ValueBuf], e: Option<&Element<'_>>, collator: Option<&dyn Collator>) -> bool {
        if let InSet::Few(tests) = self {
            return tests.iter().zip(values).any(|(t, v)| t.matches(CompareOp::Eq, v, e, collator));
        }
        // What is missing equals null only.
        let Some(e) = e else { return search(values, Value::Null, collator) };
        match (self, e.tag()) {
            (InSet::Ints(ints), 1 | 16 | 18 | 19) => {
                smongo_bson::number::to_i64_exact(e.value()).is_some_and(|n| ints.binary_search(&n).is_ok())
            }
            (InSet::Oids(ids), 7) => ids.binary_search_by(|id| id[..].cmp(e.value_bytes())).is_ok(),
            (InSet::Strings(texts), 2 | 14) => {
                let bytes = e.value_bytes();
                let text = bytes.get(4..bytes.len().saturating_sub(1)).unwrap_or(&[]);
                texts.binary_search_by(|t| t[..].cmp(text)).is_ok()
            }
            // Undefined shares its rank with missing in the order, but equals no constant.
            (InSet::Sorted, tag) if tag != 6 => search(values, e.value(), collator),
            _ => false,
        }
    }
}

fn search(values: &[ValueBuf], value: Value<'_>, collator: Option<&dyn Collator>) -> bool {
    values.binary_search_by(|v| compare_with(v.view(), value, collator)).is_ok()
}
