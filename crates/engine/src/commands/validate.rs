//! validate: whether records and indexes say the same.

use std::collections::BTreeMap;

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

fn validate(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let full = args.bool("full")?;
    args.bool("checkBSONConformance")?;
    args.bool("metadata")?;
    args.bool("scandata")?;
    args.refuse(&["repair", "background", "fixMultikey", "enforceFastCount"])?;
    args.finish()?;
    let Some(coll) = cx.op.shared.catalog.get(&ns) else { bail!(NamespaceNotFound, "Collection '{ns}' does not exist to validate.") };
    let Some(storage) = coll.storage() else { bail!(CommandNotSupportedOnView, "Cannot validate a view") };
    let mut errors = Vec::new();
    let mut records = 0i64;
    let mut corrupt = 0i64;
    let mut found: BTreeMap<String, Found> = coll.indexes.iter().map(|i| (i.name.clone(), Found::default())).collect();
    let cursor = cx.op.store()?.open(&storage.records)?;
    let mut entries = Entries::default();
    while cx.op.store()?.next(cursor)? {
        records += 1;
        let (id, bytes) = (record_id(cx.op.lent().key(cursor)), cx.op.lent().value(cursor).to_vec());
        if let Err(e) = smongo_bson::check::document(&bytes) {
            corrupt += 1;
            errors.push(format!("record {id} is damaged: {e}"));
            continue;
        }
        check_record(&mut cx.op, &coll, id, Doc::from_checked(&bytes), &mut entries, &mut found)?;
        if records % 256 == 0 {
            cx.interrupt()?;
        }
    }
    cx.op.store()?.release(cursor);
    count_entries(cx, &coll, &mut found)?;
    for (name, f) in &found {
        if f.missing > 0 || f.extra > 0 {
            errors.push(format!("index {name}: {} entries missing, {} superfluous", f.missing, f.extra));
        }
    }
    if full {
        cx.op.end_read();
        for table in coll.indexes.iter().map(|i| &i.table).chain([&storage.records]) {
            if let Err(e) = cx.op.shared.store.verify(table)
                && e.kind() == smongo_storage::ErrorKind::Corrupt
            {
                errors.push(format!("table {}: {e}", table.name()));
            }
        }
    }
    reply.append("ns", ns.as_str()).append("nInvalidDocuments", corrupt).append("nNonCompliantDocuments", 0i64).append("nrecords", records);
    reply.append("nIndexes", coll.index_count() as i32);
    {
        let mut keys = reply.document("keysPerIndex");
        for (name, f) in &found {
            keys.append(name, f.entries as i64);
        }
    }
    {
        let mut details = reply.document("indexDetails");
        for (name, f) in &found {
            details.document(name).append("valid", f.missing == 0 && f.extra == 0);
        }
    }
    reply.append("valid", errors.is_empty()).append("repaired", false);
    reply.array("warnings");
    {
        let mut list = reply.array("errors");
        for e in &errors {
            list.push(&**e);
        }
    }
    for name in ["extraIndexEntries", "missingIndexEntries", "corruptRecords"] {
        reply.array(name);
    }
    Ok(())
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
