//! BSON to nodes: the tables of operators.

mod array;
mod fields;
mod geo;
mod logical;
mod regexes;

use smongo_bson::path::Path;
use smongo_bson::{Doc, Result, Value, bail};

use super::Node;
use super::compare::CompareOp;
use crate::collation::Collation;
use crate::cx::CompileCx;

/// How deep a filter may be nested, as in MongoDB.
const MAX_DEPTH: u32 = 100;

/// What a filter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    /// A `$match` that begins a pipeline, and any other.
    FirstStage,
    Stage,
}

/// Where in a filter the parser is.
#[derive(Clone, Copy)]
pub(super) struct Parser<'p> {
    pub cx: &'p CompileCx,
    place: Place,
    depth: u32,
    /// Inside `$elemMatch`: operators that need the whole document are refused.
    nested: bool,
    /// Inside `$nor` or `$not`.
    negated: bool,
    /// Inside `$or`, `$nor`, `$not` or `$elemMatch`: nothing that orders the results.
    within: bool,
}

/// One operator under a field: `{path: {name: value, …siblings}}`.
pub(super) struct FieldOp<'a> {
    pub name: &'a str,
    pub path: &'a str,
    pub value: Value<'a>,
    pub siblings: Doc<'a>,
}

type FieldParse = fn(Parser<'_>, &FieldOp<'_>) -> Result<Option<Node>>;
type TopParse = fn(Parser<'_>, &str, Value<'_>) -> Result<Option<Node>>;

/// Operators under a field, sorted. `None`: the operator is read together with another.
const FIELD_OPERATORS: &[(&str, FieldParse)] = &[
    ("$all", array::all),
    ("$bitsAllClear", fields::bits),
    ("$bitsAllSet", fields::bits),
    ("$bitsAnyClear", fields::bits),
    ("$bitsAnySet", fields::bits),
    ("$comment", fields::ignored),
    ("$elemMatch", array::elem_match),
    ("$eq", fields::eq),
    ("$exists", fields::exists),
    ("$geoIntersects", geo::intersects),
    ("$geoNear", geo::near),
    ("$geoWithin", geo::within),
    ("$gt", fields::range),
    ("$gte", fields::range),
    ("$in", array::in_list),
    ("$lt", fields::range),
    ("$lte", fields::range),
    ("$maxDistance", geo::distance),
    ("$minDistance", geo::distance),
    ("$mod", fields::modulo),
    ("$ne", fields::ne),
    ("$near", geo::near),
    ("$nearSphere", geo::near),
    ("$nin", array::nin),
    ("$not", logical::not),
    ("$options", regexes::options),
    ("$regex", regexes::regex),
    ("$size", fields::size),
    ("$type", fields::type_of),
    ("$uniqueDocs", fields::ignored),
    ("$within", geo::within),
];

/// Operators in the place of a field, sorted.
const TOP_OPERATORS: &[(&str, TopParse)] = &[
    ("$alwaysFalse", logical::always_false),
    ("$alwaysTrue", logical::always_true),
    ("$and", logical::and),
    ("$comment", logical::comment),
    ("$expr", logical::expr),
    ("$jsonSchema", logical::json_schema),
    ("$nor", logical::nor),
    ("$or", logical::or),
    ("$sampleRate", logical::sample_rate),
    ("$text", logical::text),
    ("$where", logical::where_js),
];

/// Names of all operators, sorted.
pub fn operators() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = FIELD_OPERATORS.iter().map(|r| r.0).chain(TOP_OPERATORS.iter().map(|r| r.0)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

fn row<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.binary_search_by(|(n, _)| (*n).cmp(name)).ok().and_then(|i| table.get(i)).map(|(_, f)| *f)
}

/// Parses a whole filter.
pub(super) fn filter(filter: Doc<'_>, place: Place, cx: &CompileCx) -> Result<Node> {
    let root = Parser { cx, place, depth: 0, nested: false, negated: false, within: false }.document(filter)?;
    let nears = root.conjuncts().iter().filter(|n| matches!(n, Node::Near(_))).count();
    if nears > 1 {
        bail!(BadValue, "Too many geoNear expressions");
    }
    if nears > 0 && texts(&root) > 0 {
        bail!(BadValue, "text and geoNear not allowed in same query");
    }
    if texts(&root) > 1 {
        bail!(BadValue, "Too many text expressions");
    }
    Ok(root)
}

/// How many `$text` there are.
pub(super) fn texts(node: &Node) -> usize {
    match node {
        Node::Text(_) => 1,
        Node::And(children) | Node::Or(children) | Node::Nor(children) => children.iter().map(texts).sum(),
        _ => 0,
    }
}

impl<'p> Parser<'p> {
    fn collation(&self) -> Option<&'p Collation> {
        self.cx.collation.as_deref()
    }

    /// One level further down.
    fn deeper(self, operator: &str) -> Result<Parser<'p>> {
        if self.depth >= MAX_DEPTH {
            bail!(BadValue, "exceeded maximum query tree depth of {MAX_DEPTH} at {operator}");
        }
        Ok(Parser { depth: self.depth + 1, ..self })
    }

    /// `{field: condition, $operator: …}`.
    fn document(self, filter: Doc<'_>) -> Result<Node> {
        let mut nodes = Vec::new();
        for e in filter {
            let name = e.name();
            if name.starts_with('$') && !is_dbref_name(name) {
                let Some(parse) = row(TOP_OPERATORS, name) else {
                    bail!(BadValue, "unknown top level operator: {name}. If you have a field name that starts with a '$' symbol, consider using $getField or $setField.");
                };
                nodes.extend(parse(self, name, e.value())?);
            } else {
                nodes.push(self.field(name, e.value())?);
            }
        }
        Ok(Node::and(nodes))
    }

    /// `path: condition`.
    fn field(self, path: &str, value: Value<'_>) -> Result<Node> {
        match value {
            Value::Document(d) if is_expression(d) => self.operators(path, d),
            Value::Regex(r) => Ok(Node::Regex { path: Path::new(path), regex: crate::regex::Regex::from_bson(r)? }),
            other => fields::comparison(self, path, CompareOp::Eq, other),
        }
    }

    /// `path: {$operator: …}`.
    fn operators(self, path: &str, operators: Doc<'_>) -> Result<Node> {
        super::geo::alone(operators)?;
        let mut nodes = Vec::new();
        for e in operators {
            let name = e.name();
            let Some(parse) = row(FIELD_OPERATORS, name) else {
                bail!(BadValue, "unknown operator: {name}");
            };
            nodes.extend(parse(self, &FieldOp { name, path, value: e.value(), siblings: operators })?);
        }
        Ok(Node::and(nodes))
    }
}

/// Names of a DBRef's fields, which are no operators.
fn is_dbref_name(name: &str) -> bool {
    matches!(name, "$ref" | "$id" | "$db")
}

/// Whether a condition is made of operators rather than a document to be equal to.
pub(crate) fn is_expression(d: Doc<'_>) -> bool {
    d.first().is_some_and(|e| e.name().starts_with('$') && !is_dbref_name(e.name()))
}
