//! The parts of `$match` filters that can be moved one by one.

use std::borrow::Cow;

use smongo_bson::{Doc, DocBuf, DocWriter, Value};

use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::matcher::is_expression;

/// What is known of a part of a filter, from the most to the least movable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Comparisons with values: what is equal to a value it accepts, it accepts.
    Comparison,
    /// Tests of fields of any kind.
    Fields,
    /// An `$expr` over known fields. It may fail, so it is not asked of documents it would not have seen.
    Expr,
    /// Tied to its place: it reads the whole document or metadata, or is not the same each time.
    Fixed,
}

/// A part of a filter: all of them together are the filter.
#[derive(Clone, Debug)]
pub(super) struct Conjunct {
    pub filter: DocBuf,
    pub kind: Kind,
    /// The first components of the paths it reads.
    pub reads: Vec<String>,
}

/// Where a stage's field comes from: the name before the stage, or `None` when the stage makes it.
pub(super) type Origin<'o> = dyn Fn(&str) -> Option<Cow<'o, str>> + 'o;

/// Takes a filter apart.
pub(super) fn split(filter: Doc<'_>, cx: &CompileCx, out: &mut Vec<Conjunct>) {
    for e in filter {
        match (e.name(), e.value()) {
            ("$and", Value::Array(parts)) => parts.iter().filter_map(|p| p.as_doc()).for_each(|p| split(p, cx, out)),
            (name, value) => {
                let mut part = Conjunct { filter: DocBuf::build(|w| { w.append(name, value); }), kind: Kind::Comparison, reads: Vec::new() };
                part.kind = part.examine(name, value, cx);
                out.push(part);
            }
        }
    }
}

impl Conjunct {
    /// Notes what a condition reads and tells its kind.
    fn examine(&mut self, name: &str, value: Value<'_>, cx: &CompileCx) -> Kind {
        match (name, value) {
            ("$and" | "$or" | "$nor", Value::Array(branches)) => {
                let fields = branches.iter().filter_map(|b| b.as_doc()).flat_map(|b| b.iter());
                fields.fold(Kind::Comparison, |kind, e| kind.max(self.examine(e.name(), e.value(), cx)))
            }
            ("$expr", value) => self.expression(value, cx),
            (name, _) if name.starts_with('$') => Kind::Fixed,
            (path, value) => {
                self.read(path);
                if is_comparison(value) { Kind::Comparison } else { Kind::Fields }
            }
        }
    }

    fn expression(&mut self, value: Value<'_>, cx: &CompileCx) -> Kind {
        let Ok(expr) = Expr::compile(value, cx) else { return Kind::Fixed };
        let reads = expr.dependencies();
        if reads.whole_document || !reads.meta.is_empty() || varies(value) {
            return Kind::Fixed;
        }
        reads.fields.iter().for_each(|path| self.read(path));
        Kind::Expr
    }

    fn read(&mut self, path: &str) {
        let first = super::effect::first(path);
        if !self.reads.iter().any(|r| r == first) {
            self.reads.push(first.to_owned());
        }
    }

    /// The same test before a stage; `None` when the stage makes what it reads.
    pub fn before(&self, origin: &Origin<'_>) -> Option<Conjunct> {
        let mut renamed = false;
        let mut reads = Vec::with_capacity(self.reads.len());
        for name in &self.reads {
            let from = origin(name)?;
            renamed |= *from != **name;
            reads.push(from.into_owned());
        }
        if !renamed {
            return Some(self.clone());
        }
        // Paths inside expressions are not rewritten.
        if self.kind >= Kind::Expr {
            return None;
        }
        let filter = rewrite(self.filter.as_doc(), &|path| {
            let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
            origin(first).map_or_else(|| path.to_owned(), |from| format!("{from}{rest}"))
        });
        Some(Conjunct { filter, kind: self.kind, reads })
    }

    /// The same test of the document at `field`, when it is about what lies below that field and nothing else.
    pub fn below(&self, field: &str) -> Option<Conjunct> {
        let inside = |path: &str| path.strip_prefix(field).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
        if self.kind >= Kind::Expr {
            return None;
        }
        let mut part = Conjunct { filter: DocBuf::new(), kind: self.kind, reads: Vec::new() };
        let about = each_path(self.filter.as_doc(), &mut |path| inside(path).inspect(|rest| part.read(rest)).is_some());
        about.then(|| {
            part.filter = rewrite(self.filter.as_doc(), &|path| inside(path).unwrap_or_default());
            part
        })
    }
}

/// Whether a condition is a value or made of comparisons with values, which do not tell equal values apart.
fn is_comparison(condition: Value<'_>) -> bool {
    match condition {
        Value::Document(d) if is_expression(d) => d.iter().all(|e| match (e.name(), e.value()) {
            ("$eq" | "$gt" | "$gte" | "$lt" | "$lte" | "$ne", v) => is_plain(v),
            ("$in" | "$nin", Value::Array(list)) => list.iter().all(is_plain),
            _ => false,
        }),
        v => is_plain(v),
    }
}

/// Values whose comparison also with what is missing is that with null.
fn is_plain(value: Value<'_>) -> bool {
    !matches!(value, Value::Regex(_) | Value::MinKey | Value::MaxKey | Value::Undefined | Value::Missing)
}

/// Whether an expression has a part that is not the same each time.
fn varies(value: Value<'_>) -> bool {
    match value {
        Value::Document(d) => d.iter().any(|e| matches!(e.name(), "$rand" | "$createObjectId" | "$function") || varies(e.value())),
        Value::Array(a) => a.iter().any(varies),
        _ => false,
    }
}

/// Whether `test` holds for each path of a filter without `$expr`.
fn each_path(filter: Doc<'_>, test: &mut dyn FnMut(&str) -> bool) -> bool {
    filter.iter().all(|e| match (e.name(), e.value()) {
        ("$and" | "$or" | "$nor", Value::Array(branches)) => branches.iter().filter_map(|b| b.as_doc()).all(|b| each_path(b, test)),
        (path, _) => test(path),
    })
}

/// A filter with its paths replaced.
fn rewrite(filter: Doc<'_>, path: &dyn Fn(&str) -> String) -> DocBuf {
    DocBuf::build(|w| write(filter, path, w))
}

fn write(filter: Doc<'_>, path: &dyn Fn(&str) -> String, w: &mut DocWriter<'_>) {
    for e in filter {
        match (e.name(), e.value()) {
            (name @ ("$and" | "$or" | "$nor"), Value::Array(branches)) => {
                let mut list = w.array(name);
                for branch in branches.iter().filter_map(|b| b.as_doc()) {
                    write(branch, path, &mut list.document());
                }
            }
            (name, value) => { w.append(&path(name), value); },
        }
    }
}
