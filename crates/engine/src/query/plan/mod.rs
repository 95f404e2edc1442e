//! The planner: a compiled query and the collection's indexes in, a plan out.

pub(crate) mod bounds;
pub mod cache;
pub(crate) mod candidate;
mod choose;
pub(crate) mod cover;
mod distinct;
pub(crate) mod explain;
pub(crate) mod hashes;
pub(crate) mod interval;
mod near;
mod node;
mod partial;
mod predicate;
mod render;
mod settings;
mod text;
mod wildcard;

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, Value, bail, number};
use smongo_mql::matcher::{CompareOp, Node};
use smongo_mql::{Matcher, Projection, SortPattern, Stream};

use crate::data::catalog::{Collection, IndexFilter};
use crate::data::op::OpCx;
use crate::query::exec::{self, Rows};
use choose::Choice;
pub use candidate::cells;
pub use cover::Covered;
pub use distinct::distinct;
pub(crate) use near::only_key as near_key;
pub use node::{Filter, IndexScan, NodePath, PlanNode};
pub use render::matcher as describe_filter;

/// What find, update, delete, count, distinct and the front of an aggregation ask of one collection.
pub struct Query {
    pub filter: Arc<Matcher>,
    pub sort: Option<SortPattern>,
    pub projection: Option<Projection>,
    pub skip: u64,
    pub limit: Option<u64>,
    pub hint: Option<Hint>,
    /// Inclusive lower and exclusive upper index key bounds of find.
    pub min: Option<DocBuf>,
    pub max: Option<DocBuf>,
    pub return_key: bool,
    /// The sort key goes with each document.
    pub sort_key: bool,
    /// Something asks for `$meta: "indexKey"`.
    pub keep_keys: bool,
    pub show_record_id: bool,
    pub allow_disk_use: bool,
    /// A tailable cursor: a scan that is at its end continues there when it is asked again.
    pub tailable: bool,
    /// The documents the query was compiled from, for explain.
    pub filter_doc: DocBuf,
    pub sort_doc: DocBuf,
    pub projection_doc: DocBuf,
}

/// Whether a projection or a pipeline asks for the entry of the index by which a document was found.
pub fn asks_for_keys(value: Value<'_>) -> bool {
    match value {
        Value::Document(d) => d.iter().any(|e| (e.name() == "$meta" && e.value().as_str() == Some("indexKey")) || asks_for_keys(e.value())),
        Value::Array(a) => a.iter().any(asks_for_keys),
        _ => false,
    }
}

impl Query {
    /// All documents that match, in whatever order; everything else is off.
    pub fn new(filter: Arc<Matcher>) -> Query {
        Query {
            filter_doc: DocBuf::from(filter.source()),
            filter,
            sort: None,
            projection: None,
            skip: 0,
            limit: None,
            hint: None,
            min: None,
            max: None,
            return_key: false,
            sort_key: false,
            keep_keys: false,
            show_record_id: false,
            allow_disk_use: true,
            tailable: false,
            sort_doc: DocBuf::new(),
            projection_doc: DocBuf::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Hint {
    Name(String),
    Key(DocBuf),
    /// `{$natural: 1}` or -1.
    Natural { forward: bool },
}

impl Hint {
    /// A command's `hint`: an index name, a key pattern, or `{$natural: ±1}`. `{}` is none. FailedToParse for other types.
    pub fn parse(hint: Value<'_>) -> Result<Option<Hint>> {
        let key = match hint {
            Value::Missing => return Ok(None),
            Value::String(name) => return Ok(Some(Hint::Name(name.to_owned()))),
            Value::Document(key) if key.is_empty() => return Ok(None),
            Value::Document(key) => key,
            v => bail!(FailedToParse, "Hint must be a string or an object, not {}", v.type_name()),
        };
        let natural = key.get("$natural");
        if natural.is_missing() {
            return Ok(Some(Hint::Key(DocBuf::from(key))));
        }
        if key.len() > 1 {
            bail!(BadValue, "$natural hint cannot be combined with other fields: {key:?}");
        }
        match natural.is_number().then(|| number::to_f64(natural)).flatten() {
            Some(1.0) => Ok(Some(Hint::Natural { forward: true })),
            Some(-1.0) => Ok(Some(Hint::Natural { forward: false })),
            _ => bail!(BadValue, "$natural hint must be 1 or -1"),
        }
    }
}

/// A filter with its conditions in one order, for comparing filters.
pub fn normal_form(matcher: &Matcher) -> DocBuf {
    render::matcher(matcher)
}

/// How a query will be answered.
pub struct Plan {
    pub(crate) coll: Arc<Collection>,
    pub(crate) query: Query,
    pub(crate) sort: Option<Arc<SortPattern>>,
    /// From the source up to and including sort, skip and limit; projection is on top of it.
    pub(crate) root: PlanNode,
    /// The same over other sources that could have served too.
    pub(crate) rejected: Vec<PlanNode>,
    /// What the plan and the rejected ones are estimated to cost; empty when there was nothing to choose.
    pub(crate) costs: Vec<f64>,
    /// An index filter narrowed the choice.
    pub(crate) filter_set: bool,
}

/// Chooses a plan. Begins the operation's transaction, so that what is known of the indexes is at least as new as its snapshot.
pub fn plan(op: &mut OpCx, coll: &Arc<Collection>, mut query: Query) -> Result<Plan> {
    op.store()?;
    let coll = &op.seen(coll);
    let sort = query.sort.take().filter(|s| !s.parts.is_empty()).map(Arc::new);
    let set = op.settings.as_ref().and_then(|settings| settings::allowed(settings.as_doc(), coll));
    let filter_set = set.is_none();
    let only = set.or_else(|| cache::filter(coll, &query));
    if let Some(name) = sort.as_ref().and_then(|s| s.parts.iter().find_map(|p| p.meta.as_deref())) {
        check_meta(&query.filter, name)?;
    }
    let chosen = match query.filter.near() {
        Some(near) => near::source(coll, &query, near)?,
        None if query.filter.has_text() => text::source(coll, &query)?,
        None => source(coll, &query, sort.as_deref(), only.as_ref())?,
    };
    let Choice { root, sorted, rejected, costs } = chosen;
    if op.data.tuning.no_table_scan() && matches!(root, PlanNode::CollScan { .. }) && !coll.ns.is_internal() {
        bail!(NoQueryExecutionPlans, "error processing query: ns={} planner returned error :: caused by :: No indexed plans available, and running with 'notablescan'", coll.ns);
    }
    let complete = |(root, sorted)| complete(root, sorted, &query, sort.as_deref());
    let (root, rejected) = (complete((root, sorted)), rejected.into_iter().map(complete).collect());
    Ok(Plan { coll: coll.clone(), query, sort, root, rejected, costs, filter_set: filter_set && only.is_some() })
}

/// A source with what stands above it: sort, skip and limit; without its documents, where index keys will do.
fn complete(mut root: PlanNode, sorted: bool, query: &Query, sort: Option<&SortPattern>) -> PlanNode {
    if sort.is_some() && (!sorted || query.filter.near().is_some()) {
        let limit = query.limit.map(|l| l.saturating_add(query.skip));
        root = PlanNode::Sort { input: Box::new(root), limit };
    }
    if query.return_key {
        root = root.without_documents();
    } else if let Some(fields) = query.projection.as_ref().and_then(Projection::needed_fields) {
        let sorts = sort.filter(|_| root.sorts()).into_iter().flat_map(|s| &s.parts);
        let needed: Vec<&str> = fields.iter().map(String::as_str).chain(sorts.map(|p| p.path.text())).collect();
        root = cover::cover(root, &needed);
    }
    if query.skip > 0 {
        root = PlanNode::Skip { input: Box::new(root), count: query.skip };
    }
    if let Some(count) = query.limit {
        root = PlanNode::Limit { input: Box::new(root), count };
    }
    root
}

/// A sort by what only a search attaches to documents needs that search.
fn check_meta(filter: &Matcher, name: &str) -> Result<()> {
    match name {
        "textScore" if !filter.has_text() => bail!(40218, "query requires text score metadata, but it is not available"),
        "geoNearDistance" if filter.near().is_none() => bail!(40218, "query requires geoNear distance metadata, but it is not available"),
        _ => Ok(()),
    }
}

fn source(coll: &Arc<Collection>, query: &Query, sort: Option<&SortPattern>, only: Option<&IndexFilter>) -> Result<Choice> {
    let one = |root| Choice { root, sorted: true, rejected: Vec::new(), costs: Vec::new() };
    if let Some(hint) = &query.hint
        && !matches!(hint, Hint::Natural { .. })
    {
        choose::hinted(coll, hint)?;
    }
    if matches!(query.filter.root, Node::AlwaysFalse) || coll.storage().is_none() {
        return Ok(one(PlanNode::Eof));
    }
    if query.hint.is_none()
        && query.min.is_none()
        && query.max.is_none()
        && !query.return_key
        && !query.keep_keys
        && let Node::Compare { path, op: CompareOp::Eq, value, .. } = &query.filter.root
        && path.text() == "_id"
        && is_point(coll, value.view(), query.filter.collation.is_some())
    {
        return Ok(one(PlanNode::Id { value: value.clone() }));
    }
    choose::choose(coll, query, sort, only)
}

impl Plan {
    /// The documents as the client sees them: with projection, sort, skip and limit.
    pub fn open(self, _op: &mut OpCx) -> Result<Box<dyn Stream>> {
        cache::remember(&self);
        exec::open_stream(self)
    }

    /// The same plan for a reader that does not look at the documents.
    pub fn without_documents(mut self) -> Plan {
        self.root = self.root.without_documents();
        self
    }

    /// How many documents there are. Documents are not read when index keys tell already.
    pub fn count(self, op: &mut OpCx) -> Result<u64> {
        cache::remember(&self);
        let mut rows = exec::open_rows(self.without_documents())?;
        let mut n = 0;
        while rows.advance(op)? {
            n += 1;
        }
        Ok(n)
    }

    /// The same rows with the plan kept, for explain.
    pub fn rows(&self) -> Result<Box<dyn Rows>> {
        exec::rows(self)
    }

    /// The documents as they are stored, for whoever changes them.
    pub fn open_rows(self, _op: &mut OpCx) -> Result<Box<dyn Rows>> {
        cache::remember(&self);
        exec::open_rows(self)
    }
}

/// The value when a filter is `{_id: value}` and the index on `_id` answers it alone: see [`catalog::find_by_id`].
/// `collated` says whether the command has a collation in force.
pub fn by_id<'a>(coll: &Collection, filter: Doc<'a>, collated: bool) -> Option<Value<'a>> {
    let mut fields = filter.iter();
    let first = fields.next()?;
    if first.name_bytes() != b"_id" || fields.next().is_some() {
        return None;
    }
    let value = first.value();
    is_point(coll, value, collated).then_some(value)
}

/// Whether equality of `_id` with a value means one key of the index.
pub fn is_point(coll: &Collection, value: Value<'_>, collated: bool) -> bool {
    match value {
        _ if coll.id_index().is_none() => false,
        Value::Array(_) | Value::Regex(_) | Value::Undefined | Value::Missing => false,
        Value::String(_) | Value::Symbol(_) => !collated && coll.collation.is_none(),
        Value::Document(d) => !collated && coll.collation.is_none() && d.first().is_none_or(|e| !e.name_bytes().starts_with(b"$")),
        _ => true,
    }
}
