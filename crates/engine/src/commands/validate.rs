//! validate: whether records and indexes say the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use smongo_bson::{Doc, DocWriter, Result, bail};

use super::{Args, Command};
use crate::catalog::Collection;
use crate::door::Cx;
use crate::keys::record_id;
use crate::op::OpCx;
use crate::write::Entries;

pub const VALIDATE: Command = Command::new("validate", validate, 0);

/// What was found in one index.
#[derive(Default)]
struct Found {
    entries: u64,
    missing: u64,
    extra: u64,
}

/// What a look at all of a collection found.
#[derive(Default)]
struct Report {
    records: i64,
    damaged: i64,
    indexes: BTreeMap<String, Found>,
    errors: Vec<String>,
}

impl Report {
    /// Indexes that do not say what the records say.
    fn wrong_indexes(&self) -> Vec<String> {
        self.indexes.iter().filter(|(_, f)| !f.valid()).map(|(name, _)| name.clone()).collect()
    }
}

impl Found {
    fn valid(&self) -> bool {
        self.missing == 0 && self.extra == 0
    }
}

fn validate(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let full = args.bool("full")?;
    let repair = args.bool("repair")?;
    args.bool("checkBSONConformance")?;
    args.bool("metadata")?;
    args.bool("scandata")?;
    args.refuse(&["background", "fixMultikey", "enforceFastCount"])?;
    args.finish()?;
    let collection = |cx: &Cx<'_>| match cx.op.shared.catalog.get(&ns) {
        None => bail!(NamespaceNotFound, "Collection '{ns}' does not exist to validate."),
        Some(coll) if coll.storage().is_none() => bail!(CommandNotSupportedOnView, "Cannot validate a view"),
        Some(coll) => Ok(coll),
    };
    let coll = collection(cx)?;
    let mut report = inspect(cx, &coll, full)?;
    let mut warnings = Vec::new();
    let wrong = report.wrong_indexes();
    if repair && !wrong.is_empty() {
        let shared = cx.op.shared.clone();
        shared.catalog.rebuild_indexes(&mut cx.op, &ns, &wrong)?;
        warnings.extend(wrong.iter().map(|name| format!("index {name} was built again from the records")));
        let coll = collection(cx)?;
        report = inspect(cx, &coll, full)?;
    }
    reply.append("ns", ns.as_str()).append("nInvalidDocuments", report.damaged).append("nNonCompliantDocuments", 0i64);
    reply.append("nrecords", report.records).append("nIndexes", coll.index_count() as i32);
    {
        let mut keys = reply.document("keysPerIndex");
        for (name, f) in &report.indexes {
            keys.append(name, f.entries as i64);
        }
    }
    {
        let mut details = reply.document("indexDetails");
        for (name, f) in &report.indexes {
            details.document(name).append("valid", f.valid());
        }
    }
    reply.append("valid", report.errors.is_empty()).append("repaired", !warnings.is_empty());
    for (name, texts) in [("warnings", &warnings), ("errors", &report.errors)] {
        let mut list = reply.array(name);
        for text in texts {
            list.push(&**text);
        }
    }
    for name in ["extraIndexEntries", "missingIndexEntries", "corruptRecords"] {
        reply.array(name);
    }
    Ok(())
}

/// Compares records and indexes in one snapshot; `full` has the tables' files checked, too.
fn inspect(cx: &mut Cx<'_>, coll: &Arc<Collection>, full: bool) -> Result<Report> {
    let mut report = Report { indexes: coll.indexes.iter().map(|i| (i.name.clone(), Found::default())).collect(), ..Report::default() };
    let Some(storage) = coll.storage() else { return Ok(report) };
    let cursor = cx.op.store()?.open(&storage.records)?;
    let mut entries = Entries::default();
    while cx.op.store()?.next(cursor)? {
        report.records += 1;
        let (id, bytes) = (record_id(cx.op.lent().key(cursor)), cx.op.lent().value(cursor).to_vec());
        if let Err(e) = smongo_bson::check::document(&bytes) {
            report.damaged += 1;
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
    for (name, f) in report.indexes.iter().filter(|(_, f)| !f.valid()) {
        report.errors.push(format!("index {name}: {} entries missing, {} superfluous", f.missing, f.extra));
    }
    if full {
        for table in coll.indexes.iter().map(|i| &i.table).chain([&storage.records]) {
            if let Err(e) = cx.op.shared.store.verify(table)
                && e.kind() == smongo_storage::ErrorKind::Corrupt
            {
                report.errors.push(format!("table {}: {e}", table.name()));
            }
        }
    }
    Ok(report)
}

/// Every entry the document should have must be there.
fn check_record(op: &mut OpCx, coll: &Collection, id: i64, doc: Doc<'_>, entries: &mut Entries, found: &mut BTreeMap<String, Found>) -> Result<()> {
    for index in &coll.indexes {
        entries.of(index, doc, id)?;
        let Some(f) = found.get_mut(&index.name) else { continue };
        for (key, value) in entries.iter() {
            f.entries += 1;
            if op.store()?.get(&index.table, key)? != Some(value) {
                f.missing += 1;
            }
        }
    }
    Ok(())
}

/// As many entries as the documents have, and each of those found: none is superfluous.
fn count_entries(cx: &mut Cx<'_>, coll: &Collection, found: &mut BTreeMap<String, Found>) -> Result<()> {
    for index in &coll.indexes {
        let cursor = cx.op.store()?.open(&index.table)?;
        let mut n = 0u64;
        while cx.op.store()?.next(cursor)? {
            n += 1;
        }
        cx.op.store()?.release(cursor);
        if let Some(f) = found.get_mut(&index.name) {
            f.extra = n.saturating_sub(f.entries - f.missing);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;
    use smongo_bson::{DocBuf, Value};

    use crate::{Engine, Options, Session};

    fn run(session: &mut Session, text: &str) -> DocBuf {
        parse_doc(text).and_then(|command| session.run_command("t", &command)).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn repair_builds_a_wrong_index_again() -> smongo_bson::Result<()> {
        let engine = Engine::open(Options::default())?;
        let mut session = engine.session(Default::default());
        run(&mut session, r#"{"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "a_1"}]}"#);
        run(&mut session, r#"{"insert": "c", "documents": [{"_id": 1, "a": [1, 2]}, {"_id": 2, "a": 3}]}"#);
        assert!(run(&mut session, r#"{"validate": "c"}"#).get("valid").truthy());

        let coll = engine.shared.catalog.all().pop().unwrap_or_else(|| panic!("no collection"));
        let index = &coll.indexes[1].table;
        let mut store = engine.shared.store.session()?;
        let cursor = store.open(index)?;
        store.next(cursor)?;
        let key = store.key(cursor).to_vec();
        store.release(cursor);
        store.remove(index, &key)?;
        store.insert(index, b"superfluous", b"")?;
        drop(store);

        let report = run(&mut session, r#"{"validate": "c", "full": true}"#);
        assert!(!report.get("valid").truthy() && !report.get("repaired").truthy(), "{report:?}");
        let report = run(&mut session, r#"{"validate": "c", "repair": true}"#);
        assert!(report.get("valid").truthy() && report.get("repaired").truthy(), "{report:?}");
        let report = run(&mut session, r#"{"validate": "c", "full": true}"#);
        assert!(report.get("valid").truthy(), "{report:?}");
        let found = run(&mut session, r#"{"find": "c", "filter": {"a": 1}, "hint": "a_1"}"#);
        let batch = found.get("cursor").as_doc().map(|c| c.get("firstBatch").as_array().map_or(0, |a| a.iter().count()));
        assert_eq!(batch, Some(1));
        assert!(matches!(report.get("nrecords"), Value::Int64(2)));
        Ok(())
    }
}
