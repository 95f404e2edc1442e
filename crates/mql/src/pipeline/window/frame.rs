//! Frames: which documents of the partition a function sees for one of them.

use std::cmp::Ordering;

use smongo_bson::{Result, Value, ValueBuf, bail, number};

use super::Surroundings;
use crate::pipeline::time::TimeUnit;

/// One end of a frame.
#[derive(Clone, Debug)]
pub(super) enum Bound<T> {
    Unbounded,
    Current,
    At(T),
}

/// A compiled `window`.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Documents(Bound<i64>, Bound<i64>),
    Range(Bound<ValueBuf>, Bound<ValueBuf>),
    Time(Bound<i64>, Bound<i64>, TimeUnit),
}

impl Frame {
    pub const WHOLE: Frame = Frame::Documents(Bound::Unbounded, Bound::Unbounded);

    pub fn parse(window: Value<'_>, around: &Surroundings) -> Result<Frame> {
        let Value::Document(spec) = window else { bail!(FailedToParse, "'window' field must be an object") };
        let (mut documents, mut range, mut unit) = (None, None, None);
        for field in spec {
            match field.name() {
                "documents" => documents = Some(field.value()),
                "range" => range = Some(field.value()),
                "unit" => unit = Some(field.value()),
                other => bail!(FailedToParse, "'window' field that specifies an unknown argument: {other}"),
            }
        }
        match (documents, range) {
            (Some(_), Some(_)) => bail!(FailedToParse, "Window bounds can specify either 'documents' or 'range', not both."),
            (None, None) if unit.is_some() => bail!(FailedToParse, "Window bounds can only specify 'unit' with range-based bounds."),
            (None, None) => Ok(Frame::WHOLE),
            (Some(bounds), None) => {
                if unit.is_some() {
                    bail!(FailedToParse, "Window bounds can only specify 'unit' with range-based bounds.");
                }
                documents_frame(bounds, around)
            }
            (None, Some(bounds)) => range_frame(bounds, unit, around),
        }
    }

    /// Whether frames only ever grow at their end.
    pub fn grows(&self) -> bool {
        matches!(
            self,
            Frame::Documents(Bound::Unbounded, _) | Frame::Range(Bound::Unbounded, _) | Frame::Time(Bound::Unbounded, ..)
        )
    }

    /// Whether it is the whole partition for every document.
    pub fn is_whole(&self) -> bool {
        matches!(self, Frame::Documents(Bound::Unbounded, Bound::Unbounded) | Frame::Range(Bound::Unbounded, Bound::Unbounded))
    }

    /// Whether it is measured by the sort value.
    pub fn measures(&self) -> bool {
        !matches!(self, Frame::Documents(..)) && !self.is_whole()
    }
}

fn pair<'v>(bounds: Value<'v>, what: &str) -> Result<(Value<'v>, Value<'v>)> {
    let Value::Array(list) = bounds else { bail!(FailedToParse, "Window bounds must be a 2-element array: {what}: {bounds:?}") };
    let list: Vec<_> = list.iter().collect();
    match list.as_slice() {
        [low, high] => Ok((*low, *high)),
        _ => bail!(FailedToParse, "Window bounds must be a 2-element array: {what}: {bounds:?}"),
    }
}

fn keyword<T>(value: Value<'_>, at: impl Fn(Value<'_>) -> Option<T>) -> Result<Bound<T>> {
    match value {
        Value::String("unbounded") => Ok(Bound::Unbounded),
        Value::String("current") => Ok(Bound::Current),
        Value::String(other) => bail!(FailedToParse, "Window bounds must be 'unbounded', 'current', or a number, not '{other}'"),
        v => match at(v) {
            Some(n) => Ok(Bound::At(n)),
            None => bail!(FailedToParse, "Window bounds must be 'unbounded', 'current', or a number: {v:?}"),
        },
    }
}

fn documents_frame(bounds: Value<'_>, around: &Surroundings) -> Result<Frame> {
    let (low, high) = pair(bounds, "documents")?;
    let (low, high) = (keyword(low, number::to_i64_exact)?, keyword(high, number::to_i64_exact)?);
    check_order(offset(&low), offset(&high))?;
    if !around.sorted && !matches!((&low, &high), (Bound::Unbounded, Bound::Unbounded)) {
        bail!(5339901, "Document-based bounds require a sortBy");
    }
    Ok(Frame::Documents(low, high))
}

fn offset(bound: &Bound<i64>) -> Option<i64> {
    match bound {
        Bound::Unbounded => None,
        Bound::Current => Some(0),
        Bound::At(n) => Some(*n),
    }
}

fn check_order(low: Option<i64>, high: Option<i64>) -> Result<()> {
    match (low, high) {
        (Some(low), Some(high)) if low > high => bail!(5339900, "Lower bound must not exceed upper bound: [{low}, {high}]"),
        _ => Ok(()),
    }
}

fn range_frame(bounds: Value<'_>, unit: Option<Value<'_>>, around: &Surroundings) -> Result<Frame> {
    let (low, high) = pair(bounds, "range")?;
    let frame = match unit {
        Some(Value::String(name)) => {
            let Some(unit) = TimeUnit::parse(name) else { bail!(FailedToParse, "unknown time unit value: {name}") };
            let (low, high) = (keyword(low, number::to_i64_exact)?, keyword(high, number::to_i64_exact)?);
            check_order(offset(&low), offset(&high))?;
            Frame::Time(low, high, unit)
        }
        Some(_) => bail!(FailedToParse, "'unit' must be a string"),
        None => {
            let numeric = |v: Value<'_>| v.is_number().then(|| ValueBuf::new(v));
            let (low, high) = (keyword(low, numeric)?, keyword(high, numeric)?);
            let zero = ValueBuf::new(Value::Int32(0));
            let value = |b: &Bound<ValueBuf>| match b {
                Bound::Unbounded => None,
                Bound::Current => Some(zero.clone()),
                Bound::At(v) => Some(v.clone()),
            };
            if let (Some(low), Some(high)) = (value(&low), value(&high))
                && number::compare(low.view(), high.view()) == Ordering::Greater
            {
                bail!(5339900, "Lower bound must not exceed upper bound");
            }
            Frame::Range(low, high)
        }
    };
    match &around.single {
        None => bail!(5339902, "Range-based bounds require sortBy a single field"),
        Some((_, true)) => bail!(8947401, "Range-based bounds require an ascending sortBy"),
        Some(_) => Ok(frame),
    }
}
