//! Functions at work on a partition, and the one that most of them are: a state that rows enter and leave as the frame moves.

use std::ops::Range;

use smongo_bson::{Doc, Result, Value, ValueBuf};

use super::column::Cursor;
use super::rows::{self, Rows};
use super::walk::Walk;
use crate::stream::Host;

/// A function's value for one row after the other.
pub(super) trait Running: Send {
    /// Begins a new partition.
    fn restart(&mut self);

    /// Makes the value of `row`, which is there: the first or the one after that of the last call.
    fn next(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<()>;

    /// The value made last.
    fn value(&self) -> Value<'_>;

    /// Bytes held.
    fn size(&self) -> usize;
}

/// What a function remembers of the rows in its frame. It sees their input.
pub(super) trait State: Send {
    fn enter(&mut self, row: u64, input: Doc<'_>) -> Result<()>;

    /// The first of the rows that entered leaves. Never called for frames that only grow.
    fn leave(&mut self, row: u64, input: Doc<'_>);

    /// `current` is the input of the row at hand, where [`Slide::with_current`] asked for it.
    fn value(&mut self, current: Value<'_>) -> Result<ValueBuf>;

    fn size(&self) -> usize {
        0
    }
}

/// Which rows of the frame count.
#[derive(Clone, Copy)]
pub(super) enum Part {
    All,
    First(u64),
    Last(u64),
}

impl Part {
    fn of(self, frame: Range<u64>) -> Range<u64> {
        match self {
            Part::All => frame,
            Part::First(n) => frame.start..frame.end.min(frame.start.saturating_add(n)),
            Part::Last(n) => frame.start.max(frame.end.saturating_sub(n))..frame.end,
        }
    }
}

pub(super) type Start = Box<dyn Fn() -> Box<dyn State> + Send>;

pub(super) struct Slide {
    input: usize,
    walk: Walk,
    part: Part,
    start: Start,
    state: Box<dyn State>,
    /// The rows that `state` knows.
    held: Range<u64>,
    /// Reads the rows that leave, those that enter, and the one at hand where its own input matters.
    low: Cursor,
    high: Cursor,
    current: Option<Cursor>,
    value: Option<ValueBuf>,
}

impl Slide {
    pub fn new(input: usize, walk: Walk, part: Part, start: Start) -> Slide {
        let state = start();
        Slide { input, walk, part, start, state, held: 0..0, low: Cursor::default(), high: Cursor::default(), current: None, value: None }
    }

    /// A function that needs the input of the row at hand, too.
    pub fn with_current(mut self) -> Slide {
        self.current = Some(Cursor::default());
        self
    }

    /// Makes `range` the rows that the state knows. They enter before others leave; those that no frame holds are passed over.
    fn hold(&mut self, range: Range<u64>, rows: &mut Rows, host: &mut dyn Host) -> Result<()> {
        for row in range.start.max(self.held.end)..range.end {
            self.state.enter(row, rows.read(self.input, row, &mut self.high)?)?;
            rows.check_held(self.state.size(), host)?;
        }
        for row in self.held.start..range.start.min(self.held.end) {
            self.state.leave(row, rows.read(self.input, row, &mut self.low)?);
        }
        let low = if self.walk.grows() {
            &self.high
        } else {
            rows.seek(self.input, range.start, &mut self.low)?;
            &self.low
        };
        rows.release(self.input, [low, &self.high, self.current.as_ref().unwrap_or(low)]);
        self.held = range;
        Ok(())
    }
}

impl Running for Slide {
    fn restart(&mut self) {
        self.walk.restart();
        self.state = (self.start)();
        self.held = 0..0;
        [&mut self.low, &mut self.high].into_iter().chain(&mut self.current).for_each(Cursor::restart);
        self.value = None;
    }

    fn next(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<()> {
        let frame = self.walk.at(row, rows, host)?;
        let range = self.part.of(frame);
        let moved = range != self.held || self.value.is_none();
        if moved {
            self.hold(range, rows, host)?;
        }
        let current = match &mut self.current {
            Some(cursor) => rows::value(rows.read(self.input, row, cursor)?),
            None if moved => Value::Missing,
            None => return Ok(()),
        };
        self.value = Some(self.state.value(current)?);
        Ok(())
    }

    fn value(&self) -> Value<'_> {
        self.value.as_ref().map_or(Value::Null, ValueBuf::view)
    }

    fn size(&self) -> usize {
        self.state.size() + self.value.as_ref().map_or(0, ValueBuf::size)
    }
}
