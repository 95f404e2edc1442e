//! explain

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::pipeline::{Stage, stage_documents};
use smongo_mql::stream::Docs;
use smongo_mql::{Arena, Host, Matcher, Pipeline, Stream, Update};

use super::aggregate::AggregateArgs;
use super::count::CountArgs;
use super::distinct::DistinctArgs;
use super::find::{FindArgs, default_collation};
use crate::commands::rules;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::exec::{self, Prepared, Rows};
use crate::query::plan::{self, Hint, Plan, Query, hashes};
use crate::query::plan::explain::{Above, Run, append_if_fits, execution_stats, query_planner};
use crate::service::command::{Access, Args, Command, Cx, READS};
use crate::service::sink;

pub const EXPLAIN: Command = Command::new("explain", explain, READS, Access::Computed(rules::explain)).hiding(&["pwd", "payload", "speculativeAuthenticate", "hmacKey"]);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    QueryPlanner,
    ExecutionStats,
    AllPlans,
}

/// A query to be explained.
struct Explained {
    plan: Option<Plan>,
    ns: Ns,
    filter: Arc<Matcher>,
    kind: Kind,
}

enum Kind {
    Read,
    Count { fast: Option<u64> },
    Distinct { key: String },
    Update { update: Box<Update>, upsert: bool, multi: bool },
    Delete { multi: bool },
}

fn explain(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let inner = match args.first() {
        Value::Document(d) => d,
        v if v.is_nullish() => return Err(args.missing("explain")),
        v => return Err(args.wrong_type("explain", v, "object")),
    };
    let verbosity = match args.str("verbosity")? {
        None | Some("allPlansExecution") => Verbosity::AllPlans,
        Some("executionStats") => Verbosity::ExecutionStats,
        Some("queryPlanner") => Verbosity::QueryPlanner,
        Some(other) => bail!(BadValue, "Enumeration value '{other}' for field 'explain.verbosity' is not a valid value."),
    };
    args.finish()?;
    let name = inner.first().map_or("", |e| e.name());
    if let Value::String(db) = inner.get("$db")
        && db != cx.db
    {
        bail!(InvalidNamespace, "Mismatched $db in explain command. Expected {} but got {db}", cx.db);
    }
    let mut inner_args = Args::new(name, inner, &[]);
    match name {
        "find" => {
            let find = FindArgs::parse(cx, &mut inner_args)?;
            if let Some(stages) = on_view(cx, &find.ns, || find.stages()) {
                return pipeline(cx, &find.ns, &stages, find.hint.clone(), verbosity, inner, reply);
            }
            collated(cx, &find.ns);
            let query = find.query(&cx.op.compile)?;
            query_of(cx, find.ns, query, Kind::Read, verbosity, inner, reply)
        }
        "aggregate" => {
            let aggregate = AggregateArgs::parse(cx, &mut inner_args, true)?;
            self::aggregate(cx, aggregate, verbosity, inner, reply)
        }
        "count" => count(cx, &mut inner_args, verbosity, inner, reply),
        "distinct" => {
            let distinct = DistinctArgs::parse(cx, &mut inner_args)?;
            collated(cx, &distinct.ns);
            let mut query = Query::new(Arc::new(Matcher::compile(distinct.query, &cx.op.compile)?));
            query.hint = distinct.hint;
            query_of(cx, distinct.ns, query, Kind::Distinct { key: distinct.key.to_owned() }, verbosity, inner, reply)
        }
        "update" | "delete" => write(cx, name, &mut inner_args, verbosity, inner, reply),
        "findAndModify" | "findandmodify" => find_and_modify(cx, &mut inner_args, verbosity, inner, reply),
        known if crate::commands::lookup(known).is_some() => bail!(IllegalOperation, "Explained command '{known}' is not explainable"),
        other => bail!(CommandNotFound, "Explain failed due to unknown command: {other}"),
    }
}

fn collated(cx: &mut Cx<'_>, ns: &Ns) {
    if let Some(coll) = cx.shared.catalog.get(ns) {
        default_collation(cx, &coll.collation);
    }
}

fn on_view(cx: &Cx<'_>, ns: &Ns, stages: impl FnOnce() -> Vec<DocBuf>) -> Option<Vec<DocBuf>> {
    cx.shared.catalog.get(ns).filter(|c| c.view().is_some()).map(|_| stages())
}

/// Explains an aggregation, also for `aggregate` with `explain: true`.
pub fn aggregate(cx: &mut Cx<'_>, args: AggregateArgs<'_>, verbosity: Verbosity, command: Doc<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = Ns::unchecked(&cx.db, &args.coll);
    collated(cx, &ns);
    cx.op.compile.db = cx.db.clone();
    cx.op.compile.coll = args.coll.clone();
    if let Some(writes) = Pipeline::compile(args.pipeline, &cx.op.compile)?.writes() {
        sink::check(&cx.op, writes)?;
    }
    let stages = stage_documents(args.pipeline)?;
    pipeline(cx, &ns, &stages, args.hint, verbosity, command, reply)
}

fn count(cx: &mut Cx<'_>, args: &mut Args<'_>, verbosity: Verbosity, command: Doc<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let count = CountArgs::parse(cx, args)?;
    if let Some(stages) = on_view(cx, &count.ns, || count.stages()) {
        return pipeline(cx, &count.ns, &stages, count.hint.clone(), verbosity, command, reply);
    }
    collated(cx, &count.ns);
    let query = count.query(&cx.op)?;
    let coll = cx.shared.catalog.get(&count.ns);
    let fast = coll.filter(|_| query.filter.is_empty() && query.hint.is_none()).and_then(|c| c.state.known_documents()).map(|n| n as u64);
    query_of(cx, count.ns, query, Kind::Count { fast }, verbosity, command, reply)
}

fn write(cx: &mut Cx<'_>, name: &str, args: &mut Args<'_>, verbosity: Verbosity, command: Doc<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let list = if name == "update" { "updates" } else { "deletes" };
    let Some(statements) = args.docs(list)? else { return Err(args.missing(list)) };
    let [statement] = statements.as_slice() else { bail!(InvalidLength, "explained write batches must be of size 1") };
    collated(cx, &ns);
    let mut args = Args::nested(if name == "update" { "update.updates" } else { "delete.deletes" }, *statement);
    let Some(filter) = args.doc("q")? else { return Err(args.missing("q")) };
    let mut query = Query::new(Arc::new(Matcher::compile(filter, &cx.op.compile)?));
    query.hint = Hint::parse(args.value("hint"))?;
    let kind = if name == "update" {
        let multi = args.strict_bool("multi")?.unwrap_or(false);
        let upsert = args.strict_bool("upsert")?.unwrap_or(false);
        let filters = args.array("arrayFilters")?;
        let update = Box::new(Update::compile(args.value("u"), filters, &cx.op.compile)?);
        Kind::Update { update, upsert, multi }
    } else {
        Kind::Delete { multi: smongo_bson::number::to_f64(args.value("limit")) == Some(0.0) }
    };
    query_of(cx, ns, query, kind, verbosity, command, reply)
}

fn find_and_modify(cx: &mut Cx<'_>, args: &mut Args<'_>, verbosity: Verbosity, command: Doc<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    collated(cx, &ns);
    let filter = args.doc("query")?.unwrap_or(Doc::EMPTY);
    let sort = args.doc("sort")?.unwrap_or(Doc::EMPTY);
    let mut query = Query::new(Arc::new(Matcher::compile(filter, &cx.op.compile)?));
    query.hint = Hint::parse(args.value("hint"))?;
    if !sort.is_empty() {
        query.sort = Some(smongo_mql::SortPattern::compile(sort, &cx.op.compile)?);
        query.sort_doc = DocBuf::from(sort);
    }
    let kind = if args.bool("remove")? {
        Kind::Delete { multi: false }
    } else {
        let upsert = args.bool("upsert")?;
        let filters = args.array("arrayFilters")?;
        Kind::Update { update: Box::new(Update::compile(args.value("update"), filters, &cx.op.compile)?), upsert, multi: false }
    };
    query_of(cx, ns, query, kind, verbosity, command, reply)
}

fn query_of(cx: &mut Cx<'_>, ns: Ns, query: Query, kind: Kind, verbosity: Verbosity, command: Doc<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let filter = query.filter.clone();
    let coll = cx.shared.catalog.get(&ns);
    let plan = match (coll, &kind) {
        (None, _) => None,
        (Some(coll), Kind::Distinct { key }) => Some(plan::distinct(&mut cx.op, &coll, query, key)?),
        (Some(coll), Kind::Count { .. }) => Some(plan::plan(&mut cx.op, &coll, query)?.without_documents()),
        (Some(coll), _) => Some(plan::plan(&mut cx.op, &coll, query)?),
    };
    let explained = Explained { plan, ns, filter, kind };
    reply.append("explainVersion", "1");
    explained.write(&mut cx.op, verbosity, reply)?;
    trailer(cx, command, reply);
    Ok(())
}

impl Explained {
    fn write(&self, op: &mut OpCx, verbosity: Verbosity, w: &mut DocWriter<'_>) -> Result<()> {
        let Some(plan) = &self.plan else { return self.nothing(verbosity, w) };
        query_planner(plan, &self.idle(), &[], &mut w.document("queryPlanner"));
        if verbosity == Verbosity::QueryPlanner {
            return Ok(());
        }
        let (above, run) = self.run(op, plan)?;
        execution_stats(plan, &above, &run, verbosity == Verbosity::AllPlans, &mut w.document("executionStats"));
        Ok(())
    }

    fn idle(&self) -> Above {
        match &self.kind {
            Kind::Read | Kind::Distinct { .. } => Above::Nothing,
            Kind::Count { fast: Some(_) } => Above::FastCount { counted: 0 },
            Kind::Count { fast: None } => Above::Count { counted: 0 },
            Kind::Update { .. } => Above::Update { matched: 0, modified: 0, upserted: 0 },
            Kind::Delete { multi } => Above::Delete { deleted: 0, batched: *multi },
        }
    }

    /// Runs the query without changing anything.
    fn run(&self, op: &mut OpCx, plan: &Plan) -> Result<(Above, Run)> {
        let started = Instant::now();
        if let Kind::Count { fast: Some(n) } = &self.kind {
            return Ok((Above::FastCount { counted: *n }, Run { returned: *n, millis: 0, counters: Vec::new() }));
        }
        let mut rows = plan.rows()?;
        let (mut returned, mut modified) = (0, 0);
        let only_one = matches!(&self.kind, Kind::Update { multi: false, .. } | Kind::Delete { multi: false });
        let mut arena = Arena::new();
        while rows.advance(op)? {
            returned += 1;
            if let Kind::Update { update, .. } = &self.kind {
                modified += u64::from(update.apply(rows.doc(), &self.filter, &arena)?.doc.is_some());
                arena.reset();
            }
            if only_one {
                break;
            }
        }
        rows.park(op);
        let mut counters = Vec::new();
        rows.counters(&mut counters);
        let above = match &self.kind {
            Kind::Read | Kind::Distinct { .. } => Above::Nothing,
            Kind::Count { .. } => Above::Count { counted: returned },
            Kind::Update { upsert, .. } => Above::Update { matched: returned, modified, upserted: u64::from(*upsert && returned == 0) },
            Kind::Delete { multi } => Above::Delete { deleted: returned, batched: *multi },
        };
        Ok((above, Run { returned, millis: started.elapsed().as_millis() as u64, counters }))
    }

    /// The plan over a collection that does not exist.
    fn nothing(&self, verbosity: Verbosity, w: &mut DocWriter<'_>) -> Result<()> {
        let eof = |w: &mut DocWriter<'_>| {
            w.append("isCached", false).append("stage", "EOF").append("type", "nonExistentNamespace");
        };
        {
            let mut w = w.document("queryPlanner");
            let shape = hashes::plan_shape(&Query::new(self.filter.clone()), &[]);
            w.append("namespace", self.ns.as_str()).append("parsedQuery", self.filter.source()).append("indexFilterSet", false);
            w.append("queryHash", &*shape).append("planCacheShapeHash", &*shape).append("planCacheKey", &*shape);
            w.append("optimizationTimeMillis", 0).append("maxIndexedOrSolutionsReached", false);
            w.append("maxIndexedAndSolutionsReached", false).append("maxScansToExplodeReached", false).append("prunedSimilarIndexes", false);
            eof(&mut w.document("winningPlan"));
            w.array("rejectedPlans");
        }
        if verbosity != Verbosity::QueryPlanner {
            let mut w = w.document("executionStats");
            w.append("executionSuccess", true).append("nReturned", 0).append("executionTimeMillis", 0);
            w.append("totalKeysExamined", 0).append("totalDocsExamined", 0);
            eof(&mut w.document("executionStages"));
            if verbosity == Verbosity::AllPlans {
                w.array("allPlansExecution");
            }
        }
        Ok(())
    }
}

/// A stream that counts what passes.
struct Counting {
    input: Box<dyn Stream>,
    count: Arc<Mutex<u64>>,
}

impl Stream for Counting {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        let more = self.input.advance(host)?;
        *self.count.lock() += u64::from(more);
        Ok(more)
    }

    fn doc(&self) -> Doc<'_> {
        self.input.doc()
    }

    fn passes(&self) -> u32 {
        self.input.passes() + 1
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}

/// The documents of a plan, whose counters are left behind.
struct Traced {
    rows: Box<dyn Rows>,
    run: Arc<Mutex<Run>>,
    projection: Option<smongo_mql::Projection>,
    buf: Vec<u8>,
}

impl Stream for Traced {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        let more = self.rows.advance(exec::op_of(host)?)?;
        let mut run = self.run.lock();
        run.returned += u64::from(more);
        run.counters.clear();
        self.rows.counters(&mut run.counters);
        drop(run);
        if let (true, Some(projection)) = (more, &self.projection) {
            self.buf.clear();
            projection.apply(self.rows.doc(), None, &Arena::new(), &mut self.buf)?;
        }
        Ok(more)
    }

    fn doc(&self) -> Doc<'_> {
        if self.projection.is_some() { Doc::from_checked(&self.buf) } else { self.rows.doc() }
    }
}

fn pipeline(
    cx: &mut Cx<'_>,
    ns: &Ns,
    stages: &[DocBuf],
    hint: Option<Hint>,
    verbosity: Verbosity,
    command: Doc<'_>,
    reply: &mut DocWriter<'_>,
) -> Result<()> {
    let compile = cx.op.compile.clone();
    let mut prepared = exec::prepare(&mut cx.op, ns.db(), ns.coll(), stages, &compile, hint)?;
    reply.append("explainVersion", "1");
    if prepared.rest.stages.is_empty() {
        let filter = match &prepared.plan {
            Some(plan) => plan.query.filter.clone(),
            None => Arc::new(Matcher::compile(Doc::EMPTY, &compile)?),
        };
        let explained = Explained { plan: prepared.plan.take(), ns: prepared.ns, filter, kind: Kind::Read };
        explained.write(&mut cx.op, verbosity, reply)?;
    } else {
        staged(&mut cx.op, prepared, verbosity, reply)?;
    }
    trailer(cx, command, reply);
    Ok(())
}

/// `stages`: the query under `$cursor`, then every other stage with what it returned.
fn staged(op: &mut OpCx, mut prepared: Prepared, verbosity: Verbosity, reply: &mut DocWriter<'_>) -> Result<()> {
    let run = Arc::new(Mutex::new(Run { returned: 0, millis: 0, counters: Vec::new() }));
    let counts: Vec<Arc<Mutex<u64>>> = prepared.rest.stages.iter().map(|_| Arc::default()).collect();
    let own = prepared.rest.is_source();
    if let Some(source) = prepared.rest.source().filter(|source| source.name == "$vectorSearch") {
        exec::check_vector_search(op, source)?;
    }
    if verbosity != Verbosity::QueryPlanner {
        let started = Instant::now();
        let mut stream: Box<dyn Stream> = match &mut prepared.plan {
            Some(plan) => Box::new(Traced { rows: plan.rows()?, run: run.clone(), projection: plan.query.projection.take(), buf: Vec::new() }),
            None => Box::new(Docs::new(Vec::new())),
        };
        for (stage, count) in std::mem::take(&mut prepared.rest.stages).into_iter().zip(&counts) {
            // Nothing is written.
            if matches!(&stage, Stage::Other(op) if op.writes().is_some()) {
                continue;
            }
            stream = Box::new(Counting { input: stage.open(stream)?, count: count.clone() });
        }
        while stream.advance(op)? {}
        stream.park(op);
        run.lock().millis = started.elapsed().as_millis() as u64;
    }
    let run = run.lock();
    let mut list = reply.array("stages");
    if !own {
        let filter = Arc::new(Matcher::compile(Doc::EMPTY, &op.compile)?);
        let mut w = list.document();
        let mut cursor = w.document("$cursor");
        match &prepared.plan {
            Some(plan) => {
                query_planner(plan, &Above::Nothing, &prepared.rest_stages, &mut cursor.document("queryPlanner"));
                if verbosity != Verbosity::QueryPlanner {
                    execution_stats(plan, &Above::Nothing, &run, verbosity == Verbosity::AllPlans, &mut cursor.document("executionStats"));
                }
            }
            None => Explained { plan: None, ns: prepared.ns.clone(), filter, kind: Kind::Read }.nothing(verbosity, &mut cursor)?,
        }
    }
    for (n, stage) in prepared.rest_stages.iter().enumerate() {
        let mut w = list.document();
        w.append_all(stage.as_doc());
        if verbosity != Verbosity::QueryPlanner {
            let returned = counts.get(n).map_or(0, |c| *c.lock());
            w.append("nReturned", returned as i64).append("executionTimeMillisEstimate", 0i64);
        }
    }
    Ok(())
}

/// What every explain ends with.
fn trailer(cx: &Cx<'_>, command: Doc<'_>, reply: &mut DocWriter<'_>) {
    reply.append("queryShapeHash", &*hashes::query_shape(command, &cx.db, cx.op.compile.collation.as_deref()));
    let shown = DocBuf::build(|w| {
        for e in command.iter().filter(|e| e.name() != "lsid" && !e.name().starts_with("$cluster")) {
            w.append_element(&e);
        }
        if !command.contains("$db") {
            w.append("$db", &*cx.db);
        }
    });
    append_if_fits(reply, "command", shown.as_doc());
    let (host, port) = cx.client.local.rsplit_once(':').unwrap_or((&cx.client.local, "0"));
    {
        let mut w = reply.document("serverInfo");
        w.append("host", host).append("port", port.parse::<i32>().unwrap_or(0));
        w.append("version", &*crate::commands::diagnostic::build_info::version()).append("gitVersion", "");
    }
    let mut w = reply.document("serverParameters");
    w.append("internalQueryFacetBufferSizeBytes", 104_857_600).append("internalQueryFacetMaxOutputDocSizeBytes", 104_857_600);
    w.append("internalLookupStageIntermediateDocumentMaxSizeBytes", 104_857_600);
    w.append("internalDocumentSourceGroupMaxMemoryBytes", 104_857_600);
    w.append("internalQueryMaxBlockingSortMemoryUsageBytes", 104_857_600);
    w.append("internalQueryProhibitBlockingMergeOnMongoS", 0).append("internalQueryMaxAddToSetBytes", 104_857_600);
    w.append("internalDocumentSourceSetWindowFieldsMaxMemoryBytes", 104_857_600);
    w.append("internalQueryFrameworkControl", "trySbeRestricted").append("internalQueryPlannerIgnoreIndexWithCollationForRegex", 1);
}
