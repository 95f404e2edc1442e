//! $changeStreamSplitLargeEvent: an event over the size of a document comes in fragments.

use std::collections::VecDeque;
use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, bail};
use smongo_mql::{Host, Stream};

use super::Progress;
use super::token::{Position, Token};
use crate::data::limits;

/// Room for `_id` and `splitEvent` in a fragment.
const HEAD_BYTES: usize = 256;

pub struct Split {
    input: Box<dyn Stream>,
    progress: Arc<Progress>,
    /// Fragments of the first event that the resume token has seen.
    skip: u32,
    fragments: VecDeque<DocBuf>,
    current: Option<DocBuf>,
}

impl Split {
    pub fn new(input: Box<dyn Stream>, progress: Arc<Progress>, skip: u32) -> Split {
        Split { input, progress, skip, fragments: VecDeque::new(), current: None }
    }
}

impl Stream for Split {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        loop {
            self.current = self.fragments.pop_front();
            if self.current.is_some() {
                return Ok(true);
            }
            if !self.input.advance(host)? {
                return Ok(false);
            }
            let event = self.input.doc();
            let skip = std::mem::take(&mut self.skip);
            if event.as_bytes().len() <= limits::DOCUMENT_BYTES && skip == 0 {
                return Ok(true);
            }
            let at = self.progress.0.lock().last.unwrap_or_default();
            self.fragments = fragments(event, at)?;
            if (skip as usize) > self.fragments.len() {
                bail!(ChangeStreamFatalError, "cannot resume stream; the resume token was not found: the event has only {} fragments", self.fragments.len());
            }
            self.fragments.drain(..skip as usize);
        }
    }

    fn doc(&self) -> Doc<'_> {
        self.current.as_ref().map_or_else(|| self.input.doc(), |d| d.as_doc())
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}

/// Distributes the fields in their order; each fragment takes as many as fit.
fn fragments(event: Doc<'_>, at: Position) -> Result<VecDeque<DocBuf>> {
    let mut groups: Vec<Vec<u8>> = vec![Vec::new()];
    for field in event.iter().filter(|e| e.name() != "_id") {
        let size = field.raw().len();
        if size + HEAD_BYTES > limits::DOCUMENT_BYTES {
            bail!(BSONObjectTooLarge, "the field '{}' of a change event is too large to be split: {size} bytes", field.name());
        }
        match groups.last_mut() {
            Some(group) if group.len() + size + HEAD_BYTES <= limits::DOCUMENT_BYTES => group.extend_from_slice(field.raw()),
            _ => groups.push(field.raw().to_vec()),
        }
    }
    let of = groups.len() as i32;
    let fragment = |(n, fields): (usize, &Vec<u8>)| {
        DocBuf::build(|w| {
            let at = Position { fragment: n as u32 + 1, ..at };
            w.append("_id", Token::Event(at).to_doc().as_doc());
            w.document("splitEvent").append("fragment", n as i32 + 1).append("of", of);
            w.append_raw(fields);
        })
    };
    Ok(groups.iter().enumerate().map(fragment).collect())
}
