//! What a view may be: for create and collMod.

use std::collections::HashMap;

use smongo_bson::{Array, Doc, DocBuf, Error, Result, Value, ValueBuf, bail, err};
use smongo_mql::pipeline::stage_array;
use smongo_mql::{CompileCx, Pipeline};

use crate::data::catalog::Collection;
use crate::data::limits;
use crate::data::namespace::{self, Ns};
use crate::service::command::Cx;

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
    let mut graph = Graph::new(cx, ns);
    let below = graph.below_all(&references(&source, &compiled), 0)?;
    let above = graph.above(ns, 0)?;
    if below.views + 1 + above.views > limits::VIEW_DEPTH {
        return Err(too_deep());
    }
    if below.bytes + size(stages.view()) + above.bytes > limits::VIEW_PIPELINE_BYTES {
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

fn too_deep() -> Error {
    err!(ViewDepthLimitExceeded, "View depth limit exceeded; maximum depth is {}", limits::VIEW_DEPTH)
}

/// The views of a database and what they are made of. Many ways may lead from one view to another, so each view is looked at once.
struct Graph<'g> {
    /// The view being defined.
    ns: &'g Ns,
    views: HashMap<Ns, Node>,
    below: HashMap<Ns, Chain>,
    above: HashMap<Ns, Chain>,
}

struct Node {
    references: Vec<Ns>,
    /// The views that refer to this one.
    parents: Vec<Ns>,
    bytes: usize,
}

/// The longest way through views: how many they are, and the most bytes of their pipelines.
#[derive(Clone, Copy, Default)]
struct Chain {
    views: usize,
    bytes: usize,
}

impl Chain {
    fn max(self, other: Chain) -> Chain {
        Chain { views: self.views.max(other.views), bytes: self.bytes.max(other.bytes) }
    }

    fn with(self, bytes: usize) -> Chain {
        Chain { views: self.views + 1, bytes: self.bytes + bytes }
    }
}

impl<'g> Graph<'g> {
    fn new(cx: &Cx<'_>, ns: &'g Ns) -> Graph<'g> {
        let mut views = HashMap::new();
        for coll in cx.shared.catalog.collections(ns.db()) {
            // One that does not compile any more leads nowhere.
            let Some(Ok(references)) = references_of(cx, &coll) else { continue };
            views.insert(coll.ns.clone(), Node { references, parents: Vec::new(), bytes: size(coll.option("pipeline")) });
        }
        let edges: Vec<(Ns, Ns)> = views.iter().flat_map(|(parent, node)| node.references.iter().map(|child| (child.clone(), parent.clone()))).collect();
        for (child, parent) in edges {
            let node = views.entry(child).or_insert_with(|| Node { references: Vec::new(), parents: Vec::new(), bytes: 0 });
            node.parents.push(parent);
        }
        Graph { ns, views, below: HashMap::new(), above: HashMap::new() }
    }

    fn below_all(&mut self, references: &[Ns], depth: usize) -> Result<Chain> {
        references.iter().try_fold(Chain::default(), |longest, reference| Ok(longest.max(self.below(reference, depth)?)))
    }

    /// The views from this one on down, itself included; nothing of what is none.
    fn below(&mut self, ns: &Ns, depth: usize) -> Result<Chain> {
        if ns == self.ns {
            bail!(GraphContainsCycle, "View cycle detected: {} is made of itself", self.ns);
        }
        if let Some(known) = self.below.get(ns) {
            return Ok(*known);
        }
        let Some(node) = self.views.get(ns).filter(|node| !node.references.is_empty()) else { return Ok(Chain::default()) };
        if depth > limits::VIEW_DEPTH {
            return Err(too_deep());
        }
        let (references, bytes) = (node.references.clone(), node.bytes);
        let chain = self.below_all(&references, depth + 1)?.with(bytes);
        self.below.insert(ns.clone(), chain);
        Ok(chain)
    }

    /// The views over this one.
    fn above(&mut self, ns: &Ns, depth: usize) -> Result<Chain> {
        if let Some(known) = self.above.get(ns) {
            return Ok(*known);
        }
        if depth > limits::VIEW_DEPTH {
            return Err(too_deep());
        }
        let parents = self.views.get(ns).map_or(Vec::new(), |node| node.parents.clone());
        let (own, mut longest) = (self.ns, Chain::default());
        for parent in parents.iter().filter(|parent| *parent != own) {
            let bytes = self.views.get(parent).map_or(0, |node| node.bytes);
            longest = longest.max(self.above(parent, depth + 1)?.with(bytes));
        }
        self.above.insert(ns.clone(), longest);
        Ok(longest)
    }
}

/// What a view refers to; `None` of what is no view.
fn references_of(cx: &Cx<'_>, view: &Collection) -> Option<Result<Vec<Ns>>> {
    let definition = view.view()?;
    let source = Ns::unchecked(view.ns.db(), &definition.on);
    let stages = stage_array(&definition.pipeline);
    Some(compile(cx, &source, stages.as_array().unwrap_or(Array::EMPTY)).map(|compiled| references(&source, &compiled)))
}

/// The bytes of a pipeline's stages.
fn size(pipeline: Value<'_>) -> usize {
    let stages = pipeline.as_array().into_iter().flat_map(Array::iter);
    stages.filter_map(|stage| stage.as_doc()).map(|stage| stage.as_bytes().len()).sum()
}
