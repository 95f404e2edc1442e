//! The values of window functions for the documents of a partition.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Doc, DocBuf, Result, Value, ValueBuf, number};

use super::Partition;
use super::frame::Frame;
use super::function::{Function, Rank};
use super::series;
use crate::accum::removable::{Covariance, RemovableDeviation, RemovableSum};
use crate::accum::{Accumulator, Arguments, State};
use crate::arena::Arena;
use crate::cx::Cx;
use crate::expr::Expr;
use crate::stream::Host;

/// One result for each document, in their order. Those of one frame share a value.
pub(super) fn run(function: &Function, partition: &Partition, host: &mut dyn Host) -> Result<Vec<Arc<ValueBuf>>> {
    match function {
        Function::Accumulate { accumulator, frame } => accumulate(accumulator, frame, partition, host),
        function => Ok(each(function, partition)?.into_iter().map(Arc::new).collect()),
    }
}

fn each(function: &Function, partition: &Partition) -> Result<Vec<ValueBuf>> {
    match function {
        Function::Accumulate { .. } => Ok(Vec::new()),
        Function::Covariance { input, sample, frame } => covariance(input, *sample, frame, partition),
        Function::MinMaxScaler { input, low, high, frame } => {
            let values = evaluate(input, partition)?;
            frames(frame, partition, |row, range| series::scaled(&values, row, range, low.view(), high.view()))
        }
        Function::Derivative { input, unit, frame } => {
            let values = evaluate(input, partition)?;
            frames(frame, partition, |_, range| series::derivative(&values, &partition.sort_values, range, *unit))
        }
        Function::Integral { input, unit, frame } => {
            let values = evaluate(input, partition)?;
            frames(frame, partition, |_, range| series::integral(&values, &partition.sort_values, range, *unit))
        }
        Function::Rank(rank) => Ok(ranks(*rank, partition)),
        Function::Shift { output, by, default } => {
            let values = evaluate(output, partition)?;
            let at = |row: usize| usize::try_from(row as i64 + by).ok().and_then(|at| values.get(at)).unwrap_or(default).clone();
            Ok((0..values.len()).map(at).collect())
        }
        Function::ExpMovingAvg { input, alpha } => series::exp_moving_avg(&evaluate(input, partition)?, alpha),
        Function::LinearFill { input } => series::linear_fill(&evaluate(input, partition)?, &partition.sort_values),
        Function::Locf { input } => Ok(series::locf(&evaluate(input, partition)?)),
    }
}

/// An expression's value for every document.
fn evaluate(expr: &Expr, partition: &Partition) -> Result<Vec<ValueBuf>> {
    let mut arena = Arena::new();
    let mut values = Vec::with_capacity(partition.docs.len());
    for doc in &partition.docs {
        arena.reset();
        values.push(ValueBuf::new(expr.eval(&Cx::new(&arena, doc.as_doc(), expr.slots()))?));
    }
    Ok(values)
}

/// Calls `value` with each document's frame.
fn frames(frame: &Frame, partition: &Partition, mut value: impl FnMut(usize, Range<usize>) -> Result<ValueBuf>) -> Result<Vec<ValueBuf>> {
    let mut range = 0..0;
    let mut out = Vec::with_capacity(partition.docs.len());
    for row in 0..partition.docs.len() {
        range = frame.at(row, &range, partition)?;
        out.push(value(row, range.clone())?);
    }
    Ok(out)
}

fn feed(accumulator: &Accumulator, state: &mut dyn State, docs: &[DocBuf], arena: &mut Arena, key: &mut Vec<u8>) -> Result<()> {
    for doc in docs {
        arena.reset();
        accumulator.feed(state, &Cx::new(arena, doc.as_doc(), accumulator.slots()), key)?;
    }
    Ok(())
}

fn accumulate(accumulator: &Accumulator, frame: &Frame, partition: &Partition, host: &mut dyn Host) -> Result<Vec<Arc<ValueBuf>>> {
    if let Arguments::One(input) = accumulator.arguments() {
        if let Some(results) = sliding(accumulator, input, frame, partition)? {
            return Ok(results.into_iter().map(Arc::new).collect());
        }
        if let Some(results) = picked(accumulator, input, frame, partition)? {
            return Ok(results);
        }
    }
    let (mut arena, mut key) = (Arena::new(), Vec::new());
    let docs = |range: Range<usize>| partition.docs.get(range).unwrap_or(&[]);
    let mut range = 0..0;
    let mut out: Vec<Arc<ValueBuf>> = Vec::with_capacity(partition.docs.len());
    let mut size = partition.size;
    let mut state: Option<Box<dyn State>> = None;
    let mut fed = 0..0;
    for row in 0..partition.docs.len() {
        range = frame.at(row, &range, partition)?;
        if row > 0 && range == fed {
            out.extend(out.last().cloned());
            continue;
        }
        if frame.grows() && state.is_some() {
            if let Some(state) = &mut state {
                feed(accumulator, state.as_mut(), docs(fed.end..range.end), &mut arena, &mut key)?;
            }
        } else {
            let mut fresh = accumulator.start(Doc::EMPTY, &arena)?;
            feed(accumulator, fresh.as_mut(), docs(range.clone()), &mut arena, &mut key)?;
            state = Some(fresh);
        }
        fed = range.clone();
        let value = state.as_mut().map_or_else(|| Ok(ValueBuf::new(Value::Null)), |s| s.finish())?;
        size += value.size();
        super::check_memory(size, host)?;
        out.push(Arc::new(value));
        if row % 256 == 0 {
            host.interrupt()?;
        }
    }
    Ok(out)
}

fn covariance(input: &Expr, sample: bool, frame: &Frame, partition: &Partition) -> Result<Vec<ValueBuf>> {
    let values = evaluate(input, partition)?;
    let mut state = Covariance::default();
    slide(frame, partition, &mut state, |state, at, entering| {
        let pair = values.get(at).and_then(|v| numbers(v.view()));
        match pair {
            Some((x, y)) if entering => state.add(x, y),
            Some((x, y)) => state.remove(x, y),
            None => {}
        }
    }, |state| state.value(sample))
}

/// Moves over the frames: documents enter at their end first, then leave at their start.
fn slide<S>(
    frame: &Frame,
    partition: &Partition,
    state: &mut S,
    mut change: impl FnMut(&mut S, usize, bool),
    value: impl Fn(&S) -> Value<'static>,
) -> Result<Vec<ValueBuf>> {
    let mut held = 0..0;
    frames(frame, partition, |_, range| {
        for at in held.end..range.end {
            change(state, at, true);
        }
        for at in held.start..range.start {
            change(state, at, false);
        }
        held = range.start..range.end.max(held.end);
        Ok(ValueBuf::new(value(state)))
    })
}

/// `$first`, `$last`, `$min` and `$max` over frames that lose documents at their start.
fn picked(accumulator: &Accumulator, input: &Expr, frame: &Frame, partition: &Partition) -> Result<Option<Vec<Arc<ValueBuf>>>> {
    let name = accumulator.name;
    if !matches!(name, "$first" | "$last" | "$min" | "$max") || frame.grows() {
        return Ok(None);
    }
    let values: Vec<Arc<ValueBuf>> = evaluate(input, partition)?.into_iter().map(Arc::new).collect();
    let none = Arc::new(ValueBuf::new(Value::Null));
    let mut best = Candidates { places: VecDeque::new(), end: 0, greatest: name == "$max" };
    let mut range = 0..0;
    let mut out = Vec::with_capacity(values.len());
    for row in 0..values.len() {
        range = frame.at(row, &range, partition)?;
        let at = match name {
            _ if range.is_empty() => None,
            "$first" => Some(range.start),
            "$last" => Some(range.end - 1),
            _ => best.of(range.clone(), &values, accumulator.collator()),
        };
        let value = at.and_then(|at| values.get(at)).filter(|v| !v.view().is_missing());
        out.push(value.unwrap_or(&none).clone());
    }
    Ok(Some(out))
}

/// The places of a frame's values that may still become its best: each is better than all behind it, the first is the best.
struct Candidates {
    places: VecDeque<usize>,
    /// Where the frame seen last ended.
    end: usize,
    greatest: bool,
}

impl Candidates {
    fn of(&mut self, range: Range<usize>, values: &[Arc<ValueBuf>], collator: Option<&dyn Collator>) -> Option<usize> {
        let view = |at: usize| values.get(at).map_or(Value::Missing, |v| v.view());
        for at in self.end..range.end {
            let value = view(at);
            if value.is_nullish() {
                continue;
            }
            let worse = |place: usize| {
                let order = compare_with(view(place), value, collator);
                if self.greatest { order.is_lt() } else { order.is_gt() }
            };
            while self.places.back().is_some_and(|place| worse(*place)) {
                self.places.pop_back();
            }
            self.places.push_back(at);
        }
        self.end = self.end.max(range.end);
        while self.places.front().is_some_and(|place| *place < range.start) {
            self.places.pop_front();
        }
        self.places.front().copied()
    }
}

/// `$sum`, `$avg`, `$count` and `$stdDev…` over frames that lose documents at their start.
fn sliding(accumulator: &Accumulator, input: &Expr, frame: &Frame, partition: &Partition) -> Result<Option<Vec<ValueBuf>>> {
    let name = accumulator.name;
    if !matches!(name, "$count" | "$sum" | "$avg" | "$stdDevPop" | "$stdDevSamp") || frame.grows() {
        return Ok(None);
    }
    if name == "$count" {
        return frames(frame, partition, |_, range| Ok(ValueBuf::new(crate::accum::count_value(range.len() as i64)))).map(Some);
    }
    let values = evaluate(input, partition)?;
    let view = |at: usize| values.get(at).map_or(Value::Missing, ValueBuf::view);
    if name.starts_with("$stdDev") {
        let mut state = RemovableDeviation::default();
        let sample = name == "$stdDevSamp";
        return slide(frame, partition, &mut state, |s, at, enters| s.change(view(at), if enters { 1 } else { -1 }), |s| s.value(sample)).map(Some);
    }
    let mut state = RemovableSum::default();
    let average = name == "$avg";
    let change = |s: &mut RemovableSum, at: usize, enters: bool| if enters { s.add(view(at)) } else { s.remove(view(at)) };
    slide(frame, partition, &mut state, change, |s| if average { s.average() } else { s.value() }).map(Some)
}

/// The two numbers of a covariance's argument; anything else does not count.
fn numbers(value: Value<'_>) -> Option<(Value<'_>, Value<'_>)> {
    let list = value.as_array()?;
    let mut items = list.iter();
    match (items.next(), items.next(), items.next()) {
        (Some(x), Some(y), None) if number::to_f64(x).is_some() && number::to_f64(y).is_some() => Some((x, y)),
        _ => None,
    }
}

fn ranks(rank: Rank, partition: &Partition) -> Vec<ValueBuf> {
    let mut current = 0i64;
    let mut out = Vec::with_capacity(partition.docs.len());
    for row in 0..partition.docs.len() {
        let tie = row > 0 && partition.keys.get(row) == partition.keys.get(row - 1);
        current = match rank {
            Rank::DocumentNumber => row as i64 + 1,
            _ if tie => current,
            Rank::Rank => row as i64 + 1,
            Rank::DenseRank => current + 1,
        };
        out.push(ValueBuf::new(crate::accum::count_value(current)));
    }
    out
}
