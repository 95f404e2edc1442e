//! `$score`: a score of one's own for each document, as metadata.

use smongo_bson::{Doc, DocBuf, Result, Value, bail, number};

use super::args::Spec;
use super::fusion::{Normalization, Range, number_of};
use super::spill::{Sorted, Sorter, document_and_meta};
use super::{Operator, Stage};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Host, Stream};

struct Score {
    expression: Expr,
    text: String,
    normalization: Normalization,
    weight: f64,
    detailed: bool,
    allow_disk: bool,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(doc) = arg else {
        bail!(FailedToParse, "the $score stage specification must be an object, but found {}", arg.type_name());
    };
    let spec = Spec::read("$score", doc, &["score", "normalization", "weight", "scoreDetails"])?;
    let Some(expression) = spec.raw("score") else { return Err(spec.missing("score")) };
    let name = spec.string("normalization")?.unwrap_or("none");
    let Some(normalization) = Normalization::parse(name) else {
        bail!(BadValue, "Enumeration value '{name}' for field '$score.normalization' is not a valid value.");
    };
    let weight = match spec.get("weight") {
        None => 1.0,
        Some(value) if value.is_number() => number::to_f64(value).unwrap_or(f64::NAN),
        Some(value) => return Err(spec.wrong("weight", value, "number")),
    };
    if !(0.0..=1.0).contains(&weight) {
        bail!(BadValue, "BSON field '$score.weight' must be between 0 and 1, but is {weight}");
    }
    let detailed = match spec.get("scoreDetails") {
        None => false,
        Some(Value::Bool(wanted)) => wanted,
        Some(value) => return Err(spec.wrong("scoreDetails", value, "bool")),
    };
    let compiled = Expr::compile(expression, cx)?;
    out.push(Stage::Other(Box::new(Score { expression: compiled, text: expression.to_string(), normalization, weight, detailed, allow_disk: cx.allow_disk_use })));
    Ok(())
}

impl Operator for Score {
    fn name(&self) -> &'static str {
        "$score"
    }

    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(Box::new(ScoreStream { input, spec: *self, gathered: None, arena: Arena::new(), meta: DocBuf::new() }))
    }
}

impl Score {
    fn raw(&self, doc: Doc<'_>, meta: Doc<'_>, arena: &mut Arena) -> Result<f64> {
        arena.reset();
        arena.set_meta(meta);
        number_of(self.expression.eval(&Cx::new(arena, doc, self.expression.slots()))?)
    }

    /// What is attached to a document, with its score.
    fn meta(&self, raw: f64, range: Range, others: Doc<'_>) -> DocBuf {
        let score = self.weight * self.normalization.apply(raw, range);
        DocBuf::build(|w| {
            for other in others.iter().filter(|e| !matches!(e.name(), "score" | "scoreDetails")) {
                w.append_element(&other);
            }
            w.append("score", score);
            if self.detailed {
                let mut details = w.document("scoreDetails");
                details.append("value", score).append("description", "the normalized and weighted value of the expression").append("rawScore", raw);
                details.append("normalization", self.normalization.name()).append("weight", self.weight).append("expression", &*self.text);
                details.array("details");
            }
        })
    }
}

/// Documents with their raw scores, and the scores' range, where that is needed before the first is known.
struct Gathered {
    sorted: Sorted,
    range: Range,
}

struct ScoreStream {
    input: Box<dyn Stream>,
    spec: Score,
    gathered: Option<Gathered>,
    arena: Arena,
    meta: DocBuf,
}

impl ScoreStream {
    /// Reads all documents, in their order.
    fn gather(&mut self, host: &mut dyn Host) -> Result<Gathered> {
        let mut sorter = Sorter::new("$score", self.spec.allow_disk, None);
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut n, mut row) = (0u64, Vec::new());
        while self.input.advance(host)? {
            let (doc, meta) = (self.input.doc(), self.input.meta());
            let raw = self.spec.raw(doc, meta, &mut self.arena)?;
            range = (range.0.min(raw), range.1.max(raw));
            row.clear();
            row.extend_from_slice(&raw.to_bits().to_le_bytes());
            row.extend_from_slice(doc.as_bytes());
            row.extend_from_slice(meta.as_bytes());
            sorter.push(&n.to_be_bytes(), &row, host)?;
            n += 1;
            if n.is_multiple_of(512) {
                host.interrupt()?;
            }
        }
        Ok(Gathered { sorted: sorter.finish(host)?, range })
    }
}

impl Gathered {
    fn parts(&self) -> (f64, Doc<'_>, Doc<'_>) {
        let Some((raw, rest)) = self.sorted.payload().split_first_chunk::<8>() else { return (0.0, Doc::EMPTY, Doc::EMPTY) };
        let (doc, meta) = document_and_meta(rest);
        (f64::from_bits(u64::from_le_bytes(*raw)), doc, meta)
    }
}

impl Stream for ScoreStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.spec.normalization != Normalization::MinMaxScaler {
            if !self.input.advance(host)? {
                return Ok(false);
            }
            let raw = self.spec.raw(self.input.doc(), self.input.meta(), &mut self.arena)?;
            self.meta = self.spec.meta(raw, (0.0, 0.0), self.input.meta());
            return Ok(true);
        }
        if self.gathered.is_none() {
            self.gathered = Some(self.gather(host)?);
        }
        let Some(gathered) = &mut self.gathered else { return Ok(false) };
        let more = gathered.sorted.advance()?;
        if more {
            let (raw, _, others) = gathered.parts();
            self.meta = self.spec.meta(raw, gathered.range, others);
        }
        Ok(more)
    }

    fn doc(&self) -> Doc<'_> {
        self.gathered.as_ref().map_or_else(|| self.input.doc(), |gathered| gathered.parts().1)
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_doc()
    }

    fn passes(&self) -> u32 {
        self.input.passes() + 1
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
        if let Some(gathered) = self.gathered.as_mut().filter(|_| host.resting()) {
            gathered.sorted.rest(self.spec.allow_disk, host);
        }
    }
}
