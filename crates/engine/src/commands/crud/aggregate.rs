//! aggregate

use smongo_bson::{Array, DocWriter, Result, Value, bail, number};
use smongo_mql::CompileCx;
use smongo_mql::pipeline::change_stream::CHANGE_STREAM;
use smongo_mql::pipeline::{Pipeline, stage_documents};

use super::explain;
use super::find::{compile_cx, default_collation};
use crate::commands::rules;
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::query::change;
use crate::query::plan::Hint;
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, READS, WRITES};
use crate::service::cursors::{Batch, Parked};

pub const AGGREGATE: Command = Command::new("aggregate", aggregate, IN_TXN | READS | WRITES, Access::Computed(rules::aggregate)).hiding(&["hmacKey"]);

/// The namespace of `{aggregate: 1}` in replies.
const NO_COLLECTION: &str = "$cmd.aggregate";

/// The arguments of an aggregate.
pub struct AggregateArgs<'a> {
    /// Empty for `{aggregate: 1}`.
    pub coll: String,
    pub pipeline: Array<'a>,
    pub batch_size: Option<usize>,
    pub hint: Option<Hint>,
    pub explain: bool,
}

impl<'a> AggregateArgs<'a> {
    pub fn parse(cx: &mut Cx<'_>, args: &mut Args<'a>, explained: bool) -> Result<AggregateArgs<'a>> {
        let coll = match args.first() {
            Value::String(_) => args.ns(&cx.db)?.coll().to_owned(),
            v if number::to_f64(v) == Some(1.0) => String::new(),
            v if v.is_number() => bail!(BadValue, "Invalid command format: the 'aggregate' field must specify a collection name or 1"),
            v => bail!(InvalidNamespace, "collection name has invalid type {}", v.type_name()),
        };
        let pipeline = match args.value("pipeline") {
            Value::Array(a) => a,
            Value::Missing => return Err(args.missing("pipeline")),
            _ => bail!(TypeMismatch, "'pipeline' option must be specified as an array"),
        };
        let explain = required_bool(args, "explain")?.unwrap_or(false);
        // Explained, an aggregation writes nothing. The command explain has taken its own writeConcern for itself.
        let concerned = if explained { !args.value("writeConcern").is_missing() } else { explain && cx.write_concern.given };
        if concerned {
            bail!(FailedToParse, "Aggregation explain does not support the'writeConcern' option");
        }
        let batch_size = cursor(args, explain || explained)?;
        cx.op.compile.allow_disk_use = required_bool(args, "allowDiskUse")?.unwrap_or(true);
        cx.op.bypass_validation = args.bool("bypassDocumentValidation")?;
        let hint = Hint::parse(args.value("hint"))?;
        compile_cx(cx, args)?;
        args.finish()?;
        Ok(AggregateArgs { coll, pipeline, batch_size, hint, explain })
    }
}

/// A bool that is nothing else, not even null.
pub fn required_bool(args: &mut Args<'_>, name: &str) -> Result<Option<bool>> {
    match args.value(name) {
        Value::Missing => Ok(None),
        Value::Bool(b) => Ok(Some(b)),
        v => Err(args.wrong_type(name, v, "bool")),
    }
}

/// `cursor: {batchSize}`, which must be there.
fn cursor(args: &mut Args<'_>, explain: bool) -> Result<Option<usize>> {
    let cursor = match args.value("cursor") {
        Value::Missing if explain => return Ok(None),
        Value::Missing => bail!(FailedToParse, "The 'cursor' option is required, except for aggregate with the explain argument"),
        Value::Document(d) => d,
        _ => bail!(TypeMismatch, "cursor field must be missing or an object"),
    };
    let mut nested = Args::nested("aggregate.cursor", cursor);
    let size = match nested.value("batchSize") {
        v if v.is_nullish() => None,
        v if number::is_nan(v) => Some(0),
        Value::Decimal(d) => Some(d.to_i64_rounded().unwrap_or(if d.is_negative() { -1 } else { i64::MAX })),
        v if v.is_number() => number::to_i64_saturating(v),
        v => return Err(nested.wrong_type("batchSize", v, "long, int, decimal, double")),
    };
    nested.finish()?;
    match size {
        Some(n) if n < 0 => bail!(BadValue, "BSON field 'cursor.batchSize' value must be >= 0, actual value '{n}'"),
        n => Ok(n.map(|n| n as usize)),
    }
}

fn aggregate(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let parsed = AggregateArgs::parse(cx, args, false)?;
    if cx.op.api.is_strict() {
        if parsed.explain {
            bail!(APIStrictError, "BSON field 'aggregate.explain' is not allowed with apiStrict:true.");
        }
        check_strict(parsed.pipeline)?;
    }
    if parsed.explain {
        let command = args.body();
        return explain::aggregate(cx, parsed, explain::Verbosity::QueryPlanner, command.as_doc(), reply);
    }
    let ns = match parsed.coll.as_str() {
        "" => Ns::unchecked(&cx.db, NO_COLLECTION),
        coll => Ns::unchecked(&cx.db, coll),
    };
    if let Some(coll) = cx.op.collection(&ns)? {
        default_collation(cx, &coll.collation);
    }
    cx.op.compile.db = cx.db.clone();
    cx.op.compile.coll = parsed.coll.clone();
    let compile = cx.op.compile.clone();
    if is_change_stream(parsed.pipeline) {
        return watch(cx, ns, &parsed, &compile, reply);
    }
    // Positions and nesting are checked on the command's own pipeline, before views are put in front of it.
    let compiled = Pipeline::compile(parsed.pipeline, &compile)?;
    let writes = compiled.writes().is_some();
    check_read_concern(cx.read_concern.level.as_deref().unwrap_or("local"), &compiled)?;
    if writes && cx.txn_number.is_some() {
        bail!(OperationNotSupportedInTransaction, "$out and $merge cannot be used in a transaction");
    }
    if cx.in_transaction {
        check_transaction(parsed.pipeline)?;
    }
    let stages = stage_documents(parsed.pipeline)?;
    let stream = crate::query::exec::open_hinted(&mut cx.op, ns.db(), &parsed.coll, &stages, &compile, parsed.hint)?;
    let clearance = cx.pass.clearance(&ns);
    let mut cursor = Parked::new(ns, stream, clearance);
    cursor.lsid = cx.lsid.clone();
    cursor.txn_number = cx.txn_number;
    cursor.limit_time(&cx.op, false);
    let batch = Batch { documents: Some(parsed.batch_size.unwrap_or(limits::FIRST_BATCH)) };
    let shared = cx.shared.clone();
    shared.cursors.first_batch(&mut cx.op, cursor, batch, false, reply).map_err(running)
}

fn is_change_stream(pipeline: Array<'_>) -> bool {
    matches!(pipeline.get(0), Value::Document(d) if d.first().is_some_and(|e| e.name() == CHANGE_STREAM))
}

/// Opens a change stream; its cursor waits for events.
fn watch(cx: &mut Cx<'_>, ns: Ns, parsed: &AggregateArgs<'_>, compile: &CompileCx, reply: &mut DocWriter<'_>) -> Result<()> {
    if cx.in_transaction {
        bail!(OperationNotSupportedInTransaction, "Operation not permitted in transaction :: caused by :: Aggregation stage $changeStream cannot be used in a transaction");
    }
    if let Some(level) = cx.read_concern.level.as_deref().filter(|l| *l != "majority") {
        bail!(InvalidOptions, "$changeStream cannot run with a readConcern other than 'majority', or in a multi-document transaction. Current readConcern: {{ level: \"{level}\" }}");
    }
    let stages = stage_documents(parsed.pipeline)?;
    let (stream, watch) = change::open(&mut cx.op, ns.db(), &parsed.coll, &stages, compile).map_err(change::label)?;
    let clearance = cx.pass.clearance(&ns);
    let mut cursor = Parked::new(ns, stream, clearance);
    cursor.lsid = cx.lsid.clone();
    cursor.tailable = true;
    cursor.await_data = true;
    cursor.watch = Some(watch);
    let batch = Batch { documents: Some(parsed.batch_size.unwrap_or(limits::FIRST_BATCH)) };
    let shared = cx.shared.clone();
    shared.cursors.first_batch(&mut cx.op, cursor, batch, false, reply).map_err(|e| change::label(running(e)))
}

/// Stages that tell of this process know no snapshot, and what is written is not read at one point.
fn check_read_concern(level: &str, pipeline: &Pipeline) -> Result<()> {
    const LOCAL: [&str; 4] = ["$currentOp", "$listClusterCatalog", "$listLocalSessions", "$planCacheStats"];
    if let Some(stage) = pipeline.source().map(|s| s.name).filter(|name| LOCAL.contains(name) && level != "local") {
        bail!(InvalidOptions, "Aggregation stage {stage} cannot run with a readConcern other than 'local'. Current readConcern: {level}");
    }
    match pipeline.writes() {
        Some(writes) if level == "linearizable" => bail!(InvalidOptions, "{} cannot be used with a 'linearizable' read concern level", writes.name()),
        _ => Ok(()),
    }
}

/// Stages that a transaction cannot answer from its snapshot.
fn check_transaction(pipeline: Array<'_>) -> Result<()> {
    const OUTSIDE: &[&str] = &[
        "$collStats", "$currentOp", "$indexStats", "$listLocalSessions", "$listSessions", "$planCacheStats", "$unionWith",
    ];
    match pipeline.iter().filter_map(|s| s.as_doc()?.first()).find(|stage| OUTSIDE.contains(&stage.name())) {
        Some(stage) => bail!(OperationNotSupportedInTransaction, "Stage not supported inside of a multi-document transaction: {}", stage.name()),
        None => Ok(()),
    }
}

/// Stages that are not in version 1 of the Stable API.
pub fn check_strict(pipeline: Array<'_>) -> Result<()> {
    const OUTSIDE: &[&str] = &[
        "$collStats", "$currentOp", "$indexStats", "$listLocalSessions", "$listSampledQueries", "$listSearchIndexes", "$listSessions", "$planCacheStats",
        "$search", "$searchMeta", "$shardedDataDistribution",
    ];
    for stage in pipeline.iter().filter_map(|s| s.as_doc()?.first()) {
        // Counting by $collStats is what drivers do for an estimated count.
        let counts = stage.name() == "$collStats" && stage.value().as_doc().is_some_and(|d| d.iter().all(|e| e.name() == "count"));
        if stage.name() == CHANGE_STREAM && stage.value().as_doc().is_some_and(|d| d.contains("showExpandedEvents")) {
            bail!(APIStrictError, "BSON field '$changeStream.showExpandedEvents' is not allowed with apiStrict:true.");
        }
        if OUTSIDE.contains(&stage.name()) && !counts {
            bail!(APIStrictError, "stage {} is not allowed with 'apiStrict: true' in API Version 1", stage.name());
        }
    }
    Ok(())
}

/// Errors of a pipeline that runs say so.
fn running(e: smongo_bson::Error) -> smongo_bson::Error {
    match e.message().contains(" error during aggregat") {
        true => e,
        false => e.context("PlanExecutor error during aggregation"),
    }
}
