//! Operators that bind variables: `$let $map $filter $reduce`.

use smongo_bson::{Array, Doc, Result, Value, ValueBuf, bail};

use super::node::{Node, Op};
use super::parse::{Fields, Row, Scope, check_user_variable, nothing};
use crate::arena::{Arena, check_made};
use crate::cx::Cx;
use crate::running::tick;

pub(super) static ROWS: &[Row] = &[
    Row::special("$filter", parse_filter, nothing),
    Row::special("$let", parse_let, nothing),
    Row::special("$map", parse_map, nothing),
    Row::special("$reduce", parse_reduce, nothing),
];

fn bind<'a>(cx: &Cx<'a>, slot: usize, value: Value<'a>) {
    if let Some(cell) = cx.vars.get(slot) {
        cell.set(value);
    }
}

/// How much the rounds of a loop leave in an arena before it is emptied: what a round made is of no use to the next.
const LITTER: usize = 1 << 20;

/// The rounds of `$map` and `$filter`. Short ones work in the document's arena; where they leave much behind, the rest of them
/// work in one of their own, so that a loop needs memory for a round and not for all of them.
struct Rounds {
    held: usize,
    allocated: usize,
    own: Option<Arena>,
}

impl Rounds {
    fn new(cx: &Cx<'_>) -> Rounds {
        Rounds { held: cx.arena.held(), allocated: cx.arena.allocated(), own: None }
    }

    /// Evaluates a node with an item bound, and hands on what it yields.
    #[inline]
    fn run<'a, T>(&mut self, cx: &Cx<'a>, slot: usize, item: Value<'a>, body: &'a Node, take: impl FnOnce(Value<'_>) -> T) -> Result<T> {
        tick()?;
        if cx.arena.allocated() != self.allocated {
            return self.apart(cx, slot, item, body, take);
        }
        bind(cx, slot, item);
        body.eval(cx).map(take)
    }

    /// The same once the arena has grown.
    fn apart<'a, T>(&mut self, cx: &Cx<'a>, slot: usize, item: Value<'a>, body: &'a Node, take: impl FnOnce(Value<'_>) -> T) -> Result<T> {
        if self.own.is_none() && cx.arena.held() - self.held <= LITTER {
            self.allocated = cx.arena.allocated();
            bind(cx, slot, item);
            return body.eval(cx).map(take);
        }
        let own = self.own.get_or_insert_default();
        if own.held() > LITTER {
            own.reset();
        }
        let cx = cx.within(own);
        bind(&cx, slot, item);
        body.eval(&cx).map(take)
    }
}

/// Implements the walk over children for named node fields.
macro_rules! children {
    ($($field:ident),*) => {
        fn children(&self, visit: &mut dyn FnMut(&Node)) {
            $(visit(&self.$field);)*
        }
        fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
            $(visit(&mut self.$field)?;)*
            Ok(())
        }
    };
}

struct Let {
    first: usize,
    values: Box<[Node]>,
    body: Node,
}

fn parse_let(_: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let Value::Document(doc) = spec else {
        bail!(16874, "$let only supports an object as its argument");
    };
    let (mut vars, mut body) = (None, None);
    for e in doc {
        match e.name() {
            "vars" => vars = Some(e.value()),
            "in" => body = Some(e.value()),
            other => bail!(16875, "Unrecognized parameter to $let: {other}"),
        }
    }
    let Some(vars) = vars else { bail!(16876, "Missing 'vars' parameter to $let") };
    let Some(body) = body else { bail!(16877, "Missing 'in' parameter to $let") };
    let vars: Doc<'_> = match vars {
        Value::Document(d) | Value::Array(Array(d)) => d,
        _ => bail!(10065, "invalid parameter: expected an object (vars)"),
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for e in vars {
        check_user_variable(e.name())?;
        names.push(e.name());
        values.push(scope.operand(e.value())?);
    }
    let (first, body) = scope.with_vars(&names, |scope, first| Ok((first, scope.operand(body)?)))?;
    Ok(scope.op(Let { first, values: values.into(), body }))
}

impl Op for Let {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        for (i, node) in self.values.iter().enumerate() {
            bind(cx, self.first + i, node.eval(cx)?);
        }
        self.body.eval(cx)
    }

    fn children(&self, visit: &mut dyn FnMut(&Node)) {
        self.values.iter().for_each(&mut *visit);
        visit(&self.body);
    }

    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
        self.values.iter_mut().try_for_each(&mut *visit)?;
        visit(&mut self.body)
    }
}

/// The name `as` binds, `this` by default.
fn variable_name<'v>(name: Option<Value<'v>>) -> Result<&'v str> {
    let Some(name) = name else { return Ok("this") };
    let name = name.as_str().unwrap_or_default();
    check_user_variable(name)?;
    Ok(name)
}

struct Map {
    slot: usize,
    input: Node,
    body: Node,
}

fn parse_map(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    const FIELDS: Fields = Fields { not_object: 16878, unknown: 16879, names: &[("input", 16880), ("as", 0), ("in", 16882)] };
    let [input, name, body] = take(FIELDS.read(row.name, spec)?);
    let input = scope.optional(input)?;
    let name = variable_name(name)?;
    let (slot, body) = scope.with_vars(&[name], |scope, slot| Ok((slot, scope.optional(body)?)))?;
    Ok(scope.op(Map { slot, input, body }))
}

/// The values a [`Fields`] of as many names has read.
fn take<'v, const N: usize>(found: Vec<Option<Value<'v>>>) -> [Option<Value<'v>>; N] {
    let mut it = found.into_iter();
    std::array::from_fn(|_| it.next().flatten())
}

impl Op for Map {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let input = match self.input.eval(cx)? {
            Value::Array(a) => a,
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(16883, "input to $map must be an array not {}", v.type_name()),
        };
        let mut rounds = Rounds::new(cx);
        let mapped = cx.arena.try_array(|w| {
            for item in input.iter() {
                rounds.run(cx, self.slot, item, &self.body, |v| {
                    w.push(v);
                })?;
                check_made("$map", w.len())?;
            }
            Ok(())
        })?;
        Ok(Value::Array(mapped))
    }
    children!(input, body);
}

struct Filter {
    slot: usize,
    input: Node,
    cond: Node,
    limit: Node,
}

fn parse_filter(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    const FIELDS: Fields =
        Fields { not_object: 28646, unknown: 28647, names: &[("input", 28648), ("as", 0), ("cond", 28650), ("limit", 0)] };
    let [input, name, cond, limit] = take(FIELDS.read(row.name, spec)?);
    let input = scope.optional(input)?;
    let limit = scope.optional(limit)?;
    let name = variable_name(name)?;
    let (slot, cond) = scope.with_vars(&[name], |scope, slot| Ok((slot, scope.optional(cond)?)))?;
    Ok(scope.op(Filter { slot, input, cond, limit }))
}

impl Op for Filter {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let input = match self.input.eval(cx)? {
            Value::Array(a) => a,
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(28651, "input to $filter must be an array not {}", v.type_name()),
        };
        if input.is_empty() {
            // There is nothing to limit, whatever the limit is.
            return Ok(Value::Array(input));
        }
        let limit = self.limit(cx)?;
        let mut rounds = Rounds::new(cx);
        let kept = cx.arena.try_array(|w| {
            for e in input.elements() {
                if rounds.run(cx, self.slot, e.value(), &self.cond, |v| v.truthy())? {
                    w.push_element(&e);
                    if w.count() >= limit {
                        break;
                    }
                }
            }
            Ok(())
        })?;
        Ok(Value::Array(kept))
    }
    children!(input, cond, limit);
}

impl Filter {
    fn limit<'a>(&'a self, cx: &Cx<'a>) -> Result<usize> {
        let limit = self.limit.eval(cx)?;
        if limit.is_nullish() {
            return Ok(usize::MAX);
        }
        let Some(n) = smongo_bson::number::to_i32_exact(limit) else {
            bail!(327391, "$filter: limit must be represented as a 32-bit integral value: {limit:?}");
        };
        match usize::try_from(n) {
            Ok(n) if n > 0 => Ok(n),
            _ => bail!(327392, "$filter: limit must be greater than 0: {n}"),
        }
    }
}

struct Reduce {
    /// The slot of `$$this`; `$$value` is the next.
    slot: usize,
    input: Node,
    initial: Node,
    body: Node,
}

fn parse_reduce(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    const FIELDS: Fields =
        Fields { not_object: 40075, unknown: 40076, names: &[("input", 40077), ("initialValue", 40078), ("in", 40079)] };
    let [input, initial, body] = take(FIELDS.read(row.name, spec)?);
    let (input, initial) = (scope.optional(input)?, scope.optional(initial)?);
    let (slot, body) = scope.with_vars(&["this", "value"], |scope, slot| Ok((slot, scope.optional(body)?)))?;
    Ok(scope.op(Reduce { slot, input, initial, body }))
}

impl Op for Reduce {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let input = match self.input.eval(cx)? {
            Value::Array(a) => a,
            v if v.is_nullish() => return Ok(Value::Null),
            v => bail!(40080, "$reduce requires that 'input' be an array, found: {v:?}"),
        };
        let mut items = input.iter().peekable();
        let value = self.rounds(cx, self.initial.eval(cx)?, &mut items, cx.arena.held() + LITTER)?;
        if items.peek().is_none() {
            return Ok(value);
        }
        // The rest in an arena of their own; when it is emptied, only the last round's value is taken along.
        let (mut kept, mut arena) = (ValueBuf::new(value), Arena::new());
        while items.peek().is_some() {
            let most = LITTER.max(4 * kept.size());
            let next = ValueBuf::new(self.rounds(&cx.within(&arena), kept.view(), &mut items, most)?);
            kept = next;
            arena.reset();
        }
        Ok(cx.arena.value(kept.view()))
    }
    children!(input, initial, body);
}

impl Reduce {
    /// Takes items until the arena holds so much.
    fn rounds<'a, 'i: 'a>(&'a self, cx: &Cx<'a>, mut value: Value<'a>, items: &mut impl Iterator<Item = Value<'i>>, most: usize) -> Result<Value<'a>> {
        let mut allocated = cx.arena.allocated();
        loop {
            if cx.arena.allocated() != allocated {
                allocated = cx.arena.allocated();
                if cx.arena.held() > most {
                    break;
                }
            }
            let Some(item) = items.next() else { break };
            tick()?;
            bind(cx, self.slot, item);
            bind(cx, self.slot + 1, value);
            value = self.body.eval(cx)?;
        }
        Ok(value)
    }
}
