//! OP_MSG: from a frame to a request, and from a reply to a frame. Foreign bytes are checked here and nowhere else.

use smongo_bson::error::{Code, Error, Result};
use smongo_bson::{Doc, DocWriter, check, err};
use smongo_engine::Sequence;

use crate::frame::{HEADER, OP_MSG, begin, finish, i32_at};

pub const CHECKSUM_PRESENT: u32 = 1;
pub const MORE_TO_COME: u32 = 1 << 1;
pub const EXHAUST_ALLOWED: u32 = 1 << 16;
/// Flags of the lower half must be understood; those of the upper half may be ignored.
const REQUIRED: u32 = 0xffff;

/// A request as it arrived in an OP_MSG.
pub struct Message<'a> {
    pub body: Doc<'a>,
    pub sequences: Vec<Sequence<'a>>,
}

/// Why a frame could not be understood, and what becomes of the connection.
#[derive(Debug)]
pub enum Malformed {
    /// The client is told, and the connection lives.
    Reply(Error),
    /// The frame cannot be trusted: the connection is closed.
    Close(Error),
}

impl From<Error> for Malformed {
    fn from(e: Error) -> Malformed {
        Malformed::Reply(e)
    }
}

/// The flag bits of an OP_MSG frame, when it has them.
pub fn flags(frame: &[u8]) -> Option<u32> {
    i32_at(frame, HEADER).map(|n| n as u32)
}

/// Reads an OP_MSG: `frame` is the whole message, header included.
///
/// # Errors
/// As MongoDB: a wrong checksum, unknown required flags or too many sequences end the connection; the rest is answered.
pub fn parse(frame: &[u8]) -> std::result::Result<Message<'_>, Malformed> {
    let close = |e| Err(Malformed::Close(e));
    let Some(flags) = flags(frame) else {
        return close(err!(InvalidLength, "OP_MSG is too short for its flags"));
    };
    let unknown = flags & REQUIRED & !(CHECKSUM_PRESENT | MORE_TO_COME);
    if unknown != 0 {
        return close(err!(40429, "Message contains illegal flags value: {flags:#b}"));
    }
    let mut sections = frame.get(HEADER + 4..).unwrap_or(&[]);
    if flags & CHECKSUM_PRESENT != 0 {
        sections = match checksummed(frame) {
            Ok(sections) => sections,
            Err(e) => return close(e),
        };
    }
    let mut body = None;
    let mut sequences: Vec<Sequence<'_>> = Vec::new();
    while let Some((&kind, rest)) = sections.split_first() {
        match kind {
            0 if body.is_some() => return Err(err!(40430, "Multiple body sections in message").into()),
            0 => {
                let (doc, rest) = rest.split_at(check::prefix(rest)?);
                body = Some(Doc::parse(doc)?);
                sections = rest;
            }
            1 => {
                let (sequence, rest) = sequence(rest)?;
                if sequences.iter().any(|s| s.name == sequence.name) {
                    return Err(err!(40431, "Duplicate document sequence: {}", sequence.name).into());
                }
                sequences.push(sequence);
                if sequences.len() > 2 {
                    return close(err!(TooManyDocumentSequences, "Too many document sequences in OP_MSG"));
                }
                sections = rest;
            }
            other => return Err(err!(40432, "Unknown section kind {other}").into()),
        }
    }
    let Some(body) = body else {
        return Err(err!(40587, "OP_MSG messages must have a body").into());
    };
    for s in &sequences {
        if body.contains(s.name) {
            return Err(err!(40433, "Duplicate field between body and document sequence {}", s.name).into());
        }
    }
    Ok(Message { body, sequences })
}

/// Reads the OP_MSG of a request, which says its database; a reply does not.
///
/// # Errors
/// As [`parse`].
pub fn parse_request(frame: &[u8]) -> std::result::Result<Message<'_>, Malformed> {
    let message = parse(frame)?;
    if !message.body.contains("$db") {
        return Err(err!(40571, "OP_MSG requests require a $db argument").into());
    }
    Ok(message)
}

/// The sections of a frame that ends with a CRC-32C of all before it.
fn checksummed(frame: &[u8]) -> Result<&[u8]> {
    let short = || err!(InvalidLength, "OP_MSG is too short for its checksum");
    let (covered, given) = frame.split_last_chunk::<4>().ok_or_else(short)?;
    let sections = covered.get(HEADER + 4..).ok_or_else(short)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*given) {
        return Err(Error::new(Code(288), "OP_MSG checksum does not match contents"));
    }
    Ok(sections)
}

/// A kind 1 section after its kind byte: size, name, documents; and what follows it.
fn sequence(bytes: &[u8]) -> Result<(Sequence<'_>, &[u8])> {
    let size = i32_at(bytes, 0).and_then(|n| usize::try_from(n).ok());
    let Some((section, rest)) = size.filter(|n| *n >= 4).and_then(|n| bytes.split_at_checked(n)) else {
        return Err(err!(InvalidBSON, "document sequence is longer than its message"));
    };
    let named = section.get(4..).unwrap_or(&[]);
    let Some(nul) = named.iter().position(|b| *b == 0) else {
        return Err(err!(InvalidBSON, "name of a document sequence is not terminated"));
    };
    let (name, docs) = named.split_at(nul);
    let docs = docs.get(1..).unwrap_or(&[]);
    let name = std::str::from_utf8(name).map_err(|_| err!(InvalidBSON, "name of a document sequence is not UTF-8"))?;
    let mut left = docs;
    while !left.is_empty() {
        let (doc, after) = left.split_at(check::prefix(left)?);
        check::document(doc)?;
        left = after;
    }
    Ok((Sequence { name, docs }, rest))
}

/// Begins a reply: header, flags and the kind byte of the body section. The reply document is appended behind it.
pub fn begin_reply(out: &mut Vec<u8>, request_id: i32, response_to: i32) {
    begin(out, request_id, response_to, OP_MSG);
    out.extend_from_slice(&[0; 5]);
}

/// Where the reply document begins in a buffer that [`begin_reply`] began.
pub const REPLY_BODY: usize = HEADER + 5;

/// Ends a reply: flags, length and, when the request carried one, a checksum.
pub fn finish_reply(out: &mut Vec<u8>, more_to_come: bool, checksum: bool) {
    let flags = (u32::from(checksum) * CHECKSUM_PRESENT) | (u32::from(more_to_come) * MORE_TO_COME);
    if let Some(at) = out.get_mut(HEADER..HEADER + 4) {
        at.copy_from_slice(&flags.to_le_bytes());
    }
    if checksum {
        out.extend_from_slice(&[0; 4]);
        finish(out);
        let (covered, _) = out.split_at(out.len() - 4);
        let crc = crc32c::crc32c(covered).to_le_bytes();
        out.truncate(out.len() - 4);
        out.extend_from_slice(&crc);
    } else {
        finish(out);
    }
}

/// Appends `{ok: 0, …}` for what the server itself refuses.
pub fn write_error(e: &Error, out: &mut Vec<u8>) {
    let mut w = DocWriter::new(out);
    w.append("ok", 0.0).append("errmsg", e.message()).append("code", e.code().0);
    w.append("codeName", &*e.code().name());
}
