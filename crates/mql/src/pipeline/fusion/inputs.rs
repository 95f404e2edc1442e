//! The input pipelines of a fusion, and their weights.

use smongo_bson::{Array, Doc, DocBuf, Result, Value, bail, number};

use super::super::args::{Spec, nested};
use super::super::registry::{has_text, named_stage};
use super::super::{MAX_STAGES, Pipeline, Within, stage_array, stage_documents};
use crate::cx::CompileCx;
use crate::sort::SortPattern;
use crate::stream::Stream;

/// Metadata that is a document's score, the latest made first.
const SCORES: [&str; 4] = ["score", "vectorSearchScore", "searchScore", "textScore"];

/// A named pipeline whose documents are ranked or scored.
pub(super) struct Input {
    pub name: String,
    pub weight: f64,
    pub stages: Vec<DocBuf>,
    order: Order,
}

/// What puts an input's documents into their order.
enum Order {
    /// The last `$sort`.
    Sort(SortPattern),
    Distance,
    Score,
    /// As they come.
    Position,
}

impl Input {
    /// Appends what documents of the same rank have in common; `None` when each has its own.
    pub fn key(&self, stream: &dyn Stream, out: &mut Vec<u8>) -> Result<Option<()>> {
        let meta = stream.meta();
        match &self.order {
            Order::Sort(pattern) => pattern.append_key_with(stream.doc(), meta, out)?,
            Order::Distance => smongo_bson::keystring::append(out, meta.get("geoNearDistance"), false, None),
            Order::Score => smongo_bson::keystring::append(out, score_of(meta).map_or(Value::Null, Value::Double), true, None),
            Order::Position => return Ok(None),
        }
        Ok(Some(()))
    }

    pub fn compile(&self, cx: &CompileCx) -> Result<Pipeline> {
        let stages = stage_array(&self.stages);
        Pipeline::compile_within(stages.as_array().unwrap_or(Array::EMPTY), cx, Within::Nested)
    }
}

/// The score that a search attached to a document.
pub(super) fn score_of(meta: Doc<'_>) -> Option<f64> {
    SCORES.iter().map(|name| meta.get(name)).find(|v| v.is_number()).and_then(number::to_f64)
}

/// The pipelines of a stage's `input.pipelines`. `scored` where each must give scores, and not only an order.
pub(super) fn parse(stage: &'static str, pipelines: Doc<'_>, scored: bool, cx: &CompileCx) -> Result<Vec<Input>> {
    if pipelines.is_empty() {
        bail!(BadValue, "{stage} input must have at least one pipeline");
    }
    let mut inputs: Vec<Input> = Vec::new();
    for field in pipelines {
        let name = field.name();
        check_name(stage, name)?;
        if inputs.iter().any(|input| input.name == name) {
            bail!(40413, "BSON field '{stage}.input.pipelines.{name}' is a duplicate field");
        }
        let Value::Array(stages) = field.value() else {
            bail!(TypeMismatch, "{stage} pipeline '{name}' must be an array, but is of type {}", field.value().type_name());
        };
        inputs.push(Input { name: name.to_owned(), weight: 1.0, order: check(stage, name, stages, scored, cx)?, stages: stage_documents(stages)? });
    }
    Ok(inputs)
}

fn check_name(stage: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        bail!(15998, "{stage} pipeline names must not be empty strings");
    }
    if name.starts_with('$') {
        bail!(16410, "{stage} pipeline name '{name}' must not start with '$'");
    }
    if name.contains('.') {
        bail!(16412, "{stage} pipeline name '{name}' must not contain '.'");
    }
    Ok(())
}

/// Inputs select and order documents, and change nothing of them: one document must be the same in each.
fn check(stage: &str, name: &str, stages: Array<'_>, scored: bool, cx: &CompileCx) -> Result<Order> {
    if stages.is_empty() {
        bail!(9834300, "{stage} input pipeline '{name}' must not be empty");
    }
    let docs = stage_documents(stages)?;
    if docs.len() > MAX_STAGES {
        bail!(7749501, "Pipeline length must be no longer than {MAX_STAGES} stages");
    }
    let named = docs.iter().map(|doc| named_stage(doc.as_doc())).collect::<Result<Vec<_>>>()?;
    for (at, (inner, spec)) in named.iter().enumerate() {
        match *inner {
            "$rankFusion" | "$scoreFusion" if at == 0 => bail!(10473002, "{stage} input pipeline '{name}' has a nested {inner}"),
            "$rankFusion" | "$scoreFusion" => bail!(10170100, "{inner} is only valid as the first stage of a pipeline"),
            "$geoNear" if spec.as_doc().is_some_and(|d| d.contains("distanceField") || d.contains("includeLocs")) => {
                bail!(9191103, "{stage} input pipeline '{name}' has a $geoNear that modifies documents")
            }
            "$match" | "$search" | "$vectorSearch" | "$geoNear" | "$sample" | "$sort" | "$skip" | "$limit" | "$score" => {}
            _ => bail!(9191103, "{stage} input pipeline '{name}' has a {inner}, and may only select, rank and score documents"),
        }
    }
    let begins = named.first().map(|(inner, spec)| match *inner {
        "$match" => spec.as_doc().is_some_and(has_text).then_some(Order::Score),
        "$search" | "$vectorSearch" => Some(Order::Score),
        "$geoNear" => Some(Order::Distance),
        _ => None,
    });
    let has = |wanted: &str| named.iter().any(|(inner, _)| *inner == wanted);
    let begins = begins.flatten();
    if scored && !has("$score") && !matches!(begins, Some(Order::Score)) {
        bail!(9402500, "{stage} input pipeline '{name}' gives no scores: it must begin with a search or have a $score");
    }
    if !scored && begins.is_none() && !has("$sort") {
        bail!(9191100, "{stage} input pipeline '{name}' is not ranked: it must begin with a search or have a $sort");
    }
    Pipeline::compile_within(stages, &nested(cx, &cx.db, &cx.coll), Within::UnionWith)?;
    let last = named.iter().rfind(|(inner, _)| matches!(*inner, "$sort" | "$sample"));
    Ok(match last {
        Some(("$sort", spec)) => Order::Sort(SortPattern::compile_stage(*spec, cx)?),
        Some(_) => Order::Position,
        None => begins.unwrap_or(Order::Score),
    })
}

/// The weights of a `combination`, which say for some of the inputs how much they count.
pub(super) fn weigh(stage: &'static str, combination: &Spec<'_>, required: bool, inputs: &mut [Input]) -> Result<()> {
    let Some(weights) = combination.document("weights")? else {
        return if required { Err(combination.missing("weights")) } else { Ok(()) };
    };
    if weights.len() > inputs.len() {
        bail!(9460301, "{stage} has {} weights for {} input pipelines", weights.len(), inputs.len());
    }
    for field in weights {
        let Some(weight) = number::to_f64(field.value()).filter(|_| field.value().is_number()) else {
            bail!(13118, "{stage} weight '{}' must be a number, but is of type {}", field.name(), field.value().type_name());
        };
        if weight.is_nan() || weight < 0.0 {
            bail!(9460300, "{stage} weight '{}' must not be negative", field.name());
        }
        match inputs.iter_mut().find(|input| input.name == field.name()) {
            Some(input) => input.weight = weight,
            None => bail!(9967500, "{stage} has a weight '{}', and no input pipeline of that name", field.name()),
        }
    }
    Ok(())
}
