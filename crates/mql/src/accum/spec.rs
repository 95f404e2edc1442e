//! The table of accumulators and the parsing of their arguments.

use std::sync::Arc;

use smongo_bson::{Result, Value, bail, err, number};

use super::percentile::{Percentiles, parse_percentiles};
use super::{Accumulator, State, arrays, percentile, pick, scalar};
use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::sort::SortPattern;

/// Makes a fresh state; the number is `n` where there is one.
pub(super) type Make = Box<dyn Fn(&Accumulator, usize) -> Box<dyn State> + Send + Sync>;

/// The compiled arguments of an accumulator.
pub enum Arguments {
    One(Expr),
    N { n: Expr, input: Expr },
    Top { n: Option<Expr>, sort: SortPattern, output: Expr },
    Percentile { wanted: Percentiles, input: Expr },
}

impl Arguments {
    pub(super) fn n(&self) -> Option<&Expr> {
        match self {
            Arguments::N { n, .. } => Some(n),
            Arguments::Top { n, .. } => n.as_ref(),
            _ => None,
        }
    }

    /// Every expression evaluated against documents (not `n`).
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (Arguments::One(e) | Arguments::N { input: e, .. } | Arguments::Percentile { input: e, .. } | Arguments::Top { output: e, .. }) = self;
        [Some(e), self.n()].into_iter().flatten()
    }
}

/// How an accumulator reads its argument.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    One,
    /// `{}` only: `$count`.
    Empty,
    N,
    Top,
    TopN,
    Median,
    Percentile,
    Unsupported,
}

struct Row {
    name: &'static str,
    shape: Shape,
    grows: bool,
    make: fn(usize, &Setup) -> Box<dyn State>,
}

/// What states are made with.
pub(super) struct Setup {
    pub name: &'static str,
    pub collation: Option<Arc<Collation>>,
    pub percentiles: Percentiles,
}

const ROWS: &[Row] = &[
    Row { name: "$accumulator", shape: Shape::Unsupported, grows: false, make: scalar::count },
    Row { name: "$addToSet", shape: Shape::One, grows: true, make: arrays::add_to_set },
    Row { name: "$avg", shape: Shape::One, grows: false, make: scalar::avg },
    Row { name: "$bottom", shape: Shape::Top, grows: true, make: pick::bottom },
    Row { name: "$bottomN", shape: Shape::TopN, grows: true, make: pick::bottom_n },
    Row { name: "$concatArrays", shape: Shape::One, grows: true, make: arrays::concat },
    Row { name: "$count", shape: Shape::Empty, grows: false, make: scalar::count },
    Row { name: "$first", shape: Shape::One, grows: true, make: pick::first },
    Row { name: "$firstN", shape: Shape::N, grows: true, make: pick::first_n },
    Row { name: "$last", shape: Shape::One, grows: true, make: pick::last },
    Row { name: "$lastN", shape: Shape::N, grows: true, make: pick::last_n },
    Row { name: "$max", shape: Shape::One, grows: true, make: scalar::max },
    Row { name: "$maxN", shape: Shape::N, grows: true, make: pick::max_n },
    Row { name: "$median", shape: Shape::Median, grows: true, make: percentile::percentile },
    Row { name: "$mergeObjects", shape: Shape::One, grows: true, make: scalar::merge_objects },
    Row { name: "$min", shape: Shape::One, grows: true, make: scalar::min },
    Row { name: "$minN", shape: Shape::N, grows: true, make: pick::min_n },
    Row { name: "$percentile", shape: Shape::Percentile, grows: true, make: percentile::percentile },
    Row { name: "$push", shape: Shape::One, grows: true, make: arrays::push },
    Row { name: "$setUnion", shape: Shape::One, grows: true, make: arrays::set_union },
    Row { name: "$stdDevPop", shape: Shape::One, grows: false, make: scalar::std_dev_pop },
    Row { name: "$stdDevSamp", shape: Shape::One, grows: false, make: scalar::std_dev_samp },
    Row { name: "$sum", shape: Shape::One, grows: false, make: scalar::sum },
    Row { name: "$top", shape: Shape::Top, grows: true, make: pick::top },
    Row { name: "$topN", shape: Shape::TopN, grows: true, make: pick::top_n },
];

fn row(name: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|r| r.name.cmp(name)).ok().and_then(|at| ROWS.get(at))
}

/// Names of all accumulators, sorted.
pub fn accumulators() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|r| r.name)
}

/// Whether `$name` is an accumulator of `$group`.
pub fn is_accumulator(name: &str) -> bool {
    row(name).is_some()
}

pub(super) fn compile(name: &str, arg: Value<'_>, cx: &CompileCx) -> Result<Accumulator> {
    let Some(row) = row(name) else { bail!(15952, "unknown group operator '{name}'") };
    let mut setup = Setup { name: row.name, collation: cx.collation.clone(), percentiles: Percentiles::default() };
    let args = match row.shape {
        Shape::One => Arguments::One(Expr::compile(arg, cx)?),
        Shape::Empty => count_argument(arg, cx)?,
        Shape::N => n_arguments(row.name, arg, cx)?,
        Shape::Top | Shape::TopN => top_arguments(row.name, arg, row.shape == Shape::TopN, cx)?,
        Shape::Median | Shape::Percentile => {
            let spec = parse_percentiles(row.name, arg, cx)?;
            setup.percentiles = spec.wanted.clone();
            Arguments::Percentile { wanted: spec.wanted, input: spec.input }
        }
        Shape::Unsupported => bail!(NotImplemented, "{name} needs server-side JavaScript, which is not supported"),
    };
    let (make, collation) = (row.make, cx.collation.clone());
    Ok(Accumulator { name: row.name, args, collation, make: Box::new(move |_, n| make(n, &setup)), grows: row.grows })
}

fn count_argument(arg: Value<'_>, cx: &CompileCx) -> Result<Arguments> {
    match arg {
        Value::Document(d) if d.is_empty() => Ok(Arguments::One(Expr::compile(Value::Null, cx)?)),
        _ => Err(err!(TypeMismatch, "$count takes no arguments, i.e. $count:{{}}")),
    }
}

/// `{n, input}` of `$firstN`, `$lastN`, `$minN`, `$maxN`.
fn n_arguments(name: &str, arg: Value<'_>, cx: &CompileCx) -> Result<Arguments> {
    let Value::Document(spec) = arg else {
        bail!(5787900, "specification must be an object; found {name}: {arg:?}");
    };
    let (mut n, mut input) = (None, None);
    for field in spec {
        match field.name() {
            "n" => n = Some(field.value()),
            "input" => input = Some(field.value()),
            other => bail!(5787901, "Unknown argument to {name} '{other}'"),
        }
    }
    let n = n.ok_or_else(|| err!(5787906, "Missing value for 'n'"))?;
    let input = input.ok_or_else(|| err!(5787907, "Missing value for 'input'"))?;
    Ok(Arguments::N { n: n_expr(n, cx)?, input: Expr::compile(input, cx)? })
}

/// `{n, sortBy, output}` of `$top`, `$bottom`, `$topN`, `$bottomN`.
fn top_arguments(name: &str, arg: Value<'_>, with_n: bool, cx: &CompileCx) -> Result<Arguments> {
    let Value::Document(spec) = arg else {
        bail!(5788001, "specification must be an object; found {name}: {arg:?}");
    };
    let (mut n, mut sort, mut output) = (None, None, None);
    for field in spec {
        match field.name() {
            "n" if with_n => n = Some(field.value()),
            "sortBy" => sort = Some(sort_by(field.value(), cx)?),
            "output" => output = Some(field.value()),
            other => bail!(5788002, "Unknown argument to {name} '{other}'"),
        }
    }
    if with_n && n.is_none() {
        bail!(5788003, "Missing value for 'n'");
    }
    let output = output.ok_or_else(|| err!(5788004, "Missing value for 'output'"))?;
    let sort = sort.ok_or_else(|| err!(5788005, "Missing value for 'sortBy'"))?;
    let n = n.map(|n| n_expr(n, cx)).transpose()?;
    Ok(Arguments::Top { n, sort, output: Expr::compile(output, cx)? })
}

fn sort_by(value: Value<'_>, cx: &CompileCx) -> Result<SortPattern> {
    match value {
        Value::Document(d) => SortPattern::compile(d, cx),
        _ => Err(err!(10065, "invalid parameter: expected an object (sortBy)")),
    }
}

/// `n` as an expression; a constant is checked at once.
fn n_expr(value: Value<'_>, cx: &CompileCx) -> Result<Expr> {
    let n = Expr::compile(value, &cx.at_once())?;
    if let Some(constant) = n.constant() {
        parse_n(constant)?;
    }
    Ok(n)
}

/// A value of `n`: a positive integer of any numeric type.
pub fn parse_n(value: Value<'_>) -> Result<usize> {
    if !value.is_number() {
        bail!(7548606, "Value for 'n' must be of integral type, but found {}", value);
    }
    let Some(n) = number::to_i64_exact(value) else {
        bail!(7548606, "Value for 'n' must be of integral type, but found {}", value);
    };
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(err!(7548606, "'n' must be greater than 0, found {n}")),
    }
}
