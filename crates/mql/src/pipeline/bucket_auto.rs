//! `$bucketAuto`: documents sorted by an expression and cut into ranges of about the same size.

use std::sync::Arc;

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{Doc, DocWriter, Result, Value, ValueBuf, bail, keystring, number};

use super::granularity::{Granularity, boundary};
use super::spill::{Sorted, Sorter};
use super::step::{Step, over};
use super::{Needs, Operator, Stage, bucket, group};
use crate::accum::{Accumulator, State};
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Host, Stream};

struct BucketAuto {
    group_by: Expr,
    buckets: i64,
    output: Vec<(String, Accumulator)>,
    granularity: Option<Granularity>,
    collation: Option<Arc<Collation>>,
    allow_disk: bool,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(40240, "The argument to $bucketAuto must be an object, but found type: {}.", arg.type_name());
    };
    let (mut group_by, mut buckets, mut output, mut granularity) = (None, None, None, None);
    for field in spec {
        let value = field.value();
        match field.name() {
            "groupBy" => {
                if !bucket::is_expression(value) {
                    bail!(40239, "The $bucketAuto 'groupBy' field must be defined as a $-prefixed path or an expression object, but found: {value:?}");
                }
                group_by = Some(Expr::compile(value, cx)?);
            }
            "buckets" => buckets = Some(count(value)?),
            "output" => {
                let Value::Document(d) = value else {
                    bail!(40244, "The $bucketAuto 'output' field must be an object, but found type: {}.", value.type_name());
                };
                let fields = d.iter().map(|f| Ok((f.name().to_owned(), group::accumulator(f.name(), f.value(), cx)?)));
                output = Some(fields.collect::<Result<Vec<_>>>()?);
            }
            "granularity" => {
                let Value::String(name) = value else {
                    bail!(40261, "The $bucketAuto 'granularity' field must be a string, but found type: {}.", value.type_name());
                };
                granularity = Some(Granularity::parse(name)?);
            }
            other => bail!(40245, "Unrecognized option to $bucketAuto: {other}."),
        }
    }
    let (Some(group_by), Some(buckets)) = (group_by, buckets) else {
        bail!(40246, "$bucketAuto requires 'groupBy' and 'buckets' to be specified.");
    };
    let output = match output {
        Some(fields) if !fields.is_empty() => fields,
        _ => vec![("count".to_owned(), Accumulator::compile("$sum", Value::Int32(1), cx)?)],
    };
    let stage = BucketAuto { group_by, buckets, output, granularity, collation: cx.collation.clone(), allow_disk: cx.allow_disk_use };
    out.push(Stage::Other(Box::new(stage)));
    Ok(())
}

fn count(value: Value<'_>) -> Result<i64> {
    if !value.is_number() {
        bail!(40241, "The $bucketAuto 'buckets' field must be a numeric value, but found type: {}.", value.type_name());
    }
    match number::to_i64_exact(value).and_then(|n| i32::try_from(n).ok()) {
        Some(n) if n > 0 => Ok(i64::from(n)),
        Some(n) => bail!(40243, "The $bucketAuto 'buckets' field must be greater than 0, but found: {n}."),
        None => bail!(40242, "The $bucketAuto 'buckets' field must be representable as a 32-bit integer, but found {value:?}."),
    }
}

impl Operator for BucketAuto {
    fn name(&self) -> &'static str {
        "$bucketAuto"
    }
    fn needs(&self, _after: Needs) -> Needs {
        let mut needs = Needs::nothing();
        needs.expr(&self.group_by);
        self.output.iter().for_each(|(_, a)| needs.accumulator(a));
        needs
    }
    fn carries(&self) -> bool {
        true
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, BucketAutoStream { spec: *self, cut: None, out: Vec::new(), arena: Arena::new() }))
    }
}

/// The sorted documents, and where the cutting stands.
struct Cut {
    sorted: Sorted,
    /// The value of the record `sorted` stands on; none at the end.
    next: Option<ValueBuf>,
    size: i64,
    done: i64,
    last_max: Option<ValueBuf>,
    /// A bucket waits for the next one's minimum: its own maximum.
    pending: Option<Bucket>,
}

struct Bucket {
    min: ValueBuf,
    max: ValueBuf,
    states: Vec<Box<dyn State>>,
}

struct BucketAutoStream {
    spec: BucketAuto,
    cut: Option<Cut>,
    out: Vec<u8>,
    arena: Arena,
}

impl BucketAuto {
    fn collator(&self) -> Option<&dyn Collator> {
        self.collation.as_deref().map(|c| c as &dyn Collator)
    }

    /// Reads and sorts the input. A record's payload is `{"": value}` followed by the document.
    fn sort(&self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<Cut> {
        let mut sorter = Sorter::new("$bucketAuto", self.allow_disk, None);
        let (mut key, mut payload, mut arena) = (Vec::new(), Vec::new(), Arena::new());
        let mut n = 0i64;
        while input.advance(host)? {
            arena.reset();
            arena.set_meta(input.meta());
            let doc = input.doc();
            let value = match self.group_by.eval(&Cx::new(&arena, doc, self.group_by.slots()))? {
                Value::Missing => Value::Null,
                v => v,
            };
            key.clear();
            keystring::append(&mut key, value, false, self.collator());
            payload.clear();
            let mut w = DocWriter::new(&mut payload);
            w.append("", value);
            w.append("", doc);
            w.finish();
            sorter.push(&key, &payload, host)?;
            n += 1;
            if n % 512 == 0 {
                host.interrupt()?;
            }
        }
        let size = ((n as f64 / self.buckets as f64).round() as i64).max(1);
        let mut cut = Cut { sorted: sorter.finish(host)?, next: None, size, done: 0, last_max: None, pending: None };
        cut.step()?;
        Ok(cut)
    }

    /// Adds the record the cut stands on and moves on.
    fn take(&self, bucket: &mut Bucket, cut: &mut Cut, arena: &mut Arena) -> Result<()> {
        arena.reset();
        let record = Doc::from_checked(cut.sorted.payload());
        let doc = record.iter().nth(1).and_then(|f| f.value().as_doc()).unwrap_or(Doc::EMPTY);
        let slots = self.output.iter().map(|(_, a)| a.slots()).max().unwrap_or(0);
        let cx = Cx::new(arena, doc, slots);
        let mut key = Vec::new();
        for ((_, accumulator), state) in self.output.iter().zip(&mut bucket.states) {
            accumulator.feed(state.as_mut(), &cx, &mut key)?;
            accumulator.check_size(state.as_ref())?;
        }
        if let Some(value) = cut.next.take() {
            bucket.max = value;
        }
        cut.step()
    }

    /// Fills the next bucket; `None` when no document is left.
    fn fill(&self, cut: &mut Cut, arena: &mut Arena) -> Result<Option<Bucket>> {
        let Some(first) = &cut.next else { return Ok(None) };
        let states = self.output.iter().map(|(_, a)| a.start(Doc::EMPTY, arena)).collect::<Result<Vec<_>>>()?;
        let mut bucket = Bucket { min: first.clone(), max: first.clone(), states };
        let last = cut.done + 1 == self.buckets;
        let mut n = 0;
        while cut.next.is_some() && (last || n < cut.size) {
            self.take(&mut bucket, cut, arena)?;
            n += 1;
        }
        match self.granularity {
            Some(g) => self.round(g, &mut bucket, cut, arena)?,
            None => {
                while cut.next.as_ref().is_some_and(|v| compare_with(v.view(), bucket.max.view(), self.collator()).is_eq()) {
                    self.take(&mut bucket, cut, arena)?;
                }
            }
        }
        cut.done += 1;
        Ok(Some(bucket))
    }

    /// Moves the bucket's bounds to preferred numbers and takes in what falls below the upper one.
    fn round(&self, g: Granularity, bucket: &mut Bucket, cut: &mut Cut, arena: &mut Arena) -> Result<()> {
        let low = g.down(boundary(bucket.min.view())?);
        let high = g.up(boundary(bucket.max.view())?);
        while let Some(next) = &cut.next {
            if boundary(next.view())? >= high {
                break;
            }
            self.take(bucket, cut, arena)?;
        }
        let high = match &cut.next {
            Some(next) if high == 0.0 => g.down(boundary(next.view())?),
            _ => high,
        };
        bucket.min = cut.last_max.take().unwrap_or_else(|| g.value(bucket.min.view(), low));
        bucket.max = g.value(bucket.max.view(), high);
        cut.last_max = Some(bucket.max.clone());
        Ok(())
    }
}

impl Cut {
    fn step(&mut self) -> Result<()> {
        self.next = match self.sorted.advance()? {
            true => Doc::from_checked(self.sorted.payload()).first().map(|f| ValueBuf::new(f.value())),
            false => None,
        };
        Ok(())
    }
}

impl Step for BucketAutoStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        let mut cut = match self.cut.take() {
            Some(cut) => cut,
            None => {
                let mut cut = self.spec.sort(input, host)?;
                cut.pending = self.spec.fill(&mut cut, &mut self.arena)?;
                cut
            }
        };
        let Some(mut bucket) = cut.pending.take() else {
            self.cut = Some(cut);
            return Ok(false);
        };
        cut.pending = if cut.done < self.spec.buckets { self.spec.fill(&mut cut, &mut self.arena)? } else { None };
        if let (None, Some(next)) = (self.spec.granularity, &cut.pending) {
            bucket.max = next.min.clone();
        }
        self.cut = Some(cut);
        self.out.clear();
        let mut w = DocWriter::new(&mut self.out);
        w.document("_id").append("min", bucket.min.view()).append("max", bucket.max.view());
        for ((name, _), state) in self.spec.output.iter().zip(&mut bucket.states) {
            let value = state.finish()?;
            match value.view() {
                Value::Missing => w.append(name, Value::Null),
                v => w.append(name, v),
            };
        }
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}
