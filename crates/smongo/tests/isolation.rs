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
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use history::{Outcome, Txn};
use smongo_bson::DocBuf;
use workload::{Answer, Door, Plan, Random, Run};

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
        command.args(["serve", "--port", "0", "--dbpath"]).arg(dir).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("mongodb://").nth(1).unwrap_or_else(|| panic!("{line:?}")).split(['/', '\n']).next().unwrap();
        Server { address: address.to_owned(), child }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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
    fn run(&mut self, db: &str, command: DocBuf) -> Answer {
        let body = DocBuf::build(|w| {
            w.append_all(command.as_doc()).append("$db", db);
        });
        match self.round(&body) {
            Ok(reply) => Answer::Reply(DocBuf::parse(reply).unwrap()),
            Err(_) => {
                self.0 = None;
                Answer::Lost
            }
        }
    }
}

fn play(plan: Plan, kills: usize) -> Vec<Txn> {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let address = Mutex::new(server.address.clone());
    let connect = || Wire::connect(&address);
    let run = Run::new(plan);
    run.prepare(&mut connect());
    let mut random = Random(plan.seed);
    let mut history: Vec<Txn> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.threads).map(|n| scope.spawn({ let run = &run; move || run.client(n, connect) })).collect();
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.below(150) as u64));
            server.kill();
            server = Server::start(dir.path());
            address.lock().unwrap().clone_from(&server.address);
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    server.kill();
    let server = Server::start(dir.path());
    history.push(run.read_all(Wire::connect(&Mutex::new(server.address.clone()))));
    history
}

#[test]
fn histories_are_snapshot_isolated_across_kills() {
    let histories = std::env::var("SMONGO_ISOLATION_HISTORIES").map_or(6, |n| n.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("SMONGO_ISOLATION_SEED").map_or(now, |n| n.parse().unwrap());
    let (mut committed, mut unknown, mut all) = (0, 0, 0);
    for n in 0..histories {
        let plan = Plan::random(seed.wrapping_add(n), 200, true);
        let history = play(plan, 1 + (n % 3) as usize);
        let anomalies = checker::check(&history);
        assert!(anomalies.is_empty(), "{plan:?}: {}", anomalies.iter().map(|a| format!("\n{a}")).collect::<String>());
        committed += history.iter().filter(|t| t.outcome == Outcome::Committed).count();
        unknown += history.iter().filter(|t| t.outcome == Outcome::Unknown).count();
        all += history.len();
    }
    println!("{histories} histories, {all} transactions, {committed} committed, {unknown} with unknown outcome; seed {seed}");
}
