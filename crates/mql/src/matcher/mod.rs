//! Filters: compiled once to a tree of [`Node`]s, matched against documents. The planner reads the same tree.
//!
//! - `parse`: BSON to nodes, one table of field operators and one of top-level operators; `fold` normalises.
//! - `walk`: paths with MongoDB's array fan-out over raw elements. `eval`: nodes against documents.
//! - `compare`, `set`, `bits`: the leaf tests. `schema`: `$jsonSchema`. `geo`: shapes. `explain`: why a document failed.

mod bits;
mod compare;
mod element;
mod eval;
mod explain;
mod fold;
mod geo;
mod implied;
mod parse;
mod schema;
mod set;
mod upsert;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use smongo_bson::path::Path;
use smongo_bson::{Doc, DocBuf, Result, Value, ValueBuf};

use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::regex::Regex;
use crate::text::Search;

pub use bits::{BitsOp, BitsTest};
pub use compare::{CompareOp, Test};
pub use element::ElementMatcher;
pub use geo::{GeoOrder, Grid, KeyRanges, Near};
pub(crate) use parse::is_expression;
pub use parse::operators;
pub use set::InSet;

/// A compiled filter.
pub struct Matcher {
    pub root: Node,
    pub collation: Option<Arc<Collation>>,
    source: DocBuf,
    /// How many nodes at the front of the `And` are not the filter's own, but follow from its `$expr`.
    implied: usize,
}

/// One predicate, normalised: `And`, `Or` and `Nor` are flat and hold at least two children (`Nor` one), except
/// `And([])`, which matches everything. Inside `ElemMatchValue` paths mean nothing: tests apply to the element itself.
pub enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Nor(Vec<Node>),
    Not(Box<Node>),
    /// `$eq $gt $gte $lt $lte` against a value of the same type class. `test` is the value prepared for comparing raw bytes.
    Compare {
        path: Path,
        op: CompareOp,
        value: ValueBuf,
        test: Test,
    },
    /// `$in`: values sorted and without duplicates; regexes apart.
    In {
        path: Path,
        values: Vec<ValueBuf>,
        regexes: Vec<Regex>,
        set: InSet,
    },
    Exists {
        path: Path,
    },
    /// `$type`: bit set of type numbers.
    Type {
        path: Path,
        types: TypeSet,
    },
    Regex {
        path: Path,
        regex: Regex,
    },
    Size {
        path: Path,
        size: i64,
    },
    Mod {
        path: Path,
        divisor: i64,
        remainder: i64,
    },
    Bits {
        path: Path,
        op: BitsOp,
        test: BitsTest,
    },
    /// `$elemMatch` over documents: the inner filter applies to array elements that are documents or arrays.
    ElemMatchObject {
        path: Path,
        filter: Box<Node>,
    },
    /// `$elemMatch` over values: operators that apply to each array element itself (paths inside mean nothing).
    ElemMatchValue {
        path: Path,
        filter: Box<Node>,
    },
    Expr(Expr),
    /// For the planner, what an `$expr` beside it demands: the value at the path, as a whole, compares so with this one in the order of all
    /// types. As a filter it holds.
    Implied {
        path: Path,
        op: CompareOp,
        value: ValueBuf,
    },
    /// A test of the values at a path that only the matcher itself understands (geo).
    Field {
        path: Path,
        test: Box<dyn FieldTest>,
    },
    /// `$near`, `$nearSphere`: at most one, at the top or in the `And` there. Matches what lies within the distances; results
    /// are wanted in the order of [`Near::distance`].
    Near(Near),
    /// `$text`: at most one. The engine finds the documents by a text index; to the matcher, it holds.
    Text(Box<Search>),
    /// A test of the whole document that only the matcher itself understands (`$jsonSchema`, `$sampleRate`).
    Opaque(Box<dyn Predicate>),
    AlwaysFalse,
}

/// A set of BSON types: bit n is the type of number n; bits 30 and 31 are maxKey and minKey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TypeSet(pub u32);

impl TypeSet {
    /// `"number"`: double, int, long, decimal.
    pub const NUMBER: TypeSet = TypeSet(1 << 1 | 1 << 16 | 1 << 18 | 1 << 19);

    pub fn of(tag: u8) -> TypeSet {
        TypeSet(match tag {
            1..=19 => 1 << tag,
            127 => 1 << 30,
            255 => 1 << 31,
            _ => 0,
        })
    }

    pub fn contains(self, tag: u8) -> bool {
        self.0 & TypeSet::of(tag).0 != 0
    }
}

/// A test of the values at a path.
pub trait FieldTest: Send + Sync {
    fn matches(&self, value: Value<'_>) -> bool;
    /// Whether array elements are tested before the array itself.
    fn expands(&self) -> bool {
        true
    }
    /// The keys of a geospatial index that hold every value that can pass; `None` when such an index does not help.
    fn geo_ranges(&self, _order: &GeoOrder) -> Option<KeyRanges> {
        None
    }
}

impl Node {
    /// The path a leaf looks at.
    pub fn path(&self) -> Option<&str> {
        match self {
            Node::Compare { path, .. }
            | Node::Implied { path, .. }
            | Node::In { path, .. }
            | Node::Exists { path }
            | Node::Type { path, .. }
            | Node::Regex { path, .. }
            | Node::Size { path, .. }
            | Node::Mod { path, .. }
            | Node::Bits { path, .. }
            | Node::ElemMatchObject { path, .. }
            | Node::ElemMatchValue { path, .. }
            | Node::Field { path, .. } => Some(path.text()),
            _ => None,
        }
    }
}

/// A test of a document.
pub trait Predicate: Send + Sync {
    fn matches(&self, doc: Doc<'_>, arena: &Arena) -> Result<bool>;
}

impl Matcher {
    /// Compiles a filter. Errors carry MongoDB's codes: 2 for most malformed operators, 9, 14, 51091 …
    pub fn compile(filter: Doc<'_>, cx: &CompileCx) -> Result<Matcher> {
        Matcher::of(parse::filter(filter, parse::Place::Query, cx)?, filter, cx)
    }

    /// Compiles the filter of a `$match` stage, where `$where` (2) and `$near` (5626500) are refused, and `$text` unless
    /// it is the `first` stage (17313).
    pub fn compile_stage(filter: Doc<'_>, first: bool, cx: &CompileCx) -> Result<Matcher> {
        let place = if first { parse::Place::FirstStage } else { parse::Place::Stage };
        Matcher::of(parse::filter(filter, place, cx)?, filter, cx)
    }

    fn of(root: Node, source: Doc<'_>, cx: &CompileCx) -> Result<Matcher> {
        let (root, implied) = implied::with_implied(root, cx)?;
        Ok(Matcher { root, collation: cx.collation.clone(), source: source.into(), implied })
    }

    /// The query of a `$geoNear` stage together with its nearness.
    pub fn near_stage(query: Doc<'_>, near: Near, cx: &CompileCx) -> Result<Matcher> {
        let query_node = parse::filter(query, parse::Place::Stage, cx)?;
        let root = match query_node {
            Node::And(mut all) => {
                all.push(Node::Near(near));
                if all.len() == 1 { all.remove(0) } else { Node::And(all) }
            }
            one => Node::And(vec![one, Node::Near(near)]),
        };
        Matcher::of(root, query, cx)
    }

    pub fn matches(&self, doc: Doc<'_>, arena: &Arena) -> Result<bool> {
        eval::Eval::new(arena, self.collation.as_deref()).node(&self.root, doc)
    }

    /// Whether one of this filter's nodes holds: for the planner, which tests what an index has not answered.
    pub fn node_matches(&self, node: &Node, doc: Doc<'_>, arena: &Arena) -> Result<bool> {
        eval::Eval::new(arena, self.collation.as_deref()).node(node, doc)
    }

    /// Like [`matches`](Self::matches), and where it matches, the position the positional `$` stands for: that of the
    /// element by which the last array on a path matched.
    pub fn matches_with_position(&self, doc: Doc<'_>, arena: &Arena) -> Result<Option<Option<u32>>> {
        let mut eval = eval::Eval::positional(arena, self.collation.as_deref());
        Ok(eval.node(&self.root, doc)?.then_some(eval.position))
    }

    /// The filter `{}`.
    pub fn is_empty(&self) -> bool {
        matches!(&self.root, Node::And(children) if children.is_empty())
    }

    /// The `$near` or `$nearSphere` of the filter: results come in the order of its distances.
    pub fn near(&self) -> Option<&Near> {
        self.root.conjuncts().iter().find_map(|n| if let Node::Near(near) = n { Some(near) } else { None })
    }

    /// The `$text` of the filter, at the top or in the `And` there.
    pub fn text(&self) -> Option<&Search> {
        self.root.conjuncts().iter().find_map(|n| if let Node::Text(search) = n { Some(&**search) } else { None })
    }

    /// The `$text` of the filter, wherever it stands: a filter has one at most.
    pub fn search(&self) -> Option<&Search> {
        fn within(node: &Node) -> Option<&Search> {
            match node {
                Node::Text(search) => Some(search),
                Node::And(children) | Node::Or(children) | Node::Nor(children) => children.iter().find_map(within),
                Node::Not(child) => within(child),
                _ => None,
            }
        }
        within(&self.root)
    }

    /// Whether there is a `$text` anywhere.
    pub fn has_text(&self) -> bool {
        self.search().is_some()
    }

    /// What the filter itself demands, all of it, without what follows from its `$expr`.
    pub fn own(&self) -> &[Node] {
        self.root.conjuncts().get(self.implied..).unwrap_or_default()
    }

    /// The filter as it was given.
    pub fn source(&self) -> Doc<'_> {
        self.source.as_doc()
    }

    /// The fields an upsert takes from the filter: paths held to one value by equality, also through `$and`, `$eq`,
    /// a single `$in` or `$all` value, or an `$or` of one. Error 54 when a path is fixed twice.
    pub fn equalities(&self) -> Result<Vec<(&str, Value<'_>)>> {
        upsert::equalities(self.own())
    }

    /// The `_id` a replacement takes from the filter when it is inserted.
    pub fn exact_id(&self) -> Result<Option<Value<'_>>> {
        upsert::exact_id(self.own())
    }

    /// Compiles `{name: condition}` or `{"name.path": condition}` to be applied to array elements; see [`ElementMatcher`].
    pub fn for_array_element(filter: Doc<'_>, cx: &CompileCx) -> Result<ElementMatcher> {
        ElementMatcher::compile(filter, cx)
    }
}
