//! Snapshot isolation over the wire while the server is killed and started again: what was acknowledged stays, nothing is torn.
//!
//! `SMONGO_ISOLATION_HISTORIES` says how many histories of 200 transactions to try.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../engine/tests/isolation/checker.rs"]
mod checker;
#[path = "../../engine/tests/isolation/history.rs"]
mod history;
#[path = "../../engine/tests/isolation/workload.rs"]
mod workload;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use history::{Outcome, Txn};
use smongo_bson::DocBuf;
use workload::{Door, Plan, Random, Run};

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn spawn(dir: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
        command.args(["serve", "--port", "0", "--dbpath"]).arg(dir).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.spawn().unwrap()
    }

    fn start(dir: &Path) -> Server {
        let mut child = Server::spawn(dir);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("mongodb://").nth(1).unwrap_or_else(|| panic!("{line:?}")).split(['/', '\n']).next().unwrap();
        Server { address: address.to_owned(), child }
    }

    /// SIGKILL.
    fn kill(child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that speaks OP_MSG; `None` when there is no server.
struct Wire(Option<TcpStream>);

impl Wire {
    /// Tries for a while: the server may be on its way up.
    fn connect(address: &Mutex<String>) -> Wire {
        for _ in 0..200 {
            let now = address.lock().unwrap().clone();
            if let Ok(stream) = TcpStream::connect(now) {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                return Wire(Some(stream));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Wire(None)
    }

    fn round(&mut self, body: &DocBuf) -> std::io::Result<Vec<u8>> {
        let stream = self.0.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        let mut message = Vec::new();
        // Length, request id, response to, OP_MSG; flags; a section of kind 0.
        for n in [21 + body.as_bytes().len() as i32, 1, 0, 2013, 0] {
            message.extend_from_slice(&n.to_le_bytes());
        }
        message.push(0);
        message.extend_from_slice(body.as_bytes());
        stream.write_all(&message)?;
        let mut head = [0; 21];
        stream.read_exact(&mut head)?;
        let length = i32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let mut reply = vec![0; usize::try_from(length).unwrap() - head.len()];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    }
}

impl Door for Wire {
    fn run(&mut self, db: &str, command: DocBuf) -> Option<DocBuf> {
        let body = DocBuf::build(|w| {
            w.append_all(command.as_doc()).append("$db", db);
        });
        match self.round(&body) {
            Ok(reply) => Some(DocBuf::parse(reply).unwrap()),
            Err(_) => {
                self.0 = None;
                None
            }
        }
    }
}

/// A history of which so many transactions are under way or over when the server is killed, each time at another of them. Some of
/// the servers that recover are killed, too.
fn play(plan: Plan, kills: usize, killed: &AtomicUsize) -> Vec<Txn> {
    // In memory, where there is such a place: what a killed process has written stays there as well.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut server = Server::start(dir.path());
    let address = Mutex::new(server.address.clone());
    let connect = || Wire::connect(&address);
    let run = Run::new(plan);
    run.prepare(&mut connect());
    let mut random = Random(plan.seed);
    let mut moments: Vec<usize> = (0..kills).map(|_| random.below(plan.transactions - plan.threads)).collect();
    moments.sort_unstable();
    let mut history: Vec<Txn> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.threads).map(|n| scope.spawn({ let run = &run; move || run.client(n, connect) })).collect();
        for moment in moments {
            while run.done() < moment {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(Duration::from_micros(random.below(2000) as u64));
            killed.fetch_add(usize::from(!run.over()), Ordering::Relaxed);
            Server::kill(&mut server.child);
            if random.percent(25) {
                let mut recovering = Server::spawn(dir.path());
                std::thread::sleep(Duration::from_millis(random.below(100) as u64));
                Server::kill(&mut recovering);
            }
            server = Server::start(dir.path());
            address.lock().unwrap().clone_from(&server.address);
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    Server::kill(&mut server.child);
    let server = Server::start(dir.path());
    history.push(run.read_all(Wire::connect(&Mutex::new(server.address.clone()))));
    history
}

#[test]
fn histories_are_snapshot_isolated_across_kills() {
    let histories = std::env::var("SMONGO_ISOLATION_HISTORIES").map_or(6, |n| n.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("SMONGO_ISOLATION_SEED").map_or(now, |n| n.parse().unwrap());
    let (next, killed) = (AtomicU64::new(0), AtomicUsize::new(0));
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= histories {
                return;
            }
            let plan = Plan::random(seed.wrapping_add(n), 200, true);
            let history = play(plan, 1 + (n % 3) as usize, &killed);
            let anomalies = checker::check(&history);
            assert!(anomalies.is_empty(), "{plan:?}: {}", anomalies.iter().map(|a| format!("\n{a}")).collect::<String>());
            outcomes.lock().unwrap().extend(history.iter().map(|t| t.outcome));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|w| w.join().unwrap());
    });
    let outcomes = outcomes.into_inner().unwrap();
    let count = |outcome: Outcome| outcomes.iter().filter(|o| **o == outcome).count();
    println!(
        "{histories} histories, {} kills in their midst, {} transactions, {} committed, {} with unknown outcome; seed {seed}",
        killed.into_inner(),
        outcomes.len(),
        count(Outcome::Committed),
        count(Outcome::Unknown)
    );
}
