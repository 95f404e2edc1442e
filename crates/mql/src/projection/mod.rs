//! Projections: find's `projection`, and the bodies of `$project`, `$addFields`, `$unset`.
//!
//! A specification becomes a tree of its paths (`parse`), which is merged over each document in one walk (`apply`):
//! what stays is copied raw, in the document's order; what is computed comes in place or behind, in the specification's.

mod apply;
mod find;
mod parse;

use std::collections::{BTreeSet, HashMap};

use smongo_bson::{Doc, DocBuf, Result, Value, bail};

use self::apply::Run;
pub(crate) use self::find::check_condition;
use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::matcher::{Matcher, Node as Predicate};

/// A compiled projection.
pub struct Projection {
    mode: Mode,
    root: Fields,
    needed: Option<Vec<String>>,
    positional: bool,
}

/// What happens to fields that are not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They go.
    Inclusion,
    /// They stay.
    Exclusion,
}

/// What is said of the fields of one document, in the specification's order.
#[derive(Default)]
struct Fields {
    fields: Vec<Field>,
    /// Positions in `fields` by name, when there are many.
    by_name: Vec<u32>,
    /// The same while the tree is built.
    places: HashMap<Box<str>, usize>,
    /// Whether something below is computed, so that documents come into being where there are none.
    computes: bool,
}

struct Field {
    name: Box<str>,
    rule: Rule,
    /// The positional `$` stands at the end of this path: the first array on it is cut down to the matched element.
    positional: bool,
}

enum Rule {
    Keep,
    Drop,
    Nested(Fields),
    Compute(Expr),
    /// find's `$slice`.
    Slice(find::Slice),
    /// find's `$elemMatch`.
    ElemMatch(find::ElemMatch),
}

/// From how many fields on names are looked up by binary search.
const MANY: usize = 12;

impl Projection {
    /// A find or findAndModify projection, which may use `$`, `$slice`, `$elemMatch`; the positional `$` needs the filter.
    pub fn compile_find(spec: Doc<'_>, cx: &CompileCx) -> Result<Projection> {
        parse::Parser::new(cx, true).projection(spec)
    }

    /// The body of a `$project` stage.
    pub fn compile_project(spec: Doc<'_>, cx: &CompileCx) -> Result<Projection> {
        if spec.is_empty() {
            bail!(51272, "Invalid $project :: caused by :: projection specification must have at least one field");
        }
        parse::Parser::new(cx, false).projection(spec).map_err(|e| e.context("Invalid $project"))
    }

    /// The body of `$addFields` / `$set`.
    pub fn compile_add_fields(spec: Doc<'_>, cx: &CompileCx) -> Result<Projection> {
        parse::Parser::new(cx, false).add_fields(spec).map_err(|e| e.context("Invalid $addFields"))
    }

    /// The body of a `$unset` stage: a path or an array of paths.
    pub fn compile_unset(spec: Value<'_>, cx: &CompileCx) -> Result<Projection> {
        let spec = unset_spec(spec)?;
        parse::Parser::new(cx, false).projection(spec.as_doc()).map_err(|e| e.context("Invalid $unset"))
    }

    /// Writes the projected document to `out`. `filter` is the query's, for the positional operator.
    pub fn apply(&self, doc: Doc<'_>, filter: Option<&Matcher>, arena: &Arena, out: &mut Vec<u8>) -> Result<()> {
        let position = match filter {
            Some(filter) if self.positional => {
                if uses_expr(&filter.root) {
                    bail!(QueryFeatureNotAllowed, "$expr cannot be used with a positional projection");
                }
                filter.matches_with_position(doc, arena)?.flatten()
            }
            _ => None,
        };
        let run = Run { mode: self.mode, root: doc, arena, position: position.and_then(|p| usize::try_from(p).ok()) };
        run.document(&self.root, doc, &mut smongo_bson::DocWriter::new(out))
    }

    /// Top-level and dotted fields the projection reads, when that is a closed set (inclusions without expressions over
    /// `$$ROOT`): what a covered index must hold.
    pub fn needed_fields(&self) -> Option<&[String]> {
        self.needed.as_deref()
    }

    /// The expressions of computed fields.
    pub(crate) fn computed(&self) -> Vec<&Expr> {
        let mut found = Vec::new();
        self.root.computed(&mut found);
        found
    }

    /// The metadata that `$meta` reads.
    pub fn meta(&self) -> BTreeSet<&'static str> {
        self.computed().into_iter().flat_map(|e| e.dependencies().meta).collect()
    }

    /// Whether only named fields are kept.
    pub fn is_inclusion(&self) -> bool {
        self.mode == Mode::Inclusion
    }

    fn new(mode: Mode, mut root: Fields) -> Projection {
        root.index();
        let mut needed = BTreeSet::new();
        let closed = mode == Mode::Inclusion && root.needs("", &mut needed);
        let positional = root.positional();
        Projection { mode, needed: closed.then(|| needed.into_iter().collect()), positional, root }
    }
}

impl Fields {
    #[inline]
    fn find(&self, name: &[u8]) -> Option<(usize, &Field)> {
        if self.by_name.is_empty() {
            return self.fields.iter().enumerate().find(|(_, f)| f.name.as_bytes() == name);
        }
        let by_name = |i: &u32| self.fields.get(*i as usize);
        let at = self.by_name.binary_search_by(|i| by_name(i).map_or(b"".as_slice(), |f| f.name.as_bytes()).cmp(name)).ok()?;
        let at = *self.by_name.get(at)?;
        Some((at as usize, by_name(&at)?))
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.places.is_empty() {
            return self.fields.iter().position(|f| &*f.name == name);
        }
        self.places.get(name).copied()
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Field> {
        self.position(name).and_then(|at| self.fields.get_mut(at))
    }

    /// Adds a field of a new name; its place.
    fn push(&mut self, field: Field) -> usize {
        let at = self.fields.len();
        if at == MANY {
            self.places = self.fields.iter().enumerate().map(|(at, f)| (f.name.clone(), at)).collect();
        }
        if at >= MANY {
            self.places.insert(field.name.clone(), at);
        }
        self.fields.push(field);
        at
    }

    /// Prepares lookups, bottom up; the tree does not change after it.
    fn index(&mut self) {
        self.places = HashMap::new();
        for field in &mut self.fields {
            self.computes |= match &mut field.rule {
                Rule::Nested(inner) => {
                    inner.index();
                    inner.computes
                }
                Rule::Compute(_) | Rule::ElemMatch(_) => true,
                Rule::Keep | Rule::Drop | Rule::Slice(_) => false,
            };
        }
        if self.fields.len() > MANY {
            self.by_name = (0..self.fields.len() as u32).collect();
            self.by_name.sort_by_key(|i| self.fields.get(*i as usize).map(|f| f.name.clone()));
        }
    }

    fn computed<'f>(&'f self, found: &mut Vec<&'f Expr>) {
        for field in &self.fields {
            match &field.rule {
                Rule::Compute(expr) => found.push(expr),
                Rule::Nested(inner) => inner.computed(found),
                Rule::Keep | Rule::Drop | Rule::Slice(_) | Rule::ElemMatch(_) => {}
            }
        }
    }

    fn positional(&self) -> bool {
        self.fields.iter().any(|f| f.positional)
    }

    /// Collects the paths an inclusion reads; false when they are not known.
    fn needs(&self, prefix: &str, paths: &mut BTreeSet<String>) -> bool {
        self.fields.iter().all(|field| {
            let path = if prefix.is_empty() { field.name.to_string() } else { format!("{prefix}.{}", field.name) };
            match &field.rule {
                _ if field.positional => false,
                Rule::Drop => true,
                Rule::Keep | Rule::Slice(_) | Rule::ElemMatch(_) => {
                    paths.insert(path);
                    true
                }
                Rule::Nested(inner) => inner.needs(&path, paths),
                Rule::Compute(expr) => {
                    let reads = expr.dependencies();
                    // Below an array or document the computed field joins what is there.
                    if !prefix.is_empty() {
                        paths.insert(prefix.to_owned());
                    }
                    paths.extend(reads.fields);
                    // The sort key is made of the whole document.
                    !reads.whole_document && !reads.meta.contains("sortKey")
                }
            }
        })
    }
}

fn uses_expr(node: &Predicate) -> bool {
    match node {
        Predicate::And(nodes) | Predicate::Or(nodes) | Predicate::Nor(nodes) => nodes.iter().any(uses_expr),
        Predicate::Not(node) => uses_expr(node),
        Predicate::Expr(..) => true,
        _ => false,
    }
}

/// What a `$unset` stage removes, as the exclusion it stands for.
fn unset_spec(spec: Value<'_>) -> Result<DocBuf> {
    let names: Vec<Value<'_>> = match spec {
        Value::String(_) => vec![spec],
        Value::Array(names) => names.iter().collect(),
        _ => bail!(31002, "$unset specification must be a string or an array"),
    };
    if names.is_empty() {
        bail!(31119, "$unset specification must be a string or an array with at least one field");
    }
    let mut paths = Vec::new();
    for name in names {
        match name {
            Value::String(path) => paths.push(path),
            _ => bail!(31120, "$unset specification must be a string or an array containing only string values"),
        }
    }
    if paths.iter().any(|p| p.contains('\0')) {
        bail!(9527900, "$unset field names must not contain embedded null bytes");
    }
    Ok(DocBuf::build(|w| {
        for path in paths {
            w.append(path, 0);
        }
    }))
}
