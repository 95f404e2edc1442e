//! Strings. [`regex`]: `$regexFind` and its kin. [`substr`]: substrings and positions.

mod regex;
mod substr;

use std::cmp::Ordering;

use smongo_bson::{Result, Value, bail};

use super::node::Args;
use super::parse::{Fields, Row};
use super::text::{check_length, coerce, string};
use crate::cx::Cx;

pub(super) use regex::ROWS as REGEX_ROWS;
pub(super) use substr::ROWS as SUBSTR_ROWS;

const TRIM: Fields = Fields { not_object: 50696, unknown: 50694, names: &[("input", 50695), ("chars", 0)] };
const REPLACE: Fields =
    Fields { not_object: 51751, unknown: 51750, names: &[("input", 51749), ("find", 51748), ("replacement", 51747)] };

pub(super) static ROWS: &[Row] = &[
    Row::any("$concat", concat),
    Row::fields("$ltrim", &TRIM, |args, cx| trim(args, cx, true, false)),
    Row::fields("$replaceAll", &REPLACE, |args, cx| replace(args, cx, usize::MAX)),
    Row::fields("$replaceOne", &REPLACE, |args, cx| replace(args, cx, 1)),
    Row::fields("$rtrim", &TRIM, |args, cx| trim(args, cx, false, true)),
    Row::exact("$split", 2, split),
    Row::exact("$strLenBytes", 1, |args, cx| length(args, cx, 34473, str::len)),
    Row::exact("$strLenCP", 1, |args, cx| length(args, cx, 34471, |s| s.chars().count())),
    Row::exact("$strcasecmp", 2, strcasecmp),
    Row::exact("$toLower", 1, |args, cx| case(args, cx, str::to_ascii_lowercase)),
    Row::exact("$toUpper", 1, |args, cx| case(args, cx, str::to_ascii_uppercase)),
    Row::fields("$trim", &TRIM, |args, cx| trim(args, cx, true, true)),
];

fn concat<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let mut joined = String::new();
    for node in args.iter() {
        match node.eval(cx)? {
            Value::String(s) | Value::Symbol(s) => {
                joined.push_str(s);
                check_length(joined.len())?;
            }
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(16702, "$concat only supports strings, not {}", v.type_name()),
        }
    }
    string(cx, &joined)
}

/// What `$trim` takes for white space without `chars`.
fn is_space(c: char) -> bool {
    matches!(c, '\0' | '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}')
}

fn trim<'a>(args: &'a Args, cx: &Cx<'a>, left: bool, right: bool) -> Result<Value<'a>> {
    let input = args.eval(0, cx)?;
    if input.is_nullish() {
        return Ok(Value::Null);
    }
    let Value::String(input) = input else {
        bail!(50699, "{} requires its input to be a string, got {input:?} (of type {}) instead.", args.name, input.type_name());
    };
    let chars = match args.given(1) {
        false => None,
        true => match args.eval(1, cx)? {
            Value::String(s) => Some(s),
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(50700, "{} requires 'chars' to be a string, got {v:?} (of type {}) instead.", args.name, v.type_name()),
        },
    };
    let cut = |c: char| chars.map_or_else(|| is_space(c), |set| set.contains(c));
    let input = if left { input.trim_start_matches(cut) } else { input };
    Ok(Value::String(if right { input.trim_end_matches(cut) } else { input }))
}

fn replace<'a>(args: &'a Args, cx: &Cx<'a>, count: usize) -> Result<Value<'a>> {
    let text = |i: usize, code: i32, what: &str| -> Result<Option<&'a str>> {
        match args.eval(i, cx)? {
            Value::String(s) => Ok(Some(s)),
            v if v.is_nullish() => Ok(None),
            v => {
                let message = format!("{} requires that '{what}' be a string, found: {v:?}", args.name);
                Err(smongo_bson::Error::new(smongo_bson::Code(code), message))
            }
        }
    };
    let input = text(0, 10503904, "input")?;
    let find = text(1, 10503901, "find")?;
    let replacement = text(2, 10503902, "replacement")?;
    let (Some(input), Some(find), Some(replacement)) = (input, find, replacement) else { return Ok(Value::Null) };
    let mut made = String::with_capacity(input.len());
    let mut rest = 0;
    for (at, found) in input.match_indices(find).take(count) {
        made.push_str(input.get(rest..at).unwrap_or_default());
        made.push_str(replacement);
        check_length(made.len())?;
        rest = at + found.len();
    }
    made.push_str(input.get(rest..).unwrap_or_default());
    string(cx, &made)
}

fn split<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let (input, delimiter) = (args.eval(0, cx)?, args.eval(1, cx)?);
    if input.is_nullish() || delimiter.is_nullish() {
        return Ok(Value::Null);
    }
    let Value::String(input) = input else {
        bail!(40085, "$split requires an expression that evaluates to a string as a first argument, found: {}", input.type_name());
    };
    let Value::String(delimiter) = delimiter else {
        bail!(10503900, "$split requires an expression that evaluates to a string as a second argument, found: {}", delimiter.type_name());
    };
    if delimiter.is_empty() {
        bail!(40087, "$split requires a non-empty separator");
    }
    Ok(Value::Array(cx.arena.array(|w| {
        for part in input.split(delimiter) {
            w.push(part);
        }
    })))
}

fn length<'a>(args: &'a Args, cx: &Cx<'a>, code: i32, count: fn(&str) -> usize) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        Value::String(s) => Ok(Value::Int32(count(s) as i32)),
        v => {
            let message = format!("{} requires a string argument, found: {}", args.name, v.type_name());
            Err(smongo_bson::Error::new(smongo_bson::Code(code), message))
        }
    }
}

/// Only ASCII letters have a case here.
fn strcasecmp<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    let a = coerce(args.eval(0, cx)?, cx)?;
    let b = coerce(args.eval(1, cx)?, cx)?;
    let order = a.bytes().map(|c| c.to_ascii_uppercase()).cmp(b.bytes().map(|c| c.to_ascii_uppercase()));
    Ok(Value::Int32(match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

fn case<'a>(args: &'a Args, cx: &Cx<'a>, change: fn(&str) -> String) -> Result<Value<'a>> {
    let text = coerce(args.eval(0, cx)?, cx)?;
    string(cx, &change(text))
}
