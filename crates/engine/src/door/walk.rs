//! The walk: every probe of the table of privileges, by nobody, by somebody without a role and by every built-in role, is let through
//! or refused as the table says; and each row's rule replaced by a laxer one is found by it.

use std::collections::BTreeSet;

use smongo_bson::json::parse_doc;
use smongo_bson::{Array, Doc, DocBuf, DocWriter, Result, Value, err};

use super::Session;
use crate::Engine;
use crate::commands::{self, COMMANDS};
use crate::data::options::Options;
use crate::service::auth::roles::ROLES;
use crate::service::command::gate::tests::MUTANT;
use crate::service::command::{Access, Client, Request, Trust};

const TABLE: &str = include_str!("../service/auth/privileges.json");

/// Commands of the table that are still to come, or to be held to it.
const TO_COME: [&str; 0] = [];

/// Sent by nobody.
const ANONYMOUS: &str = "anonymous";

struct World {
    engine: Engine,
    owner: Session,
    /// Everybody who asks, by the names the table has for them.
    people: Vec<String>,
    /// What another user has: a cursor.
    cursor: i64,
}

fn doc(text: &str) -> DocBuf {
    parse_doc(&text.replace('\'', "\"")).unwrap_or_else(|e| unreachable!("{text}: {e}"))
}

/// A user document as it is stored, without a password.
fn user(name: &str, db: &str, roles: &[(&str, &str)]) -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", &*format!("{db}.{name}")).append("user", name).append("db", db);
        w.document("credentials");
        let mut list = w.array("roles");
        for (role, db) in roles {
            list.document().append("role", *role).append("db", *db);
        }
    })
}

/// A user for each built-in role, some besides, and one without any.
fn everybody() -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let mut names: Vec<(String, Vec<(&'static str, &'static str)>)> = ROLES.iter().map(|role| (role.name.to_owned(), vec![(role.name, if role.of_admin { "admin" } else { "d1" })])).collect();
    names.push(("read@local".into(), vec![("read", "local")]));
    names.push(("readWrite@local".into(), vec![("readWrite", "local")]));
    names.push(("none".into(), Vec::new()));
    names
}

impl World {
    fn new() -> World {
        let engine = Engine::open(Options { test_commands: true, ..Options::default() }).unwrap_or_else(|e| unreachable!("{e}"));
        let owner = engine.session(Client::owner());
        let mut world = World { engine, owner, people: vec![ANONYMOUS.to_owned()], cursor: 0 };
        world.restore();
        world.people.extend(everybody().into_iter().map(|(name, _)| name));
        world
    }

    /// Makes again what a command that was let through may have taken away.
    fn restore(&mut self) {
        let _ = self.owner.run_command("admin", &doc("{'setUserWriteBlockMode': 1, 'global': false}"));
        for (db, coll) in [("d1", "c"), ("d1", "e"), ("d1", "fs.chunks"), ("d2", "c"), ("d2", "e"), ("local", "x"), ("admin", "tempusers"), ("admin", "temproles")] {
            let _ = self.owner.run_command(db, &doc(&format!("{{'create': '{coll}'}}")));
        }
        for gone in ["k", "n", "v", "o"] {
            let _ = self.owner.run_command("d1", &doc(&format!("{{'drop': '{gone}'}}")));
        }
        let _ = self.owner.run_command("d1", &doc("{'createRole': 'r', 'privileges': [], 'roles': []}"));
        let users = DocBuf::build(|w| {
            w.append("insert", "system.users").append("ordered", false);
            let mut documents = w.array("documents");
            for (name, roles) in everybody() {
                documents.push(user(&format!("the {name}"), "admin", &roles).as_doc());
            }
            documents.push(user("another", "admin", &[("root", "admin")]).as_doc());
            for name in ["u", "other", "x"] {
                documents.push(user(name, "d1", &[]).as_doc());
            }
        });
        // Those that are there stay as they are.
        let _ = self.owner.run_command("admin", &users);
        let find = doc("{'find': 'c', 'batchSize': 0}");
        let mut root = self.engine.session_as("another", "admin").unwrap_or_else(|e| unreachable!("{e}"));
        let reply = root.run_command("d1", &find).unwrap_or_else(|e| unreachable!("{e}"));
        self.cursor = match reply.get("cursor").as_doc().map(|c| c.get("id")) {
            Some(Value::Int64(id)) => id,
            _ => 0,
        };
    }

    fn uuid(&mut self, db: &str, coll: &str) -> Result<DocBuf> {
        let reply = self.owner.run_command(db, &doc(&format!("{{'listCollections': 1, 'filter': {{'name': '{coll}'}}}}")))?;
        let first = reply.get("cursor").as_doc().and_then(|c| c.get("firstBatch").as_array()).map(|a| a.get(0));
        let info = first.and_then(|v| v.as_doc()).and_then(|d| d.get("info").as_doc());
        info.map(|info| DocBuf::from(info)).ok_or_else(|| err!(NamespaceNotFound, "no {db}.{coll}"))
    }

    /// The command of a probe, with what the table leaves to the test.
    fn command(&mut self, db: &str, probe: Doc<'_>) -> DocBuf {
        let uuid = self.uuid("d1", "c").unwrap_or_default();
        let binary = smongo_bson::Binary::from_raw(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let cursor = self.cursor;
        let fill = Fill { uuid: uuid.get("uuid"), binary: Value::Binary(binary), cursor };
        DocBuf::build(|w| {
            fill.copy(probe, w);
            w.append("$db", db);
            if probe.contains("txnNumber") {
                w.append("lsid", doc("{'id': {'$binary': {'base64': 'AAAAAAAAAAAAAAAAAAAAAA==', 'subType': '04'}}}").as_doc());
            }
        })
    }

    /// Whether somebody is let through, on a connection of his own.
    fn passes(&mut self, who: &str, command: &DocBuf) -> bool {
        let mut session = match who {
            ANONYMOUS => self.engine.session(Client { trust: Trust::Enforced, ..Client::owner() }),
            who => self.engine.session_as(&format!("the {who}"), "admin").unwrap_or_else(|e| unreachable!("{e}")),
        };
        match session.reply_to(&Request::new(command.as_doc())) {
            Err(e) => e.code().0 != 13,
            Ok(_) => true,
        }
    }
}

/// What stands in for the table's `<…>`.
struct Fill<'a> {
    uuid: Value<'a>,
    binary: Value<'a>,
    cursor: i64,
}

impl Fill<'_> {
    fn copy(&self, doc: Doc<'_>, w: &mut DocWriter<'_>) {
        for e in doc {
            match e.value() {
                Value::Document(d) if d.contains("<uuid>") => drop(w.append(e.name(), self.uuid)),
                Value::Document(d) => self.copy(d, &mut w.document(e.name())),
                Value::Array(list) => {
                    let mut w = w.array(e.name());
                    for value in list.iter() {
                        match value {
                            Value::Document(d) => self.copy(d, &mut w.document()),
                            value => drop(w.push(self.value("", value))),
                        }
                    }
                }
                value => drop(w.append(e.name(), self.value(e.name(), value))),
            }
        }
    }

    fn value<'v>(&'v self, name: &str, value: Value<'v>) -> Value<'v> {
        const HASH: &[u8] = &[7; 33];
        const ID: &[u8] = &[4; 17];
        match (name, value) {
            // The numbers of the table are what drivers send for them.
            ("txnNumber", v) => Value::Int64(smongo_bson::number::to_i64_rounded(v)),
            ("backup", _) => Value::String("/nowhere/copy"),
            (_, Value::String("<id of another user's cursor>")) => Value::Int64(self.cursor),
            (_, Value::String("<another user's>")) => Value::Binary(smongo_bson::Binary::from_raw(ID)),
            (_, Value::String("<hash>")) => Value::Binary(smongo_bson::Binary::from_raw(HASH)),
            (_, Value::String("<binData 8>")) => self.binary,
            (_, value) => value,
        }
    }
}

struct Probe {
    db: String,
    command: DocBuf,
    /// Those who are let through.
    allow: BTreeSet<String>,
}

fn probes(world: &World) -> Vec<Probe> {
    let table = parse_doc(TABLE).unwrap_or_else(|e| unreachable!("{e}"));
    let everybody: BTreeSet<String> = world.people.iter().cloned().collect();
    let one = |value: Value<'_>| {
        let probe = value.as_doc().unwrap_or(Doc::EMPTY);
        let allow = match probe.get("allow") {
            Value::String("open") => everybody.clone(),
            Value::String("user") => everybody.iter().filter(|name| *name != ANONYMOUS).cloned().collect(),
            list => list.as_array().unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        };
        Probe { db: probe.get("db").as_str().unwrap_or_default().to_owned(), command: DocBuf::from(probe.get("command").as_doc().unwrap_or(Doc::EMPTY)), allow }
    };
    let all = table.get("probes").as_array().unwrap_or(Array::EMPTY).iter().map(one);
    all.filter(|probe| !TO_COME.contains(&&*name(&probe.command))).collect()
}

fn name(command: &DocBuf) -> String {
    command.as_doc().first().map_or("", |e| e.name()).to_owned()
}

/// Who is treated otherwise than the table says. Whoever is refused changes nothing; what others may have changed is made again.
fn differences(world: &mut World, probe: &Probe) -> Vec<String> {
    let who = world.people.clone();
    // An end is an end: only those are asked who are refused it.
    let ends = name(&probe.command) == "shutdown";
    let (refused, allowed): (Vec<String>, Vec<String>) = who.into_iter().partition(|who| !probe.allow.contains(who));
    let mut wrong = Vec::new();
    for (who, expected) in refused.into_iter().map(|who| (who, false)).chain(allowed.into_iter().map(|who| (who, true))) {
        if ends && expected {
            continue;
        }
        let command = world.command(&probe.db, probe.command.as_doc());
        let passed = world.passes(&who, &command);
        if passed != expected {
            wrong.push(format!("{who} is {} {}: {:?}", if passed { "let through by" } else { "refused" }, probe.db, command.as_doc()));
        }
        if passed {
            world.restore();
        }
    }
    wrong
}

#[test]
fn everybody_may_what_the_table_says() {
    let mut world = World::new();
    let probes = probes(&world);
    assert!(probes.len() > 240);
    let wrong: Vec<String> = probes.iter().flat_map(|probe| differences(&mut world, probe)).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_laxer_rule_is_found() {
    let mut world = World::new();
    let probes = probes(&world);
    let mut survivors = Vec::new();
    for command in COMMANDS {
        let laxer = match command.access {
            Access::Open => continue,
            Access::User => Access::Open,
            _ => Access::User,
        };
        let own: Vec<&Probe> = probes.iter().filter(|probe| name(&probe.command) == command.name && command.name != "shutdown").collect();
        if TO_COME.contains(&command.name) {
            continue;
        }
        MUTANT.set(Some((command.name, laxer)));
        let found = own.iter().any(|probe| !differences(&mut world, probe).is_empty());
        MUTANT.set(None);
        // These refuse strangers once more, by what they ask of whom something belongs to.
        let twice = ["getMore", "killCursors", "killOp"].contains(&command.name);
        if found == twice && command.name != "shutdown" {
            survivors.push(command.name);
        }
    }
    assert!(survivors.is_empty(), "nobody notices a laxer rule of {survivors:?}");
}

/// Rows and table name the same commands and stages.
#[test]
fn the_table_knows_every_command_and_stage() {
    let table = parse_doc(TABLE).unwrap_or_else(|e| unreachable!("{e}"));
    let names = |key: &str| -> BTreeSet<String> { table.get(key).as_doc().unwrap_or(Doc::EMPTY).iter().map(|e| e.name().to_owned()).collect() };
    let listed = names("commands");
    for (name, _) in commands::commands() {
        assert!(listed.contains(name), "the table has no {name}");
    }
    for (name, entry) in table.get("commands").as_doc().unwrap_or(Doc::EMPTY).iter().filter_map(|e| Some((e.name(), e.value().as_doc()?))) {
        let Some(command) = commands::lookup(name) else {
            assert!(TO_COME.contains(&name), "there is no {name}");
            continue;
        };
        let rule = match command.access {
            Access::Open => "open",
            Access::User => "user",
            _ => "needs",
        };
        assert_eq!(entry.get("auth").as_str(), Some(rule), "{name}");
    }
    let stages: BTreeSet<String> = smongo_mql::pipeline::stages().map(str::to_owned).collect();
    assert_eq!(names("stages"), stages);
}
