//! Records of an input file: where each begins, and its document or the reason why it is none.

use std::io::{self, BufRead};

use smongo_bson::{Code, DocBuf, DocWriter, Error, ObjectId, json};

use super::csv::Csv;
use super::json::{Elements, Lines};

/// The largest document MongoDB stores.
const MAX_DOCUMENT: usize = 16 << 20;

/// A record: the line it begins in, from 1, and what it says.
pub struct Record {
    pub line: u64,
    pub doc: Result<DocBuf, String>,
}

/// An input of any kind.
pub enum Records<R> {
    Lines(Lines<R>),
    Elements(Elements<R>),
    Csv(Box<Csv<R>>),
}

impl<R: BufRead> Records<R> {
    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// Reading failed.
    pub fn next(&mut self) -> io::Result<Option<Record>> {
        let mut text = Vec::new();
        let line = match self {
            Records::Lines(lines) => lines.next(&mut text)?,
            Records::Elements(elements) => elements.next(&mut text)?,
            Records::Csv(csv) => return Ok(csv.next()?.map(sized)),
        };
        Ok(line.map(|line| sized(Record { line, doc: parse(&text) })))
    }
}

fn parse(text: &[u8]) -> Result<DocBuf, String> {
    let text = std::str::from_utf8(text).map_err(|e| format!("not UTF-8: {e}"))?;
    json::parse_doc(text).map_err(|e: Error| match e.code() {
        // "at line 1 column 7" would be read as a line of the file.
        Code::FailedToParse => e.message().replace(" at line 1 column ", ", at column "),
        _ => e.message().to_string(),
    })
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
