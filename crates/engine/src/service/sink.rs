//! Where `$out` and `$merge` write. Both write in an operation of their own, so that the snapshot the pipeline reads stays as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smongo_bson::{Code, Doc, DocBuf, Error, Result, Value, bail};
use smongo_mql::pipeline::merge::{MergeSpec, WhenMatched, WhenNotMatched};
use smongo_mql::stream::{OutSpec, Sink, WriteSpec};
use smongo_mql::{Arena, Host};
use uuid::Uuid;

use crate::data::{limits, write};
use crate::data::catalog::{Collection, Index};
use crate::data::database::Data;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::exec;
use crate::query::statement::{self, Target};
use crate::service::timeseries;

/// How long cleaning up may wait at a time.
const CLEANING: Duration = Duration::from_millis(200);
/// Documents written in one storage transaction.
const GROUP: usize = 500;
const GROUP_BYTES: usize = 4 << 20;
/// Documents `$merge` collects before it writes them.
const BATCH_BYTES: usize = 16 << 20;

pub fn open(op: &mut OpCx, spec: &WriteSpec) -> Result<Box<dyn Sink>> {
    let mut own = op.another();
    own.deadline = op.deadline;
    own.kill = op.kill.clone();
    own.compile = op.compile.clone();
    own.bypass_validation = op.bypass_validation;
    Ok(match spec {
        WriteSpec::Out(out) => Box::new(OutSink::new(own, out)?),
        WriteSpec::Merge(merge) => Box::new(MergeSink::new(own, merge)?),
    })
}

/// What explain finds out about a stage that writes: whether it could.
pub fn check(op: &OpCx, spec: &WriteSpec) -> Result<()> {
    let WriteSpec::Merge(merge) = spec else { return Ok(()) };
    let coll = op.data.catalog.get(&Ns::unchecked(&merge.db, &merge.coll));
    unique_index(coll.as_deref(), merge, op).map(drop)
}

/// The host's write concern covers what was written here.
fn committed(host: &mut dyn Host, own: &OpCx) -> Result<()> {
    exec::op_of(host)?.committed |= own.committed;
    Ok(())
}

/// A new collection that takes the place of the target at the end.
struct OutSink {
    own: OpCx,
    target: Ns,
    temporary: Ns,
    coll: Arc<Collection>,
    waiting: Vec<DocBuf>,
    bytes: usize,
    done: bool,
}

impl OutSink {
    fn new(mut own: OpCx, spec: &OutSpec) -> Result<OutSink> {
        let target = Ns::unchecked(&spec.db, &spec.coll);
        let existing = own.collection(&target)?;
        let options = out_options(spec, &target, existing.as_deref())?;
        let temporary = Ns::unchecked(&spec.db, &format!("{TEMPORARY}{}", Uuid::new_v4().simple()));
        let data = own.data.clone();
        let mut coll = data.catalog.create(&mut own, &temporary, options, Default::default())?;
        let specs: Vec<DocBuf> = existing.iter().flat_map(|c| &c.indexes).filter(|i| coll.indexes.iter().all(|own| own.name != i.name)).map(|i| i.spec.clone()).collect();
        if !specs.is_empty() {
            data.catalog.create_indexes(&mut own, &temporary, specs)?;
            coll = data.catalog.require(&temporary)?;
        }
        Ok(OutSink { own, target, temporary, coll, waiting: Vec::new(), bytes: 0, done: false })
    }

    fn flush(&mut self) -> Result<()> {
        let (coll, docs, bypass) = (self.coll.clone(), std::mem::take(&mut self.waiting), self.own.bypass_validation);
        self.bytes = 0;
        let mut buf = Vec::new();
        self.own.write(|op| {
            for doc in &docs {
                let doc = write::stored(op, &coll, doc.as_doc(), &mut buf)?;
                write::validate(&coll, doc, bypass)?;
                write::insert(op, &coll, doc)?;
            }
            Ok(())
        })
    }
}

impl Sink for OutSink {
    fn write(&mut self, _host: &mut dyn Host, doc: Doc<'_>) -> Result<()> {
        check_size(doc)?;
        self.bytes += doc.as_bytes().len();
        self.waiting.push(DocBuf::from(doc));
        if self.waiting.len() >= GROUP || self.bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self, host: &mut dyn Host) -> Result<()> {
        self.flush()?;
        let data = self.own.data.clone();
        if data.catalog.get(&self.target).is_some_and(|c| c.view().is_some()) {
            bail!(CommandNotSupportedOnView, "$out to a view is not supported: namespace '{}' is a view", self.target);
        }
        data.catalog.rename(&mut self.own, &self.temporary, &self.target, true)?;
        self.done = true;
        committed(host, &self.own)
    }
}

impl Drop for OutSink {
    fn drop(&mut self) {
        if !self.done {
            // It may go because its operation was killed or has no time left; what is cleaned up must not fail for that. Nor must
            // it wait, for a lock or the disk: the background tries again.
            self.own.rollback();
            self.own.kill = Arc::default();
            self.own.deadline = Some(Instant::now() + CLEANING);
            let data = self.own.data.clone();
            if let Err(e) = data.catalog.drop_collection(&mut self.own, &self.temporary) {
                tracing::info!("dropping the temporary collection {} later: {e}", self.temporary);
                data.temporary.lock().push(self.temporary.clone());
            }
        }
    }
}

/// What `$out` calls its collections until they take their place.
const TEMPORARY: &str = "tmp.agg_out.";

/// Drops the collections that operations could not drop when they ended.
pub fn drop_temporary(op: &mut OpCx) {
    let data = op.data.clone();
    let waiting = std::mem::take(&mut *data.temporary.lock());
    for ns in waiting {
        op.deadline = Some(Instant::now() + CLEANING);
        match data.catalog.drop_collection(op, &ns) {
            Err(e) if e.code() != Code::NamespaceNotFound => {
                tracing::debug!("dropping the temporary collection {ns}: {e}");
                data.temporary.lock().push(ns);
            }
            _ => {}
        }
    }
}

/// Finds the collections of `$out`s that were under way when the process ended.
pub fn left_temporary(data: &Data) -> Vec<Ns> {
    let made = |ns: &Ns| ns.coll().strip_prefix(TEMPORARY).is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    data.catalog.all().iter().map(|coll| coll.ns.clone()).filter(made).collect()
}

/// The options of the collection that takes the target's place: the target's own, or what `timeseries` asks for.
fn out_options(spec: &OutSpec, target: &Ns, existing: Option<&Collection>) -> Result<DocBuf> {
    let series = spec.timeseries.as_ref().map(|given| timeseries::stored(given.as_doc())).transpose()?;
    let Some(coll) = existing else {
        return Ok(DocBuf::build(|w| {
            if let Some(series) = &series {
                w.append("timeseries", series.as_doc());
            }
        }));
    };
    if let Some(series) = &series {
        if coll.timeseries.is_none() {
            bail!(7268700, "$out with timeseries options cannot replace '{target}', which is no time-series collection");
        }
        if coll.option("timeseries").as_doc().is_none_or(|current| current.as_bytes() != series.as_bytes()) {
            bail!(7406103, "the timeseries options of $out are not those of the existing collection '{target}'");
        }
    }
    if coll.view().is_some() {
        bail!(CommandNotSupportedOnView, "$out to a view is not supported: namespace '{target}' is a view");
    }
    if coll.is_capped() {
        bail!(17152, "namespace '{target}' is capped so it can't be used for $out");
    }
    Ok(coll.options.clone())
}

fn check_size(doc: Doc<'_>) -> Result<()> {
    let len = doc.as_bytes().len();
    if len > limits::DOCUMENT_BYTES {
        bail!(BSONObjectTooLarge, "object to insert too large. size in bytes: {len}, max size: {}", limits::DOCUMENT_BYTES);
    }
    Ok(())
}

struct MergeSink {
    own: OpCx,
    spec: MergeSpec,
    ns: Ns,
    /// Null and missing `on` values are refused: the unique index is sparse.
    sparse: bool,
    /// What is only asked when there is something to write was asked.
    checked: bool,
    arena: Arena,
    waiting: Vec<DocBuf>,
    bytes: usize,
}

impl MergeSink {
    fn new(own: OpCx, spec: &MergeSpec) -> Result<MergeSink> {
        let ns = Ns::unchecked(&spec.db, &spec.coll);
        let coll = own.collection(&ns)?;
        if coll.as_ref().is_some_and(|c| c.view().is_some()) {
            bail!(CommandNotSupportedOnView, "$merge into a view is not supported: namespace '{ns}' is a view");
        }
        if coll.as_ref().is_some_and(|c| c.timeseries.is_some()) {
            bail!(CommandNotSupportedOnView, "$merge into the time-series collection '{ns}' is not supported");
        }
        let sparse = unique_index(coll.as_deref(), spec, &own)?;
        Ok(MergeSink { own, spec: spec.clone(), ns, sparse, checked: false, arena: Arena::new(), waiting: Vec::new(), bytes: 0 })
    }

    /// The filter that finds the target's document, and whether the document needs an `_id` of its own first.
    fn filter(&self, doc: Doc<'_>) -> Result<DocBuf> {
        let mut filter = DocBuf::new();
        for field in self.spec.on_fields() {
            let path = smongo_bson::path::Path::new(field);
            let value = on_value(doc, path.parts(), field)?;
            if value.is_nullish() && self.sparse {
                bail!(51132, "$merge write error: 'on' field '{field}' cannot be missing, null or undefined if supporting index is sparse");
            }
            let mut next = Vec::new();
            let mut w = smongo_bson::DocWriter::new(&mut next);
            w.append_all(filter.as_doc());
            w.document(field).append("$eq", if value.is_missing() { Value::Null } else { value });
            w.finish();
            filter = DocBuf::from_checked(next);
        }
        Ok(filter)
    }

    fn merge(&mut self, doc: Doc<'_>) -> Result<()> {
        let filter = self.filter(doc)?;
        let target = Target::compile(filter.as_doc(), Doc::EMPTY, None, &self.own.compile)?;
        let (spec, ns, arena) = (&self.spec, &self.ns, &mut self.arena);
        let own = &mut self.own;
        let bypass = own.bypass_validation;
        let mut buf = Vec::new();
        statement::retry_upsert(true, || {
            own.write(|op| {
                let existing = op.collection(ns)?;
                arena.reset();
                let found = match &existing {
                    Some(coll) => target.first(op, coll)?.map(|found| (coll, found)),
                    None => None,
                };
                if let Some((coll, (id, old))) = found {
                    if matches!(spec.when_matched, WhenMatched::Fail) {
                        return Err(met(ns, old.as_doc()));
                    }
                    if let Some(change) = spec.update(old.as_doc(), doc)? {
                        statement::apply(op, coll, id, old.as_doc(), &target, &change, bypass, arena)?;
                    }
                    return Ok(());
                }
                match spec.when_not_matched {
                    WhenNotMatched::Discard => return Ok(()),
                    WhenNotMatched::Fail => bail!(13113, "$merge could not find a matching document in the target collection for at least one document in the source collection"),
                    WhenNotMatched::Insert => {}
                }
                let coll = write::target(op, ns)?;
                let doc = spec.inserted(doc);
                let doc = write::prepare(op, doc.as_doc(), &mut buf)?;
                write::validate(&coll, doc, bypass)?;
                write::insert(op, &coll, doc)?;
                Ok(())
            })
        })
    }

    /// Writes what waits. A document that fails does not keep back the others of its batch; the first error is reported.
    fn flush(&mut self, host: &mut dyn Host) -> Result<()> {
        self.bytes = 0;
        if !self.waiting.is_empty() && !std::mem::replace(&mut self.checked, true) {
            self.spec.check()?;
        }
        let mut failed = None;
        for doc in std::mem::take(&mut self.waiting) {
            match self.merge(doc.as_doc()) {
                Err(e) if failed.is_none() => failed = Some(e),
                _ => {}
            }
            self.own.interrupt()?;
        }
        committed(host, &self.own)?;
        failed.map_or(Ok(()), Err)
    }
}

/// A document that `whenMatched: "fail"` met.
fn met(ns: &Ns, old: Doc<'_>) -> Error {
    let id = DocBuf::build(|w| {
        w.append("_id", old.get("_id"));
    });
    let info = DocBuf::build(|w| {
        w.document("keyPattern").append("_id", 1);
        w.append("keyValue", id.as_doc());
    });
    Error::new(Code::DuplicateKey, format!("E11000 duplicate key error collection: {ns} index: _id_ dup key: {:?} found while $merge failed on a matching document", id.as_doc())).with_info(info)
}

/// The value of an `on` field; arrays, also on the way to it, are refused.
fn on_value<'d>(doc: Doc<'d>, path: &[smongo_bson::path::Part], field: &str) -> Result<Value<'d>> {
    let Some((first, rest)) = path.split_first() else { return Ok(Value::Missing) };
    match doc.get(&first.name) {
        Value::Array(_) => bail!(51185, "$merge write error: 'on' field '{field}' cannot be an array"),
        Value::Document(d) if !rest.is_empty() => on_value(d, rest, field),
        v if rest.is_empty() => Ok(v),
        _ => Ok(Value::Missing),
    }
}

/// Checks that a unique index over exactly the `on` fields exists; whether it is sparse.
fn unique_index(coll: Option<&Collection>, spec: &MergeSpec, own: &OpCx) -> Result<bool> {
    let on = spec.on_fields();
    if on == ["_id"] {
        return Ok(false);
    }
    let fits = |index: &&Arc<Index>| {
        let same_collation = match (&index.collation, &own.compile.collation) {
            (None, None) => true,
            (Some(a), Some(b)) => a.spec.as_bytes() == b.spec.as_bytes(),
            _ => false,
        };
        (index.unique || index.is_id())
            && index.partial.is_none()
            && same_collation
            && index.paths.len() == on.len()
            && index.paths.iter().all(|p| on.contains(&p.text()))
    };
    match coll.and_then(|c| c.indexes.iter().find(fits)) {
        Some(index) => Ok(index.sparse),
        None => bail!(51183, "Cannot find index to verify that join fields will be unique"),
    }
}

impl Sink for MergeSink {
    fn write(&mut self, host: &mut dyn Host, doc: Doc<'_>) -> Result<()> {
        check_size(doc)?;
        let doc = if doc.contains("_id") || self.spec.on_fields() != ["_id"] {
            DocBuf::from(doc)
        } else {
            DocBuf::build(|w| {
                w.append("_id", smongo_bson::ObjectId::generate()).append_all(doc);
            })
        };
        self.bytes += doc.as_bytes().len();
        self.waiting.push(doc);
        if self.waiting.len() >= limits::WRITE_BATCH || self.bytes >= BATCH_BYTES { self.flush(host) } else { Ok(()) }
    }

    fn finish(&mut self, host: &mut dyn Host) -> Result<()> {
        self.flush(host)
    }
}
