//! `$merge`: what to do with each document and the document of the target it meets.

use std::sync::Arc;

use smongo_bson::{Array, Doc, DocBuf, Result, Value, ValueBuf, bail};

use super::args::{is_variable_name, show};
use super::{Operator, Stage, out};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Stream, WriteSpec};
use crate::update::Update;

/// A compiled `$merge`.
#[derive(Clone)]
pub struct MergeSpec {
    pub db: String,
    pub coll: String,
    /// Fields that identify a document of the target; `None` when not given (`_id`, or the shard key). A unique index over exactly
    /// these must exist (error 51183); `_id` needs none.
    pub on: Option<Vec<String>>,
    pub when_matched: WhenMatched,
    pub when_not_matched: WhenNotMatched,
}

/// What happens to a document of the target with the same `on` fields.
#[derive(Clone)]
pub enum WhenMatched {
    Replace,
    KeepExisting,
    Merge,
    Fail,
    Pipeline(Arc<MergePipeline>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenNotMatched {
    Insert,
    Discard,
    Fail,
}

/// The update pipeline of `whenMatched` and the variables it sees.
pub struct MergePipeline {
    stages: ValueBuf,
    lets: Vec<(String, Expr)>,
    cx: CompileCx,
}

impl MergePipeline {
    /// Whether its stages may stand in an update, and know their variables.
    fn check(&self) -> Result<()> {
        let mut known = self.cx.clone();
        known.lets.extend(self.lets.iter().map(|(name, _)| (name.clone(), ValueBuf::MISSING())));
        match self.stages.view() {
            Value::Array(stages) if stages.is_empty() => Ok(()),
            stages => Update::compile(stages, None, &known).map(drop),
        }
    }
}

impl MergeSpec {
    /// What is found out when there is a document to write, whether or not it meets another one.
    pub fn check(&self) -> Result<()> {
        match &self.when_matched {
            WhenMatched::Pipeline(p) => p.check(),
            _ => Ok(()),
        }
    }

    /// The fields that identify a document.
    pub fn on_fields(&self) -> Vec<&str> {
        self.on.as_ref().map_or_else(|| vec!["_id"], |on| on.iter().map(String::as_str).collect())
    }

    /// The update of the target's document that `incoming` meets; `None` when it stays. `Fail` is the caller's to report
    /// (DuplicateKey). The `_id` of the existing document is kept where the incoming one has none.
    pub fn update(&self, existing: Doc<'_>, incoming: Doc<'_>) -> Result<Option<Update>> {
        let replacement = match &self.when_matched {
            WhenMatched::KeepExisting | WhenMatched::Fail => return Ok(None),
            WhenMatched::Replace => replaced(existing, incoming),
            WhenMatched::Merge => merged(existing, incoming),
            WhenMatched::Pipeline(p) => return p.update(incoming).map(Some),
        };
        Update::compile(Value::Document(replacement.as_doc()), None, &CompileCx::default()).map(Some)
    }
}

impl MergeSpec {
    /// What is inserted when no document of the target is met: where documents are merged the fields come in the order in which an
    /// upsert sets them, by name.
    pub fn inserted(&self, incoming: Doc<'_>) -> DocBuf {
        if !matches!(self.when_matched, WhenMatched::Merge | WhenMatched::KeepExisting | WhenMatched::Fail) {
            return DocBuf::from(incoming);
        }
        let mut fields: Vec<_> = incoming.iter().filter(|f| f.name() != "_id").collect();
        fields.sort_by(|a, b| a.name().cmp(b.name()));
        let missing: Vec<&str> = self.on_fields().into_iter().filter(|n| *n != "_id" && !n.contains('.') && !incoming.contains(n)).collect();
        DocBuf::build(|w| {
            w.append("_id", incoming.get("_id"));
            for name in missing {
                w.append(name, Value::Null);
            }
            for field in &fields {
                w.append_element(field);
            }
        })
    }
}

fn replaced(existing: Doc<'_>, incoming: Doc<'_>) -> DocBuf {
    if incoming.contains("_id") {
        return DocBuf::from(incoming);
    }
    DocBuf::build(|w| {
        w.append("_id", existing.get("_id")).append_all(incoming);
    })
}

/// `existing` with the top-level fields of `incoming` set.
fn merged(existing: Doc<'_>, incoming: Doc<'_>) -> DocBuf {
    DocBuf::build(|w| {
        for field in existing {
            let new = incoming.element(field.name());
            w.append_element(new.as_ref().unwrap_or(&field));
        }
        for field in incoming {
            if !existing.contains(field.name()) {
                w.append_element(&field);
            }
        }
    })
}

impl MergePipeline {
    /// The update for one incoming document, with its variables bound.
    pub fn update(&self, incoming: Doc<'_>) -> Result<Update> {
        let arena = Arena::new();
        let mut cx = self.cx.clone();
        for (name, expr) in &self.lets {
            let value = expr.eval(&Cx::new(&arena, incoming, expr.slots()))?;
            // A variable without a value is one that does not exist.
            if !value.is_missing() {
                cx.lets.push((name.clone(), ValueBuf::new(value)));
            }
        }
        Update::compile(self.stages.view(), None, &cx)
    }
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, stages: &mut Vec<Stage>) -> Result<()> {
    let spec = match arg {
        Value::String(_) => {
            let (db, coll) = target(arg, cx)?;
            MergeSpec { db, coll, on: None, when_matched: WhenMatched::Merge, when_not_matched: WhenNotMatched::Insert }
        }
        Value::Document(d) => parse_document(d, cx)?,
        v => bail!(TypeMismatch, "$merge requires a string or object argument, but found {}", v.type_name()),
    };
    stages.push(Stage::Other(Box::new(Merge(WriteSpec::Merge(spec)))));
    Ok(())
}

fn parse_document(spec: Doc<'_>, cx: &CompileCx) -> Result<MergeSpec> {
    let (mut into, mut on, mut lets, mut matched, mut not_matched) = (None, None, None, None, None);
    for field in spec {
        let value = field.value();
        match field.name() {
            "into" if matches!(value, Value::String("")) => bail!(5786800, "$merge 'into' field cannot be an empty string"),
            "into" => into = Some(target(value, cx)?),
            "on" => on = Some(on_fields(value)?),
            "let" if matches!(value, Value::Null | Value::Undefined) => {}
            "let" => match value {
                Value::Document(d) => lets = Some(d),
                v => bail!(TypeMismatch, "BSON field '$merge.let' is the wrong type '{}', expected type 'object'", v.type_name()),
            },
            "whenMatched" => matched = Some(value),
            "whenNotMatched" => not_matched = Some(value),
            "targetCollectionVersion" | "allowMergeOnNullishValues" => {}
            other => bail!(40415, "BSON field '$merge.{other}' is an unknown field."),
        }
    }
    let Some((db, coll)) = into else { bail!(40414, "BSON field '$merge.into' is missing but a required field") };
    let when_not_matched = match not_matched {
        None | Some(Value::Null | Value::Undefined) => WhenNotMatched::Insert,
        Some(Value::String("insert")) => WhenNotMatched::Insert,
        Some(Value::String("discard")) => WhenNotMatched::Discard,
        Some(Value::String("fail")) => WhenNotMatched::Fail,
        Some(Value::String(other)) => {
            bail!(BadValue, "Enumeration value '{other}' for field '$merge.whenNotMatched' is not a valid value.")
        }
        Some(v) => bail!(TypeMismatch, "BSON field '$merge.whenNotMatched' is the wrong type '{}', expected type 'string'", v.type_name()),
    };
    let when_matched = when_matched(matched, lets, cx)?;
    let refused = match &when_matched {
        WhenMatched::Fail => when_not_matched != WhenNotMatched::Insert,
        WhenMatched::KeepExisting => when_not_matched != WhenNotMatched::Insert,
        _ => false,
    };
    if refused {
        bail!(51181, "Combination of {} modes is not supported: whenMatched and whenNotMatched", "$merge");
    }
    Ok(MergeSpec { db, coll, on, when_matched, when_not_matched })
}

fn when_matched(value: Option<Value<'_>>, lets: Option<Doc<'_>>, cx: &CompileCx) -> Result<WhenMatched> {
    let mode = match value {
        None => WhenMatched::Merge,
        Some(Value::String(mode)) => match mode {
            "replace" => WhenMatched::Replace,
            "keepExisting" => WhenMatched::KeepExisting,
            "merge" => WhenMatched::Merge,
            "fail" => WhenMatched::Fail,
            other => bail!(BadValue, "Enumeration value '{other}' for field '$merge.whenMatched' is not a valid value."),
        },
        Some(Value::Array(stages)) => return Ok(WhenMatched::Pipeline(Arc::new(pipeline(stages, lets, cx)?))),
        Some(v) => bail!(51191, "$merge 'whenMatched' field must be either a string or an array, but found {}", v.type_name()),
    };
    if lets.is_some() {
        bail!(51199, "Cannot use 'let' variables with 'whenMatched: {}' mode", value.map_or("merge".into(), show));
    }
    Ok(mode)
}

/// Without `let`, the pipeline sees the incoming document as `$$new`.
fn pipeline(stages: Array<'_>, lets: Option<Doc<'_>>, cx: &CompileCx) -> Result<MergePipeline> {
    let mut bound = Vec::new();
    for field in lets.unwrap_or(Doc::EMPTY) {
        if field.name() == "new" && !matches!(field.value(), Value::String("$$ROOT")) {
            bail!(51273, "'let' may not define a value for the reserved 'new' variable other than '$$ROOT'");
        }
        if !is_variable_name(field.name()) {
            bail!(FailedToParse, "'{}' is not a valid variable name", field.name());
        }
        bound.push((field.name().to_owned(), Expr::compile(field.value(), cx)?));
    }
    if !bound.iter().any(|(name, _)| name == "new") {
        bound.push(("new".to_owned(), Expr::compile(Value::String("$$ROOT"), cx)?));
    }
    if stages.iter().any(|s| !matches!(s, Value::Document(_))) {
        bail!(TypeMismatch, "Each element of the 'pipeline' array must be an object");
    }
    Ok(MergePipeline { stages: ValueBuf::new(Value::Array(stages)), lets: bound, cx: cx.clone() })
}

fn on_fields(value: Value<'_>) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    match value {
        Value::String(s) => fields.push(s.to_owned()),
        Value::Array(list) => {
            for field in list.iter() {
                let Value::String(s) = field else {
                    bail!(51134, "$merge 'on' array elements must be strings, but found {}", field.type_name());
                };
                if fields.iter().any(|f| f == s) {
                    bail!(31465, "Found a duplicate field '{s}' in $merge 'on'");
                }
                fields.push(s.to_owned());
            }
            if fields.is_empty() {
                bail!(51187, "If explicitly specifying $merge 'on', must include at least one field");
            }
        }
        v => bail!(51186, "$merge 'on' field must be either a string or an array of strings, but found {}", v.type_name()),
    }
    for field in &fields {
        super::args::field_path(field)?;
    }
    Ok(fields)
}

/// `into`: a collection's name, or `{db, coll}`.
fn target(value: Value<'_>, cx: &CompileCx) -> Result<(String, String)> {
    match value {
        Value::String(coll) => out::checked_target("$merge", cx.db.clone(), coll),
        Value::Document(d) => {
            let (mut db, mut coll) = (cx.db.clone(), None);
            for field in d {
                match (field.name(), field.value()) {
                    ("db", Value::String("")) => {}
                    ("db", Value::String(s)) => db = s.to_owned(),
                    ("coll", Value::String(s)) => coll = Some(s),
                    ("db" | "coll", Value::Null | Value::Undefined) => {}
                    (name @ ("db" | "coll"), v) => bail!(TypeMismatch, "BSON field 'into.{name}' is the wrong type '{}', expected type 'string'", v.type_name()),
                    (other, _) => bail!(40415, "BSON field 'into.{other}' is an unknown field."),
                }
            }
            let Some(coll) = coll else { bail!(5786801, "$merge 'into' field must specify a 'coll'") };
            out::checked_target("$merge", db, coll)
        }
        v => bail!(51178, "$merge 'into' field must be either a string or an object, but found {}", v.type_name()),
    }
}

struct Merge(WriteSpec);

impl Operator for Merge {
    fn name(&self) -> &'static str {
        "$merge"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(out::writing(input, self.0))
    }
    fn writes(&self) -> Option<&WriteSpec> {
        Some(&self.0)
    }
}
