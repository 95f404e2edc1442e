//! `$densify`: documents for the values of a field that are missing in a sequence.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smongo_bson::compare::{Collator, compare};
use smongo_bson::path::{self, Path};
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail, keystring, number};

use super::args::{Spec, field_path, show};
use super::spill::{Sorted, Sorter};
use super::time::{TimeUnit, add_time};
use super::{Operator, Stage, set_path};
use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::stream::{Host, Stream};

/// The most documents one stage may make.
const MAX_GENERATED: u64 = 500_000;

struct Densify {
    field: Path,
    partition_by: Vec<Path>,
    step: ValueBuf,
    unit: Option<TimeUnit>,
    bounds: Bounds,
    collation: Option<Arc<Collation>>,
    allow_disk: bool,
}

enum Bounds {
    Full,
    Partition,
    /// From the first, included, to the second, excluded.
    Explicit(ValueBuf, ValueBuf),
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(doc) = arg else {
        bail!(5733201, "The $densify stage specification must be an object, found {}", arg.type_name());
    };
    let spec = Spec::read("$densify", doc, &["field", "partitionByFields", "range"])?;
    let field = spec.require("field", spec.string("field")?)?;
    field_path(field)?;
    let mut partition_by = Vec::new();
    match spec.get("partitionByFields") {
        None => {}
        Some(Value::Array(list)) => {
            for f in list.iter() {
                let Value::String(f) = f else { return Err(spec.wrong("partitionByFields", f, "string")) };
                field_path(f)?;
                if Path::new(f).overlaps(&Path::new(field)) {
                    bail!(8993000, "BSON field '$densify.partitionByFields' contains a field that conflicts with the field to densify");
                }
                partition_by.push(Path::new(f));
            }
        }
        Some(v) => return Err(spec.wrong("partitionByFields", v, "array")),
    }
    let range = spec.require("range", spec.document("range")?)?;
    let range = Spec::read("$densify.range", range, &["bounds", "step", "unit"])?;
    let step = range.require("step", range.get("step"))?;
    if !step.is_number() {
        bail!(TypeMismatch, "BSON field '$densify.range.step' is the wrong type '{}', expected types '[int, decimal, double, long]'", step.type_name());
    }
    if number::compare(step, Value::Int32(0)).is_le() {
        bail!(5733401, "the step parameter in a range statement must be a strictly positive numeric value");
    }
    let unit = match range.string("unit")? {
        None => None,
        Some(name) => match TimeUnit::parse(name) {
            Some(unit) if number::to_i64_exact(step).is_some() => Some(unit),
            Some(_) => bail!(6586400, "the step parameter in a range statement must be a whole number when densifying a date range"),
            None => bail!(FailedToParse, "unknown time unit value: {name}"),
        },
    };
    let bounds = parse_bounds(range.require("bounds", range.get("bounds"))?, unit)?;
    if matches!(bounds, Bounds::Partition) && partition_by.is_empty() {
        bail!(5733408, "one may not specify the bounds as 'partition' without specifying a non-empty array of partitionByFields. You may have meant to specify 'full' bounds.");
    }
    let (collation, allow_disk) = (cx.collation.clone(), cx.allow_disk_use);
    let stage = Densify { field: Path::new(field), partition_by, step: ValueBuf::new(step), unit, bounds, collation, allow_disk };
    out.push(Stage::Other(Box::new(stage)));
    Ok(())
}

fn parse_bounds(bounds: Value<'_>, unit: Option<TimeUnit>) -> Result<Bounds> {
    match bounds {
        Value::String("full") => Ok(Bounds::Full),
        Value::String("partition") => Ok(Bounds::Partition),
        Value::String(other) => bail!(5946802, "Bounds string must either be 'full' or 'partition', but found '{other}'"),
        Value::Array(list) => {
            let list: Vec<_> = list.iter().collect();
            let [low, high] = list.as_slice() else {
                bail!(5733403, "a bounding array in a range statement must have exactly two elements");
            };
            let dates = matches!((low, high), (Value::DateTime(_), Value::DateTime(_)));
            if !dates && !(low.is_number() && high.is_number()) {
                bail!(5733402, "a bounding array must contain either both dates or both numeric types");
            }
            if dates && unit.is_none() {
                bail!(5733501, "$densify with date bounds requires a 'unit'");
            }
            if !dates && unit.is_some() {
                bail!(5733409, "numeric bounds may not have unit parameter");
            }
            if compare(*low, *high).is_gt() {
                bail!(5733411, "the bounds in a range statement must be the string 'full', 'partition', or an ascending array of two numbers or two dates");
            }
            Ok(Bounds::Explicit(ValueBuf::new(*low), ValueBuf::new(*high)))
        }
        _ => bail!(5733404, "the bounds in a range statement must be the string 'full', 'partition', or an ascending array of two numbers or two dates"),
    }
}

impl Operator for Densify {
    fn name(&self) -> &'static str {
        "$densify"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(Box::new(DensifyStream {
            input,
            spec: *self,
            sorted: None,
            partitions: Vec::new(),
            index: HashMap::new(),
            filling: VecDeque::new(),
            held: None,
            closing: 0,
            ended: false,
            low: None,
            high: None,
            generated: 0,
            out: Vec::new(),
        }))
    }
}

/// A partition and the next value of its sequence.
struct Sequence {
    /// The partition's fields as they are written into the documents made.
    fields: Vec<ValueBuf>,
    base: ValueBuf,
    steps: i64,
    next: ValueBuf,
}

/// Up to where a partition is being filled.
struct Filling {
    partition: usize,
    until: ValueBuf,
    inclusive: bool,
}

struct DensifyStream {
    input: Box<dyn Stream>,
    spec: Densify,
    sorted: Option<Sorted>,
    partitions: Vec<Sequence>,
    index: HashMap<Vec<u8>, usize>,
    /// What is to be filled before `held`, in this order.
    filling: VecDeque<Filling>,
    /// The input document that comes after what is being filled.
    held: Option<DocBuf>,
    /// The next partition to fill to its end.
    closing: usize,
    ended: bool,
    /// The least and the greatest value of all.
    low: Option<ValueBuf>,
    high: Option<ValueBuf>,
    generated: u64,
    out: Vec<u8>,
}

impl Densify {
    fn sort(&self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<Sorted> {
        let mut sorter = Sorter::new("$densify", self.allow_disk, None);
        let mut key = Vec::new();
        while input.advance(host)? {
            let doc = input.doc();
            key.clear();
            if !matches!(self.bounds, Bounds::Full) {
                self.partition_key(doc, &mut key);
            }
            keystring::append(&mut key, self.value(doc)?, false, None);
            sorter.push(&key, doc.as_bytes(), host)?;
        }
        sorter.finish(host)
    }

    fn partition_key(&self, doc: Doc<'_>, key: &mut Vec<u8>) {
        let collator = self.collation.as_deref().map(|c| c as &dyn Collator);
        for path in &self.partition_by {
            let value = path::get(doc, path.parts());
            keystring::append(key, if value.is_missing() { Value::Null } else { value }, false, collator);
        }
    }

    fn partition_fields(&self, doc: Doc<'_>) -> Vec<ValueBuf> {
        self.partition_by.iter().map(|p| ValueBuf::new(path::get(doc, p.parts()))).collect()
    }

    /// The value to be densified; null and missing stand outside all sequences.
    fn value<'d>(&self, doc: Doc<'d>) -> Result<Value<'d>> {
        match (path::get(doc, self.field.parts()), self.unit) {
            (v, _) if v.is_nullish() => Ok(Value::Null),
            (v @ Value::DateTime(_), Some(_)) => Ok(v),
            (Value::DateTime(_), None) => bail!(6053600, "$densify field type must be numeric, or 'unit' must be given for dates"),
            (v, Some(_)) => bail!(6053601, "$densify with a unit requires the field to be a date, but found {}", show(v)),
            (v, None) if v.is_number() => Ok(v),
            (v, None) => bail!(5733201, "$densify field type must be numeric or date, but found {}", v.type_name()),
        }
    }
}

impl Sequence {
    fn new(base: ValueBuf, fields: Vec<ValueBuf>) -> Sequence {
        Sequence { fields, next: base.clone(), base, steps: 0 }
    }

    fn step(&mut self, spec: &Densify) -> Result<()> {
        self.steps += 1;
        self.next = match (self.base.view(), spec.unit) {
            (Value::DateTime(base), Some(unit)) => {
                let by = number::to_i64_exact(spec.step.view()).unwrap_or(1).saturating_mul(self.steps);
                ValueBuf::new(Value::DateTime(add_time(base, unit, by)?))
            }
            _ => ValueBuf::new(number::add(self.next.view(), spec.step.view())?),
        };
        Ok(())
    }
}

impl DensifyStream {
    /// Takes the next input document: finds its partition and what must be filled before it. `false` at the end.
    fn take(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.sorted.is_none() {
            self.sorted = Some(self.spec.sort(self.input.as_mut(), host)?);
        }
        let Some(sorted) = &mut self.sorted else { return Ok(false) };
        if self.ended || !sorted.advance()? {
            self.ended = true;
            return Ok(false);
        }
        let doc = DocBuf::from_checked(sorted.payload().to_vec());
        let value = ValueBuf::new(self.spec.value(doc.as_doc())?);
        if value.view().is_nullish() {
            self.held = Some(doc);
            return Ok(true);
        }
        self.low.get_or_insert_with(|| value.clone());
        self.high = Some(value.clone());
        let partition = self.partition(doc.as_doc(), &value);
        let until = match &self.spec.bounds {
            Bounds::Explicit(_, high) if compare(high.view(), value.view()).is_lt() => high.clone(),
            _ => value,
        };
        // With explicit bounds, the partitions before this one are over: each is filled up to the upper bound.
        if let Bounds::Explicit(_, high) = &self.spec.bounds {
            let high = high.clone();
            while self.closing < partition {
                self.filling.push_back(Filling { partition: self.closing, until: high.clone(), inclusive: false });
                self.closing += 1;
            }
        }
        self.filling.push_back(Filling { partition, until, inclusive: false });
        self.held = Some(doc);
        Ok(true)
    }

    fn partition(&mut self, doc: Doc<'_>, value: &ValueBuf) -> usize {
        let mut key = Vec::new();
        self.spec.partition_key(doc, &mut key);
        if let Some(at) = self.index.get(&key) {
            // Under a collation the documents of a partition may spell its fields differently.
            if self.spec.collation.is_some() && let Some(sequence) = self.partitions.get_mut(*at) {
                sequence.fields = self.spec.partition_fields(doc);
            }
            return *at;
        }
        let fields = self.spec.partition_fields(doc);
        let base = match &self.spec.bounds {
            Bounds::Full => self.low.clone().unwrap_or_else(|| value.clone()),
            Bounds::Partition => value.clone(),
            Bounds::Explicit(low, _) => low.clone(),
        };
        let at = self.partitions.len();
        self.partitions.push(Sequence::new(base, fields));
        self.index.insert(key, at);
        at
    }

    /// Makes the next document of the partition being filled; `false` when that is done.
    fn generate(&mut self) -> Result<bool> {
        let Some(filling) = self.filling.front() else { return Ok(false) };
        let Some(sequence) = self.partitions.get_mut(filling.partition) else { return Ok(false) };
        let order = compare(sequence.next.view(), filling.until.view());
        if order.is_lt() || (order.is_eq() && filling.inclusive) {
            self.generated += 1;
            if self.generated > MAX_GENERATED {
                bail!(5897900, "Generated {} documents in $densify, which is over the limit of {MAX_GENERATED}. Increase the 'internalQueryMaxAllowedDensifyDocs' parameter to allow more generated documents", self.generated);
            }
            let mut doc = DocBuf::new();
            for (path, value) in self.spec.partition_by.iter().zip(&sequence.fields) {
                doc = DocBuf::build(|w| set_path::write(w, doc.as_doc(), path.parts(), value.view()));
            }
            self.out.clear();
            set_path::write(&mut DocWriter::new(&mut self.out), doc.as_doc(), self.spec.field.parts(), sequence.next.view());
            sequence.step(&self.spec)?;
            return Ok(true);
        }
        if order.is_eq() {
            sequence.step(&self.spec)?;
        }
        self.filling.pop_front();
        Ok(false)
    }

    /// After the last document: what is to be filled of the next partition; `false` when all are done.
    fn close(&mut self) -> bool {
        if let (Bounds::Explicit(low, _), true, true) = (&self.spec.bounds, self.partitions.is_empty(), self.spec.partition_by.is_empty()) {
            self.partitions.push(Sequence::new(low.clone(), Vec::new()));
        }
        if self.closing >= self.partitions.len() {
            return false;
        }
        let partition = self.closing;
        self.closing += 1;
        let filling = match &self.spec.bounds {
            Bounds::Explicit(_, high) => Some(Filling { partition, until: high.clone(), inclusive: false }),
            Bounds::Full => self.high.clone().map(|until| Filling { partition, until, inclusive: true }),
            Bounds::Partition => None,
        };
        self.filling.extend(filling);
        true
    }
}

impl Stream for DensifyStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        loop {
            if !self.filling.is_empty() {
                if self.generate()? {
                    return Ok(true);
                }
                continue;
            }
            if let Some(doc) = self.held.take() {
                self.out.clear();
                self.out.extend_from_slice(doc.as_bytes());
                return Ok(true);
            }
            host.interrupt()?;
            if !self.take(host)? && !self.close() {
                return Ok(false);
            }
        }
    }
    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.out)
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
