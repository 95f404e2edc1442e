//! The table of stages, and the rules about where each may stand.

use smongo_bson::{Doc, Result, Value, bail};

use super::access::{self, Rule};
use super::{Stage, basic, bucket, bucket_auto, change_stream, densify, documents, facet, fill, fusion, geo_near, graph_lookup, group, lookup, merge, out, redact, replace_root, sample, score, search, source, union_with, unwind, window};
use crate::cx::CompileCx;
use crate::sort::SortPattern;

/// Whose pipeline is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// A command's (or a view's).
    Command,
    Facet,
    Lookup,
    UnionWith,
    /// One that [`Host::open`](crate::Host::open) was given: its rules were checked when the outer pipeline was compiled.
    Nested,
}

/// Where in a pipeline a stage may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Any,
    First,
    Last,
}

/// What a stage reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The documents of a collection or of the stage before it.
    Collection,
    /// Only `{aggregate: 1}` makes sense.
    Database,
    /// Makes its documents itself, over a collection.
    Itself,
    /// `{aggregate: 1}` or a collection.
    Either,
}

type Parse = fn(Value<'_>, &CompileCx, &mut Vec<Stage>) -> Result<()>;

pub(super) struct Row {
    pub name: &'static str,
    parse: Parse,
    place: Place,
    from: From,
    /// Whether it may stand in `$facet`.
    facet: bool,
    /// What somebody must hold to run it, beside what its place in a pipeline asks for.
    pub needs: Rule,
}

impl Row {
    /// Whether a pipeline that begins with it reads its collection.
    pub fn reads(&self) -> bool {
        self.from == From::Collection
    }
}

const fn row(name: &'static str, parse: Parse, needs: Rule) -> Row {
    Row { name, parse, place: Place::Any, from: From::Collection, facet: true, needs }
}

const fn first(name: &'static str, parse: Parse, from: From, needs: Rule) -> Row {
    Row { name, parse, place: Place::First, from, facet: false, needs }
}

const fn last(name: &'static str, parse: Parse, needs: Rule) -> Row {
    Row { name, parse, place: Place::Last, from: From::Collection, facet: false, needs }
}

const ROWS: &[Row] = &[
    row("$addFields", basic::parse_add_fields, access::nothing),
    row("$bucket", bucket::parse, access::nothing),
    row("$bucketAuto", bucket_auto::parse, access::nothing),
    first("$changeStream", change_stream::parse, From::Either, access::change_stream),
    Row { facet: false, ..row("$changeStreamSplitLargeEvent", change_stream::parse_split, access::nothing) },
    first("$collStats", source::parse_coll_stats, From::Itself, access::coll_stats),
    row("$count", basic::parse_count, access::nothing),
    first("$currentOp", source::parse_current_op, From::Database, access::current_op),
    row("$densify", densify::parse, access::nothing),
    first("$documents", documents::parse, From::Database, access::nothing),
    Row { facet: false, ..row("$facet", facet::parse, access::facet) },
    row("$fill", fill::parse, access::nothing),
    Row { from: From::Collection, ..first("$geoNear", geo_near::parse, From::Itself, access::nothing) },
    row("$graphLookup", graph_lookup::parse, access::graph_lookup),
    row("$group", group::parse, access::nothing),
    first("$indexStats", source::parse_index_stats, From::Itself, access::index_stats),
    row("$limit", basic::parse_limit, access::nothing),
    first("$listCatalog", source::parse_list_catalog, From::Either, access::list_catalog),
    first("$listClusterCatalog", source::parse_list_cluster_catalog, From::Database, access::list_cluster_catalog),
    first("$listLocalSessions", source::parse_list_local_sessions, From::Database, access::list_sessions),
    first("$listSampledQueries", source::parse_list_sampled_queries, From::Database, access::list_sampled_queries),
    first("$listSearchIndexes", source::parse_list_search_indexes, From::Itself, access::list_search_indexes),
    first("$listSessions", source::parse_list_sessions, From::Itself, access::list_sessions),
    row("$lookup", lookup::parse, access::lookup),
    row("$match", basic::parse_match, access::nothing),
    last("$merge", merge::parse, access::merge),
    last("$out", out::parse, access::out),
    first("$planCacheStats", source::parse_plan_cache_stats, From::Itself, access::plan_cache_stats),
    row("$project", basic::parse_project, access::nothing),
    first("$querySettings", source::parse_query_settings, From::Database, access::query_settings),
    first("$queryStats", source::parse_query_stats, From::Database, access::query_stats),
    Row { facet: true, ..first("$rankFusion", fusion::parse_rank, From::Itself, access::fusion) },
    row("$redact", redact::parse, access::nothing),
    row("$replaceRoot", replace_root::parse_replace_root, access::nothing),
    row("$replaceWith", replace_root::parse_replace_with, access::nothing),
    row("$sample", sample::parse, access::nothing),
    row("$score", score::parse, access::nothing),
    Row { facet: true, ..first("$scoreFusion", fusion::parse_score, From::Itself, access::fusion) },
    first("$search", search::parse_search, From::Itself, access::find),
    first("$searchMeta", search::parse_search_meta, From::Itself, access::find),
    row("$set", basic::parse_set, access::nothing),
    row("$setWindowFields", window::parse, access::nothing),
    row("$skip", basic::parse_skip, access::nothing),
    row("$sort", parse_sort, access::nothing),
    row("$sortByCount", basic::parse_sort_by_count, access::nothing),
    row("$unionWith", union_with::parse, access::union_with),
    row("$unset", basic::parse_unset, access::nothing),
    row("$unwind", unwind::parse, access::nothing),
    first("$vectorSearch", search::parse_vector_search, From::Itself, access::find),
];

/// Names of all stages, sorted.
pub fn stages() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|r| r.name)
}

/// The row of a stage's name.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|r| r.name.cmp(name)).ok().and_then(|at| ROWS.get(at))
}

/// The name and the specification of a stage document.
pub(crate) fn named_stage(stage: Doc<'_>) -> Result<(&'static str, Value<'_>)> {
    row_of(stage).map(|(row, spec)| (row.name, spec))
}

/// The row of a stage document: exactly one field, whose name is a stage's.
fn row_of<'d>(stage: Doc<'d>) -> Result<(&'static Row, Value<'d>)> {
    let mut fields = stage.iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        bail!(40323, "A pipeline stage specification object must contain exactly one field.");
    };
    match find(field.name()) {
        Some(row) => Ok((row, field.value())),
        None => bail!(40324, "Unrecognized pipeline stage name: '{}'", field.name()),
    }
}

/// Compiles one stage and appends what it becomes.
pub(super) fn compile(stage: Doc<'_>, cx: &CompileCx, within: Within, out: &mut Vec<Stage>) -> Result<()> {
    let (row, arg) = row_of(stage)?;
    let of_collection = matches!(row.name, "$listClusterCatalog" | "$listLocalSessions") && !cx.coll.is_empty();
    match within {
        Within::Lookup if row.place == Place::Last => bail!(51047, "{} is not allowed within a $lookup's sub-pipeline", row.name),
        Within::Lookup if row.name == "$vectorSearch" => bail!(51047, "{} is not allowed within a $lookup's sub-pipeline", row.name),
        Within::UnionWith if row.place == Place::Last => bail!(31441, "{} is not allowed within a $unionWith's sub-pipeline", row.name),
        Within::Lookup | Within::UnionWith if row.name == "$changeStream" && !cx.within_facet => {
            bail!(40573, "$changeStream is only valid as the first stage in a pipeline")
        }
        // These complain of their namespace before anything else.
        Within::Facet | Within::Lookup | Within::UnionWith if cx.within_facet && !row.facet && row.name != "$listSessions" && !of_collection => {
            bail!(40600, "{} is not allowed to be used within a $facet stage", row.name)
        }
        _ => {}
    }
    (row.parse)(arg, cx, out)
}

/// Checks where the stages stand, after each was parsed.
pub(super) fn check_places(stages: &[Doc<'_>], cx: &CompileCx, within: Within) -> Result<()> {
    if within == Within::Nested {
        return Ok(());
    }
    if cx.coll.is_empty() {
        check_namespace(stages, cx, within)?;
    }
    for (at, stage) in stages.iter().enumerate() {
        let (row, _) = row_of(*stage)?;
        if row.name == "$geoNear" && !stages[..at].iter().all(|s| is_empty_match(*s)) {
            bail!(40603, "$geoNear was not the first stage in the pipeline.");
        }
        if at != 0 && fusion::is_fusion(*stage) {
            bail!(10170100, "{} is only valid as the first stage in a pipeline", row.name);
        }
        if row.place == Place::First && row.name != "$geoNear" && at != 0 {
            bail!(40602, "{} is only valid as the first stage in a pipeline", row.name);
        }
        if row.place == Place::Last && at + 1 != stages.len() {
            bail!(40601, "{} can only be the final stage in the pipeline", row.name);
        }
    }
    check_namespace(stages, cx, within)
}

/// `{$match: {}}`, which MongoDB forgets in front of a `$geoNear`.
pub(super) fn is_empty_match(stage: Doc<'_>) -> bool {
    stage.get("$match").as_doc().is_some_and(Doc::is_empty)
}

/// `{aggregate: 1}` needs a first stage that reads no collection, and such stages need it.
fn check_namespace(stages: &[Doc<'_>], cx: &CompileCx, within: Within) -> Result<()> {
    if within == Within::Facet {
        return Ok(());
    }
    let first = stages.first().map(|s| row_of(*s)).transpose()?;
    match (first, cx.coll.is_empty()) {
        (None, true) => bail!(InvalidNamespace, "{{aggregate: 1}} is not valid for an empty pipeline."),
        (Some((row, _)), true) if matches!(row.from, From::Collection | From::Itself) => {
            bail!(InvalidNamespace, "{{aggregate: 1}} is not valid for '{}'; a collection is required.", row.name)
        }
        (Some((row, _)), false) if row.from == From::Database => {
            bail!(InvalidNamespace, "{} must be run against the database with {{aggregate: 1}}", row.name)
        }
        _ => Ok(()),
    }
}

/// `$text` may only stand in the first stage; what it computes (and `$geoNear`) is there only behind it.
pub(super) fn check_texts(stages: &[Doc<'_>]) -> Result<()> {
    fn field<'d>(stage: &Doc<'d>) -> Option<(&'d str, Value<'d>)> {
        stage.first().map(|f| (f.name(), f.value()))
    }
    let text = stages.first().and_then(field).is_some_and(|(name, v)| name == "$match" && v.as_doc().is_some_and(has_text));
    let near = stages.first().and_then(field).is_some_and(|(name, _)| name == "$geoNear");
    for (at, stage) in stages.iter().enumerate() {
        match field(stage) {
            Some(("$match", Value::Document(filter))) if at > 0 && has_text(filter) => {
                bail!(17313, "$match with $text is only allowed as the first pipeline stage")
            }
            Some(("$sort", Value::Document(order))) => {
                for part in order {
                    let meta = part.value().as_doc().map(|d| d.get("$meta"));
                    let known = match meta {
                        Some(Value::String("textScore")) => text,
                        Some(Value::String("geoNearDistance")) => near,
                        _ => true,
                    };
                    if !known {
                        bail!(40218, "query requires {} metadata, but it is not available", meta.and_then(|m| m.as_str()).unwrap_or(""));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What `$text` computes is there only behind it, in stages that make fields too (40218), and a sort key behind a `$sort`. Sub-pipelines
/// look after themselves.
pub(super) fn check_meta(stages: &[Doc<'_>]) -> Result<()> {
    let makes_fields = |s: &Doc<'_>| s.first().is_some_and(|e| matches!(e.name(), "$project" | "$addFields" | "$set" | "$group"));
    let first = stages.first().and_then(|s| s.get("$match").as_doc());
    if !first.is_some_and(has_text) && stages.iter().any(|s| makes_fields(s) && reads_meta(Value::Document(*s), "textScore")) {
        bail!(40218, "query requires text score metadata, but it is not available");
    }
    let detailed = |stage: &Doc<'_>| stage.first().and_then(|e| e.value().as_doc()).is_some_and(|spec| matches!(spec.get("scoreDetails"), Value::Bool(true)));
    if stages.first().is_some_and(|first| fusion::is_fusion(*first) && !detailed(first)) && stages.iter().any(|s| makes_fields(s) && reads_meta(Value::Document(*s), "scoreDetails")) {
        bail!(40218, "query requires scoreDetails metadata, but it is not available");
    }
    let mut sorted = false;
    for stage in stages {
        if !sorted && makes_fields(stage) && reads_meta(Value::Document(*stage), "sortKey") {
            bail!(40218, "query requires sort key metadata, but it is not available");
        }
        match stage.first().map_or("", |e| e.name()) {
            "$sort" => sorted = true,
            "$group" | "$bucket" | "$bucketAuto" | "$sortByCount" | "$count" | "$facet" => sorted = false,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a stage asks for metadata of a name.
pub(super) fn reads_meta(value: Value<'_>, name: &str) -> bool {
    match value {
        Value::Document(d) => d.iter().any(|e| match e.name() {
            "$meta" => e.value().as_str() == Some(name),
            other => other != "$literal" && reads_meta(e.value(), name),
        }),
        Value::Array(a) => a.iter().any(|v| reads_meta(v, name)),
        _ => false,
    }
}

/// Whether a filter has a `$text`, be it below `$and`, `$or`, `$nor`.
pub(super) fn has_text(filter: Doc<'_>) -> bool {
    filter.iter().any(|f| match (f.name(), f.value()) {
        ("$text", _) => true,
        ("$and" | "$or" | "$nor", Value::Array(list)) => list.iter().any(|v| v.as_doc().is_some_and(has_text)),
        _ => false,
    })
}

pub(super) fn parse_sort(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else { bail!(15973, "the $sort key specification must be an object") };
    if spec.is_empty() {
        bail!(15976, "$sort stage must have at least one sort key");
    }
    out.push(Stage::Sort { pattern: SortPattern::compile(spec, cx)?, limit: None, allow_disk: cx.allow_disk_use, keyed: false });
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_are_sorted() {
        assert!(super::ROWS.is_sorted_by_key(|r| r.name));
    }
}
