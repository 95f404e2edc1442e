//! count

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail, number};
use smongo_mql::Matcher;
use smongo_mql::access::Action;

use super::find::{compile_cx, default_collation};
use crate::data::catalog::Collection;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::exec;
use crate::query::plan::{self, Hint, Query};
use crate::service::command::{Access, Args, Command, Cx, READS};

pub const COUNT: Command = Command::new("count", count, READS, Access::Named(&[Action::Find]));

/// The arguments of a count.
pub struct CountArgs<'a> {
    pub ns: Ns,
    pub query: Doc<'a>,
    pub skip: u64,
    /// Zero is none; only a view minds that it was given.
    pub limit: Option<u64>,
    pub hint: Option<Hint>,
}

impl<'a> CountArgs<'a> {
    pub fn parse(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<CountArgs<'a>> {
        let ns = args.ns(&cx.db)?;
        let query = args.doc("query")?.unwrap_or(Doc::EMPTY);
        let skip = match args.value("skip") {
            v if v.is_nullish() => 0,
            v if v.is_number() => number::to_i64_rounded(v),
            v => return Err(args.wrong_type("skip", v, "long, int, decimal, double")),
        };
        if skip < 0 {
            bail!(BadValue, "BSON field 'skip' value must be >= 0, actual value '{skip}'");
        }
        let skip = skip as u64;
        let limit = limit(args.value("limit"))?;
        let hint = Hint::parse(args.value("hint"))?;
        args.accept(&["fields", "queryOptions"]);
        compile_cx(cx, args)?;
        args.finish()?;
        Ok(CountArgs { ns, query, skip, limit, hint })
    }

    /// The count as stages of a pipeline that yields the documents counted.
    pub fn stages(&self) -> Vec<DocBuf> {
        let one = |name: &str, value: Value<'_>| {
            DocBuf::build(|w| {
                w.append(name, value);
            })
        };
        let mut stages = vec![one("$match", self.query.into())];
        if self.skip > 0 {
            stages.push(one("$skip", Value::Int64(self.skip as i64)));
        }
        if let Some(limit) = self.limit {
            stages.push(one("$limit", Value::Int64(limit as i64)));
        }
        stages
    }

    pub fn query(&self, op: &OpCx) -> Result<Query> {
        let mut query = Query::new(Arc::new(Matcher::compile(self.query, &op.compile.timeless())?));
        query.skip = self.skip;
        query.limit = self.limit.filter(|n| *n > 0);
        query.hint = self.hint.clone();
        Ok(query)
    }
}

/// The limit is the same with either sign.
fn limit(value: Value<'_>) -> Result<Option<u64>> {
    if value.is_missing() {
        return Ok(None);
    }
    if !value.is_number() {
        bail!(BadValue, "BSON field 'count.limit' is the wrong type '{}', expected a number", value.type_name());
    }
    match number::to_i64_exact(value) {
        None => bail!(FailedToParse, "Expected an integer, but found {value} in: limit"),
        Some(i64::MIN) => bail!(BadValue, "Limit value for count cannot be the least 64-bit integer"),
        Some(n) => Ok(Some(n.unsigned_abs())),
    }
}

fn count(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let count = CountArgs::parse(cx, args)?;
    if cx.read_concern.level.as_deref() == Some("snapshot") {
        bail!(InvalidOptions, "Command count does not support {{ readConcern: {{ level: \"snapshot\" }} }} :: caused by :: read concern not supported");
    }
    let coll = cx.op.collection(&count.ns)?;
    if let Some(coll) = &coll {
        default_collation(cx, &coll.collation);
    }
    let query = count.query(&cx.op)?;
    let n = match coll {
        None => 0,
        Some(coll) if coll.view().is_some() => on_view(cx, &count)?,
        Some(coll) => documents(&mut cx.op, &coll, query)?,
    };
    match i32::try_from(n) {
        Ok(n) => reply.append("n", n),
        Err(_) => reply.append("n", n as i64),
    };
    Ok(())
}

/// Counts without looking where the number of documents is known.
fn documents(op: &mut OpCx, coll: &Arc<Collection>, query: Query) -> Result<u64> {
    let all = query.filter.is_empty() && matches!(query.hint, None | Some(Hint::Natural { .. }));
    if !all || op.multi {
        return plan::plan(op, coll, query)?.count(op);
    }
    let total = match coll.state.known_documents() {
        Some(n) => n as u64,
        None => recount(op, coll)?,
    };
    Ok(total.saturating_sub(query.skip).min(query.limit.unwrap_or(u64::MAX)))
}

/// Counts a collection whose size is not known, as after a crash; writers wait meanwhile, so that what they add counts once.
fn recount(op: &mut OpCx, coll: &Arc<Collection>) -> Result<u64> {
    op.end_read();
    let shared = op.data.clone();
    shared.catalog.recount(op, coll)?;
    Ok(coll.state.known_documents().unwrap_or(0) as u64)
}

fn on_view(cx: &mut Cx<'_>, count: &CountArgs<'_>) -> Result<u64> {
    let compile = cx.op.compile.clone();
    let mut stream = exec::open_hinted(&mut cx.op, count.ns.db(), count.ns.coll(), &count.stages(), &compile, count.hint.clone())?;
    let mut n = 0;
    while stream.advance(&mut cx.op)? {
        n += 1;
    }
    Ok(n)
}
