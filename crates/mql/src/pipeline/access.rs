//! What somebody must hold to run a pipeline: the sum over its stages as the client wrote them, before views are resolved.
//!
//! The rules read documents that nobody has checked yet. Where something is malformed they ask for less or for nothing, since
//! compiling the pipeline refuses it; where a field stands twice they ask for both.

use smongo_bson::{Array, Doc, Value};

use super::registry;
use crate::access::{Action, Need, Resource};

/// Where a pipeline runs, and for whom.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub db: &'a str,
    /// Empty under `{aggregate: 1}`.
    pub coll: &'a str,
    /// `bypassDocumentValidation`, which writing stages need another action for.
    pub bypass: bool,
    /// Name and database of who asks, if it is somebody.
    pub user: Option<(&'a str, &'a str)>,
}

/// Takes the needs, one after the other.
pub type Sink<'s> = &'s mut dyn FnMut(Need<'_>);

/// A stage's rule.
pub(super) type Rule = fn(Value<'_>, At<'_>, Sink<'_>);

impl<'a> At<'a> {
    fn over(self, coll: &'a str) -> At<'a> {
        At { coll, ..self }
    }

    /// The collection, or the database where there is none.
    fn resource(self) -> Resource<'a> {
        if self.coll.is_empty() { Resource::Db(self.db) } else { Resource::Ns(self.db, self.coll) }
    }
}

/// Tells what a pipeline needs.
pub fn needs(stages: Array<'_>, at: At<'_>, sink: Sink<'_>) {
    let stages = || stages.iter().filter_map(|stage| stage.as_doc().and_then(Doc::first));
    // An empty pipeline reads its collection, and so does one that begins with a stage that takes documents.
    if stages().next().is_none_or(|first| registry::find(first.name()).is_none_or(registry::Row::reads)) && !at.coll.is_empty() {
        sink(Need::new(at.resource(), &[Action::Find]));
    }
    for stage in stages() {
        if let Some(row) = registry::find(stage.name()) {
            (row.needs)(stage.value(), at, sink);
        }
    }
}

fn fields<'v>(arg: Value<'v>, name: &'static str) -> impl Iterator<Item = Value<'v>> {
    arg.as_doc().into_iter().flat_map(Doc::iter).filter(move |e| e.name() == name).map(|e| e.value())
}

/// Whether a field is there and says anything but no.
fn says(arg: Value<'_>, name: &'static str) -> bool {
    fields(arg, name).any(|v| !v.is_nullish() && !matches!(v, Value::Bool(false)))
}

/// Works on the documents it gets.
pub(super) fn nothing(_arg: Value<'_>, _at: At<'_>, _sink: Sink<'_>) {}

/// Reads its collection although it makes the documents itself.
pub(super) fn find(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(at.resource(), &[Action::Find]));
}

pub(super) fn facet(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    for stages in arg.as_doc().into_iter().flat_map(Doc::iter).filter_map(|e| e.value().as_array()) {
        // What the first stage reads comes from outside.
        for stage in stages.iter().filter_map(|stage| stage.as_doc().and_then(Doc::first)) {
            if let Some(row) = registry::find(stage.name()) {
                (row.needs)(stage.value(), at, sink);
            }
        }
    }
}

/// A pipeline over another collection, or that collection itself.
fn foreign(from: &str, pipeline: Option<Array<'_>>, at: At<'_>, sink: Sink<'_>) {
    match pipeline {
        Some(stages) => needs(stages, at.over(from), sink),
        None if from.is_empty() => {}
        None => find(Value::Missing, at.over(from), sink),
    }
}

pub(super) fn lookup(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    let named = || fields(arg, "from").chain(fields(arg, "coll"));
    let pipelines = || fields(arg, "pipeline").filter_map(|v| v.as_array());
    // An equality reads the collection before the pipeline does.
    let equality = says(arg, "localField") || says(arg, "foreignField");
    for from in named() {
        let (db, from) = match from {
            Value::String(coll) => (at.db, coll),
            Value::Document(d) => (d.get("db").as_str().unwrap_or(at.db), d.get("coll").as_str().unwrap_or("")),
            _ => continue,
        };
        let at = At { db, ..at };
        if equality || pipelines().next().is_none() {
            foreign(from, None, at, sink);
        }
        pipelines().for_each(|stages| foreign(from, Some(stages), at, sink));
    }
    if named().next().is_none() {
        pipelines().for_each(|stages| foreign("", Some(stages), at, sink));
    }
}

pub(super) fn graph_lookup(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    for from in fields(arg, "from").filter_map(|v| v.as_str()) {
        foreign(from, None, at, sink);
    }
}

pub(super) fn union_with(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    match arg {
        Value::String(coll) => foreign(coll, None, at, sink),
        _ => lookup(arg, at, sink),
    }
}

/// Collections that a writing stage names, with their databases.
fn targets<'v>(arg: Value<'v>, at: At<'v>) -> Option<(&'v str, &'v str)> {
    match arg {
        Value::String(coll) => Some((at.db, coll)),
        Value::Document(d) => Some((d.get("db").as_str().filter(|db| !db.is_empty()).unwrap_or(at.db), d.get("coll").as_str()?)),
        _ => None,
    }
}

fn writes(target: Option<(&str, &str)>, actions: &[Action], at: At<'_>, sink: Sink<'_>) {
    let Some((db, coll)) = target else { return };
    sink(Need::new(Resource::Ns(db, coll), actions));
    if at.bypass {
        sink(Need::new(Resource::Ns(db, coll), &[Action::BypassDocumentValidation]));
    }
}

pub(super) fn out(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    writes(targets(arg, at), &[Action::Insert, Action::Remove], at, sink);
}

pub(super) fn merge(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    if let Value::String(_) = arg {
        return writes(targets(arg, at), &[Action::Insert, Action::Update], at, sink);
    }
    let inserts = fields(arg, "whenNotMatched").all(|v| v.is_nullish() || v.as_str() == Some("insert"));
    let only_new = fields(arg, "whenMatched").next().is_some() && fields(arg, "whenMatched").all(|v| v.as_str() == Some("fail"));
    for into in fields(arg, "into") {
        if inserts {
            writes(targets(into, at), &[Action::Insert], at, sink);
        }
        if !inserts || !only_new {
            writes(targets(into, at), &[Action::Update], at, sink);
        }
    }
}

pub(super) fn change_stream(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    let resource = if says(arg, "allChangesForCluster") { Resource::Any } else { at.resource() };
    sink(Need::new(resource, &[Action::ChangeStream, Action::Find]));
}

pub(super) fn coll_stats(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(at.resource(), &[Action::CollStats]));
}

pub(super) fn index_stats(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(at.resource(), &[Action::IndexStats]));
}

pub(super) fn plan_cache_stats(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(at.resource(), &[Action::PlanCacheRead]));
}

pub(super) fn list_search_indexes(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(at.resource(), &[Action::ListSearchIndexes]));
}

/// Everybody sees what is his own.
pub(super) fn current_op(arg: Value<'_>, _at: At<'_>, sink: Sink<'_>) {
    if says(arg, "allUsers") {
        sink(Need::new(Resource::Cluster, &[Action::Inprog]));
    }
}

/// Everybody sees what is his own.
pub(super) fn list_sessions(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    let own = |user: Value<'_>| {
        let user = user.as_doc().and_then(|d| Some((d.get("user").as_str()?, d.get("db").as_str()?)));
        user.is_some() && user == at.user
    };
    let others = fields(arg, "users").filter_map(|v| v.as_array()).flat_map(Array::iter).any(|user| !own(user));
    if others || says(arg, "allUsers") {
        sink(Need::new(Resource::Cluster, &[Action::ListSessions]));
    }
}

pub(super) fn list_catalog(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    if at.coll.is_empty() {
        return sink(Need::new(Resource::AnyResource, &[Action::ListCollections, Action::ListIndexes]));
    }
    sink(Need::new(at.resource(), &[Action::ListIndexes]));
    sink(Need::new(Resource::Db(at.db), &[Action::ListCollections]));
}

pub(super) fn list_cluster_catalog(_arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    match at.db {
        "admin" => sink(Need::new(Resource::Cluster, &[Action::ListClusterCatalog])),
        db => sink(Need::new(Resource::Db(db), &[Action::ListCollections])),
    }
}

pub(super) fn list_sampled_queries(_arg: Value<'_>, _at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(Resource::Cluster, &[Action::Inprog]));
}

pub(super) fn query_settings(_arg: Value<'_>, _at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(Resource::Cluster, &[Action::QuerySettings]));
}

pub(super) fn query_stats(arg: Value<'_>, _at: At<'_>, sink: Sink<'_>) {
    sink(Need::new(Resource::Cluster, &[Action::QueryStatsRead]));
    if says(arg, "transformIdentifiers") {
        sink(Need::new(Resource::Cluster, &[Action::QueryStatsReadTransformed]));
    }
}

/// What a pipeline's inputs read is its own collection.
pub(super) fn fusion(arg: Value<'_>, at: At<'_>, sink: Sink<'_>) {
    find(arg, at, sink);
    for pipelines in fields(arg, "input").flat_map(|input| fields(input, "pipelines")) {
        facet(pipelines, at, sink);
    }
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;

    use super::*;

    /// The needs of a pipeline over `d.c`, as text.
    fn of(stages: &str) -> String {
        of_doc(parse_doc(&format!("{{'p': {stages}}}").replace('\'', "\"")).unwrap_or_default().as_doc())
    }

    fn of_doc(doc: Doc<'_>) -> String {
        let mut all = Vec::new();
        let at = At { db: "d", coll: "c", bypass: false, user: Some(("me", "d")) };
        needs(doc.get("p").as_array().unwrap_or(Array::EMPTY), at, &mut |need| {
            all.push(format!("{:?}: {}", need.resource, need.actions.iter().map(Action::name).collect::<Vec<_>>().join("+")));
        });
        all.join(", ")
    }

    #[test]
    fn a_pipeline_needs_what_its_stages_need() {
        let own = "Ns(\"d\", \"c\"): find";
        for (stages, expected) in [
            ("[]", own.to_owned()),
            ("[{'$match': {}}, {'$group': {'_id': 1}}]", own.to_owned()),
            ("[{'$collStats': {}}, {'$match': {}}]", "Ns(\"d\", \"c\"): collStats".to_owned()),
            ("[{'$lookup': {'from': 'e', 'as': 'x', 'localField': 'a', 'foreignField': 'b'}}]", format!("{own}, Ns(\"d\", \"e\"): find")),
            ("[{'$lookup': {'from': 'e', 'as': 'x', 'pipeline': [{'$indexStats': {}}]}}]", format!("{own}, Ns(\"d\", \"e\"): indexStats")),
            ("[{'$lookup': {'from': 'e', 'as': 'x', 'localField': 'a', 'foreignField': 'b', 'pipeline': [{'$indexStats': {}}]}}]", format!("{own}, Ns(\"d\", \"e\"): find, Ns(\"d\", \"e\"): indexStats")),
            ("[{'$facet': {'a': [{'$unionWith': {'coll': 'e', 'pipeline': [{'$graphLookup': {'from': 'g'}}]}}]}}]", format!("{own}, Ns(\"d\", \"e\"): find, Ns(\"d\", \"g\"): find")),
            ("[{'$merge': {'into': {'db': 'o', 'coll': 't'}, 'whenMatched': 'fail'}}]", format!("{own}, Ns(\"o\", \"t\"): insert")),
            ("[{'$merge': {'into': 't', 'whenMatched': 'fail', 'whenNotMatched': 'discard'}}]", format!("{own}, Ns(\"d\", \"t\"): update")),
            ("[{'$merge': 't'}]", format!("{own}, Ns(\"d\", \"t\"): insert+update")),
            ("[{'$out': {'db': 'o', 'coll': 't'}}]", format!("{own}, Ns(\"o\", \"t\"): insert+remove")),
            ("[{'$listLocalSessions': {'users': [{'user': 'me', 'db': 'd'}]}}]", String::new()),
            ("[{'$listLocalSessions': {'users': [{'user': 'me', 'db': 'd'}, {'user': 'you', 'db': 'd'}]}}]", "Cluster: listSessions".to_owned()),
            ("[{'$changeStream': {'allChangesForCluster': true}}]", "Any: changeStream+find".to_owned()),
        ] {
            assert_eq!(of(stages), expected, "{stages}");
        }
    }

    #[test]
    fn a_field_that_stands_twice_counts_twice() {
        let doc = smongo_bson::DocBuf::build(|w| {
            w.array("p").document().document("$lookup").append("from", "e").append("from", "f").append("as", "x");
        });
        assert_eq!(of_doc(doc.as_doc()), "Ns(\"d\", \"c\"): find, Ns(\"d\", \"e\"): find, Ns(\"d\", \"f\"): find");
    }
}
