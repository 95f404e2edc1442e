//! Schemas from BSON, with MongoDB's refusals: 14 for a wrong type, 9 for a wrong value or keyword, 2 for an unknown type alias.

use std::collections::HashSet;

use smongo_bson::{Array, Doc, DocBuf, Result, Type, Value, ValueBuf, bail, keystring, number};

use super::super::{CompareOp, TypeSet};
use super::{Dependency, Rest, Rule, Schema, canonical};
use crate::regex::Regex;

type KeywordParse = fn(Doc<'_>, &'static str, Value<'_>) -> Result<Option<Rule>>;

/// Keywords in the order in which failed rules are reported; `None`: it is read together with another.
const KEYWORDS: &[(&str, KeywordParse)] = &[
    ("allOf", logical),
    ("anyOf", logical),
    ("oneOf", logical),
    ("not", not),
    ("enum", enumeration),
    ("maximum", bound),
    ("exclusiveMaximum", exclusive),
    ("minimum", bound),
    ("exclusiveMinimum", exclusive),
    ("maxLength", length),
    ("minLength", length),
    ("pattern", pattern),
    ("multipleOf", multiple_of),
    ("properties", properties),
    ("patternProperties", pattern_properties),
    ("additionalProperties", additional_properties),
    ("required", required),
    ("minProperties", property_count),
    ("maxProperties", property_count),
    ("dependencies", dependencies),
    ("minItems", item_count),
    ("maxItems", item_count),
    ("uniqueItems", unique_items),
    ("items", items),
    ("additionalItems", additional_items),
    ("title", text),
    ("description", text),
    ("bsonType", types),
    ("type", types),
];

/// Keywords of draft 4 that MongoDB does not support.
const UNSUPPORTED: &[&str] = &["$ref", "$schema", "default", "definitions", "format", "id"];

pub(super) fn schema(source: Doc<'_>) -> Result<Schema> {
    for e in source {
        let name = e.name();
        if UNSUPPORTED.contains(&name) {
            bail!(FailedToParse, "$jsonSchema keyword '{name}' is not currently supported");
        }
        if !KEYWORDS.iter().any(|(k, _)| *k == name) {
            bail!(FailedToParse, "Unknown $jsonSchema keyword: {name}");
        }
        if source.iter().filter(|other| other.name() == name).count() > 1 {
            bail!(FailedToParse, "Duplicate $jsonSchema keyword: {name}");
        }
    }
    if source.contains("type") && source.contains("bsonType") {
        bail!(FailedToParse, "Cannot specify both $jsonSchema keywords 'type' and 'bsonType'");
    }
    let mut rules = Vec::new();
    for (keyword, parse) in KEYWORDS {
        match source.get(keyword) {
            Value::Missing => {}
            value => rules.extend(parse(source, keyword, value)?),
        }
    }
    // The type is cheapest to test, so it goes first.
    rules.sort_by_key(|r| !matches!(r, Rule::Type { .. }));
    Ok(Schema { rules, source: DocBuf::from(source) })
}

fn document<'a>(keyword: &str, value: Value<'a>) -> Result<Doc<'a>> {
    match value {
        Value::Document(d) => Ok(d),
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be an object"),
    }
}

fn array<'a>(keyword: &str, value: Value<'a>) -> Result<Array<'a>> {
    match value {
        Value::Array(a) => Ok(a),
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be an array, but found an element of type {}", value.type_name()),
    }
}

fn boolean(keyword: &str, value: Value<'_>) -> Result<bool> {
    match value {
        Value::Bool(b) => Ok(b),
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be a boolean"),
    }
}

fn string<'a>(keyword: &str, value: Value<'a>) -> Result<&'a str> {
    match value {
        Value::String(s) => Ok(s),
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be a string"),
    }
}

fn count(keyword: &str, value: Value<'_>) -> Result<i64> {
    let n = if value.is_number() { number::to_i64_exact(value) } else { None };
    match n {
        Some(n) if n >= 0 => Ok(n),
        _ => bail!(FailedToParse, "$jsonSchema keyword '{keyword}' must be a non-negative integer"),
    }
}

/// Distinct strings, at least one.
fn names(keyword: &str, value: Value<'_>) -> Result<Vec<String>> {
    let mut list: Vec<String> = Vec::new();
    for v in array(keyword, value)?.iter() {
        let Value::String(name) = v else {
            bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be an array of strings, but found an element of type {}", v.type_name());
        };
        if list.iter().any(|n| n == name) {
            bail!(FailedToParse, "$jsonSchema keyword '{keyword}' array cannot contain duplicate values");
        }
        list.push(name.to_owned());
    }
    if list.is_empty() {
        bail!(FailedToParse, "$jsonSchema keyword '{keyword}' cannot be an empty array");
    }
    Ok(list)
}

fn schemas(keyword: &str, value: Value<'_>) -> Result<Vec<Schema>> {
    array(keyword, value)?
        .iter()
        .map(|v| match v {
            Value::Document(d) => schema(d),
            _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be an array of objects, but found an element of type {}", v.type_name()),
        })
        .collect()
}

fn text(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    string(keyword, value)?;
    Ok(None)
}

fn logical(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let list = schemas(keyword, value)?;
    if list.is_empty() {
        bail!(BadValue, "$jsonSchema keyword '{keyword}' must be a non-empty array");
    }
    Ok(Some(match keyword {
        "allOf" => Rule::AllOf(list),
        "anyOf" => Rule::AnyOf(list),
        _ => Rule::OneOf(list),
    }))
}

fn not(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(Some(Rule::Not(Box::new(schema(document(keyword, value)?)?))))
}

fn enumeration(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let (mut values, mut known): (Vec<ValueBuf>, HashSet<Vec<u8>>) = Default::default();
    for v in array(keyword, value)?.iter() {
        let v = canonical(v);
        if !known.insert(keystring::encode(v.view(), false)) {
            bail!(FailedToParse, "$jsonSchema keyword 'enum' array cannot contain duplicate values.");
        }
        values.push(v);
    }
    if values.is_empty() {
        bail!(FailedToParse, "$jsonSchema keyword 'enum' cannot be an empty array");
    }
    Ok(Some(Rule::Enum(values)))
}

fn bound(source: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    if !value.is_number() {
        bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be a number");
    }
    let strict = |name: &str| match source.get(name) {
        Value::Missing => Ok(false),
        v => boolean(name, v),
    };
    let op = match keyword {
        "minimum" if strict("exclusiveMinimum")? => CompareOp::Gt,
        "minimum" => CompareOp::Gte,
        _ if strict("exclusiveMaximum")? => CompareOp::Lt,
        _ => CompareOp::Lte,
    };
    Ok(Some(Rule::Bound { keyword, op, bound: ValueBuf::new(value) }))
}

fn exclusive(source: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    boolean(keyword, value)?;
    let partner = if keyword == "exclusiveMinimum" { "minimum" } else { "maximum" };
    if !source.contains(partner) {
        bail!(FailedToParse, "$jsonSchema keyword '{partner}' must be a present if {keyword} is present");
    }
    Ok(None)
}

fn length(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(Some(Rule::Length { keyword, least: keyword == "minLength", count: count(keyword, value)? }))
}

fn pattern(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(Some(Rule::Pattern(Regex::new(string(keyword, value)?, "")?)))
}

fn multiple_of(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let Some(factor) = number::to_decimal(value).filter(|_| value.is_number()) else {
        bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be a number");
    };
    if factor.is_zero() || factor.is_negative() || factor.is_nan() {
        bail!(FailedToParse, "$jsonSchema keyword '{keyword}' must have a positive value");
    }
    Ok(Some(Rule::MultipleOf(factor)))
}

fn properties(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let mut list = Vec::new();
    for e in document(keyword, value)? {
        let Value::Document(d) = e.value() else {
            bail!(TypeMismatch, "Nested schema for $jsonSchema property '{}' must be an object", e.name());
        };
        list.push((e.name().to_owned(), schema(d)?));
    }
    Ok(Some(Rule::Properties(list)))
}

fn property_regex(name: &str) -> Result<Regex> {
    match Regex::new(name, "") {
        Ok(regex) => Ok(regex),
        Err(e) => bail!(BadValue, "Invalid regular expression in $jsonSchema keyword 'patternProperties': {}", e.message()),
    }
}

fn pattern_properties(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let mut list = Vec::new();
    for e in document(keyword, value)? {
        let Value::Document(d) = e.value() else {
            bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' has property '{}' which is not an object", e.name());
        };
        list.push((property_regex(e.name())?, schema(d)?));
    }
    Ok(Some(Rule::PatternProperties(list)))
}

fn rest(keyword: &str, value: Value<'_>) -> Result<Rest> {
    match value {
        Value::Bool(true) => Ok(Rest::Allowed),
        Value::Bool(false) => Ok(Rest::Forbidden),
        Value::Document(d) => Ok(Rest::Schema(Box::new(schema(d)?))),
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be either an object or a boolean, but got an element of type {}", value.type_name()),
    }
}

fn additional_properties(source: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let field_names = |keyword: &str| source.get(keyword).as_doc().unwrap_or(Doc::EMPTY).iter().map(|e| e.name().to_owned()).collect::<Vec<_>>();
    let patterns = field_names("patternProperties").iter().map(|n| property_regex(n)).collect::<Result<Vec<_>>>()?;
    Ok(Some(Rule::AdditionalProperties { known: field_names("properties"), patterns, rest: rest(keyword, value)? }))
}

fn required(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(Some(Rule::Required(names(keyword, value)?)))
}

fn property_count(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(Some(Rule::PropertyCount { keyword, least: keyword == "minProperties", count: count(keyword, value)? }))
}

fn dependencies(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let mut list = Vec::new();
    for e in document(keyword, value)? {
        let dependency = match e.value() {
            Value::Document(d) => Dependency::Schema(schema(d)?),
            v @ Value::Array(_) => Dependency::Properties(names(keyword, v)?),
            v => bail!(TypeMismatch, "Dependency '{}' must be either an object or an array, but got an element of type {}", e.name(), v.type_name()),
        };
        list.push((e.name().to_owned(), dependency));
    }
    Ok(Some(Rule::Dependencies(list)))
}

fn item_count(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(Some(Rule::ItemCount { keyword, least: keyword == "minItems", count: count(keyword, value)? }))
}

fn unique_items(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    Ok(boolean(keyword, value)?.then_some(Rule::UniqueItems))
}

fn items(source: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    match value {
        Value::Document(d) => Ok(Some(Rule::Items(Box::new(schema(d)?)))),
        Value::Array(_) => {
            let rest = match source.get("additionalItems") {
                Value::Missing => Rest::Allowed,
                v => rest("additionalItems", v)?,
            };
            Ok(Some(Rule::Tuple { schemas: schemas(keyword, value)?, rest }))
        }
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be an array or an object, not {}", value.type_name()),
    }
}

/// Means something beside an array of `items` only, where it is read.
fn additional_items(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    rest(keyword, value)?;
    Ok(None)
}

fn types(_: Doc<'_>, keyword: &'static str, value: Value<'_>) -> Result<Option<Rule>> {
    let mut set = TypeSet::default();
    match value {
        Value::String(name) => set = alias(keyword, name)?,
        Value::Array(list) => {
            for v in list.iter() {
                let Value::String(name) = v else {
                    bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' array elements must be strings");
                };
                let one = alias(keyword, name)?;
                if set.0 & one.0 == one.0 {
                    bail!(FailedToParse, "$jsonSchema keyword '{keyword}' has duplicate value: {name}");
                }
                set.0 |= one.0;
            }
        }
        _ => bail!(TypeMismatch, "$jsonSchema keyword '{keyword}' must be either a string or an array of strings"),
    }
    if set.0 == 0 {
        bail!(FailedToParse, "$jsonSchema keyword '{keyword}' must name at least one type");
    }
    Ok(Some(Rule::Type { keyword, types: set }))
}

/// `bsonType` knows the aliases of `$type`, `type` those of JSON.
fn alias(keyword: &str, name: &str) -> Result<TypeSet> {
    if name == "integer" {
        bail!(FailedToParse, "$jsonSchema type 'integer' is not currently supported.");
    }
    let json = match name {
        "array" => Some(Type::Array),
        "boolean" => Some(Type::Bool),
        "null" => Some(Type::Null),
        "object" => Some(Type::Document),
        "string" => Some(Type::String),
        _ => None,
    };
    let found = if keyword == "type" { json } else { Type::from_name(name) };
    match found {
        _ if name == "number" => Ok(TypeSet::NUMBER),
        Some(t) => Ok(TypeSet::of(t as u8)),
        None => bail!(BadValue, "Unknown type name alias: {name}"),
    }
}
