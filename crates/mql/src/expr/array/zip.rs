//! `$zip`.

use smongo_bson::{Result, Value, bail};

use crate::arena::check_made;
use crate::cx::Cx;
use crate::expr::node::{Args, Node};
use crate::expr::parse::{Row, Scope};

pub(crate) static ROWS: &[Row] = &[Row::special("$zip", parse, zip)];

/// The arguments become: whether to use the longest length, how many inputs, the inputs, the defaults.
fn parse(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let Value::Document(doc) = spec else {
        bail!(34460, "$zip only supports an object as an argument, found {}", spec.type_name());
    };
    let (mut longest, mut inputs, mut defaults) = (false, Vec::new(), Vec::new());
    for e in doc {
        match (e.name(), e.value()) {
            ("inputs", Value::Array(a)) => inputs = a.iter().map(|v| scope.operand(v)).collect::<Result<_>>()?,
            ("inputs", v) => bail!(34461, "inputs must be an array of expressions, found {}", v.type_name()),
            ("defaults", Value::Array(a)) => defaults = a.iter().map(|v| scope.operand(v)).collect::<Result<_>>()?,
            ("defaults", v) => bail!(34462, "defaults must be an array of expressions, found {}", v.type_name()),
            ("useLongestLength", Value::Bool(b)) => longest = b,
            ("useLongestLength", v) => bail!(34463, "useLongestLength must be a bool, found {}", v.type_name()),
            (other, _) => bail!(34464, "$zip found an unknown argument: {other}"),
        }
    }
    if inputs.is_empty() {
        bail!(34465, "$zip requires at least one input array");
    }
    if !longest && !defaults.is_empty() {
        bail!(34466, "cannot specify defaults unless useLongestLength is true");
    }
    if !defaults.is_empty() && defaults.len() != inputs.len() {
        bail!(34467, "defaults and inputs must have the same length");
    }
    let mut args = vec![Node::constant(Value::Bool(longest)), Node::constant(Value::Int32(inputs.len() as i32))];
    args.extend(inputs);
    args.extend(defaults);
    Ok(scope.call(row, args))
}

fn zip<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let longest = args.eval(0, cx)?.truthy();
    let Value::Int32(count) = args.eval(1, cx)? else { return Ok(Value::Null) };
    let (inputs, defaults) = args.get(2..).unwrap_or(&[]).split_at_checked(count as usize).unwrap_or_default();
    let mut arrays: Vec<Vec<Value<'_>>> = Vec::with_capacity(inputs.len());
    let mut null = false;
    for node in inputs {
        match node.eval(cx)? {
            Value::Array(a) => arrays.push(a.iter().collect()),
            v if v.is_nullish() => null = true,
            v => bail!(34468, "$zip found a non-array expression in input: {v:?}"),
        }
        if null {
            return Ok(Value::Null);
        }
    }
    let defaults = defaults.iter().map(|n| n.eval(cx)).collect::<Result<Vec<_>>>()?;
    let lengths = arrays.iter().map(Vec::len);
    let length = if longest { lengths.max() } else { lengths.min() }.unwrap_or(0);
    let zipped = cx.arena.try_array(|w| {
        for row in 0..length {
            let mut tuple = w.array();
            for (column, array) in arrays.iter().enumerate() {
                tuple.push(array.get(row).or(defaults.get(column)).copied().unwrap_or(Value::Null));
            }
            drop(tuple);
            check_made(args.name, w.len())?;
        }
        Ok(())
    })?;
    Ok(Value::Array(zipped))
}
