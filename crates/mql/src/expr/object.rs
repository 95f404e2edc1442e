//! `$getField $setField $unsetField $mergeObjects $objectToArray $arrayToObject`.

use smongo_bson::{Result, Value, bail};

use super::node::{Args, Node};
use super::parse::{Fields, Row, Scope};
use crate::cx::Cx;
use crate::fields::NamedFields;

pub(super) static ROWS: &[Row] = &[
    Row::exact("$arrayToObject", 1, array_to_object),
    Row::special("$getField", parse_get_field, get_field),
    Row::any("$mergeObjects", merge_objects),
    Row::exact("$objectToArray", 1, object_to_array),
    Row::special("$setField", parse_set_field, set_field),
    Row::special("$unsetField", parse_set_field, set_field),
];

fn build<'a>(cx: &Cx<'a>, fields: &NamedFields<&'a str, Value<'a>>) -> Value<'a> {
    Value::Document(cx.arena.doc(|w| {
        for (name, value) in fields.iter() {
            w.append(name, *value);
        }
    }))
}

fn merge_objects<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut fields = NamedFields::default();
    // A single argument may be an array of objects.
    let single = match args.as_ref() {
        [one] => match one.eval(cx)? {
            Value::Array(a) => Some(a),
            v => {
                merge_into(&mut fields, v)?;
                return Ok(build(cx, &fields));
            }
        },
        _ => None,
    };
    match single {
        Some(array) => array.iter().try_for_each(|v| merge_into(&mut fields, v))?,
        None => args.iter().try_for_each(|n| merge_into(&mut fields, n.eval(cx)?))?,
    }
    Ok(build(cx, &fields))
}

fn merge_into<'a>(fields: &mut NamedFields<&'a str, Value<'a>>, value: Value<'a>) -> Result<()> {
    match value {
        Value::Document(d) => {
            for e in d {
                fields.put(e.name(), e.value());
            }
        }
        v if v.is_nullish() => {}
        v => bail!(40400, "$mergeObjects requires object inputs, but input {v:?} is of type {}", v.type_name()),
    }
    Ok(())
}

fn object_to_array<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let doc = match args.eval(0, cx)? {
        Value::Document(d) => d,
        v if v.is_nullish() => return Ok(Value::Null),
        v => bail!(40390, "$objectToArray requires a document input, found: {}", v.type_name()),
    };
    Ok(Value::Array(cx.arena.array(|w| {
        for e in doc {
            w.document().append("k", e.name()).append("v", e.value());
        }
    })))
}

fn array_to_object<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let array = match args.eval(0, cx)? {
        Value::Array(a) => a,
        v if v.is_nullish() => return Ok(Value::Null),
        v => bail!(40386, "$arrayToObject requires an array input, found: {}", v.type_name()),
    };
    let mut fields = NamedFields::default();
    let by_pair = match array.iter().next() {
        None => return Ok(build(cx, &fields)),
        Some(Value::Array(_)) => true,
        Some(Value::Document(_)) => false,
        Some(v) => bail!(40398, "Unrecognised input type format for $arrayToObject: {}", v.type_name()),
    };
    for item in array.iter() {
        let (name, value) = if by_pair { pair(item)? } else { key_value(item)? };
        fields.put(name, value);
    }
    Ok(build(cx, &fields))
}

fn pair(item: Value<'_>) -> Result<(&str, Value<'_>)> {
    let Value::Array(a) = item else {
        bail!(40396, "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. Array was detected, now found: {}", item.type_name());
    };
    if a.len() != 2 {
        bail!(40397, "$arrayToObject requires an array of size 2 arrays,found array of size: {}", a.len());
    }
    let Value::String(name) = a.get(0) else {
        bail!(40395, "$arrayToObject requires an array of key-value pairs, where the key must be of type string. Found key type: {}", a.get(0).type_name());
    };
    if name.contains('\0') {
        bail!(4940400, "Key field cannot contain an embedded null byte");
    }
    Ok((name, a.get(1)))
}

fn key_value(item: Value<'_>) -> Result<(&str, Value<'_>)> {
    let Value::Document(d) = item else {
        bail!(40391, "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. Object was detected, now found: {}", item.type_name());
    };
    if d.len() != 2 {
        bail!(40392, "$arrayToObject requires an object keys of 'k' and 'v'. Found incorrect number of keys:{}", d.len());
    }
    if !d.contains("k") || !d.contains("v") {
        bail!(40393, "$arrayToObject requires an object with keys 'k' and 'v'. Missing either or both keys from: {d:?}");
    }
    let Value::String(name) = d.get("k") else {
        bail!(40394, "$arrayToObject requires an object with keys 'k' and 'v', where the value of 'k' must be of type string. Found type: {}", d.get("k").type_name());
    };
    if name.contains('\0') {
        bail!(4940401, "Key field cannot contain an embedded null byte");
    }
    Ok((name, d.get("v")))
}

/// `{$getField: "name"}` reads the document itself.
fn parse_get_field(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let (mut field, mut input) = (None, None);
    match spec {
        Value::Document(doc) if !doc.first().is_some_and(|e| e.name().starts_with('$')) => {
            for e in doc {
                match e.name() {
                    "field" => field = Some(scope.operand(e.value())?),
                    "input" => input = Some(scope.operand(e.value())?),
                    other => bail!(3041701, "$getField found an unknown argument: {other}"),
                }
            }
            if field.is_none() {
                bail!(3041702, "$getField requires 'field' to be specified");
            }
            if input.is_none() {
                bail!(3041703, "$getField requires 'input' to be specified");
            }
        }
        v => {
            field = Some(scope.operand(v)?);
            input = Some(scope.operand(Value::String("$$CURRENT"))?);
        }
    }
    let field = field.unwrap_or_else(Node::absent);
    Ok(scope.call(row, vec![field, input.unwrap_or_else(Node::absent)]))
}

fn get_field<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let field = args.eval(0, cx)?;
    let Value::String(name) = field else {
        bail!(3041704, "$getField requires 'field' to evaluate to type String, but got {}", field.type_name());
    };
    Ok(match args.eval(1, cx)? {
        Value::Document(d) => d.get(name),
        v if v.is_nullish() && !v.is_missing() => Value::Null,
        _ => Value::Missing,
    })
}

fn parse_set_field(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    const SET: Fields =
        Fields { not_object: 4161100, unknown: 4161101, names: &[("field", 4161102), ("value", 4161103), ("input", 4161109)] };
    const UNSET: Fields = Fields { not_object: 4161100, unknown: 4161101, names: &[("field", 4161102), ("input", 4161109)] };
    let set = row.name == "$setField";
    let found = (if set { &SET } else { &UNSET }).read(row.name, spec)?;
    let field = found.first().copied().flatten().unwrap_or(Value::Missing);
    let mut node = scope.operand(field)?;
    let value = if set { scope.optional(found.get(1).copied().flatten())? } else { Node::absent() };
    let input = scope.optional(found.last().copied().flatten())?;
    if matches!(&node, Node::Object(fields) if fields.is_empty()) {
        node = Node::constant(field);
    }
    match (node.as_const(), field) {
        (Some(Value::String(s)), _) if s.contains('\0') => {
            bail!(9534700, "{}: 'field' must not contain an embedded null byte", row.name)
        }
        (Some(Value::String(_)), _) => {}
        (Some(v), _) => bail!(4161107, "{} requires 'field' to evaluate to type String, but got {}", row.name, v.type_name()),
        (None, Value::String(_)) => bail!(
            4161108,
            "{} requires 'field' to evaluate to a constant, but got a field path reference. Use $literal for names that begin with '$'.",
            row.name
        ),
        _ => bail!(4161106, "{} requires 'field' to evaluate to a constant, but got a non-constant argument", row.name),
    }
    Ok(scope.call(row, vec![node, value, input]))
}

fn set_field<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let name = args.eval(0, cx)?.as_str().unwrap_or_default();
    let value = args.eval(1, cx)?;
    let doc = match args.eval(2, cx)? {
        Value::Document(d) => d,
        v if v.is_nullish() => return Ok(Value::Null),
        v => bail!(4161105, "{} requires 'input' to evaluate to type Object, but got {}", args.name, v.type_name()),
    };
    let mut seen = false;
    Ok(Value::Document(cx.arena.doc(|w| {
        for e in doc {
            if e.name() == name {
                seen = true;
                w.append(name, value);
            } else {
                w.append_element(&e);
            }
        }
        if !seen {
            w.append(name, value);
        }
    })))
}

