//! Aggregation pipelines: stages compiled from BSON, opened as streams over a source.
//!
//! [`registry`] is the table of stages; each stage has a file (small ones share [`basic`]). A stage parses its argument once and
//! becomes one or more [`Stage`]s; [`Pipeline::open`] folds them over a source. [`optimize`] rewrites the BSON beforehand.

pub mod access;
mod args;
mod basic;
mod bucket;
mod bucket_auto;
pub mod change_stream;
mod copied;
mod correlation;
mod densify;
mod documents;
mod facet;
pub(crate) mod fill;
mod fusion;
mod geo_near;
mod granularity;
mod graph_lookup;
mod group;
mod join;
mod lookup;
pub mod merge;
mod needs;
mod optimize;
mod out;
mod redact;
mod registry;
mod replace_root;
mod sample;
mod score;
mod search;
mod set_path;
mod sort;
mod source;
mod step;
pub mod spill;
mod time;
mod union_with;
mod unwind;
mod window;

use std::sync::{Arc, Mutex, PoisonError};

use smongo_bson::{Array, Doc, DocBuf, Error, Result, Value, bail, err};

use crate::cx::CompileCx;
use crate::matcher::Matcher;
use crate::projection::Projection;
use crate::sort::SortPattern;
use crate::stream::{SourceSpec, Stream};

pub use fusion::is_fusion;
pub use search::is_search;
pub use geo_near::GeoNear;
pub use needs::Needs;
pub use optimize::optimize;
pub(crate) use registry::{Within, named_stage};
pub use registry::stages;
pub use window::window_functions;

/// The most stages a pipeline may have.
pub const MAX_STAGES: usize = 1000;
/// How deep pipelines may be nested in `$lookup`, `$facet`, `$unionWith`.
pub const MAX_DEPTH: u32 = 20;

/// A compiled pipeline.
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

/// A stage. Those the planner can absorb into an index plan are visible; the others only make streams.
pub enum Stage {
    Match(Matcher),
    /// `limit`: only so many first documents are wanted. `allow_disk`: the command's allowDiskUse. `keyed`: a later stage asks for
    /// `{$meta: "sortKey"}`.
    Sort { pattern: SortPattern, limit: Option<u64>, allow_disk: bool, keyed: bool },
    Limit(u64),
    Skip(u64),
    Project(Projection),
    /// Reads the collection in the order of distances.
    GeoNear(Box<GeoNear>),
    Other(Box<dyn Operator>),
}

/// A stage that turns a stream into another.
pub trait Operator: Send {
    /// The stage's name, `$group` for instance.
    fn name(&self) -> &'static str;
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>>;
    /// Stages such as `$documents`, `$collStats`, `$currentOp` make their own documents and must come first; their input is
    /// not read.
    fn is_source(&self) -> bool {
        false
    }
    /// What the engine is asked for, when the stage is a source that only it can make.
    fn source(&self) -> Option<&SourceSpec> {
        None
    }
    /// `$out` and `$merge`: what they write, so that the engine can refuse it where writes are not allowed.
    fn writes(&self) -> Option<&crate::stream::WriteSpec> {
        None
    }
    /// Takes over the `$unwind` behind it, when that unwinds what the stage makes; else gives it back.
    #[doc(hidden)]
    fn take_unwind(&mut self, unwind: unwind::Unwind) -> std::result::Result<(), unwind::Unwind> {
        Err(unwind)
    }
    /// What the stage reads of its input, when `after` is read of its output.
    fn needs(&self, _after: Needs) -> Needs {
        Needs::everything()
    }
    /// Whether it keeps or repeats documents, so that their size counts.
    fn carries(&self) -> bool {
        false
    }
    /// Database and collection of every other collection the stage reads.
    fn reads(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl Pipeline {
    /// Compiles a command's pipeline. `cx.coll` is empty for `{aggregate: 1}`; `cx.depth` says whether it is a nested one.
    pub fn compile(stages: Array<'_>, cx: &CompileCx) -> Result<Pipeline> {
        let within = if cx.depth == 0 { Within::Command } else { Within::Nested };
        let waiting = Arc::new(Mutex::new(None));
        let pipeline = Pipeline::compile_within(stages, &CompileCx { unfoldable: Some(waiting.clone()), ..cx.clone() }, within)?;
        match waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(why) => Err(Error::context(why, "Failed to optimize pipeline")),
            None => Ok(pipeline),
        }
    }

    /// Compiles the pipeline of a sub-pipeline stage; what may stand in it depends on that stage.
    pub(crate) fn compile_within(stages: Array<'_>, cx: &CompileCx, within: Within) -> Result<Pipeline> {
        let docs = stages.iter().map(stage_document).collect::<Result<Vec<_>>>()?;
        // Nested ones were checked before stages were added to them.
        if docs.len() > MAX_STAGES && within != Within::Nested {
            bail!(7749501, "Pipeline length must be no longer than {MAX_STAGES} stages");
        }
        if cx.depth > MAX_DEPTH {
            bail!(MaxSubPipelineDepthExceeded, "Maximum number of nested sub-pipelines exceeded. Limit is {MAX_DEPTH}");
        }
        registry::check_texts(&docs)?;
        if within == Within::Command {
            registry::check_meta(&docs)?;
        }
        let mut compiled = Vec::with_capacity(docs.len());
        for doc in &docs {
            registry::compile(*doc, cx, within, &mut compiled)?;
        }
        if docs.iter().any(|d| registry::reads_meta(Value::Document(*d), "sortKey")) {
            compiled.iter_mut().for_each(|s| if let Stage::Sort { keyed, .. } = s { *keyed = true });
        }
        registry::check_places(&docs, cx, within)?;
        Ok(Pipeline { stages: fuse(compiled) })
    }

    /// Folds the stages over a source.
    pub fn open(self, source: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        self.stages.into_iter().try_fold(source, |input, stage| stage.open(copied::shortened(input)))
    }

    /// Whether the first stage makes its own documents, so that no collection is read.
    pub fn is_source(&self) -> bool {
        matches!(self.stages.first(), Some(Stage::Other(op)) if op.is_source())
    }

    /// The stage's argument when the first stage is one whose documents the engine makes.
    pub fn source(&self) -> Option<&SourceSpec> {
        match self.stages.first() {
            Some(Stage::Other(op)) => op.source(),
            _ => None,
        }
    }

    /// What a trailing `$out` or `$merge` writes.
    pub fn writes(&self) -> Option<&crate::stream::WriteSpec> {
        match self.stages.last() {
            Some(Stage::Other(op)) => op.writes(),
            _ => None,
        }
    }

    /// The other collections its stages read.
    pub fn reads(&self) -> Vec<(String, String)> {
        self.stages.iter().flat_map(|s| if let Stage::Other(op) = s { op.reads() } else { Vec::new() }).collect()
    }
}

/// The stages of a pipeline as documents: what [`Host::open`](crate::Host::open) and views are given.
pub fn stage_documents(stages: Array<'_>) -> Result<Vec<DocBuf>> {
    stages.iter().map(|s| stage_document(s).map(DocBuf::from)).collect()
}

/// The inverse of [`stage_documents`].
pub fn stage_array(stages: &[DocBuf]) -> smongo_bson::ValueBuf {
    smongo_bson::ValueBuf::array(|w| {
        for s in stages {
            w.push(s.as_doc());
        }
    })
}

fn stage_document(stage: Value<'_>) -> Result<Doc<'_>> {
    match stage {
        Value::Document(d) => Ok(d),
        _ => Err(err!(TypeMismatch, "Each element of the 'pipeline' array must be an object")),
    }
}

impl Stage {
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Match(_) => "$match",
            Stage::Sort { .. } => "$sort",
            Stage::Limit(_) => "$limit",
            Stage::Skip(_) => "$skip",
            Stage::Project(_) => "$project",
            Stage::GeoNear(_) => "$geoNear",
            Stage::Other(op) => op.name(),
        }
    }

    pub fn open(self, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(match self {
            Stage::Match(matcher) if matcher.is_empty() => input,
            Stage::Match(matcher) => basic::matching(input, matcher),
            Stage::Sort { pattern, limit, allow_disk, keyed } => sort::sorted(input, pattern, limit, allow_disk, keyed),
            Stage::Limit(n) => basic::limited(input, n),
            Stage::Skip(n) => basic::skipped(input, n),
            Stage::Project(projection) => basic::projected(input, projection),
            Stage::GeoNear(stage) => stage.open(input),
            Stage::Other(op) => op.open(input)?,
        })
    }
}

/// Joins neighbours: `$sort` with the `$limit` behind it (over `$skip`s), and runs of `$limit` and of `$skip`.
fn fuse(stages: Vec<Stage>) -> Vec<Stage> {
    let mut out: Vec<Stage> = Vec::with_capacity(stages.len());
    for stage in stages {
        match (&stage, out.last_mut()) {
            (Stage::Limit(n), Some(Stage::Limit(m))) => {
                *m = (*m).min(*n);
                continue;
            }
            (Stage::Skip(n), Some(Stage::Skip(m))) => {
                *m = m.saturating_add(*n);
                continue;
            }
            _ => out.push(stage),
        }
    }
    for at in 0..out.len() {
        let (mut skipped, mut bound) = (0u64, None);
        for stage in out.iter().skip(at + 1) {
            match stage {
                Stage::Skip(n) => skipped = skipped.saturating_add(*n),
                Stage::Limit(n) => {
                    bound = n.checked_add(skipped);
                    break;
                }
                _ => break,
            }
        }
        if let (Some(Stage::Sort { limit, .. }), Some(bound)) = (out.get_mut(at), bound) {
            *limit = Some(limit.map_or(bound, |l| l.min(bound)));
        }
    }
    out
}
