//! What may be done to the measurements of time-series collections. One is stored as a document of its own, in the order of time.

use smongo_bson::{Doc, Result, Value, bail};

use crate::data::catalog::TimeSeries;

/// Only the meta field of measurements can be updated, in all that a query on that field finds.
pub fn check_update(series: &TimeSeries, query: Doc<'_>, update: Value<'_>, multi: bool, upsert: bool) -> Result<()> {
    let Some(meta) = &series.meta else { bail!(InvalidOptions, "Cannot perform an update on a time-series collection that has no metaField") };
    if !multi {
        bail!(InvalidOptions, "Cannot perform a non-multi update on a time-series collection");
    }
    if upsert {
        bail!(InvalidOptions, "Cannot perform an upsert on a time-series collection");
    }
    let of_meta = |path: &str| path.strip_prefix(meta.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if !query_reads_only(query, &of_meta) {
        bail!(InvalidOptions, "Cannot perform an update on a time-series collection when querying on a field that is not the metaField '{meta}'");
    }
    let Value::Document(update) = update else { bail!(InvalidOptions, "Cannot perform an update with a pipeline on a time-series collection") };
    for operator in update {
        let Value::Document(fields) = operator.value() else { bail!(InvalidOptions, "Cannot perform a replacement on a time-series collection") };
        if operator.name() == "$rename" {
            bail!(InvalidOptions, "Cannot perform a rename on a time-series collection");
        }
        if !operator.name().starts_with('$') || fields.iter().any(|f| !of_meta(f.name())) {
            bail!(InvalidOptions, "Cannot perform an update on a time-series collection which updates a field that is not the metaField '{meta}'");
        }
    }
    Ok(())
}

/// What an index on measurements may be: MongoDB's are made over buckets.
pub fn check_index(series: &TimeSeries, spec: Doc<'_>) -> Result<()> {
    let Value::Document(key) = spec.get("key") else { return Ok(()) };
    let of_meta = |path: &str| series.meta.as_deref().and_then(|meta| path.strip_prefix(meta)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    for field in key {
        match field.value() {
            Value::String("text") => bail!(InvalidOptions, "Text indexes are not supported on time-series collections"),
            Value::String(kind @ ("2d" | "hashed")) if !of_meta(field.name()) => {
                bail!(CannotCreateIndex, "A {kind} index on a time-series collection must be on its metaField, not on '{}'", field.name())
            }
            _ if field.name() == "$**" => bail!(7246201, "A wildcard index on a time-series collection must be below its metaField"),
            _ => {}
        }
    }
    if spec.get("unique").truthy() {
        bail!(InvalidOptions, "Unique indexes are not supported on time-series collections");
    }
    if spec.get("sparse").truthy() && !key.iter().all(|field| of_meta(field.name())) {
        bail!(InvalidOptions, "Sparse indexes on time-series collections are supported on the metaField only");
    }
    let partial = spec.get("partialFilterExpression").as_doc();
    if partial.is_some() && spec.contains("collation") {
        bail!(IndexOptionsConflict, "An index on a time-series collection cannot have both a collation and a partialFilterExpression");
    }
    // What goes by its time goes in whole buckets, which only the metaField tells apart.
    if spec.contains("expireAfterSeconds") && !partial.is_some_and(|filter| query_reads_only(filter, &of_meta)) {
        bail!(InvalidOptions, "A TTL index on a time-series collection needs a partialFilterExpression on its metaField");
    }
    Ok(())
}

fn query_reads_only(query: Doc<'_>, allowed: &dyn Fn(&str) -> bool) -> bool {
    query.iter().all(|e| match e.name() {
        "$and" | "$or" | "$nor" => e.value().as_array().is_some_and(|all| all.iter().all(|q| q.as_doc().is_some_and(|q| query_reads_only(q, allowed)))),
        "$comment" => true,
        name => allowed(name),
    })
}
