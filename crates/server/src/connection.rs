//! One client's connection: read a message, run it, write the reply, on one thread with buffers that are reused.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use smongo_bson::{Doc, DocBuf, err};
use smongo_engine::{After, Engine, Request, Session};

use crate::compress::{self, Compressor};
use crate::exhaust;
use crate::frame::{Header, KEEP, OP_COMPRESSED, OP_MSG, OP_QUERY, Reader, finish};
use crate::legacy::{self, Query};
use crate::limits;
use crate::message::{self, CHECKSUM_PRESENT, EXHAUST_ALLOWED, MORE_TO_COME, Malformed, Message, REPLY_BODY};
use crate::starting::Start;
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

/// A client who has to log in, until he has.
pub struct Newcomer {
    /// Given up with the first message.
    pub start: Option<Start>,
    /// When the first message has to be there.
    pub deadline: Instant,
    /// Counts those who have not logged in.
    pub anonymous: Anonymous,
}

/// Counts a connection among those by which nobody has logged in, while it is one of them.
pub struct Anonymous {
    count: Arc<AtomicUsize>,
    counted: bool,
}

impl Anonymous {
    pub fn new(count: &Arc<AtomicUsize>) -> Anonymous {
        count.fetch_add(1, Ordering::Relaxed);
        Anonymous { count: count.clone(), counted: true }
    }

    fn set(&mut self, anonymous: bool) {
        if anonymous != std::mem::replace(&mut self.counted, anonymous) {
            match anonymous {
                true => self.count.fetch_add(1, Ordering::Relaxed),
                false => self.count.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Serves a connection until the client leaves, the engine shuts down or a message cannot be trusted. A newcomer is borne with for less.
///
/// # Errors
/// What the socket answered, `TimedOut` for who is too slow, or `InvalidData` for a malformed message.
pub fn serve(wire: Wire<'_>, session: Session, engine: &Engine, mut newcomer: Option<Newcomer>) -> io::Result<()> {
    let mut reader = if newcomer.is_some() { Reader::with_capacity(limits::ANONYMOUS_BUFFER) } else { Reader::default() };
    let mut plain = Vec::new();
    let mut answering = Answering { session, engine, wire, out: Vec::with_capacity(4 << 10), packed: Vec::new(), last_id: 0 };
    if newcomer.is_some() {
        answering.wire.wait_for_reader(Some(limits::UNREAD))?;
    }
    // When the message that has begun has to be whole, before a login.
    let mut late = None;
    loop {
        let anonymous = newcomer.as_ref().is_some_and(|newcomer| newcomer.anonymous.counted);
        let header = match reader.header()? {
            Some(header) if anonymous && header.len > limits::BEFORE_LOGIN => return answering.refuse(header, header.len),
            Some(header) if reader.holds(&header) => header,
            _ => {
                match &newcomer {
                    Some(Newcomer { start: Some(_), deadline, .. }) => answering.wire.wait_until(*deadline),
                    // All of it, however often a little comes.
                    _ if reader.has_begun() && anonymous => answering.wire.wait_until(*late.get_or_insert_with(|| Instant::now() + limits::FIRST)),
                    _ if reader.has_begun() => answering.wire.wait(Some(limits::STANDSTILL))?,
                    _ => answering.wire.wait(anonymous.then_some(limits::ANONYMOUS_SILENCE))?,
                }
                if !reader.fill(&mut answering.wire)? {
                    break;
                }
                continue;
            }
        };
        if let Some(newcomer) = &mut newcomer {
            (newcomer.start, late) = (None, None);
        }
        let frame = reader.take(&header);
        let then = if header.opcode == OP_COMPRESSED {
            if let Some(claimed) = compress::claimed(frame).filter(|claimed| anonymous && *claimed > limits::BEFORE_LOGIN) {
                return answering.refuse(header, claimed);
            }
            let (inner, compressor) = compress::unpack(&header, frame, &mut plain)?;
            answering.message(inner, &plain, Some(compressor))?
        } else {
            answering.message(header, frame, None)?
        };
        if then == Then::Close || engine.shutting_down() {
            break;
        }
        if let Some(newcomer) = &mut newcomer {
            answering.recognise(&mut newcomer.anonymous, &mut reader)?;
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
    /// Sees whether somebody has logged in or out.
    fn recognise(&mut self, anonymous: &mut Anonymous, reader: &mut Reader) -> io::Result<()> {
        let now = !self.session.logged_in();
        if now != anonymous.counted {
            anonymous.set(now);
            self.wire.wait_for_reader(now.then_some(limits::UNREAD))?;
            reader.grow();
        }
        Ok(())
    }

    /// Answers a message that is too long for somebody who has not said who he is, by its header alone, and ends the connection.
    fn refuse(&mut self, header: Header, len: usize) -> io::Result<()> {
        let error = err!(Unauthorized, "A message of {len} bytes requires authentication");
        self.begin(header.request_id);
        message::write_error(&error, &mut self.out);
        self.send(false, Dress { checksum: false, compressor: None })?;
        self.wire.dismiss(Duration::from_secs(1));
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {len} bytes before a login")))
    }

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
