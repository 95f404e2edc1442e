//! `$group`: a hash table of states, spilled by key when it outgrows its memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::{Code, Doc, DocBuf, DocWriter, Error, Result, Value, ValueBuf, bail, keystring};

use super::spill::{RESTS_IN_MEMORY, Sorted, Sorter, over_limit, to_file};
use super::step::{Step, over};
use super::{Needs, Operator, Stage};
use crate::accum::{Accumulator, State, is_accumulator};
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Host, Stream};

/// A compiled `$group`.
pub(super) struct Group {
    pub id: Expr,
    pub fields: Vec<(String, Accumulator)>,
    collation: Option<Arc<Collation>>,
    allow_disk: bool,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else { bail!(15947, "a group's fields must be specified in an object") };
    let mut id = None;
    let mut fields: Vec<(String, Accumulator)> = Vec::new();
    for field in spec {
        match field.name() {
            "_id" => {
                if id.is_some() {
                    bail!(15948, "a group's _id may only be specified once");
                }
                id = Some(group_id(field.value(), cx)?);
            }
            name => fields.push((name.to_owned(), accumulator(name, field.value(), cx)?)),
        }
    }
    let Some(id) = id else { bail!(15955, "a group specification must include an _id") };
    let mut names = HashSet::new();
    if let Some((name, _)) = fields.iter().find(|(name, _)| !names.insert(name.as_str())) {
        bail!(16406, "duplicate field name {name}");
    }
    let group = Group { id, fields, collation: cx.collation.clone(), allow_disk: cx.allow_disk_use };
    out.push(Stage::Other(Box::new(group)));
    Ok(())
}

/// The `_id` expression. `{a: 1}` looks like a projection and is refused.
fn group_id(value: Value<'_>, cx: &CompileCx) -> Result<Expr> {
    if let Value::Document(d) = value {
        for field in d {
            if field.name().starts_with('$') {
                break;
            }
            if field.value().is_number() || matches!(field.value(), Value::Bool(_)) {
                bail!(17390, "$group does not support inclusion-style expressions");
            }
        }
    }
    Expr::compile(value, cx)
}

/// Compiles `name: {$sum: …}` of `$group`, `$bucket` and `$bucketAuto`.
pub(super) fn accumulator(name: &str, value: Value<'_>, cx: &CompileCx) -> Result<Accumulator> {
    if name.contains('.') {
        bail!(40235, "The field name '{name}' cannot contain '.'");
    }
    if name.starts_with('$') {
        bail!(40236, "The field name '{name}' cannot be an operator name");
    }
    let first = value.as_doc().and_then(Doc::first);
    let Some(first) = first.filter(|f| f.name().starts_with('$')) else {
        bail!(40234, "The field '{name}' must be an accumulator object");
    };
    if value.as_doc().is_some_and(|d| d.len() != 1) {
        bail!(40238, "The field '{name}' must specify one accumulator");
    }
    let operator = first.name();
    if let Value::Array(_) = first.value() {
        bail!(40237, "The {operator} accumulator is a unary operator");
    }
    if !is_accumulator(operator) {
        bail!(15952, "unknown group operator '{operator}'");
    }
    Accumulator::compile(operator, first.value(), cx)
}

impl Operator for Group {
    fn name(&self) -> &'static str {
        "$group"
    }
    fn needs(&self, _after: Needs) -> Needs {
        let mut needs = Needs::nothing();
        needs.expr(&self.id);
        self.fields.iter().for_each(|(_, a)| needs.accumulator(a));
        needs
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, GroupStream { table: Table::new(*self), output: None, out: Vec::new() }))
    }
}

/// One group: its `_id` as it was first seen, and a state for each accumulator.
struct Entry {
    key: Box<[u8]>,
    id: ValueBuf,
    states: Box<[Box<dyn State>]>,
}

struct Table {
    spec: Group,
    index: HashMap<u64, u32, Passthrough>,
    /// Groups whose keys hash alike hang on one chain: the next one's position.
    next: Vec<u32>,
    entries: Vec<Entry>,
    size: usize,
    grows: bool,
    slots: usize,
    key: Vec<u8>,
    sort_key: Vec<u8>,
    arena: Arena,
}

/// The codes of errors in expressions of a `$group`, which MongoDB's other execution engine runs, are its own.
fn pushed_down(e: Error) -> Error {
    let code = match (e.code().0, e.message()) {
        (2, m) if m.contains("$divide by zero") => 4848401,
        (16610, _) => 4848403,
        (40400, m) if m.starts_with("$mergeObjects requires object") => 5911200,
        _ => return e,
    };
    Error::new(Code(code), e.message())
}

/// The keys of the index are hashes already.
#[derive(Clone, Default)]
pub(super) struct Passthrough(u64);

impl std::hash::BuildHasher for Passthrough {
    type Hasher = Passthrough;
    fn build_hasher(&self) -> Passthrough {
        Passthrough(0)
    }
}

impl std::hash::Hasher for Passthrough {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = smongo_bson::hash::hash_bytes(bytes);
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

const NONE: u32 = u32::MAX;
/// What a group costs beside its key, `_id` and growing states.
const OVERHEAD: usize = 96;
const STATE: usize = 96;

impl Table {
    fn new(spec: Group) -> Table {
        let slots = spec.fields.iter().map(|(_, a)| a.slots()).chain([spec.id.slots()]).max().unwrap_or(0);
        let grows = spec.fields.iter().any(|(_, a)| a.grows());
        Table {
            spec,
            index: HashMap::default(),
            next: Vec::new(),
            entries: Vec::new(),
            size: 0,
            grows,
            slots,
            key: Vec::new(),
            sort_key: Vec::new(),
            arena: Arena::new(),
        }
    }

    fn feed(&mut self, doc: Doc<'_>, meta: Doc<'_>) -> Result<()> {
        self.arena.reset();
        self.arena.set_meta(meta);
        let cx = Cx::new(&self.arena, doc, self.slots);
        let id = match self.spec.id.eval(&cx)? {
            Value::Missing => Value::Null,
            v => v,
        };
        self.key.clear();
        keystring::append(&mut self.key, id, false, self.spec.collation.as_deref().map(|c| c as &dyn Collator));
        let hash = smongo_bson::hash::hash_bytes(&self.key);
        let at = match find(&self.index, &self.next, &self.entries, hash, &self.key) {
            Some(at) => at,
            None => {
                let entry = entry(&self.spec, &self.key, id, &self.arena)?;
                self.size += entry.key.len() + entry.id.size() + OVERHEAD + entry.states.len() * STATE;
                let at = self.entries.len();
                self.next.push(self.index.insert(hash, at as u32).unwrap_or(NONE));
                self.entries.push(entry);
                at
            }
        };
        let Some(entry) = self.entries.get_mut(at) else { return Ok(()) };
        for ((_, accumulator), state) in self.spec.fields.iter().zip(entry.states.iter_mut()) {
            if self.grows && accumulator.grows() {
                let before = state.size();
                accumulator.feed(state.as_mut(), &cx, &mut self.sort_key)?;
                self.size = (self.size + state.size()).saturating_sub(before);
                accumulator.check_size(state.as_ref())?;
            } else {
                accumulator.feed(state.as_mut(), &cx, &mut self.sort_key)?;
            }
        }
        Ok(())
    }

    /// Moves all groups to the sorter's file, by key. Each is let go when it is written.
    fn spill(&mut self, sorter: &mut Sorter, host: &mut dyn Host) -> Result<()> {
        self.index.clear();
        self.next.clear();
        self.size = 0;
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let records = entries.into_iter().map(|mut entry| {
            let mut payload = Vec::new();
            let mut w = DocWriter::new(&mut payload);
            w.append("", entry.id.view());
            for state in &mut entry.states {
                w.append("", state.partial()?.view());
            }
            w.finish();
            Ok((entry.key, payload))
        });
        sorter.write_run(host, records)
    }
}

fn find(index: &HashMap<u64, u32, Passthrough>, next: &[u32], entries: &[Entry], hash: u64, key: &[u8]) -> Option<usize> {
    let mut at = *index.get(&hash)?;
    while let Some(entry) = entries.get(at as usize) {
        if *entry.key == *key {
            return Some(at as usize);
        }
        at = *next.get(at as usize)?;
    }
    None
}

fn entry(spec: &Group, key: &[u8], id: Value<'_>, arena: &Arena) -> Result<Entry> {
    let id_doc = id.as_doc().unwrap_or(Doc::EMPTY);
    let states = spec.fields.iter().map(|(_, a)| a.start(id_doc, arena)).collect::<Result<Vec<_>>>()?;
    Ok(Entry { key: key.into(), id: ValueBuf::new(id), states: states.into() })
}

/// What comes out: the table's groups, or the merged runs.
enum Output {
    Table(std::vec::IntoIter<Entry>),
    /// The flag says that `Sorted` stands on a record that has not been used.
    Runs(Sorted, bool),
    /// Finished groups, on disk while nobody reads them.
    Rested(Sorted),
    /// They could not be put there.
    Lost(Error),
}

struct GroupStream {
    table: Table,
    output: Option<Output>,
    out: Vec<u8>,
}

impl GroupStream {
    /// Puts many groups that nobody has read for a while on disk.
    fn rest(&mut self, host: &mut dyn Host) {
        let Some(Output::Table(entries)) = &mut self.output else { return };
        let spec = &self.table.spec;
        if !spec.allow_disk || self.table.size < RESTS_IN_MEMORY || entries.len() == 0 {
            return;
        }
        let mut out = Vec::new();
        let groups = entries.zip(0u64..).map(|(mut entry, n)| {
            emit(&spec.fields, entry.id.view(), &mut entry.states, &mut out)?;
            Ok((n.to_be_bytes(), out.clone()))
        });
        self.output = Some(match to_file("$group", host, groups) {
            Ok(mut groups) => {
                groups.rest(true, host);
                Output::Rested(groups)
            }
            Err(why) => Output::Lost(why),
        });
    }

    fn fill(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<Output> {
        let mut sorter: Option<Sorter> = None;
        let mut n = 0u32;
        while input.advance(host)? {
            self.table.feed(input.doc(), input.meta()).map_err(pushed_down)?;
            n = n.wrapping_add(1);
            if n.is_multiple_of(512) {
                host.interrupt()?;
            }
            if self.table.size > host.memory_limit() {
                if !self.table.spec.allow_disk {
                    return Err(over_limit("$group", host.memory_limit()));
                }
                let sorter = sorter.get_or_insert_with(|| Sorter::new("$group", true, None));
                self.table.spill(sorter, host)?;
            }
        }
        let Some(mut sorter) = sorter else {
            // What finds groups is not needed any more.
            (self.table.index, self.table.next) = Default::default();
            return Ok(Output::Table(std::mem::take(&mut self.table.entries).into_iter()));
        };
        self.table.spill(&mut sorter, host)?;
        let mut runs = sorter.finish(host)?;
        let more = runs.advance()?;
        Ok(Output::Runs(runs, more))
    }
}

fn emit(fields: &[(String, Accumulator)], id: Value<'_>, states: &mut [Box<dyn State>], out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let mut w = DocWriter::new(out);
    w.append("_id", id);
    for ((name, _), state) in fields.iter().zip(states) {
        let value = state.finish()?;
        match value.view() {
            Value::Missing => w.append(name, Value::Null),
            v => w.append(name, v),
        };
    }
    Ok(())
}

/// Joins all records of the next key into one group; `None` at the end.
fn merge_runs(spec: &Group, runs: &mut Sorted, more: &mut bool, arena: &Arena) -> Result<Option<Entry>> {
    if !*more {
        return Ok(None);
    }
    let key: Box<[u8]> = runs.key().into();
    let first = DocBuf::from_checked(runs.payload().to_vec());
    let id = first.as_doc().first().map_or(Value::Null, |f| f.value());
    let mut group = entry(spec, &key, id, arena)?;
    while *more && *runs.key() == *key {
        let partials = Doc::from_checked(runs.payload()).iter().skip(1);
        for ((state, (_, accumulator)), partial) in group.states.iter_mut().zip(&spec.fields).zip(partials) {
            state.merge(partial.value())?;
            accumulator.check_size(state.as_ref())?;
        }
        *more = runs.advance()?;
    }
    Ok(Some(group))
}

impl Step for GroupStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.output.is_none() {
            self.output = Some(self.fill(input, host)?);
        }
        let entry = match &mut self.output {
            Some(Output::Table(entries)) => entries.next(),
            Some(Output::Rested(groups)) => {
                let more = groups.advance()?;
                self.out.clear();
                self.out.extend_from_slice(if more { groups.payload() } else { Doc::EMPTY.as_bytes() });
                return Ok(more);
            }
            Some(Output::Lost(why)) => return Err(why.clone()),
            Some(Output::Runs(runs, more)) => {
                self.table.arena.reset();
                merge_runs(&self.table.spec, runs, more, &self.table.arena)?
            }
            None => None,
        };
        let Some(mut entry) = entry else { return Ok(false) };
        emit(&self.table.spec.fields, entry.id.view(), &mut entry.states, &mut self.out)?;
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
    fn park(&mut self, host: &mut dyn Host) {
        if host.resting() {
            self.rest(host);
        }
    }
}
