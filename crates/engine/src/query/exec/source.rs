//! Stages whose documents the engine makes: statistics and lists.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail, err, number};
use smongo_mql::Stream;
use smongo_mql::stream::{Docs, SourceSpec};

use crate::data::catalog::{Collection, SearchIndex};
use crate::data::clock::now_millis;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// Writes the latencies of a collection, which the floor above counts; with histograms or without.
pub type Latencies<'l> = &'l dyn Fn(&str, bool, &mut DocWriter<'_>);

pub fn open(op: &mut OpCx, source: &SourceSpec, latencies: Latencies<'_>) -> Result<Box<dyn Stream>> {
    let spec = source.spec.view().as_doc().unwrap_or(Doc::EMPTY);
    let ns = Ns::unchecked(&source.db, &source.coll);
    let docs = match source.name {
        "$vectorSearch" => return super::vector_search::open(op, source),
        "$collStats" => vec![coll_stats(op, &ns, spec, latencies)?],
        "$indexStats" => index_stats(op, &ns)?,
        "$listCatalog" => catalog(op, source),
        "$planCacheStats" => {
            let Some(coll) = op.collection(&ns)? else {
                bail!(50933, "cannot execute aggregation stage $planCacheStats on a nonexistent collection: {ns}");
            };
            if coll.timeseries.is_some() {
                // In MongoDB the stage that unpacks buckets goes first.
                bail!(40602, "$planCacheStats is only valid as the first stage in a pipeline");
            }
            coll.state.plans.describe(&host())
        }
        "$listSampledQueries" | "$queryStats" => Vec::new(),
        "$listSearchIndexes" => list_search_indexes(op, &ns, spec)?,
        "$listClusterCatalog" => cluster_catalog(op, source),
        name => bail!(NotImplemented, "the stage {name} is not implemented"),
    };
    Ok(Box::new(Docs::new(docs)))
}

/// The search indexes of a collection, or one of them by `name` or `id`, in the order of their names.
pub fn list_search_indexes(op: &mut OpCx, ns: &Ns, spec: Doc<'_>) -> Result<Vec<DocBuf>> {
    let (name, id) = (spec.get("name").as_str(), spec.get("id").as_str());
    let Some(coll) = op.collection(ns)? else { return Ok(Vec::new()) };
    let documents = coll.state.known_documents().unwrap_or(0);
    let mut found: Vec<_> = coll.search.iter().filter(|index| name.is_none_or(|name| index.name == name) && id.is_none_or(|id| index.id == id)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found.into_iter().map(|index| describe_search_index(index, documents)).collect())
}

/// Searches read the documents themselves, so that an index is ready when it is there.
fn describe_search_index(index: &SearchIndex, documents: i64) -> DocBuf {
    DocBuf::build(|w| {
        w.append("id", &*index.id).append("name", &*index.name).append("type", index.kind.name()).append("status", "READY").append("queryable", true);
        w.document("latestDefinitionVersion").append("version", index.version).append("createdAt", Value::DateTime(index.created));
        w.append("latestDefinition", index.definition.as_doc());
        let mut details = w.array("statusDetail");
        let mut detail = details.document();
        detail.append("hostname", &*host()).append("status", "READY").append("queryable", true);
        let mut main = detail.document("mainIndex");
        main.append("status", "READY").append("queryable", true);
        main.document("definitionVersion").append("version", index.version).append("createdAt", Value::DateTime(index.created));
        main.append("definition", index.definition.as_doc());
        drop(main);
        drop(detail);
        drop(details);
        w.append("numDocs", documents);
    })
}

/// The name this process goes by, as host:port where there is one.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "localhost".to_owned(), |h| h.trim().to_owned())
}

fn index_stats(op: &mut OpCx, ns: &Ns) -> Result<Vec<DocBuf>> {
    let Some(mut coll) = op.collection(ns)? else { return Ok(Vec::new()) };
    while let Some(view) = coll.view() {
        if !view.pipeline.is_empty() {
            bail!(40602, "$indexStats is only valid as the first stage in a pipeline");
        }
        let Some(below) = op.collection(&Ns::unchecked(ns.db(), &view.on))? else { return Ok(Vec::new()) };
        coll = below;
    }
    let since = now_millis() - op.data.started.elapsed().as_millis() as i64;
    let host = host();
    let one = |index: &Arc<crate::data::catalog::Index>| {
        DocBuf::build(|w| {
            w.append("name", &*index.name).append("key", index.key()).append("host", &*host);
            w.document("accesses").append("ops", index.uses() as i64).append("since", Value::DateTime(since));
            w.append("spec", index.spec.as_doc());
        })
    };
    Ok(coll.indexes.iter().map(one).collect())
}

fn coll_stats(op: &mut OpCx, ns: &Ns, spec: Doc<'_>, latencies: Latencies<'_>) -> Result<DocBuf> {
    let coll = op.collection(&crate::data::buckets::behind(op, ns.clone())?)?;
    if let Some(name) = ["storageStats", "count", "queryExecStats"].into_iter().find(|name| spec.contains(name)) {
        match &coll {
            None => return Err(err!(NamespaceNotFound, "$collStats {name}: Collection [{ns}] not found.")),
            Some(coll) if coll.view().is_some() && !coll.is_made() => bail!(CommandNotSupportedOnView, "$collStats {name}: Namespace {ns} is a view, not a collection"),
            Some(_) => {}
        }
    }
    if let Some(coll) = &coll
        && coll.storage().is_some()
        && coll.state.known_documents().is_none()
    {
        let data = op.data.clone();
        data.catalog.recount(op, coll)?;
    }
    let mut failed = Ok(());
    let doc = DocBuf::build(|w| {
        w.append("ns", ns.as_str()).append("host", &*host()).append("localTime", Value::DateTime(now_millis()));
        if let Value::Document(latency) = spec.get("latencyStats") {
            latencies(ns.as_str(), latency.get("histograms").truthy(), &mut w.document("latencyStats"));
        }
        let Some(coll) = &coll else { return };
        if let Value::Document(storage) = spec.get("storageStats") {
            let scale = number::to_i64_saturating(storage.get("scale")).unwrap_or(1).max(1);
            failed = storage_stats(op, coll, scale, &mut w.document("storageStats"));
        }
        if spec.contains("count") {
            let made = coll.view().and_then(|view| view.made.as_ref()).map(|made| made.len() as i64);
            w.append("count", made.or(coll.state.known_documents()).unwrap_or(0) as i32);
        }
        if spec.contains("queryExecStats") {
            let mut stats = w.document("queryExecStats");
            let mut scans = stats.document("collectionScans");
            scans.append("total", 0i64).append("nonTailable", 0i64);
        }
    });
    failed.map(|()| doc)
}

/// A collection's `storageStats`, which are also what collStats answers.
pub fn storage_stats(op: &OpCx, coll: &Collection, scale: i64, w: &mut DocWriter<'_>) -> Result<()> {
    if let Some(made) = coll.view().and_then(|view| view.made.as_ref()) {
        made_stats(made, scale, w);
        return Ok(());
    }
    let Some(storage) = coll.storage() else {
        bail!(CommandNotSupportedOnView, "Namespace {} is a view, not a collection", coll.ns);
    };
    let store = &op.data.store;
    let (count, size) = (coll.state.known_documents().unwrap_or(0), coll.state.bytes.load(Ordering::Relaxed).max(0));
    let records = store.table_stats(&storage.records)?;
    let file = records.file_bytes as i64;
    let mut sizes = Vec::new();
    for index in &coll.indexes {
        sizes.push((index.name.as_str(), store.file_bytes(&index.table)? as i64));
    }
    let total: i64 = sizes.iter().map(|(_, n)| n).sum();
    let fit = |n: i64| -> Value<'static> { i32::try_from(n / scale).map_or(Value::Int64(n / scale), Value::Int32) };
    w.append("size", fit(size));
    if coll.timeseries.is_some() {
        // Each measurement is a bucket of its own.
        let mut series = w.document("timeseries");
        series.append("bucketCount", count as i32).append("avgBucketSize", size.checked_div(count).unwrap_or(0) as i32);
    } else {
        w.append("count", count as i32);
        if count > 0 {
            w.append("avgObjSize", (size / count) as i32);
        }
    }
    w.append("numOrphanDocs", 0).append("storageSize", fit(file)).append("freeStorageSize", fit(records.reusable_bytes as i64));
    w.append("capped", storage.capped.is_some());
    if let Some(capped) = storage.capped {
        w.append("max", capped.documents.unwrap_or(0) as i32).append("maxSize", fit(capped.bytes));
    }
    w.append("nindexes", coll.index_count() as i32);
    w.array("indexBuilds");
    w.append("totalIndexSize", fit(total)).append("totalSize", fit(file + total));
    {
        let mut w = w.document("indexSizes");
        for (name, n) in &sizes {
            w.append(name, fit(*n));
        }
    }
    w.append("scaleFactor", scale as i32);
    Ok(())
}

/// The same of a collection that is not stored: it takes no place.
fn made_stats(made: &[DocBuf], scale: i64, w: &mut DocWriter<'_>) {
    let (count, size) = (made.len() as i64, made.iter().map(|doc| doc.as_bytes().len() as i64).sum::<i64>());
    w.append("size", (size / scale) as i32).append("count", count as i32).append("avgObjSize", size.checked_div(count).unwrap_or(0) as i32);
    for name in ["numOrphanDocs", "storageSize", "freeStorageSize"] {
        w.append(name, 0);
    }
    w.append("capped", false).append("nindexes", 1);
    w.array("indexBuilds");
    w.append("totalIndexSize", 0).append("totalSize", 0);
    w.document("indexSizes").append("_id_", 0);
    w.append("scaleFactor", scale as i32);
}

/// The collections a list is about: one, those of a database, or all.
fn listed(op: &OpCx, source: &SourceSpec) -> Vec<Arc<Collection>> {
    match (source.db.as_str(), source.coll.as_str()) {
        ("admin", "") => op.data.catalog.all(),
        (db, "") => op.data.catalog.collections(db),
        (db, coll) => op.data.catalog.get(&Ns::unchecked(db, coll)).into_iter().collect(),
    }
}

fn catalog(op: &OpCx, source: &SourceSpec) -> Vec<DocBuf> {
    let one = |coll: &Arc<Collection>| {
        DocBuf::build(|w| {
            w.append("db", coll.ns.db()).append("name", coll.ns.coll());
            w.append("type", kind(coll));
            let mut md = w.document("md");
            md.append("ns", coll.ns.as_str()).append("options", coll.options());
            let mut indexes = md.array("indexes");
            for index in &coll.indexes {
                let mut w = indexes.document();
                w.append("spec", index.spec.as_doc()).append("ready", true).append("multikey", index.multikey().any());
            }
        })
    };
    listed(op, source).iter().map(one).collect()
}

fn kind(coll: &Collection) -> &'static str {
    match (coll.view(), &coll.timeseries) {
        (Some(_), _) => "view",
        (None, Some(_)) => "timeseries",
        (None, None) => "collection",
    }
}

fn cluster_catalog(op: &OpCx, source: &SourceSpec) -> Vec<DocBuf> {
    let shards = source.spec.view().as_doc().is_some_and(|spec| spec.get("shards").truthy());
    let one = |coll: &Arc<Collection>| {
        DocBuf::build(|w| {
            w.append("ns", coll.ns.as_str()).append("db", coll.ns.db());
            w.append("type", kind(coll)).append("options", coll.options());
            if coll.view().is_some() {
                w.document("info").append("readOnly", true);
            } else {
                let mut raw = vec![4];
                raw.extend_from_slice(coll.uuid.as_bytes());
                w.document("info").append("readOnly", false).append("uuid", Value::Binary(smongo_bson::Binary::from_raw(&raw)));
                w.append("idIndex", coll.id_index_spec());
            }
            w.append("sharded", false);
            if shards {
                w.array("shards");
            }
        })
    };
    listed(op, source).iter().map(one).collect()
}
