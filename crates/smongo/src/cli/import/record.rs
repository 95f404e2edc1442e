//! Records of an input file: where each begins, and its document or the reason why it is none.

use std::fmt;
use std::io::{self, BufRead};

use smongo_bson::{DocBuf, DocWriter, ObjectId, json};

use super::csv::Csv;
use super::json::{Elements, Lines, Piece};

/// The largest document MongoDB stores.
const MAX_DOCUMENT: usize = 16 << 20;

/// A place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// Bytes before it.
    pub bytes: u64,
}

impl Place {
    pub const START: Place = Place { line: 1, bytes: 0 };

    pub fn pass(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.bytes += 1;
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, byte {}", self.line, self.bytes + 1)
    }
}

/// A record: where it begins, or where it is wrong, and what it says.
pub struct Record {
    pub at: Place,
    pub doc: Result<DocBuf, String>,
}

/// An input of any kind.
pub enum Records<R> {
    Lines(Lines<R>),
    Elements(Elements<R>),
    Csv(Box<Csv<R>>),
}

impl<R: BufRead> Records<R> {
    /// The next record; `None` at the end, which every input comes to: each call reads on.
    ///
    /// # Errors
    /// Reading failed.
    pub fn next(&mut self) -> io::Result<Option<Record>> {
        let mut text = Vec::new();
        let piece = match self {
            Records::Lines(lines) => lines.next(&mut text)?,
            Records::Elements(elements) => elements.next(&mut text)?,
            Records::Csv(csv) => return Ok(csv.next()?.map(sized)),
        };
        Ok(match piece {
            Piece::Text(at) => Some(sized(parse(at, &text))),
            Piece::Bad(at, reason) => Some(Record { at, doc: Err(reason) }),
            Piece::End => None,
        })
    }
}

/// A record of JSON. What is wrong with it is told with its place in the file.
fn parse(at: Place, bytes: &[u8]) -> Record {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return Record { at: beyond(at, bytes, e.valid_up_to()), doc: Err("the text is not UTF-8".to_owned()) },
    };
    match json::parse_doc(text) {
        Ok(doc) => Record { at, doc: Ok(doc) },
        Err(e) => match located(e.message()) {
            Some((reason, line, column)) => Record { at: beyond(at, bytes, offset(bytes, line, column)), doc: Err(reason.to_owned()) },
            None => Record { at, doc: Err(e.message().to_owned()) },
        },
    }
}

/// Takes " at line 3 column 7" off an error of the parser.
fn located(message: &str) -> Option<(&str, usize, usize)> {
    let (reason, place) = message.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    Some((reason, line.parse().ok()?, column.parse().ok()?))
}

/// Where a line and column of a text, both from 1, begin.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// The place that many bytes into a text.
fn beyond(mut at: Place, text: &[u8], bytes: usize) -> Place {
    text.iter().take(bytes).for_each(|byte| at.pass(*byte));
    at
}

fn sized(mut record: Record) -> Record {
    if let Ok(doc) = &record.doc
        && doc.as_bytes().len() > MAX_DOCUMENT
    {
        record.doc = Err(format!("the document is {} bytes long, {MAX_DOCUMENT} are allowed", doc.as_bytes().len()));
    }
    record
}

/// The document with an `_id` in front, a fresh one if it has none.
pub fn with_id(doc: DocBuf) -> DocBuf {
    if doc.as_doc().contains("_id") {
        return doc;
    }
    let mut bytes = Vec::with_capacity(doc.as_bytes().len() + 17);
    let mut w = DocWriter::new(&mut bytes);
    w.append("_id", ObjectId::generate()).append_all(doc.as_doc());
    w.finish();
    DocBuf::from_checked(bytes)
}
