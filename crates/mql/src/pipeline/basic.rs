//! The small stages: `$match $limit $skip $project $addFields $set $unset $count $sortByCount`.

use smongo_bson::{Doc, DocBuf, Result, Value, bail};

use super::args::{field_path, integer, show};
use super::step::{Step, over};
use super::{Needs, Operator, Stage, group, registry};
use crate::accum::count_value;
use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::matcher::Matcher;
use crate::projection::Projection;
use crate::stream::{Host, Stream};

type Out<'o> = &'o mut Vec<Stage>;

pub(super) fn parse_match(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::Document(filter) = arg else { bail!(15959, "the match filter must be an expression in an object") };
    let matcher = Matcher::compile_stage(filter, out.is_empty(), cx)?;
    out.push(Stage::Match(matcher));
    Ok(())
}

pub(super) fn parse_limit(arg: Value<'_>, _cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let n = match integer(arg) {
        Ok(n) if n < 0 => bail!(5107201, "invalid argument to $limit stage: Expected a non-negative number in: $limit: {}", show(arg)),
        Ok(0) => bail!(15958, "the limit must be positive"),
        Ok(n) => n.unsigned_abs(),
        Err(why) => bail!(5107201, "invalid argument to $limit stage: {why}"),
    };
    out.push(Stage::Limit(n));
    Ok(())
}

pub(super) fn parse_skip(arg: Value<'_>, _cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let n = match integer(arg) {
        Ok(n) if n < 0 => bail!(5107200, "invalid argument to $skip stage: Expected a non-negative number in: $skip: {}", show(arg)),
        Ok(n) => n.unsigned_abs(),
        Err(why) => bail!(5107200, "invalid argument to $skip stage: {why}"),
    };
    out.push(Stage::Skip(n));
    Ok(())
}

pub(super) fn parse_project(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::Document(spec) = arg else { bail!(15969, "$project specification must be an object") };
    out.push(Stage::Project(Projection::compile_project(spec, cx)?));
    Ok(())
}

pub(super) fn parse_add_fields(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    add_fields("$addFields", arg, cx, out)
}

pub(super) fn parse_set(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    add_fields("$set", arg, cx, out)
}

fn add_fields(name: &'static str, arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(40272, "{name} specification stage must be an object, got {}", arg.type_name());
    };
    let projection = Projection::compile_add_fields(spec, cx)?;
    out.push(Stage::Other(Box::new(AddFields { name, projection })));
    Ok(())
}

/// `$unset` is an exclusion; it is compiled as such.
pub(super) fn parse_unset(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let mut fields = Vec::new();
    match arg {
        Value::String(field) => fields.push(field),
        Value::Array(list) => {
            if list.is_empty() {
                bail!(31119, "$unset specification must be a string or an array with at least one field");
            }
            for field in list.iter() {
                let Value::String(field) = field else {
                    bail!(31120, "$unset specification must be a string or an array containing only string values");
                };
                fields.push(field);
            }
        }
        _ => bail!(31002, "$unset specification must be a string or an array"),
    }
    if fields.iter().any(|f| f.contains('\0')) {
        bail!(9527900, "field names in $unset may not contain null bytes");
    }
    for field in &fields {
        field_path(field)?;
    }
    let spec = DocBuf::build(|w| {
        for field in &fields {
            w.append(field, false);
        }
    });
    let projection = Projection::compile_project(spec.as_doc(), cx)?;
    out.push(Stage::Other(Box::new(AddFields { name: "$unset", projection })));
    Ok(())
}

/// A projection that is not offered to the planner.
struct AddFields {
    name: &'static str,
    projection: Projection,
}

impl Operator for AddFields {
    fn name(&self) -> &'static str {
        self.name
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(projected(input, self.projection))
    }
    fn needs(&self, after: Needs) -> Needs {
        after.before(&self.projection)
    }
}

pub(super) fn parse_count(arg: Value<'_>, _cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::String(field) = arg else { bail!(40156, "the count field must be a non-empty string") };
    match field {
        "" => bail!(40157, "the count field must be a non-empty string"),
        f if f.starts_with('$') => bail!(40158, "the count field cannot be a $-prefixed path"),
        f if f.contains('\0') => bail!(40159, "the count field cannot contain a null byte"),
        f if f.contains('.') => bail!(40160, "the count field cannot contain '.'"),
        "_id" => bail!(9039800, "the count field cannot be '_id'"),
        f => out.push(Stage::Other(Box::new(Count { field: f.to_owned() }))),
    }
    Ok(())
}

/// `$sortByCount: e` is `{$group: {_id: e, count: {$sum: 1}}}, {$sort: {count: -1}}`.
pub(super) fn parse_sort_by_count(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    match arg {
        Value::Document(d) if d.first().is_some_and(|f| f.name().starts_with('$')) => {}
        Value::Document(d) => bail!(40147, "the sortByCount field must be defined as a $-prefixed path or an expression inside an object, but got {d:?}"),
        Value::String(s) if s.starts_with('$') => {}
        Value::String(_) => bail!(40148, "the sortByCount field must be defined as a $-prefixed path or an expression inside an object"),
        _ => bail!(40149, "the sortByCount field must be specified as a string or as an object"),
    }
    let spec = DocBuf::build(|w| {
        w.append("_id", arg);
        w.document("count").append("$sum", 1);
    });
    group::parse(Value::Document(spec.as_doc()), cx, out)?;
    let order = DocBuf::build(|w| {
        w.append("count", -1);
    });
    registry::parse_sort(Value::Document(order.as_doc()), cx, out)
}

struct Count {
    field: String,
}

impl Operator for Count {
    fn name(&self) -> &'static str {
        "$count"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, CountStream { field: self.field, result: None }))
    }
    fn needs(&self, _after: Needs) -> Needs {
        Needs::nothing()
    }
}

struct CountStream {
    field: String,
    result: Option<DocBuf>,
}

impl Step for CountStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.result.is_some() {
            return Ok(false);
        }
        let mut n = 0i64;
        while input.advance(host)? {
            n += 1;
            if n % 1024 == 0 {
                host.interrupt()?;
            }
        }
        self.result = Some(DocBuf::build(|w| {
            w.append(&self.field, count_value(n));
        }));
        Ok(n > 0)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        self.result.as_ref().map_or(Doc::EMPTY, DocBuf::as_doc)
    }
}

struct MatchStream {
    matcher: Matcher,
    arena: Arena,
}

pub(super) fn matching(input: Box<dyn Stream>, matcher: Matcher) -> Box<dyn Stream> {
    over(input, MatchStream { matcher, arena: Arena::new() })
}

impl Step for MatchStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        let mut rejected = 0u32;
        while input.advance(host)? {
            self.arena.reset();
            self.arena.set_meta(input.meta());
            if self.matcher.matches(input.doc(), &self.arena)? {
                return Ok(true);
            }
            rejected += 1;
            if rejected.is_multiple_of(16) {
                host.interrupt()?;
            }
        }
        Ok(false)
    }
}

struct LimitStream {
    left: u64,
}

pub(super) fn limited(input: Box<dyn Stream>, n: u64) -> Box<dyn Stream> {
    over(input, LimitStream { left: n })
}

impl Step for LimitStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        input.advance(host)
    }
}

struct SkipStream {
    left: u64,
}

pub(super) fn skipped(input: Box<dyn Stream>, n: u64) -> Box<dyn Stream> {
    over(input, SkipStream { left: n })
}

impl Step for SkipStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        while self.left > 0 {
            if !input.advance(host)? {
                self.left = 0;
                return Ok(false);
            }
            self.left -= 1;
            if self.left.is_multiple_of(1024) {
                host.interrupt()?;
            }
        }
        input.advance(host)
    }
}

struct ProjectStream {
    projection: Projection,
    arena: Arena,
    out: Vec<u8>,
}

pub(super) fn projected(input: Box<dyn Stream>, projection: Projection) -> Box<dyn Stream> {
    over(input, ProjectStream { projection, arena: Arena::new(), out: Vec::new() })
}

impl Step for ProjectStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if !input.advance(host)? {
            return Ok(false);
        }
        self.arena.reset();
        self.arena.set_meta(input.meta());
        self.out.clear();
        self.projection.apply(input.doc(), None, &self.arena, &mut self.out)?;
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}
