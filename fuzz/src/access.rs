//! Who may what: commands that touch only what the gate would have asked for, and privileges that allow what they say and no more.

use std::cell::RefCell;
use std::sync::OnceLock;

use smongo_bson::{Doc, DocBuf, Value, json};
use smongo_engine::door::witness::Witness;
use smongo_engine::{Client, Engine, Options, Request, Session};

use super::command::{Steer, bend_doc, seeds as commands};

fn open() -> Engine {
    Engine::open(Options { test_commands: true, ..Options::default() }).expect("an engine in memory")
}

fn doc(text: &str) -> DocBuf {
    json::parse_doc(text).expect("Extended JSON")
}

/// Commands on several collections, beside those of the target `command`.
const MORE: &[&str] = &[
    r#"{"aggregate":"c","pipeline":[{"$lookup":{"from":"d","as":"x","pipeline":[{"$unionWith":{"coll":"e","pipeline":[{"$lookup":{"from":"g","localField":"a","foreignField":"b","as":"y"}}]}}]}},{"$graphLookup":{"from":"v","startWith":"$a","connectFromField":"a","connectToField":"b","as":"z"}}],"cursor":{}}"#,
    r#"{"aggregate":"v","pipeline":[{"$facet":{"a":[{"$lookup":{"from":"w","as":"x","pipeline":[]}}],"b":[{"$match":{"a":1}}]}},{"$merge":{"into":{"db":"other","coll":"e"},"on":"_id","let":{"x":1},"whenMatched":[{"$set":{"b":1}}],"whenNotMatched":"insert"}}],"cursor":{}}"#,
    r#"{"aggregate":"e","pipeline":[{"$unionWith":"t"},{"$out":{"db":"other","coll":"g"}}],"cursor":{}}"#,
    r#"{"aggregate":"c","pipeline":[{"$collStats":{"storageStats":{},"count":{}}}],"cursor":{}}"#,
    r#"{"aggregate":"c","pipeline":[{"$indexStats":{}},{"$lookup":{"from":{"db":"f","coll":"e"},"localField":"name","foreignField":"a","as":"x"}}],"cursor":{}}"#,
    r#"{"aggregate":1,"pipeline":[{"$documents":[{"a":1}]},{"$lookup":{"from":"e","localField":"a","foreignField":"a","as":"x"}}],"cursor":{}}"#,
    r#"{"aggregate":1,"pipeline":[{"$currentOp":{"allUsers":true}},{"$lookup":{"from":"e","as":"x","pipeline":[]}}],"cursor":{}}"#,
    r#"{"bulkWrite":1,"ops":[{"insert":1,"document":{"a":3}},{"update":2,"filter":{"a":3},"updateMods":{"$set":{"a":1}},"upsert":true},{"delete":0,"filter":{"a":3}}],"nsInfo":[{"ns":"f.c"},{"ns":"f.e"},{"ns":"other.g"}]}"#,
    r#"{"create":"w","viewOn":"e","pipeline":[{"$lookup":{"from":"c","as":"x","pipeline":[{"$unionWith":"g"}]}}]}"#,
    r#"{"create":"v","viewOn":"w","pipeline":[{"$match":{"a":{"$gt":0}}}]}"#,
    r#"{"create":"t","timeseries":{"timeField":"t","metaField":"m"}}"#,
    r#"{"insert":"t","documents":[{"t":{"$date":"2020-01-01T00:00:00Z"},"m":1,"a":2}]}"#,
    r#"{"insert":"e","documents":[{"a":1,"b":2},{"a":2,"b":1}]}"#,
    r#"{"find":"v","filter":{"a":1},"sort":{"b":1}}"#,
    r#"{"find":"t","filter":{"m":1}}"#,
    r#"{"drop":"e"}"#,
    r#"{"drop":"v"}"#,
    r#"{"drop":"w"}"#,
    r#"{"cloneCollectionAsCapped":"e","toCollection":"g","size":4096}"#,
    r#"{"convertToCapped":"e","size":8192}"#,
    r#"{"collMod":"v","viewOn":"c","pipeline":[]}"#,
    r#"{"dataSize":"f.e","keyPattern":{"_id":1},"min":{"_id":0},"max":{"_id":9}}"#,
    r#"{"dbHash":1,"collections":["c","e"]}"#,
    r#"{"validate":"e"}"#,
    r#"{"explain":{"aggregate":"c","pipeline":[{"$lookup":{"from":"e","as":"x","pipeline":[]}}],"cursor":{}},"verbosity":"executionStats"}"#,
];

/// Bends a command and runs it under the witness: whatever it touches, it must have asked for.
pub fn needs(data: &[u8]) {
    thread_local! {
        static WITNESS: RefCell<Witness> = {
            let engine = open();
            RefCell::new(Witness::new(engine.session(Client::owner()), engine.session(Client::owner())))
        };
    }
    static MORE_PARSED: OnceLock<Vec<DocBuf>> = OnceLock::new();
    let more = MORE_PARSED.get_or_init(|| MORE.iter().map(|text| doc(text)).collect());
    let mut steer = Steer { bytes: data, rarity: 1 };
    steer.rarity = [20, 60, 120, 250][usize::from(steer.next() % 4)];
    let which = usize::from(steer.next()) % (more.len() + commands().len());
    let seed = more.get(which).unwrap_or_else(|| &commands()[which - more.len()]);
    let bent = DocBuf::build(|w| {
        bend_doc(seed.as_doc(), seed.as_doc(), &mut steer, w, 0);
        w.append("maxTimeMS", 200).append("$db", "f");
    });
    let Ok(bent) = Doc::parse(bent.as_bytes()) else { return };
    let mut reply = Vec::new();
    let breaches = WITNESS.with_borrow_mut(|witness| witness.run(&Request::new(bent), &mut reply));
    assert!(breaches.is_empty(), "{bent:?}: {breaches:?}");
}

const PLACES: [(&str, &str); 8] = [("d", "c"), ("d", "system.views"), ("d", "system.buckets.c"), ("e", "c"), ("e", "x"), ("local", "c"), ("config", "x"), ("admin", "c")];

/// Resources in every form, to be bent.
const RESOURCES: &[&str] = &[
    r#"{"db":"d","collection":"c"}"#,
    r#"{"db":"","collection":""}"#,
    r#"{"db":"","collection":"system.views"}"#,
    r#"{"db":"e","collection":""}"#,
    r#"{"db":"local","collection":""}"#,
    r#"{"db":"d","system_buckets":"c"}"#,
    r#"{"db":"","system_buckets":""}"#,
    r#"{"cluster":true}"#,
    r#"{"anyResource":true}"#,
    r#"{"db":"config","collection":"x","anyResource":true}"#,
];

/// Whether a resource reaches a collection, by the manual's words.
fn reaches(resource: Doc<'_>, db: &str, coll: &str) -> bool {
    let is_system = coll.starts_with("system.");
    let is_given = |value: &Value<'_>| !matches!(value, Value::Null | Value::Undefined);
    let mut fields: Vec<(&str, Value<'_>)> = resource.iter().map(|e| (e.name(), e.value())).filter(|(_, value)| is_given(value)).collect();
    fields.sort_by_key(|(name, _)| *name);
    match fields[..] {
        [("anyResource", Value::Bool(true))] => true,
        [("collection", Value::String("")), ("db", Value::String(""))] => !is_system && !matches!(db, "local" | "config"),
        [("collection", Value::String("")), ("db", Value::String(of))] => of == db && !is_system,
        [("collection", Value::String(named)), ("db", Value::String(""))] => named == coll,
        [("collection", Value::String(named)), ("db", Value::String(of))] => of == db && named == coll,
        [("db", Value::String(of)), ("system_buckets", Value::String(named))] => {
            (of.is_empty() || of == db) && coll.strip_prefix("system.buckets.").is_some_and(|measured| named.is_empty() || named == measured)
        }
        [("system_buckets", Value::String(named))] => coll.strip_prefix("system.buckets.").is_some_and(|measured| named.is_empty() || named == measured),
        _ => false,
    }
}

/// Bends a resource: a role that is made of it lets its holder find exactly where it reaches, and one that means nothing is refused.
pub fn privilege(data: &[u8]) {
    struct Court {
        owner: Session,
        holder: Session,
    }
    thread_local! {
        static COURT: RefCell<Court> = {
            let engine = open();
            let mut owner = engine.session(Client::owner());
            owner.run_command("admin", &doc(r#"{"createRole":"r","privileges":[],"roles":[]}"#)).expect("a new role");
            owner.run_command("admin", &doc(r#"{"createUser":"u","pwd":"p","roles":["r"],"mechanisms":["SCRAM-SHA-1"]}"#)).expect("a new user");
            let holder = engine.session_as("u", "admin").expect("the user is there");
            RefCell::new(Court { owner, holder })
        };
    }
    let mut steer = Steer { bytes: data, rarity: 1 };
    steer.rarity = [6, 20, 120][usize::from(steer.next() % 3)];
    let seed = doc(RESOURCES[usize::from(steer.next()) % RESOURCES.len()]);
    let resource = DocBuf::build(|w| bend_doc(seed.as_doc(), seed.as_doc(), &mut steer, w, 0));
    let Ok(resource) = Doc::parse(resource.as_bytes()) else { return };
    let update = DocBuf::build(|w| {
        w.append("updateRole", "r");
        let mut privileges = w.array("privileges");
        let mut privilege = privileges.document();
        privilege.append("resource", resource);
        privilege.array("actions").push("find").push("collStats");
    });
    COURT.with_borrow_mut(|Court { owner, holder }| {
        if owner.run_command("admin", &update).is_err() {
            return;
        }
        let means_something = matches!(resource.get("cluster"), Value::Bool(true)) || PLACES.iter().any(|(db, coll)| reaches(resource, db, coll)) || resource.iter().any(|e| matches!(e.value(), Value::String(s) if !s.is_empty()));
        assert!(means_something, "{resource:?} was taken");
        for (db, coll) in PLACES {
            let find = DocBuf::build(|w| {
                w.append("find", coll);
            });
            let may = !matches!(holder.run_command(db, &find), Err(e) if e.code().0 == 13);
            assert_eq!(may, reaches(resource, db, coll), "{resource:?} on {db}.{coll}");
        }
    });
}
