//! What a workload was told, and what therefore must be in the database, may be, or must not be.

use std::collections::{BTreeMap, BTreeSet};

use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Result, Value};
use smongo_engine::{Engine, Session};

/// What a statement does to the database when it succeeds. Documents are `{_id, v}`; the text form is a line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Put(String, i64, i64),
    Gone(String, i64),
    /// An index of that name exists, or does not.
    Index(String, String, bool),
    Drop(String),
    Rename(String, String),
}

/// A namespace and an `_id`, or the name of an index.
type Place = (String, String);

#[derive(Clone, Default, Debug)]
struct Slot {
    /// As the last acknowledged statement left it; 1 for an index that exists.
    durable: Option<i64>,
    /// As later statements that failed may have left it.
    maybe: BTreeSet<Option<i64>>,
}

#[derive(Default)]
pub struct Model {
    slots: BTreeMap<Place, Slot>,
    /// Pairs of documents that every statement writes together.
    pairs: BTreeSet<(Place, Place)>,
}

impl Effect {
    pub fn line(&self) -> String {
        match self {
            Effect::Put(ns, id, v) => format!("put {ns} {id} {v}"),
            Effect::Gone(ns, id) => format!("gone {ns} {id}"),
            Effect::Index(ns, name, exists) => format!("index {ns} {name} {exists}"),
            Effect::Drop(ns) => format!("drop {ns}"),
            Effect::Rename(from, to) => format!("rename {from} {to}"),
        }
    }

    fn parse(line: &str) -> Option<Effect> {
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words[..] {
            ["put", ns, id, v] => Effect::Put(ns.into(), id.parse().ok()?, v.parse().ok()?),
            ["gone", ns, id] => Effect::Gone(ns.into(), id.parse().ok()?),
            ["index", ns, name, exists] => Effect::Index(ns.into(), name.into(), exists == "true"),
            ["drop", ns] => Effect::Drop(ns.into()),
            ["rename", from, to] => Effect::Rename(from.into(), to.into()),
            _ => return None,
        })
    }
}

impl Model {
    /// Reads a journal: lines of effects that a statement tries, then `done` when it was acknowledged as durable, else `failed`.
    /// A statement whose end is missing was under way when the process ended.
    pub fn read(journal: &str) -> Model {
        let mut model = Model::default();
        let mut tried = Vec::new();
        for line in journal.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["done"] => std::mem::take(&mut tried).iter().for_each(|e| model.apply(e, true)),
                ["failed", ..] => std::mem::take(&mut tried).iter().for_each(|e| model.apply(e, false)),
                ["pair", a, a_id, b, b_id] => {
                    model.pairs.insert(((a.into(), a_id.into()), (b.into(), b_id.into())));
                }
                _ => tried.extend(Effect::parse(line)),
            }
        }
        tried.iter().for_each(|e| model.apply(e, false));
        model
    }

    fn apply(&mut self, effect: &Effect, done: bool) {
        match effect {
            Effect::Put(ns, id, v) => self.set((ns.clone(), id.to_string()), Some(*v), done),
            Effect::Gone(ns, id) => self.set((ns.clone(), id.to_string()), None, done),
            Effect::Index(ns, name, exists) => self.set((ns.clone(), name.clone()), exists.then_some(1), done),
            Effect::Drop(ns) => {
                for place in self.places(ns) {
                    self.set(place, None, done);
                }
            }
            Effect::Rename(from, to) => {
                for place in self.places(from) {
                    let old = self.slots.get(&place).cloned().unwrap_or_default();
                    let new = self.slots.entry((to.clone(), place.1.clone())).or_default();
                    if done {
                        *new = old;
                    } else {
                        new.maybe.extend(old.maybe.iter().chain([&old.durable]));
                    }
                    self.set(place, None, done);
                }
            }
        }
    }

    fn set(&mut self, place: Place, value: Option<i64>, done: bool) {
        let slot = self.slots.entry(place).or_default();
        if done {
            *slot = Slot { durable: value, maybe: BTreeSet::new() };
        } else {
            slot.maybe.insert(value);
        }
    }

    fn places(&self, ns: &str) -> Vec<Place> {
        self.slots.keys().filter(|(n, _)| n == ns).cloned().collect()
    }

    /// Everything in the database that contradicts the model or itself.
    pub fn faults(&self, engine: &Engine) -> Vec<String> {
        let mut faults = Vec::new();
        let found = match contents(&mut engine.session(smongo_engine::Client::owner()), &mut faults) {
            Ok(found) => found,
            Err(e) => return vec![format!("reading: {e}")],
        };
        for (place, slot) in &self.slots {
            let have = found.get(place).copied();
            if have != slot.durable && !slot.maybe.contains(&have) {
                faults.push(format!("{place:?}: {have:?} is neither {:?} nor one of {:?}", slot.durable, slot.maybe));
            }
        }
        for (a, b) in self.pairs.iter().filter(|(a, b)| found.get(a) != found.get(b)) {
            faults.push(format!("torn: {a:?} is {:?}, {b:?} is {:?}", found.get(a), found.get(b)));
        }
        let unknown = found.keys().filter(|place| !self.slots.contains_key(place));
        faults.extend(unknown.map(|place| format!("{place:?}, which nobody wrote")));
        faults
    }
}

/// The `v` of every document and the secondary indexes of every collection; each collection is validated on the way.
fn contents(session: &mut Session, faults: &mut Vec<String>) -> Result<BTreeMap<Place, i64>> {
    let mut found = BTreeMap::new();
    for db in names(&run(session, "admin", r#"{"listDatabases": 1, "nameOnly": true}"#)?) {
        if ["admin", "local", "config"].contains(&db.as_str()) {
            continue;
        }
        for coll in names(&run(session, &db, r#"{"listCollections": 1, "nameOnly": true, "cursor": {"batchSize": 1000}}"#)?) {
            let ns = format!("{db}.{coll}");
            let report = run(session, &db, &format!(r#"{{"validate": "{coll}", "full": true}}"#))?;
            if !report.get("valid").truthy() {
                faults.push(format!("{ns} is not valid: {report:?}"));
            }
            let indexes = names(&run(session, &db, &format!(r#"{{"listIndexes": "{coll}"}}"#))?);
            found.extend(indexes.into_iter().filter(|name| name != "_id_").map(|name| ((ns.clone(), name), 1)));
            let all = run(session, &db, &format!(r#"{{"find": "{coll}", "batchSize": 100000, "projection": {{"v": 1}}}}"#))?;
            for doc in list(&all) {
                found.insert((ns.clone(), integer(doc.get("_id")).to_string()), integer(doc.get("v")));
            }
        }
    }
    Ok(found)
}

/// The documents of a reply's list, be it plain or a cursor's first batch.
fn list(reply: &DocBuf) -> Vec<Doc<'_>> {
    let list = match reply.get("cursor") {
        Value::Document(cursor) => cursor.get("firstBatch"),
        _ => reply.get("databases"),
    };
    list.as_array().into_iter().flat_map(|a| a.iter()).filter_map(|v| v.as_doc()).collect()
}

fn names(reply: &DocBuf) -> Vec<String> {
    list(reply).iter().filter_map(|d| d.get("name").as_str().map(str::to_owned)).collect()
}

fn integer(value: Value<'_>) -> i64 {
    smongo_bson::number::to_i64_exact(value).unwrap_or(i64::MIN)
}

pub fn run(session: &mut Session, db: &str, text: &str) -> Result<DocBuf> {
    session.run_command(db, &parse_doc(text)?)
}
