//! The compiled form: a tree of nodes, how it is evaluated and how constants in it are folded.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Doc, Result, Value, ValueBuf, bail};

use super::Dependencies;
use super::path::FieldPath;
use crate::arena::{Arena, check_made};
use crate::collation::Collation;
use crate::cx::Cx;
use crate::matcher::CompareOp;
use crate::sorted::{FEW, SortedElements};

pub(crate) enum Node {
    Const(ValueBuf),
    /// Stands for an optional argument that was not given.
    Absent,
    /// A path from the document; the empty one is `$$ROOT`.
    Field(FieldPath),
    /// A variable, and a path below it.
    Slot(usize, FieldPath),
    Object(Box<[(Box<str>, Node)]>),
    Array(Box<[Node]>),
    Call(Box<Call>),
    Op(Box<dyn Op>),
}

/// An operator over arguments by position.
pub(crate) struct Call {
    pub eval: Eval,
    pub args: Args,
    pub fold: Fold,
}

/// How constants among a call's arguments are used while compiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// A constant when all arguments are.
    Whole,
    /// Yields something else each time (`$rand`).
    Never,
    /// `$and`, `$or`: a constant argument of this truth decides, wherever it stands.
    Decides(bool),
    /// Constants may be looked at last: where another argument is null they are not looked at.
    Commutative,
    /// `$switch`: branches whose case is false go with what they would yield.
    Switch,
}

pub(crate) type Eval = for<'a> fn(&'a Args, &Cx<'a>) -> Result<Value<'a>>;

/// Arguments with what the operator was compiled under. Optional arguments that were not given are `Missing` constants.
pub(crate) struct Args {
    /// `$add`, for messages.
    pub name: &'static str,
    pub nodes: Box<[Node]>,
    pub collation: Option<Arc<Collation>>,
    /// The order of the second argument's elements, once it was asked for; none where they are few.
    pub sorted: OnceLock<Option<SortedElements>>,
}

/// An operator with state of its own: bound variables, compiled regexes and the like.
pub(crate) trait Op: Send + Sync {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>>;
    /// Visits the argument expressions.
    fn children(&self, visit: &mut dyn FnMut(&Node));
    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()>;
    /// Notes what it reads beside its arguments.
    fn depends(&self, _deps: &mut Dependencies) {}
    /// Whether it may be replaced by its value while compiling: its arguments are constants and it binds nothing.
    fn is_constant(&self) -> bool {
        false
    }
}

impl Args {
    pub fn new(name: &'static str, nodes: Box<[Node]>, collation: Option<Arc<Collation>>) -> Args {
        Args { name, nodes, collation, sorted: OnceLock::new() }
    }

    pub fn collator(&self) -> Option<&dyn Collator> {
        self.collation.as_deref().map(|c| c as &dyn Collator)
    }

    pub fn compare(&self, a: Value<'_>, b: Value<'_>) -> std::cmp::Ordering {
        compare_with(a, b, self.collator())
    }

    /// Evaluates the argument at a position; `Missing` when there is none.
    #[inline]
    pub fn eval<'a>(&'a self, index: usize, cx: &Cx<'a>) -> Result<Value<'a>> {
        match self.nodes.get(index) {
            Some(node) => node.eval(cx),
            None => Ok(Value::Missing),
        }
    }

    /// Whether the second argument, when it is a constant and long, holds a value: constants are sorted once.
    pub fn long_constant_holds(&self, value: Value<'_>) -> Option<bool> {
        let Value::Array(list) = self.nodes.get(1)?.as_const()? else { return None };
        let sorted = self.sorted.get_or_init(|| list.elements().nth(FEW).map(|_| SortedElements::new(list, self.collator())));
        Some(sorted.as_ref()?.contains(list, value, self.collator()))
    }

    /// Whether an optional argument was given at all.
    pub fn given(&self, index: usize) -> bool {
        self.nodes.get(index).is_some_and(|n| !n.is_absent())
    }
}

impl Deref for Args {
    type Target = [Node];
    fn deref(&self) -> &[Node] {
        &self.nodes
    }
}

impl Call {
    /// Folds the arguments; whether the call as a whole is a constant then.
    fn fold_args(&mut self, arena: &Arena) -> Result<bool> {
        let nodes = &mut self.args.nodes;
        if self.fold == Fold::Switch {
            *nodes = fold_switch(std::mem::take(nodes).into_vec(), arena)?;
        } else {
            nodes.iter_mut().try_for_each(|n| n.fold(arena))?;
        }
        if let Fold::Decides(truth) = self.fold
            && nodes.iter().any(|n| n.as_const().is_some_and(|v| v.truthy() == truth))
        {
            *nodes = Box::new([Node::constant(Value::Bool(truth))]);
        }
        if self.fold == Fold::Commutative {
            nodes.sort_by_key(|n| n.as_const().is_some());
        }
        Ok(self.fold != Fold::Never && nodes.iter().all(|n| n.as_const().is_some()))
    }
}

/// Folds case, then, case, then … default: a constant case that is false drops its branch, one that is true becomes
/// the default.
fn fold_switch(mut nodes: Vec<Node>, arena: &Arena) -> Result<Box<[Node]>> {
    let mut default = if nodes.len() % 2 == 1 { nodes.pop() } else { None };
    if let Some(node) = &mut default {
        node.fold(arena)?;
    }
    let mut kept = Vec::with_capacity(nodes.len() + 1);
    let mut branches = nodes.into_iter();
    while let (Some(mut case), Some(mut then)) = (branches.next(), branches.next()) {
        case.fold(arena)?;
        match case.as_const().map(|v| v.truthy()) {
            Some(false) => continue,
            Some(true) => {
                then.fold(arena)?;
                default = Some(then);
                break;
            }
            None => {
                then.fold(arena)?;
                kept.extend([case, then]);
            }
        }
    }
    if kept.is_empty() && default.is_none() {
        bail!(40069, "One cannot execute a switch statement where all the cases evaluate to false without a default.");
    }
    kept.extend(default);
    Ok(kept.into())
}

impl Node {
    pub fn constant(value: Value<'_>) -> Node {
        Node::Const(ValueBuf::new(value))
    }

    pub fn absent() -> Node {
        Node::Absent
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Node::Absent)
    }

    pub fn as_const(&self) -> Option<Value<'_>> {
        match self {
            Node::Const(v) => Some(v.view()),
            Node::Absent => Some(Value::Missing),
            _ => None,
        }
    }

    #[inline]
    pub fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        match self {
            Node::Const(v) => Ok(v.view()),
            Node::Absent => Ok(Value::Missing),
            Node::Field(path) => Ok(path.eval(cx.root, cx)),
            Node::Slot(slot, path) => Ok(path.eval(cx.vars.get(*slot).map_or(Value::Missing, |v| v.get()), cx)),
            Node::Call(call) => (call.eval)(&call.args, cx),
            Node::Op(op) => op.eval(cx),
            Node::Object(fields) => eval_object(fields, cx),
            Node::Array(items) => eval_array(items, cx),
        }
    }

    /// Replaces what does not depend on the document by its value. Errors of constant parts come out here, as MongoDB's
    /// optimizer reports them, also in branches that no document takes.
    pub fn fold(&mut self, arena: &Arena) -> Result<()> {
        let foldable = match self {
            Node::Const(_) | Node::Absent | Node::Field(_) | Node::Slot(..) => return Ok(()),
            Node::Object(fields) => {
                fields.iter_mut().try_for_each(|(_, n)| n.fold(arena))?;
                fields.iter().all(|(_, n)| n.as_const().is_some())
            }
            Node::Array(items) => {
                items.iter_mut().try_for_each(|n| n.fold(arena))?;
                items.iter().all(|n| n.as_const().is_some())
            }
            Node::Call(call) => call.fold_args(arena)?,
            Node::Op(op) => {
                op.children_mut(&mut |n| n.fold(arena))?;
                op.is_constant()
            }
        };
        if foldable {
            let value = ValueBuf::new(self.eval(&Cx::new(arena, Doc::EMPTY, 0))?);
            *self = Node::Const(value);
        }
        Ok(())
    }

    pub fn dependencies(&self, deps: &mut Dependencies) {
        match self {
            Node::Const(_) | Node::Absent | Node::Slot(..) => {}
            Node::Field(path) if path.is_empty() => deps.whole_document = true,
            Node::Field(path) => drop(deps.fields.insert(path.text())),
            Node::Object(fields) => fields.iter().for_each(|(_, n)| n.dependencies(deps)),
            Node::Array(items) => items.iter().for_each(|n| n.dependencies(deps)),
            Node::Call(call) => call.args.iter().for_each(|n| n.dependencies(deps)),
            Node::Op(op) => {
                op.depends(deps);
                op.children(&mut |n| n.dependencies(deps));
            }
        }
    }
}

impl Node {
    /// See [`super::Expr::comparisons`].
    pub fn comparisons<'n>(&'n self, found: &mut Vec<(String, CompareOp, Value<'n>)>) {
        let Node::Call(call) = self else { return };
        let op = match call.args.name {
            "$and" => return call.args.nodes.iter().for_each(|n| n.comparisons(found)),
            "$eq" => CompareOp::Eq,
            "$gt" => CompareOp::Gt,
            "$gte" => CompareOp::Gte,
            "$lt" => CompareOp::Lt,
            "$lte" => CompareOp::Lte,
            _ => return,
        };
        match &*call.args.nodes {
            [Node::Field(path), Node::Const(v)] if !path.is_empty() => found.push((path.text(), op, v.view())),
            [Node::Const(v), Node::Field(path)] if !path.is_empty() => found.push((path.text(), op.flipped(), v.view())),
            _ => {}
        }
    }

    /// See [`super::Expr::search_lists_bytewise`].
    pub fn search_lists_bytewise(&mut self) {
        let Node::Call(call) = self else { return };
        match (call.args.name, &mut *call.args.nodes) {
            ("$and", nodes) => nodes.iter_mut().for_each(Node::search_lists_bytewise),
            ("$in", [Node::Field(path), Node::Const(_)]) if !path.is_empty() => call.args.collation = None,
            _ => {}
        }
    }
}

fn eval_object<'a>(fields: &'a [(Box<str>, Node)], cx: &Cx<'a>) -> Result<Value<'a>> {
    let doc = cx.arena.try_doc(|w| {
        for (name, node) in fields {
            w.append(name, node.eval(cx)?);
            check_made("An object", w.len())?;
        }
        Ok(())
    })?;
    Ok(Value::Document(doc))
}

fn eval_array<'a>(items: &'a [Node], cx: &Cx<'a>) -> Result<Value<'a>> {
    let array = cx.arena.try_array(|w| {
        for node in items {
            w.push(node.eval(cx)?);
            check_made("An array", w.len())?;
        }
        Ok(())
    })?;
    Ok(Value::Array(array))
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Const(v) => write!(f, "{v:?}"),
            Node::Absent => f.write_str("<absent>"),
            Node::Field(path) => write!(f, "$$ROOT.{}", path.text()),
            Node::Slot(slot, path) => write!(f, "$$#{slot}.{}", path.text()),
            Node::Object(fields) => f.debug_map().entries(fields.iter().map(|(k, v)| (k, v))).finish(),
            Node::Array(items) => f.debug_list().entries(items.iter()).finish(),
            Node::Call(call) => write!(f, "{}{:?}", call.args.name, &call.args.nodes),
            Node::Op(_) => f.write_str("<op>"),
        }
    }
}
