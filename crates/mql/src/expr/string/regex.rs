//! `$regexFind $regexFindAll $regexMatch`.

use std::sync::Arc;

use smongo_bson::{Doc, Result, Value, bail};

use crate::arena::Arena;
use crate::cx::Cx;
use crate::expr::node::{Node, Op};
use crate::expr::parse::{Fields, Row, Scope, nothing};
use crate::regex::{Captures, Regex};

const FIELDS: Fields =
    Fields { not_object: 51103, unknown: 31024, names: &[("input", 31022), ("regex", 31023), ("options", 0)] };

pub(crate) static ROWS: &[Row] = &[
    Row::special("$regexFind", |row, spec, scope| parse(row, spec, scope, Mode::Find), nothing),
    Row::special("$regexFindAll", |row, spec, scope| parse(row, spec, scope, Mode::FindAll), nothing),
    Row::special("$regexMatch", |row, spec, scope| parse(row, spec, scope, Mode::Match), nothing),
];

/// Longest pattern in bytes: shorter than what queries allow.
const MAX_PATTERN: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Find,
    FindAll,
    Match,
}

struct Search {
    name: &'static str,
    mode: Mode,
    input: Node,
    regex: Node,
    options: Node,
    /// Compiled once when pattern and options are constants.
    fixed: Option<Arc<Regex>>,
}

fn parse(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>, mode: Mode) -> Result<Node> {
    let mut found = FIELDS.read(row.name, spec)?.into_iter();
    let mut next = || found.next().flatten();
    let (input, regex, options) = (scope.optional(next())?, scope.optional(next())?, scope.optional(next())?);
    Ok(scope.op(Search { name: row.name, mode, input, regex, options, fixed: None }))
}

impl Op for Search {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let input = self.input.eval(cx)?;
        let compiled = match &self.fixed {
            Some(regex) => Some(regex.clone()),
            None => compile(self.regex.eval(cx)?, self.options.eval(cx)?, self.name)?.map(Arc::new),
        };
        let text = match input {
            Value::String(s) => Some(s),
            v if v.is_nullish() => None,
            v => bail!(51104, "{} needs 'input' to be of type string, but got {}", self.name, v.type_name()),
        };
        let (Some(text), Some(regex)) = (text, compiled) else {
            return Ok(match self.mode {
                Mode::Find => Value::Null,
                Mode::FindAll => Value::Array(smongo_bson::Array::EMPTY),
                Mode::Match => Value::Bool(false),
            });
        };
        search(&regex, text, self.mode, cx)
    }

    fn children(&self, visit: &mut dyn FnMut(&Node)) {
        [&self.input, &self.regex, &self.options].into_iter().for_each(visit);
    }

    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
        visit(&mut self.input)?;
        visit(&mut self.regex)?;
        visit(&mut self.options)?;
        if let (Some(regex), Some(options)) = (self.regex.as_const(), self.options.as_const()) {
            self.fixed = compile(regex, options, self.name)?.map(Arc::new);
        }
        Ok(())
    }

    fn is_constant(&self) -> bool {
        [&self.input, &self.regex, &self.options].iter().all(|n| n.as_const().is_some())
    }
}

/// The regex that pattern and options give; `None` when the pattern is nullish.
fn compile(regex: Value<'_>, options: Value<'_>, op: &str) -> Result<Option<Regex>> {
    let options = match options {
        Value::String(s) => Some(s),
        v if v.is_nullish() => None,
        v => bail!(51106, "{op} needs 'options' to be of type string, but got {}", v.type_name()),
    };
    let (pattern, flags) = match regex {
        v if v.is_nullish() => return Ok(None),
        Value::String(s) => (s, String::new()),
        // Flags a BSON regex has and PCRE does not know are passed over.
        Value::Regex(r) => (r.pattern(), r.options().chars().filter(|c| "imsxu".contains(*c)).collect()),
        v => bail!(51105, "{op} needs 'regex' to be of type string or regex, but got {}", v.type_name()),
    };
    if !flags.is_empty() && options.is_some() {
        bail!(51107, "{op} found regex options specified in both 'regex' and 'options' fields");
    }
    let options = options.unwrap_or(&flags);
    if pattern.contains('\0') {
        bail!(51109, "{op}: regular expression cannot contain an embedded null byte");
    }
    if options.contains('\0') {
        bail!(51110, "{op}: regular expression options cannot contain an embedded null byte");
    }
    if pattern.len() > MAX_PATTERN {
        bail!(51111, "Invalid Regex in {op}: pattern is too large");
    }
    match Regex::new(pattern, options) {
        Ok(regex) => Ok(Some(regex)),
        Err(e) if e.code().0 == 51108 => Err(e),
        Err(e) => bail!(51111, "Invalid Regex in {op}: {}", e.message()),
    }
}

fn search<'a>(regex: &Regex, text: &str, mode: Mode, cx: &Cx<'a>) -> Result<Value<'a>> {
    if mode == Mode::Match {
        return Ok(Value::Bool(regex.is_match(text)?));
    }
    let mut groups = regex.captures();
    if mode == Mode::Find {
        let found = regex.captures_at(text, 0, &mut groups)?;
        return Ok(if found { Value::Document(describe(&groups, text, code_points(text, 0, &groups), cx.arena)) } else { Value::Null });
    }
    let all = cx.arena.try_array(|w| {
        // Where the search goes on, and how many code points lie before it.
        let (mut at, mut before) = (0, 0);
        while (at < text.len() || text.is_empty()) && regex.captures_at(text, at, &mut groups)? {
            let Some((start, end)) = groups.get(0) else { break };
            if start >= text.len() && !text.is_empty() {
                break;
            }
            before += code_points(text, at, &groups);
            w.push(describe(&groups, text, before, cx.arena));
            let step = |from: usize| text.get(from..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8);
            let next = if end == start { start + step(start) } else { end };
            before += text.get(start..next).unwrap_or_default().chars().count();
            at = next;
            if text.is_empty() {
                break;
            }
        }
        Ok(())
    })?;
    Ok(Value::Array(all))
}

/// The code points between `from` and the start of the match.
fn code_points(text: &str, from: usize, groups: &Captures) -> usize {
    let start = groups.get(0).map_or(from, |(start, _)| start);
    text.get(from..start).unwrap_or_default().chars().count()
}

fn describe<'a>(groups: &Captures, text: &str, index: usize, arena: &'a Arena) -> Doc<'a> {
    let part = |i: usize| groups.get(i).and_then(|(start, end)| text.get(start..end));
    arena.doc(|w| {
        w.append("match", part(0).unwrap_or_default()).append("idx", index as i32);
        let mut w = w.array("captures");
        for i in 1..groups.len() {
            w.push(part(i).map_or(Value::Null, Value::String));
        }
    })
}
