//! distinct

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::path::{self, Path};
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail, keystring};
use smongo_mql::stream::Docs;
use smongo_mql::{CompileCx, Matcher, Stream};
use smongo_mql::access::Action;

use super::find::{compile_cx, default_collation};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::query::exec;
use crate::query::plan::{self, Hint, Query};
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, READS};

pub const DISTINCT: Command = Command::new("distinct", distinct, IN_TXN | READS, Access::Named(&[Action::Find]));

/// The arguments of a distinct.
pub struct DistinctArgs<'a> {
    pub ns: Ns,
    pub key: &'a str,
    pub query: Doc<'a>,
    pub hint: Option<Hint>,
}

impl<'a> DistinctArgs<'a> {
    pub fn parse(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<DistinctArgs<'a>> {
        let ns = args.ns(&cx.db)?;
        let Some(key) = args.str("key")? else { return Err(args.missing("key")) };
        if key.contains('\0') {
            bail!(31032, "The 'key' of a distinct cannot contain a NUL byte");
        }
        let query = args.doc("query")?.unwrap_or(Doc::EMPTY);
        let hint = Hint::parse(args.value("hint"))?;
        compile_cx(cx, args)?;
        args.finish()?;
        Ok(DistinctArgs { ns, key, query, hint })
    }
}

/// The values that were met, in their order; of those that are equal the first.
#[derive(Default)]
struct Values {
    found: BTreeMap<Vec<u8>, ValueBuf>,
    bytes: usize,
    key: Vec<u8>,
}

impl Values {
    fn add(&mut self, value: Value<'_>, collator: Option<&dyn Collator>) -> Result<()> {
        if value.is_missing() {
            return Ok(());
        }
        self.key.clear();
        keystring::append(&mut self.key, value, false, collator);
        if self.found.contains_key(self.key.as_slice()) {
            return Ok(());
        }
        let value = ValueBuf::new(value);
        self.bytes += value.size();
        if self.bytes > limits::DOCUMENT_BYTES {
            bail!(17217, "distinct too big, 16mb cap");
        }
        self.found.insert(self.key.clone(), value);
        Ok(())
    }
}

/// Documents that hold all the values.
fn open(cx: &mut Cx<'_>, distinct: &DistinctArgs<'_>, compile: &CompileCx) -> Result<Box<dyn Stream>> {
    // The query is checked even though there is nothing to find.
    let mut query = Query::new(Arc::new(Matcher::compile(distinct.query, compile)?));
    query.hint = distinct.hint.clone();
    match cx.op.collection(&distinct.ns)? {
        None => Ok(Box::new(Docs::new(Vec::new()))),
        Some(coll) if coll.view().is_some() => {
            let stages = [DocBuf::build(|w| {
                w.append("$match", distinct.query);
            })];
            exec::open_hinted(&mut cx.op, distinct.ns.db(), distinct.ns.coll(), &stages, compile, distinct.hint.clone())
        }
        Some(coll) => plan::distinct(&mut cx.op, &coll, query, distinct.key)?.open(&mut cx.op),
    }
}

fn distinct(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let distinct = DistinctArgs::parse(cx, args)?;
    if let Some(coll) = cx.op.collection(&distinct.ns)? {
        default_collation(cx, &coll.collation);
        if coll.view().is_some() || coll.timeseries.is_some() {
            // MongoDB makes this reply of an aggregation's, and its `ok` is an int.
            cx.ok = Value::Int32(1);
        }
    }
    let compile = cx.op.compile.timeless();
    let collator = compile.collation.as_deref().map(|c| c as &dyn Collator);
    let mut stream = open(cx, &distinct, &compile)?;
    let path = Path::new(distinct.key);
    let mut values = Values::default();
    while stream.advance(&mut cx.op)? {
        let mut done = Ok(());
        let _ = path::walk_with(stream.doc(), path.parts(), false, |value, _| {
            done = match value {
                Value::Array(a) => a.iter().try_for_each(|v| values.add(v, collator)),
                v => values.add(v, collator),
            };
            if done.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        done?;
    }
    let mut out = reply.array("values");
    for value in values.found.values() {
        out.push(value.view());
    }
    drop(out);
    if let Some(at) = cx.op.snapshot_time() {
        reply.append("atClusterTime", at);
    }
    Ok(())
}
