//! What a view may be: for create and collMod.

use std::sync::Arc;

use smongo_bson::{Array, Doc, DocBuf, Result, Value, ValueBuf, bail};
use smongo_mql::pipeline::stage_array;
use smongo_mql::{CompileCx, Pipeline};

use crate::catalog::{Catalog, Collection};
use crate::door::Cx;
use crate::limits;
use crate::namespace::{self, Ns};

/// Checks a view's definition; returns the pipeline as it is stored.
pub fn check(cx: &Cx<'_>, ns: &Ns, on: &str, pipeline: Option<Array<'_>>) -> Result<ValueBuf> {
    if on.is_empty() {
        bail!(BadValue, "'viewOn' cannot be empty");
    }
    namespace::check_characters(ns.db(), on)?;
    let source = Ns::unchecked(ns.db(), on);
    // Drivers in other languages may leave holes in an array of stages.
    let stages = ValueBuf::array(|w| {
        for stage in pipeline.unwrap_or(Array::EMPTY).iter().filter(|v| !v.is_nullish()) {
            w.push(stage);
        }
    });
    if stages.as_array().is_some_and(|all| all.iter().any(|s| s.as_doc().is_some_and(|s| s.contains("$changeStream")))) {
        bail!(OptionNotSupportedOnView, "The aggregation stage $changeStream of the pipeline cannot be used in the view definition of {ns}");
    }
    let compiled = compile(cx, &source, stages.as_array().unwrap_or(Array::EMPTY))?;
    if let Some(writes) = compiled.writes() {
        bail!(OptionNotSupportedOnView, "The aggregation stage {} of the pipeline cannot be used in the view definition of {ns}", writes.name());
    }
    let mut graph = Graph { cx, catalog: &cx.op.shared.catalog, ns, bytes: size(stages.view()) };
    let below = graph.below(&references(&source, &compiled), 1)?;
    if below + graph.above(ns, 0) > limits::VIEW_DEPTH {
        bail!(ViewDepthLimitExceeded, "View depth limit exceeded; maximum depth is {}", limits::VIEW_DEPTH);
    }
    if graph.bytes > limits::VIEW_PIPELINE_BYTES {
        bail!(ViewPipelineMaxSizeExceeded, "Operation failed: the pipelines of the view {ns} and of those under it exceed the maximum size of a pipeline");
    }
    Ok(stages)
}

/// The options as listCollections gives them back.
pub fn options(on: &str, pipeline: &ValueBuf, collation: Option<Doc<'_>>) -> DocBuf {
    DocBuf::build(|w| {
        if let Some(c) = collation {
            w.append("collation", c);
        }
        w.append("viewOn", on).append("pipeline", pipeline.view());
    })
}

fn compile(cx: &Cx<'_>, source: &Ns, stages: Array<'_>) -> Result<Pipeline> {
    let (now, cluster_time) = (cx.op.compile.now, cx.op.compile.cluster_time);
    Pipeline::compile(stages, &CompileCx { db: source.db().into(), coll: source.coll().into(), now, cluster_time, ..CompileCx::default() })
}

fn references(source: &Ns, pipeline: &Pipeline) -> Vec<Ns> {
    let mut all = vec![source.clone()];
    all.extend(pipeline.reads().iter().map(|(db, coll)| Ns::unchecked(db, coll)));
    all
}

/// The views of a database and what they are made of.
struct Graph<'g> {
    cx: &'g Cx<'g>,
    catalog: &'g Catalog,
    /// The view being defined.
    ns: &'g Ns,
    /// Bytes of the pipelines from the view down.
    bytes: usize,
}

impl Graph<'_> {
    /// The number of views one over the other, from `depth` on down through what is referenced.
    fn below(&mut self, references: &[Ns], depth: usize) -> Result<usize> {
        let mut deepest = depth;
        for reference in references {
            if reference == self.ns {
                bail!(GraphContainsCycle, "View cycle detected: {} is made of itself", self.ns);
            }
            if depth > limits::VIEW_DEPTH {
                bail!(ViewDepthLimitExceeded, "View depth limit exceeded; maximum depth is {}", limits::VIEW_DEPTH);
            }
            if let Some(view) = self.catalog.get(reference).filter(|c| c.view().is_some()) {
                self.bytes += size(view.option("pipeline"));
                deepest = deepest.max(self.below(&self.references_of(&view)?, depth + 1)?);
            }
        }
        Ok(deepest)
    }

    /// The number of views over this one, the longest way up.
    fn above(&self, ns: &Ns, depth: usize) -> usize {
        if depth > limits::VIEW_DEPTH {
            return depth;
        }
        let over = |view: &Arc<Collection>| view.view().is_some() && self.references_of(view).is_ok_and(|all| all.contains(ns));
        let parents = self.catalog.collections(ns.db()).into_iter().filter(over);
        parents.map(|parent| self.above(&parent.ns, depth + 1)).max().unwrap_or(depth)
    }

    fn references_of(&self, view: &Collection) -> Result<Vec<Ns>> {
        let Some(definition) = view.view() else { return Ok(Vec::new()) };
        let source = Ns::unchecked(view.ns.db(), &definition.on);
        let stages = stage_array(&definition.pipeline);
        Ok(references(&source, &compile(self.cx, &source, stages.as_array().unwrap_or(Array::EMPTY))?))
    }
}

/// The bytes of a pipeline's stages.
fn size(pipeline: Value<'_>) -> usize {
    let stages = pipeline.as_array().into_iter().flat_map(Array::iter);
    stages.filter_map(|stage| stage.as_doc()).map(|stage| stage.as_bytes().len()).sum()
}
