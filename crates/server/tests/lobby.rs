//! Peers who have not said who they are: they cost little, are borne with for a while, and keep nobody out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Raw, Running, body, code, msg, ok, ping, start, start_with};
use smongo_bson::DocBuf;
use smongo_server::compress::{self, Compressor};
use smongo_server::{Exposure, Listen};

fn guarded() -> Running {
    start_with(Listen { tcp: vec![("127.0.0.1".into(), 0)], exposure: Exposure::Authenticated, ..Listen::default() })
}

fn hello() -> DocBuf {
    DocBuf::build(|w| {
        w.append("hello", 1).append("$db", "admin");
    })
}

/// How many sockets: a thousand and more are for asking.
fn many() -> usize {
    std::env::var("SMONGO_SILENT").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

fn connect(server: &Running) -> TcpStream {
    let stream = TcpStream::connect(server.handle.local_addrs()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Kilobytes and threads of this process, which is the server, too.
fn status(field: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok()).unwrap()
}

/// The longest that a good client waits for its first answer.
fn slowest_hello(server: &Running, times: usize) -> Duration {
    let one = || {
        let begun = Instant::now();
        let mut client = Raw { stream: connect(server) };
        assert!(ok(client.round(&msg(1, 0, &[body(&hello())])).unwrap().body().as_doc()));
        begun.elapsed()
    };
    (0..times).map(|_| one()).max().unwrap()
}

/// `connections.current` of serverStatus: who has said nothing is counted, too.
fn counted(server: &Running) -> i64 {
    let status = DocBuf::build(|w| {
        w.append("serverStatus", 1);
    });
    let reply = server.engine.session(smongo_engine::Client::owner()).run_command("admin", &status).unwrap();
    common::number(reply.get("connections").as_doc().unwrap().get("current")).unwrap() as i64
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

#[test]
fn who_says_nothing_or_little_costs_no_thread_and_is_let_go() {
    let server = guarded();
    slowest_hello(&server, 20);
    let (memory, threads) = (status("VmRSS:"), status("Threads:"));
    let mut silent: Vec<TcpStream> = (0..many()).map(|_| connect(&server)).collect();
    let mut slow: Vec<TcpStream> = (0..many()).map(|_| connect(&server)).collect();
    let (begun, mut worst) = (Instant::now(), Duration::ZERO);
    for second in 0..8 {
        for stream in &mut slow {
            let _ = stream.write_all(&msg(1, 0, &[body(&hello())])[second..=second]);
        }
        worst = worst.max(slowest_hello(&server, 5));
        // Some may still be on their way in.
        while second < 2 && counted(&server) < 2 * many() as i64 {
            assert!(begun.elapsed() < Duration::from_secs(9), "{}", counted(&server));
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_secs(second as u64 + 1).saturating_sub(begun.elapsed()));
    }
    let more = (status("VmRSS:") - memory, status("Threads:") - threads);
    println!("{} silent and {} slow sockets: {} KB and {} threads more, slowest hello {worst:?}", many(), many(), more.0, more.1);
    assert!(more.0 < 100 << 10 && more.1 < 20, "{more:?}");
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    // Ten seconds are enough for anybody.
    assert!(is_closed(&mut silent[0]) && is_closed(&mut slow[0]) && is_closed(silent.last_mut().unwrap()) && is_closed(slow.last_mut().unwrap()));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Two servers in front of one engine count together.
#[test]
fn each_server_adds_its_own() {
    let server = start();
    let other = smongo_server::Server::bind(&server.engine, Listen { tcp: vec![("127.0.0.1".into(), 0)], ..Listen::default() }).unwrap().spawn().unwrap();
    let reaches = |expected: i64| {
        let until = Instant::now() + Duration::from_secs(10);
        while counted(&server) != expected {
            assert!(Instant::now() < until, "{} and not {expected}", counted(&server));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    reaches(1);
    let here: Vec<TcpStream> = (0..3).map(|_| connect(&server)).collect();
    let there: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(other.local_addrs()[0]).unwrap()).collect();
    reaches(8);
    drop(here);
    reaches(5);
    other.shutdown();
    reaches(1);
    drop(there);
}

/// Where nobody has to log in a connection may wait for as long as it likes.
#[test]
fn patience_is_endless_where_nobody_logs_in() {
    let server = start();
    let mut stream = connect(&server);
    stream.write_all(&msg(1, 0, &[body(&ping())])[..7]).unwrap();
    std::thread::sleep(Duration::from_millis(11_500));
    stream.write_all(&msg(1, 0, &[body(&ping())])[7..]).unwrap();
    assert!(Raw { stream }.recv().is_some());
}

#[test]
fn a_message_that_stands_still_before_a_login_ends_the_connection() {
    let server = guarded();
    let mut first = connect(&server);
    first.write_all(&msg(1, 0, &[body(&hello())])[..20]).unwrap();
    let mut second = Raw { stream: connect(&server) };
    assert!(second.round(&msg(1, 0, &[body(&hello())])).is_some());
    second.send(&msg(1, 0, &[body(&hello())])[..20]);
    // Nor does a byte now and then help.
    let mut third = Raw { stream: connect(&server) };
    assert!(third.round(&msg(1, 0, &[body(&hello())])).is_some());
    let begun = Instant::now();
    let trickle = std::thread::spawn(move || {
        for byte in msg(1, 0, &[body(&hello())]).into_iter().take(16) {
            if third.stream.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        (is_closed(&mut third.stream), begun.elapsed().as_secs())
    });
    assert!(is_closed(&mut first) && is_closed(&mut second.stream));
    assert!((8..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let (closed, after) = trickle.join().unwrap();
    assert!(closed && after < 18, "{after}");
}

#[test]
fn messages_before_a_login_are_short() {
    let server = guarded();
    let ping_of = |len: usize| {
        let doc = DocBuf::build(|w| {
            w.append("ping", 1).append("$db", "admin").append("comment", "x".repeat(len).as_str());
        });
        msg(7, 0, &[body(&doc)])
    };
    let room = (16 << 10) - ping_of(0).len();
    let mut client = Raw { stream: connect(&server) };
    assert!(ok(client.round(&ping_of(room)).unwrap().body().as_doc()));
    // By its header alone: nothing of it has to be there.
    for len in [room + 1, 40_000_000] {
        let mut client = Raw { stream: connect(&server) };
        let frame = ping_of(len);
        client.send(&frame[..frame.len().min(100)]);
        let reply = client.recv().unwrap();
        assert_eq!((reply.header.response_to, code(reply.body().as_doc())), (7, 13));
        assert!(client.recv().is_none());
        // And where all of it is on its way.
        let mut client = Raw { stream: connect(&server) };
        let _ = client.stream.write_all(&frame[..frame.len().min(1 << 20)]);
        assert_eq!(code(client.recv().unwrap().body().as_doc()), 13);
    }
    let mut packed = Vec::new();
    compress::pack(Compressor::Zlib, &ping_of(1_000_000), &mut packed).unwrap();
    assert!(packed.len() < 16 << 10);
    let mut client = Raw { stream: connect(&server) };
    let reply = client.round(&packed).unwrap();
    assert_eq!((reply.header.response_to, code(reply.body().as_doc())), (7, 13));
    assert!(client.recv().is_none());
    // Who need not log in may say as much as ever.
    assert!(ok(start().client().round(&ping_of(1_000_000)).unwrap().body().as_doc()));
}

#[test]
fn half_of_the_connections_are_for_those_who_log_in() {
    let listen = Listen { tcp: vec![("127.0.0.1".into(), 0)], exposure: Exposure::Authenticated, max_connections: 8, ..Listen::default() };
    let server = start_with(listen);
    let come = || {
        let mut client = Raw { stream: connect(&server) };
        let answered = client.stream.write_all(&msg(1, 0, &[body(&hello())])).is_ok() && client.recv().is_some();
        (client, answered)
    };
    let mut held: Vec<_> = (0..4).map(|_| come()).collect();
    assert!(held.iter().all(|(_, answered)| *answered));
    assert!(!come().1);
    held.pop();
    let until = Instant::now() + Duration::from_secs(10);
    while !come().1 {
        assert!(Instant::now() < until);
    }
}
