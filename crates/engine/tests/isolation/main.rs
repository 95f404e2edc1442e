//! Snapshot isolation under random transactions of many threads, judged from what clients saw alone.
//!
//! `SMONGO_ISOLATION_HISTORIES` says how many histories of 200 transactions to try, a quarter of them on disk.
#![allow(clippy::unwrap_used, clippy::panic)]

mod checker;
mod checker_tests;
mod history;
mod mutations;
mod workload;

use std::time::{SystemTime, UNIX_EPOCH};

use history::{Outcome, Txn};
use smongo_bson::DocBuf;
use smongo_engine::{Client, Engine, Options, Request, Session};
use workload::{Door, Plan, Run};

struct Embedded(Session);

impl Door for Embedded {
    fn run(&mut self, db: &str, command: DocBuf) -> Option<DocBuf> {
        let body = DocBuf::build(|w| {
            w.append_all(command.as_doc()).append("$db", db);
        });
        let mut out = Vec::new();
        self.0.run(&Request::new(body.as_doc()), &mut out);
        Some(DocBuf::from_checked(out))
    }
}

fn play(engine: &Engine, plan: Plan) -> Vec<Txn> {
    let run = Run::new(plan);
    let connect = || Embedded(engine.session(Client::owner()));
    run.prepare(&mut connect());
    let mut history: Vec<Txn> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.threads).map(|n| scope.spawn({ let run = &run; move || run.client(n, connect) })).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    history.push(run.read_all(connect()));
    history
}

/// Clients in threads on a database of its own.
fn record(plan: Plan, on_disk: bool) -> Vec<Txn> {
    let dir = tempfile::tempdir().unwrap();
    let path = on_disk.then(|| dir.path().to_owned());
    let engine = Engine::open(Options { path, cache_bytes: 16 << 20, ..Options::default() }).unwrap();
    let history = play(&engine, plan);
    engine.close().unwrap();
    history
}

#[test]
fn random_histories_are_snapshot_isolated() {
    let histories = std::env::var("SMONGO_ISOLATION_HISTORIES").map_or(24, |n| n.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("SMONGO_ISOLATION_SEED").map_or(now, |n| n.parse().unwrap());
    let (mut committed, mut all) = (0, 0);
    for n in 0..histories {
        let plan = Plan::random(seed.wrapping_add(n), 200, false);
        let history = record(plan, n % 4 == 3);
        let anomalies = checker::check(&history);
        assert!(anomalies.is_empty(), "{plan:?}: {}", anomalies.iter().map(|a| format!("\n{a}")).collect::<String>());
        committed += history.iter().filter(|t| t.outcome == Outcome::Committed).count();
        all += history.len();
    }
    println!("{histories} histories, {all} transactions, {committed} committed; seed {seed}");
}
