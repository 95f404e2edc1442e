//! Aggregations: views resolved, the front of the pipeline absorbed into the query, the rest folded over its documents.

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, ValueBuf, bail};
use smongo_mql::pipeline::Stage;
use smongo_mql::stream::Docs;
use smongo_mql::{CompileCx, Matcher, Pipeline, Stream};

use crate::catalog::Collection;
use crate::namespace::Ns;
use crate::op::OpCx;
use crate::plan::{self, Query};

/// Views on views may be this deep.
const VIEW_DEPTH: usize = 20;

/// A collection and the stages over it, once views are resolved.
pub struct Resolved {
    pub ns: Ns,
    /// `None` when there is no such collection.
    pub coll: Option<Arc<Collection>>,
    pub stages: Vec<DocBuf>,
}

/// Replaces views by what they are defined over.
pub fn resolve(op: &OpCx, ns: Ns, stages: &[DocBuf], cx: &CompileCx) -> Result<Resolved> {
    let mut resolved = Resolved { ns, coll: None, stages: stages.to_vec() };
    for _ in 0..VIEW_DEPTH {
        let Some(coll) = op.shared.catalog.get(&resolved.ns) else { return Ok(resolved) };
        let Some(view) = coll.view() else {
            resolved.coll = Some(coll);
            return Ok(resolved);
        };
        if !same_collation(cx, &coll) {
            bail!(OptionNotSupportedOnView, "Cannot override a view's default collation{}", coll.ns);
        }
        resolved.ns = Ns::unchecked(coll.ns.db(), &view.on);
        resolved.stages.splice(0..0, view.pipeline.iter().cloned());
    }
    bail!(ViewDepthLimitExceeded, "View depth too deep or view cycle detected; maximum depth is {VIEW_DEPTH}")
}

fn same_collation(cx: &CompileCx, view: &Collection) -> bool {
    match (&cx.collation, &view.collation) {
        (None, _) => true,
        (Some(a), Some(b)) => a.spec.as_bytes() == b.spec.as_bytes(),
        (Some(_), None) => false,
    }
}

/// Opens an aggregation over a collection, a view, or nothing.
pub fn open_pipeline(op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>> {
    let resolved = resolve(op, Ns::unchecked(db, coll), stages, cx)?;
    let array = ValueBuf::array(|w| {
        for stage in &resolved.stages {
            w.push(stage.as_doc());
        }
    });
    let Some(array) = array.as_array() else { bail!(InternalError, "a pipeline that is no array") };
    let pipeline = Pipeline::compile(array, cx)?;
    let Some(coll) = resolved.coll else { return pipeline.open(Box::new(Docs::new(Vec::new()))) };
    let (query, rest) = absorb(pipeline, cx)?;
    let source = plan::plan(op, &coll, query)?.open(op)?;
    rest.open(source)
}

/// Takes `$match $sort $skip $limit` from the front of a pipeline into a query.
fn absorb(pipeline: Pipeline, cx: &CompileCx) -> Result<(Query, Pipeline)> {
    let mut stages = pipeline.stages.into_iter().peekable();
    let filter = match stages.next_if(|s| matches!(s, Stage::Match(_))) {
        Some(Stage::Match(matcher)) => matcher,
        _ => Matcher::compile(Doc::EMPTY, cx)?,
    };
    let mut query = Query::new(Arc::new(filter));
    query.allow_disk_use = cx.allow_disk_use;
    if let Some(Stage::Sort { pattern, .. }) = stages.next_if(|s| matches!(s, Stage::Sort { .. })) {
        query.sort = Some(pattern);
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
    Ok((query, Pipeline { stages: stages.collect() }))
}
