//! `$sortArray`.

use std::cmp::Ordering;

use smongo_bson::path::{self, Path};
use smongo_bson::{Doc, Result, Value, bail, number};

use crate::cx::Cx;
use crate::expr::node::{Args, Node, Op};
use crate::expr::parse::{Fields, Row, Scope, nothing};

pub(crate) static ROWS: &[Row] = &[Row::special("$sortArray", parse, nothing)];

enum By {
    /// The elements themselves.
    Whole { descending: bool },
    /// Fields of the elements.
    Pattern(Vec<(Path, bool)>),
}

struct SortArray {
    by: By,
    /// The input; its call carries the collation.
    input: Args,
}

fn parse(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    const FIELDS: Fields = Fields { not_object: 2942500, unknown: 2942501, names: &[("input", 2942502), ("sortBy", 2942503)] };
    let found = FIELDS.read(row.name, spec)?;
    let input = scope.optional(found.first().copied().flatten())?;
    let by = match found.get(1).copied().flatten().unwrap_or(Value::Missing) {
        Value::Document(pattern) => By::Pattern(sort_pattern(pattern)?),
        v if v.is_number() => By::Whole { descending: direction(v, 2942506)? },
        v => bail!(2942507, "The $sort element value must be either 1 or -1, or an object specification, found {}", v.type_name()),
    };
    let input = Args::new(row.name, Box::new([input]), scope.cx.collation.clone());
    Ok(scope.op(SortArray { by, input }))
}

fn direction(v: Value<'_>, code: i32) -> Result<bool> {
    match number::to_i64_exact(v) {
        Some(1) => Ok(false),
        Some(-1) => Ok(true),
        _ => Err(smongo_bson::Error::new(smongo_bson::Code(code), "The $sort element value must be either 1 or -1")),
    }
}

fn sort_pattern(pattern: Doc<'_>) -> Result<Vec<(Path, bool)>> {
    if pattern.is_empty() {
        bail!(2942505, "The $sort pattern must be a non-empty object");
    }
    pattern
        .iter()
        .map(|e| {
            if e.name().is_empty() || e.name().starts_with('.') || e.name().ends_with('.') || e.name().contains("..") {
                bail!(2942505, "The $sort field is a dotted field but has an empty part: {}", e.name());
            }
            Ok((Path::new(e.name()), direction(e.value(), 2942505)?))
        })
        .collect()
}

impl Op for SortArray {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let array = match self.input.eval(0, cx)? {
            Value::Array(a) => a,
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(2942504, "The input argument to $sortArray must be an array, but was of type: {}", v.type_name()),
        };
        let mut values: Vec<_> = array.iter().collect();
        match &self.by {
            By::Whole { descending: false } => values.sort_by(|a, b| self.input.compare(*a, *b)),
            By::Whole { descending: true } => values.sort_by(|a, b| self.input.compare(*b, *a)),
            By::Pattern(pattern) => values.sort_by(|a, b| self.by_pattern(pattern, *a, *b)),
        }
        Ok(Value::Array(cx.arena.array_of(values)))
    }

    fn children(&self, visit: &mut dyn FnMut(&Node)) {
        self.input.nodes.iter().for_each(visit);
    }

    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
        self.input.nodes.iter_mut().try_for_each(visit)
    }
}

impl SortArray {
    fn by_pattern(&self, pattern: &[(Path, bool)], a: Value<'_>, b: Value<'_>) -> Ordering {
        for (path, descending) in pattern {
            let order = self.input.compare(key(a, path), key(b, path));
            let order = if *descending { order.reverse() } else { order };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// What an element sorts by: the field, null without it.
fn key<'a>(element: Value<'a>, path: &Path) -> Value<'a> {
    match element {
        Value::Document(d) => match path::get(d, path.parts()) {
            Value::Missing => Value::Null,
            v => v,
        },
        _ => Value::Null,
    }
}
