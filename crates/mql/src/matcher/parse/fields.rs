//! Comparison, element and evaluation operators under a field.

use smongo_bson::path::Path;
use smongo_bson::{Result, Type, Value, ValueBuf, bail, number};

use super::super::bits::{BitsOp, BitsTest, shown};
use super::super::compare::{CompareOp, Test};
use super::super::eval::truncated;
use super::super::{Node, TypeSet};
use super::{FieldOp, Parser};

pub(super) fn ignored(_: Parser<'_>, _: &FieldOp<'_>) -> Result<Option<Node>> {
    Ok(None)
}

/// `path op value`, checked.
pub(super) fn comparison(p: Parser<'_>, path: &str, op: CompareOp, value: Value<'_>) -> Result<Node> {
    match value {
        Value::Undefined => bail!(BadValue, "cannot compare to undefined"),
        Value::Regex(_) if op != CompareOp::Eq => bail!(BadValue, "Can't have RegEx as arg to predicate over field '{path}'."),
        _ => Ok(compare_node(p, path, op, value)),
    }
}

/// `path op value` for a value known to be allowed.
pub(super) fn compare_node(p: Parser<'_>, path: &str, op: CompareOp, value: Value<'_>) -> Node {
    Node::Compare { path: Path::new(path), op, value: ValueBuf::new(value), test: Test::new(value, p.collation().is_some()) }
}

pub(super) fn eq(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    comparison(p, op.path, CompareOp::Eq, op.value).map(Some)
}

pub(super) fn ne(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    if matches!(op.value, Value::Regex(_)) {
        bail!(BadValue, "Can't have regex as arg to $ne.");
    }
    comparison(p, op.path, CompareOp::Eq, op.value).map(Node::negated).map(Some)
}

pub(super) fn range(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let compare = match op.name {
        "$gt" => CompareOp::Gt,
        "$gte" => CompareOp::Gte,
        "$lt" => CompareOp::Lt,
        _ => CompareOp::Lte,
    };
    comparison(p, op.path, compare, op.value).map(Some)
}

/// Any value: its truth decides.
pub(super) fn exists(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let node = Node::Exists { path: Path::new(op.path) };
    let wanted = match op.value {
        Value::Null | Value::Undefined => false,
        v => v.truthy(),
    };
    Ok(Some(if wanted { node } else { Node::negated(node) }))
}

pub(super) fn type_of(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let mut types = TypeSet::default();
    match op.value {
        Value::Array(list) => {
            for v in list.iter() {
                types.0 |= type_alias(v)?.0;
            }
        }
        v => types = type_alias(v)?,
    }
    if types.0 == 0 {
        bail!(FailedToParse, "{} must match at least one type", op.path);
    }
    Ok(Some(Node::Type { path: Path::new(op.path), types }))
}

/// A type by alias, by number, or `"number"`.
pub(in super::super) fn type_alias(v: Value<'_>) -> Result<TypeSet> {
    if let Value::String(name) = v {
        return match (name, Type::from_name(name)) {
            ("number", _) => Ok(TypeSet::NUMBER),
            (_, Some(t)) => Ok(TypeSet::of(t as u8)),
            _ => bail!(BadValue, "Unknown type name alias: {name}"),
        };
    }
    if !v.is_number() {
        bail!(TypeMismatch, "type must be represented as a number or a string");
    }
    let tag = match number::to_i64_exact(v) {
        Some(-1) => Some(255),
        Some(n @ (1..=19 | 127)) => u8::try_from(n).ok(),
        _ => None,
    };
    match tag {
        Some(tag) => Ok(TypeSet::of(tag)),
        None => bail!(BadValue, "Invalid numerical type code: {}", shown("", v).trim_start_matches(": ")),
    }
}

pub(super) fn size(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    if !op.value.is_number() {
        bail!(BadValue, "Failed to parse $size. Expected a number in: {}", shown("$size", op.value));
    }
    match number::to_i64_exact(op.value) {
        None => bail!(BadValue, "Failed to parse $size. Expected an integer: {}", shown("$size", op.value)),
        Some(n) if n < 0 => bail!(BadValue, "Failed to parse $size. Expected a non-negative number in: {}", shown("$size", op.value)),
        Some(n) if n > i64::from(i32::MAX) => {
            bail!(BadValue, "Failed to parse $size. Cannot represent as a 32-bit integer: {}", shown("$size", op.value))
        }
        Some(size) => Ok(Some(Node::Size { path: Path::new(op.path), size })),
    }
}

pub(super) fn modulo(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let Value::Array(args) = op.value else {
        bail!(BadValue, "malformed mod, needs to be an array");
    };
    let args: Vec<Value<'_>> = args.iter().collect();
    let (divisor, remainder) = match args[..] {
        [d, r] => (d, r),
        [] | [_] => bail!(BadValue, "malformed mod, not enough elements"),
        _ => bail!(BadValue, "malformed mod, too many elements"),
    };
    if !divisor.is_number() {
        bail!(BadValue, "malformed mod, divisor not a number");
    }
    if !remainder.is_number() {
        bail!(BadValue, "malformed mod, remainder not a number");
    }
    let Some(divisor) = truncated(divisor) else {
        bail!(BadValue, "malformed mod, divisor value is invalid :: caused by :: Unable to coerce value to integral type");
    };
    let Some(remainder) = truncated(remainder) else {
        bail!(BadValue, "malformed mod, remainder value is invalid :: caused by :: Unable to coerce value to integral type");
    };
    if divisor == 0 {
        bail!(BadValue, "divisor cannot be 0");
    }
    Ok(Some(Node::Mod { path: Path::new(op.path), divisor, remainder }))
}

pub(super) fn bits(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let test = BitsTest::parse(op.name, op.value)?;
    let bits = match op.name {
        "$bitsAllSet" => BitsOp::AllSet,
        "$bitsAllClear" => BitsOp::AllClear,
        "$bitsAnySet" => BitsOp::AnySet,
        _ => BitsOp::AnyClear,
    };
    Ok(Some(Node::Bits { path: Path::new(op.path), op: bits, test }))
}
