//! Where the documents of `$out` and `$merge` go. They are written by an operation of their own, so that the snapshot the
//! pipeline reads stays as it is.

use std::sync::Arc;

use smongo_bson::path::{self, Path};
use smongo_bson::{Code, Doc, DocBuf, Result, Value, ValueBuf, bail, err};
use smongo_mql::pipeline::merge::{MergeSpec, WhenMatched, WhenNotMatched};
use smongo_mql::stream::{OutSpec, Sink, WriteSpec};
use smongo_mql::{Arena, CompileCx, Host, Matcher};
use uuid::Uuid;

use crate::catalog::Collection;
use crate::commands::{insert, write_reply};
use crate::keys::RecordId;
use crate::namespace::Ns;
use crate::op::OpCx;
use crate::plan::{self, Query};
use crate::write;

/// Documents `$out` writes in one transaction, and their bytes.
const GROUP: usize = 500;
const GROUP_BYTES: usize = 4 << 20;

pub fn open(op: &mut OpCx, target: &WriteSpec) -> Result<Box<dyn Sink>> {
    let mut own = OpCx::new(&op.shared)?;
    own.deadline = op.deadline;
    own.kill = op.kill.clone();
    Ok(match target {
        WriteSpec::Out(spec) => Box::new(Out::new(own, spec)?),
        WriteSpec::Merge(spec) => Box::new(Merge::new(own, spec.clone())?),
    })
}

fn refuse_view(coll: &Collection) -> Result<()> {
    if coll.view().is_some() {
        bail!(CommandNotSupportedOnView, "Namespace {} is a view, not a collection", coll.ns);
    }
    Ok(())
}

/// `$out`: a new collection beside the target, which takes its place in the end.
struct Out {
    op: OpCx,
    target: Ns,
    /// The name of the new collection until then.
    temporary: Ns,
    coll: Arc<Collection>,
    group: Vec<DocBuf>,
    bytes: usize,
    finished: bool,
}

impl Out {
    fn new(mut op: OpCx, spec: &OutSpec) -> Result<Out> {
        if spec.timeseries.is_some() {
            bail!(NotImplemented, "$out to a time series collection is not implemented");
        }
        let target = Ns::new(&spec.db, &spec.coll)?;
        let shared = op.shared.clone();
        let existing = shared.catalog.get(&target);
        let mut options = DocBuf::new();
        let mut indexes = Vec::new();
        if let Some(coll) = &existing {
            refuse_view(coll)?;
            if coll.is_capped() {
                bail!(17152, "namespace '{target}' is capped so it can't be used for $out");
            }
            options = DocBuf::from(coll.options());
            indexes = coll.indexes.iter().filter(|i| !i.is_id()).map(|i| i.spec.clone()).collect();
        }
        let temporary = Ns::unchecked(&spec.db, &format!("tmp.agg_out.{}", Uuid::new_v4()));
        let mut coll = shared.catalog.create(&mut op, &temporary, options)?;
        if !indexes.is_empty() {
            shared.catalog.create_indexes(&mut op, &temporary, indexes)?;
            coll = shared.catalog.require(&temporary)?;
        }
        Ok(Out { op, target, temporary, coll, group: Vec::new(), bytes: 0, finished: false })
    }

    fn flush(&mut self) -> Result<()> {
        let (coll, group) = (&self.coll, &self.group);
        let mut buf = Vec::new();
        self.op.write(|op| {
            for doc in group {
                let doc = insert::prepare(op, doc.as_doc(), &mut buf)?;
                write_reply::validate(coll, doc, false)?;
                write::insert(op, coll, doc)?;
            }
            Ok(())
        })?;
        self.group.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl Sink for Out {
    fn write(&mut self, _host: &mut dyn Host, doc: Doc<'_>) -> Result<()> {
        self.bytes += doc.as_bytes().len();
        self.group.push(DocBuf::from(doc));
        if self.group.len() >= GROUP || self.bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self, host: &mut dyn Host) -> Result<()> {
        self.flush()?;
        let shared = self.op.shared.clone();
        shared.catalog.rename(&mut self.op, &self.temporary, &self.target, true)?;
        self.finished = true;
        super::op_of(host)?.committed = true;
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if !self.finished {
            self.op.rollback();
            let shared = self.op.shared.clone();
            if let Err(e) = shared.catalog.drop_collection(&mut self.op, &self.temporary) {
                tracing::warn!("dropping {}: {e}", self.temporary);
            }
        }
    }
}

/// `$merge`: each document meets the one of the target that has the same `on` fields.
struct Merge {
    op: OpCx,
    spec: MergeSpec,
    target: Ns,
    on: Vec<Path>,
    wrote: bool,
}

impl Merge {
    fn new(op: OpCx, spec: MergeSpec) -> Result<Merge> {
        let target = Ns::new(&spec.db, &spec.coll)?;
        let on: Vec<Path> = spec.on_fields().into_iter().map(Path::new).collect();
        let existing = op.shared.catalog.get(&target);
        if let Some(coll) = &existing {
            refuse_view(coll)?;
        }
        let by_id = matches!(on.as_slice(), [only] if only.text() == "_id");
        if !by_id && !existing.is_some_and(|c| has_unique(&c, &on)) {
            bail!(51183, "Cannot find index to verify that join fields will be unique");
        }
        Ok(Merge { op, spec, target, on, wrote: false })
    }
}

/// Whether a unique index over exactly these fields makes them identify a document.
fn has_unique(coll: &Collection, on: &[Path]) -> bool {
    coll.indexes.iter().any(|i| {
        i.unique && i.partial.is_none() && i.collation.is_none() && i.paths.len() == on.len() && i.paths.iter().all(|p| on.contains(p))
    })
}

/// The filter that finds the document of the same `on` fields.
fn filter_of(on: &[Path], doc: Doc<'_>) -> Result<DocBuf> {
    let mut fields: Vec<(&str, ValueBuf)> = Vec::new();
    for path in on {
        let value = path::get(doc, path.parts());
        match value {
            Value::Array(_) => bail!(51185, "$merge write error: 'on' field cannot be an array"),
            v if v.is_nullish() => bail!(51132, "$merge write error: 'on' field cannot be missing, null or undefined if supporting index is sparse"),
            v => fields.push((path.text(), ValueBuf::new(v))),
        }
    }
    Ok(DocBuf::build(|w| {
        for (name, value) in &fields {
            w.document(name).append("$eq", value.view());
        }
    }))
}

impl Sink for Merge {
    fn write(&mut self, _host: &mut dyn Host, doc: Doc<'_>) -> Result<()> {
        let Merge { op, spec, target, on, wrote } = self;
        let mut buf = Vec::new();
        let by_id = on.iter().any(|p| p.text() == "_id");
        let doc = if by_id && !doc.contains("_id") { insert::prepare(op, doc, &mut buf)? } else { doc };
        let filter = filter_of(on, doc)?;
        let done = op.write(|op| {
            let coll = write_reply::target(op, target)?;
            refuse_view(&coll)?;
            match find(op, &coll, filter.as_doc())? {
                Some((id, old)) => matched(op, &coll, spec, id, old.as_doc(), doc),
                None => unmatched(op, &coll, spec, doc),
            }
        });
        *wrote = true;
        done.map_err(|e| match e.code() {
            Code::DuplicateKey | Code::ImmutableField => e.context("$merge failed"),
            _ => e,
        })
    }

    fn finish(&mut self, host: &mut dyn Host) -> Result<()> {
        if self.wrote {
            super::op_of(host)?.committed = true;
        }
        Ok(())
    }
}

fn find(op: &mut OpCx, coll: &Arc<Collection>, filter: Doc<'_>) -> Result<Option<(RecordId, DocBuf)>> {
    let cx = CompileCx { collation: coll.collation.clone(), ..CompileCx::default() };
    let query = Query::new(Arc::new(Matcher::compile(filter, &cx)?));
    let mut rows = plan::plan(op, coll, query)?.open_rows(op)?;
    if !rows.advance(op)? {
        return Ok(None);
    }
    let found = (rows.record_id(), DocBuf::from(rows.doc()));
    rows.park(op);
    Ok(Some(found))
}

fn matched(op: &mut OpCx, coll: &Arc<Collection>, spec: &MergeSpec, id: RecordId, old: Doc<'_>, incoming: Doc<'_>) -> Result<()> {
    if matches!(spec.when_matched, WhenMatched::Fail) {
        return Err(err!(DuplicateKey, "E11000 duplicate key error collection: {} dup key: {{ _id: {:?} }}", coll.ns, old.get("_id")));
    }
    let Some(new) = spec.combine(old, incoming, &Arena::new())? else { return Ok(()) };
    let new = new.as_doc();
    if !smongo_bson::compare::equal(old.get("_id"), new.get("_id")) {
        bail!(ImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'");
    }
    if new.as_bytes() == old.as_bytes() {
        return Ok(());
    }
    write_reply::validate_update(coll, old, new, false)?;
    write::update(op, coll, id, old, new, new)
}

fn unmatched(op: &mut OpCx, coll: &Arc<Collection>, spec: &MergeSpec, incoming: Doc<'_>) -> Result<()> {
    match spec.when_not_matched {
        WhenNotMatched::Discard => Ok(()),
        WhenNotMatched::Fail => bail!(13113, "$merge could not find a matching document in the target collection for at least one document in the source collection"),
        WhenNotMatched::Insert => {
            let mut buf = Vec::new();
            let doc = insert::prepare(op, incoming, &mut buf)?;
            write_reply::validate(coll, doc, false)?;
            write::insert(op, coll, doc).map(|_| ())
        }
    }
}
