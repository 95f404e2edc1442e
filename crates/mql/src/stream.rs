//! Streams of documents, and what they ask of whoever runs them.

use std::any::Any;

use smongo_bson::{Doc, DocBuf, Result};

use crate::cx::CompileCx;

/// A lazy sequence of documents.
///
/// `advance` moves to the next document; `doc` lends it until the next `advance`. Buffers are reused: a stream allocates
/// nothing per document unless its meaning demands it. A stream holds no storage resources of its own; leaves reach
/// the storage through the host that is passed in, so that a parked stream costs only its own state.
pub trait Stream: Send {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool>;

    fn doc(&self) -> Doc<'_>;

    /// Called before the stream is parked between two batches: positions in the storage must be saved and let go.
    fn park(&mut self, _host: &mut dyn Host) {}
}

/// What runs streams: the engine. Leaves of the engine downcast it (`Host: Any`); the language knows only these calls.
pub trait Host: Any {
    /// Fails when the operation was killed or its time is over. Streams that loop without producing call it now and then.
    fn interrupt(&mut self) -> Result<()>;

    /// Opens an aggregation over another collection (or a view): `$lookup`, `$graphLookup`, `$unionWith`. The stages are given as
    /// BSON so that the engine plans them with its indexes; `cx.lets` carries bound variables.
    fn open(&mut self, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>>;

    /// Writes of `$out` and `$merge`: the engine performs them, one document at a time.
    fn sink(&mut self, sink: &mut dyn Any, doc: Doc<'_>) -> Result<()>;

    /// Memory a blocking operator may hold before it must spill or fail, in bytes.
    fn memory_limit(&self) -> usize {
        100 * 1024 * 1024
    }

    /// A new file for spilled runs, already unlinked (it disappears when it is closed, also after a crash).
    fn spill_file(&mut self) -> Result<std::fs::File>;
}

/// A stream over documents held in memory, in order.
pub struct Docs {
    docs: std::vec::IntoIter<DocBuf>,
    current: DocBuf,
}

impl Docs {
    pub fn new(docs: Vec<DocBuf>) -> Docs {
        Docs { docs: docs.into_iter(), current: DocBuf::new() }
    }
}

impl Stream for Docs {
    fn advance(&mut self, _host: &mut dyn Host) -> Result<bool> {
        match self.docs.next() {
            Some(doc) => {
                self.current = doc;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn doc(&self) -> Doc<'_> {
        self.current.as_doc()
    }
}
