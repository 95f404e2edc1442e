//! Listening, limits and shutdown.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Raw, body, msg, ping, start, start_with};
use smongo_server::Listen;

#[test]
fn a_unix_socket_serves_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mongodb-1.sock");
    // What a dead server left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = start_with(Listen { unix: Some(path.clone()), ..Listen::default() });
    assert_eq!(server.handle.unix_path(), Some(path.as_path()));
    assert!(Raw { stream: UnixStream::connect(&path).unwrap() }.ping_works());
    server.handle.shutdown();
    assert!(!path.exists());
}

#[test]
fn a_socket_in_use_is_refused_by_name() {
    let server = start();
    let taken = server.handle.local_addrs()[0];
    let listen = Listen { tcp: vec![("127.0.0.1".into(), taken.port())], ..Listen::default() };
    let e = smongo_server::Server::bind(&server.engine, listen).err().unwrap();
    assert!(e.to_string().contains(&taken.to_string()), "{e}");
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let server = start_with(Listen { tcp: vec![("127.0.0.1".into(), 0)], max_connections: 2, ..Listen::default() });
    let (mut a, mut b) = (server.client(), server.client());
    assert!(a.ping_works() && b.ping_works());
    let mut c = server.client();
    assert!(c.round(&msg(1, 0, &[body(&ping())])).is_none());
    drop(a);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut d = server.client();
        let _ = std::io::Write::write_all(&mut d.stream, &msg(1, 0, &[body(&ping())]));
        if d.recv().is_some() {
            break;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(b.ping_works());
}

#[test]
fn shutdown_ends_idle_connections_and_the_port_is_free() {
    let server = start();
    let mut clients: Vec<Raw<TcpStream>> = (0..20).map(|_| server.client()).collect();
    assert!(clients.iter_mut().all(Raw::ping_works));
    let address = server.handle.local_addrs()[0];
    let begun = Instant::now();
    server.handle.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(clients.iter_mut().all(|c| c.recv().is_none()));
    assert!(TcpStream::connect(address).is_err());
}
