//! `$jsonSchema`: draft 4 of JSON Schema with MongoDB's `bsonType`.

mod explain;
mod parse;

use std::cmp::Ordering;

use smongo_bson::compare::compare;
use smongo_bson::{Array, Decimal, Doc, DocBuf, Result, Value, ValueBuf, number};

use super::{CompareOp, Predicate, TypeSet};
use crate::arena::Arena;
use crate::regex::Regex;

/// A compiled schema. The source stays for what failed validations report.
pub(super) struct Schema {
    rules: Vec<Rule>,
    source: DocBuf,
}

/// One rule of a schema. Rules about one kind of value hold for every other kind.
enum Rule {
    Type { keyword: &'static str, types: TypeSet },
    AllOf(Vec<Schema>),
    AnyOf(Vec<Schema>),
    OneOf(Vec<Schema>),
    Not(Box<Schema>),
    Enum(Vec<ValueBuf>),
    Bound { keyword: &'static str, op: CompareOp, bound: ValueBuf },
    MultipleOf(Decimal),
    Length { keyword: &'static str, least: bool, count: i64 },
    Pattern(Regex),
    ItemCount { keyword: &'static str, least: bool, count: i64 },
    UniqueItems,
    /// One schema for all items.
    Items(Box<Schema>),
    /// A schema for each position, and what comes behind them.
    Tuple { schemas: Vec<Schema>, rest: Rest },
    Properties(Vec<(String, Schema)>),
    PatternProperties(Vec<(Regex, Schema)>),
    /// Fields that neither `properties` nor `patternProperties` speak of.
    AdditionalProperties { known: Vec<String>, patterns: Vec<Regex>, rest: Rest },
    Required(Vec<String>),
    PropertyCount { keyword: &'static str, least: bool, count: i64 },
    Dependencies(Vec<(String, Dependency)>),
}

enum Rest {
    Allowed,
    Forbidden,
    Schema(Box<Schema>),
}

enum Dependency {
    Properties(Vec<String>),
    Schema(Schema),
}

impl Schema {
    /// Parses a schema; see `parse` for the errors.
    pub fn compile(source: Doc<'_>) -> Result<Schema> {
        parse::schema(source)
    }

    /// Whether the value satisfies every rule. Regular expressions that give up do not match.
    fn accepts(&self, value: Value<'_>) -> bool {
        self.rules.iter().all(|rule| rule.accepts(value))
    }

    fn accepts_doc(&self, doc: Doc<'_>) -> bool {
        self.accepts(Value::Document(doc))
    }
}

impl Predicate for Schema {
    fn matches(&self, doc: Doc<'_>, _: &Arena) -> Result<bool> {
        Ok(self.accepts_doc(doc))
    }
}

impl Rule {
    fn accepts(&self, value: Value<'_>) -> bool {
        match self {
            Rule::Type { types, .. } => types.contains(value.type_of() as u8),
            Rule::AllOf(schemas) => schemas.iter().all(|s| s.accepts(value)),
            Rule::AnyOf(schemas) => schemas.iter().any(|s| s.accepts(value)),
            Rule::OneOf(schemas) => schemas.iter().filter(|s| s.accepts(value)).count() == 1,
            Rule::Not(schema) => !schema.accepts(value),
            Rule::Enum(values) => {
                let value = canonical(value);
                values.iter().any(|v| compare(v.view(), value.view()).is_eq())
            }
            Rule::Bound { op, bound, .. } => !value.is_number() || within(value, *op, bound.view()),
            Rule::MultipleOf(factor) => match number::to_decimal(value) {
                Some(d) => !d.is_nan() && !d.is_infinite() && d.rem(*factor).is_zero(),
                None => true,
            },
            Rule::Length { least, count, .. } => value.as_str().is_none_or(|s| satisfies(s.chars().count(), *least, *count)),
            Rule::Pattern(regex) => value.as_str().is_none_or(|s| regex.is_match(s).unwrap_or(false)),
            Rule::ItemCount { least, count, .. } => value.as_array().is_none_or(|a| satisfies(a.len(), *least, *count)),
            Rule::UniqueItems => value.as_array().is_none_or(|a| duplicate(a).is_none()),
            Rule::Items(schema) => value.as_array().is_none_or(|a| a.iter().all(|v| schema.accepts(v))),
            Rule::Tuple { schemas, rest } => value.as_array().is_none_or(|a| {
                a.iter().zip(schemas).all(|(v, s)| s.accepts(v)) && a.iter().skip(schemas.len()).all(|v| rest.accepts(v))
            }),
            _ => value.as_doc().is_none_or(|d| self.accepts_doc(d)),
        }
    }

    /// Rules about documents.
    fn accepts_doc(&self, doc: Doc<'_>) -> bool {
        match self {
            Rule::Properties(schemas) => schemas.iter().all(|(name, s)| match doc.get(name) {
                Value::Missing => true,
                v => s.accepts(v),
            }),
            Rule::PatternProperties(schemas) => doc.iter().all(|e| {
                schemas.iter().all(|(regex, s)| !regex.is_match(e.name()).unwrap_or(false) || s.accepts(e.value()))
            }),
            Rule::AdditionalProperties { known, patterns, rest } => {
                doc.iter().filter(|e| is_additional(e.name(), known, patterns)).all(|e| rest.accepts(e.value()))
            }
            Rule::Required(names) => names.iter().all(|name| doc.contains(name)),
            Rule::PropertyCount { least, count, .. } => satisfies(doc.len(), *least, *count),
            Rule::Dependencies(list) => list.iter().all(|(name, dependency)| !doc.contains(name) || dependency.accepts(doc)),
            _ => true,
        }
    }
}

impl Rest {
    fn accepts(&self, value: Value<'_>) -> bool {
        match self {
            Rest::Allowed => true,
            Rest::Forbidden => false,
            Rest::Schema(schema) => schema.accepts(value),
        }
    }
}

impl Dependency {
    fn accepts(&self, doc: Doc<'_>) -> bool {
        match self {
            Dependency::Properties(names) => names.iter().all(|name| doc.contains(name)),
            Dependency::Schema(schema) => schema.accepts_doc(doc),
        }
    }
}

fn is_additional(name: &str, known: &[String], patterns: &[Regex]) -> bool {
    !known.iter().any(|k| k == name) && !patterns.iter().any(|p| p.is_match(name).unwrap_or(false))
}

fn satisfies(actual: usize, least: bool, count: i64) -> bool {
    let actual = i64::try_from(actual).unwrap_or(i64::MAX);
    if least { actual >= count } else { actual <= count }
}

/// NaN lies within no bound but NaN.
fn within(value: Value<'_>, op: CompareOp, bound: Value<'_>) -> bool {
    if number::is_nan(value) || number::is_nan(bound) {
        return number::is_nan(value) && number::is_nan(bound) && matches!(op, CompareOp::Gte | CompareOp::Lte);
    }
    let order = number::compare(value, bound);
    match op {
        CompareOp::Gt => order.is_gt(),
        CompareOp::Gte => order.is_ge(),
        CompareOp::Lt => order.is_lt(),
        _ => order.is_le(),
    }
}

/// The value with the fields of its documents sorted by name: in schemas their order means nothing.
fn canonical(value: Value<'_>) -> ValueBuf {
    match value {
        Value::Document(d) => {
            let mut fields: Vec<_> = d.iter().collect();
            fields.sort_by(|a, b| a.name().cmp(b.name()));
            ValueBuf::document(DocBuf::build(|w| {
                for e in fields {
                    w.append(e.name(), canonical(e.value()).view());
                }
            }))
        }
        Value::Array(a) => ValueBuf::array(|w| {
            for v in a.iter() {
                w.push(canonical(v).view());
            }
        }),
        v => ValueBuf::new(v),
    }
}

/// An item that occurs twice.
fn duplicate(array: Array<'_>) -> Option<ValueBuf> {
    let mut items: Vec<ValueBuf> = array.iter().map(canonical).collect();
    items.sort_by(|a, b| compare(a.view(), b.view()));
    let pair = items.windows(2).find(|w| matches!(w, [a, b] if compare(a.view(), b.view()) == Ordering::Equal));
    pair.and_then(|w| w.first()).cloned()
}
