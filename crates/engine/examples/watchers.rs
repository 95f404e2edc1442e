//! What change streams cost, and how fast they are:
//! - inserts a second into one collection while 0, 100 and 1,000 streams wait for changes of others;
//! - the time from just before an insert to the moment a watcher of the collection has its event, at a paced rate of writes;
//! - what the oplog adds to an insert: the same inserts into the database `local`, of which the oplog does not tell, in turns.
//!
//! `--memory 1` takes a database in memory, where no batch waits for the disk.
//!
//! `cargo run --release --example watchers [-- --seconds N] [--rate N] [--rounds N] [--memory 1]`; with no seconds, the oplog's cost alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smongo_bson::{Doc, DocBuf, Value, number};
use smongo_engine::{Client, Engine, Options, Session};

/// As in the `smongo` program and the Python module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STACK: usize = 256 << 10;

fn argument(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|a| a != name).skip(1);
    args.next().map_or(default, |text| text.parse().expect("a number"))
}

/// An insert of one document of about a kilobyte.
fn insert(id: i64, stamp: i64) -> DocBuf {
    DocBuf::build(|w| {
        w.append("insert", "written");
        let mut docs = w.array("documents");
        let mut doc = docs.document();
        doc.append("_id", id).append("sent", stamp).append("text", &*"lorem ipsum dolor sit amet ".repeat(36));
    })
}

/// A stream over a collection, and its cursor.
struct Watcher {
    session: Session,
    coll: String,
    cursor: i64,
}

impl Watcher {
    fn open(engine: &Engine, coll: &str) -> Watcher {
        let mut session = engine.session(Client::owner());
        let command = DocBuf::build(|w| {
            w.append("aggregate", coll);
            w.array("pipeline").document().document("$changeStream");
            w.document("cursor");
        });
        let reply = session.run_command("test", &command).unwrap();
        let cursor = number::to_i64_exact(reply.get("cursor").as_doc().unwrap().get("id")).unwrap();
        Watcher { session, coll: coll.to_owned(), cursor }
    }

    /// The next batch; waits for a second at most.
    fn more(&mut self, mut each: impl FnMut(Doc<'_>)) -> bool {
        let command = DocBuf::build(|w| {
            w.append("getMore", self.cursor).append("collection", &*self.coll).append("maxTimeMS", 1000);
        });
        let Ok(reply) = self.session.run_command("test", &command) else { return false };
        let batch = reply.get("cursor").as_doc().unwrap().get("nextBatch");
        batch.as_array().unwrap().iter().filter_map(|v| v.as_doc()).for_each(&mut each);
        true
    }
}

/// Watchers of collections that nobody writes, until `stop`.
fn idlers(engine: &Engine, count: u64, stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<()>> {
    let one = |n: u64| {
        let (engine, stop) = (engine.clone(), stop.clone());
        let run = move || {
            let mut watcher = Watcher::open(&engine, &format!("idle{n}"));
            while !stop.load(Ordering::Relaxed) && watcher.more(|_| panic!("an event of another collection")) {}
        };
        std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap()
    };
    (0..count).map(one).collect()
}

fn rate_beside_idle_watchers(engine: &Engine, seconds: u64, next: &mut i64) {
    for count in [0, 100, 1000, 0] {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = idlers(engine, count, &stop);
        std::thread::sleep(Duration::from_millis(500));
        let mut session = engine.session(Client::owner());
        let (begun, first) = (Instant::now(), *next);
        while begun.elapsed() < Duration::from_secs(seconds) {
            session.run_command("test", &insert(*next, 0)).unwrap();
            *next += 1;
        }
        println!("{count:>5} idle watchers: {:>7.0} inserts/s", (*next - first) as f64 / begun.elapsed().as_secs_f64());
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
}

fn latency(engine: &Engine, seconds: u64, rate: u64, next: &mut i64) {
    let epoch = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut watcher = Watcher::open(engine, "written");
    let reader = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut taken = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                watcher.more(|event| {
                    let Value::Int64(sent) = event.get("fullDocument").as_doc().unwrap().get("sent") else { panic!("no stamp") };
                    taken.push(epoch.elapsed().as_micros() as i64 - sent);
                });
            }
            taken
        }
    });
    let mut session = engine.session(Client::owner());
    let total = seconds * rate;
    for n in 0..total {
        let due = Duration::from_micros(n * 1_000_000 / rate);
        while epoch.elapsed() < due {
            std::thread::sleep(Duration::from_micros(200));
        }
        session.run_command("test", &insert(*next, epoch.elapsed().as_micros() as i64)).unwrap();
        *next += 1;
    }
    let wrote = total as f64 / epoch.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let mut taken = reader.join().unwrap();
    assert_eq!(taken.len() as u64, total, "every insert is an event");
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    println!("latency at {wrote:.0} writes/s: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), at(0.999), at(1.0));
}

/// In short turns, so that both meet the same machine; what counts is the median of the quotients.
fn oplog_cost(engine: &Engine, rounds: u64, next: &mut i64) {
    const TURN: i64 = 500;
    let mut session = engine.session(Client::owner());
    let mut turn = |db: &str| {
        let commands: Vec<DocBuf> = (0..TURN).map(|n| insert(*next + n, 0)).collect();
        *next += TURN;
        let begun = Instant::now();
        for command in &commands {
            session.run_command(db, command).unwrap();
        }
        begun.elapsed().as_secs_f64() * 1e6 / TURN as f64
    };
    let turns: Vec<(f64, f64)> = (0..rounds).map(|_| (turn("test"), turn("local"))).collect();
    let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = turns.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (with, without, quotient) = (median(&|t| t.0), median(&|t| t.1), median(&|t| t.0 / t.1));
    println!("insert_one: {with:.1} us with the oplog, {without:.1} us without: {quotient:.2}x (medians of {rounds} turns)");
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let path = (argument("--memory", 0) == 0).then(|| dir.path().to_owned());
    let engine = Engine::open(Options { path, ..Options::default() }).unwrap();
    let seconds = argument("--seconds", 5);
    let mut next = 0;
    engine.session(Client::owner()).run_command("test", &insert(-1, 0)).unwrap();
    oplog_cost(&engine, argument("--rounds", 100), &mut next);
    if seconds == 0 {
        return;
    }
    latency(&engine, seconds, argument("--rate", 5000), &mut next);
    rate_beside_idle_watchers(&engine, seconds, &mut next);
}
