//! Accumulators as expressions: `$avg $max $median $min $percentile $stdDevPop $stdDevSamp $sum` of their arguments, or of
//! the elements of their one argument.

use std::cmp::Ordering;

use smongo_bson::{Result, Value, bail, err, number};

use super::node::{Args, Node, Op};
use super::parse::{Row, Scope, nothing};
use crate::accum::percentile::{Method, parse_method, parse_p, pick};
use crate::accum::summation::{Deviation, Total};
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::any("$avg", avg),
    Row::any("$max", |args, cx| extreme(args, cx, Ordering::Greater)),
    Row::special("$median", parse_percentile, nothing),
    Row::any("$min", |args, cx| extreme(args, cx, Ordering::Less)),
    Row::special("$percentile", parse_percentile, nothing),
    Row::any("$stdDevPop", |args, cx| Ok(deviation(args, cx)?.population())),
    Row::any("$stdDevSamp", |args, cx| Ok(deviation(args, cx)?.sample())),
    Row::any("$sum", |args, cx| Ok(total(args, cx)?.sum())),
];

/// Visits the values: the elements of a single argument that is an array, or else the arguments as they are.
fn each<'a>(args: &'a Args, cx: &Cx<'a>, mut visit: impl FnMut(Value<'a>)) -> Result<()> {
    if let [one] = &**args {
        match one.eval(cx)? {
            Value::Array(a) => a.iter().for_each(visit),
            v => visit(v),
        }
        return Ok(());
    }
    for node in args.iter() {
        visit(node.eval(cx)?);
    }
    Ok(())
}

fn total<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Total> {
    let mut total = Total::default();
    each(args, cx, |v| total.add(v))?;
    Ok(total)
}

fn avg<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut total = Total::default();
    each(args, cx, |v| total.add_to_average(v))?;
    Ok(total.average())
}

fn deviation<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Deviation> {
    let mut deviation = Deviation::default();
    each(args, cx, |v| deviation.add(v))?;
    Ok(deviation)
}

/// The least or greatest value that is not null; the first of equal ones.
fn extreme<'a>(args: &'a Args, cx: &Cx<'a>, better: Ordering) -> Result<Value<'a>> {
    let mut best = Value::Null;
    each(args, cx, |v| {
        if !v.is_nullish() && (best.is_nullish() || args.compare(v, best) == better) {
            best = v;
        }
    })?;
    Ok(best)
}

struct Percentile {
    p: Vec<f64>,
    method: Method,
    input: Node,
    median: bool,
}

fn parse_percentile(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let (name, median) = (row.name, row.name == "$median");
    let Value::Document(doc) = spec else {
        bail!(7436200, "specification must be an object; found {name} :{spec:?}");
    };
    let (mut p, mut method, mut input) = (None, None, None);
    for e in doc {
        match e.name() {
            "input" => input = Some(e.value()),
            "method" => method = Some(e.value()),
            "p" if !median => p = Some(e.value()),
            other => bail!(40415, "BSON field '{name}.{other}' is an unknown field."),
        }
    }
    let missing = |field: &str| err!(40414, "BSON field '{name}.{field}' is missing but a required field");
    let input = scope.operand(input.ok_or_else(|| missing("input"))?)?;
    let p = if median { vec![0.5] } else { parse_p(p.ok_or_else(|| missing("p"))?, scope.cx)? };
    let method = parse_method(name, method.ok_or_else(|| missing("method"))?)?;
    Ok(scope.op(Percentile { p, method, input, median }))
}

impl Op for Percentile {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let mut values = Vec::new();
        match self.input.eval(cx)? {
            Value::Array(a) => values.extend(a.iter().filter_map(number::to_f64).filter(|x| !x.is_nan())),
            v => values.extend(number::to_f64(v)),
        }
        values.sort_by(f64::total_cmp);
        let value = |p: &f64| pick(&values, *p, self.method).map_or(Value::Null, Value::Double);
        if self.median {
            return Ok(self.p.first().map_or(Value::Null, value));
        }
        Ok(Value::Array(cx.arena.array_of(self.p.iter().map(value))))
    }

    fn children(&self, visit: &mut dyn FnMut(&Node)) {
        visit(&self.input);
    }

    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
        visit(&mut self.input)
    }
}
