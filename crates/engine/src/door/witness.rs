//! The witness: runs commands, and compares the collections they touched with what the gate would have asked for. A touch that no need
//! explains is one that somebody without the right for it could make.
//!
//! What is touched is seen where nothing can pass by: reads and writes at the tables of the storage, and what was done to them in the
//! oplog. All cases are run under it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use smongo_bson::{Array, Doc, DocBuf, Timestamp, Value};
use smongo_mql::access::{Action, Actions, Need, Resource};
use smongo_mql::pipeline::access::{At, needs as pipeline_needs};
use smongo_mql::pipeline::stage_array;
use smongo_storage::witness;

use super::Session;
use crate::commands;
use crate::data::namespace::Ns;
use crate::service::auth::grants::Grants;
use crate::service::auth::roles;
use crate::service::command::{Args, Needs, Request, Scope, needs};

/// What explains that documents or keys of a collection were read.
const READS: Actions = Actions::of(&[Action::Find, Action::Update, Action::Remove, Action::CollStats, Action::Validate, Action::DbHash]).and(DEFINITION);
/// What explains that something was written into its tables.
const WRITES: Actions = Actions::of(&[Action::Insert, Action::Update, Action::Remove]).and(DEFINITION);
const DEFINITION: Actions = Actions::of(&[
    Action::CollMod,
    Action::Compact,
    Action::ConvertToCapped,
    Action::CreateCollection,
    Action::CreateIndex,
    Action::DropCollection,
    Action::DropDatabase,
    Action::DropIndex,
    Action::RenameCollectionSameDB,
]);

/// A session whose commands are watched.
pub struct Witness {
    session: Session,
    /// Reads the oplog.
    clerk: Session,
    /// What cursors were opened for, by their ids.
    cursors: HashMap<i64, Needs>,
    /// What the statements of transactions needed, which write when they commit.
    transactions: Needs,
    seen: Timestamp,
}

/// What there is: collections by the names of their tables, and views with what they are made of.
#[derive(Default)]
struct Known {
    tables: BTreeMap<String, Ns>,
    views: BTreeMap<Ns, (String, Vec<DocBuf>)>,
}

impl Witness {
    pub fn new(session: Session, clerk: Session) -> Witness {
        Witness { session, clerk, cursors: HashMap::new(), transactions: Needs::default(), seen: Timestamp::default() }
    }

    /// Runs a command as [`Session::run`] does; what it touched without a need for it, a sentence each.
    pub fn run(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Vec<String> {
        let needs = self.needs(request);
        self.hold_against(needs, request, out)
    }

    fn hold_against(&mut self, needs: Needs, request: &Request<'_>, out: &mut Vec<u8>) -> Vec<String> {
        let start = out.len();
        let mut known = Known::default();
        known.look(&self.session);
        self.oplog();
        let (_, touched) = witness::watch(|| self.session.run(request, out));
        known.look(&self.session);
        let cleared = known.below_views(needs.iter());

        let mut breaches = Vec::new();
        for (table, wrote) in touched {
            let Some(ns) = known.tables.get(&table).filter(|ns| !is_ours(ns)) else { continue };
            let (explains, what) = if wrote { (WRITES, "wrote") } else { (READS.and(WRITES), "read") };
            if !cleared.iter().any(|need| need.covers(ns, explains)) {
                breaches.push(format!("{what} {ns} and needed {cleared:?}"));
            }
        }
        for (ns, done, explains) in self.oplog() {
            if !is_ours(&ns) && !cleared.iter().any(|need| need.covers(&ns, explains)) {
                breaches.push(format!("{done} {ns} and needed {cleared:?}"));
            }
        }
        let reply = Doc::from_checked(&out[start..]);
        if let Some(Value::Int64(id)) = reply.get("cursor").as_doc().map(|cursor| cursor.get("id"))
            && id != 0
        {
            self.cursors.insert(id, needs);
        }
        breaches
    }

    /// What a command needs by its row, or by the command that opened its cursor or began its transaction.
    fn needs(&mut self, request: &Request<'_>) -> Needs {
        let Some(command) = request.body.first().and_then(|first| commands::lookup(first.name())) else { return Needs::default() };
        let args = Args::new(command.name, request.body, request.sequences);
        let mut grants = Grants::default();
        roles::find("__system", "admin").into_iter().for_each(|role| grants.add_builtin(role, "admin"));
        let db = request.body.get("$db").as_str().unwrap_or("admin");
        let scope = Scope { data: &self.session.shared, db, args: &args, grants: &grants, user: ("", ""), has_role: &|_, _| true };
        let mut found = Needs::default();
        // A rule that fails refuses the command.
        let _ = needs(command, &scope, &mut found);
        match (command.name, request.body.first().map(|first| first.value())) {
            ("getMore", Some(Value::Int64(id))) => found = self.cursors.get(&id).cloned().unwrap_or_default(),
            ("commitTransaction", _) => found = std::mem::take(&mut self.transactions),
            _ if request.body.contains("autocommit") => self.transactions.extend(&found),
            _ => {}
        }
        found
    }

    /// What was done since the last call, with what explains it.
    fn oplog(&mut self) -> Vec<(Ns, String, Actions)> {
        let mut found = Vec::new();
        let find = DocBuf::build(|w| {
            w.append("find", "oplog.rs").append("batchSize", i32::MAX).append("singleBatch", true);
            w.document("filter").document("ts").append("$gt", self.seen);
        });
        let Ok(reply) = self.clerk.run_command("local", &find) else { return found };
        let entries = reply.get("cursor").as_doc().and_then(|cursor| cursor.get("firstBatch").as_array());
        for entry in entries.unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_doc()) {
            if let Value::Timestamp(ts) = entry.get("ts") {
                self.seen = ts;
            }
            explain(entry, &mut found);
        }
        found
    }
}

/// What somebody must hold for an entry of the oplog to come about.
fn explain(entry: Doc<'_>, found: &mut Vec<(Ns, String, Actions)>) {
    let Some((db, coll)) = entry.get("ns").as_str().and_then(|ns| ns.split_once('.')) else { return };
    let (coll, actions): (&str, &[Action]) = match (entry.get("op").as_str(), entry.get("o").as_doc()) {
        (Some("i"), _) => (coll, &[Action::Insert, Action::ConvertToCapped]),
        (Some("u"), _) => (coll, &[Action::Update, Action::CollMod]),
        // Who inserts into a full capped collection pushes the oldest document out.
        (Some("d"), _) => (coll, &[Action::Remove, Action::Insert]),
        (Some("c"), Some(o)) => {
            let Some(first) = o.first() else { return };
            if let (Some(inner), "applyOps") = (first.value().as_array(), first.name()) {
                inner.iter().filter_map(|v| v.as_doc()).for_each(|entry| explain(entry, found));
                return;
            }
            // Who may write brings a collection into being, and replaces one by `$out`.
            let actions: &[Action] = match first.name() {
                "create" => &[Action::CreateCollection, Action::Insert, Action::CreateIndex, Action::ConvertToCapped],
                "createIndexes" | "startIndexBuild" | "commitIndexBuild" | "abortIndexBuild" => &[Action::CreateIndex, Action::CollMod, Action::Insert],
                "dropIndexes" => &[Action::DropIndex, Action::CollMod],
                "convertToCapped" => &[Action::ConvertToCapped],
                "drop" => &[Action::DropCollection, Action::DropDatabase, Action::Remove, Action::ConvertToCapped],
                "dropDatabase" => &[Action::DropDatabase],
                "collMod" => &[Action::CollMod],
                "renameCollection" => &[Action::RenameCollectionSameDB, Action::DropCollection],
                _ => &[],
            };
            if first.name() == "renameCollection" {
                let name = |value: Value<'_>| value.as_str().and_then(|ns| ns.split_once('.')).map(|(db, coll)| Ns::unchecked(db, coll));
                let (Some(from), Some(to)) = (name(first.value()), name(o.get("to"))) else { return };
                // What `$out` wrote beside it takes the place of what was there.
                let both: [&[Action]; 2] = if is_ours(&from) { [&[Action::Insert, Action::ConvertToCapped], &[Action::Remove, Action::ConvertToCapped]] } else { [actions, actions] };
                found.extend(both.map(|actions| (to.clone(), format!("left {entry} on"), Actions::of(actions))));
                found.push((from, format!("left {entry} on"), Actions::of(actions)));
                return;
            }
            (first.value().as_str().unwrap_or(coll), actions)
        }
        _ => return,
    };
    found.push((Ns::unchecked(db, coll), format!("left {entry} on"), Actions::of(actions)));
}

/// What the engine keeps for itself, and users and roles, which only their commands touch by more than their names.
fn is_ours(ns: &Ns) -> bool {
    let coll = ns.coll();
    match ns.db() {
        "local" | "config" => true,
        "admin" => coll.starts_with("system."),
        _ => coll == "system.profile" || coll.starts_with("tmp."),
    }
}

/// A need that is held against a touch.
#[derive(Debug)]
struct Cleared {
    on: Option<(String, Option<String>)>,
    actions: Actions,
}

impl Cleared {
    fn new(need: Need<'_>) -> Option<Cleared> {
        let on = match need.resource {
            Resource::Cluster => return None,
            Resource::Db(db) => Some((db.to_owned(), None)),
            Resource::Ns(db, coll) => Some((db.to_owned(), Some(coll.to_owned()))),
            Resource::Any | Resource::AnyResource => None,
        };
        Some(Cleared { on, actions: need.actions })
    }

    /// Measurements lie in buckets, and views in a collection that goes with all of them.
    fn covers(&self, ns: &Ns, any_of: Actions) -> bool {
        let place = self.on.as_ref().is_none_or(|(db, coll)| {
            let measured = |coll: &str| coll.strip_prefix("system.buckets.").unwrap_or(coll).to_owned();
            let named = |coll: &String| measured(coll) == measured(ns.coll()) || coll == "system.views";
            db == ns.db() && coll.as_ref().is_none_or(named)
        });
        let either = any_of.iter().any(|action| self.actions.hold(Actions::one(action)));
        place && (either || self.actions.hold(Actions::one(Action::AnyAction)))
    }
}

impl Known {
    fn look(&mut self, session: &Session) {
        for coll in session.shared.catalog.all() {
            if let Some(view) = coll.view() {
                self.views.insert(coll.ns.clone(), (view.on.clone(), view.pipeline.clone()));
            }
            let tables = coll.storage().map(|s| &s.records).into_iter().chain(coll.indexes.iter().map(|index| &index.table));
            self.tables.extend(tables.map(|table| (table.name().to_owned(), coll.ns.clone())));
        }
    }

    /// The needs, and those of the views among them, which their readers need not meet.
    fn below_views<'n>(&self, needs: impl Iterator<Item = Need<'n>>) -> Vec<Cleared> {
        let mut cleared: Vec<Cleared> = needs.filter_map(Cleared::new).collect();
        let mut opened = BTreeSet::new();
        let mut at = 0;
        while at < cleared.len() {
            if let Some((db, Some(coll))) = &cleared[at].on
                && let ns = Ns::unchecked(db, coll)
                && let Some((on, pipeline)) = self.views.get(&ns)
                && !cleared[at].actions.is_empty()
                && opened.insert(ns.clone())
            {
                let stages = stage_array(pipeline);
                let below = At { db: ns.db(), coll: on, bypass: false, user: None };
                pipeline_needs(stages.view().as_array().unwrap_or(Array::EMPTY), below, &mut |need| cleared.extend(Cleared::new(need)));
                cleared.extend(Cleared::new(Need::new(Resource::Ns(ns.db(), on), &[Action::Find])));
            }
            at += 1;
        }
        cleared
    }
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;

    use super::*;
    use crate::Engine;
    use crate::data::options::Options;
    use crate::service::command::Client;

    /// Commands each of whose needs shows in what they do, with a document in each of the collections.
    const COMMANDS: [&str; 18] = [
        "{'find': 'c', '$db': 'd'}",
        "{'find': 'v', '$db': 'd'}",
        "{'count': 'c', 'query': {'a': 1}, '$db': 'd'}",
        "{'distinct': 'c', 'key': 'a', '$db': 'd'}",
        "{'insert': 'c', 'documents': [{}], '$db': 'd'}",
        "{'update': 'c', 'updates': [{'q': {}, 'u': {'$inc': {'a': 1}}}], '$db': 'd'}",
        "{'update': 'c', 'updates': [{'q': {'_id': 7}, 'u': {'$inc': {'a': 1}}, 'upsert': true}, {'q': {'_id': 1}, 'u': {'$inc': {'a': 1}}}], '$db': 'd'}",
        "{'delete': 'c', 'deletes': [{'q': {'_id': 7}, 'limit': 1}], '$db': 'd'}",
        "{'aggregate': 'v', 'pipeline': [{'$unionWith': 'e'}], 'cursor': {}, '$db': 'd'}",
        "{'bulkWrite': 1, 'ops': [{'insert': 0, 'document': {}}, {'update': 1, 'filter': {}, 'updateMods': {'$inc': {'n': 1}}}], 'nsInfo': [{'ns': 'd.c'}, {'ns': 'd2.e'}], '$db': 'admin'}",
        "{'aggregate': 'c', 'pipeline': [{'$lookup': {'from': 'e', 'as': 'x', 'pipeline': []}}], 'cursor': {}, '$db': 'd'}",
        "{'aggregate': 'c', 'pipeline': [{'$graphLookup': {'from': 'e', 'startWith': 1, 'connectFromField': 'a', 'connectToField': 'a', 'as': 'x'}}], 'cursor': {}, '$db': 'd'}",
        "{'aggregate': 'c', 'pipeline': [{'$facet': {'x': [{'$unionWith': 'e'}]}}], 'cursor': {}, '$db': 'd'}",
        "{'aggregate': 'c', 'pipeline': [{'$unionWith': {'coll': 'e', 'pipeline': [{'$lookup': {'from': 'f', 'as': 'x', 'pipeline': []}}]}}], 'cursor': {}, '$db': 'd'}",
        "{'aggregate': 'c', 'pipeline': [{'$out': {'db': 'd2', 'coll': 'e'}}], 'cursor': {}, '$db': 'd'}",
        "{'aggregate': 'c', 'pipeline': [{'$merge': {'into': 'e', 'whenMatched': 'replace', 'whenNotMatched': 'discard'}}], 'cursor': {}, '$db': 'd'}",
        "{'createIndexes': 'c', 'indexes': [{'key': {'a': 1}, 'name': 'a'}], '$db': 'd'}",
        "{'drop': 'c', '$db': 'd'}",
    ];

    /// A witness that finds nothing is worth what it would find: each need is left out in turn.
    #[test]
    fn a_need_that_is_left_out_is_found() {
        let engine = Engine::open(Options::default()).unwrap_or_else(|e| unreachable!("{e}"));
        let mut owner = engine.session(Client::owner());
        let mut witness = Witness::new(engine.session(Client::owner()), engine.session(Client::owner()));
        let mut out = Vec::new();
        let doc = |text: &str| parse_doc(&text.replace('\'', "\"")).unwrap_or_else(|e| unreachable!("{text}: {e}"));
        let (mut left_out, mut missed) = (0, Vec::new());
        for text in COMMANDS {
            let command = doc(text);
            let request = Request::new(command.as_doc());
            let needs = witness.needs(&request);
            let on_collections = needs.iter().filter(|need| matches!(need.resource, Resource::Ns(..)));
            let some: Vec<(usize, Action)> = on_collections.enumerate().flat_map(|(at, need)| need.actions.iter().map(move |action| (at, action))).collect();
            for but in some.iter().map(Some).chain([None]) {
                for (db, coll) in [("d", "c"), ("d", "e"), ("d", "f"), ("d2", "e")] {
                    let _ = owner.run_command(db, &doc(&format!("{{'dropIndexes': '{coll}', 'index': '*'}}")));
                    let _ = owner.run_command(db, &doc(&format!("{{'insert': '{coll}', 'documents': [{{'_id': 1, 'a': 1}}]}}")));
                }
                let _ = owner.run_command("d", &doc("{'create': 'v', 'viewOn': 'c', 'pipeline': []}"));
                let _ = owner.run_command("d", &doc("{'delete': 'c', 'deletes': [{'q': {'_id': {'$gt': 1}}, 'limit': 0}]}"));
                let mut fewer = Needs::default();
                for (at, need) in needs.iter().enumerate() {
                    let without = but.filter(|(left, _)| *left == at).map_or(Actions::NONE, |(_, action)| Actions::one(*action));
                    fewer.add(Need { actions: need.actions.without(without), ..need });
                }
                out.clear();
                let breaches = witness.hold_against(fewer, &request, &mut out);
                assert!(Doc::from_checked(&out).get("ok").truthy(), "{text}: {}", Doc::from_checked(&out));
                match but {
                    None => assert_eq!(breaches, Vec::<String>::new(), "{text}"),
                    Some((_, action)) if breaches.is_empty() => missed.push((text, *action)),
                    Some(_) => left_out += 1,
                }
            }
        }
        assert!(missed.is_empty() && left_out > 20, "{left_out} found, not these: {missed:#?}");
    }
}
