//! `$graphLookup`: follows references from document to document, breadth first.

use std::collections::HashSet;
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::path::Path;
use smongo_bson::{ArrayWriter, Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail, keystring, number};

use super::args::{field_path, nested, show, stage};
use super::join::{JoinTable, Matches};
use super::lookup::{match_stage, visit};
use super::step::{Step, over};
use super::{Needs, Operator, Stage, set_path};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::matcher::Matcher;
use crate::stream::{Host, Stream};

struct GraphLookup {
    start: Expr,
    from: Path,
    to: String,
    as_path: Path,
    max_depth: Option<i64>,
    depth_field: Option<Path>,
    restrict: Option<DocBuf>,
    cx: CompileCx,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(FailedToParse, "the $graphLookup stage specification must be an object, but found {}", arg.type_name());
    };
    let (mut from, mut start, mut connect_from, mut connect_to, mut as_path) = (None, None, None, None, None);
    let (mut max_depth, mut depth_field, mut restrict) = (None, None, None);
    for field in spec {
        let value = field.value();
        match field.name() {
            "startWith" => start = Some(Expr::compile(value, cx)?),
            "maxDepth" => max_depth = Some(depth(value)?),
            "restrictSearchWithMatch" => {
                let Value::Document(filter) = value else {
                    bail!(40185, "restrictSearchWithMatch must be an object, but found {}", value.type_name());
                };
                Matcher::compile(filter, &nested(cx, &cx.db, &cx.coll))?;
                restrict = Some(DocBuf::from(filter));
            }
            "from" if matches!(value, Value::Document(_)) => bail!(FailedToParse, "$graphLookup with syntax {{from: {{db:<>, coll:<>}},..}} is not supported for db: and coll:"),
            name @ ("from" | "connectFromField" | "connectToField" | "depthField" | "as") => {
                let Value::String(s) = value else {
                    match name {
                        "from" => bail!(FailedToParse, "$graphLookup argument 'from: {}' must be a string, is type {}", show(value), value.type_name()),
                        _ => bail!(40103, "expected string as argument for {name}, found: {}", show(value)),
                    }
                };
                match name {
                    "from" => from = Some(s),
                    "connectFromField" => connect_from = Some(s),
                    "connectToField" => connect_to = Some(s),
                    "depthField" => depth_field = Some(s),
                    _ => as_path = Some(s),
                }
            }
            other => bail!(40104, "Unknown argument to $graphLookup: {other}"),
        }
    }
    let (Some(from), Some(start), Some(connect_from), Some(connect_to), Some(as_path)) = (from, start, connect_from, connect_to, as_path) else {
        bail!(40105, "$graphLookup requires 'from', 'as', 'startWith', 'connectFromField', and 'connectToField' to be specified.");
    };
    if from.is_empty() || from.starts_with('.') || from.contains(['\0', '$']) {
        bail!(InvalidNamespace, "invalid $graphLookup namespace: {}.{from}", cx.db);
    }
    for path in [connect_from, connect_to, as_path].into_iter().chain(depth_field) {
        field_path(path)?;
    }
    out.push(Stage::Other(Box::new(GraphLookup {
        start,
        from: Path::new(connect_from),
        to: connect_to.to_owned(),
        as_path: Path::new(as_path),
        max_depth,
        depth_field: depth_field.map(Path::new),
        restrict,
        cx: nested(cx, &cx.db, from),
    })));
    Ok(())
}

fn depth(value: Value<'_>) -> Result<i64> {
    if !value.is_number() {
        bail!(40100, "maxDepth requires numeric argument, found {}", value.type_name());
    }
    match number::to_i64_exact(value) {
        Some(n) if n >= 0 => Ok(n),
        Some(n) => bail!(40101, "maxDepth requires a nonnegative argument, found: {n}"),
        None => bail!(40102, "maxDepth could not be represented as a long long: {}", show(value)),
    }
}

impl Operator for GraphLookup {
    fn name(&self) -> &'static str {
        "$graphLookup"
    }
    fn needs(&self, mut after: Needs) -> Needs {
        after.expr(&self.start);
        after
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, GraphStream { spec: *self, access: Access::default(), out: Vec::new() }))
    }
    fn reads(&self) -> Vec<(String, String)> {
        vec![(self.cx.db.clone(), self.cx.coll.clone())]
    }
}

/// How the documents of the next level are found.
#[derive(Default)]
enum Access {
    /// No level was asked for yet.
    #[default]
    Fresh,
    /// One was; the next decides.
    Once,
    /// By a query for each level.
    Query,
    /// In a table of the whole collection, because no index would help.
    Table(Arc<JoinTable>),
}

impl Access {
    fn open(&mut self, spec: &GraphLookup, values: &[Value<'_>], host: &mut dyn Host) -> Result<Box<dyn Stream>> {
        *self = match std::mem::take(self) {
            Access::Fresh => Access::Once,
            Access::Once => spec.tabulate(host)?,
            decided => decided,
        };
        if let Access::Table(table) = self {
            let mut places = Vec::new();
            if table.find(values, &mut places)? {
                return Ok(Box::new(Matches::new(table.clone(), places)));
            }
        }
        let mut stages = vec![match_stage(&spec.to, values)];
        stages.extend(spec.restriction());
        host.open(&spec.cx.db, &spec.cx.coll, &stages, &spec.cx)
    }
}

struct GraphStream {
    spec: GraphLookup,
    access: Access,
    out: Vec<u8>,
}

/// The documents reached, in the order they were, by their `_id`.
#[derive(Default)]
struct Reached {
    ids: HashSet<Vec<u8>>,
    docs: Vec<DocBuf>,
    size: usize,
}

impl GraphLookup {
    fn restriction(&self) -> Option<DocBuf> {
        self.restrict.as_ref().map(|filter| stage("$match", filter.as_doc()))
    }

    fn tabulate(&self, host: &mut dyn Host) -> Result<Access> {
        let restriction: Vec<DocBuf> = self.restriction().into_iter().collect();
        Ok(JoinTable::over(&self.to, &restriction, &self.cx, host)?.map_or(Access::Query, Access::Table))
    }

    fn key(&self, value: Value<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        keystring::append(&mut key, value, false, self.cx.collation.as_deref().map(|c| c as &dyn Collator));
        key
    }

    fn search(&self, doc: Doc<'_>, access: &mut Access, host: &mut dyn Host) -> Result<Reached> {
        let arena = Arena::new();
        let mut visited: HashSet<Vec<u8>> = HashSet::new();
        let mut frontier: Vec<ValueBuf> = Vec::new();
        let add = |value: Value<'_>, frontier: &mut Vec<ValueBuf>, visited: &mut HashSet<Vec<u8>>| {
            if visited.insert(self.key(value)) {
                frontier.push(ValueBuf::new(value));
            }
        };
        match self.start.eval(&Cx::new(&arena, doc, self.start.slots()))? {
            Value::Array(a) => a.iter().for_each(|v| add(v, &mut frontier, &mut visited)),
            Value::Missing => add(Value::Null, &mut frontier, &mut visited),
            v => add(v, &mut frontier, &mut visited),
        }
        let mut reached = Reached::default();
        let mut level = 0;
        while !frontier.is_empty() && self.max_depth.is_none_or(|max| level <= max) {
            host.interrupt()?;
            let values: Vec<Value<'_>> = frontier.iter().map(ValueBuf::view).collect();
            let mut foreign = access.open(self, &values, host)?;
            let mut next = Vec::new();
            while foreign.advance(host)? {
                let doc = foreign.doc();
                // Which document it is does not depend on the collation.
                if !reached.ids.insert(keystring::encode(doc.get("_id"), false)) {
                    continue;
                }
                self.links(doc, |v| add(v, &mut next, &mut visited));
                reached.size += doc.as_bytes().len() + 64;
                reached.docs.push(self.with_depth(doc, level));
                if reached.size > host.memory_limit() {
                    bail!(40099, "$graphLookup reached maximum memory consumption");
                }
            }
            frontier = next;
            level += 1;
        }
        Ok(reached)
    }

    /// The values `connectFromField` leads on with.
    fn links<'d>(&self, doc: Doc<'d>, mut add: impl FnMut(Value<'d>)) {
        let mut values = Vec::new();
        visit(Value::Document(doc), self.from.parts(), &mut values);
        values.into_iter().for_each(&mut add);
    }

    fn with_depth(&self, doc: Doc<'_>, level: i64) -> DocBuf {
        match &self.depth_field {
            None => DocBuf::from(doc),
            Some(path) => DocBuf::build(|w| set_path::write(w, doc, path.parts(), Value::Int64(level))),
        }
    }
}

impl Step for GraphStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if !input.advance(host)? {
            return Ok(false);
        }
        let reached = self.spec.search(input.doc(), &mut self.access, host)?;
        let mut joined = Vec::with_capacity(reached.size);
        let mut w = ArrayWriter::new(&mut joined);
        for doc in &reached.docs {
            w.push(doc.as_doc());
        }
        w.finish();
        self.out.clear();
        let array = Value::Array(smongo_bson::Array::from_checked(&joined));
        set_path::write(&mut DocWriter::new(&mut self.out), input.doc(), self.spec.as_path.parts(), array);
        Ok(true)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}
