//! Streams of documents, and what they ask of whoever runs them.

use std::any::Any;

use smongo_bson::{Doc, DocBuf, Result, ValueBuf, bail};

use crate::cx::CompileCx;
use crate::pipeline::merge::MergeSpec;

/// A lazy sequence of documents.
///
/// `advance` moves to the next document; `doc` lends it until the next `advance`. Buffers are reused: a stream allocates
/// nothing per document unless its meaning demands it. A stream holds no storage resources of its own; leaves reach
/// the storage through the host that is passed in, so that a parked stream costs only its own state.
pub trait Stream: Send {
    /// Moves to the next document; `false` at the end. Calling it again after the end or an error is allowed and yields `false` or
    /// an error.
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool>;

    /// The current document. Only meaningful after an `advance` that yielded `true`.
    fn doc(&self) -> Doc<'_>;

    /// What a search attached to the current document, for `$meta`. Streams that pass documents on pass it on too.
    fn meta(&self) -> Doc<'_> {
        Doc::EMPTY
    }

    /// Through how many streams `doc` or `meta` reach for what they lend. A stream that passes either on is one more than its input: what
    /// stands on top of many would walk down all of them for each look, and a pipeline's time grow with the square of its stages
    /// ([`crate::pipeline`] puts a copy in between).
    fn passes(&self) -> u32 {
        0
    }

    /// Called before the stream is parked between two batches: positions in the storage must be saved and let go.
    /// A stream over others passes the call on. Where the host says that it is for long ([`Host::resting`]), memory that can do
    /// without goes, or to disk; the current document stays.
    fn park(&mut self, _host: &mut dyn Host) {}
}

/// What runs streams: the engine. Leaves of the engine downcast it (`Host: Any`); the language knows only these calls.
pub trait Host: Any {
    /// Fails when the operation was killed or its time is over. Streams that loop without producing call it now and then.
    fn interrupt(&mut self) -> Result<()>;

    /// Opens an aggregation over another collection (or a view): `$lookup`, `$graphLookup`, `$unionWith`. The stages are given as
    /// BSON so that the engine plans them with its indexes; `cx.lets` carries bound variables, `cx.depth` the nesting. A collection
    /// that does not exist is an empty one. An equality `$lookup` opens `[{$match: {foreignField: …}}, …]`, once for each local value.
    fn open(&mut self, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>>;

    /// Whether an index finds the documents that have a value at a path, so that `open` with such a `$match` reads few others. Where it does not,
    /// a join reads the whole collection once instead.
    fn finds(&mut self, _db: &str, _coll: &str, _path: &str, _cx: &CompileCx) -> Result<bool> {
        Ok(true)
    }

    /// The documents of a source stage that only the engine can make: `$collStats`, `$indexStats`, `$planCacheStats`, `$currentOp`,
    /// `$listSessions`, `$changeStream` … Their arguments were checked when the pipeline was compiled.
    fn source(&mut self, source: &SourceSpec) -> Result<Box<dyn Stream>> {
        bail!(NotImplemented, "{} is not implemented", source.name)
    }

    /// Begins the writes of a trailing `$out` or `$merge`. Called once, when the first document (or the end) has come; checks the
    /// target (collection kind, unique index for `on`).
    fn write(&mut self, target: &WriteSpec) -> Result<Box<dyn Sink>> {
        bail!(NotImplemented, "{} is not implemented", target.name())
    }

    /// Whether streams are parked because nobody has read them for a while.
    fn resting(&self) -> bool {
        false
    }

    /// Memory a blocking operator may hold before it must spill or fail, in bytes.
    fn memory_limit(&self) -> usize {
        100 * 1024 * 1024
    }

    /// A new file for spilled runs, already unlinked (it disappears when it is closed, also after a crash).
    fn spill_file(&mut self) -> Result<std::fs::File>;
}

/// A stage at the head of a pipeline whose documents the engine makes.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The stage's name, `$collStats` for instance.
    pub name: &'static str,
    /// The stage's argument as the user wrote it.
    pub spec: ValueBuf,
    pub db: String,
    /// Empty for `{aggregate: 1}`.
    pub coll: String,
}

/// What a trailing `$out` or `$merge` wants written.
#[derive(Clone)]
pub enum WriteSpec {
    Out(OutSpec),
    Merge(MergeSpec),
}

/// `$out`: the target collection is replaced, atomically, when the sink is finished; indexes and options of an existing one stay.
#[derive(Clone, Debug)]
pub struct OutSpec {
    pub db: String,
    pub coll: String,
    /// `timeseries` options (`timeField`, `metaField`, `granularity` …) when the target is to be a time series collection.
    pub timeseries: Option<DocBuf>,
}

impl WriteSpec {
    pub fn name(&self) -> &'static str {
        match self {
            WriteSpec::Out(_) => "$out",
            WriteSpec::Merge(_) => "$merge",
        }
    }
}

/// Where the documents of `$out` and `$merge` go; the engine's.
pub trait Sink: Send {
    /// Writes one document. The engine may batch.
    fn write(&mut self, host: &mut dyn Host, doc: Doc<'_>) -> Result<()>;

    /// All documents have come: flush the batch; `$out` puts the new collection in the place of the old. A sink that is dropped
    /// unfinished leaves an `$out` target as it was.
    fn finish(&mut self, host: &mut dyn Host) -> Result<()>;
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
