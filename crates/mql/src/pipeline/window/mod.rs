//! `$setWindowFields`: documents sorted into partitions, and functions over a frame around each.
//!
//! [`frame`]: which documents a frame holds. [`function`]: the table of window functions and their arguments. [`compute`]: their values
//! for a partition. Here: the stage, its sorting and the writing of results.

mod compute;
mod frame;
mod function;
mod series;

use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::path::Path;
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail, keystring};

use super::args::{Spec, field_path};
use super::spill::{Sorted, Sorter};
use super::{Needs, Operator, Stage, set_path};
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::sort::SortPattern;
use crate::stream::{Host, Stream};

use function::Function;
pub use function::window_functions;

/// What window functions know of the stage around them.
pub(super) struct Surroundings {
    /// `sortBy` was given (be it empty).
    pub sorted: bool,
    /// The expression, direction of the only sort key.
    pub single: Option<(String, bool)>,
}

pub(super) struct SetWindowFields {
    partition: Option<Expr>,
    sort: Option<SortPattern>,
    /// The value of the only sort key, which ranges, `$derivative` and the like measure.
    sort_value: Option<Expr>,
    outputs: Vec<(Path, Function)>,
    collation: Option<Arc<Collation>>,
    allow_disk: bool,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(doc) = arg else {
        bail!(FailedToParse, "the $setWindowFields stage specification must be an object, found {}", arg.type_name());
    };
    let spec = Spec::read("$setWindowFields", doc, &["output", "partitionBy", "sortBy"])?;
    let order = spec.document("sortBy")?;
    let output = spec.require("output", spec.document("output")?)?;
    let partition = spec.raw("partitionBy").map(|v| Expr::compile(v, cx)).transpose()?;
    let partition = partition.filter(|e| e.constant().is_none_or(|c| matches!(c, Value::Array(_))));
    let sort = order.filter(|d| !d.is_empty()).map(|d| SortPattern::compile(d, cx)).transpose()?;
    let single = match sort.as_ref().map(|s| s.parts.as_slice()) {
        Some([part]) => Some((part.path.text().to_owned(), part.descending)),
        _ => None,
    };
    let around = Surroundings { sorted: order.is_some(), single };
    let mut outputs: Vec<(Path, Function)> = Vec::new();
    for field in output {
        field_path(field.name())?;
        let path = Path::new(field.name());
        if outputs.iter().any(|(p, _)| p.overlaps(&path)) {
            bail!(40176, "specification contains two conflicting paths. Cannot specify both '{}' and another path", path.text());
        }
        outputs.push((path, Function::parse(field.value(), &around, cx)?));
    }
    let sort_value = around.single.as_ref().map(|(path, _)| Expr::compile(Value::String(&format!("${path}")), cx)).transpose()?;
    let stage = SetWindowFields { partition, sort, sort_value, outputs, collation: cx.collation.clone(), allow_disk: cx.allow_disk_use };
    out.push(Stage::Other(Box::new(stage)));
    Ok(())
}

impl Operator for SetWindowFields {
    fn name(&self) -> &'static str {
        "$setWindowFields"
    }
    fn needs(&self, mut after: Needs) -> Needs {
        self.partition.iter().for_each(|e| after.expr(e));
        self.sort.iter().for_each(|s| after.sort(s));
        self.outputs.iter().for_each(|(_, f)| f.needs(&mut after));
        after
    }
    fn carries(&self) -> bool {
        true
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        let plain = self.outputs.iter().all(|(p, _)| p.parts().len() == 1);
        Ok(Box::new(WindowStream { input, spec: *self, sorted: None, more: false, partition: Partition::default(), row: 0, plain, out: Vec::new() }))
    }
}

/// The documents of a partition, what the functions read of them, and the functions' results.
#[derive(Default)]
pub(super) struct Partition {
    pub docs: Vec<DocBuf>,
    /// Sort keys, to tell ties.
    pub keys: Vec<Box<[u8]>>,
    /// Values of the only sort key.
    pub sort_values: Vec<ValueBuf>,
    results: Vec<Vec<Arc<ValueBuf>>>,
    /// Bytes of documents, keys and sort values.
    pub size: usize,
}

/// What a document costs beside its bytes and key.
const ROW: usize = 128;

/// A partition and its results must fit into memory.
fn check_memory(size: usize, host: &dyn Host) -> Result<()> {
    if size > host.memory_limit() {
        bail!(5643011, "Exceeded max memory. Current memory: {size} bytes. Max allowed memory: {} bytes", host.memory_limit());
    }
    Ok(())
}

struct WindowStream {
    input: Box<dyn Stream>,
    spec: SetWindowFields,
    sorted: Option<Sorted>,
    /// `sorted` stands on a record that belongs to the next partition.
    more: bool,
    partition: Partition,
    row: usize,
    /// No output path is dotted.
    plain: bool,
    out: Vec<u8>,
}

impl SetWindowFields {
    fn sort(&self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<Sorted> {
        let mut sorter = Sorter::new("$setWindowFields", self.allow_disk, None);
        let (mut key, mut arena) = (Vec::new(), Arena::new());
        let mut n = 0u32;
        while input.advance(host)? {
            let doc = input.doc();
            key.clear();
            if let Some(partition) = &self.partition {
                arena.reset();
                let value = match partition.eval(&Cx::new(&arena, doc, partition.slots()))? {
                    Value::Array(_) => bail!(TypeMismatch, "An expression used to partition cannot evaluate to value of type array"),
                    Value::Missing => Value::Null,
                    v => v,
                };
                keystring::append(&mut key, value, false, self.collation.as_deref().map(|c| c as &dyn Collator));
            }
            if let Some(sort) = &self.sort {
                sort.append_key(doc, &mut key)?;
            }
            sorter.push(&key, doc.as_bytes(), host)?;
            n = n.wrapping_add(1);
            if n % 512 == 0 {
                host.interrupt()?;
            }
        }
        sorter.finish(host)
    }

    /// Where the sort key begins in a record's key.
    fn sort_key<'k>(&self, key: &'k [u8]) -> Result<&'k [u8]> {
        if self.partition.is_some() { keystring::skip(key, false) } else { Ok(key) }
    }

    /// Reads the partition that begins at the current record; `more` says whether another follows.
    fn read(&self, sorted: &mut Sorted, more: &mut bool, host: &mut dyn Host) -> Result<Partition> {
        let mut partition = Partition::default();
        let mut arena = Arena::new();
        let prefix = sorted.key().len() - self.sort_key(sorted.key())?.len();
        let group: Box<[u8]> = sorted.key().get(..prefix).unwrap_or(&[]).into();
        while *more && sorted.key().starts_with(&group) {
            let doc = DocBuf::from_checked(sorted.payload().to_vec());
            partition.size += doc.as_bytes().len() + sorted.key().len() + ROW;
            check_memory(partition.size, host)?;
            if let Some(expr) = &self.sort_value {
                arena.reset();
                partition.sort_values.push(ValueBuf::new(expr.eval(&Cx::new(&arena, doc.as_doc(), expr.slots()))?));
            }
            partition.keys.push(sorted.key().get(prefix..).unwrap_or(&[]).into());
            partition.docs.push(doc);
            *more = sorted.advance()?;
        }
        host.interrupt()?;
        Ok(partition)
    }
}

impl WindowStream {
    /// Makes the next partition current; `false` at the end.
    fn next_partition(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.sorted.is_none() {
            let mut sorted = self.spec.sort(self.input.as_mut(), host)?;
            self.more = sorted.advance()?;
            self.sorted = Some(sorted);
        }
        let Some(sorted) = &mut self.sorted else { return Ok(false) };
        if !self.more {
            return Ok(false);
        }
        let mut partition = self.spec.read(sorted, &mut self.more, host)?;
        for (_, function) in &self.spec.outputs {
            let results = compute::run(function, &partition, host)?;
            partition.results.push(results);
        }
        self.partition = partition;
        self.row = 0;
        Ok(true)
    }

    fn write(&mut self) {
        self.out.clear();
        let Some(doc) = self.partition.docs.get(self.row) else { return };
        let doc = doc.as_doc();
        let row = self.row;
        let results = self.partition.results.iter().map(|r| r.get(row).map_or(Value::Null, |v| v.view()));
        let results = results.map(|v| if v.is_missing() { Value::Null } else { v });
        let fields = self.spec.outputs.iter().map(|(p, _)| p).zip(results);
        if self.plain {
            let mut w = DocWriter::new(&mut self.out);
            for field in doc {
                match fields.clone().find(|(p, _)| p.text() == field.name()) {
                    Some((_, value)) => w.append(field.name(), value),
                    None => w.append_element(&field),
                };
            }
            for (path, value) in fields.filter(|(p, _)| !doc.contains(p.text())) {
                w.append(path.text(), value);
            }
            return;
        }
        let mut current = doc.as_bytes().to_vec();
        for (path, value) in fields {
            self.out.clear();
            set_path::write(&mut DocWriter::new(&mut self.out), Doc::from_checked(&current), path.parts(), value);
            current.clone_from(&self.out);
        }
        self.out = current;
    }
}

impl Stream for WindowStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        self.row += 1;
        if self.row >= self.partition.docs.len() && !self.next_partition(host)? {
            return Ok(false);
        }
        self.write();
        Ok(true)
    }
    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.out)
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
