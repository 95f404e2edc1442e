//! `$lookup`: equality, pipeline and both; the foreign collection is read through the host, so with its indexes.

use std::sync::Arc;

use smongo_bson::path::{Part, Path};
use smongo_bson::{Array, ArrayWriter, Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail};

use super::args::{self, Spec, field_path, nested, show, with_unknown};
use super::correlation;
use super::join::{JoinTable, Matches};
use super::spill::{Spool, SpoolReader};
use super::step::{Step, over};
use super::unwind::Unwind;
use super::{Needs, Operator, Pipeline, Stage, Within, set_path, stage_documents};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::stream::{Host, Stream};

/// The most bytes of foreign documents one local document may take up in an array.
const MAX_ARRAY: usize = 100 * 1024 * 1024;
/// How much of an uncorrelated result is kept for the next local document.
const MAX_CACHE: usize = 100 * 1024 * 1024;

/// A compiled `$lookup`.
pub(super) struct Lookup {
    as_path: Path,
    equality: Option<(Path, String)>,
    /// The sub-pipeline behind the equality match.
    stages: Vec<DocBuf>,
    lets: Vec<(String, Expr)>,
    /// The context of the sub-pipeline: database and collection are the foreign ones.
    cx: CompileCx,
    /// A `$unwind` of `as` behind it: the documents come out one by one.
    unwind: Option<Unwind>,
    access: Access,
}

/// How the foreign documents of a local one are found. The first local document decides nothing: often it is the only one.
enum Access {
    Fresh,
    /// The foreign pipeline was opened once.
    Once,
    /// By a query for each local document.
    Query,
    /// All foreign documents were read into a table.
    Table(Arc<JoinTable>),
    /// The results of the first stages, which are the same for every local document; of all of them when nothing is correlated.
    Kept { results: Arc<Spool>, stages: usize },
    /// The results of the first stages in a table, which finds those that are equal to a variable; the next stage tests it again.
    Joined { table: Arc<JoinTable>, stages: usize, variable: String },
}

const FIELDS: &[&str] = &["as", "foreignField", "from", "let", "localField", "pipeline"];

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(doc) = arg else {
        bail!(FailedToParse, "the $lookup stage specification must be an object, but found {}", arg.type_name());
    };
    let from = foreign(doc, cx)?;
    let spec = Spec::read("$lookup", doc, FIELDS)?;
    let as_path = spec.require("as", spec.string("as")?)?;
    let (local, foreign) = (spec.string("localField")?, spec.string("foreignField")?);
    let lets = spec.document("let")?;
    let pipeline = match spec.raw("pipeline") {
        None => None,
        Some(Value::Array(stages)) => Some(stages),
        Some(v) => bail!(TypeMismatch, "'pipeline' option must be specified as an array, got {}", v.type_name()),
    };
    let equality = match (local.filter(|s| !s.is_empty()), foreign.filter(|s| !s.is_empty())) {
        (Some(local), Some(foreign)) => {
            field_path(local)?;
            field_path(foreign)?;
            Some((Path::new(local), foreign.to_owned()))
        }
        (None, None) => None,
        _ => bail!(FailedToParse, "$lookup requires both or neither of 'localField' and 'foreignField' to be specified"),
    };
    if pipeline.is_none() && lets.is_some() {
        bail!(FailedToParse, "$lookup with a 'let' argument must also specify 'pipeline'");
    }
    if pipeline.is_none() && equality.is_none() {
        bail!(FailedToParse, "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified");
    }
    field_path(as_path)?;
    let lets = args::variables(lets.unwrap_or(Doc::EMPTY), cx)?;
    let inner = nested(cx, &from.0, &from.1);
    let stages = pipeline.unwrap_or(Array::EMPTY);
    Pipeline::compile_within(stages, &with_unknown(inner.clone(), &lets), Within::Lookup)?;
    let lookup = Lookup { as_path: Path::new(as_path), equality, stages: stage_documents(stages)?, lets, cx: inner, unwind: None, access: Access::Fresh };
    out.push(Stage::Other(Box::new(lookup)));
    Ok(())
}

/// Database and collection of `from`; without it, the pipeline must make its own documents.
fn foreign(spec: Doc<'_>, cx: &CompileCx) -> Result<(String, String)> {
    match spec.get("from") {
        Value::Missing => {
            let first = spec.get("pipeline").as_array().map(|a| a.get(0));
            let first = first.and_then(|s| s.as_doc()).and_then(Doc::first);
            if first.is_none_or(|f| f.name() != "$documents") {
                bail!(FailedToParse, "must specify 'pipeline' when 'from' is empty: the first stage of the pipeline must be $documents");
            }
            Ok((cx.db.clone(), String::new()))
        }
        Value::String(coll) => {
            if coll.is_empty() || coll.starts_with('.') || coll.contains('\0') {
                bail!(InvalidNamespace, "Invalid collection name specified '{}.{coll}'", cx.db);
            }
            Ok((cx.db.clone(), coll.to_owned()))
        }
        Value::Document(d) => {
            for field in d {
                match (field.name(), field.value()) {
                    ("db" | "coll", Value::String(_)) => {}
                    ("db" | "coll", v) => bail!(TypeMismatch, "BSON field 'from.{}' is the wrong type '{}', expected type 'string'", field.name(), v.type_name()),
                    (other, _) => bail!(40415, "BSON field 'from.{other}' is an unknown field."),
                }
            }
            match (d.get("db").as_str(), d.get("coll").as_str()) {
                (Some("local"), Some("oplog.rs")) => Ok(("local".into(), "oplog.rs".into())),
                (Some("config"), Some(coll)) if coll.starts_with("cache.chunks.") => Ok(("config".into(), coll.into())),
                _ => bail!(FailedToParse, "$lookup with syntax {{from: {{db:<>, coll:<>}},..}} is not supported for this namespace"),
            }
        }
        v => bail!(FailedToParse, "$lookup argument 'from: {}' must be a string, is type {}", show(v), v.type_name()),
    }
}

impl Operator for Lookup {
    fn name(&self) -> &'static str {
        "$lookup"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        if self.unwind.is_some() {
            return Ok(over(input, UnwindLookup { lookup: *self, foreign: None, found: 0, out: Vec::new(), scratch: Vec::new(), arena: Arena::new() }));
        }
        Ok(over(input, LookupStream { lookup: *self, arena: Arena::new(), joined: Vec::new(), cached: false, out: Vec::new() }))
    }
    fn reads(&self) -> Vec<(String, String)> {
        let own = (!self.cx.coll.is_empty()).then(|| (self.cx.db.clone(), self.cx.coll.clone()));
        let inner = Pipeline::compile_within(super::stage_array(&self.stages).as_array().unwrap_or(Array::EMPTY), &with_unknown(self.cx.clone(), &self.lets), Within::Nested);
        own.into_iter().chain(inner.map(|p| p.reads()).unwrap_or_default()).collect()
    }
    fn needs(&self, mut after: Needs) -> Needs {
        self.equality.iter().for_each(|(local, _)| after.path(local.text()));
        self.lets.iter().for_each(|(_, e)| after.expr(e));
        after
    }
    fn carries(&self) -> bool {
        self.unwind.is_some()
    }
    fn take_unwind(&mut self, unwind: Unwind) -> std::result::Result<(), Unwind> {
        if self.unwind.is_some() || unwind.path != self.as_path || unwind.index.as_ref().is_some_and(|i| i.overlaps(&unwind.path)) {
            return Err(unwind);
        }
        self.unwind = Some(unwind);
        Ok(())
    }
}

/// The values an equality join looks for: those of the path, arrays opened on the way and at the end; null when there is none.
pub(super) fn local_values<'a>(doc: Doc<'a>, path: &[Part]) -> Vec<Value<'a>> {
    let mut values = Vec::new();
    visit(Value::Document(doc), path, &mut values);
    if values.is_empty() {
        values.push(Value::Null);
    }
    values
}

/// The values at a path below `value`: arrays opened on the way and at the end.
pub(super) fn visit<'a>(value: Value<'a>, path: &[Part], out: &mut Vec<Value<'a>>) {
    let Some((first, rest)) = path.split_first() else {
        match value {
            Value::Missing => {}
            Value::Array(a) => out.extend(a.iter()),
            v => out.push(v),
        }
        return;
    };
    match value {
        Value::Document(d) => visit(d.get(&first.name), rest, out),
        Value::Array(a) => {
            if let Some(index) = first.index {
                visit(a.get(index as usize), rest, out);
            }
            for element in a.iter().filter(|v| matches!(v, Value::Document(_))) {
                visit(element, path, out);
            }
        }
        _ => {}
    }
}

/// `{$match: {field: value}}` for local values. Regular expressions are looked for as values, not as patterns.
pub(super) fn match_stage(field: &str, values: &[Value<'_>]) -> DocBuf {
    DocBuf::build(|w| {
        let mut filter = w.document("$match");
        match values {
            [one] => {
                filter.document(field).append("$eq", *one);
            }
            many if many.iter().any(|v| matches!(v, Value::Regex(_))) => {
                let mut any = filter.array("$or");
                for v in many {
                    any.document().document(field).append("$eq", *v);
                }
            }
            many => {
                let mut condition = filter.document(field);
                let mut list = condition.array("$in");
                for v in many {
                    list.push(*v);
                }
            }
        }
    })
}

impl Lookup {
    /// Opens the foreign documents of one local document.
    fn open_foreign(&mut self, doc: Doc<'_>, arena: &Arena, host: &mut dyn Host) -> Result<Box<dyn Stream>> {
        self.choose_access(host)?;
        let mut cx = self.cx.clone();
        for (name, expr) in &self.lets {
            let value = expr.eval(&Cx::new(arena, doc, expr.slots()))?;
            cx.lets.push((name.clone(), ValueBuf::new(value)));
        }
        let mut places = Vec::new();
        match &self.access {
            Access::Kept { results, stages } => return self.behind(*stages, Box::new(SpoolReader::new(results.clone())), &cx),
            Access::Joined { table, stages, variable } => {
                let value = cx.lets.iter().rfind(|(name, _)| name == variable).map_or(Value::Missing, |(_, v)| v.view());
                if table.find(&[value], &mut places)? {
                    return self.behind(*stages, Box::new(Matches::new(table.clone(), places)), &cx);
                }
            }
            _ => {}
        }
        let Some((local, foreign)) = &self.equality else { return host.open(&cx.db, &cx.coll, &self.stages, &cx) };
        let values = local_values(doc, local.parts());
        if let Access::Table(table) = &self.access
            && table.find(&values, &mut places)?
        {
            return self.behind(self.filters(), Box::new(Matches::new(table.clone(), places)), &cx);
        }
        // A pipeline that makes its own documents has nothing to match before it has made them.
        let source = usize::from(cx.coll.is_empty()).min(self.stages.len());
        let mut stages = self.stages.clone();
        stages.insert(source, match_stage(foreign, &values));
        host.open(&cx.db, &cx.coll, &stages, &cx)
    }

    /// Decides, when a second local document comes, how the foreign ones are found from then on.
    fn choose_access(&mut self, host: &mut dyn Host) -> Result<()> {
        match self.access {
            Access::Fresh => self.access = Access::Once,
            Access::Once => {
                self.access = match &self.equality {
                    None => self.keep(host)?,
                    Some((_, foreign)) if !self.cx.coll.is_empty() => self.tabulate(foreign, host)?,
                    _ => Access::Query,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps what is the same for all local documents, unless an index finds what a local document wants.
    fn keep(&self, host: &mut dyn Host) -> Result<Access> {
        let count = correlation::uncorrelated(&self.stages, &self.names());
        let (front, next) = (self.stages.get(..count).unwrap_or_default(), self.stages.get(count));
        let wanted = next.map(|s| correlation::comparisons(s.as_doc(), &self.names())).unwrap_or_default();
        if self.filters() == count && !self.cx.coll.is_empty() {
            for comparison in &wanted {
                if host.finds(&self.cx.db, &self.cx.coll, comparison.path, &self.cx)? {
                    return Ok(Access::Query);
                }
            }
        }
        if let Some(equal) = wanted.iter().find(|c| c.equal)
            && let Some(table) = JoinTable::of(&Path::new(equal.path), front, &self.cx, host)?
        {
            return Ok(Access::Joined { table: Arc::new(table), stages: count, variable: equal.variable.to_owned() });
        }
        if front.is_empty() && next.is_some() {
            return Ok(Access::Query);
        }
        let results = self.results(front, host)?;
        Ok(results.map_or(Access::Query, |results| Access::Kept { results: Arc::new(results), stages: count }))
    }

    /// The results of uncorrelated stages, when they are few enough.
    fn results(&self, stages: &[DocBuf], host: &mut dyn Host) -> Result<Option<Spool>> {
        let mut results = host.open(&self.cx.db, &self.cx.coll, stages, &self.cx)?;
        let (mut spool, mut size) = (Spool::new("$lookup", true), 0);
        while results.advance(host)? {
            size += results.doc().as_bytes().len();
            if size > MAX_CACHE.min(host.memory_limit()) {
                return Ok(None);
            }
            spool.push(results.doc().as_bytes(), host)?;
        }
        spool.finish().map(Some)
    }

    fn tabulate(&self, path: &str, host: &mut dyn Host) -> Result<Access> {
        let filters = self.stages.get(..self.filters()).unwrap_or_default();
        Ok(JoinTable::over(path, filters, &self.cx, host)?.map_or(Access::Query, Access::Table))
    }

    /// The variables of `let`.
    fn names(&self) -> Vec<&str> {
        self.lets.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// How many filters at the front of the sub-pipeline hold for all local documents alike, so that the table is made of what passes them.
    fn filters(&self) -> usize {
        let is_match = |s: &&DocBuf| s.as_doc().first().is_some_and(|e| e.name() == "$match");
        self.stages.iter().take(correlation::uncorrelated(&self.stages, &self.names())).take_while(is_match).count()
    }

    /// The sub-pipeline behind its first `count` stages over what these have found.
    fn behind(&self, count: usize, found: Box<dyn Stream>, cx: &CompileCx) -> Result<Box<dyn Stream>> {
        let rest = self.stages.get(count..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(found);
        }
        let stages = super::stage_array(rest);
        Pipeline::compile_within(stages.as_array().unwrap_or(Array::EMPTY), cx, Within::Nested)?.open(found)
    }

    fn uncorrelated(&self) -> bool {
        self.equality.is_none() && self.lets.is_empty()
    }
}

struct LookupStream {
    lookup: Lookup,
    arena: Arena,
    /// The joined array of the current document; of all, once `cached`.
    joined: Vec<u8>,
    cached: bool,
    out: Vec<u8>,
}

impl LookupStream {
    fn join(&mut self, input: &dyn Stream, host: &mut dyn Host) -> Result<()> {
        self.arena.reset();
        self.joined.clear();
        let mut foreign = self.lookup.open_foreign(input.doc(), &self.arena, host)?;
        let mut w = ArrayWriter::new(&mut self.joined);
        while foreign.advance(host)? {
            w.push(foreign.doc());
            if w.len() > MAX_ARRAY {
                bail!(4568, "Total size of documents in {} matching pipeline's $lookup stage exceeds {MAX_ARRAY} bytes", self.lookup.cx.coll);
            }
        }
        w.finish();
        self.cached = self.lookup.uncorrelated() && self.joined.len() <= MAX_CACHE;
        Ok(())
    }
}

impl Step for LookupStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if !input.advance(host)? {
            return Ok(false);
        }
        if !self.cached {
            host.interrupt()?;
            self.join(input, host)?;
        }
        self.out.clear();
        let array = Value::Array(Array::from_checked(&self.joined));
        set_path::write(&mut DocWriter::new(&mut self.out), input.doc(), self.lookup.as_path.parts(), array);
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}

/// `$lookup` with the `$unwind` of its result: no array is ever made.
struct UnwindLookup {
    lookup: Lookup,
    foreign: Option<Box<dyn Stream>>,
    /// Foreign documents seen for the current local document.
    found: i64,
    out: Vec<u8>,
    scratch: Vec<u8>,
    arena: Arena,
}

impl UnwindLookup {
    fn write(&mut self, input: &dyn Stream, value: Option<()>, index: Value<'_>) {
        let Some(unwind) = &self.lookup.unwind else { return };
        let foreign = self.foreign.as_ref().map_or(Doc::EMPTY, |f| f.doc());
        let value = if value.is_some() { Value::Document(foreign) } else { Value::Missing };
        self.out.clear();
        let local = input.doc();
        match &unwind.index {
            None => set_path::write(&mut DocWriter::new(&mut self.out), local, self.lookup.as_path.parts(), value),
            Some(path) => {
                self.scratch.clear();
                set_path::write(&mut DocWriter::new(&mut self.scratch), local, self.lookup.as_path.parts(), value);
                set_path::write(&mut DocWriter::new(&mut self.out), Doc::from_checked(&self.scratch), path.parts(), index);
            }
        }
    }
}

impl Step for UnwindLookup {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        loop {
            if let Some(foreign) = &mut self.foreign {
                if foreign.advance(host)? {
                    let index = Value::Int64(self.found);
                    self.found += 1;
                    self.write(input, Some(()), index);
                    return Ok(true);
                }
                self.foreign = None;
                if self.found == 0 && self.lookup.unwind.as_ref().is_some_and(|u| u.keep_empty) {
                    self.write(input, None, Value::Null);
                    return Ok(true);
                }
            }
            if !input.advance(host)? {
                return Ok(false);
            }
            host.interrupt()?;
            self.arena.reset();
            self.found = 0;
            self.foreign = Some(self.lookup.open_foreign(input.doc(), &self.arena, host)?);
        }
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
    fn park(&mut self, host: &mut dyn Host) {
        if let Some(foreign) = &mut self.foreign {
            foreign.park(host);
        }
    }
}
