//! Aggregation expressions: compiled from BSON to a tree of function pointers, evaluated per document.
//!
//! - [`parse`]: from BSON to [`node::Node`]s; names, variables, argument counts. [`path`]: `$a.b` with array fan-out.
//! - [`node`]: evaluation, constant folding, dependencies. [`registry`]: all operators' rows, from one table per family file.

mod accumulators;
mod arithmetic;
mod array;
mod basic;
mod bitwise;
mod boolean;
mod comparison;
mod conditional;
mod convert;
mod date;
mod misc;
mod node;
mod object;
mod parse;
mod path;
mod registry;
mod set;
mod string;
mod text;
mod trigonometry;
mod variables;

use std::collections::BTreeSet;

use smongo_bson::{Doc, Result, Value};

use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::matcher::CompareOp;
use node::Node;
use parse::Scope;

pub use parse::{check_field_name, check_user_variable};
pub use registry::operators;

/// A compiled expression.
#[derive(Debug)]
pub struct Expr {
    node: Node,
    slots: usize,
    /// `$$NOW` or the like was read: the constant holds for this command only.
    timed: bool,
}

/// What an expression reads of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// `$$ROOT` itself is read: every field counts.
    pub whole_document: bool,
    /// Dotted paths.
    pub fields: BTreeSet<String>,
    /// Metadata that `$meta` asks for, by name.
    pub meta: BTreeSet<&'static str>,
}

impl Expr {
    /// Compiles an expression; constants are folded, names and paths resolved, argument errors found here.
    pub fn compile(expr: Value<'_>, cx: &CompileCx) -> Result<Expr> {
        Expr::compile_with_vars(expr, cx, &[])
    }

    /// The same with variables the caller binds per evaluation: `names[i]` is slot `i`
    /// (`cx.vars[i].set(value)`). System variables (`KEEP`, `DESCEND`, `CURRENT`, `this` …) are bound in the same way; where
    /// `CURRENT` is among them, field paths start at it.
    pub fn compile_with_vars(expr: Value<'_>, cx: &CompileCx, names: &[&str]) -> Result<Expr> {
        let mut scope = Scope::new(cx, names);
        let node = scope.operand(expr)?;
        Expr::finish(node, &scope)
    }

    /// Compiles a document as an object literal, as `$addFields` and `$group` would for `{x: {a: 1}}`.
    pub fn compile_object(object: Doc<'_>, cx: &CompileCx, names: &[&str]) -> Result<Expr> {
        let mut scope = Scope::new(cx, names);
        let node = scope.object_literal(object)?;
        Expr::finish(node, &scope)
    }

    fn finish(mut node: Node, scope: &Scope<'_>) -> Result<Expr> {
        if !scope.cx.unfolded {
            node.fold(&Arena::new()).or_else(|why| scope.cx.unfoldable(why))?;
        }
        Ok(Expr { node, slots: scope.slots(), timed: scope.timed() })
    }

    /// The expression that always yields `value`, whatever it looks like.
    pub fn literal(value: Value<'_>) -> Expr {
        Expr { node: Node::constant(value), slots: 0, timed: false }
    }

    /// The value for one document; `Missing` where a field path leads nowhere.
    #[inline]
    pub fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        self.node.eval(cx)
    }

    /// Evaluates for a document without variables bound by the caller.
    pub fn eval_doc<'a>(&'a self, doc: Doc<'a>, arena: &'a Arena) -> Result<Value<'a>> {
        self.node.eval(&Cx::new(arena, doc, self.slots))
    }

    /// How many variable slots a [`Cx`] for this program needs, those bound by the caller included.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The constant this expression always yields, if it is one.
    pub fn constant(&self) -> Option<Value<'_>> {
        match &self.node {
            Node::Const(v) => Some(v.view()),
            _ => None,
        }
    }

    /// The constant as it was written: what `$$NOW` and the like make is none.
    pub fn literal_constant(&self) -> Option<Value<'_>> {
        if self.timed { None } else { self.constant() }
    }

    /// The dotted path when the expression is nothing but a field path from the root.
    pub fn field_path(&self) -> Option<String> {
        match &self.node {
            Node::Field(path) if !path.is_empty() => Some(path.text()),
            _ => None,
        }
    }

    /// Whether it is `$$ROOT` (or `$$CURRENT`) itself.
    pub fn is_root(&self) -> bool {
        matches!(&self.node, Node::Field(path) if path.is_empty())
    }

    /// The paths that must compare with a constant for the expression to be true: those of `$eq`, `$gt` …, also in an `$and`.
    pub(crate) fn comparisons(&self) -> Vec<(String, CompareOp, Value<'_>)> {
        let mut found = Vec::new();
        self.node.comparisons(&mut found);
        found
    }

    /// As a filter, `$in` searches a constant list for a field without regard to the collation: MongoDB rewrites it to the
    /// query operator and leaves the collation behind.
    pub(crate) fn search_lists_bytewise(&mut self) {
        self.node.search_lists_bytewise();
    }

    /// The parts of an object literal, for optimizers: `{a: <expr>}` yields `a` and whether it is a plain path.
    pub fn object_fields(&self) -> Option<Vec<(&str, Option<String>)>> {
        let Node::Object(fields) = &self.node else { return None };
        let path = |n: &Node| match n {
            Node::Field(p) if !p.is_empty() => Some(p.text()),
            _ => None,
        };
        Some(fields.iter().map(|(name, node)| (&**name, path(node))).collect())
    }

    pub fn dependencies(&self) -> Dependencies {
        let mut deps = Dependencies::default();
        self.node.dependencies(&mut deps);
        deps
    }
}
