//! Update operators: the table, and those that set, remove or compute a field.

use smongo_bson::compare::Collator;
use smongo_bson::{Array, Doc, Result, Timestamp, Value, ValueBuf, bail, compare, number};

use super::parse::Spec;
use crate::arena::Arena;

/// One path's operator, ready to run.
pub(super) trait Modifier: Send + Sync {
    /// The new value of a field; `old` is `Missing` where there is none.
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>>;

    /// Whether a missing field comes into being.
    fn creates(&self, _at: &At<'_>) -> bool {
        true
    }

    /// Whether it is an error when the path leads through a value that cannot hold fields.
    fn insists(&self, at: &At<'_>) -> bool {
        self.creates(at)
    }
}

/// Where an operator is applied.
pub(super) struct At<'x> {
    pub arena: &'x Arena,
    /// The whole document before the update.
    pub root: Doc<'x>,
    pub name: &'x str,
    pub insert: bool,
    pub renames: &'x [Value<'x>],
    pub collator: Option<&'x dyn Collator>,
}

/// What becomes of a field.
pub(super) enum New<'x> {
    Keep,
    Remove,
    Put(Value<'x>),
    /// A longer array; the elements before the position are the old ones.
    Grow(Array<'x>, usize),
}

impl At<'_> {
    /// The document's `_id` as `{_id: …}`, for messages.
    pub fn id(&self) -> String {
        format!("{{_id: {}}}", self.root.get("_id"))
    }
}

/// An operator of update documents.
pub(super) struct Row {
    pub name: &'static str,
    /// Makes the modifier of one field of the operator's document.
    pub compile: fn(&Spec<'_>) -> Result<Box<dyn Modifier>>,
}

/// All operators but `$rename`, which concerns two paths; sorted by name.
pub(super) const OPERATORS: &[Row] = &[
    Row { name: "$addToSet", compile: super::array::add_to_set },
    Row { name: "$bit", compile: bit },
    Row { name: "$currentDate", compile: current_date },
    Row { name: "$inc", compile: inc },
    Row { name: "$max", compile: max },
    Row { name: "$min", compile: min },
    Row { name: "$mul", compile: mul },
    Row { name: "$pop", compile: super::array::pop },
    Row { name: "$pull", compile: super::pull::pull },
    Row { name: "$pullAll", compile: super::pull::pull_all },
    Row { name: "$push", compile: super::push::push },
    Row { name: "$set", compile: set },
    Row { name: "$setOnInsert", compile: set_on_insert },
    Row { name: "$unset", compile: unset },
];

/// Names of all operators, sorted.
pub fn operators() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = OPERATORS.iter().map(|r| r.name).chain(["$rename"]).collect();
    names.sort_unstable();
    names.into_iter()
}

struct Set(ValueBuf);

impl Modifier for Set {
    fn apply<'x>(&'x self, _old: Value<'x>, _at: &At<'x>) -> Result<New<'x>> {
        Ok(New::Put(self.0.view()))
    }
}

fn set(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    Ok(Box::new(Set(spec.value.into())))
}

struct SetOnInsert(ValueBuf);

impl Modifier for SetOnInsert {
    fn apply<'x>(&'x self, _old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        Ok(if at.insert { New::Put(self.0.view()) } else { New::Keep })
    }
    fn creates(&self, at: &At<'_>) -> bool {
        at.insert
    }
}

fn set_on_insert(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    Ok(Box::new(SetOnInsert(spec.value.into())))
}

struct Unset;

impl Modifier for Unset {
    fn apply<'x>(&'x self, _old: Value<'x>, _at: &At<'x>) -> Result<New<'x>> {
        Ok(New::Remove)
    }
    fn creates(&self, _at: &At<'_>) -> bool {
        false
    }
}

fn unset(_spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    Ok(Box::new(Unset))
}

/// `$currentDate` knows its value when it is compiled: the statement's time.
fn current_date(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let kind = match spec.value {
        Value::Bool(_) => "date",
        Value::Document(doc) => current_date_type(doc)?,
        other => bail!(
            BadValue,
            "{} is not valid type for $currentDate. Please use a boolean ('true') or a $type expression ({{$type: 'timestamp/date'}}).",
            other.type_name()
        ),
    };
    let value = match kind {
        "date" => Value::DateTime(spec.cx.now),
        _ => Value::Timestamp(current_timestamp(spec.cx)),
    };
    Ok(Box::new(Set(value.into())))
}

/// The timestamp of now: the cluster time, else the clock's second.
pub(super) fn current_timestamp(cx: &crate::cx::CompileCx) -> Timestamp {
    let seconds = u32::try_from(cx.now.div_euclid(1000)).unwrap_or_default();
    cx.cluster_time.unwrap_or(Timestamp { time: seconds, increment: 1 })
}

fn current_date_type(doc: Doc<'_>) -> Result<&'static str> {
    let mut kind = None;
    for element in doc {
        if element.name() != "$type" {
            bail!(BadValue, "Unrecognized $currentDate option: {}", element.name());
        }
        kind = match element.value() {
            Value::String("date") => Some("date"),
            Value::String("timestamp") => Some("timestamp"),
            _ => None,
        };
    }
    match kind {
        Some(kind) => Ok(kind),
        None => bail!(BadValue, "The '$type' string field is required to be 'date' or 'timestamp': {{$currentDate: {{field : {{$type: 'date'}}}}}}"),
    }
}

struct Arithmetic {
    name: &'static str,
    operand: ValueBuf,
    run: fn(Value<'_>, Value<'_>) -> Option<Value<'static>>,
    /// What a missing field becomes.
    missing: ValueBuf,
}

impl Modifier for Arithmetic {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        if old.is_missing() {
            return Ok(New::Put(self.missing.view()));
        }
        if !old.is_number() {
            bail!(
                TypeMismatch,
                "Cannot apply {} to a value of non-numeric type. {} has the field '{}' of non-numeric type {}",
                self.name,
                at.id(),
                at.name,
                old.type_name()
            );
        }
        match (self.run)(old, self.operand.view()) {
            // Equal counts as unchanged: -0.0 + 0.0 stays -0.0.
            Some(value) if value.type_of() == old.type_of() && compare::equal(value, old) => Ok(New::Keep),
            Some(value) => Ok(New::Put(value)),
            None => bail!(
                BadValue,
                "Failed to apply {} operations to current value ((NumberLong){}) for document {}",
                self.name,
                old,
                at.id()
            ),
        }
    }
}

fn numeric<'s>(spec: &Spec<'s>, verb: &str) -> Result<Value<'s>> {
    if !spec.value.is_number() {
        bail!(TypeMismatch, "Cannot {verb} with non-numeric argument: {{{}: {}}}", spec.path, spec.value);
    }
    Ok(spec.value)
}

fn inc(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let operand = ValueBuf::new(numeric(spec, "increment")?);
    Ok(Box::new(Arithmetic { name: "$inc", missing: operand.clone(), operand, run: number::checked_add }))
}

fn mul(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let value = numeric(spec, "multiply")?;
    let zero = match value {
        Value::Int64(_) => Value::Int64(0),
        Value::Double(_) => Value::Double(0.0),
        Value::Decimal(_) => Value::Decimal(smongo_bson::Decimal::from_i64(0)),
        _ => Value::Int32(0),
    };
    Ok(Box::new(Arithmetic { name: "$mul", operand: value.into(), missing: zero.into(), run: number::checked_mul }))
}

struct Bound {
    value: ValueBuf,
    keep: std::cmp::Ordering,
}

impl Modifier for Bound {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        let order = compare::compare_with(old, self.value.view(), at.collator);
        let replace = old.is_missing() || (order.is_ne() && order != self.keep);
        Ok(if replace { New::Put(self.value.view()) } else { New::Keep })
    }
}

fn max(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    Ok(Box::new(Bound { value: spec.value.into(), keep: std::cmp::Ordering::Greater }))
}

fn min(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    Ok(Box::new(Bound { value: spec.value.into(), keep: std::cmp::Ordering::Less }))
}

struct Bit(Vec<(fn(i64, i64) -> i64, ValueBuf)>);

impl Modifier for Bit {
    fn apply<'x>(&'x self, old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        let (mut bits, mut long) = match old {
            Value::Missing => (0, false),
            Value::Int32(n) => (i64::from(n), false),
            Value::Int64(n) => (n, true),
            other => bail!(
                BadValue,
                "Cannot apply $bit to a value of non-integral type.{} has the field {} of non-integer type {}",
                at.id(),
                at.name,
                other.type_name()
            ),
        };
        for (run, operand) in &self.0 {
            let operand = match operand.view() {
                Value::Int64(n) => {
                    long = true;
                    n
                }
                Value::Int32(n) => i64::from(n),
                _ => 0,
            };
            bits = run(bits, operand);
        }
        Ok(New::Put(if long { Value::Int64(bits) } else { Value::Int32(bits as i32) }))
    }
}

fn bit(spec: &Spec<'_>) -> Result<Box<dyn Modifier>> {
    let Value::Document(doc) = spec.value else {
        bail!(BadValue, "The $bit modifier is not compatible with a {}. You must pass in an embedded document: {{$bit: {{field: {{and/or/xor: #}}}}", spec.value.type_name());
    };
    let mut operations: Vec<(fn(i64, i64) -> i64, ValueBuf)> = Vec::new();
    for element in doc {
        let run: fn(i64, i64) -> i64 = match element.name() {
            "and" => |a, b| a & b,
            "or" => |a, b| a | b,
            "xor" => |a, b| a ^ b,
            other => bail!(BadValue, "The $bit modifier only supports 'and', 'or', and 'xor', not '{other}' which is an unknown operator: {{{other}: {}}}", element.value()),
        };
        if !matches!(element.value(), Value::Int32(_) | Value::Int64(_)) {
            bail!(BadValue, "The $bit modifier field must be an Integer(32/64 bit); a '{}' is not supported here: {{{}: {}}}", element.value().type_name(), element.name(), element.value());
        }
        operations.push((run, element.value().into()));
    }
    if operations.is_empty() {
        bail!(BadValue, "You must pass in at least one bitwise operation. The format is: {{$bit: {{field: {{and/or/xor: #}}}}");
    }
    Ok(Box::new(Bit(operations)))
}

/// The new name's half of `$rename`: the value the old name had. The number is that of the rename in the program.
pub(super) struct RenameTo(pub usize);

impl Modifier for RenameTo {
    fn apply<'x>(&'x self, _old: Value<'x>, at: &At<'x>) -> Result<New<'x>> {
        match at.renames.get(self.0) {
            Some(value) if !value.is_missing() => Ok(New::Put(*value)),
            _ => Ok(New::Keep),
        }
    }
    fn creates(&self, at: &At<'_>) -> bool {
        at.renames.get(self.0).is_some_and(|v| !v.is_missing())
    }
}

/// The old name's half of `$rename`.
pub(super) struct RenameFrom;

impl Modifier for RenameFrom {
    fn apply<'x>(&'x self, _old: Value<'x>, _at: &At<'x>) -> Result<New<'x>> {
        Ok(New::Remove)
    }
    fn creates(&self, _at: &At<'_>) -> bool {
        false
    }
}
