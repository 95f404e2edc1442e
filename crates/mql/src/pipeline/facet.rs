//! `$facet`: several pipelines over the same documents, their results as arrays of one document.

use std::sync::Arc;

use smongo_bson::{Array, Doc, DocWriter, Result, Value, bail};

use super::spill::{Spool, SpoolReader};
use super::step::{Step, over};
use super::{Operator, Pipeline, Stage, Within};
use crate::cx::CompileCx;
use crate::stream::{Host, Stream};

struct Facet {
    pipelines: Vec<(String, Pipeline)>,
    allow_disk: bool,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(40169, "the $facet specification must be a non-empty object, but found: {}", arg.type_name());
    };
    if spec.is_empty() {
        bail!(40169, "the $facet specification must be a non-empty object");
    }
    let inner = CompileCx { within_facet: true, ..cx.clone() };
    let mut pipelines = Vec::new();
    for field in spec {
        crate::expr::check_field_name(field.name())?;
        let Value::Array(stages) = field.value() else {
            bail!(40170, "arguments to $facet must be arrays, {} is type {}", field.name(), field.value().type_name());
        };
        for stage in stages.iter() {
            if !matches!(stage, Value::Document(_)) {
                bail!(40171, "elements of arrays in $facet spec must be non-empty objects, {} argument contained an element of type {}", field.name(), stage.type_name());
            }
        }
        pipelines.push((field.name().to_owned(), stages));
    }
    let pipelines = pipelines.into_iter().map(|(name, stages)| Ok((name, compile(stages, &inner)?))).collect::<Result<Vec<_>>>()?;
    out.push(Stage::Other(Box::new(Facet { pipelines, allow_disk: cx.allow_disk_use })));
    Ok(())
}

fn compile(stages: Array<'_>, cx: &CompileCx) -> Result<Pipeline> {
    Pipeline::compile_within(stages, cx, Within::Facet)
}

impl Operator for Facet {
    fn name(&self) -> &'static str {
        "$facet"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, FacetStream { facet: Some(*self), out: Vec::new() }))
    }
    fn reads(&self) -> Vec<(String, String)> {
        self.pipelines.iter().flat_map(|(_, p)| p.reads()).collect()
    }
}

struct FacetStream {
    facet: Option<Facet>,
    out: Vec<u8>,
}

impl Step for FacetStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        let Some(facet) = self.facet.take() else { return Ok(false) };
        let mut spool = Spool::new("$facet", facet.allow_disk);
        while input.advance(host)? {
            spool.push(input.doc().as_bytes(), host)?;
        }
        let spool = Arc::new(spool.finish()?);
        self.out.clear();
        let mut w = DocWriter::new(&mut self.out);
        for (name, pipeline) in facet.pipelines {
            let mut results = pipeline.open(Box::new(SpoolReader::new(spool.clone())))?;
            let mut array = w.array(&name);
            while results.advance(host)? {
                array.push(results.doc());
                if array.len() > MAX {
                    bail!(4031700, "document constructed by $facet is {} bytes, which exceeds the limit of {MAX} bytes", array.len());
                }
            }
        }
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}

/// The most bytes the result may take up before it leaves the stage.
const MAX: usize = 100 * 1024 * 1024;
