//! `$unionWith`: the documents of another collection behind those of the pipeline.

use smongo_bson::{Array, Doc, DocBuf, Result, Value, bail};

use super::args::{Spec, nested};
use super::{Operator, Pipeline, Stage, Within, stage_documents};
use crate::cx::CompileCx;
use crate::stream::{Host, Stream};

struct UnionWith {
    stages: Vec<DocBuf>,
    cx: CompileCx,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let (coll, stages) = match arg {
        Value::String(coll) => (Some(coll), Array::EMPTY),
        Value::Document(doc) => {
            let spec = Spec::read("$unionWith", doc, &["coll", "pipeline", "db"])?;
            if spec.get("db").is_some() {
                bail!(40415, "BSON field '$unionWith.db' is an unknown field.");
            }
            let stages = match spec.get("pipeline") {
                None => Array::EMPTY,
                Some(Value::Array(stages)) => stages,
                Some(v) => return Err(spec.wrong("pipeline", v, "array")),
            };
            (spec.string("coll")?, stages)
        }
        v => bail!(FailedToParse, "the $unionWith stage specification must be an object or string, but found {}", v.type_name()),
    };
    let coll = match coll {
        Some(coll) if coll.is_empty() || coll.starts_with('.') || coll.contains(['\0', '$']) => {
            bail!(InvalidNamespace, "Invalid namespace specified '{}.{coll}'", cx.db)
        }
        Some(coll) => coll,
        None => {
            let first = stages.get(0).as_doc().and_then(Doc::first);
            if first.is_none_or(|f| f.name() != "$documents") {
                bail!(FailedToParse, "$unionWith stage without explicit collection must have a pipeline with $documents as first stage");
            }
            ""
        }
    };
    let inner = nested(cx, &cx.db, coll);
    Pipeline::compile_within(stages, &inner, Within::UnionWith)?;
    out.push(Stage::Other(Box::new(UnionWith { stages: stage_documents(stages)?, cx: inner })));
    Ok(())
}

impl Operator for UnionWith {
    fn name(&self) -> &'static str {
        "$unionWith"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(Box::new(UnionStream { input, spec: *self, other: None }))
    }
    fn reads(&self) -> Vec<(String, String)> {
        let own = (!self.cx.coll.is_empty()).then(|| (self.cx.db.clone(), self.cx.coll.clone()));
        let stages = super::stage_array(&self.stages);
        let inner = Pipeline::compile_within(stages.as_array().unwrap_or(Array::EMPTY), &self.cx, Within::Nested);
        own.into_iter().chain(inner.map(|p| p.reads()).unwrap_or_default()).collect()
    }
}

struct UnionStream {
    input: Box<dyn Stream>,
    spec: UnionWith,
    other: Option<Box<dyn Stream>>,
}

impl Stream for UnionStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.other.is_none() {
            if self.input.advance(host)? {
                return Ok(true);
            }
            let cx = &self.spec.cx;
            self.other = Some(host.open(&cx.db, &cx.coll, &self.spec.stages, cx)?);
        }
        self.other.as_mut().map_or(Ok(false), |s| s.advance(host))
    }
    fn doc(&self) -> Doc<'_> {
        self.other.as_ref().unwrap_or(&self.input).doc()
    }
    fn meta(&self) -> Doc<'_> {
        self.other.as_ref().unwrap_or(&self.input).meta()
    }
    fn passes(&self) -> u32 {
        self.input.passes() + 1
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.other.as_mut().unwrap_or(&mut self.input).park(host);
    }
}
