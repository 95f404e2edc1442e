//! From BSON to nodes: operands, object literals, operators with their arguments, variables in scope.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use smongo_bson::{Doc, Error, Result, Value, bail, err};

use super::node::{Args, Call, Eval, Fold, Node, Op};
use super::path::{FieldPath, check_component};
use super::registry;
use super::text::check_length;
use crate::arena::Arena;
use crate::cx::{Clock, CompileCx, Cx};

/// One operator: its name, how its arguments are read, and its function.
pub(crate) struct Row {
    pub name: &'static str,
    pub parse: Parse,
    pub eval: Eval,
}

pub(crate) enum Parse {
    /// Exactly this many arguments by position.
    Exact(usize),
    /// From so many to so many arguments by position.
    Range(usize, usize),
    /// Any number of arguments by position.
    Any,
    /// Arguments by name; the function gets them in the order of the specification.
    Fields(&'static Fields),
    /// The family's own parser.
    Special(fn(&'static Row, Value<'_>, &mut Scope<'_>) -> Result<Node>),
    /// Known to MongoDB, not implemented here.
    Todo,
}

/// The named arguments of an operator and the codes of the errors about them.
pub(crate) struct Fields {
    pub not_object: i32,
    pub unknown: i32,
    /// Name, and the code when it is missing; 0 for optional ones.
    pub names: &'static [(&'static str, i32)],
}

impl Row {
    pub const fn exact(name: &'static str, count: usize, eval: Eval) -> Row {
        Row { name, parse: Parse::Exact(count), eval }
    }
    pub const fn range(name: &'static str, min: usize, max: usize, eval: Eval) -> Row {
        Row { name, parse: Parse::Range(min, max), eval }
    }
    pub const fn any(name: &'static str, eval: Eval) -> Row {
        Row { name, parse: Parse::Any, eval }
    }
    pub const fn fields(name: &'static str, fields: &'static Fields, eval: Eval) -> Row {
        Row { name, parse: Parse::Fields(fields), eval }
    }
    pub const fn special(
        name: &'static str,
        parse: fn(&'static Row, Value<'_>, &mut Scope<'_>) -> Result<Node>,
        eval: Eval,
    ) -> Row {
        Row { name, parse: Parse::Special(parse), eval }
    }
    pub const fn todo(name: &'static str) -> Row {
        Row { name, parse: Parse::Todo, eval: nothing }
    }
}

/// The function of rows whose parser makes another node.
pub(crate) fn nothing<'a>(_: &'a Args, _: &Cx<'a>) -> Result<Value<'a>> {
    Ok(Value::Missing)
}

impl Fields {
    /// Finds the named arguments in an operator's object, in the order of the specification.
    pub fn read<'v>(&self, op: &str, spec: Value<'v>) -> Result<Vec<Option<Value<'v>>>> {
        let Value::Document(doc) = spec else {
            return Err(code(self.not_object, format!("{op} only supports an object as its argument, found {}", spec.type_name())));
        };
        let mut found = vec![None; self.names.len()];
        for e in doc {
            match self.names.iter().position(|(name, _)| *name == e.name()) {
                Some(i) => found[i] = Some(e.value()),
                None => return Err(code(self.unknown, format!("Unrecognized argument to {op}: {}", e.name()))),
            }
        }
        for ((name, missing), value) in self.names.iter().zip(&found) {
            if *missing != 0 && value.is_none() {
                return Err(code(*missing, format!("Missing '{name}' parameter to {op}")));
            }
        }
        Ok(found)
    }
}

fn code(code: i32, message: String) -> Error {
    Error::new(smongo_bson::Code(code), message)
}

/// What names mean at one place of an expression.
pub(crate) struct Scope<'c> {
    pub cx: &'c CompileCx,
    /// Innermost last.
    vars: Vec<(String, usize)>,
    next: usize,
    most: usize,
    /// A variable of the command's moment was read.
    timed: Cell<bool>,
}

impl<'c> Scope<'c> {
    pub fn new(cx: &'c CompileCx, names: &[&str]) -> Scope<'c> {
        let vars: Vec<_> = names.iter().enumerate().map(|(i, n)| ((*n).to_owned(), i)).collect();
        let next = vars.len();
        Scope { cx, vars, next, most: next, timed: Cell::new(false) }
    }

    /// The number of slots everything compiled here needs.
    pub fn slots(&self) -> usize {
        self.most
    }

    pub fn timed(&self) -> bool {
        self.timed.get()
    }

    /// Compiles with variables added; they take consecutive slots from the returned one on.
    pub fn with_vars<T>(&mut self, names: &[&str], body: impl FnOnce(&mut Scope<'c>, usize) -> Result<T>) -> Result<T> {
        let (depth, first) = (self.vars.len(), self.next);
        for name in names {
            self.vars.push(((*name).to_owned(), self.next));
            self.next += 1;
        }
        self.most = self.most.max(self.next);
        let result = body(self, first);
        self.vars.truncate(depth);
        self.next = first;
        result
    }

    /// Any expression value: a path, a literal, an object or array with expressions in it.
    pub fn operand(&mut self, value: Value<'_>) -> Result<Node> {
        match value {
            Value::String(s) if s.starts_with('$') => self.path(s),
            Value::Document(d) => self.object(d),
            Value::Array(a) => {
                let items = a.iter().map(|v| self.operand(v)).collect::<Result<Box<[Node]>>>()?;
                Ok(Node::Array(items))
            }
            v => {
                if let Value::String(s) = v {
                    check_length(s.len())?;
                }
                Ok(Node::constant(v))
            }
        }
    }

    /// An operand that may be absent.
    pub fn optional(&mut self, value: Option<Value<'_>>) -> Result<Node> {
        value.map_or_else(|| Ok(Node::absent()), |v| self.operand(v))
    }

    /// An operator expression or an object literal.
    pub fn object(&mut self, doc: Doc<'_>) -> Result<Node> {
        match doc.first() {
            Some(e) if e.name().starts_with('$') => {
                if doc.iter().nth(1).is_some() {
                    bail!(15983, "an object representing an expression must have exactly one field: {doc:?}");
                }
                self.operator(e.name(), e.value())
            }
            _ => self.object_literal(doc),
        }
    }

    pub fn object_literal(&mut self, doc: Doc<'_>) -> Result<Node> {
        let (mut fields, mut names): (Vec<(Box<str>, Node)>, HashSet<&str>) = Default::default();
        for e in doc {
            check_component(e.name())?;
            if !names.insert(e.name()) {
                bail!(16406, "duplicate field name specified in object literal: {doc:?}");
            }
            fields.push((e.name().into(), self.operand(e.value())?));
        }
        Ok(Node::Object(fields.into()))
    }

    fn operator(&mut self, name: &str, spec: Value<'_>) -> Result<Node> {
        let Some(row) = registry::find(name) else {
            bail!(InvalidPipelineOperator, "Unrecognized expression '{name}'");
        };
        match &row.parse {
            Parse::Exact(n) => {
                let args = self.args(spec)?;
                if args.len() != *n {
                    bail!(16020, "Expression {name} takes exactly {n} arguments. {} were passed in.", args.len());
                }
                Ok(self.call(row, args))
            }
            Parse::Range(min, max) => {
                let args = self.args(spec)?;
                if args.len() < *min || args.len() > *max {
                    let given = args.len();
                    bail!(28667, "Expression {name} takes at least {min} arguments, and at most {max}, but {given} were passed in.");
                }
                Ok(self.call(row, args))
            }
            Parse::Any => {
                let args = self.args(spec)?;
                Ok(self.call(row, args))
            }
            Parse::Fields(fields) => {
                let found = fields.read(row.name, spec)?;
                let args = found.into_iter().map(|v| self.optional(v)).collect::<Result<Vec<_>>>()?;
                Ok(self.call(row, args))
            }
            Parse::Special(parse) => parse(row, spec, self),
            Parse::Todo => bail!(NotImplemented, "{name} is not implemented"),
        }
    }

    /// Arguments by position: the elements of an array, or the one value that stands for itself.
    pub fn args(&mut self, spec: Value<'_>) -> Result<Vec<Node>> {
        match spec {
            Value::Array(a) => a.iter().map(|v| self.operand(v)).collect(),
            v => Ok(vec![self.operand(v)?]),
        }
    }

    pub fn call(&self, row: &'static Row, args: Vec<Node>) -> Node {
        self.call_folding(row, args, Fold::Whole)
    }

    pub fn call_folding(&self, row: &'static Row, args: Vec<Node>, fold: Fold) -> Node {
        let args = Args::new(row.name, args.into(), self.cx.collation.clone());
        Node::Call(Box::new(Call { eval: row.eval, args, fold }))
    }

    pub fn op(&self, op: impl Op + 'static) -> Node {
        Node::Op(Box::new(op))
    }

    /// `$a.b` or `$$var.a.b`.
    fn path(&mut self, text: &str) -> Result<Node> {
        if text.len() < 2 {
            bail!(16872, "'$' by itself is not a valid FieldPath");
        }
        let Some(variable) = text.strip_prefix("$$") else {
            let path = FieldPath::parse(text.get(1..).unwrap_or_default())?;
            return Ok(match self.slot_of("CURRENT") {
                Some(slot) => Node::Slot(slot, path),
                None => Node::Field(path),
            });
        };
        let (name, rest) = match variable.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (variable, None),
        };
        check_variable(name)?;
        let path = match rest {
            Some(_) if variable.ends_with('.') => FieldPath::parse(variable)?,
            Some("") => FieldPath::parse("")?,
            Some(rest) => FieldPath::parse(rest)?,
            None => FieldPath::default(),
        };
        self.variable(name, path)
    }

    fn slot_of(&self, name: &str) -> Option<usize> {
        self.vars.iter().rev().find(|(n, _)| n == name).map(|(_, slot)| *slot)
    }

    fn variable(&self, name: &str, path: FieldPath) -> Result<Node> {
        if let Some(slot) = self.slot_of(name) {
            return Ok(Node::Slot(slot, path));
        }
        if let Some((_, value)) = self.cx.lets.iter().rev().find(|(n, _)| n == name) {
            if value.view().is_missing() {
                // Not a constant: a variable without a value is still an argument that was given, and the value of a
                // sub-pipeline's variable is not known while the outer pipeline is compiled.
                let args = Args::new("$$", Box::default(), None);
                return Ok(Node::Call(Box::new(Call { eval: nothing, args, fold: Fold::Never })));
            }
            return Ok(below_constant(value.view(), &path));
        }
        let value = match name {
            "ROOT" | "CURRENT" => return Ok(Node::Field(path)),
            "NOW" | "CLUSTER_TIME" => return self.time(name, path),
            "REMOVE" | "SEARCH_META" => Value::Missing,
            "USER_ROLES" => return Ok(below_constant(self.cx.user_roles.as_ref().map_or(EMPTY_ARRAY, |r| r.view()), &path)),
            _ => bail!(17276, "Use of undefined variable: {name}"),
        };
        Ok(below_constant(value, &path))
    }
}

impl Scope<'_> {
    /// `$$NOW` or `$$CLUSTER_TIME`.
    fn time(&self, name: &str, path: FieldPath) -> Result<Node> {
        self.timed.set(true);
        if self.cx.timeless {
            bail!(51144, "Builtin variable '$${name}' is not available");
        }
        if let Some(clock) = &self.cx.clock {
            return Ok(self.op(Now { clock: Arc::clone(clock), cluster: name != "NOW", path }));
        }
        Ok(match (name, self.cx.cluster_time) {
            ("NOW", _) => below_constant(Value::DateTime(self.cx.now), &path),
            (_, Some(t)) => below_constant(Value::Timestamp(t), &path),
            _ => bail!(10071200, "system variable $$CLUSTER_TIME is not available in standalone mode"),
        })
    }
}

/// The time when it is evaluated.
struct Now {
    clock: Arc<dyn Clock>,
    cluster: bool,
    path: FieldPath,
}

impl Op for Now {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        let value = if self.cluster { Value::Timestamp(self.clock.cluster_time()) } else { Value::DateTime(self.clock.now()) };
        Ok(self.path.eval(value, cx))
    }

    fn children(&self, _: &mut dyn FnMut(&Node)) {}

    fn children_mut(&mut self, _: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

const EMPTY_ARRAY: Value<'static> = Value::Array(smongo_bson::Array::EMPTY);

fn below_constant(value: Value<'_>, path: &FieldPath) -> Node {
    let arena = Arena::new();
    Node::constant(path.eval(value, &Cx::new(&arena, Doc::EMPTY, 0)))
}

/// A name that `$$name` may have: letters, digits, underscores and what is beyond ASCII.
fn check_variable(name: &str) -> Result<()> {
    check_name(name, |c| c.is_ascii_alphabetic() || !c.is_ascii(), "variable")
}

/// A name that `let`, `as` and the like may bind: `CURRENT`, or one that begins with a lower case letter.
pub fn check_user_variable(name: &str) -> Result<()> {
    if name == "CURRENT" {
        return Ok(());
    }
    check_name(name, |c| c.is_ascii_lowercase() || !c.is_ascii(), "user variable")
}

fn check_name(name: &str, first: impl Fn(char) -> bool, kind: &str) -> Result<()> {
    let mut chars = name.chars();
    match chars.next() {
        None => bail!(FailedToParse, "empty variable names are not allowed"),
        Some(c) if !first(c) => {
            bail!(FailedToParse, "'{name}' starts with an invalid character for a {kind} name")
        }
        _ => {}
    }
    match chars.find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && *c != '_') {
        Some(c) => Err(err!(FailedToParse, "'{name}' contains an invalid character for a variable name: '{c}'")),
        None => Ok(()),
    }
}

/// Checks the name of a computed field: not empty, no `$` in front, no dot, no NUL.
pub fn check_field_name(name: &str) -> Result<()> {
    check_component(name)
}
