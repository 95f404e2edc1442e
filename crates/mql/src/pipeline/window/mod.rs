//! `$setWindowFields`: documents sorted into partitions, and functions over a frame around each.
//!
//! [`function`]: the table of window functions and their arguments; [`frame`]: the argument `window`. Here: the stage, its sorting and the
//! writing of results.
//!
//! Sorted documents are read no further than somebody has to see. [`rows`] keeps those that somebody still needs, and what the functions
//! read of each, in [`column`]s: queues that go to disk where memory is short. [`walk`] moves a frame over them, and a function is a
//! [`slide`]: a state that rows enter and leave. All of them move on together, a row at a time, so that results are kept nowhere.
//! The states are in [`states`], [`collect`] and [`series`]; [`open`] makes them of compiled functions.

mod collect;
mod column;
mod frame;
mod function;
mod open;
mod rows;
mod series;
mod slide;
mod states;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::path::Path;
use smongo_bson::{Doc, DocWriter, Result, Value, bail, keystring};

use super::args::{Spec, field_path};
use super::spill::{Sorted, Sorter};
use super::step::{Step, over};
use super::{Needs, Operator, Stage, set_path};
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::sort::SortPattern;
use crate::stream::{Host, Stream};

use function::Function;
pub use function::window_functions;
use open::Inputs;
use rows::{Input, Rows};
use slide::Running;

/// What window functions know of the stage around them.
pub(super) struct Surroundings {
    /// `sortBy` was given (be it empty).
    pub sorted: bool,
    /// The expression, direction of the only sort key.
    pub single: Option<(String, bool)>,
}

pub(super) struct SetWindowFields {
    order: Order,
    /// The value of the only sort key, which ranges, `$derivative` and the like measure.
    sort_value: Option<Expr>,
    outputs: Vec<(Path, Function)>,
}

/// How documents are sorted into partitions.
struct Order {
    partition: Option<Expr>,
    sort: Option<SortPattern>,
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
    let (mut outputs, mut names): (Vec<(Path, Function)>, BTreeSet<&str>) = Default::default();
    for field in output {
        field_path(field.name())?;
        let path = Path::new(field.name());
        if overlaps(&names, field.name()) || !names.insert(field.name()) {
            bail!(40176, "specification contains two conflicting paths. Cannot specify both '{}' and another path", path.text());
        }
        outputs.push((path, Function::parse(field.value(), &around, cx)?));
    }
    let sort_value = around.single.as_ref().map(|(path, _)| Expr::compile(Value::String(&format!("${path}")), cx)).transpose()?;
    let order = Order { partition, sort, collation: cx.collation.clone(), allow_disk: cx.allow_disk_use };
    out.push(Stage::Other(Box::new(SetWindowFields { order, sort_value, outputs })));
    Ok(())
}

/// Whether a path lies on the way to one of the others, or one of them on the way to it.
fn overlaps(names: &BTreeSet<&str>, path: &str) -> bool {
    let above = path.match_indices('.').any(|(dot, _)| path.get(..dot).is_some_and(|start| names.contains(start)));
    let below = format!("{path}.");
    above || names.range(below.as_str()..).next().is_some_and(|next| next.starts_with(&below))
}

impl Operator for SetWindowFields {
    fn name(&self) -> &'static str {
        "$setWindowFields"
    }
    fn needs(&self, mut after: Needs) -> Needs {
        self.order.partition.iter().for_each(|e| after.expr(e));
        self.order.sort.iter().for_each(|s| after.sort(s));
        self.outputs.iter().for_each(|(_, f)| f.needs(&mut after));
        after
    }
    fn carries(&self) -> bool {
        true
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        let mut inputs = Inputs { list: Vec::new(), sort_value: self.sort_value.map(Arc::new) };
        let mut functions = Vec::with_capacity(self.outputs.len());
        for (path, function) in self.outputs {
            functions.push((path, function.open(&mut inputs)?));
        }
        let plain = functions.iter().all(|(p, _)| p.parts().len() == 1);
        Ok(over(input, WindowStream { order: self.order, inputs: inputs.list, rows: None, row: 0, functions, plain, out: Vec::new() }))
    }
}

impl Order {
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
            if n.is_multiple_of(512) {
                host.interrupt()?;
            }
        }
        sorter.finish(host)
    }
}

struct WindowStream {
    order: Order,
    /// What the functions read, until there are rows.
    inputs: Vec<Input>,
    rows: Option<Rows>,
    row: u64,
    functions: Vec<(Path, Box<dyn Running>)>,
    /// No output path is dotted.
    plain: bool,
    out: Vec<u8>,
}

impl WindowStream {
    /// Sorts the documents.
    fn rows(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<Rows> {
        let sorted = self.order.sort(input, host)?;
        Rows::new(sorted, self.order.partition.is_some(), std::mem::take(&mut self.inputs), self.order.allow_disk)
    }
}

impl Step for WindowStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.rows.is_none() {
            self.rows = Some(self.rows(input, host)?);
        }
        let WindowStream { rows: Some(rows), row, functions, plain, out, .. } = self else { return Ok(false) };
        *row += 1;
        if !rows.reach(*row, host)? {
            if !rows.next_partition()? {
                return Ok(false);
            }
            *row = 0;
            functions.iter_mut().for_each(|(_, f)| f.restart());
            rows.reach(0, host)?;
        }
        if *row % 64 == 0 {
            host.interrupt()?;
        }
        for (_, function) in functions.iter_mut() {
            rows.held = rows.held.saturating_sub(function.size());
            function.next(*row, rows, host)?;
            rows.check_held(function.size(), host)?;
            rows.held += function.size();
        }
        rows.check_memory(host)?;
        write(rows.doc(*row)?, functions, *plain, out);
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}

/// The document with the functions' values.
fn write(doc: Doc<'_>, functions: &[(Path, Box<dyn Running>)], plain: bool, out: &mut Vec<u8>) {
    out.clear();
    if plain {
        let mut w = DocWriter::new(out);
        let mut replaced = 0;
        for field in doc {
            match functions.iter().find(|(path, _)| path.text().as_bytes() == field.name_bytes()) {
                Some((path, function)) => {
                    w.append(path.text(), function.value());
                    replaced += 1;
                }
                None => {
                    w.append_element(&field);
                }
            }
        }
        for (path, function) in functions {
            if replaced == 0 || !doc.contains(path.text()) {
                w.append(path.text(), function.value());
            }
        }
        return;
    }
    let mut current = doc.as_bytes().to_vec();
    for (path, function) in functions {
        out.clear();
        set_path::write_through(&mut DocWriter::new(out), Doc::from_checked(&current), path.parts(), function.value());
        current.clone_from(out);
    }
    *out = current;
}
