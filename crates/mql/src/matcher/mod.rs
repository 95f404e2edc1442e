//! Filters: compiled once to a tree of [`Node`]s, matched against documents. The planner reads the same tree.

use std::sync::Arc;

use smongo_bson::path::Path;
use smongo_bson::{Doc, Result, ValueBuf, bail};

use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::regex::Regex;

/// A compiled filter.
pub struct Matcher {
    pub root: Node,
    pub collation: Option<Arc<Collation>>,
}

/// One predicate. Inner nodes hold at least one child, except `And([])`, which matches everything.
pub enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Nor(Vec<Node>),
    Not(Box<Node>),
    /// `$eq $gt $gte $lt $lte` against a value of the same type class.
    Compare { path: Path, op: CompareOp, value: ValueBuf },
    /// `$in`: values sorted and without duplicates; regexes apart.
    In { path: Path, values: Vec<ValueBuf>, regexes: Vec<Regex> },
    Exists { path: Path },
    /// `$type`: bit set of type numbers.
    Type { path: Path, types: TypeSet },
    Regex { path: Path, regex: Regex },
    Size { path: Path, size: i64 },
    Mod { path: Path, divisor: i64, remainder: i64 },
    Bits { path: Path, op: BitsOp, mask: Vec<u8> },
    /// `$elemMatch` over documents: the inner filter applies to array elements that are documents or arrays.
    ElemMatchObject { path: Path, filter: Box<Node> },
    /// `$elemMatch` over values: operators that apply to each array element itself (paths inside are empty).
    ElemMatchValue { path: Path, filter: Box<Node> },
    Expr(Expr),
    /// Anything that only the matcher itself understands ($jsonSchema, $sampleRate, …).
    Opaque(Box<dyn Predicate>),
    AlwaysFalse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Eq,
    Gt,
    Gte,
    Lt,
    Lte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitsOp {
    AllSet,
    AllClear,
    AnySet,
    AnyClear,
}

/// A set of BSON types: bit n is the type of number n; bits 30 and 31 are maxKey and minKey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TypeSet(pub u32);

pub trait Predicate: Send + Sync {
    fn matches(&self, doc: Doc<'_>, arena: &Arena) -> Result<bool>;
}

impl Matcher {
    pub fn compile(_filter: Doc<'_>, _cx: &CompileCx) -> Result<Matcher> {
        bail!(NotImplemented, "filters are not implemented yet")
    }

    pub fn matches(&self, _doc: Doc<'_>, _arena: &Arena) -> Result<bool> {
        bail!(NotImplemented, "filters are not implemented yet")
    }

    /// The filter `{}`.
    pub fn is_empty(&self) -> bool {
        matches!(&self.root, Node::And(children) if children.is_empty())
    }
}
