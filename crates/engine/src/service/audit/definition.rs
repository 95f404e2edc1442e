//! What a commit changes of data's definition, of users and of roles, read from the entries it is about to write to the oplog.

use smongo_bson::{Code, Doc, DocBuf, DocWriter, Error, Result, Value};

use super::speaker::{told, untold};
use super::{Audit, Event, Weight, speaking};
use crate::data::above::{Build, Definitions};
use crate::data::catalog::find_by_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::service::shared::Shared;

/// Tells of what is about to be committed. An error keeps it from being.
pub fn before_commit(shared: &Shared, audit: &Audit, op: &mut OpCx) -> Result<Definitions> {
    let mut found = Found { shared, events: Vec::new(), databases: Vec::new(), multi: op.multi };
    for entry in op.pending.definitions() {
        let (db, coll) = entry.get("ns").as_str().and_then(|ns| ns.split_once('.')).unwrap_or_default();
        match (entry.get("op").as_str(), entry.get("o")) {
            (Some("c"), Value::Document(command)) => found.command(db, command),
            (Some(kind), Value::Document(change)) => found.mutation(op, &Ns::unchecked(db, coll), kind, change, entry.as_doc())?,
            _ => {}
        }
    }
    if found.events.is_empty() {
        return Ok(Definitions::default());
    }
    speaking(shared, |who| audit.tell_all(who, Weight::Before, &found.events)).inspect_err(|_| untold())?;
    Ok(Definitions(found.events.into_iter().map(|event| (event.atype, event.param)).collect()))
}

/// What was told of has not been committed.
pub fn take_back(shared: &Shared, audit: &Audit, told: Definitions, e: &Error) {
    untold();
    let events = told.0.into_iter().map(|(atype, param)| Event { atype, param, result: e.code() }).collect::<Vec<_>>();
    let _ = speaking(shared, |who| audit.tell_all(who, Weight::Past, &events));
}

/// The beginning of the building of indexes, and its end when it fails; that it went well is told when it is committed.
pub fn index_build(shared: &Shared, audit: &Audit, ns: &Ns, specs: &[DocBuf], build: Build) -> Result<()> {
    let (state, weight, result) = match build {
        Build::Started => (STARTED, Weight::Before, super::DONE),
        Build::Aborted => (ABORTED, Weight::Past, Code::IndexBuildAborted),
    };
    let events: Vec<Event> = specs.iter().map(|spec| create_index(ns, spec.as_doc(), state).with(result)).collect();
    speaking(shared, |who| audit.tell_all(who, weight, &events))
}

const STARTED: &str = "IndexBuildStarted";
const SUCCEEDED: &str = "IndexBuildSucceeded";
const ABORTED: &str = "IndexBuildAborted";

fn create_index(ns: &Ns, spec: Doc<'_>, state: &str) -> Event {
    Event::new("createIndex", |w| {
        w.append("ns", ns.as_str()).append("indexName", spec.get("name")).append("indexSpec", spec).append("indexBuildState", state);
    })
}

/// An action on a collection, or on a view, of which it is told what it shows.
fn on_collection(atype: &'static str, ns: &Ns, options: Doc<'_>) -> Event {
    Event::new(atype, |w| {
        w.append("ns", ns.as_str());
        if let Some(on) = options.get("viewOn").as_str() {
            w.append("viewOn", Ns::unchecked(ns.db(), on).as_str()).append("pipeline", options.get("pipeline"));
        }
    })
}

struct Found<'s> {
    shared: &'s Shared,
    events: Vec<Event>,
    /// Databases that come to be.
    databases: Vec<String>,
    multi: bool,
}

impl Found<'_> {
    fn command(&mut self, db: &str, command: Doc<'_>) {
        let Some(first) = command.first() else { return };
        let named = Ns::unchecked(db, first.value().as_str().unwrap_or_default());
        match first.name() {
            "create" => self.create(&named, command),
            "drop" => self.drop(&named),
            "convertToCapped" => {
                self.drop(&named);
                self.events.push(on_collection("createCollection", &named, Doc::EMPTY));
            }
            "dropDatabase" => self.on_database("dropDatabase", db),
            "createIndexes" => {
                let spec = without(command, &[first.name()]);
                if self.multi {
                    self.events.push(create_index(&named, spec.as_doc(), STARTED));
                }
                self.events.push(create_index(&named, spec.as_doc(), SUCCEEDED));
            }
            "dropIndexes" => self.events.push(Event::new("dropIndex", |w| {
                w.append("ns", named.as_str()).append("indexName", command.get("index"));
            })),
            "renameCollection" => {
                let to = command.get("to").as_str().unwrap_or_default();
                if let (Value::Binary(_), Ok(target)) = (command.get("dropTarget"), Ns::parse(to)) {
                    self.drop(&target);
                }
                self.enter(to.split_once('.').map_or(to, |(db, _)| db));
                self.events.push(Event::new("renameCollection", |w| {
                    w.append("old", first.value()).append("new", to);
                }));
            }
            _ => {}
        }
    }

    fn on_database(&mut self, atype: &'static str, db: &str) {
        self.events.push(Event::new(atype, |w| {
            w.append("ns", db);
        }));
    }

    /// A database comes to be with its first collection.
    fn enter(&mut self, db: &str) {
        if !self.databases.iter().any(|known| known == db) && self.shared.catalog.collections(db).is_empty() {
            self.databases.push(db.to_owned());
            self.on_database("createDatabase", db);
        }
    }

    fn create(&mut self, ns: &Ns, command: Doc<'_>) {
        self.enter(ns.db());
        self.events.push(on_collection("createCollection", ns, command));
        if let Value::Document(spec) = command.get("idIndex") {
            self.events.extend([STARTED, SUCCEEDED].map(|state| create_index(ns, spec, state)));
        }
    }

    fn drop(&mut self, ns: &Ns) {
        let coll = self.shared.catalog.get(ns);
        self.events.push(on_collection("dropCollection", ns, coll.as_ref().map_or(Doc::EMPTY, |coll| coll.options())));
    }

    /// A change of a user or a role: what the command says of itself, once, or else the change.
    fn mutation(&mut self, op: &mut OpCx, ns: &Ns, kind: &str, change: Doc<'_>, entry: Doc<'_>) -> Result<()> {
        if let Some(due) = told() {
            self.events.extend(due);
            return Ok(());
        }
        let (operation, document) = match kind {
            "i" => ("insert", DocBuf::from(change)),
            "u" => ("update", changed(op, ns, entry)?),
            "d" => ("remove", DocBuf::from(change)),
            _ => return Ok(()),
        };
        self.events.push(Event::new("directAuthMutation", |w| {
            write_harmless(document.as_doc(), &mut w.document("document"));
            w.append("ns", ns.as_str()).append("operation", operation);
        }));
        Ok(())
    }
}

/// A document that the operation has changed, as it is now.
fn changed(op: &mut OpCx, ns: &Ns, entry: Doc<'_>) -> Result<DocBuf> {
    let id = entry.get("o2").as_doc().map_or(Value::Missing, |o2| o2.get("_id"));
    let coll = op.require(ns)?;
    let found = find_by_id(op, &coll, id)?;
    Ok(found.map_or_else(DocBuf::new, |(_, doc)| DocBuf::from(doc)))
}

/// A user without what proves who he is: by which mechanisms he can log in is told.
fn write_harmless(document: Doc<'_>, w: &mut DocWriter<'_>) {
    for e in document {
        if e.name() != "credentials" {
            w.append_element(&e);
            continue;
        }
        let mut list = w.array("credentials");
        for e in e.value().as_doc().into_iter().flat_map(Doc::iter) {
            list.push(e.name());
        }
    }
}

fn without(doc: Doc<'_>, names: &[&str]) -> DocBuf {
    DocBuf::build(|w| {
        for e in doc.iter().filter(|e| !names.contains(&e.name())) {
            w.append_element(&e);
        }
    })
}
