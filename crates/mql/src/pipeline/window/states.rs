//! Functions that keep sums of their frame, or few of its values.

use std::collections::VecDeque;
use std::sync::Arc;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Doc, Result, Value, ValueBuf};

use super::function::Rank;
use super::rows::{key, pair, value};
use super::slide::State;
use crate::accum::percentile::{Percentiles, countable};
use crate::accum::ranked::Ranked;
use crate::accum::removable::{Covariance, RemovableDeviation, RemovableSum};
use crate::accum::{self, count_value};
use crate::collation::Collation;

pub(super) fn collator(collation: &Option<Arc<Collation>>) -> Option<&dyn Collator> {
    collation.as_deref().map(|c| c as &dyn Collator)
}

/// An accumulator over a frame that only grows.
pub(super) struct Accumulated {
    pub state: Box<dyn accum::State>,
    /// Whether the input begins with the sort key of `$top` and its kin.
    pub keyed: bool,
}

impl State for Accumulated {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        if self.keyed {
            let (sort, value) = pair(input);
            return self.state.add(value, key(sort));
        }
        self.state.add(value(input), &[])
    }
    fn leave(&mut self, _row: u64, _input: Doc<'_>) {}
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        self.state.finish()
    }
    fn size(&self) -> usize {
        self.state.size()
    }
}

pub(super) struct Count(pub i64);

impl State for Count {
    fn enter(&mut self, _row: u64, _input: Doc<'_>) -> Result<()> {
        self.0 += 1;
        Ok(())
    }
    fn leave(&mut self, _row: u64, _input: Doc<'_>) {
        self.0 -= 1;
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(count_value(self.0)))
    }
}

#[derive(Default)]
pub(super) struct Sum {
    pub sum: RemovableSum,
    pub average: bool,
}

impl State for Sum {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        self.sum.add(value(input));
        Ok(())
    }
    fn leave(&mut self, _row: u64, input: Doc<'_>) {
        self.sum.remove(value(input));
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(if self.average { self.sum.average() } else { self.sum.value() }))
    }
}

pub(super) struct Deviation {
    pub state: RemovableDeviation,
    pub sample: bool,
}

impl State for Deviation {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        self.state.change(value(input), 1);
        Ok(())
    }
    fn leave(&mut self, _row: u64, input: Doc<'_>) {
        self.state.change(value(input), -1);
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(self.state.value(self.sample)))
    }
}

pub(super) struct Covaried {
    pub state: Covariance,
    pub sample: bool,
}

/// The two numbers of a covariance's argument; anything else does not count.
fn numbers(value: Value<'_>) -> Option<(Value<'_>, Value<'_>)> {
    let list = value.as_array()?;
    let mut items = list.iter();
    match (items.next(), items.next(), items.next()) {
        (Some(x), Some(y), None) if x.is_number() && y.is_number() => Some((x, y)),
        _ => None,
    }
}

impl State for Covaried {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        if let Some((x, y)) = numbers(value(input)) {
            self.state.add(x, y);
        }
        Ok(())
    }
    fn leave(&mut self, _row: u64, input: Doc<'_>) {
        if let Some((x, y)) = numbers(value(input)) {
            self.state.remove(x, y);
        }
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(self.state.value(self.sample)))
    }
}

/// `$min`, `$max`: the values that may still become the best. Each is better than all behind it; the first is the best.
pub(super) struct Extreme {
    values: VecDeque<(u64, ValueBuf)>,
    greatest: bool,
    collation: Option<Arc<Collation>>,
    size: usize,
}

impl Extreme {
    pub fn new(greatest: bool, collation: Option<Arc<Collation>>) -> Extreme {
        Extreme { values: VecDeque::new(), greatest, collation, size: 0 }
    }

    pub fn best(&self) -> Option<Value<'_>> {
        self.values.front().map(|(_, v)| v.view())
    }
}

impl State for Extreme {
    fn enter(&mut self, row: u64, input: Doc<'_>) -> Result<()> {
        let value = value(input);
        if value.is_nullish() {
            return Ok(());
        }
        let worse = |held: &ValueBuf| {
            let order = compare_with(held.view(), value, collator(&self.collation));
            if self.greatest { order.is_lt() } else { order.is_gt() }
        };
        while let Some((_, held)) = self.values.pop_back_if(|(_, held)| worse(held)) {
            self.size -= held.size();
        }
        let value = ValueBuf::new(value);
        self.size += value.size();
        self.values.push_back((row, value));
        Ok(())
    }
    fn leave(&mut self, row: u64, _input: Doc<'_>) {
        if let Some((_, held)) = self.values.pop_front_if(|(at, _)| *at == row) {
            self.size -= held.size();
        }
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(self.best().unwrap_or(Value::Null)))
    }
    fn size(&self) -> usize {
        self.size + self.values.len() * 8
    }
}

/// `$percentile`, `$median`: the numbers of the frame in order.
pub(super) struct Percentile {
    pub numbers: Ranked,
    pub wanted: Percentiles,
}

impl State for Percentile {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        if let Some(x) = countable(value(input)) {
            self.numbers.insert(x);
        }
        Ok(())
    }
    fn leave(&mut self, _row: u64, input: Doc<'_>) {
        if let Some(x) = countable(value(input)) {
            self.numbers.remove(x);
        }
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(self.wanted.of(self.numbers.len(), |at| self.numbers.nth(at)))
    }
    fn size(&self) -> usize {
        self.numbers.len() * 8
    }
}

/// `$documentNumber`, `$rank`, `$denseRank` of the row that entered last.
pub(super) struct Ranks {
    kind: Rank,
    rows: i64,
    rank: i64,
    /// The sort key of that row.
    key: Vec<u8>,
}

impl Ranks {
    pub fn new(kind: Rank) -> Ranks {
        Ranks { kind, rows: 0, rank: 0, key: Vec::new() }
    }
}

impl State for Ranks {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        let key = key(value(input));
        let tie = self.rows > 0 && self.key == key;
        self.rows += 1;
        self.rank = match self.kind {
            Rank::DocumentNumber => self.rows,
            _ if tie => return Ok(()),
            Rank::Rank => self.rows,
            Rank::DenseRank => self.rank + 1,
        };
        self.key.clear();
        self.key.extend_from_slice(key);
        Ok(())
    }
    fn leave(&mut self, _row: u64, _input: Doc<'_>) {}
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(count_value(self.rank)))
    }
}
