//! From compiled functions to functions at work.

use std::sync::Arc;

use smongo_bson::{Doc, Result, ValueBuf, Value, bail};

use super::collect::{List, Ordered, Pick, Set, Shape};
use super::frame::{Bound, Frame};
use super::function::Function;
use super::rows::Input;
use super::series::{Derivative, ExpMovingAvg, Integral, Last, LinearFill, Scaler};
use super::slide::{Part, Running, Slide, State};
use super::states::{Accumulated, Count, Covaried, Deviation, Extreme, Percentile, Ranks, Sum};
use super::walk::Walk;
use crate::accum::percentile::Percentiles;
use crate::accum::ranked::Ranked;
use crate::accum::removable::{Covariance, RemovableDeviation, RemovableSum};
use crate::accum::{Accumulator, Arguments};
use crate::arena::Arena;
use crate::expr::Expr;

/// The inputs of all functions of a stage.
pub(super) struct Inputs {
    pub list: Vec<Input>,
    /// The value of the only sort key.
    pub sort_value: Option<Arc<Expr>>,
}

impl Inputs {
    fn add(&mut self, input: Input) -> usize {
        self.list.push(input);
        self.list.len() - 1
    }

    fn value(&mut self, expr: Expr) -> usize {
        self.add(Input::Value(Arc::new(expr)))
    }

    /// A value with its place in the order.
    fn point(&mut self, y: Expr) -> Result<usize> {
        let Some(x) = self.sort_value.clone() else { bail!(InternalError, "a series without an order") };
        Ok(self.add(Input::Point { x, y }))
    }

    fn walk(&mut self, frame: Frame) -> Walk {
        let order = match self.sort_value.clone() {
            Some(value) if frame.measures() => self.add(Input::Value(value)),
            _ => 0,
        };
        Walk::new(frame, order)
    }

    fn slide<S: State + 'static>(&mut self, input: usize, frame: Frame, start: impl Fn() -> S + Send + 'static) -> Slide {
        Slide::new(input, self.walk(frame), Part::All, Box::new(move || Box::new(start())))
    }

    /// A function whose frame ends with the row at hand.
    fn so_far<S: State + 'static>(&mut self, input: usize, start: impl Fn() -> S + Send + 'static) -> Box<dyn Running> {
        Box::new(self.slide(input, Frame::Documents(Bound::Unbounded, Bound::Current), start))
    }
}

impl Function {
    pub fn open(self, inputs: &mut Inputs) -> Result<Box<dyn Running>> {
        Ok(match self {
            Function::Accumulate { accumulator, frame } => Box::new(accumulate(Arc::new(accumulator), frame, inputs)?),
            Function::Covariance { input, sample, frame } => {
                let input = inputs.value(input);
                Box::new(inputs.slide(input, frame, move || Covaried { state: Covariance::default(), sample }))
            }
            Function::MinMaxScaler { input, low, high, frame } => {
                let input = inputs.value(input);
                let start = move || Scaler { least: Extreme::new(false, None), greatest: Extreme::new(true, None), low: low.clone(), high: high.clone() };
                Box::new(inputs.slide(input, frame, start).with_current())
            }
            Function::Derivative { input, unit, frame } => Box::new(Derivative::new(inputs.point(input)?, unit, inputs.walk(frame))),
            Function::Integral { input, unit, frame } => Box::new(Integral::new(inputs.point(input)?, unit, inputs.walk(frame))),
            Function::Rank(kind) => {
                let input = inputs.add(Input::Key);
                inputs.so_far(input, move || Ranks::new(kind))
            }
            Function::Shift { output, by, default } => {
                let (input, frame) = (inputs.value(output), Frame::Documents(Bound::At(by), Bound::At(by)));
                Box::new(inputs.slide(input, frame, move || List::new(Shape::One(default.clone()))))
            }
            Function::ExpMovingAvg { input, alpha } => {
                let (input, alpha) = (inputs.value(input), Arc::new(alpha));
                inputs.so_far(input, move || ExpMovingAvg::new(alpha.clone()))
            }
            Function::LinearFill { input } => Box::new(LinearFill::new(inputs.point(input)?)),
            Function::Locf { input } => {
                let input = inputs.value(input);
                inputs.so_far(input, Last::default)
            }
        })
    }
}

fn accumulate(accumulator: Arc<Accumulator>, frame: Frame, inputs: &mut Inputs) -> Result<Slide> {
    let n = accumulator.n(Doc::EMPTY, &Arena::new())?;
    let input = inputs.add(Input::Argument(accumulator.clone()));
    let walk = inputs.walk(frame);
    let percentiles = match accumulator.arguments() {
        Arguments::Percentile { wanted, .. } => Some(wanted.clone()),
        _ => None,
    };
    // What has no place for one more number but a sorted list is quicker by blocks unless there is but one frame.
    if walk.grows() && (percentiles.is_none() || walk.is_whole()) {
        let keyed = accumulator.sort().is_some();
        let start = move || Box::new(Accumulated { state: accumulator.start_with(n), keyed }) as Box<dyn State>;
        return Ok(Slide::new(input, walk, Part::All, Box::new(start)));
    }
    let part = match accumulator.name {
        "$first" | "$firstN" => Part::First(n as u64),
        "$last" | "$lastN" => Part::Last(n as u64),
        _ => Part::All,
    };
    let start = move || sliding(&accumulator, n, &percentiles);
    Ok(Slide::new(input, walk, part, Box::new(start)))
}

/// What an accumulator remembers of a frame that rows leave, too.
fn sliding(accumulator: &Accumulator, n: usize, percentiles: &Option<Percentiles>) -> Box<dyn State> {
    let collation = accumulator.collation();
    let null = || ValueBuf::new(Value::Null);
    let top = |bottom, single| Box::new(Ordered::new(Pick::Top { n, bottom, single }, None));
    match accumulator.name {
        "$addToSet" => Box::new(Set::new(false, collation)),
        "$setUnion" => Box::new(Set::new(true, collation)),
        "$avg" => Box::new(Sum { sum: RemovableSum::default(), average: true }),
        "$sum" => Box::new(Sum { sum: RemovableSum::default(), average: false }),
        "$count" => Box::new(Count(0)),
        "$stdDevPop" => Box::new(Deviation { state: RemovableDeviation::default(), sample: false }),
        "$stdDevSamp" => Box::new(Deviation { state: RemovableDeviation::default(), sample: true }),
        "$min" => Box::new(Extreme::new(false, collation)),
        "$max" => Box::new(Extreme::new(true, collation)),
        "$minN" => Box::new(Ordered::new(Pick::Extremes { n, greatest: false }, collation)),
        "$maxN" => Box::new(Ordered::new(Pick::Extremes { n, greatest: true }, collation)),
        "$top" => top(false, true),
        "$topN" => top(false, false),
        "$bottom" => top(true, true),
        "$bottomN" => top(true, false),
        "$first" | "$last" => Box::new(List::new(Shape::One(null()))),
        "$firstN" | "$lastN" => Box::new(List::new(Shape::Nulls)),
        "$concatArrays" => Box::new(List::new(Shape::Elements)),
        "$median" | "$percentile" => Box::new(Percentile { numbers: Ranked::default(), wanted: percentiles.clone().unwrap_or_default() }),
        _ => Box::new(List::new(Shape::Present)),
    }
}
