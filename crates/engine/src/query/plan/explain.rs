//! Plans as explain shows them.

use smongo_bson::{Doc, DocBuf, DocWriter, Value};
use smongo_mql::matcher::Node;

use super::{Hint, Plan, Query, hashes, render};
use super::interval::{Interval, is_full};
use super::node::{Filter, IndexScan, PlanNode};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::query::exec::Counters;

/// Bounds are told up to this size of a reply, MongoDB's internalQueryExplainSizeThresholdBytes.
const BOUNDS_BYTES: usize = 10 << 20;

/// What stands above the plan of the query itself.
pub enum Above {
    Nothing,
    Count { counted: u64 },
    /// Answered from the number of documents the collection keeps.
    FastCount { counted: u64 },
    Update { matched: u64, modified: u64, upserted: u64 },
    Delete { deleted: u64, batched: bool },
}

/// Statistics of a run, in the order of the plan's nodes.
pub struct Run {
    pub returned: u64,
    pub millis: u64,
    pub counters: Vec<Counters>,
}

struct Writer<'e> {
    ns: &'e Ns,
    clustered: bool,
    query: &'e Query,
    /// The counters of the nodes still to come.
    counters: Option<std::slice::Iter<'e, Counters>>,
}

/// `queryPlanner`.
pub fn query_planner(plan: &Plan, above: &Above, stages: &[DocBuf], w: &mut DocWriter<'_>) {
    let shape = hashes::plan_shape(&plan.query, stages);
    w.append("namespace", plan.coll.ns.as_str());
    append_if_fits(w, "parsedQuery", render::matcher(&plan.query.filter).as_doc());
    w.append("indexFilterSet", plan.filter_set).append("queryHash", &*shape).append("planCacheShapeHash", &*shape).append("planCacheKey", &*shape);
    w.append("optimizationTimeMillis", 0);
    w.append("maxIndexedOrSolutionsReached", false).append("maxIndexedAndSolutionsReached", false);
    w.append("maxScansToExplodeReached", false).append("prunedSimilarIndexes", false);
    let mut writer = Writer::new(plan, None);
    {
        let mut winning = w.document("winningPlan");
        winning.append("isCached", false);
        writer.above(above, &plan.root, &mut winning, None);
    }
    let mut rejected = w.array("rejectedPlans");
    for node in &plan.rejected {
        let mut w = rejected.document();
        w.append("isCached", false);
        writer.subplan(node, &mut w);
    }
}

/// What goes into a reply only where it stays within what a document may hold.
pub fn append_if_fits(w: &mut DocWriter<'_>, name: &str, doc: Doc<'_>) {
    match w.buffered() + doc.as_bytes().len() < limits::DOCUMENT_BYTES {
        true => w.append(name, doc),
        false => w.append("warning", &*format!("'{name}' was left out: the reply would be too large")),
    };
}

/// The scan of a count that goes through one range of keys: a COUNT_SCAN.
fn count_scan(root: &PlanNode) -> Option<&IndexScan> {
    match root {
        PlanNode::IndexScan(scan) if scan.between.is_none() && scan.is_one_range() => Some(scan),
        _ => None,
    }
}

/// The plan by itself, as the plan cache shows it.
pub fn cached_plan(plan: &Plan, w: &mut DocWriter<'_>) {
    Writer::new(plan, None).subplan(&plan.root, w);
}

/// `executionStats`.
pub fn execution_stats(plan: &Plan, above: &Above, run: &Run, all_plans: bool, w: &mut DocWriter<'_>) {
    let counts = matches!(above, Above::Count { .. }) && count_scan(&plan.root).is_some();
    let keys: u64 = run.counters.iter().map(|c| c.keys).sum::<u64>() + u64::from(counts);
    let docs: u64 = run.counters.iter().map(|c| c.docs).sum();
    let returned = if matches!(above, Above::Nothing) { run.returned } else { 0 };
    w.append("executionSuccess", true).append("nReturned", returned as i32).append("executionTimeMillis", run.millis as i32);
    w.append("totalKeysExamined", keys as i32).append("totalDocsExamined", docs as i32);
    {
        let mut writer = Writer::new(plan, Some(run));
        let mut stages = w.document("executionStages");
        stages.append("isCached", false);
        writer.above(above, &plan.root, &mut stages, Some(run.returned));
    }
    if all_plans {
        w.array("allPlansExecution");
    }
}

impl<'e> Writer<'e> {
    fn new(plan: &'e Plan, run: Option<&'e Run>) -> Writer<'e> {
        let counters = run.map(|r| r.counters.iter());
        Writer { ns: &plan.coll.ns, clustered: plan.coll.is_clustered(), query: &plan.query, counters }
    }

    fn above(&mut self, above: &Above, root: &PlanNode, w: &mut DocWriter<'_>, run: Option<u64>) {
        let stage = match above {
            // Only whoever counts reads keys that nobody makes documents of.
            Above::Nothing if root.ends_in_keys() && !self.query.return_key => return self.counted(root, w),
            Above::Nothing => return self.subplan(root, w),
            Above::Count { .. } => "COUNT",
            Above::FastCount { .. } => "RECORD_STORE_FAST_COUNT",
            Above::Update { .. } => "UPDATE",
            Above::Delete { batched: true, .. } => "BATCHED_DELETE",
            Above::Delete { .. } => "DELETE",
        };
        w.append("stage", stage);
        if run.is_some() {
            common(w, 0, run.unwrap_or(0));
            match above {
                Above::Count { counted } | Above::FastCount { counted } => {
                    w.append("nCounted", *counted as i32).append("nSkipped", 0);
                }
                Above::Update { matched, modified, upserted } => {
                    w.append("nMatched", *matched as i32).append("nWouldModify", *modified as i32).append("nWouldUpsert", *upserted as i32);
                }
                Above::Delete { deleted, .. } => {
                    w.append("nWouldDelete", *deleted as i32);
                }
                Above::Nothing => {}
            }
        }
        match above {
            Above::FastCount { .. } => {}
            Above::Count { .. } => self.counted(root, &mut w.document("inputStage")),
            _ => self.subplan(root, &mut w.document("inputStage")),
        }
    }

    /// The scan of a count has a name of its own where it goes through one range of keys.
    fn counted(&mut self, root: &PlanNode, w: &mut DocWriter<'_>) {
        if let Some(scan) = count_scan(root) {
            let counters = self.head(w, "COUNT_SCAN");
            index_description(scan, self.ns, w);
            range_bounds(scan, &mut w.document("indexBounds"));
            if let Some(c) = counters {
                // It looks where its range ends, too.
                w.append("keysExamined", c.keys as i32 + 1);
            }
            return;
        }
        match root {
            PlanNode::Skip { input, count } => {
                self.head(w, "SKIP");
                w.append("skipAmount", bounded(*count));
                self.counted(input, &mut w.document("inputStage"));
            }
            PlanNode::Limit { input, count } => {
                self.head(w, "LIMIT");
                w.append("limitAmount", bounded(*count));
                self.counted(input, &mut w.document("inputStage"));
            }
            _ => self.subplan(root, w),
        }
    }

    /// A filter that is an `$or` is planned branch by branch.
    fn subplan(&mut self, root: &PlanNode, w: &mut DocWriter<'_>) {
        let query = self.query;
        let whole = query.hint.is_some() || query.min.is_some() || query.max.is_some() || query.tailable || matches!(root, PlanNode::Eof);
        if whole || !matches!(query.filter.root, Node::Or(_)) {
            return self.limit(root, w);
        }
        w.append("stage", "SUBPLAN");
        self.same_as_below(w);
        self.limit(root, &mut w.document("inputStage"));
    }

    /// What a stage tells that passes on what its input yields.
    fn same_as_below(&self, w: &mut DocWriter<'_>) {
        if let Some(counters) = &self.counters {
            let below = counters.as_slice().first().map_or(0, |c| c.advanced);
            common(w, below, below);
        }
    }

    /// LIMIT stands above the projection. A SORT limits itself.
    fn limit(&mut self, node: &PlanNode, w: &mut DocWriter<'_>) {
        match node {
            PlanNode::Limit { input, .. } if input.is_limited_sort() => {
                self.skip_counters();
                self.projection(input, w);
            }
            PlanNode::Limit { input, count } => {
                self.head(w, "LIMIT");
                w.append("limitAmount", bounded(*count));
                self.projection(input, &mut w.document("inputStage"));
            }
            _ => self.projection(node, w),
        }
    }

    fn projection(&mut self, node: &PlanNode, w: &mut DocWriter<'_>) {
        let spec = self.query.projection_doc.as_doc();
        if self.query.return_key {
            w.append("stage", "RETURN_KEY");
            self.same_as_below(w);
            return self.node(node, &mut w.document("inputStage"));
        }
        if spec.is_empty() {
            return self.node(node, w);
        }
        if let PlanNode::Id { .. } = node {
            self.node(node, w);
            w.append("projection", format!("{spec:?}").as_str()).append("projectionCovered", false);
            return;
        }
        let stage = match (is_simple(spec), node.is_covered()) {
            (true, true) => "PROJECTION_COVERED",
            (true, false) => "PROJECTION_SIMPLE",
            _ => "PROJECTION_DEFAULT",
        };
        w.append("stage", stage);
        self.same_as_below(w);
        w.append("transformBy", spec);
        self.node(node, &mut w.document("inputStage"));
    }

    fn skip_counters(&mut self) {
        if let Some(counters) = &mut self.counters {
            counters.next();
        }
    }

    /// `stage` and, of a run, what every stage tells; consumes the node's counters.
    fn head(&mut self, w: &mut DocWriter<'_>, stage: &str) -> Option<Counters> {
        w.append("stage", stage);
        self.stats(w)
    }

    fn stats(&mut self, w: &mut DocWriter<'_>) -> Option<Counters> {
        let counters = self.counters.as_mut()?.next().cloned().unwrap_or_default();
        let works = counters.keys.max(counters.docs).max(counters.advanced);
        common(w, counters.advanced, works);
        Some(counters)
    }

    fn filter(&self, filter: &Option<Filter>, w: &mut DocWriter<'_>) {
        if let Some(filter) = filter {
            append_if_fits(w, "filter", render::filter(filter).as_doc());
        }
    }

    fn node(&mut self, node: &PlanNode, w: &mut DocWriter<'_>) {
        match node {
            PlanNode::Eof => {
                self.head(w, "EOF");
                w.append("type", "predicateEvalsToFalse");
            }
            PlanNode::Id { .. } => {
                let counters = self.head(w, if self.clustered { "EXPRESS_CLUSTERED_IXSCAN" } else { "EXPRESS_IXSCAN" });
                w.append("keyPattern", "{ _id: 1 }").append("indexName", "_id_");
                if let Some(c) = counters {
                    w.append("keysExamined", c.keys as i32).append("docsExamined", c.docs as i32);
                }
            }
            PlanNode::CollScan { forward, filter, .. } => {
                w.append("stage", "COLLSCAN");
                self.filter(filter, w);
                let counters = self.stats(w);
                w.append("nss", self.ns.as_str()).append("direction", direction(*forward));
                if let Some(c) = counters {
                    w.append("docsExamined", c.docs as i32);
                }
            }
            PlanNode::Text { scan, filter, .. } => {
                w.append("stage", "TEXT_MATCH");
                self.filter(filter, w);
                let counters = self.stats(w);
                w.append("nss", self.ns.as_str()).append("indexPrefix", Doc::EMPTY).append("indexName", &*scan.index.name);
                w.append("textIndexVersion", 3);
                if let Some(c) = counters {
                    w.append("keysExamined", c.keys as i32).append("docsExamined", c.docs as i32);
                }
            }
            PlanNode::Near { scan, filter, .. } => {
                let flat = scan.index.parts.iter().any(|p| matches!(p.geo, Some(smongo_mql::matcher::GeoOrder::Flat(_))));
                w.append("stage", if flat { "GEO_NEAR_2D" } else { "GEO_NEAR_2DSPHERE" });
                self.filter(filter, w);
                let counters = self.stats(w);
                w.append("nss", self.ns.as_str()).append("keyPattern", scan.index.key()).append("indexName", &*scan.index.name);
                w.append("indexVersion", 2);
                if let Some(c) = counters {
                    w.append("keysExamined", c.keys as i32).append("docsExamined", c.docs as i32);
                }
            }
            PlanNode::Clustered { scan, filter } => {
                let whole = scan.between.is_none() && scan.fields.iter().all(|f| is_full(f));
                let unhinted = matches!(self.query.hint, None | Some(Hint::Natural { .. }));
                w.append("stage", if whole && unhinted { "COLLSCAN" } else { "CLUSTERED_IXSCAN" });
                self.filter(filter, w);
                let counters = self.stats(w);
                w.append("nss", self.ns.as_str()).append("direction", direction(scan.forward));
                if let (false, Some(ends)) = (whole, scan.fields.first()) {
                    w.append("minRecord", ends.first().map_or(Value::Missing, |i| i.low.view()));
                    w.append("maxRecord", ends.last().map_or(Value::Missing, |i| i.high.view()));
                }
                if let Some(c) = counters {
                    w.append("docsExamined", c.docs as i32);
                }
            }
            PlanNode::Fetch { input, filter } => {
                w.append("stage", "FETCH");
                self.filter(filter, w);
                let counters = self.stats(w);
                if let Some(c) = counters {
                    w.append("docsExamined", c.docs as i32).append("alreadyHasObj", 0);
                }
                w.append("nss", self.ns.as_str());
                self.node(input, &mut w.document("inputStage"));
            }
            PlanNode::IndexScan(scan) => self.index_scan(scan, None, w),
            PlanNode::KeyFilter { input, filter, .. } => {
                self.skip_counters();
                match &**input {
                    PlanNode::IndexScan(scan) => self.index_scan(scan, Some(filter), w),
                    other => self.node(other, w),
                }
            }
            PlanNode::Or { inputs } => {
                self.head(w, "OR");
                self.inputs(inputs, w);
            }
            PlanNode::MergeSort { inputs } => {
                self.head(w, "SORT_MERGE");
                w.append("sortPattern", self.query.sort_doc.as_doc());
                self.inputs(inputs, w);
            }
            PlanNode::Sort { input, limit } => self.sort(input, *limit, w),
            PlanNode::Skip { input, count } => {
                self.head(w, "SKIP");
                w.append("skipAmount", bounded(*count));
                self.node(input, &mut w.document("inputStage"));
            }
            PlanNode::Limit { .. } => self.limit(node, w),
            PlanNode::Cover { input, .. } => {
                self.skip_counters();
                self.node(input, w);
            }
        }
    }

    fn sort(&mut self, input: &PlanNode, limit: Option<u64>, w: &mut DocWriter<'_>) {
        let counters = self.head(w, "SORT");
        w.append("sortPattern", self.query.sort_doc.as_doc()).append("memLimit", 100 << 20);
        if let Some(limit) = limit {
            w.append("limitAmount", bounded(limit));
        }
        // Keys have no documents that could be sorted as they are.
        w.append("type", if input.is_covered() { "default" } else { "simple" });
        if let Some(Counters { sorted, .. }) = counters {
            w.append("totalDataSizeSorted", sorted.sorted as i64).append("usedDisk", sorted.spills > 0);
            w.append("spills", sorted.spills as i32).append("spilledDataStorageSize", sorted.bytes as i64);
        }
        self.node(input, &mut w.document("inputStage"));
    }

    fn index_scan(&mut self, scan: &IndexScan, filter: Option<&Filter>, w: &mut DocWriter<'_>) {
        w.append("stage", if scan.distinct.is_some() { "DISTINCT_SCAN" } else { "IXSCAN" });
        if let Some(filter) = filter {
            w.append("filter", render::filter(filter).as_doc());
        }
        let counters = self.stats(w);
        index_description(scan, self.ns, w);
        w.append("direction", direction(scan.forward));
        let bounds = DocBuf::build(|w| index_bounds(scan, w));
        if w.buffered() + bounds.as_bytes().len() < BOUNDS_BYTES {
            w.append("indexBounds", bounds.as_doc());
        } else {
            w.append("warning", "index bounds omitted due to BSON size limit for explain");
        }
        if scan.distinct.is_some() {
            w.append("isShardFiltering", false).append("isFetching", false);
        }
        let Some(c) = counters else { return };
        w.append("keysExamined", c.keys as i32);
        if scan.distinct.is_some() {
            w.append("docsExamined", 0).append("chunkSkips", 0);
            return;
        }
        w.append("seeks", c.seeks as i32);
        w.append("dupsTested", if scan.dedup { (c.advanced + c.dups) as i32 } else { 0 }).append("dupsDropped", c.dups as i32);
    }

    fn inputs(&mut self, inputs: &[PlanNode], w: &mut DocWriter<'_>) {
        let mut list = w.array("inputStages");
        for input in inputs {
            self.node(input, &mut list.document());
        }
    }
}

fn common(w: &mut DocWriter<'_>, advanced: u64, works: u64) {
    w.append("nReturned", advanced as i32).append("executionTimeMillisEstimate", 0).append("works", works as i32 + 1);
    w.append("advanced", advanced as i32).append("needTime", works.saturating_sub(advanced) as i32).append("needYield", 0);
    w.append("saveState", 0).append("restoreState", 0).append("isEOF", 1);
}

fn bounded(n: u64) -> Value<'static> {
    i32::try_from(n).map_or(Value::Int64(n as i64), Value::Int32)
}

fn direction(forward: bool) -> &'static str {
    if forward { "forward" } else { "backward" }
}

/// Fields of the top level, taken or left out.
fn is_simple(spec: Doc<'_>) -> bool {
    spec.iter().all(|e| !e.name().contains('.') && (e.value().is_number() || matches!(e.value(), Value::Bool(_))))
}

/// What an index is.
fn index_description(scan: &IndexScan, ns: &Ns, w: &mut DocWriter<'_>) {
    let index = &scan.index;
    let multikey = index.multikey();
    w.append("nss", ns.as_str()).append("keyPattern", index.key()).append("indexName", &*index.name);
    if let Some(c) = &index.collation {
        w.append("collation", c.spec.as_doc());
    }
    w.append("isMultiKey", multikey.any());
    {
        let mut paths = w.document("multiKeyPaths");
        for (n, path) in index.paths.iter().enumerate() {
            let mut list = paths.array(path.text());
            let parts: Vec<&str> = path.text().split('.').collect();
            for depth in 0..parts.len() {
                if multikey.components(n) >> depth & 1 == 1 {
                    list.push(&*parts.get(..=depth).unwrap_or_default().join("."));
                }
            }
        }
    }
    w.append("isUnique", index.unique).append("isSparse", index.sparse).append("isPartial", index.partial.is_some());
    w.append("indexVersion", 2);
}

/// The intervals of each field.
fn index_bounds(scan: &IndexScan, w: &mut DocWriter<'_>) {
    if let Some(between) = &scan.between {
        let end = |d: &Option<DocBuf>| d.clone().unwrap_or_default();
        w.append("startKey", end(&between.min).as_doc()).append("startKeyInclusive", true);
        w.append("endKey", end(&between.max).as_doc()).append("endKeyInclusive", false);
        return;
    }
    for (part, intervals) in scan.index.parts.iter().zip(&scan.fields) {
        let mut list = w.array(part.path.text());
        let reversed = part.descending == scan.forward;
        let mut texts: Vec<String> = intervals.iter().map(|i| interval_text(i, reversed)).collect();
        if reversed {
            texts.reverse();
        }
        for t in &texts {
            list.push(&**t);
        }
    }
}

/// The bounds of a scan of one range, as its first and last key.
fn range_bounds(scan: &IndexScan, w: &mut DocWriter<'_>) {
    let ends: Vec<_> = scan.index.parts.iter().zip(&scan.fields).filter_map(|(p, f)| Some((p, f.first()?))).collect();
    for (name, inclusive, first) in [("startKey", "startKeyInclusive", true), ("endKey", "endKeyInclusive", false)] {
        let mut all_in = true;
        {
            let mut w = w.document(name);
            for (part, i) in &ends {
                let (end, end_in) = if first != part.descending { (&i.low, i.low_in) } else { (&i.high, i.high_in) };
                w.append(part.path.text(), end.view());
                all_in &= end_in;
            }
        }
        w.append(inclusive, all_in);
    }
}

fn interval_text(i: &Interval, reversed: bool) -> String {
    let (first, first_in, last, last_in) =
        if reversed { (&i.high, i.high_in, &i.low, i.low_in) } else { (&i.low, i.low_in, &i.high, i.high_in) };
    let open = if first_in { '[' } else { '(' };
    let close = if last_in { ']' } else { ')' };
    format!("{open}{}, {}{close}", bound_text(first.view()), bound_text(last.view()))
}

/// A bound as MongoDB writes it.
fn bound_text(v: Value<'_>) -> String {
    if v.is_missing() { "undefined".to_owned() } else { v.to_string() }
}
