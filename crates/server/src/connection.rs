//! One client's connection: read a message, run it, write the reply, on one thread with buffers that are reused.

use std::io;

use smongo_bson::{Doc, DocBuf};
use smongo_engine::{After, Engine, Request, Session};

use crate::compress::{self, Compressor};
use crate::exhaust;
use crate::frame::{Header, KEEP, OP_COMPRESSED, OP_MSG, OP_QUERY, Reader, finish};
use crate::legacy::{self, Query};
use crate::message::{self, CHECKSUM_PRESENT, EXHAUST_ALLOWED, MORE_TO_COME, Malformed, Message, REPLY_BODY};
use crate::wire::Wire;

/// Whether the connection goes on after a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Continue,
    Close,
}

/// What it takes to answer: the session, the socket and the reply's buffers.
struct Answering<'s> {
    session: Session,
    engine: &'s Engine,
    wire: Wire<'s>,
    out: Vec<u8>,
    packed: Vec<u8>,
    last_id: i32,
}

/// How a reply is to be dressed.
#[derive(Clone, Copy)]
struct Dress {
    checksum: bool,
    compressor: Option<Compressor>,
}

/// Serves a connection until the client leaves, the engine shuts down or a message cannot be trusted.
///
/// # Errors
/// What the socket answered, or `InvalidData` for a malformed message.
pub fn serve(wire: Wire<'_>, session: Session, engine: &Engine) -> io::Result<()> {
    let mut reader = Reader::default();
    let mut plain = Vec::new();
    let mut answering = Answering { session, engine, wire, out: Vec::with_capacity(4 << 10), packed: Vec::new(), last_id: 0 };
    while let Some((header, frame)) = reader.next(&mut answering.wire)? {
        let then = if header.opcode == OP_COMPRESSED {
            let (inner, compressor) = compress::unpack(&header, frame, &mut plain)?;
            answering.message(inner, &plain, Some(compressor))?
        } else {
            answering.message(header, frame, None)?
        };
        if then == Then::Close || engine.shutting_down() {
            break;
        }
        answering.release();
        if plain.capacity() > KEEP {
            plain = Vec::new();
        }
    }
    answering.wire.end();
    Ok(())
}

impl Answering<'_> {
    fn message(&mut self, header: Header, frame: &[u8], compressor: Option<Compressor>) -> io::Result<Then> {
        match header.opcode {
            OP_MSG => self.op_msg(header, frame, compressor),
            OP_QUERY => self.op_query(header, frame),
            other => {
                tracing::info!(opcode = other, "closing a connection: unsupported operation code");
                Ok(Then::Close)
            }
        }
    }

    fn op_msg(&mut self, header: Header, frame: &[u8], compressor: Option<Compressor>) -> io::Result<Then> {
        let flags = message::flags(frame).unwrap_or_default();
        let dress = Dress { checksum: flags & CHECKSUM_PRESENT != 0, compressor };
        let silent = flags & MORE_TO_COME != 0;
        let Message { body, sequences } = match message::parse_request(frame) {
            Ok(message) => message,
            Err(Malformed::Close(e)) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
            Err(Malformed::Reply(_)) if silent => return Ok(Then::Continue),
            Err(Malformed::Reply(e)) => {
                self.begin(header.request_id);
                message::write_error(&e, &mut self.out);
                self.send(false, dress)?;
                return Ok(Then::Continue);
            }
        };
        self.begin(header.request_id);
        if self.session.run(&Request { body, sequences: &sequences }, &mut self.out) == After::Close {
            return Ok(Then::Close);
        }
        if silent {
            return Ok(Then::Continue);
        }
        if flags & EXHAUST_ALLOWED == 0 {
            self.send(false, dress)?;
            return Ok(Then::Continue);
        }
        self.exhaust(body, dress)
    }

    /// Sends the reply that stands in the buffer and all that follow it.
    fn exhaust(&mut self, request: Doc<'_>, dress: Dress) -> io::Result<Then> {
        let mut next = self.following(request);
        while let Some(request) = next {
            self.send(true, dress)?;
            self.release();
            // Each reply of the stream answers the one before it.
            self.begin(self.last_id);
            if self.session.run(&Request::new(request.as_doc()), &mut self.out) == After::Close {
                return Ok(Then::Close);
            }
            next = self.following(request.as_doc());
        }
        self.send(false, dress)?;
        Ok(Then::Continue)
    }

    /// The request that continues the stream; none once the engine shuts down, whose hello waits no more.
    fn following(&self, request: Doc<'_>) -> Option<DocBuf> {
        if self.engine.shutting_down() {
            return None;
        }
        exhaust::next(request, Doc::from_checked(self.out.get(REPLY_BODY..)?))
    }

    fn op_query(&mut self, header: Header, frame: &[u8]) -> io::Result<Then> {
        let query = legacy::parse(frame).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.out.clear();
        self.last_id = self.last_id.wrapping_add(1);
        match query {
            Query::Hello(body) => {
                legacy::begin_reply(&mut self.out, self.last_id, header.request_id, false);
                if self.session.run(&Request::new(body), &mut self.out) == After::Close {
                    return Ok(Then::Close);
                }
            }
            Query::Refused { error, command: true } => {
                legacy::begin_reply(&mut self.out, self.last_id, header.request_id, false);
                message::write_error(&error, &mut self.out);
            }
            Query::Refused { error, command: false } => {
                legacy::begin_reply(&mut self.out, self.last_id, header.request_id, true);
                let failure = DocBuf::build(|w| {
                    w.append("$err", error.message()).append("code", error.code().0).append("ok", 0.0);
                });
                self.out.extend_from_slice(failure.as_bytes());
            }
        }
        finish(&mut self.out);
        self.wire.send(&self.out)?;
        Ok(Then::Continue)
    }

    fn begin(&mut self, response_to: i32) {
        self.out.clear();
        self.last_id = self.last_id.wrapping_add(1);
        message::begin_reply(&mut self.out, self.last_id, response_to);
    }

    fn send(&mut self, more_to_come: bool, dress: Dress) -> io::Result<()> {
        message::finish_reply(&mut self.out, more_to_come, dress.checksum);
        let mut bytes = &self.out;
        if let Some(compressor) = dress.compressor
            && compress::pack(compressor, &self.out, &mut self.packed).is_ok()
        {
            bytes = &self.packed;
        }
        self.wire.send(bytes)
    }

    /// Gives back what a large reply made the buffers grow to.
    fn release(&mut self) {
        for buf in [&mut self.out, &mut self.packed] {
            if buf.capacity() > KEEP {
                *buf = Vec::new();
            }
        }
    }
}
