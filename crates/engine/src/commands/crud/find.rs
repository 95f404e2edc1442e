//! find

use std::collections::BTreeSet;
use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail};
use smongo_mql::collation::Collation;
use smongo_mql::stream::Docs;
use smongo_mql::{CompileCx, Matcher, Projection, SortPattern, Stream};
use smongo_mql::access::Action;

use crate::data::catalog::{Collection, find_by_id};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::exec;
use crate::query::plan::{self, Hint, Query};
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, READS};
use crate::service::cursors::{Batch, Parked};

pub const FIND: Command = Command::new("find", find, IN_TXN | READS, Access::Named(&[Action::Find]));

/// The arguments of a find.
pub struct FindArgs<'a> {
    pub ns: Ns,
    pub filter: Doc<'a>,
    pub sort: Doc<'a>,
    pub projection: Doc<'a>,
    pub hint: Option<Hint>,
    pub skip: u64,
    pub limit: Option<u64>,
    pub batch_size: Option<usize>,
    pub single_batch: bool,
    pub no_cursor_timeout: bool,
    pub tailable: bool,
    pub await_data: bool,
    pub min: Option<Doc<'a>>,
    pub max: Option<Doc<'a>>,
    pub return_key: bool,
    pub show_record_id: bool,
    pub allow_disk_use: Option<bool>,
}

impl<'a> FindArgs<'a> {
    pub fn parse(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<FindArgs<'a>> {
        let ns = args.ns(&cx.db)?;
        let filter = match args.value("filter") {
            Value::Missing => Doc::EMPTY,
            Value::Document(filter) => filter,
            v => return Err(args.wrong_type("filter", v, "object")),
        };
        let limit = args.non_negative("limit")?.filter(|n| *n > 0);
        let mut find = FindArgs {
            ns,
            filter,
            sort: args.doc("sort")?.unwrap_or(Doc::EMPTY),
            projection: args.doc("projection")?.unwrap_or(Doc::EMPTY),
            hint: hint(args)?,
            skip: args.non_negative("skip")?.unwrap_or(0) as u64,
            limit: limit.map(|n| n as u64),
            batch_size: args.non_negative("batchSize")?.map(|n| n as usize),
            single_batch: args.bool("singleBatch")?,
            no_cursor_timeout: args.bool("noCursorTimeout")?,
            tailable: args.bool("tailable")?,
            await_data: args.bool("awaitData")?,
            min: args.doc("min")?.filter(|d| !d.is_empty()),
            max: args.doc("max")?.filter(|d| !d.is_empty()),
            return_key: args.bool("returnKey")?,
            show_record_id: args.bool("showRecordId")?,
            allow_disk_use: args.strict_bool("allowDiskUse")?,
        };
        compile_cx(cx, args)?;
        // `oplogReplay` and `allowPartialResults` are valid and change nothing on one member.
        args.bool("oplogReplay")?;
        args.bool("allowPartialResults")?;
        args.finish()?;
        if find.tailable {
            find.check_tailable()?;
        }
        find.natural_order()?;
        if find.await_data && !find.tailable {
            bail!(FailedToParse, "Cannot set 'awaitData' without also setting 'tailable'");
        }
        Ok(find)
    }

    /// A tailable cursor follows the order of the records.
    fn check_tailable(&self) -> Result<()> {
        let forward = |e: smongo_bson::Element<'_>| e.name() == "$natural" && smongo_bson::number::to_f64(e.value()) == Some(1.0);
        if !self.sort.iter().all(forward) {
            bail!(BadValue, "cannot use tailable option with a sort other than {{$natural: 1}}");
        }
        if self.single_batch {
            bail!(BadValue, "cannot use tailable option with the 'singleBatch' option");
        }
        Ok(())
    }

    /// `sort: {$natural: ±1}` asks for the order of the records, which is a hint and not a sort.
    fn natural_order(&mut self) -> Result<()> {
        let Some(e) = self.sort.element("$natural") else { return Ok(()) };
        if self.sort.len() > 1 {
            bail!(BadValue, "Cannot include '$natural' in compound sort: {:?}", self.sort);
        }
        let direction = match smongo_bson::number::to_f64(e.value()) {
            Some(n) if n.abs() == 1.0 => n > 0.0,
            _ => bail!(BadValue, "$natural sort cannot be set to a value other than -1 or 1."),
        };
        match &self.hint {
            None | Some(Hint::Natural { .. }) => {}
            Some(_) => bail!(BadValue, "The index hint cannot be used with a $natural sort"),
        }
        self.hint = Some(Hint::Natural { forward: direction });
        self.sort = Doc::EMPTY;
        Ok(())
    }

    /// The find as stages of an aggregation, for views.
    pub fn stages(&self) -> Vec<DocBuf> {
        let mut stages = Vec::new();
        let mut stage = |name: &str, value: Value<'_>| {
            stages.push(DocBuf::build(|w| {
                w.append(name, value);
            }));
        };
        if !self.filter.is_empty() {
            stage("$match", self.filter.into());
        }
        if !self.sort.is_empty() {
            stage("$sort", self.sort.into());
        }
        if self.skip > 0 {
            stage("$skip", Value::Int64(self.skip as i64));
        }
        if let Some(limit) = self.limit {
            stage("$limit", Value::Int64(limit as i64));
        }
        if !self.projection.is_empty() {
            stage("$project", self.projection.into());
        }
        stages
    }

    pub fn query(&self, cx: &CompileCx) -> Result<Query> {
        let compiled = |spec: Doc<'_>| !spec.is_empty();
        let filter = Matcher::compile(self.filter, cx)?;
        let projection = compiled(self.projection).then(|| Projection::compile_find(self.projection, cx)).transpose()?;
        let meta = projection.as_ref().map(Projection::meta).unwrap_or_default();
        check_meta(&meta, &filter, compiled(self.sort))?;
        Ok(Query {
            filter: Arc::new(filter),
            sort: compiled(self.sort).then(|| SortPattern::compile(self.sort, cx)).transpose()?,
            sort_key: meta.contains("sortKey"),
            projection,
            skip: self.skip,
            // A tailable cursor that has reached its limit stays open; the cursor counts.
            limit: self.limit.filter(|_| !self.tailable),
            hint: self.hint.clone(),
            min: self.min.map(DocBuf::from),
            max: self.max.map(DocBuf::from),
            return_key: self.return_key,
            keep_keys: plan::asks_for_keys(self.projection.into()),
            // Index keys come alone.
            show_record_id: self.show_record_id && !self.return_key,
            allow_disk_use: self.allow_disk_use.unwrap_or(true),
            tailable: self.tailable,
            filter_doc: DocBuf::from(self.filter),
            sort_doc: DocBuf::from(self.sort),
            projection_doc: DocBuf::from(self.projection),
        })
    }
}

/// Refuses to project what the query attaches to no document.
pub fn check_meta(meta: &BTreeSet<&'static str>, filter: &Matcher, sorted: bool) -> Result<()> {
    if meta.contains("textScore") && !filter.has_text() {
        bail!(40218, "query requires text score metadata, but it is not available");
    }
    if meta.contains("sortKey") && !sorted {
        bail!(BadValue, "cannot use sortKey $meta projection without a sort");
    }
    Ok(())
}

/// `collation` and `let`, into what the command's programs compile against.
pub fn compile_cx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<()> {
    if let Some(spec) = args.doc("collation")?.filter(|d| !d.is_empty()) {
        cx.op.compile.collation = Collation::parse(spec)?.map(Arc::new);
        cx.op.compile.simple_collation = cx.op.compile.collation.is_none();
    }
    if let Some(lets) = args.doc("let")? {
        cx.op.compile.lets = constants(lets, &cx.op.compile)?;
    }
    Ok(())
}

/// The variables of a `let`: constant expressions, which see those before them.
fn constants(lets: Doc<'_>, cx: &CompileCx) -> Result<Vec<(String, ValueBuf)>> {
    let mut cx = cx.clone();
    for e in lets {
        if matches!(e.name(), "NOW" | "CLUSTER_TIME" | "USER_ROLES" | "JS_SCOPE" | "IS_MR") {
            bail!(4738901, "Attempt to set internal constant: {}", e.name());
        }
        smongo_mql::expr::check_user_variable(e.name())?;
        if reads_clock(e.value()) {
            bail!(51144, "Command let Expression tried to access system variables, but may not: {}", e.name());
        }
        let expr = smongo_mql::Expr::compile(e.value(), &cx)?;
        let reads = expr.dependencies();
        if reads.whole_document || !reads.fields.is_empty() {
            bail!(4890500, "Command let Expression tried to access a field, but this is not allowed because command let expressions run before the query examines any documents.");
        }
        let arena = smongo_mql::Arena::new();
        let value = expr.eval(&smongo_mql::Cx::new(&arena, Doc::EMPTY, expr.slots()))?;
        cx.lets.push((e.name().to_owned(), ValueBuf::new(value)));
    }
    Ok(cx.lets)
}

/// Whether an expression names `$$NOW` or `$$CLUSTER_TIME` outside of literals.
fn reads_clock(value: Value<'_>) -> bool {
    match value {
        Value::String(s) => s.starts_with("$$NOW") || s.starts_with("$$CLUSTER_TIME"),
        Value::Document(d) => d.iter().any(|e| e.name() != "$literal" && reads_clock(e.value())),
        Value::Array(a) => a.iter().any(reads_clock),
        _ => false,
    }
}

/// `hint`: an index name, a key pattern, or `{$natural: ±1}`.
pub fn hint(args: &mut Args<'_>) -> Result<Option<Hint>> {
    Hint::parse(args.value("hint"))
}

fn find(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let find = FindArgs::parse(cx, args)?;
    let coll = cx.op.collection(&find.ns)?;
    if let Some(coll) = &coll {
        default_collation(cx, &coll.collation);
    }
    if let Some(coll) = &coll
        && point_read(cx, &find, coll, reply)?
    {
        return Ok(());
    }
    let mut dead = find.tailable;
    let stream: Box<dyn Stream> = match coll {
        Some(coll) if coll.view().is_some() => open_on_view(cx, &find)?,
        Some(coll) => {
            if find.tailable && coll.timeseries.is_some() {
                // MongoDB makes this find an aggregation, which knows no such stage.
                bail!(InvalidPipelineOperator, "Tailable cursors are not supported on the time-series collection {}", find.ns);
            }
            if find.tailable && !coll.is_capped() {
                bail!(BadValue, "error processing query: ns={} tailable cursor requested on non capped collection", find.ns);
            }
            let query = find.query(&cx.op.compile)?;
            // A tailable cursor on nothing has no position from which it could go on.
            dead = find.tailable && is_empty(&mut cx.op, &coll)?;
            plan::plan(&mut cx.op, &coll, query)?.open(&mut cx.op)?
        }
        None => {
            // The query is checked even though there is nothing to find.
            find.query(&cx.op.compile)?;
            Box::new(Docs::new(Vec::new()))
        }
    };
    let clearance = cx.pass.clearance(&find.ns);
    let mut cursor = Parked::new(find.ns.clone(), stream, clearance);
    cursor.left = find.limit;
    cursor.lsid = cx.lsid.clone();
    cursor.txn_number = cx.txn_number;
    cursor.no_timeout = find.no_cursor_timeout;
    cursor.tailable = find.tailable;
    cursor.await_data = find.await_data;
    cursor.limit_time(&cx.op, find.tailable);
    let batch = Batch { documents: Some(find.batch_size.unwrap_or(limits::FIRST_BATCH)) };
    let shared = cx.shared.clone();
    let single = find.single_batch || dead;
    shared.cursors.first_batch(&mut cx.op, cursor, batch, single, reply)
}

/// A find by `_id` that asks for nothing else is answered from the record itself; `false` when it is not one.
fn point_read(cx: &mut Cx<'_>, find: &FindArgs<'_>, coll: &Collection, reply: &mut DocWriter<'_>) -> Result<bool> {
    let plain = find.sort.is_empty() && find.projection.is_empty() && find.hint.is_none() && find.skip == 0 && find.batch_size != Some(0);
    let shaped = find.min.is_some() || find.max.is_some() || find.return_key || find.show_record_id || find.tailable;
    if !plain || shaped || coll.view().is_some() {
        return Ok(false);
    }
    let Some(id) = plan::by_id(coll, find.filter, cx.op.compile.collation.is_some()) else { return Ok(false) };
    let mut cursor = reply.document("cursor");
    {
        let mut batch = cursor.array("firstBatch");
        if let Some((_, doc)) = find_by_id(&mut cx.op, coll, id)? {
            batch.push(doc);
        }
        cx.shared.tally.point_read(batch.count() as u64);
    }
    if let Some(at) = cx.op.snapshot_time() {
        cursor.append("atClusterTime", at);
    }
    cursor.append("id", 0i64).append("ns", find.ns.as_str());
    Ok(true)
}

fn is_empty(op: &mut OpCx, coll: &Collection) -> Result<bool> {
    let Some(storage) = coll.storage() else { return Ok(true) };
    let store = op.store()?;
    let cursor = store.open(&storage.records)?;
    let any = store.next(cursor)?;
    store.release(cursor);
    Ok(!any)
}

/// A find on a view is an aggregation over what the view is made of.
fn open_on_view(cx: &mut Cx<'_>, find: &FindArgs<'_>) -> Result<Box<dyn Stream>> {
    if find.tailable {
        bail!(InvalidPipelineOperator, "tailable cursors are not supported on the view {}", find.ns);
    }
    if find.min.is_some() || find.max.is_some() || find.return_key || find.show_record_id {
        bail!(OptionNotSupportedOnView, "the option is not supported on the view {}", find.ns);
    }
    let stages = find.stages();
    let compile = cx.op.compile.clone();
    exec::open_hinted(&mut cx.op, find.ns.db(), find.ns.coll(), &stages, &compile, find.hint.clone())
}

/// A collection's own collation holds where the command names none.
pub fn default_collation(cx: &mut Cx<'_>, collation: &Option<Arc<Collation>>) {
    if cx.op.compile.collation.is_none() && !cx.op.compile.simple_collation {
        cx.op.compile.collation = collation.clone();
    }
}
