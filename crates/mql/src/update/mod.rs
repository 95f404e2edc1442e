//! Updates: operator documents, replacements and pipelines, applied to one document at a time.
//!
//! A document of operators becomes a tree of its paths (`tree`), whose leaves are modifiers (`ops`, `array`, `push`,
//! `pull`); applying it is one walk over the document (`walk`) that copies what is not named and writes the rest, and
//! that writes the oplog's delta on its way (`delta`). Replacements and pipelines make the whole document anew; for
//! pipelines the delta is found by comparing (`diff`).

mod array;
mod delta;
pub mod diff;
mod ops;
mod parse;
mod pipeline;
mod pull;
mod push;
mod replace;
#[cfg(test)]
mod tests;
mod tree;
mod upsert;
mod walk;

use smongo_bson::compare::{self, Collator};
use smongo_bson::path::Part;
use smongo_bson::{Array, Code, Doc, DocBuf, ObjectId, Result, Value, bail};

pub use self::ops::operators;
pub use self::pipeline::check_stages;
use self::delta::Level;
use self::parse::Program;
use self::pipeline::Stages;
use self::replace::Replacement;
use self::walk::Walk;
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::matcher::Matcher;

/// The largest document that is stored, in bytes.
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// A compiled update.
pub struct Update {
    kind: Kind,
    collation: Option<std::sync::Arc<Collation>>,
}

enum Kind {
    Operators(Box<Program>),
    Replacement(Replacement),
    Pipeline(Stages),
}

/// What an update did to a document.
pub struct Applied {
    /// The new document; `None` when nothing changed (a no-op counts as matched, not as modified).
    pub doc: Option<DocBuf>,
    /// The oplog's description of the change: `{$v: 2, diff: {…}}` for deltas, the whole document for a replacement.
    pub delta: Option<DocBuf>,
}

impl Applied {
    const NOTHING: Applied = Applied { doc: None, delta: None };
}

impl Update {
    /// Compiles the `u` of an update statement: a document of operators, a replacement document, or a pipeline (array).
    pub fn compile(update: Value<'_>, array_filters: Option<Array<'_>>, cx: &CompileCx) -> Result<Update> {
        let plain = |kind: &str| match array_filters {
            Some(_) => Err(smongo_bson::err!(FailedToParse, "arrayFilters may not be specified for {kind} updates")),
            None => Ok(()),
        };
        let kind = match update {
            Value::Array(stages) => {
                plain("pipeline-style")?;
                Kind::Pipeline(Stages::compile(stages, cx)?)
            }
            Value::Document(doc) if doc.first().is_some_and(|e| e.name().starts_with('$')) => {
                Kind::Operators(Box::new(Program::parse(doc, array_filters, cx)?))
            }
            Value::Document(doc) => {
                plain("replacement-style")?;
                Kind::Replacement(Replacement::compile(doc, cx))
            }
            other => bail!(FailedToParse, "Update argument must be either an object or an array, not {}", other.type_name()),
        };
        Ok(Update { kind, collation: cx.collation.clone() })
    }

    pub fn is_replacement(&self) -> bool {
        matches!(self.kind, Kind::Replacement(_))
    }

    pub fn is_pipeline(&self) -> bool {
        matches!(self.kind, Kind::Pipeline(_))
    }

    /// Applies the update to a stored document. `filter` is the query's, for the positional `$`.
    pub fn apply(&self, doc: Doc<'_>, filter: &Matcher, arena: &Arena) -> Result<Applied> {
        let applied = match &self.kind {
            Kind::Operators(program) => self.operators(program, doc, filter, arena)?,
            Kind::Replacement(replacement) => replacement.apply(doc)?,
            Kind::Pipeline(stages) => stages.apply(doc, arena)?,
        };
        if let Some(new) = &applied.doc {
            check_size(new)?;
        }
        Ok(applied)
    }

    fn operators(&self, program: &Program, doc: Doc<'_>, filter: &Matcher, arena: &Arena) -> Result<Applied> {
        let mut walk = self.walk(program, doc, arena)?;
        if program.positional {
            walk.position = filter.matches_with_position(doc, arena)?.flatten().and_then(|p| usize::try_from(p).ok());
        }
        let mut level = Level::default();
        if !walk.document(&program.root, doc, &mut level, true)? {
            return Ok(Applied::NOTHING);
        }
        let new = finish(program, walk.out, doc.get("_id"))?;
        Ok(Applied { doc: Some(new), delta: Some(level.finish()) })
    }

    /// A walk over `doc`, which is checked for what `$rename` moves.
    fn walk<'a>(&'a self, program: &'a Program, doc: Doc<'a>, arena: &'a Arena) -> Result<Walk<'a>> {
        let mut renames: &[Value<'a>] = &[];
        if !program.renames.is_empty() {
            let mut values = Vec::with_capacity(program.renames.len());
            for (from, to) in &program.renames {
                let value = rename_end(doc, from.parts(), "source", true)?;
                if !value.is_missing() {
                    rename_end(doc, to.parts(), "destination", false)?;
                    if to.first() == "_id" && doc.contains("_id") {
                        bail!(ImmutableField, "Performing an update on the path '{}' would modify the immutable field '_id'", to.text());
                    }
                }
                values.push(value);
            }
            renames = arena.slice(&values);
        }
        Ok(Walk {
            root: doc,
            arena,
            filters: &program.filters,
            collator: self.collation.as_deref().map(|c| c as &dyn Collator),
            insert: false,
            position: None,
            renames,
            out: Vec::with_capacity(doc.as_bytes().len() + 64),
            record: true,
            spare: Vec::new(),
        })
    }

    /// The document an upsert inserts: equality fields of the filter, then the update with `$setOnInsert`; `_id` is generated when neither gives one.
    pub fn upsert(&self, filter: &Matcher, _filter_doc: Doc<'_>, arena: &Arena) -> Result<DocBuf> {
        let base = upsert::base(filter, self.is_replacement())?;
        let id = base.get("_id");
        let new = match &self.kind {
            Kind::Operators(program) => {
                let mut walk = self.walk(program, base.as_doc(), arena)?;
                walk.insert = true;
                walk.record = false;
                walk.document(&program.root, base.as_doc(), &mut Level::default(), true)?;
                finish(program, walk.out, id)?
            }
            Kind::Replacement(replacement) => replacement.insert(base.as_doc())?,
            Kind::Pipeline(stages) => stages.apply(base.as_doc(), arena)?.doc.unwrap_or_else(|| base.clone()),
        };
        let new = upsert::with_id(new)?;
        if new.as_bytes().len() > MAX_DOCUMENT {
            bail!(17420, "Document to upsert is larger than {MAX_DOCUMENT}");
        }
        Ok(new)
    }
}

/// The last checks of a document that operators made; `id` is the `_id` before.
fn finish(program: &Program, bytes: Vec<u8>, id: Value<'_>) -> Result<DocBuf> {
    if program.deep {
        smongo_bson::check::document(&bytes).map_err(|e| match e.code() {
            Code::Overflow => e,
            _ => e.context("the update made an invalid document"),
        })?;
    }
    let new = DocBuf::from_checked(bytes);
    if let Some(path) = &program.id_path {
        let now = new.get("_id");
        if !id.is_missing() && (now.is_missing() || !compare::equal(now, id)) {
            bail!(ImmutableField, "Performing an update on the path '{path}' would modify the immutable field '_id'");
        }
    }
    Ok(new)
}

fn check_size(doc: &DocBuf) -> Result<()> {
    if doc.as_bytes().len() > MAX_DOCUMENT {
        bail!(17419, "Resulting document after update is larger than {MAX_DOCUMENT}");
    }
    Ok(())
}

/// What stands at one end of a `$rename`, whose path may not lead through an array nor, at the source, a scalar.
fn rename_end<'a>(doc: Doc<'a>, parts: &[Part], end: &str, source: bool) -> Result<Value<'a>> {
    let mut value = Value::Document(doc);
    let mut at = "";
    for part in parts {
        value = match value {
            Value::Document(d) => d.get(&part.name),
            Value::Missing => return Ok(Value::Missing),
            Value::Array(_) => bail!(
                BadValue,
                "The {end} field cannot be an array element, '{}' in doc with _id: {} has an array field called '{at}'",
                joined(parts),
                doc.get("_id")
            ),
            other if source => bail!(
                PathNotViable,
                "cannot use the part ({at} of {}) to traverse the element ({{{at}: {}}})",
                joined(parts),
                other
            ),
            _ => return Ok(Value::Missing),
        };
        at = &part.name;
    }
    Ok(value)
}

fn joined(parts: &[Part]) -> String {
    parts.iter().map(|p| &*p.name).collect::<Vec<_>>().join(".")
}

/// A fresh `_id`.
fn new_id() -> ObjectId {
    ObjectId::generate()
}
