//! `$rankFusion` and `$scoreFusion`: several pipelines over one collection, whose documents come in the order of what they are
//! worth in all of them.

mod formula;
mod inputs;

use smongo_bson::{Doc, DocBuf, Result, Value, bail, keystring};

pub(super) use formula::{Normalization, Range, number_of};
use formula::{Formula, Found, Method};
use inputs::{Input, score_of};

use super::args::{Spec, nested};
use super::spill::{Sorted, Sorter, document_and_meta};
use super::{Operator, Stage};
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::stream::{Host, Stream};

/// Whether a stage is one of those that read their collection by pipelines of their own.
pub fn is_fusion(stage: Doc<'_>) -> bool {
    stage.first().is_some_and(|first| matches!(first.name(), "$rankFusion" | "$scoreFusion"))
}

struct Fusion {
    name: &'static str,
    inputs: Vec<Input>,
    formula: Formula,
    /// `scoreDetails`.
    detailed: bool,
    cx: CompileCx,
}

fn spec<'v>(name: &'static str, arg: Value<'v>) -> Result<Spec<'v>> {
    let Value::Document(doc) = arg else {
        bail!(FailedToParse, "the {name} stage specification must be an object, but found {}", arg.type_name());
    };
    Spec::read(name, doc, &["input", "combination", "scoreDetails"])
}

fn detailed(spec: &Spec<'_>) -> Result<bool> {
    match spec.get("scoreDetails") {
        None => Ok(false),
        Some(Value::Bool(wanted)) => Ok(wanted),
        Some(other) => Err(spec.wrong("scoreDetails", other, "bool")),
    }
}

pub(super) fn parse_rank(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let name = "$rankFusion";
    let spec = spec(name, arg)?;
    let Some(input) = spec.document("input")? else { return Err(spec.missing("input")) };
    let input = Spec::read("$rankFusion.input", input, &["pipelines"])?;
    let Some(pipelines) = input.document("pipelines")? else { return Err(input.missing("pipelines")) };
    let combination = spec.document("combination")?.map(|doc| Spec::read("$rankFusion.combination", doc, &["weights"])).transpose()?;
    let detailed = detailed(&spec)?;
    let mut inputs = inputs::parse(name, pipelines, false, cx)?;
    if let Some(combination) = combination {
        inputs::weigh(name, &combination, true, &mut inputs)?;
    }
    out.push(Stage::Other(Box::new(Fusion { name, inputs, formula: Formula::Rank, detailed, cx: nested(cx, &cx.db, &cx.coll) })));
    Ok(())
}

pub(super) fn parse_score(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let name = "$scoreFusion";
    let spec = spec(name, arg)?;
    let Some(input) = spec.document("input")? else { return Err(spec.missing("input")) };
    let input = Spec::read("$scoreFusion.input", input, &["pipelines", "normalization"])?;
    let Some(pipelines) = input.document("pipelines")? else { return Err(input.missing("pipelines")) };
    let Some(normalization) = input.string("normalization")? else { return Err(input.missing("normalization")) };
    let Some(normalization) = Normalization::parse(normalization) else {
        bail!(BadValue, "Enumeration value '{normalization}' for field '$scoreFusion.input.normalization' is not a valid value.");
    };
    let combination = spec.document("combination")?.map(|doc| Spec::read("$scoreFusion.combination", doc, &["weights", "method", "expression"])).transpose()?;
    let detailed = detailed(&spec)?;
    let mut inputs = inputs::parse(name, pipelines, true, cx)?;
    let method = match &combination {
        None => Method::Avg,
        Some(combination) => {
            inputs::weigh(name, combination, false, &mut inputs)?;
            method(combination, &inputs, cx)?
        }
    };
    let formula = Formula::Score { normalization, method };
    out.push(Stage::Other(Box::new(Fusion { name, inputs, formula, detailed, cx: nested(cx, &cx.db, &cx.coll) })));
    Ok(())
}

fn method(combination: &Spec<'_>, inputs: &[Input], cx: &CompileCx) -> Result<Method> {
    let expression = combination.raw("expression");
    match (combination.string("method")?, expression) {
        (None | Some("avg"), None) => Ok(Method::Avg),
        (None | Some("avg"), Some(_)) => bail!(10017300, "$scoreFusion has an expression, and its method is not 'expression'"),
        (Some("expression"), None) => bail!(10017301, "$scoreFusion with the method 'expression' must have one"),
        (Some("expression"), Some(_)) if combination.get("weights").is_some() => {
            bail!(10017302, "$scoreFusion has either weights or an expression, which may have weights in it")
        }
        (Some("expression"), Some(expression)) => {
            let names: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
            Ok(Method::Expression { compiled: Expr::compile_with_vars(expression, &cx.at_once(), &names)?, text: expression.to_string() })
        }
        (Some(other), _) => bail!(BadValue, "Enumeration value '{other}' for field '$scoreFusion.combination.method' is not a valid value."),
    }
}

impl Operator for Fusion {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_source(&self) -> bool {
        true
    }

    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        // In a facet the first input reads what the facet does, and the others the collection, as in MongoDB.
        let first = self.cx.within_facet.then_some(input);
        Ok(Box::new(FusionStream { spec: *self, first, sorted: None }))
    }
}

struct FusionStream {
    spec: Fusion,
    first: Option<Box<dyn Stream>>,
    sorted: Option<Sorted>,
}

/// What is kept of a document that an input found, before the document itself.
const HEAD: usize = 4 + 8 + 8;

impl FusionStream {
    /// All documents of all inputs by `_id`, with their ranks and scores, and each input's range of scores.
    fn gather(&mut self, host: &mut dyn Host) -> Result<(Sorted, Vec<Range>)> {
        let spec = &self.spec;
        let mut sorter = Sorter::new(spec.name, spec.cx.allow_disk_use, None);
        let mut ranges = Vec::with_capacity(spec.inputs.len());
        let (mut id, mut row) = (Vec::new(), Vec::new());
        for (at, input) in spec.inputs.iter().enumerate() {
            let mut stream = match self.first.take() {
                Some(facet) => input.compile(&spec.cx)?.open(facet)?,
                None => host.open(&spec.cx.db, &spec.cx.coll, &input.stages, &CompileCx { within_facet: false, ..spec.cx.clone() })?,
            };
            let (mut position, mut rank) = (0u64, 0u64);
            let (mut key, mut last) = (Vec::new(), None::<Vec<u8>>);
            let mut range = (f64::INFINITY, f64::NEG_INFINITY);
            while stream.advance(host)? {
                position += 1;
                key.clear();
                let shared = input.key(&*stream, &mut key)?;
                // Documents of the same key share a rank, and the next one counts them all.
                if shared.is_none() || last.as_ref() != Some(&key) {
                    rank = position;
                    last.get_or_insert_default().clone_from(&key);
                }
                let score = score_of(stream.meta());
                if let Some(score) = score {
                    range = (range.0.min(score), range.1.max(score));
                }
                id.clear();
                keystring::append(&mut id, stream.doc().get("_id"), false, None);
                row.clear();
                row.extend_from_slice(&(at as u32).to_le_bytes());
                row.extend_from_slice(&rank.to_le_bytes());
                // Searches give numbers: what is none is not there.
                row.extend_from_slice(&score.unwrap_or(f64::NAN).to_le_bytes());
                row.extend_from_slice(stream.doc().as_bytes());
                sorter.push(&id, &row, host)?;
                if position.is_multiple_of(512) {
                    host.interrupt()?;
                }
            }
            ranges.push(range);
        }
        Ok((sorter.finish(host)?, ranges))
    }

    /// The documents in the order of their scores, those of the same score by `_id`.
    fn fuse(&mut self, host: &mut dyn Host) -> Result<Sorted> {
        let (mut gathered, ranges) = self.gather(host)?;
        let spec = &self.spec;
        let mut sorter = Sorter::new(spec.name, spec.cx.allow_disk_use, None);
        let mut found = vec![None; spec.inputs.len()];
        let (mut id, mut doc, mut key) = (Vec::new(), Vec::new(), Vec::new());
        let mut more = gathered.advance()?;
        let mut n = 0u32;
        while more {
            id.clear();
            id.extend_from_slice(gathered.key());
            found.fill(None);
            doc.clear();
            while more && gathered.key() == id {
                let (at, one, bytes) = read(gathered.payload())?;
                if doc.is_empty() {
                    doc.extend_from_slice(bytes);
                }
                if let Some(place) = found.get_mut(at) {
                    *place = Some(one);
                }
                more = gathered.advance()?;
            }
            let score = spec.formula.score(&spec.inputs, &found, &ranges)?;
            let meta = DocBuf::build(|w| {
                w.append("score", score);
                if spec.detailed {
                    spec.formula.details(score, &spec.inputs, &found, &ranges, &mut w.document("scoreDetails"));
                }
            });
            key.clear();
            keystring::append(&mut key, Value::Double(score), true, None);
            key.extend_from_slice(&id);
            doc.extend_from_slice(meta.as_bytes());
            sorter.push(&key, &doc, host)?;
            n = n.wrapping_add(1);
            if n.is_multiple_of(512) {
                host.interrupt()?;
            }
        }
        sorter.finish(host)
    }

    /// The current document and its metadata.
    fn parts(&self) -> (Doc<'_>, Doc<'_>) {
        document_and_meta(self.sorted.as_ref().map_or(&[], Sorted::payload))
    }
}

fn read(row: &[u8]) -> Result<(usize, Found, &[u8])> {
    let Some((head, doc)) = row.split_first_chunk::<HEAD>() else { bail!(InternalError, "a row that is too short") };
    let (at, rest) = head.split_at(4);
    let (rank, score) = rest.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let score = f64::from_bits(number(score));
    Ok((number(at) as usize, Found { rank: number(rank), score: (!score.is_nan()).then_some(score) }, doc))
}

impl Stream for FusionStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.sorted.is_none() {
            self.sorted = Some(self.fuse(host)?);
        }
        self.sorted.as_mut().map_or(Ok(false), Sorted::advance)
    }

    fn doc(&self) -> Doc<'_> {
        self.parts().0
    }

    fn meta(&self) -> Doc<'_> {
        self.parts().1
    }

    fn park(&mut self, host: &mut dyn Host) {
        if let Some(sorted) = self.sorted.as_mut().filter(|_| host.resting()) {
            sorted.rest(self.spec.cx.allow_disk_use, host);
        }
    }
}
