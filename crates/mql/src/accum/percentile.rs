//! `$percentile` and `$median`, as accumulators and for the expressions of the same names.

use smongo_bson::{Result, Value, ValueBuf, bail, err, number};

use super::State;
use super::spec::Setup;
use crate::cx::CompileCx;
use crate::expr::Expr;

/// How a percentile between two values is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Approximate,
    Discrete,
    Continuous,
}

/// Which percentiles are wanted.
#[derive(Clone, Default)]
pub struct Percentiles {
    p: Vec<f64>,
    method: Method,
    /// The first alone, not an array of all: `$median`.
    single: bool,
}

impl Percentiles {
    /// The percentiles of `n` numbers, which `nth` gives in order.
    pub fn of(&self, n: usize, nth: impl Fn(usize) -> Option<f64>) -> ValueBuf {
        let value = |p: &f64| pick_of(n, &nth, *p, self.method).map_or(Value::Null, Value::Double);
        if self.single {
            return ValueBuf::new(self.p.first().map_or(Value::Null, value));
        }
        super::scalar::list(self.p.iter().map(value))
    }
}

/// The parsed argument of `$percentile` or `$median`.
pub struct PercentileSpec {
    pub wanted: Percentiles,
    pub input: Expr,
}

/// Parses `{input, p, method}` of `$percentile` or `{input, method}` of `$median`.
pub fn parse_percentiles(name: &str, arg: Value<'_>, cx: &CompileCx) -> Result<PercentileSpec> {
    let Value::Document(spec) = arg else {
        bail!(7429703, "specification must be an object; found {name} :{arg:?}");
    };
    let median = name == "$median";
    let (mut p, mut method, mut input) = (None, None, None);
    for field in spec {
        match field.name() {
            "input" => input = Some(field.value()),
            "method" => method = Some(field.value()),
            "p" if !median => p = Some(field.value()),
            other => bail!(40415, "BSON field '{name}.{other}' is an unknown field."),
        }
    }
    let missing = |field: &str| err!(40414, "BSON field '{name}.{field}' is missing but a required field");
    let input = input.ok_or_else(|| missing("input"))?;
    let p = if median { vec![0.5] } else { parse_p(p.ok_or_else(|| missing("p"))?, cx)? };
    let method = parse_method(name, method.ok_or_else(|| missing("method"))?)?;
    Ok(PercentileSpec { wanted: Percentiles { p, method, single: median }, input: Expr::compile(input, cx)? })
}

pub(crate) fn parse_method(name: &str, value: Value<'_>) -> Result<Method> {
    let Value::String(text) = value else {
        bail!(TypeMismatch, "BSON field '{name}.method' is the wrong type '{}', expected type 'string'", value.type_name());
    };
    match text {
        "approximate" => Ok(Method::Approximate),
        "discrete" => Ok(Method::Discrete),
        "continuous" => Ok(Method::Continuous),
        _ => Err(err!(BadValue, "Currently only 'approximate', 'discrete' and 'continuous' can be used as percentile 'method'.")),
    }
}

/// `p`: a constant expression whose value is a non-empty array of numbers from 0 to 1.
pub(crate) fn parse_p(value: Value<'_>, cx: &CompileCx) -> Result<Vec<f64>> {
    let expr = Expr::compile(value, &cx.at_once())?;
    let Some(Value::Array(list)) = expr.constant() else {
        bail!(7750301, "The $percentile 'p' field must be an array of constant values, but found value: {value:?}");
    };
    let list: Vec<_> = list.iter().collect();
    if list.is_empty() {
        bail!(7750301, "The $percentile 'p' field must be a non-empty array of numbers from [0.0, 1.0]");
    }
    list.into_iter().map(percentile_of).collect()
}

fn percentile_of(value: Value<'_>) -> Result<f64> {
    let Some(p) = number::to_f64(value) else {
        bail!(7750302, "The $percentile 'p' field must be an array of numbers from [0.0, 1.0], but found: {value:?}");
    };
    if (0.0..=1.0).contains(&p) { Ok(p) } else { Err(err!(7750303, "The $percentile 'p' field must be an array of numbers from [0.0, 1.0], but found: {p}")) }
}

/// The percentile of values that are sorted; `None` when there are none.
pub fn pick(sorted: &[f64], p: f64, method: Method) -> Option<f64> {
    pick_of(sorted.len(), |at| sorted.get(at).copied(), p, method)
}

fn pick_of(n: usize, nth: impl Fn(usize) -> Option<f64>, p: f64, method: Method) -> Option<f64> {
    if n == 0 {
        return None;
    }
    match method {
        Method::Approximate | Method::Discrete => {
            let rank = (p * n as f64).ceil() as usize;
            nth(rank.saturating_sub(1).min(n - 1))
        }
        Method::Continuous => {
            let at = p * (n - 1) as f64;
            let (low, high) = (nth(at.floor() as usize)?, nth(at.ceil() as usize)?);
            Some(if low == high { low } else { low + (high - low) * (at - at.floor()) })
        }
    }
}

/// A value as the number that counts. NaN has no place in an order of numbers: it is left out.
pub fn countable(value: Value<'_>) -> Option<f64> {
    number::to_f64(value).filter(|x| !x.is_nan())
}

/// All numbers of the group, as doubles.
struct Percentile {
    values: Vec<f64>,
    wanted: Percentiles,
}

pub(super) fn percentile(_n: usize, s: &Setup) -> Box<dyn State> {
    Box::new(Percentile { values: Vec::new(), wanted: s.percentiles.clone() })
}

impl State for Percentile {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        self.values.extend(countable(value));
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        self.values.sort_by(f64::total_cmp);
        Ok(self.wanted.of(self.values.len(), |at| self.values.get(at).copied()))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        Ok(super::scalar::list(self.values.drain(..).map(Value::Double)))
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        let Value::Array(a) = partial else { return Ok(()) };
        a.iter().try_for_each(|v| self.add(v, &[]))
    }
    fn size(&self) -> usize {
        self.values.len() * 8
    }
}
