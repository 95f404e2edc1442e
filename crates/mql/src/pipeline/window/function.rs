//! The window functions and their arguments.

use smongo_bson::{Doc, Result, Value, ValueBuf, bail, err, number};

use super::Surroundings;
use super::frame::Frame;
use crate::accum::Accumulator;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::pipeline::Needs;
use crate::pipeline::time::TimeUnit;

/// A compiled window function.
pub(super) enum Function {
    /// An accumulator over the frame.
    Accumulate { accumulator: Accumulator, frame: Frame },
    Covariance { input: Expr, sample: bool, frame: Frame },
    MinMaxScaler { input: Expr, low: ValueBuf, high: ValueBuf, frame: Frame },
    Derivative { input: Expr, unit: Option<TimeUnit>, frame: Frame },
    Integral { input: Expr, unit: Option<TimeUnit>, frame: Frame },
    Rank(Rank),
    Shift { output: Expr, by: i64, default: ValueBuf },
    ExpMovingAvg { input: Expr, alpha: Alpha },
    LinearFill { input: Expr },
    Locf { input: Expr },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    DocumentNumber,
    Rank,
    DenseRank,
}

/// The weight of `$expMovingAvg`: 2 / (N + 1), or as given.
pub(super) enum Alpha {
    N(i64),
    Given(ValueBuf),
}

/// The functions that are no accumulators, sorted.
const OWN: &[&str] = &[
    "$covariancePop", "$covarianceSamp", "$denseRank", "$derivative", "$documentNumber", "$expMovingAvg", "$integral", "$linearFill", "$locf",
    "$minMaxScaler", "$rank", "$shift",
];

/// Names of the functions that are no accumulators, sorted.
pub fn window_functions() -> impl Iterator<Item = &'static str> {
    OWN.iter().copied()
}

impl Function {
    /// Adds what its arguments read.
    pub fn needs(&self, needs: &mut Needs) {
        match self {
            Function::Accumulate { accumulator, .. } => needs.accumulator(accumulator),
            Function::Covariance { input, .. }
            | Function::MinMaxScaler { input, .. }
            | Function::Derivative { input, .. }
            | Function::Integral { input, .. }
            | Function::Shift { output: input, .. }
            | Function::ExpMovingAvg { input, .. }
            | Function::LinearFill { input }
            | Function::Locf { input } => needs.expr(input),
            Function::Rank(_) => {}
        }
    }

    pub fn parse(value: Value<'_>, around: &Surroundings, cx: &CompileCx) -> Result<Function> {
        let Value::Document(spec) = value else { bail!(FailedToParse, "The field of 'output' must be an object") };
        let operators: Vec<_> = spec.iter().filter(|f| f.name().starts_with('$')).collect();
        let Some(operator) = operators.first() else {
            bail!(FailedToParse, "Expected a $-prefixed window function, found none");
        };
        let (name, arg) = (operator.name(), operator.value());
        let window = spec.get("window");
        if let Some(rank) = rank_of(name) {
            return parse_rank(rank, name, spec, arg, around);
        }
        if operators.len() > 1 {
            bail!(FailedToParse, "Cannot specify two functions in window function spec: {name} and {}", operators.get(1).map_or("", |o| o.name()));
        }
        if let Some(extra) = spec.iter().find(|f| !f.name().starts_with('$') && f.name() != "window") {
            bail!(FailedToParse, "Window function found an unknown argument: {}", extra.name());
        }
        match name {
            "$covariancePop" | "$covarianceSamp" => {
                Ok(Function::Covariance { input: Expr::compile(arg, cx)?, sample: name == "$covarianceSamp", frame: frame(window, around)? })
            }
            "$derivative" | "$integral" => parse_calculus(name, arg, window, around, cx),
            "$shift" => {
                no_window(name, window)?;
                parse_shift(arg, around, cx)
            }
            "$expMovingAvg" => {
                no_window(name, window)?;
                parse_exp_moving_avg(arg, around, cx)
            }
            "$linearFill" => {
                no_window(name, window)?;
                if around.single.is_none() {
                    bail!(605001, "$linearFill must be specified with a top level sortBy expression with exactly one element");
                }
                Ok(Function::LinearFill { input: Expr::compile(arg, cx)? })
            }
            "$locf" => {
                no_window(name, window)?;
                Ok(Function::Locf { input: Expr::compile(arg, cx)? })
            }
            "$minMaxScaler" => parse_scaler(arg, frame(window, around)?, cx),
            name if crate::accum::is_accumulator(name) && !matches!(name, "$mergeObjects" | "$accumulator") => {
                Ok(Function::Accumulate { accumulator: Accumulator::compile(name, arg, cx)?, frame: frame(window, around)? })
            }
            other => bail!(FailedToParse, "Unrecognized window function, {other}"),
        }
    }
}

fn frame(window: Value<'_>, around: &Surroundings) -> Result<Frame> {
    match window {
        Value::Missing => Ok(Frame::WHOLE),
        w => Frame::parse(w, around),
    }
}

fn no_window(name: &str, window: Value<'_>) -> Result<()> {
    if !window.is_missing() {
        bail!(FailedToParse, "{name} does not accept a 'window' field");
    }
    Ok(())
}

fn rank_of(name: &str) -> Option<Rank> {
    match name {
        "$documentNumber" => Some(Rank::DocumentNumber),
        "$rank" => Some(Rank::Rank),
        "$denseRank" => Some(Rank::DenseRank),
        _ => None,
    }
}

fn parse_rank(rank: Rank, name: &str, spec: Doc<'_>, arg: Value<'_>, around: &Surroundings) -> Result<Function> {
    if spec.len() > 1 {
        bail!(5371601, "Rank style window functions take no other arguments");
    }
    if !arg.as_doc().is_some_and(Doc::is_empty) {
        bail!(5371603, "{name} must be specified with '{{}}' as the value");
    }
    if around.single.is_none() {
        bail!(5371602, "{name} must be specified with a top level sortBy expression with exactly one element");
    }
    Ok(Function::Rank(rank))
}

fn parse_calculus(name: &str, arg: Value<'_>, window: Value<'_>, around: &Surroundings, cx: &CompileCx) -> Result<Function> {
    let Value::Document(spec) = arg else { bail!(FailedToParse, "{name} expects an object, but got a {}", arg.type_name()) };
    let (mut input, mut unit) = (None, None);
    for field in spec {
        match (field.name(), field.value()) {
            ("input", v) => input = Some(Expr::compile(v, cx)?),
            ("unit", Value::String(text)) => {
                let parsed = TimeUnit::parse(text).ok_or_else(|| err!(FailedToParse, "unknown time unit value: {text}"))?;
                if parsed.millis().is_none() {
                    bail!(5490710, "unit must be 'week' or smaller");
                }
                unit = Some(parsed);
            }
            ("unit", _) => bail!(5490710, "unit must be a string"),
            (other, _) => bail!(FailedToParse, "{name} got unexpected argument: {other}"),
        }
    }
    let Some(input) = input else { bail!(FailedToParse, "{name} requires an 'input' expression") };
    if around.single.is_none() {
        bail!(5371901, "{name} requires a sortBy that is a single field");
    }
    let frame = match (name, window) {
        ("$derivative", Value::Missing) => bail!(FailedToParse, "$derivative requires explicit window bounds"),
        (_, w) => frame(w, around)?,
    };
    Ok(match name {
        "$derivative" => Function::Derivative { input, unit, frame },
        _ => Function::Integral { input, unit, frame },
    })
}

fn parse_shift(arg: Value<'_>, around: &Surroundings, cx: &CompileCx) -> Result<Function> {
    let Value::Document(spec) = arg else { bail!(FailedToParse, "Argument to $shift must be an object") };
    let (mut output, mut by, mut default) = (None, None, ValueBuf::new(Value::Null));
    for field in spec {
        match (field.name(), field.value()) {
            ("output", v) => output = Some(Expr::compile(v, cx)?),
            ("by", v) => match number::to_i64_exact(v).filter(|n| i32::try_from(*n).is_ok()) {
                Some(n) => by = Some(n),
                None => bail!(FailedToParse, "'$shift:by' field must be an integer, but found by: {v:?}"),
            },
            ("default", v) => {
                let expr = Expr::compile(v, &cx.at_once())?;
                match expr.constant() {
                    Some(v) if v.is_missing() => {}
                    Some(v) => default = ValueBuf::new(v),
                    None => bail!(FailedToParse, "'$shift:default' expression must yield a constant value"),
                }
            }
            (other, _) => bail!(FailedToParse, "Unknown argument in $shift: {other}"),
        }
    }
    if !around.sorted {
        bail!(FailedToParse, "'$shift' requires a sortBy");
    }
    match (output, by) {
        (Some(output), Some(by)) => Ok(Function::Shift { output, by, default }),
        (None, _) => bail!(FailedToParse, "$shift requires an 'output' expression."),
        (_, None) => bail!(FailedToParse, "$shift requires 'by' as an integer value."),
    }
}

fn parse_exp_moving_avg(arg: Value<'_>, around: &Surroundings, cx: &CompileCx) -> Result<Function> {
    let Value::Document(spec) = arg else { bail!(FailedToParse, "$expMovingAvg must have exactly 2 arguments: an object with 'input' and 'N' or 'alpha'") };
    let (mut input, mut alpha) = (None, None);
    for field in spec {
        match (field.name(), field.value()) {
            ("input", v) => input = Some(Expr::compile(v, cx)?),
            (_, _) if alpha.is_some() => bail!(FailedToParse, "$expMovingAvg sub object must have exactly two fields: An 'input' field, and either an 'N' field or an 'alpha' field"),
            ("N", v) => match number::to_i64_exact(v) {
                Some(n) if n > 0 => alpha = Some(Alpha::N(n)),
                _ => bail!(FailedToParse, "'N' must be greater than zero. Got {v:?}"),
            },
            ("alpha", v) => match number::to_f64(v) {
                Some(a) if a > 0.0 && a < 1.0 => alpha = Some(Alpha::Given(ValueBuf::new(v))),
                _ => bail!(FailedToParse, "'alpha' must be between 0 and 1 (exclusive), found alpha: {v:?}"),
            },
            (other, _) => bail!(FailedToParse, "Got unrecognized field in $expMovingAvg: {other}"),
        }
    }
    if !around.sorted {
        bail!(FailedToParse, "$expMovingAvg requires an explicit 'sortBy'");
    }
    match (input, alpha) {
        (Some(input), Some(alpha)) => Ok(Function::ExpMovingAvg { input, alpha }),
        _ => bail!(FailedToParse, "$expMovingAvg sub object must have exactly two fields: An 'input' field, and either an 'N' field or an 'alpha' field"),
    }
}

fn parse_scaler(arg: Value<'_>, frame: Frame, cx: &CompileCx) -> Result<Function> {
    let Value::Document(spec) = arg else { bail!(FailedToParse, "$minMaxScaler expects an object, but got a {}", arg.type_name()) };
    let (mut input, mut low, mut high) = (None, None, None);
    for field in spec {
        match (field.name(), field.value()) {
            ("input", v) => input = Some(Expr::compile(v, cx)?),
            (name @ ("min" | "max"), v) => {
                let expr = Expr::compile(v, &cx.at_once())?;
                let constant = expr.constant().filter(Value::is_number).map(ValueBuf::new);
                let Some(constant) = constant else { bail!(FailedToParse, "$minMaxScaler's '{name}' must be a constant number") };
                if name == "min" { low = Some(constant) } else { high = Some(constant) }
            }
            (other, _) => bail!(FailedToParse, "Unknown argument in $minMaxScaler: {other}"),
        }
    }
    let Some(input) = input else { bail!(FailedToParse, "$minMaxScaler requires an 'input' expression") };
    let low = low.unwrap_or_else(|| ValueBuf::new(Value::Int32(0)));
    let high = high.unwrap_or_else(|| ValueBuf::new(Value::Int32(1)));
    if number::compare(low.view(), high.view()).is_ge() {
        bail!(FailedToParse, "$minMaxScaler's 'max' must be strictly greater than 'min'");
    }
    Ok(Function::MinMaxScaler { input, low, high, frame })
}
