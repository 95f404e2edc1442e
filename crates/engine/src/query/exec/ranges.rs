//! Bounds as bytes: the ranges of keys a scan visits.

use smongo_bson::compare::Collator;
use smongo_bson::keystring;

use crate::data::catalog::{Index, KeyPart};
use crate::query::plan::interval::{Interval, Intervals, all_points, is_full};

/// Points of several fields are combined up to this many ranges; beyond it the later fields are tested key by key.
const MOST_RANGES: usize = 10_000;

/// Keys from `start` on and below `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: Vec<u8>,
    /// `None`: to the end of the table.
    pub end: Option<Vec<u8>>,
}

impl Range {
    #[inline]
    pub fn is_before(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_some_and(|end| end <= key)
    }

    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && !self.is_before(key)
    }
}

/// What a scan visits: ranges in the order of the keys, and conditions on the fields that the ranges leave open.
#[derive(Clone, Debug)]
pub struct Ranges {
    pub ranges: Vec<Range>,
    pub rest: Option<Rest>,
}

/// Conditions on the fields behind the first `skip`.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Whether each field of the index is descending.
    directions: Vec<bool>,
    skip: usize,
    /// For each field from `skip` on; empty where everything goes.
    fields: Vec<Vec<Range>>,
}

/// What a key that fails says of those behind it.
pub enum Verdict {
    Inside,
    /// Nothing before this key (scanning forward: not less; backward: not greater) can pass.
    Seek,
}

impl Ranges {
    /// The bytes of intervals for each field of an index.
    pub fn compile(index: &Index, fields: &[Intervals]) -> Ranges {
        if fields.iter().any(Vec::is_empty) {
            return Ranges { ranges: Vec::new(), rest: None };
        }
        let collator = index.collation.as_deref().map(|c| c as &dyn Collator);
        let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
        let mut at = 0;
        for (part, intervals) in index.parts.iter().zip(fields) {
            if !all_points(intervals) || (at > 0 && prefixes.len() * intervals.len() > MOST_RANGES) {
                break;
            }
            prefixes = combine(&prefixes, part, intervals, collator);
            at += 1;
        }
        let (mut ranges, skip) = match (index.parts.get(at), fields.get(at)) {
            (Some(part), Some(intervals)) if !is_full(intervals) => (spans(&prefixes, part, intervals, collator), at + 1),
            _ => (prefixes.into_iter().map(whole).collect(), at),
        };
        ranges.sort_by(|a: &Range, b| a.start.cmp(&b.start));
        let rest = Rest {
            directions: index.parts.iter().map(|p| p.descending).collect(),
            skip,
            fields: index.parts.iter().zip(fields).skip(skip).map(|(p, i)| component(p, i, collator)).collect(),
        };
        let rest = (!rest.fields.iter().all(Vec::is_empty)).then_some(rest);
        Ranges { ranges, rest }
    }

    /// One range, as `min` and `max` give it.
    pub fn between(start: Vec<u8>, end: Option<Vec<u8>>) -> Ranges {
        Ranges { ranges: vec![Range { start, end }], rest: None }
    }
}

fn combine(prefixes: &[Vec<u8>], part: &KeyPart, points: &[Interval], collator: Option<&dyn Collator>) -> Vec<Vec<u8>> {
    let mut all = Vec::with_capacity(prefixes.len() * points.len());
    for prefix in prefixes {
        for point in points {
            let mut key = prefix.clone();
            keystring::append(&mut key, point.low.view(), part.descending, collator);
            all.push(key);
        }
    }
    all
}

/// All keys that begin with a prefix.
fn whole(start: Vec<u8>) -> Range {
    let mut end = start.clone();
    let bounded = keystring::prefix_end(&mut end);
    Range { start, end: bounded.then_some(end) }
}

fn spans(prefixes: &[Vec<u8>], part: &KeyPart, intervals: &[Interval], collator: Option<&dyn Collator>) -> Vec<Range> {
    let mut all = Vec::with_capacity(prefixes.len() * intervals.len());
    for prefix in prefixes {
        all.extend(intervals.iter().map(|i| span(prefix, part, i, collator)));
    }
    all
}

/// The keys that begin with a prefix and have the next field in an interval.
fn span(prefix: &[u8], part: &KeyPart, interval: &Interval, collator: Option<&dyn Collator>) -> Range {
    let (first, first_in, last, last_in) = if part.descending {
        (&interval.high, interval.high_in, &interval.low, interval.low_in)
    } else {
        (&interval.low, interval.low_in, &interval.high, interval.high_in)
    };
    let mut start = prefix.to_vec();
    keystring::append(&mut start, first.view(), part.descending, collator);
    if !first_in {
        keystring::prefix_end(&mut start);
    }
    let mut end = prefix.to_vec();
    keystring::append(&mut end, last.view(), part.descending, collator);
    let bounded = !last_in || keystring::prefix_end(&mut end);
    Range { start, end: bounded.then_some(end) }
}

/// The ranges of one field's bytes by themselves, sorted; empty when everything goes.
fn component(part: &KeyPart, intervals: &[Interval], collator: Option<&dyn Collator>) -> Vec<Range> {
    if is_full(intervals) {
        return Vec::new();
    }
    let mut ranges = spans(&[Vec::new()], part, intervals, collator);
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    ranges
}

impl Rest {
    /// Tests a key; when it fails, `target` is where the scan goes on.
    pub fn check(&self, key: &[u8], forward: bool, target: &mut Vec<u8>) -> Verdict {
        let mut rest = key;
        let mut directions = self.directions.iter();
        for descending in directions.by_ref().take(self.skip) {
            let Ok(after) = keystring::skip(rest, *descending) else { return Verdict::Inside };
            rest = after;
        }
        for (ranges, descending) in self.fields.iter().zip(directions) {
            let Ok(after) = keystring::skip(rest, *descending) else { return Verdict::Inside };
            let before = key.len() - rest.len();
            let value = rest.get(..rest.len() - after.len()).unwrap_or_default();
            rest = after;
            if ranges.is_empty() {
                continue;
            }
            let prefix = key.get(..before).unwrap_or_default();
            if !find(ranges, value, prefix, forward, target) {
                return Verdict::Seek;
            }
        }
        Verdict::Inside
    }
}

/// Whether a field's bytes lie in one of its ranges; else `target` is the next key that can.
fn find(ranges: &[Range], value: &[u8], prefix: &[u8], forward: bool, target: &mut Vec<u8>) -> bool {
    let at = ranges.partition_point(|r| r.is_before(value));
    if ranges.get(at).is_some_and(|r| r.start.as_slice() <= value) {
        return true;
    }
    target.clear();
    target.extend_from_slice(prefix);
    if forward {
        match ranges.get(at) {
            Some(next) => target.extend_from_slice(&next.start),
            None => {
                keystring::prefix_end(target);
            }
        }
    } else if let Some(previous) = at.checked_sub(1).and_then(|n| ranges.get(n)) {
        // The greatest key below the end of the range before; without one, below everything with the prefix.
        match &previous.end {
            Some(end) => target.extend_from_slice(end),
            None => target.extend_from_slice(&[0xff; 4]),
        }
    }
    false
}

