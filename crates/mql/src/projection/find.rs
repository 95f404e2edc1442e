//! What only find's projections know: `$slice` and `$elemMatch`.

use smongo_bson::{Array, ArrayWriter, Doc, DocBuf, Result, Value, bail, number};

use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::matcher::Matcher;

/// `$slice`: a number of elements from the front or (negative) the back, or a number to skip and one to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    skip: i64,
    take: Option<i64>,
}

impl Slice {
    /// `None` when the argument has not the form of find's operator; then it is the expression of that name.
    pub fn parse(arg: Value<'_>) -> Option<Slice> {
        match arg {
            Value::Array(pair) => {
                let mut numbers = pair.iter().map(number::to_i64_saturating);
                let (skip, take, None) = (numbers.next()??, numbers.next()??, numbers.next()) else { return None };
                (take > 0).then_some(Slice { skip, take: Some(take) })
            }
            _ => match number::to_i64_saturating(arg)? {
                n if n < 0 => Some(Slice { skip: n, take: None }),
                n => Some(Slice { skip: 0, take: Some(n) }),
            },
        }
    }

    pub fn write(&self, array: Array<'_>, w: &mut ArrayWriter<'_>) {
        let size = |n: i64| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let skip = if self.skip < 0 { array.len().saturating_sub(size(self.skip)) } else { size(self.skip) };
        for element in array.elements().skip(skip).take(self.take.map_or(usize::MAX, size)) {
            w.push_element(&element);
        }
    }
}

/// `$elemMatch`: the first element of an array that a condition selects.
pub(super) struct ElemMatch {
    field: Box<str>,
    filter: Matcher,
}

impl ElemMatch {
    pub fn compile(field: &str, condition: Value<'_>, cx: &CompileCx) -> Result<ElemMatch> {
        let Value::Document(condition) = condition else {
            bail!(31274, "elemMatch: Invalid argument, object required, but got {}", condition.type_name());
        };
        if field.contains('.') {
            bail!(31275, "Cannot use $elemMatch projection on a nested field");
        }
        check_condition(condition)?;
        let filter = DocBuf::build(|w| {
            w.document(field).append("$elemMatch", condition);
        });
        Ok(ElemMatch { field: field.into(), filter: Matcher::compile(filter.as_doc(), cx)? })
    }

    /// An array of the one element, or `Missing`.
    pub fn eval<'a>(&self, doc: Doc<'a>, arena: &'a Arena) -> Result<Value<'a>> {
        let Value::Array(array) = doc.get(&self.field) else { return Ok(Value::Missing) };
        let Some(position) = self.filter.matches_with_position(doc, arena)?.flatten() else { return Ok(Value::Missing) };
        let element = array.get(usize::try_from(position).unwrap_or(usize::MAX));
        Ok(Value::Array(arena.array_of([element])))
    }
}

/// Refuses what conditions on array elements cannot use, here and in array filters of updates.
pub(crate) fn check_condition(condition: Doc<'_>) -> Result<()> {
    for element in condition {
        match element.name() {
            "$near" | "$nearSphere" | "$geoNear" => {
                bail!(5626500, "$geoNear, $near, and $nearSphere are not allowed in this context")
            }
            "$jsonSchema" => bail!(QueryFeatureNotAllowed, "$jsonSchema is not allowed in this context"),
            name @ ("$sampleRate" | "$text" | "$where") => bail!(BadValue, "{name} is not allowed in this context"),
            _ => {}
        }
        match element.value() {
            Value::Document(inner) | Value::Array(Array(inner)) => check_condition(inner)?,
            _ => {}
        }
    }
    Ok(())
}
