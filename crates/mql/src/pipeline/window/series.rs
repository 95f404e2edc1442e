//! Functions over series of numbers: `$derivative $integral $expMovingAvg $linearFill $locf $minMaxScaler`.

use std::ops::Range;
use std::sync::Arc;

use smongo_bson::{Decimal, Doc, Result, Value, ValueBuf, bail, number};

use super::column::Cursor;
use super::function::Alpha;
use super::rows::{self, Rows, pair, value};
use super::slide::{Running, State};
use super::states::Extreme;
use super::walk::Walk;
use crate::accum::removable::RemovableSum;
use crate::pipeline::time::TimeUnit;
use crate::stream::Host;

fn is_decimal(v: Value<'_>) -> bool {
    matches!(v, Value::Decimal(_))
}

fn as_decimal(v: Value<'_>) -> Decimal {
    number::to_decimal(v).unwrap_or_else(|| Decimal::from_i64(0))
}

/// a / b as a double, or a decimal where one of them is.
fn divide(a: Value<'_>, b: Value<'_>) -> Value<'static> {
    if is_decimal(a) || is_decimal(b) {
        return Value::Decimal(as_decimal(a).div(as_decimal(b)));
    }
    Value::Double(number::to_f64(a).unwrap_or(f64::NAN) / number::to_f64(b).unwrap_or(f64::NAN))
}

/// The distance of two sort values: numbers as they are, dates in the unit.
fn distance(from: Value<'_>, to: Value<'_>, unit: Option<TimeUnit>, name: &str) -> Result<Value<'static>> {
    match (from, to, unit) {
        (Value::DateTime(a), Value::DateTime(b), Some(unit)) => {
            let millis = unit.millis().unwrap_or(1);
            Ok(Value::Double((b - a) as f64 / millis as f64))
        }
        (Value::DateTime(_), _, None) | (_, Value::DateTime(_), None) => {
            bail!(5624900, "{name} where the sortBy is a Date requires a 'unit'")
        }
        (a, b, None) if a.is_number() && b.is_number() => number::subtract(b, a),
        (_, _, Some(_)) => bail!(5624901, "{name} with unit expects the sortBy field to be a Date"),
        _ => bail!(5624902, "{name} expects the sortBy field to be numeric or a Date"),
    }
}

/// What a document is in a series: a place and a value, each of which is a number, a date or null.
type Point = (Value<'static>, Value<'static>);

/// The slope between the first and the last row of the frame.
pub(super) struct Derivative {
    input: usize,
    unit: Option<TimeUnit>,
    walk: Walk,
    low: Cursor,
    high: Cursor,
    value: Value<'static>,
}

impl Derivative {
    pub fn new(input: usize, unit: Option<TimeUnit>, walk: Walk) -> Derivative {
        Derivative { input, unit, walk, low: Cursor::default(), high: Cursor::default(), value: Value::Null }
    }
}

impl Running for Derivative {
    fn restart(&mut self) {
        self.walk.restart();
        self.low.restart();
        self.high.restart();
    }
    fn next(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<()> {
        let range = self.walk.at(row, rows, host)?;
        self.value = Value::Null;
        if range.end.saturating_sub(range.start) >= 2 {
            let first = pair(rows.read(self.input, range.start, &mut self.low)?);
            let last = pair(rows.read(self.input, range.end - 1, &mut self.high)?);
            self.value = slope(first, last, self.unit)?;
            rows.release(self.input, [&self.low, &self.high]);
        }
        Ok(())
    }
    fn value(&self) -> Value<'_> {
        self.value
    }
    fn size(&self) -> usize {
        0
    }
}

fn slope((x0, y0): (Value<'_>, Value<'_>), (x1, y1): (Value<'_>, Value<'_>), unit: Option<TimeUnit>) -> Result<Value<'static>> {
    if y0.is_nullish() || y1.is_nullish() || x0.is_nullish() || x1.is_nullish() {
        return Ok(Value::Null);
    }
    let run = distance(x0, x1, unit, "$derivative")?;
    if !y0.is_number() || !y1.is_number() {
        bail!(5624903, "$derivative input must be numeric");
    }
    if number::to_f64(run) == Some(0.0) {
        return Ok(Value::Null);
    }
    Ok(divide(number::subtract(y1, y0)?, run))
}

/// The area below the line through the rows of the frame; null where something is missing from it.
pub(super) struct Integral {
    input: usize,
    unit: Option<TimeUnit>,
    walk: Walk,
    low: Cursor,
    high: Cursor,
    held: Range<u64>,
    /// The row that entered last.
    last: Option<Point>,
    sum: RemovableSum,
    nulls: u64,
    value: Value<'static>,
}

impl Integral {
    pub fn new(input: usize, unit: Option<TimeUnit>, walk: Walk) -> Integral {
        let (low, high, sum) = (Cursor::default(), Cursor::default(), RemovableSum::default());
        Integral { input, unit, walk, low, high, held: 0..0, last: None, sum, nulls: 0, value: Value::Null }
    }

    fn hold(&mut self, range: Range<u64>, rows: &Rows) -> Result<()> {
        for row in range.start.max(self.held.end)..range.end {
            let here = point(rows.read(self.input, row, &mut self.high)?, self.unit)?;
            // The row before may be one that no frame holds.
            if row > range.start || (row == self.held.end && row > self.held.start) {
                self.sum.add(area(self.last, here, self.unit)?);
            }
            self.nulls += u64::from(here.is_none());
            self.last = here;
        }
        // Where the rows that follow those held end.
        let known = if range.start > self.held.end { self.held.end } else { range.end.max(self.held.end) };
        for row in self.held.start..range.start.min(self.held.end) {
            let here = point(rows.read(self.input, row, &mut self.low)?, self.unit)?;
            self.nulls -= u64::from(here.is_none());
            if row + 1 < known {
                let next = point(rows.read(self.input, row + 1, &mut self.low)?, self.unit)?;
                self.sum.remove(area(here, next, self.unit)?);
            }
        }
        self.held = range;
        Ok(())
    }
}

/// A row's point; `None` where something is missing from it.
fn point(input: Doc<'_>, unit: Option<TimeUnit>) -> Result<Option<Point>> {
    let (x, y) = pair(input);
    if y.is_nullish() || x.is_nullish() {
        return Ok(None);
    }
    if !y.is_number() {
        bail!(5423900, "The input value of $integral window function must be a vector of 2 values: both numeric");
    }
    distance(x, x, unit, "$integral")?;
    Ok(rows::number(x).zip(rows::number(y)))
}

/// What lies below the line between two rows; nothing where one is missing.
fn area(from: Option<Point>, to: Option<Point>, unit: Option<TimeUnit>) -> Result<Value<'static>> {
    let (Some((x0, y0)), Some((x1, y1))) = (from, to) else { return Ok(Value::Missing) };
    let run = distance(x0, x1, unit, "$integral")?;
    Ok(divide(number::multiply(number::add(y0, y1)?, run)?, Value::Int32(2)))
}

impl Running for Integral {
    fn restart(&mut self) {
        self.walk.restart();
        self.low.restart();
        self.high.restart();
        (self.held, self.last, self.sum, self.nulls) = (0..0, None, RemovableSum::default(), 0);
    }
    fn next(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<()> {
        let range = self.walk.at(row, rows, host)?;
        self.hold(range, rows)?;
        if self.walk.grows() {
            rows.release(self.input, [&self.high]);
        } else {
            rows.seek(self.input, self.held.start, &mut self.low)?;
            rows.release(self.input, [&self.low, &self.high]);
        }
        self.value = match (self.nulls, self.sum.count()) {
            (0, 0) => Value::Double(0.0),
            (0, _) => self.sum.value(),
            _ => Value::Null,
        };
        Ok(())
    }
    fn value(&self) -> Value<'_> {
        self.value
    }
    fn size(&self) -> usize {
        0
    }
}

/// The average so far; null where the row at hand has no number.
pub(super) struct ExpMovingAvg {
    alpha: Arc<Alpha>,
    average: Option<Value<'static>>,
    shown: Value<'static>,
}

impl ExpMovingAvg {
    pub fn new(alpha: Arc<Alpha>) -> ExpMovingAvg {
        ExpMovingAvg { alpha, average: None, shown: Value::Null }
    }
}

impl State for ExpMovingAvg {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        self.shown = Value::Null;
        let Some(v) = rows::number(value(input)).filter(Value::is_number) else { return Ok(()) };
        self.shown = match self.average {
            None if is_decimal(v) => v,
            None => Value::Double(number::to_f64(v).unwrap_or(f64::NAN)),
            Some(before) => averaged(before, v, &self.alpha)?,
        };
        self.average = Some(self.shown);
        Ok(())
    }
    fn leave(&mut self, _row: u64, _input: Doc<'_>) {}
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(ValueBuf::new(self.shown))
    }
}

fn averaged(before: Value<'_>, value: Value<'_>, alpha: &Alpha) -> Result<Value<'static>> {
    let decimal = is_decimal(before) || is_decimal(value);
    let (weight, rest) = match (alpha, decimal) {
        (Alpha::N(n), true) => {
            let w = Decimal::from_i64(2).div(Decimal::from_i64(n + 1));
            (Value::Decimal(w), Value::Decimal(Decimal::from_i64(1).sub(w)))
        }
        (Alpha::N(n), false) => {
            let w = 2.0 / (*n as f64 + 1.0);
            (Value::Double(w), Value::Double(1.0 - w))
        }
        (Alpha::Given(a), true) => {
            let w = as_decimal(a.view());
            (Value::Decimal(w), Value::Decimal(Decimal::from_i64(1).sub(w)))
        }
        (Alpha::Given(a), false) => {
            let w = number::to_f64(a.view()).unwrap_or(0.0);
            (Value::Double(w), Value::Double(1.0 - w))
        }
    };
    number::add(number::multiply(value, weight)?, number::multiply(before, rest)?)
}

/// `$locf`: the last value that is neither null nor missing.
#[derive(Default)]
pub(super) struct Last(Option<ValueBuf>);

impl State for Last {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        let value = value(input);
        if !value.is_nullish() {
            self.0 = Some(ValueBuf::new(value));
        }
        Ok(())
    }
    fn leave(&mut self, _row: u64, _input: Doc<'_>) {}
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(self.0.clone().unwrap_or_else(|| ValueBuf::new(Value::Null)))
    }
    fn size(&self) -> usize {
        self.0.as_ref().map_or(0, ValueBuf::size)
    }
}

/// Gaps between two numbers are filled on the line between them.
#[derive(Default)]
pub(super) struct LinearFill {
    input: usize,
    current: Cursor,
    /// Looks for the end of a gap.
    ahead: Cursor,
    /// Where `ahead` is, and the place it saw last.
    next: u64,
    place: Option<Value<'static>>,
    left: Option<Point>,
    /// The first row from the one at hand on whose value is not null, and its value if that is a number.
    right: Option<(u64, Value<'static>, Option<Value<'static>>)>,
    value: Option<Value<'static>>,
}

impl LinearFill {
    pub fn new(input: usize) -> LinearFill {
        LinearFill { input, ..LinearFill::default() }
    }

    /// Finds the right end of the gap that `row` may be in.
    fn look(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<()> {
        if self.right.is_some_and(|(at, ..)| at >= row) {
            return Ok(());
        }
        self.right = None;
        while self.right.is_none() && rows.reach(self.next, host)? {
            let (x, y) = pair(rows.read(self.input, self.next, &mut self.ahead)?);
            let x = place_after(self.place, x)?;
            self.place = Some(x);
            if !y.is_nullish() {
                self.right = Some((self.next, x, rows::number(y).filter(Value::is_number)));
            }
            self.next += 1;
        }
        Ok(())
    }
}

/// A place in the order, which must be behind the one before.
fn place_after(before: Option<Value<'_>>, x: Value<'_>) -> Result<Value<'static>> {
    let Some(place) = rows::number(x) else {
        bail!(TypeMismatch, "$linearFill requires the sortBy field to be numeric or a Date, but found {}", x.type_name());
    };
    if let Some(before) = before {
        if matches!(place, Value::DateTime(_)) != matches!(before, Value::DateTime(_)) {
            bail!(6050107, "Conflicting sort value types, previous and current types don't match");
        }
        if smongo_bson::compare::equal(before, place) {
            bail!(6050106, "There can be no repeated values in the sort field");
        }
    }
    Ok(place)
}

impl Running for LinearFill {
    fn restart(&mut self) {
        self.current.restart();
        self.ahead.restart();
        (self.next, self.place, self.left, self.right, self.value) = (0, None, None, None, None);
    }
    fn next(&mut self, row: u64, rows: &mut Rows, host: &mut dyn Host) -> Result<()> {
        self.look(row, rows, host)?;
        let (x, y) = pair(rows.read(self.input, row, &mut self.current)?);
        self.value = match (self.left, self.right) {
            (_, Some((at, x, Some(y)))) if at == row => {
                self.left = Some((x, y));
                Some(y)
            }
            (_, Some((at, ..))) if at == row => bail!(TypeMismatch, "Value to be filled must be numeric or nullish, but found {}", y.type_name()),
            (Some(left), Some((_, x1, Some(y1)))) => Some(between(left, rows::number(x).unwrap_or(Value::Null), (x1, y1))?),
            _ => None,
        };
        rows.release(self.input, [&self.current, &self.ahead]);
        Ok(())
    }
    fn value(&self) -> Value<'_> {
        self.value.unwrap_or(Value::Null)
    }
    fn size(&self) -> usize {
        0
    }
}

/// The value at `x` of the line through two points.
fn between((x0, y0): Point, x: Value<'_>, (x1, y1): Point) -> Result<Value<'static>> {
    let position = |x: Value<'_>| rows::number(x).map_or(Value::Int32(0), |x| if let Value::DateTime(ms) = x { Value::Int64(ms) } else { x });
    let (x0, x, x1) = (position(x0), position(x), position(x1));
    let slope = divide(number::subtract(y1, y0)?, number::subtract(x1, x0)?);
    number::add(y0, number::multiply(slope, number::subtract(x, x0)?)?)
}

/// `$minMaxScaler`: the row's value moved from the range of the frame's values to `[low, high]`.
pub(super) struct Scaler {
    pub least: Extreme,
    pub greatest: Extreme,
    pub low: ValueBuf,
    pub high: ValueBuf,
}

impl State for Scaler {
    fn enter(&mut self, row: u64, input: Doc<'_>) -> Result<()> {
        let v = value(input);
        if !v.is_number() {
            bail!(10487000, "$minMaxScaler requires numeric input, but found {}", v.type_name());
        }
        self.least.enter(row, input)?;
        self.greatest.enter(row, input)
    }
    fn leave(&mut self, row: u64, input: Doc<'_>) {
        self.least.leave(row, input);
        self.greatest.leave(row, input);
    }
    fn value(&mut self, current: Value<'_>) -> Result<ValueBuf> {
        let (Some(min), Some(max)) = (self.least.best(), self.greatest.best()) else { return Ok(ValueBuf::new(Value::Null)) };
        let (low, high) = (self.low.view(), self.high.view());
        if number::compare(min, max).is_eq() {
            return Ok(ValueBuf::new(low));
        }
        let part = divide(number::subtract(current, min)?, number::subtract(max, min)?);
        let width = number::subtract(high, low)?;
        Ok(ValueBuf::new(number::add(number::multiply(part, width)?, low)?))
    }
    fn size(&self) -> usize {
        self.least.size() + self.greatest.size()
    }
}
