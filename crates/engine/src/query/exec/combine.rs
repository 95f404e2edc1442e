//! OR and SORT_MERGE: several scans as one, each record once.

use std::collections::HashSet;
use std::sync::Arc;

use smongo_bson::{Doc, Result};
use smongo_mql::SortPattern;

use super::{Counters, Entry, Rows};
use crate::data::keys::RecordId;
use crate::data::op::OpCx;

/// One input after the other.
pub struct Or {
    inputs: Vec<Box<dyn Rows>>,
    at: usize,
    seen: HashSet<RecordId>,
    counters: Counters,
}

impl Or {
    pub fn new(inputs: Vec<Box<dyn Rows>>) -> Or {
        Or { inputs, at: 0, seen: HashSet::new(), counters: Counters::default() }
    }

    fn current(&self) -> Option<&dyn Rows> {
        self.inputs.get(self.at).map(|i| &**i)
    }
}

impl Rows for Or {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        while let Some(input) = self.inputs.get_mut(self.at) {
            if !input.advance(op)? {
                self.at += 1;
            } else if self.seen.insert(input.record_id()) {
                self.counters.advanced += 1;
                return Ok(true);
            } else {
                self.counters.dups += 1;
            }
        }
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        self.current().map_or(0, Rows::record_id)
    }

    fn doc(&self) -> Doc<'_> {
        self.current().map_or(Doc::EMPTY, Rows::doc)
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.current().and_then(Rows::entry)
    }

    fn meta(&self) -> Doc<'_> {
        self.current().map_or(Doc::EMPTY, Rows::meta)
    }

    fn park(&mut self, op: &mut OpCx) {
        self.inputs.iter_mut().for_each(|i| i.park(op));
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
        self.inputs.iter().for_each(|i| i.counters(out));
    }
}

/// Inputs that are each in order, merged.
pub struct MergeSort {
    inputs: Vec<Input>,
    pattern: Arc<SortPattern>,
    started: bool,
    /// The input whose row is current.
    at: usize,
    seen: HashSet<RecordId>,
    counters: Counters,
}

struct Input {
    rows: Box<dyn Rows>,
    /// The sort key of its row; `None` at its end.
    key: Option<Vec<u8>>,
}

impl Input {
    fn advance(&mut self, op: &mut OpCx, pattern: &SortPattern) -> Result<()> {
        let mut key = self.key.take().unwrap_or_default();
        if self.rows.advance(op)? {
            key.clear();
            pattern.append_key(self.rows.doc(), &mut key)?;
            self.key = Some(key);
        }
        Ok(())
    }
}

impl MergeSort {
    pub fn new(inputs: Vec<Box<dyn Rows>>, pattern: Arc<SortPattern>) -> MergeSort {
        let inputs = inputs.into_iter().map(|rows| Input { rows, key: Some(Vec::new()) }).collect();
        MergeSort { inputs, pattern, started: false, at: 0, seen: HashSet::new(), counters: Counters::default() }
    }
}

impl Rows for MergeSort {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if !self.started {
            self.started = true;
            for input in &mut self.inputs {
                input.advance(op, &self.pattern)?;
            }
        } else if let Some(input) = self.inputs.get_mut(self.at) {
            input.advance(op, &self.pattern)?;
        }
        loop {
            let least = self.inputs.iter().enumerate().filter_map(|(n, i)| Some((i.key.as_deref()?, n))).min();
            let Some((_, at)) = least else { return Ok(false) };
            self.at = at;
            let Some(input) = self.inputs.get_mut(at) else { return Ok(false) };
            if self.seen.insert(input.rows.record_id()) {
                self.counters.advanced += 1;
                return Ok(true);
            }
            self.counters.dups += 1;
            input.advance(op, &self.pattern)?;
        }
    }

    fn record_id(&self) -> RecordId {
        self.inputs.get(self.at).map_or(0, |i| i.rows.record_id())
    }

    fn doc(&self) -> Doc<'_> {
        self.inputs.get(self.at).map_or(Doc::EMPTY, |i| i.rows.doc())
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.inputs.get(self.at).and_then(|i| i.rows.entry())
    }

    fn park(&mut self, op: &mut OpCx) {
        self.inputs.iter_mut().for_each(|i| i.rows.park(op));
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
        self.inputs.iter().for_each(|i| i.rows.counters(out));
    }
}
