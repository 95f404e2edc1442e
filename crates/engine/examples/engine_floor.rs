//! What the engine adds to the store: inserts and finds by `_id` through `Session::run` and the typed client, beside the
//! same work done on the store alone, in turns, so that all of them meet the same machine.
//!
//! `cargo run --release -p smongo-engine --example engine_floor [-- --docs N] [--rounds N] [--only NAME]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use smongo_bson::{DocBuf, ObjectId, Value, keystring};
use smongo_engine::client::{Client, Collection};
use smongo_engine::{Engine, Ns, Options, Request, Session};
use smongo_storage::{Begin, Durability, Store, Table, TableKind};

/// As in the `smongo` program and the Python module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A document of about a kilobyte.
fn document(id: ObjectId, n: u64) -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", id).append("n", n as i64).append("name", "a person of some name").append("city", "Berlin");
        w.append("text", &*"lorem ipsum dolor sit amet ".repeat(34));
    })
}

fn id(n: u64) -> ObjectId {
    let mut bytes = [0x66; 12];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    ObjectId(bytes)
}

/// The store alone: a record, and an entry of the index on `_id`.
struct Raw {
    session: smongo_storage::Session,
    records: Table,
    index: Table,
    key: Vec<u8>,
}

impl Raw {
    fn open(path: PathBuf) -> Raw {
        let store = Store::open(smongo_storage::Options::at(path)).unwrap();
        let records = store.create_table("records", TableKind::Records).unwrap();
        let index = store.create_table("index", TableKind::Index).unwrap();
        Raw { session: store.session().unwrap(), records, index, key: Vec::new() }
    }

    fn insert(&mut self, n: u64, doc: &DocBuf) {
        self.encode(n);
        self.session.begin(Begin::default()).unwrap();
        self.session.insert(&self.records, &n.to_be_bytes(), doc.as_bytes()).unwrap();
        assert!(self.session.insert_new(&self.index, &self.key, &n.to_be_bytes()).unwrap());
        self.session.commit(Durability::Lazy).unwrap();
    }

    fn find(&mut self, n: u64) -> usize {
        self.encode(n);
        self.session.begin(Begin::default()).unwrap();
        let record: [u8; 8] = self.session.get(&self.index, &self.key).unwrap().unwrap().try_into().unwrap();
        let len = self.session.get(&self.records, &record).unwrap().unwrap().len();
        self.session.rollback().unwrap();
        len
    }

    fn encode(&mut self, n: u64) {
        self.key.clear();
        keystring::append(&mut self.key, Value::ObjectId(id(n)), false, None);
    }
}

/// Commands through the door, as the server runs them.
struct Door {
    session: Session,
    command: Vec<u8>,
    reply: Vec<u8>,
}

impl Door {
    fn run(&mut self, command: &DocBuf) -> usize {
        self.reply.clear();
        self.session.run(&Request::new(command.as_doc()), &mut self.reply);
        self.reply.len()
    }

    fn insert(&mut self, doc: &DocBuf) {
        let command = self.build(|w| {
            w.append("insert", "door");
            w.array("documents").push(doc.as_doc());
            w.append("$db", "bench");
        });
        self.run(&command);
        self.command = command.into_bytes();
    }

    fn find(&mut self, n: u64) -> usize {
        let command = self.build(|w| {
            w.append("find", "door");
            w.document("filter").append("_id", id(n));
            w.append("limit", 1).append("singleBatch", true).append("$db", "bench");
        });
        let len = self.run(&command);
        self.command = command.into_bytes();
        len
    }

    fn build(&mut self, fields: impl FnOnce(&mut smongo_bson::DocWriter<'_>)) -> DocBuf {
        let mut buf = std::mem::take(&mut self.command);
        buf.clear();
        let mut w = smongo_bson::DocWriter::new(&mut buf);
        fields(&mut w);
        w.finish();
        DocBuf::from_checked(buf)
    }
}

/// The best of all rounds: what the work takes when nobody else disturbs it. Rounds are short, so that some are undisturbed.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Duration>);

impl Times {
    fn take(&mut self, what: &'static str, count: u64, only: &str, mut one: impl FnMut(u64)) {
        // Finds need what inserts brought.
        if !what.contains(only) && what.starts_with("find") {
            return;
        }
        let started = Instant::now();
        (0..count).for_each(&mut one);
        let each = started.elapsed() / count as u32;
        let best = self.0.entry(what).or_insert(each);
        *best = (*best).min(each);
    }

    fn report(&self, floor: &str, others: &[String]) {
        let micros = |d: &Duration| d.as_secs_f64() * 1e6;
        let Some(base) = self.0.get(floor) else { return };
        println!("{floor:<24} {:>8.2} µs", micros(base));
        for name in others {
            if let Some(t) = self.0.get(name.as_str()) {
                println!("{name:<24} {:>8.2} µs   {:.2} x the floor", micros(t), micros(t) / micros(base));
            }
        }
    }
}

struct Args {
    docs: u64,
    rounds: u64,
    only: String,
}

fn args() -> Args {
    let mut args = Args { docs: 500, rounds: 60, only: String::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().expect("the option takes a value");
        match word.as_str() {
            "--docs" => args.docs = value.parse().expect("a number"),
            "--rounds" => args.rounds = value.parse().expect("a number"),
            "--only" => args.only = value,
            other => panic!("unknown option {other}"),
        }
    }
    args
}

fn main() {
    let Args { docs, rounds, only } = args();
    let dir = std::env::temp_dir().join(format!("smongo-engine-floor-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut raw = Raw::open(dir.join("raw"));
    let engine = Engine::open(Options { path: Some(dir.join("engine")), ..Options::default() }).unwrap();
    let mut door = Door { session: engine.session(smongo_engine::Client::owner()), command: Vec::new(), reply: Vec::new() };
    let client = Client::over(engine.clone());
    let typed: Collection<bson::Document> = client.database("bench").collection("typed");
    let raw_documents: Collection<bson::RawDocumentBuf> = client.database("bench").collection("raw");
    let door_ns = Ns::new("bench", "door").unwrap();
    let mut times = Times::default();
    for round in 0..rounds {
        let first = round * docs;
        let made: Vec<DocBuf> = (first..first + docs).map(|n| document(id(n), n)).collect();
        let plain: Vec<bson::Document> = made.iter().map(|d| bson::Document::from_reader(d.as_bytes()).unwrap()).collect();
        times.take("insert: store", docs, &only, |n| raw.insert(first + n, &made[n as usize]));
        times.take("insert: Session::run", docs, &only, |n| door.insert(&made[n as usize]));
        times.take("insert: typed client", docs, &only, |n| drop(typed.insert_one(&plain[n as usize]).unwrap()));
        let bytes: Vec<bson::RawDocumentBuf> = made.iter().map(|d| bson::RawDocumentBuf::from_bytes(d.as_bytes().to_vec()).unwrap()).collect();
        times.take("insert: raw documents", docs, &only, |n| drop(raw_documents.insert_one(&bytes[n as usize]).unwrap()));
        let total = first + docs;
        let any = |n: u64| n.wrapping_mul(2_654_435_761) % total;
        times.take("find: store", docs, &only, |n| assert!(black_box(raw.find(any(n))) > 900));
        times.take("find: Session::run", docs, &only, |n| assert!(door.find(any(n)) > 900));
        times.take("find: Session::find_by_id", docs, &only, |n| {
            let found = door.session.find_by_id(&door_ns, Value::ObjectId(id(any(n))), |doc| doc.map_or(0, |d| black_box(d).as_bytes().len()));
            assert!(found.unwrap().unwrap() > 900);
        });
        times.take("find: raw documents", docs, &only, |n| {
            assert!(black_box(raw_documents.find_one(bson::doc! {"_id": bson::oid::ObjectId::from_bytes(id(any(n)).0)}).unwrap()).is_some());
        });
        times.take("find: typed client", docs, &only, |n| {
            assert!(black_box(typed.find_one(bson::doc! {"_id": bson::oid::ObjectId::from_bytes(id(any(n)).0)}).unwrap()).is_some());
        });
    }
    let all = |what: &str| ["Session::run", "Session::find_by_id", "raw documents", "typed client"].map(|name| format!("{what}: {name}"));
    times.report("insert: store", &all("insert"));
    times.report("find: store", &all("find"));
    drop((raw, door, typed, raw_documents, client, engine));
    let _ = std::fs::remove_dir_all(dir);
}
