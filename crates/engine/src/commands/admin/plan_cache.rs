//! planCacheClear, planCacheClearFilters, planCacheListFilters, planCacheSetFilter

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::collation::Collation;
use smongo_mql::{Matcher, Projection, SortPattern};
use smongo_mql::access::Action;

use crate::data::catalog::{Collection, IndexFilter};
use crate::data::namespace::Ns;
use crate::query::plan::{Query, hashes};
use crate::service::command::{Access, Args, Command, Cx};

pub const PLAN_CACHE_CLEAR: Command = Command::new("planCacheClear", clear, 0, Access::Named(&[Action::PlanCacheWrite]));
pub const PLAN_CACHE_CLEAR_FILTERS: Command = Command::new("planCacheClearFilters", clear_filters, 0, Access::Named(&[Action::PlanCacheIndexFilter]));
pub const PLAN_CACHE_LIST_FILTERS: Command = Command::new("planCacheListFilters", list_filters, 0, Access::Named(&[Action::PlanCacheIndexFilter]));
pub const PLAN_CACHE_SET_FILTER: Command = Command::new("planCacheSetFilter", set_filter, 0, Access::Named(&[Action::PlanCacheIndexFilter]));

/// A query shape as these commands are given it. They look at these fields and no others; also unknown ones are allowed.
struct Shape {
    query: DocBuf,
    sort: DocBuf,
    projection: DocBuf,
    collation: DocBuf,
    hash: String,
}

impl Shape {
    /// Checks the fields against the language, so that the shape is one a query can have.
    fn parse(cx: &Cx<'_>, coll: &Collection, args: &mut Args<'_>) -> Result<Shape> {
        let query = document(args, "query")?;
        let sort = optional(args, "sort")?;
        let projection = optional(args, "projection")?;
        let mut compile = cx.op.compile.clone();
        let mut collation = DocBuf::new();
        match args.value("collation") {
            Value::Missing => {}
            Value::Document(d) if d.is_empty() => bail!(BadValue, "optional field collation must be a non-empty object"),
            Value::Document(d) => {
                compile.collation = Collation::parse(d)?.map(Arc::new);
                compile.simple_collation = compile.collation.is_none();
                collation = compile.collation.as_ref().map_or_else(|| DocBuf::from(d), |c| DocBuf::from(c.spec.as_doc()));
            }
            _ => bail!(BadValue, "optional field collation must be an object"),
        }
        if compile.collation.is_none() && !compile.simple_collation {
            compile.collation = coll.collation.clone();
        }
        let mut shaped = Query::new(Arc::new(Matcher::compile(query, &compile)?));
        SortPattern::compile(sort, &compile)?;
        if !projection.is_empty() {
            Projection::compile_find(projection, &compile)?;
        }
        (shaped.sort_doc, shaped.projection_doc) = (DocBuf::from(sort), DocBuf::from(projection));
        let hash = hashes::plan_shape(&shaped, &[]);
        Ok(Shape { query: DocBuf::from(query), sort: shaped.sort_doc, projection: shaped.projection_doc, collation, hash })
    }
}

fn as_document(value: Value<'_>) -> Option<Doc<'_>> {
    match value {
        Value::Document(d) => Some(d),
        Value::Array(a) => Some(a.0),
        _ => None,
    }
}

fn document<'a>(args: &mut Args<'a>, name: &str) -> Result<Doc<'a>> {
    match args.value(name) {
        Value::Missing => bail!(BadValue, "required field {name} missing"),
        v => as_document(v).map_or_else(|| bail!(BadValue, "required field {name} must be an object"), Ok),
    }
}

fn optional<'a>(args: &mut Args<'a>, name: &str) -> Result<Doc<'a>> {
    match args.value(name) {
        Value::Missing => Ok(Doc::EMPTY),
        v => as_document(v).map_or_else(|| bail!(BadValue, "optional field {name} must be an object"), Ok),
    }
}

/// The collection, when there is one; views have no plans, and time-series collections are views in MongoDB.
fn collection(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<(Ns, Option<Arc<Collection>>)> {
    let ns = args.ns(&cx.db)?;
    let coll = cx.op.collection(&ns)?;
    if coll.as_ref().is_some_and(|c| c.view().is_some() || c.timeseries.is_some()) {
        bail!(CommandNotSupportedOnView, "Namespace {ns} is a view, not a collection");
    }
    Ok((ns, coll))
}

/// The shape a command that clears names; `None` when it clears everything.
fn named_shape(cx: &Cx<'_>, coll: &Collection, args: &mut Args<'_>) -> Result<Option<Shape>> {
    if !args.value("query").is_missing() {
        return Shape::parse(cx, coll, args).map(Some);
    }
    for name in ["sort", "projection", "collation"] {
        if !args.value(name).is_missing() {
            bail!(BadValue, "sort, projection or collation provided without query");
        }
    }
    Ok(None)
}

fn clear(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let (_, Some(coll)) = collection(cx, args)? else { return Ok(()) };
    let shape = named_shape(cx, &coll, args)?;
    coll.state.plans.clear(shape.as_ref().map(|s| s.hash.as_str()));
    Ok(())
}

fn clear_filters(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let (_, Some(coll)) = collection(cx, args)? else { return Ok(()) };
    let shape = named_shape(cx, &coll, args)?;
    let hash = shape.as_ref().map(|s| s.hash.as_str());
    coll.state.plans.clear_filters(hash);
    coll.state.plans.clear(hash);
    Ok(())
}

fn list_filters(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let (_, coll) = collection(cx, args)?;
    let mut list = reply.array("filters");
    for filter in coll.iter().flat_map(|c| c.state.plans.filters()) {
        filter.describe(&mut list.document());
    }
    Ok(())
}

fn set_filter(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let (ns, coll) = collection(cx, args)?;
    let Some(coll) = coll else { bail!(BadValue, "no such collection: {ns}") };
    let shape = Shape::parse(cx, &coll, args)?;
    let indexes = match args.value("indexes") {
        Value::Missing => bail!(BadValue, "required field indexes missing"),
        Value::Array(a) if a.is_empty() => bail!(BadValue, "required field indexes must contain at least one index"),
        Value::Array(a) => a,
        _ => bail!(BadValue, "required field indexes must be an array"),
    };
    for index in indexes.iter() {
        match index {
            Value::String(_) => {}
            Value::Document(key) if !key.is_empty() => {}
            Value::Document(_) => bail!(BadValue, "index specification cannot be empty"),
            v => bail!(BadValue, "each item in indexes must be an object or a string, not {}", v.type_name()),
        }
    }
    let Shape { query, sort, projection, collation, hash } = shape;
    coll.state.plans.clear(Some(&hash));
    coll.state.plans.set_filter(IndexFilter { shape: hash, query, sort, projection, collation, indexes: DocBuf::from(indexes.0) });
    Ok(())
}
