//! `$cond $ifNull $switch`: only the branch taken is evaluated.

use smongo_bson::{Result, Value, bail};

use super::node::{Args, Fold, Node};
use super::parse::{Row, Scope};
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::special("$cond", parse_cond, cond),
    Row::special("$ifNull", parse_if_null, if_null),
    Row::special("$switch", parse_switch, switch),
];

fn parse_cond(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let Value::Document(doc) = spec else {
        let args = scope.args(spec)?;
        if args.len() != 3 {
            bail!(16020, "Expression $cond takes exactly 3 arguments. {} were passed in.", args.len());
        }
        return Ok(scope.call(row, args));
    };
    let mut parts: [Option<Node>; 3] = [None, None, None];
    for e in doc {
        let slot = match e.name() {
            "if" => 0,
            "then" => 1,
            "else" => 2,
            other => bail!(17083, "Unrecognized parameter to $cond: {other}"),
        };
        parts[slot] = Some(scope.operand(e.value())?);
    }
    match parts {
        [Some(test), Some(then), Some(other)] => Ok(scope.call(row, vec![test, then, other])),
        [None, ..] => bail!(17080, "Missing 'if' parameter to $cond"),
        [_, None, _] => bail!(17081, "Missing 'then' parameter to $cond"),
        _ => bail!(17082, "Missing 'else' parameter to $cond"),
    }
}

fn cond<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    args.eval(if args.eval(0, cx)?.truthy() { 1 } else { 2 }, cx)
}

fn parse_if_null(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let args = scope.args(spec)?;
    if args.len() < 2 {
        bail!(1257300, "$ifNull needs at least two arguments, had: {}", args.len());
    }
    Ok(scope.call(row, args))
}

fn if_null<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut value = Value::Missing;
    for node in args.iter() {
        value = node.eval(cx)?;
        if !value.is_nullish() {
            break;
        }
    }
    Ok(value)
}

/// The arguments become case, then, case, then …, and the default behind them when there is one.
fn parse_switch(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let Value::Document(doc) = spec else {
        bail!(40060, "$switch requires an object as an argument, found: {}", spec.type_name());
    };
    let (mut args, mut default) = (Vec::new(), None);
    for e in doc {
        match (e.name(), e.value()) {
            ("branches", Value::Array(branches)) => {
                for branch in branches.iter() {
                    let (case, then) = parse_branch(branch, scope)?;
                    args.extend([case, then]);
                }
            }
            ("branches", v) => bail!(40061, "$switch expected an array for 'branches', found: {}", v.type_name()),
            ("default", v) => default = Some(scope.operand(v)?),
            (other, _) => bail!(40067, "$switch found an unknown argument: {other}"),
        }
    }
    if args.is_empty() {
        bail!(40068, "$switch requires at least one branch");
    }
    args.extend(default);
    Ok(scope.call_folding(row, args, Fold::Switch))
}

fn parse_branch(branch: Value<'_>, scope: &mut Scope<'_>) -> Result<(Node, Node)> {
    let Value::Document(doc) = branch else {
        bail!(40062, "$switch expected each branch to be an object, found: {}", branch.type_name());
    };
    let (mut case, mut then) = (None, None);
    for e in doc {
        match e.name() {
            "case" => case = Some(scope.operand(e.value())?),
            "then" => then = Some(scope.operand(e.value())?),
            other => bail!(40063, "$switch found an unknown argument to a branch: {other}"),
        }
    }
    match (case, then) {
        (Some(case), Some(then)) => Ok((case, then)),
        (None, _) => bail!(40064, "$switch requires each branch have a 'case' expression"),
        _ => bail!(40065, "$switch requires each branch have a 'then' expression."),
    }
}

fn switch<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (branches, default) = args.as_chunks::<2>();
    for [case, then] in branches {
        if case.eval(cx)?.truthy() {
            return then.eval(cx);
        }
    }
    match default.first() {
        Some(node) => node.eval(cx),
        None => bail!(40066, "$switch could not find a matching branch for an input, and no default was specified."),
    }
}
