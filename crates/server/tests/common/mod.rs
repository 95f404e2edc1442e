//! A server on a free port, in memory, and a client that speaks raw frames to it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use smongo_bson::{Doc, DocBuf, DocWriter, Value};
use smongo_engine::{Engine, Options};
use smongo_server::frame::{self, HEADER, Header, OP_MSG};
use smongo_server::{Handle, Listen, Server};

pub struct Running {
    pub engine: Engine,
    pub handle: Handle,
}

pub fn start_with(listen: Listen) -> Running {
    let engine = Engine::open(Options { test_commands: true, ..Options::default() }).unwrap();
    let handle = Server::bind(&engine, listen).unwrap().spawn().unwrap();
    Running { engine, handle }
}

pub fn start() -> Running {
    start_with(Listen { tcp: vec![("127.0.0.1".into(), 0)], ..Listen::default() })
}

impl Running {
    pub fn client(&self) -> Raw<TcpStream> {
        let stream = TcpStream::connect(self.handle.local_addrs()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Raw { stream }
    }
}

/// A client of frames.
pub struct Raw<S> {
    pub stream: S,
}

/// A frame as it came from the server.
pub struct Frame {
    pub header: Header,
    pub bytes: Vec<u8>,
}

impl Frame {
    pub fn flags(&self) -> u32 {
        u32::from_le_bytes(*self.bytes[HEADER..].first_chunk().unwrap())
    }

    /// The body of an OP_MSG, checked.
    pub fn body(&self) -> DocBuf {
        assert_eq!(self.header.opcode, OP_MSG);
        let end = if self.flags() & 1 != 0 { self.bytes.len() - 4 } else { self.bytes.len() };
        assert_eq!(self.bytes[HEADER + 4], 0);
        DocBuf::parse(self.bytes[HEADER + 5..end].to_vec()).unwrap()
    }
}

impl<S: Read + Write> Raw<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame; `None` when the server has closed the connection.
    pub fn recv(&mut self) -> Option<Frame> {
        let mut head = [0; HEADER];
        let mut got = 0;
        while got < HEADER {
            match self.stream.read(&mut head[got..]) {
                Ok(0) => return None,
                Ok(n) => got += n,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("{e}"),
            }
        }
        let header = Header::parse(&head).unwrap();
        let mut bytes = head.to_vec();
        bytes.resize(header.len, 0);
        self.stream.read_exact(&mut bytes[HEADER..]).unwrap();
        Some(Frame { header, bytes })
    }

    pub fn round(&mut self, bytes: &[u8]) -> Option<Frame> {
        self.send(bytes);
        self.recv()
    }

    pub fn ping_works(&mut self) -> bool {
        self.round(&msg(77, 0, &[body(&ping())])).is_some_and(|f| f.header.response_to == 77 && ok(f.body().as_doc()))
    }

    /// Runs a command that is expected to answer.
    pub fn run(&mut self, fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
        self.round(&msg(5, 0, &[body(&DocBuf::build(fill))])).expect("a reply").body()
    }
}

pub fn ok(doc: Doc<'_>) -> bool {
    number(doc.get("ok")) == Some(1.0)
}

pub fn code(doc: Doc<'_>) -> i64 {
    number(doc.get("code")).map_or(0, |n| n as i64)
}

pub fn number(value: Value<'_>) -> Option<f64> {
    Some(match value {
        Value::Int32(n) => f64::from(n),
        Value::Int64(n) => n as f64,
        Value::Double(n) => n,
        _ => return None,
    })
}

pub fn ping() -> DocBuf {
    DocBuf::build(|w| {
        w.append("ping", 1).append("$db", "admin");
    })
}

pub fn body(doc: &DocBuf) -> Vec<u8> {
    let mut s = vec![0];
    s.extend_from_slice(doc.as_bytes());
    s
}

pub fn sequence(name: &str, docs: &[DocBuf]) -> Vec<u8> {
    let mut payload = name.as_bytes().to_vec();
    payload.push(0);
    for d in docs {
        payload.extend_from_slice(d.as_bytes());
    }
    let mut s = vec![1];
    s.extend_from_slice(&(payload.len() as i32 + 4).to_le_bytes());
    s.extend_from_slice(&payload);
    s
}

pub fn message(opcode: i32, id: i32, payload: &[u8]) -> Vec<u8> {
    let mut m = Vec::new();
    frame::begin(&mut m, id, 0, opcode);
    m.extend_from_slice(payload);
    frame::finish(&mut m);
    m
}

pub fn msg(id: i32, flags: u32, sections: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = flags.to_le_bytes().to_vec();
    for s in sections {
        payload.extend_from_slice(s);
    }
    message(OP_MSG, id, &payload)
}
