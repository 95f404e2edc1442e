//! What the floor of data asks of those above it: an operation is the host of streams, which open others over other collections.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result};
use smongo_mql::stream::{Sink, SourceSpec, WriteSpec};
use smongo_mql::{CompileCx, Stream};

use crate::data::catalog::Collection;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// How a write is to fail by the fail point of retryable writes.
pub struct FailedWrite {
    /// The code of an error in place of the commit.
    pub before_commit: Option<i32>,
    /// The connection closes without a reply.
    pub close: bool,
}

/// Answered by what all sessions share: see [`smongo_mql::Host`] for the streams.
pub trait Above: Send + Sync {
    fn open_pipeline(&self, op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>>;
    fn finds(&self, op: &mut OpCx, db: &str, coll: &str, path: &str, cx: &CompileCx) -> Result<bool>;
    fn open_source(&self, op: &mut OpCx, source: &SourceSpec) -> Result<Box<dyn Stream>>;
    fn open_sink(&self, op: &mut OpCx, target: &WriteSpec) -> Result<Box<dyn Sink>>;
    /// A collection of documents that are not stored.
    fn made(&self, ns: &Ns) -> Option<Arc<Collection>>;
    /// A statement of a retryable write is about to commit.
    fn fails_write(&self) -> Option<FailedWrite>;
}
