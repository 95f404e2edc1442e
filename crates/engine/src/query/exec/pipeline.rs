//! Aggregations: views resolved, the front of the pipeline absorbed into the query, the rest folded over its documents.

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, Value, bail};
use smongo_mql::pipeline::{Stage, is_fusion, is_search, optimize, stage_array};
use smongo_mql::stream::Docs;
use smongo_mql::{CompileCx, Matcher, Pipeline, Stream};

use crate::data::catalog::Collection;
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::plan::{self, Hint, Plan, PlanNode, Query};

/// A collection and the stages over it, once views are resolved.
pub struct Resolved {
    pub ns: Ns,
    /// `None` when there is no such collection.
    pub coll: Option<Arc<Collection>>,
    pub stages: Vec<DocBuf>,
    /// What is read are the collection's buckets.
    pub buckets: bool,
    /// The documents of what is read, where they are not stored.
    pub made: Vec<DocBuf>,
}

/// Replaces views by what they are defined over.
pub fn resolve(op: &OpCx, ns: Ns, stages: &[DocBuf], cx: &CompileCx) -> Result<Resolved> {
    let mut resolved = Resolved { ns, coll: None, stages: stages.to_vec(), buckets: false, made: Vec::new() };
    for _ in 0..=limits::VIEW_DEPTH {
        let Some(coll) = op.collection(&resolved.ns)? else { return Ok(resolved) };
        let Some(view) = coll.view() else {
            resolved.coll = Some(coll);
            return Ok(resolved);
        };
        if !same_collation(cx, &coll) {
            bail!(OptionNotSupportedOnView, "Cannot override a view's default collation{}", coll.ns);
        }
        // A fusion's inputs read the view themselves, and search indexes are the view's own.
        if resolved.stages.first().is_some_and(|first| is_fusion(first.as_doc()) || is_search(first.as_doc())) {
            resolved.coll = Some(coll);
            return Ok(resolved);
        }
        if let Some(made) = &view.made {
            resolved.made.clone_from(made);
            return Ok(resolved);
        }
        resolved.buckets |= view.buckets_of.is_some();
        resolved.ns = Ns::unchecked(coll.ns.db(), &view.on);
        resolved.stages.splice(0..0, view.pipeline.iter().cloned());
    }
    bail!(ViewDepthLimitExceeded, "View depth too deep or view cycle detected; maximum depth is {}", limits::VIEW_DEPTH)
}

fn same_collation(cx: &CompileCx, view: &Collection) -> bool {
    match (&cx.collation, &view.collation) {
        (None, None) => true,
        // The command itself takes the view's; what is nested in it has the command's, be it none.
        (None, Some(_)) => cx.depth == 0,
        (Some(a), Some(b)) => a.spec.as_bytes() == b.spec.as_bytes(),
        (Some(_), None) => false,
    }
}

/// Opens an aggregation over a collection, a view, or nothing.
pub fn open_pipeline(op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>> {
    open_hinted(op, db, coll, stages, cx, None)
}

/// The same, with the index the first collection is to be read by.
pub fn open_hinted(op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx, hint: Option<Hint>) -> Result<Box<dyn Stream>> {
    prepare(op, db, coll, stages, cx, hint)?.open(op)
}

/// Whether an index finds what is equal to a value at a path: see [`smongo_mql::Host::finds`].
pub fn finds(op: &mut OpCx, db: &str, coll: &str, path: &str, cx: &CompileCx) -> Result<bool> {
    let Some(coll) = op.collection(&Ns::unchecked(db, coll))? else { return Ok(true) };
    if coll.view().is_some() {
        return Ok(false);
    }
    // A string stands for all values: where collations differ, it is what an index does not find.
    let filter = DocBuf::build(|w| { w.append(path, ""); });
    let plan = plan::plan(op, &coll, Query::new(Arc::new(Matcher::compile(filter.as_doc(), cx)?)))?;
    Ok(!matches!(plan.root, PlanNode::CollScan { .. }))
}

/// An aggregation before it runs.
pub struct Prepared {
    /// How the collection is read; `None` when there is none.
    pub plan: Option<Plan>,
    /// The stages that are not part of the plan.
    pub rest: Pipeline,
    /// The same as they were given.
    pub rest_stages: Vec<DocBuf>,
    /// The collection that is read, behind any views.
    pub ns: Ns,
    /// The collection whose buckets are made of what the plan reads.
    pub buckets_of: Option<Arc<Collection>>,
    /// What the stages read where there is no plan.
    pub made: Vec<DocBuf>,
}

impl Prepared {
    pub fn open(self, op: &mut OpCx) -> Result<Box<dyn Stream>> {
        let mut rest = self.rest;
        if self.plan.as_ref().is_none_or(|p| p.query.projection.is_none()) {
            rest.trim();
        }
        let mut source: Box<dyn Stream> = match self.plan {
            Some(plan) => plan.open(op)?,
            None => Box::new(Docs::new(self.made)),
        };
        if let Some(series) = self.buckets_of {
            source = crate::data::buckets::open(&series, source);
        }
        rest.open(source)
    }
}

/// Compiles an aggregation and plans its front.
pub fn prepare(op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx, hint: Option<Hint>) -> Result<Prepared> {
    let mut resolved = match stages.first() {
        // It tells of the view itself.
        Some(first) if first.as_doc().contains("$collStats") => {
            let ns = Ns::unchecked(db, coll);
            Resolved { coll: op.collection(&ns)?, ns, stages: stages.to_vec(), buckets: false, made: Vec::new() }
        }
        _ => resolve(op, Ns::unchecked(db, coll), stages, cx)?,
    };
    // A view's own stages are about what the view is made of.
    let fuses = resolved.stages.first().is_some_and(|first| is_fusion(first.as_doc()));
    let of_view = resolved.stages.len() > stages.len() && (fuses || resolved.stages.first().is_some_and(|first| first.as_doc().contains("$collStats")));
    if fuses && resolved.coll.as_ref().is_some_and(|coll| coll.timeseries.is_some() || coll.view().is_some_and(|view| view.buckets_of.is_some())) {
        bail!(10557301, "hybrid searches are not supported on the time-series collection {}", resolved.ns);
    }
    let below = resolved.ns.clone();
    let coll = if of_view { below.coll() } else { coll };
    let own;
    let cx = if cx.db == db && cx.coll == coll {
        cx
    } else {
        own = CompileCx { db: db.to_owned(), coll: coll.to_owned(), ..cx.clone() };
        &own
    };
    optimize(&mut resolved.stages, cx);
    let array = stage_array(&resolved.stages);
    let Some(array) = array.as_array() else { bail!(InternalError, "a pipeline that is no array") };
    let pipeline = Pipeline::compile(array, cx)?;
    let Some(coll) = resolved.coll.filter(|_| !pipeline.is_source()) else {
        if let Some(Stage::GeoNear(_)) = pipeline.stages.first() {
            bail!(NamespaceNotFound, "$geoNear is only supported on a collection that exists: {}", resolved.ns);
        }
        return Ok(Prepared { plan: None, rest: pipeline, rest_stages: resolved.stages, ns: resolved.ns, buckets_of: None, made: resolved.made });
    };
    if resolved.buckets {
        // Buckets are made of all measurements, in their own order.
        if hint.is_some_and(|hint| !matches!(hint, Hint::Natural { forward: true })) {
            bail!(BadValue, "error processing query: the buckets of {} have no index that a hint could name", resolved.ns);
        }
        let query = Query::new(Arc::new(Matcher::compile(Doc::EMPTY, &CompileCx::default())?));
        let plan = plan::plan(op, &coll, query)?;
        return Ok(Prepared { plan: Some(plan), rest: pipeline, rest_stages: resolved.stages, ns: resolved.ns, buckets_of: Some(coll), made: Vec::new() });
    }
    let (mut query, rest, taken) = absorb(pipeline, &coll, cx)?;
    query.hint = hint;
    query.keep_keys = resolved.stages.iter().any(|stage| plan::asks_for_keys(stage.as_doc().into()));
    describe(&mut query, &resolved.stages);
    let rest_stages = resolved.stages.split_off(taken.min(resolved.stages.len()));
    let mut plan = plan::plan(op, &coll, query)?;
    if plan.query.projection.is_none() && rest_stages.first().is_some_and(reads_nothing) {
        plan.root = plan.root.without_documents();
    }
    Ok(Prepared { plan: Some(plan), rest, rest_stages, ns: resolved.ns, buckets_of: None, made: Vec::new() })
}

/// The documents a query was made of, for explain.
fn describe(query: &mut Query, stages: &[DocBuf]) {
    query.filter_doc = DocBuf::from(query.filter.source());
    if query.sort.is_some() {
        let sort = stages.iter().find_map(|s| s.get("$sort").as_doc());
        query.sort_doc = sort.map(DocBuf::from).unwrap_or_default();
    }
    if query.projection.is_some() {
        let project = stages.iter().find_map(|s| s.get("$project").as_doc());
        query.projection_doc = project.map(DocBuf::from).unwrap_or_default();
    }
}

/// Whether a stage looks at no field: `$count`, and a `$group` of constants, as drivers count documents.
fn reads_nothing(stage: &DocBuf) -> bool {
    match stage.as_doc().first() {
        Some(e) if e.name() == "$count" => true,
        Some(e) if e.name() == "$group" => e.value().as_doc().is_some_and(|d| d.iter().all(|e| is_constant(e.value()))),
        _ => false,
    }
}

fn is_constant(value: Value<'_>) -> bool {
    match value {
        Value::String(s) => !s.starts_with('$'),
        Value::Document(d) => d.iter().all(|e| is_constant(e.value())),
        Value::Array(a) => a.iter().all(is_constant),
        _ => true,
    }
}

/// Takes `$match $sort $skip $limit $project` from the front of a pipeline into a query; tells how many stages that were.
fn absorb(mut pipeline: Pipeline, coll: &Collection, cx: &CompileCx) -> Result<(Query, Pipeline, usize)> {
    if let Some(Stage::GeoNear(stage)) = pipeline.stages.first_mut() {
        // The documents come nearest first; the stage itself stays and writes the distances into them.
        let key = match &stage.key {
            Some(key) => key.clone(),
            None => plan::near_key(coll)?,
        };
        return Ok((Query::new(Arc::new(stage.filter(&key, cx)?)), pipeline, 0));
    }
    let total = pipeline.stages.len();
    let mut stages = pipeline.stages.into_iter().peekable();
    let filter = match stages.next_if(|s| matches!(s, Stage::Match(_))) {
        Some(Stage::Match(matcher)) => matcher,
        _ => Matcher::compile(Doc::EMPTY, cx)?,
    };
    let mut query = Query::new(Arc::new(filter));
    query.allow_disk_use = cx.allow_disk_use;
    if let Some(Stage::Sort { pattern, keyed, .. }) = stages.next_if(|s| matches!(s, Stage::Sort { .. })) {
        query.sort = Some(pattern);
        query.sort_key = keyed;
    }
    while let Some(stage) = stages.next_if(|s| matches!(s, Stage::Skip(_) | Stage::Limit(_))) {
        match stage {
            Stage::Skip(n) => {
                query.skip = query.skip.saturating_add(n);
                query.limit = query.limit.map(|l| l.saturating_sub(n));
            }
            Stage::Limit(n) => query.limit = Some(query.limit.map_or(n, |l| l.min(n))),
            _ => {}
        }
    }
    if let Some(Stage::Project(projection)) = stages.next_if(|s| matches!(s, Stage::Project(_))) {
        query.projection = Some(projection);
    }
    let rest = Pipeline { stages: stages.collect() };
    let taken = total - rest.stages.len();
    Ok((query, rest, taken))
}
