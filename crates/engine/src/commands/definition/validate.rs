//! validate: whether records and indexes say the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use smongo_bson::{Binary, Doc, DocWriter, Result, Value, bail};
use smongo_storage::{ErrorKind, Session, Table};
use smongo_mql::access::Action;

use crate::data::buckets;
use crate::data::catalog::{Collection, Storage, compact_number};
use crate::data::keys::record_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::oplog::uuid_bytes;
use crate::data::write::Entries;
use crate::service::command::{Access, Args, Command, Cx};

pub const VALIDATE: Command = Command::new("validate", validate, 0, Access::Named(&[Action::Validate]));

/// What was found in one index.
#[derive(Default)]
struct Found {
    entries: u64,
    missing: u64,
    extra: u64,
    /// Documents hold arrays where the index does not know of any: its queries would be planned wrongly.
    unknown_arrays: u64,
    /// Why it cannot be read.
    damage: Option<String>,
}

impl Found {
    fn is_valid(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.unknown_arrays == 0 && self.damage.is_none()
    }

    fn describe(&self, index: &str) -> String {
        if let Some(damage) = &self.damage {
            return format!("index {index} is damaged: {damage}");
        }
        let arrays = match self.unknown_arrays {
            0 => String::new(),
            n => format!(", not marked multikey for {n} documents with arrays"),
        };
        format!("index {index}: {} entries missing, {} superfluous{arrays}", self.missing, self.extra)
    }
}

/// What was found in the collection.
#[derive(Default)]
struct Report {
    records: i64,
    corrupt: i64,
    indexes: BTreeMap<String, Found>,
    errors: Vec<String>,
    warnings: Vec<String>,
    repaired: bool,
}

/// The command's options. Any value counts, by whether it is true.
struct Options {
    full: bool,
    repair: bool,
    metadata: bool,
    fix_multikey: bool,
}

impl Options {
    fn read(args: &mut Args<'_>) -> Result<Options> {
        let mut on = |name: &str| match args.value(name) {
            v if v.is_nullish() => false,
            v if v.is_number() || v.as_bool().is_some() => v.truthy(),
            _ => true,
        };
        let (full, repair, metadata, fix_multikey) = (on("full"), on("repair"), on("metadata"), on("fixMultikey"));
        let (background, conformance, fast_count) = (on("background"), on("checkBSONConformance"), on("enforceFastCount"));
        let exclusive = [
            (metadata && (full || repair || conformance || background || fast_count), "metadata: true"),
            (background && (full || repair || conformance || fast_count), "background: true"),
            (conformance && repair, "checkBSONConformance: true"),
        ];
        if let Some((_, option)) = exclusive.iter().find(|(both, _)| *both) {
            bail!(InvalidOptions, "Running the validate command with {{ {option} }} and another of its options is not supported");
        }
        Ok(Options { full, repair, metadata, fix_multikey: fix_multikey || repair })
    }

    fn mode(&self) -> &'static str {
        match (self.repair, self.fix_multikey) {
            (true, _) => "FixErrors",
            (false, true) => "AdjustMultikey",
            (false, false) => "None",
        }
    }
}

fn validate(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = target(cx, args)?;
    let options = Options::read(args)?;
    // Fields nobody knows are nothing to this command.
    args.rest();
    let Some(coll) = cx.op.collection(&ns)? else { bail!(NamespaceNotFound, "Collection '{ns}' does not exist to validate.") };
    if let Some(made) = coll.view().and_then(|view| view.made.as_ref()) {
        // Nothing of it is stored that could be damaged.
        write_report(&coll, &options, &Report { records: made.len() as i64, ..Report::default() }, reply);
        return Ok(());
    }
    let Some(storage) = coll.storage() else { bail!(CommandNotSupportedOnView, "Cannot validate a view") };
    let mut report = Report { indexes: coll.indexes.iter().map(|i| (i.name.clone(), Found::default())).collect(), ..Report::default() };
    if !options.metadata {
        check_contents(cx, &coll, storage, &options, &mut report)?;
        if options.full {
            // Indexes that were built anew have other tables.
            let coll = cx.op.require(&ns)?;
            check_tables(cx, &coll, storage, &mut report)?;
        }
    }
    write_report(&coll, &options, &report, reply);
    Ok(())
}

/// A name that nothing can have is one that is not there.
fn target(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Ns> {
    match (args.ns(&cx.db), args.first()) {
        (Err(_), Value::String(name)) if name.starts_with('$') => bail!(NamespaceNotFound, "Collection '{}.{name}' does not exist to validate.", cx.db),
        (ns, _) => buckets::behind(&cx.op, ns?),
    }
}

fn check_contents(cx: &mut Cx<'_>, coll: &Arc<Collection>, storage: &Storage, options: &Options, report: &mut Report) -> Result<()> {
    let mut entries = Entries::default();
    let cursor = match cx.op.store()?.open(&storage.records) {
        Err(e) if e.kind() == ErrorKind::Corrupt => return records_unreadable(coll, &e, report),
        cursor => cursor?,
    };
    loop {
        match cx.op.store()?.next(cursor) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) if e.kind() == ErrorKind::Corrupt => return records_unreadable(coll, &e, report),
            Err(e) => return Err(e.into()),
        }
        report.records += 1;
        let (id, bytes) = (record_id(cx.op.lent().key(cursor)), cx.op.lent().value(cursor).to_vec());
        if let Err(e) = smongo_bson::check::document(&bytes) {
            report.corrupt += 1;
            report.errors.push(format!("record {id} is damaged: {e}"));
            continue;
        }
        check_record(&mut cx.op, coll, id, Doc::from_checked(&bytes), &mut entries, &mut report.indexes)?;
        if report.records % 256 == 0 {
            cx.interrupt()?;
        }
    }
    cx.op.store()?.release(cursor);
    count_entries(cx, coll, &mut report.indexes)?;
    cx.op.end_read();
    let invalid: Vec<String> = report.indexes.iter().filter(|(_, f)| !f.is_valid()).map(|(name, _)| name.clone()).collect();
    for name in invalid {
        if options.repair {
            let shared = cx.shared.clone();
            shared.catalog.rebuild_index(&mut cx.op, &coll.ns, &name)?;
            report.repaired = true;
        } else if let Some(f) = report.indexes.get(&name) {
            report.errors.push(f.describe(&name));
        }
    }
    Ok(())
}

/// Documents that cannot be read say nothing about indexes.
fn records_unreadable(coll: &Collection, error: &smongo_storage::Error, report: &mut Report) -> Result<()> {
    report.errors.push(crate::data::damage::of_collection(&coll.ns, error.message()));
    Ok(())
}

fn check_tables(cx: &mut Cx<'_>, coll: &Collection, storage: &Storage, report: &mut Report) -> Result<()> {
    let tables: Vec<_> = coll.indexes.iter().map(|i| &i.table).chain([&storage.records]).collect();
    for (table, verified) in tables.iter().zip(cx.op.verify(&tables)?) {
        match verified.map_err(|e| (e.kind(), e)) {
            Ok(()) => {}
            Err((ErrorKind::Busy, _)) => report.warnings.push(format!("table {} was not verified: other operations are using the collection", table.name())),
            Err((ErrorKind::Corrupt, e)) => report.errors.push(format!("table {}: {e}", table.name())),
            Err((_, e)) => return Err(e.into()),
        }
    }
    Ok(())
}

fn write_report(coll: &Collection, options: &Options, report: &Report, reply: &mut DocWriter<'_>) {
    reply.append("ns", coll.ns.as_str()).append("uuid", Value::Binary(Binary::from_raw(&uuid_bytes(&coll.uuid))));
    if !options.metadata {
        reply.append("nInvalidDocuments", compact_number(report.corrupt)).append("nNonCompliantDocuments", 0);
        reply.append("nrecords", compact_number(report.records));
    }
    reply.append("nIndexes", coll.index_count() as i32);
    if !options.metadata {
        let mut keys = reply.document("keysPerIndex");
        for (name, f) in &report.indexes {
            keys.append(name, compact_number(f.entries as i64));
        }
    }
    {
        let mut details = reply.document("indexDetails");
        for index in &coll.indexes {
            let valid = report.repaired || report.indexes.get(&index.name).is_none_or(Found::is_valid);
            details.document(&index.name).append("valid", valid).append("spec", index.spec.as_doc());
        }
    }
    reply.append("valid", report.errors.is_empty()).append("repairMode", options.mode()).append("repaired", report.repaired);
    for (name, texts) in [("warnings", &report.warnings), ("errors", &report.errors)] {
        let mut list = reply.array(name);
        for text in texts {
            list.push(&**text);
        }
    }
    for name in ["extraIndexEntries", "missingIndexEntries", "corruptRecords"] {
        reply.array(name);
    }
}

/// Every entry the document should have must be there.
fn check_record(op: &mut OpCx, coll: &Collection, id: i64, doc: Doc<'_>, entries: &mut Entries, found: &mut BTreeMap<String, Found>) -> Result<()> {
    for index in &coll.indexes {
        let multikey = entries.of(index, doc, id)?;
        let Some(f) = found.get_mut(&index.name) else { continue };
        f.unknown_arrays += u64::from(index.would_grow(&multikey));
        for (key, value) in entries.iter() {
            f.entries += 1;
            if f.damage.is_some() {
                continue;
            }
            match op.store()?.get(&index.table, key) {
                Ok(found) => f.missing += u64::from(found != Some(value)),
                Err(e) if e.kind() == ErrorKind::Corrupt => f.damage = Some(e.message().to_owned()),
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// As many entries as the documents have, and each of those found: none is superfluous.
fn count_entries(cx: &mut Cx<'_>, coll: &Collection, found: &mut BTreeMap<String, Found>) -> Result<()> {
    for index in &coll.indexes {
        let Some(f) = found.get_mut(&index.name).filter(|f| f.damage.is_none()) else { continue };
        match count_table(cx.op.store()?, &index.table) {
            Ok(n) => f.extra = n.saturating_sub(f.entries - f.missing),
            Err(e) if e.kind() == ErrorKind::Corrupt => f.damage = Some(e.message().to_owned()),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn count_table(store: &mut Session, table: &Table) -> smongo_storage::Result<u64> {
    let cursor = store.open(table)?;
    let mut n = 0;
    while store.next(cursor)? {
        n += 1;
    }
    store.release(cursor);
    Ok(n)
}
