//! Which rows the frame around each row holds.

use std::cmp::Ordering;
use std::ops::Range;

use smongo_bson::compare::compare;
use smongo_bson::{Result, Value, bail, number};

use super::column::Cursor;
use super::frame::{Bound, Frame};
use super::rows::{self, Rows};
use crate::pipeline::time::add_time;
use crate::stream::Host;

/// A frame that moves over a partition, forwards with both of its ends.
pub(super) struct Walk {
    frame: Frame,
    /// The input that is the sort value, where the frame is measured by it.
    order: usize,
    current: Cursor,
    low: Cursor,
    high: Cursor,
    range: Range<u64>,
}

impl Walk {
    pub fn new(frame: Frame, order: usize) -> Walk {
        Walk { frame, order, current: Cursor::default(), low: Cursor::default(), high: Cursor::default(), range: 0..0 }
    }

    /// Begins a new partition.
    pub fn restart(&mut self) {
        self.range = 0..0;
        [&mut self.current, &mut self.low, &mut self.high].into_iter().for_each(Cursor::restart);
    }

    /// Whether frames only ever grow at their end.
    pub fn grows(&self) -> bool {
        self.frame.grows()
    }

    /// Whether every frame is the whole partition.
    pub fn is_whole(&self) -> bool {
        self.frame.is_whole()
    }

    /// The rows of the frame around `row`, all of which it has read.
    pub fn at(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<Range<u64>> {
        self.range = match &self.frame {
            Frame::Documents(low, high) => {
                let low = position(low, row, 0, rows, host)?.unwrap_or(0);
                let high = match position(high, row, 1, rows, host)? {
                    Some(high) => high,
                    None => end(rows, host)?,
                };
                low..high.max(low)
            }
            frame if frame.is_whole() => 0..end(rows, host)?,
            _ => {
                let (low, high) = self.edges(row, rows)?;
                self.within(low, high, rows, host)?
            }
        };
        Ok(self.range.clone())
    }

    /// The least and the greatest sort value in the frame around `row`.
    fn edges(&mut self, row: u64, rows: &Rows) -> Result<(Option<Value<'static>>, Option<Value<'static>>)> {
        let current = rows::value(rows.read(self.order, row, &mut self.current)?);
        match &self.frame {
            Frame::Time(low, high, unit) => {
                let Value::DateTime(now) = current else {
                    bail!(5429513, "Invalid range: Expected the sortBy field to be a Date, but it was {}", current.type_name());
                };
                let edge = |by: &i64| add_time(now, *unit, *by).map(Value::DateTime);
                Ok((low.edge(Value::DateTime(now), edge)?, high.edge(Value::DateTime(now), edge)?))
            }
            Frame::Range(low, high) => {
                let Some(now) = rows::number(current).filter(Value::is_number) else {
                    bail!(5429414, "Invalid range: Expected the sortBy field to be a number, but it was {}", current.type_name());
                };
                let edge = |by: &smongo_bson::ValueBuf| number::add(now, by.view());
                Ok((low.edge(now, edge)?, high.edge(now, edge)?))
            }
            Frame::Documents(..) => Ok((None, None)),
        }
    }

    /// Rows whose sort value is from `low` to `high`, both included. Values of another type than the edge's are outside.
    fn within(&mut self, low: Option<Value<'_>>, high: Option<Value<'_>>, rows: &mut Rows, host: &mut dyn Host) -> Result<Range<u64>> {
        let Range { mut start, mut end } = self.range;
        if let Some(low) = low {
            while rows.reach(start, host)? && compare(rows::value(rows.read(self.order, start, &mut self.low)?), low) == Ordering::Less {
                start += 1;
            }
        }
        end = end.max(start);
        if let Some(high) = high {
            while rows.reach(end, host)? && compare(rows::value(rows.read(self.order, end, &mut self.high)?), high) != Ordering::Greater {
                end += 1;
            }
        } else {
            end = self::end(rows, host)?;
        }
        // A cursor that nobody moves has nothing to say.
        let low = if low.is_some() { &self.low } else { &self.current };
        let high = if high.is_some() { &self.high } else { &self.current };
        rows.release(self.order, [low, &self.current, high]);
        Ok(start..end)
    }
}

impl<T> Bound<T> {
    fn edge(&self, current: Value<'static>, at: impl Fn(&T) -> Result<Value<'static>>) -> Result<Option<Value<'static>>> {
        match self {
            Bound::Unbounded => Ok(None),
            Bound::Current => Ok(Some(current)),
            Bound::At(by) => at(by).map(Some),
        }
    }
}

/// A bound by documents as a position between two of them, `beyond` rows behind the row it names.
fn position(bound: &Bound<i64>, row: u64, beyond: i64, rows: &mut Rows, host: &mut dyn Host) -> Result<Option<u64>> {
    let by = match bound {
        Bound::Unbounded => return Ok(None),
        Bound::Current => 0,
        Bound::At(by) => *by,
    };
    let at = u64::try_from((row as i64).saturating_add(by).saturating_add(beyond)).unwrap_or(0);
    Ok(Some(if at == 0 || rows.reach(at - 1, host)? { at } else { rows.len() }))
}

/// The end of the partition.
fn end(rows: &mut Rows, host: &mut dyn Host) -> Result<u64> {
    rows.reach(u64::MAX, host)?;
    Ok(rows.len())
}
