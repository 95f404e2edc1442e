//! Frames: the 16-byte header that every message begins with, and reading whole messages into one reused buffer.

use std::io::{self, Read};

/// Bytes of a message's header.
pub const HEADER: usize = 16;
/// The largest message, header included: `maxMessageSizeBytes`.
pub const MAX_MESSAGE: usize = 48_000_000;

pub const OP_REPLY: i32 = 1;
pub const OP_QUERY: i32 = 2004;
pub const OP_COMPRESSED: i32 = 2012;
pub const OP_MSG: i32 = 2013;

/// What a fresh connection's buffer holds: the messages of ordinary work fit.
const START: usize = 16 << 10;
/// A buffer that grew beyond this is given back before the connection waits for its next message.
pub(crate) const KEEP: usize = 1 << 20;

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole message, header included; between 16 and [`MAX_MESSAGE`].
    pub len: usize,
    pub request_id: i32,
    pub response_to: i32,
    pub opcode: i32,
}

/// The little-endian number at `at`.
pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(i32::from_le_bytes(*four))
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when the bytes are too few or the length is out of bounds.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let len = usize::try_from(i32_at(bytes, 0)?).ok()?;
        if !(HEADER..=MAX_MESSAGE).contains(&len) {
            return None;
        }
        Some(Header { len, request_id: i32_at(bytes, 4)?, response_to: i32_at(bytes, 8)?, opcode: i32_at(bytes, 12)? })
    }
}

/// Begins a message: a header whose length [`finish`] fills in.
pub fn begin(out: &mut Vec<u8>, request_id: i32, response_to: i32, opcode: i32) {
    for n in [0, request_id, response_to, opcode] {
        out.extend_from_slice(&n.to_le_bytes());
    }
}

/// Fills in the length of the message that is all of `out`.
pub fn finish(out: &mut [u8]) {
    let len = out.len() as i32;
    if let Some(first) = out.first_chunk_mut::<4>() {
        *first = len.to_le_bytes();
    }
}

/// Reads messages from a stream into one buffer. What a read brings beyond a message is kept for the next one.
pub struct Reader {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { buf: vec![0; START], start: 0, end: 0 }
    }
}

impl Reader {
    /// One whose first buffer has this size.
    pub fn with_capacity(bytes: usize) -> Reader {
        Reader { buf: vec![0; bytes], start: 0, end: 0 }
    }

    /// The next whole message, header included; `None` at the end of the stream between two messages.
    ///
    /// # Errors
    /// `InvalidData` for a length out of bounds, `UnexpectedEof` for a stream that ends within a message.
    pub fn next(&mut self, stream: &mut impl Read) -> io::Result<Option<(Header, &[u8])>> {
        loop {
            if let Some(header) = self.header()?.filter(|header| self.holds(header)) {
                return Ok(Some((header, self.take(&header))));
            }
            if !self.fill(stream)? {
                return Ok(None);
            }
        }
    }

    /// The header of the message that has begun, once it is there.
    ///
    /// # Errors
    /// `InvalidData` for a length out of bounds.
    pub fn header(&self) -> io::Result<Option<Header>> {
        let held = self.held();
        if held.len() < HEADER {
            return Ok(None);
        }
        Header::parse(held).map(Some).ok_or_else(|| invalid(held))
    }

    /// Whether all of the message is there.
    pub fn holds(&self, header: &Header) -> bool {
        self.held().len() >= header.len
    }

    /// The message that is there, header included.
    pub fn take(&mut self, header: &Header) -> &[u8] {
        let at = self.start;
        self.start = (at + header.len).min(self.end);
        self.buf.get(at..self.start).unwrap_or(&[])
    }

    /// Whether a message has begun.
    pub fn has_begun(&self) -> bool {
        self.start < self.end
    }

    /// Reads more of the message that has begun, or of the next one; false at the end of the stream between two.
    ///
    /// # Errors
    /// `InvalidData` for a length out of bounds, `UnexpectedEof` for a stream that ends within a message.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let need = self.header()?.map_or(HEADER, |header| header.len);
        self.make_room(need);
        let read = read(stream, self.buf.get_mut(self.end..).unwrap_or(&mut []))?;
        if read == 0 {
            return if self.has_begun() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) };
        }
        self.end += read;
        Ok(true)
    }

    /// Reads in larger pieces from here on, as those do who have work.
    pub fn grow(&mut self) {
        if self.buf.len() < START {
            self.buf.resize(START, 0);
        }
    }

    fn held(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or(&[])
    }

    /// Moves what is held to the front and grows the buffer step by step, so that a claimed length alone costs nothing.
    fn make_room(&mut self, need: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buf.len() > KEEP {
                self.buf = vec![0; START];
            }
        }
        if self.start > 0 && self.start + need > self.buf.len() {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buf.len() {
            let larger = (self.buf.len() * 4).min(need);
            self.buf.resize(larger, 0);
        }
    }
}

fn invalid(held: &[u8]) -> io::Error {
    let len = i32_at(held, 0).unwrap_or_default();
    io::Error::new(io::ErrorKind::InvalidData, format!("message msgLen {len} is invalid. Min: {HEADER} Max: {MAX_MESSAGE}"))
}

fn read(stream: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
