//! How a document's ranks or scores in the inputs become one score.

use smongo_bson::{Doc, DocWriter, Result, Value, bail, number};

use super::inputs::Input;
use crate::arena::Arena;
use crate::cx::Cx;
use crate::expr::Expr;

/// What `k` is in `weight / (k + rank)`.
const RANK_CONSTANT: f64 = 60.0;

pub(super) enum Formula {
    /// Reciprocal rank fusion.
    Rank,
    Score { normalization: Normalization, method: Method },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Normalization {
    None,
    Sigmoid,
    MinMaxScaler,
}

pub(super) enum Method {
    /// The mean over all inputs; one that has not found the document counts 0.
    Avg,
    /// With a variable for each input, of its name.
    Expression { compiled: Expr, text: String },
}

/// What an input says of a document.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub rank: u64,
    pub score: Option<f64>,
}

/// The least and the greatest score of an input.
pub(in super::super) type Range = (f64, f64);

impl Normalization {
    pub fn parse(name: &str) -> Option<Normalization> {
        match name {
            "none" => Some(Normalization::None),
            "sigmoid" => Some(Normalization::Sigmoid),
            "minMaxScaler" => Some(Normalization::MinMaxScaler),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Normalization::None => "none",
            Normalization::Sigmoid => "sigmoid",
            Normalization::MinMaxScaler => "minMaxScaler",
        }
    }

    /// Scores that are all the same are all the least.
    pub fn apply(self, score: f64, (least, most): Range) -> f64 {
        match self {
            Normalization::None => score,
            Normalization::Sigmoid => 1.0 / (1.0 + (-score).exp()),
            Normalization::MinMaxScaler if most > least => (score - least) / (most - least),
            Normalization::MinMaxScaler => 0.0,
        }
    }
}

impl Formula {
    pub fn score(&self, inputs: &[Input], found: &[Option<Found>], ranges: &[Range]) -> Result<f64> {
        match self {
            // Begins with 0, so that a weight of -0.0 leaves no sign.
            Formula::Rank => Ok(inputs.iter().zip(found).filter_map(|(input, found)| Some(input.weight / (RANK_CONSTANT + found.as_ref()?.rank as f64))).fold(0.0, |a, b| a + b)),
            Formula::Score { normalization, method } => {
                let weighted: Vec<f64> = (0..inputs.len()).map(|at| value(*normalization, &inputs[at], found[at], ranges[at])).collect();
                match method {
                    Method::Avg => Ok(weighted.iter().fold(0.0, |a, b| a + b) / inputs.len() as f64),
                    Method::Expression { compiled, .. } => evaluate(compiled, &weighted),
                }
            }
        }
    }

    /// Writes `scoreDetails`.
    pub fn details(&self, score: f64, inputs: &[Input], found: &[Option<Found>], ranges: &[Range], w: &mut DocWriter<'_>) {
        w.append("value", score);
        match self {
            Formula::Rank => drop(w.append("description", "the sum of weight / (60 + rank) over the input pipelines that found the document")),
            Formula::Score { normalization, method } => {
                w.append("description", "the combination of the normalized and weighted scores of the input pipelines").append("normalization", normalization.name());
                let mut combination = w.document("combination");
                match method {
                    Method::Avg => combination.append("method", "average"),
                    Method::Expression { text, .. } => combination.append("method", "custom expression").append("expression", &**text),
                };
            }
        }
        let mut details = w.array("details");
        for ((input, found), range) in inputs.iter().zip(found).zip(ranges) {
            let mut detail = details.document();
            detail.append("inputPipelineName", &*input.name);
            match self {
                Formula::Rank => match found {
                    None => drop(detail.append("rank", "NA")),
                    Some(found) => {
                        match i32::try_from(found.rank) {
                            Ok(rank) => detail.append("rank", rank),
                            Err(_) => detail.append("rank", found.rank as i64),
                        };
                        detail.append("weight", input.weight);
                        if let Some(score) = found.score {
                            detail.append("value", score);
                        }
                        detail.array("details");
                    }
                },
                Formula::Score { normalization, .. } => {
                    detail.append("inputPipelineRawScore", found.and_then(|found| found.score).unwrap_or(0.0));
                    detail.append("weight", input.weight).append("value", value(*normalization, input, *found, *range));
                    detail.array("details");
                }
            }
        }
    }
}

/// An input's part of a fused score.
fn value(normalization: Normalization, input: &Input, found: Option<Found>, range: Range) -> f64 {
    found.and_then(|found| found.score).map_or(0.0, |score| input.weight * normalization.apply(score, range))
}

fn evaluate(expression: &Expr, scores: &[f64]) -> Result<f64> {
    let arena = Arena::new();
    let cx = Cx::new(&arena, Doc::EMPTY, expression.slots());
    cx.vars.iter().zip(scores).for_each(|(slot, score)| slot.set(Value::Double(*score)));
    number_of(expression.eval(&cx)?)
}

/// A score that an expression computed.
pub(in super::super) fn number_of(value: Value<'_>) -> Result<f64> {
    match number::to_f64(value).filter(|_| value.is_number()) {
        Some(score) => Ok(score),
        None => bail!(TypeMismatch, "a score must be a number, but is of type {}", value.type_name()),
    }
}
