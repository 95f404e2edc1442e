//! A copy of each document between stages, where too many of them pass it on.

use smongo_bson::{Doc, DocBuf, Result};

use crate::stream::{Host, Stream};

/// Through so many streams a look at a document may go. A copy costs about as much as these calls for a document of one page.
const MOST_PASSES: u32 = 16;

/// The stream itself, or one that holds what it lends.
pub(super) fn shortened(input: Box<dyn Stream>) -> Box<dyn Stream> {
    if input.passes() < MOST_PASSES {
        return input;
    }
    Box::new(Copied { input, doc: Vec::new(), meta: None })
}

struct Copied {
    input: Box<dyn Stream>,
    doc: Vec<u8>,
    meta: Option<DocBuf>,
}

impl Stream for Copied {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if !self.input.advance(host)? {
            return Ok(false);
        }
        self.doc.clear();
        self.doc.extend_from_slice(self.input.doc().as_bytes());
        let meta = self.input.meta();
        self.meta = (!meta.is_empty()).then(|| meta.into());
        Ok(true)
    }

    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.doc)
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_ref().map_or(Doc::EMPTY, DocBuf::as_doc)
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
