//! Accumulators that pick values: `$first $last $firstN $lastN $minN $maxN $top $bottom $topN $bottomN`.

use std::collections::VecDeque;
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::{Binary, Result, Value, ValueBuf, keystring};

use super::State;
use super::spec::Setup;
use crate::collation::Collation;

struct First {
    value: Option<ValueBuf>,
    last: bool,
}

pub(super) fn first(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(First { value: None, last: false })
}

pub(super) fn last(_n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(First { value: None, last: true })
}

fn null_if_missing(value: Value<'_>) -> ValueBuf {
    ValueBuf::new(if value.is_missing() { Value::Null } else { value })
}

impl State for First {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        if self.last || self.value.is_none() {
            self.value = Some(null_if_missing(value));
        }
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(self.value.clone().unwrap_or_else(|| ValueBuf::new(Value::Null)))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        self.finish()
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        self.add(partial, &[])
    }
    fn size(&self) -> usize {
        self.value.as_ref().map_or(0, ValueBuf::size)
    }
}

/// The first or last `n` values as they came.
struct FirstN {
    values: VecDeque<ValueBuf>,
    n: usize,
    last: bool,
    size: usize,
}

pub(super) fn first_n(n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(FirstN { values: VecDeque::new(), n, last: false, size: 0 })
}

pub(super) fn last_n(n: usize, _s: &Setup) -> Box<dyn State> {
    Box::new(FirstN { values: VecDeque::new(), n, last: true, size: 0 })
}

impl State for FirstN {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        if self.values.len() >= self.n {
            if !self.last {
                return Ok(());
            }
            if let Some(old) = self.values.pop_front() {
                self.size -= old.size();
            }
        }
        let value = null_if_missing(value);
        self.size += value.size();
        self.values.push_back(value);
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(super::scalar::list(self.values.iter().map(ValueBuf::view)))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        self.finish()
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        let Value::Array(a) = partial else { return Ok(()) };
        a.iter().try_for_each(|v| self.add(v, &[]))
    }
    fn size(&self) -> usize {
        self.size
    }
}

/// The `n` entries with the least keys, kept sorted; equal keys stay in the order they came.
struct Best {
    entries: Vec<(Box<[u8]>, ValueBuf)>,
    n: usize,
    size: usize,
}

impl Best {
    fn new(n: usize) -> Best {
        Best { entries: Vec::new(), n, size: 0 }
    }

    fn add(&mut self, key: &[u8], value: Value<'_>) {
        let at = self.entries.partition_point(|(k, _)| &**k <= key);
        self.insert(at, key, value);
    }

    /// As `add`, but a later entry goes before earlier ones of the same key.
    fn add_before(&mut self, key: &[u8], value: Value<'_>) {
        let at = self.entries.partition_point(|(k, _)| &**k < key);
        self.insert(at, key, value);
    }

    fn insert(&mut self, at: usize, key: &[u8], value: Value<'_>) {
        if at >= self.n {
            return;
        }
        if self.entries.len() >= self.n
            && let Some((k, v)) = self.entries.pop()
        {
            self.size -= k.len() + v.size();
        }
        let value = null_if_missing(value);
        self.size += key.len() + value.size();
        self.entries.insert(at, (key.into(), value));
    }

    fn values(&self) -> impl DoubleEndedIterator<Item = Value<'_>> {
        self.entries.iter().map(|(_, v)| v.view())
    }

    /// Keys and values in turn.
    fn partial(&mut self) -> ValueBuf {
        let entries = std::mem::take(&mut self.entries);
        let mut raw = Vec::new();
        ValueBuf::array(|w| {
            for (key, value) in &entries {
                raw.clear();
                raw.push(0);
                raw.extend_from_slice(key);
                w.push(Value::Binary(Binary::from_raw(&raw)));
                w.push(value.view());
            }
        })
    }
}

/// `$minN`, `$maxN`: the key is that of the value itself; null and missing do not count.
struct Extremes {
    best: Best,
    key: Vec<u8>,
    collation: Option<Arc<Collation>>,
    greatest: bool,
}

fn extremes(n: usize, s: &Setup, greatest: bool) -> Box<dyn State> {
    Box::new(Extremes { best: Best::new(n), key: Vec::new(), collation: s.collation.clone(), greatest })
}

pub(super) fn min_n(n: usize, s: &Setup) -> Box<dyn State> {
    extremes(n, s, false)
}

pub(super) fn max_n(n: usize, s: &Setup) -> Box<dyn State> {
    extremes(n, s, true)
}

impl State for Extremes {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        if value.is_nullish() {
            return Ok(());
        }
        self.key.clear();
        keystring::append(&mut self.key, value, self.greatest, self.collation.as_deref().map(|c| c as &dyn Collator));
        self.best.add(&self.key, value);
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(super::scalar::list(self.best.values()))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        self.finish()
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        let Value::Array(a) = partial else { return Ok(()) };
        a.iter().try_for_each(|v| self.add(v, &[]))
    }
    fn size(&self) -> usize {
        self.best.size
    }
}

/// `$top`, `$topN` and, with every key inverted, `$bottom`, `$bottomN`.
struct Top {
    best: Best,
    bottom: bool,
    single: bool,
    inverted: Vec<u8>,
}

fn make_top(n: usize, bottom: bool, single: bool) -> Box<dyn State> {
    Box::new(Top { best: Best::new(n), bottom, single, inverted: Vec::new() })
}

pub(super) fn top(_n: usize, _s: &Setup) -> Box<dyn State> {
    make_top(1, false, true)
}

pub(super) fn top_n(n: usize, _s: &Setup) -> Box<dyn State> {
    make_top(n, false, false)
}

pub(super) fn bottom(_n: usize, _s: &Setup) -> Box<dyn State> {
    make_top(1, true, true)
}

pub(super) fn bottom_n(n: usize, _s: &Setup) -> Box<dyn State> {
    make_top(n, true, false)
}

impl State for Top {
    fn add(&mut self, value: Value<'_>, key: &[u8]) -> Result<()> {
        if self.bottom {
            self.inverted.clear();
            self.inverted.extend(key.iter().map(|b| !b));
            self.best.add_before(&self.inverted, value);
        } else {
            self.best.add(key, value);
        }
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        if self.single {
            return Ok(self.best.values().next().map_or_else(|| ValueBuf::new(Value::Null), ValueBuf::new));
        }
        // The last n of the whole order, least key first.
        Ok(if self.bottom { super::scalar::list(self.best.values().rev()) } else { super::scalar::list(self.best.values()) })
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        Ok(self.best.partial())
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        let Value::Array(a) = partial else { return Ok(()) };
        let mut values = a.iter();
        // Entries of one key were stored latest first by `$bottom`; they are replayed in the order they came.
        let mut entries = Vec::new();
        while let (Some(Value::Binary(key)), Some(value)) = (values.next(), values.next()) {
            entries.push((key.bytes(), value));
        }
        if self.bottom {
            entries.reverse();
        }
        for (key, value) in entries {
            if self.bottom { self.best.add_before(key, value) } else { self.best.add(key, value) }
        }
        Ok(())
    }
    fn size(&self) -> usize {
        self.best.size
    }
}
