//! Intervals of values, and lists of them: what an index field is searched for.

use std::cmp::Ordering;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Value, ValueBuf};

/// All values from `low` to `high`, each included or not.
#[derive(Clone, Debug)]
pub struct Interval {
    pub low: ValueBuf,
    pub low_in: bool,
    pub high: ValueBuf,
    pub high_in: bool,
}

/// Sorted, disjoint intervals.
pub type Intervals = Vec<Interval>;

impl Interval {
    pub fn new(low: Value<'_>, low_in: bool, high: Value<'_>, high_in: bool) -> Interval {
        Interval { low: ValueBuf::new(low), low_in, high: ValueBuf::new(high), high_in }
    }

    pub fn point(value: Value<'_>) -> Interval {
        Interval::new(value, true, value, true)
    }

    pub fn full() -> Interval {
        Interval::new(Value::MinKey, true, Value::MaxKey, true)
    }

    pub fn is_point(&self) -> bool {
        self.low_in && self.high_in && compare_with(self.low.view(), self.high.view(), None).is_eq()
    }

    pub fn is_full(&self) -> bool {
        self.low_in && self.high_in && matches!((self.low.view(), self.high.view()), (Value::MinKey, Value::MaxKey))
    }
}

pub fn is_full(list: &[Interval]) -> bool {
    matches!(list, [only] if only.is_full())
}

pub fn all_points(list: &[Interval]) -> bool {
    list.iter().all(Interval::is_point)
}

/// The intervals of a list and of another that both hold.
pub fn intersect(a: &[Interval], b: &[Interval], collator: Option<&dyn Collator>) -> Intervals {
    let mut both = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let low = match compare_with(x.low.view(), y.low.view(), collator) {
            Ordering::Less => (&y.low, y.low_in),
            Ordering::Greater => (&x.low, x.low_in),
            Ordering::Equal => (&x.low, x.low_in && y.low_in),
        };
        let order = compare_with(x.high.view(), y.high.view(), collator);
        let high = match order {
            Ordering::Less => (&x.high, x.high_in),
            Ordering::Greater => (&y.high, y.high_in),
            Ordering::Equal => (&x.high, x.high_in && y.high_in),
        };
        match compare_with(low.0.view(), high.0.view(), collator) {
            Ordering::Greater => {}
            Ordering::Equal if !(low.1 && high.1) => {}
            _ => both.push(Interval { low: low.0.clone(), low_in: low.1, high: high.0.clone(), high_in: high.1 }),
        }
        if order.is_le() {
            i += 1;
        } else {
            j += 1;
        }
    }
    both
}

/// Sorts intervals and joins those that overlap or touch.
pub fn union(mut list: Intervals, collator: Option<&dyn Collator>) -> Intervals {
    list.sort_by(|a, b| compare_with(a.low.view(), b.low.view(), collator).then(b.low_in.cmp(&a.low_in)));
    let mut joined: Intervals = Vec::with_capacity(list.len());
    for next in list {
        let Some(last) = joined.last_mut() else {
            joined.push(next);
            continue;
        };
        let touches = match compare_with(next.low.view(), last.high.view(), collator) {
            Ordering::Less => true,
            Ordering::Equal => next.low_in || last.high_in,
            Ordering::Greater => false,
        };
        if !touches {
            joined.push(next);
            continue;
        }
        match compare_with(next.high.view(), last.high.view(), collator) {
            Ordering::Greater => {
                last.high = next.high;
                last.high_in = next.high_in;
            }
            Ordering::Equal => last.high_in |= next.high_in,
            Ordering::Less => {}
        }
    }
    joined
}

/// Everything that a list leaves out.
pub fn complement(list: &[Interval]) -> Intervals {
    let mut rest = Vec::with_capacity(list.len() + 1);
    let (mut low, mut low_in) = (ValueBuf::new(Value::MinKey), true);
    let mut open = true;
    for interval in list {
        let starts_at_end = matches!(interval.low.view(), Value::MinKey) && interval.low_in;
        if !starts_at_end {
            rest.push(Interval { low, low_in, high: interval.low.clone(), high_in: !interval.low_in });
        }
        (low, low_in) = (interval.high.clone(), !interval.high_in);
        open = !(matches!(interval.high.view(), Value::MaxKey) && interval.high_in);
    }
    if open {
        rest.push(Interval { low, low_in, high: ValueBuf::new(Value::MaxKey), high_in: true });
    }
    rest
}

/// Whether everything in `inner` lies in `outer`.
pub fn within(inner: &[Interval], outer: &[Interval], collator: Option<&dyn Collator>) -> bool {
    inner.iter().all(|i| {
        outer.iter().any(|o| {
            let low = match compare_with(o.low.view(), i.low.view(), collator) {
                Ordering::Less => true,
                Ordering::Equal => o.low_in || !i.low_in,
                Ordering::Greater => false,
            };
            let high = match compare_with(i.high.view(), o.high.view(), collator) {
                Ordering::Less => true,
                Ordering::Equal => o.high_in || !i.high_in,
                Ordering::Greater => false,
            };
            low && high
        })
    })
}

/// A guess at how much of an index the intervals cover, from 0 to 1.
pub fn width(list: &[Interval]) -> f64 {
    let one = |i: &Interval| {
        if i.is_point() {
            return 0.005;
        }
        let ends = |v: Value<'_>| match v {
            Value::MinKey | Value::MaxKey => 2,
            Value::Double(d) if d.is_infinite() || d.is_nan() => 1,
            Value::Document(d) if d.is_empty() => 1,
            Value::Array(a) if a.is_empty() => 1,
            Value::String("") => 1,
            Value::DateTime(i64::MIN | i64::MAX) => 1,
            _ => 0,
        };
        match (ends(i.low.view()), ends(i.high.view())) {
            (2, 2) => 1.0,
            (2, _) | (_, 2) => 0.45,
            (0, 0) => 0.1,
            (1, 1) => 0.8,
            _ => 0.3,
        }
    };
    list.iter().map(one).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(list: &[Interval]) -> String {
        let side = |i: &Interval| {
            format!("{}{:?}, {:?}{}", if i.low_in { '[' } else { '(' }, i.low.view(), i.high.view(), if i.high_in { ']' } else { ')' })
        };
        list.iter().map(side).collect::<Vec<_>>().join(" ")
    }

    fn range(low: i32, low_in: bool, high: i32, high_in: bool) -> Interval {
        Interval::new(low.into(), low_in, high.into(), high_in)
    }

    #[test]
    fn complement_of_a_point_and_back() {
        let not_five = complement(&[Interval::point(5.into())]);
        assert_eq!(text(&not_five), "[MinKey, 5) (5, MaxKey]");
        assert_eq!(text(&complement(&not_five)), "[5, 5]");
        assert!(complement(&[Interval::full()]).is_empty());
        assert_eq!(text(&complement(&[])), "[MinKey, MaxKey]");
    }

    #[test]
    fn union_joins_what_touches() {
        let joined = union(vec![range(5, true, 9, true), range(1, true, 5, false), range(20, true, 30, true)], None);
        assert_eq!(text(&joined), "[1, 9] [20, 30]");
        let apart = union(vec![range(5, false, 9, true), range(1, true, 5, false)], None);
        assert_eq!(apart.len(), 2);
    }

    #[test]
    fn intersections() {
        let both = intersect(&[range(1, true, 10, true), range(20, true, 30, true)], &[range(5, false, 25, false)], None);
        assert_eq!(text(&both), "(5, 10] [20, 25)");
        assert!(intersect(&[range(1, true, 5, false)], &[range(5, true, 9, true)], None).is_empty());
    }
}
