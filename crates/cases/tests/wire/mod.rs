//! A door through the wire protocol.

use std::io::{Read, Write};
use std::net::TcpStream;

use smongo_bson::{Doc, DocBuf};
use smongo_cases::Door;

/// A client of the wire protocol that knows just OP_MSG.
pub struct Wire {
    stream: TcpStream,
    request: i32,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        Wire { stream, request: 0 }
    }
}

impl Door for Wire {
    fn run(&mut self, command: Doc<'_>) -> Result<DocBuf, String> {
        self.request += 1;
        let body = command.as_bytes();
        let mut frame = Vec::new();
        for n in [21 + body.len() as i32, self.request, 0, 2013, 0] {
            frame.extend_from_slice(&n.to_le_bytes());
        }
        frame.push(0);
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).map_err(|e| e.to_string())?;
        let mut header = [0; 21];
        self.stream.read_exact(&mut header).map_err(|e| e.to_string())?;
        let len = i32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let mut reply = vec![0; len - 21];
        self.stream.read_exact(&mut reply).map_err(|e| e.to_string())?;
        DocBuf::parse(reply).map_err(|e| e.to_string())
    }
}
