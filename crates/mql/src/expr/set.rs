//! Sets: arrays without order and duplicates, compared under the collation in force.

use smongo_bson::{Array, Result, Value, bail};

use super::node::{Args, Fold, Node};
use super::parse::{Row, Scope};
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::special("$allElementsTrue", parse_elements_true, all_elements_true),
    Row::special("$anyElementTrue", parse_elements_true, any_element_true),
    Row::exact("$setDifference", 2, set_difference),
    Row::special("$setEquals", parse_set_equals, set_equals),
    Row::special("$setIntersection", parse_commutative, set_intersection),
    Row::exact("$setIsSubset", 2, set_is_subset),
    Row::special("$setUnion", parse_commutative, set_union),
];

/// Sorted values without duplicates.
struct Set<'a>(Vec<Value<'a>>);

impl<'a> Set<'a> {
    fn new(array: Array<'a>, args: &Args) -> Set<'a> {
        Set::of(array.iter().collect(), args)
    }

    fn of(mut values: Vec<Value<'a>>, args: &Args) -> Set<'a> {
        values.sort_by(|a, b| args.compare(*a, *b));
        values.dedup_by(|b, a| args.compare(*a, *b).is_eq());
        Set(values)
    }

    fn contains(&self, value: Value<'_>, args: &Args) -> bool {
        self.0.binary_search_by(|v| args.compare(*v, value)).is_ok()
    }

    fn write(self, cx: &Cx<'a>) -> Value<'a> {
        Value::Array(cx.arena.array_of(self.0))
    }
}

/// The second argument, to be searched; one that is constant is sorted once and not for each document.
enum OrderedOrConstant<'a> {
    Ordered(Set<'a>),
    Constant,
}

impl<'a> OrderedOrConstant<'a> {
    fn new(array: Array<'a>, args: &Args) -> OrderedOrConstant<'a> {
        match args.long_constant_holds(Value::Null) {
            Some(_) => OrderedOrConstant::Constant,
            None => OrderedOrConstant::Ordered(Set::new(array, args)),
        }
    }

    fn contains(&self, value: Value<'_>, args: &Args) -> bool {
        match self {
            OrderedOrConstant::Ordered(set) => set.contains(value, args),
            OrderedOrConstant::Constant => args.long_constant_holds(value) == Some(true),
        }
    }
}

/// The argument in one more array would be an array of one array: MongoDB answers with its own error.
fn parse_elements_true(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let args = scope.args(spec)?;
    if args.len() != 1 {
        bail!(16020, "Expression {} takes exactly 1 arguments. {} were passed in.", row.name, args.len());
    }
    Ok(scope.call(row, args))
}

fn all_elements_true<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        Value::Array(a) => Ok(Value::Bool(a.iter().all(|v| v.truthy()))),
        v => bail!(17040, "$allElementsTrue's argument must be an array, but is {}", v.type_name()),
    }
}

fn any_element_true<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        Value::Array(a) => Ok(Value::Bool(a.iter().any(|v| v.truthy()))),
        v => bail!(17041, "$anyElementTrue's argument must be an array, but is {}", v.type_name()),
    }
}

fn set_difference<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (left, right) = (args.eval(0, cx)?, args.eval(1, cx)?);
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::Null);
    }
    let Value::Array(left) = left else {
        bail!(17048, "both operands of $setDifference must be arrays. First argument is of type: {}", left.type_name());
    };
    let Value::Array(right) = right else {
        bail!(17049, "both operands of $setDifference must be arrays. Second argument is of type: {}", right.type_name());
    };
    let right = OrderedOrConstant::new(right, args);
    let mut kept: Vec<(usize, Value<'_>)> = left.iter().enumerate().filter(|(_, v)| !right.contains(*v, args)).collect();
    // Of equal ones the first stays, and the order of the first array is kept.
    kept.sort_by(|(_, a), (_, b)| args.compare(*a, *b));
    kept.dedup_by(|(_, b), (_, a)| args.compare(*a, *b).is_eq());
    kept.sort_unstable_by_key(|(place, _)| *place);
    Ok(Value::Array(cx.arena.array_of(kept.into_iter().map(|(_, v)| v))))
}

fn parse_commutative(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let args = scope.args(spec)?;
    Ok(scope.call_folding(row, args, Fold::Commutative))
}

fn parse_set_equals(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let args = scope.args(spec)?;
    if args.len() < 2 {
        bail!(17045, "$setEquals needs at least two arguments had: {}", args.len());
    }
    Ok(scope.call(row, args))
}

fn set_equals<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut first: Option<Set<'_>> = None;
    let mut equal = true;
    for (i, node) in args.iter().enumerate() {
        let set = match node.eval(cx)? {
            Value::Array(a) => Set::new(a, args),
            v if node.as_const().is_some() => {
                bail!(5887502, "All operands of $setEquals must be arrays. {}-th argument is of type: {}", i + 1, v.type_name())
            }
            v => bail!(17044, "All operands of $setEquals must be arrays. {}-th argument is of type: {}", i + 1, v.type_name()),
        };
        match &first {
            None => first = Some(set),
            Some(f) => {
                equal = f.0.len() == set.0.len() && f.0.iter().zip(&set.0).all(|(a, b)| args.compare(*a, *b).is_eq());
                if !equal {
                    break;
                }
            }
        }
    }
    Ok(Value::Bool(equal))
}

fn set_intersection<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut common: Option<Set<'_>> = None;
    for node in args.iter() {
        let array = match node.eval(cx)? {
            Value::Array(a) => a,
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(17047, "All operands of $setIntersection must be arrays. One argument is of type: {}", v.type_name()),
        };
        let set = Set::new(array, args);
        common = Some(match common {
            None => set,
            Some(mut c) => {
                c.0.retain(|v| set.contains(*v, args));
                c
            }
        });
    }
    Ok(common.unwrap_or(Set(Vec::new())).write(cx))
}

fn set_is_subset<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (left, right) = (args.eval(0, cx)?, args.eval(1, cx)?);
    let Value::Array(left) = left else {
        bail!(17046, "both operands of $setIsSubset must be arrays. First argument is of type: {}", left.type_name());
    };
    let Value::Array(right) = right else {
        bail!(17042, "both operands of $setIsSubset must be arrays. Second argument is of type: {}", right.type_name());
    };
    let right = OrderedOrConstant::new(right, args);
    Ok(Value::Bool(left.iter().all(|v| right.contains(v, args))))
}

fn set_union<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut values = Vec::new();
    for node in args.iter() {
        match node.eval(cx)? {
            Value::Array(a) => values.extend(a.iter()),
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(17043, "All operands of $setUnion must be arrays. One argument is of type: {}", v.type_name()),
        }
    }
    Ok(Set::of(values, args).write(cx))
}
