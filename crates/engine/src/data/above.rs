//! What the floor of data asks of those above it: an operation is the host of streams, which open others over other collections.

use std::sync::Arc;

use smongo_bson::{DocBuf, Error, Result};
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

/// What was told of a commit: actions with their parameters.
#[derive(Default)]
pub struct Definitions(pub Vec<(&'static str, DocBuf)>);

/// What becomes of an index's building, as far as no commit tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    Started,
    Aborted,
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
    /// A transaction with data definition, or changes of users or roles, is about to commit: an error keeps it from that.
    fn before_definition(&self, op: &mut OpCx) -> Result<Definitions>;
    /// It has not committed after all.
    fn undefined(&self, told: Definitions, e: &Error);
    /// Indexes are about to be built, where an error keeps them from that, or have not been.
    fn index_build(&self, ns: &Ns, specs: &[DocBuf], build: Build) -> Result<()>;
}
