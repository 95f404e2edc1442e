//! collMod: changing what a collection or view is.

use smongo_bson::{Array, Code, Doc, DocBuf, DocWriter, Result, Value, bail, err, number};
use smongo_mql::{CompileCx, Pipeline};

use super::create::{check_validator, choice};
use super::{Args, Command, WRITES, clustered};
use crate::catalog::{Collection, Index};
use crate::door::Cx;
use crate::namespace::Ns;

pub const COLL_MOD: Command = Command::new("collMod", coll_mod, WRITES);

fn coll_mod(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    let index = args.doc("index")?;
    let validator = args.doc("validator")?;
    let level = choice(args, "validationLevel", &["off", "strict", "moderate"])?;
    let action = choice(args, "validationAction", &["error", "warn", "errorAndLog"])?;
    let view_on = args.str("viewOn")?;
    let pipeline = args.array("pipeline")?;
    let size = args.int("cappedSize")?;
    let max = args.int("cappedMax")?;
    args.refuse(&["changeStreamPreAndPostImages", "timeseries", "timeseriesBucketsMayHaveMixedSchemaData", "isTimeseriesNamespace"])?;
    let dry = args.bool("dryRun")?;
    let expire = args.value("expireAfterSeconds");
    args.finish()?;
    if dry && index.is_none() {
        bail!(InvalidOptions, "dryRun is only for making an index unique");
    }
    let shared = cx.op.shared.clone();
    let Some(coll) = shared.catalog.get(&ns) else { bail!(NamespaceNotFound, "ns does not exist: {ns}") };
    if !expire.is_nullish() {
        return change_expiry(cx, &coll, expire);
    }
    if coll.view().is_some() != (view_on.is_some() || pipeline.is_some()) && (coll.view().is_none() || index.is_some() || validator.is_some()) {
        match coll.view() {
            Some(_) => bail!(InvalidOptions, "option not supported on a view"),
            None if view_on.is_some() => bail!(InvalidOptions, "'viewOn' option not supported on a collection"),
            None if pipeline.is_some() => bail!(InvalidOptions, "'pipeline' option not supported on a collection"),
            None => {}
        }
    }
    if coll.view().is_some() {
        return change_view(cx, &coll, view_on, pipeline);
    }
    if (size.is_some() || max.is_some()) && !coll.is_capped() {
        bail!(InvalidOptions, "collection must be capped.");
    }
    check_validator(cx, validator)?;
    if let Some(spec) = index {
        change_index(cx, &coll, spec, dry, reply)?;
    }
    if validator.is_none() && level.is_none() && action.is_none() && size.is_none() && max.is_none() {
        return Ok(());
    }
    let options = DocBuf::build(|w| {
        for e in coll.options() {
            let replaced = match e.name() {
                "validator" => validator.is_some(),
                "validationLevel" => level.is_some(),
                "validationAction" => action.is_some(),
                "size" => size.is_some(),
                "max" => max.is_some(),
                _ => false,
            };
            if !replaced {
                w.append_element(&e);
            }
        }
        if let Some(n) = size {
            w.append("size", (n.max(1) + 255) / 256 * 256);
        }
        if let Some(n) = max {
            w.append("max", n);
        }
        if let Some(v) = validator.filter(|v| !v.is_empty()) {
            w.append("validator", v);
        }
        for (name, text) in [("validationLevel", level), ("validationAction", action)] {
            if let Some(t) = text {
                w.append(name, t);
            } else if validator.is_some() && !coll.options().contains(name) {
                w.append(name, if name == "validationLevel" { "strict" } else { "error" });
            }
        }
    });
    let command = oplog_command(&ns, options.as_doc());
    shared.catalog.set_options(&mut cx.op, &ns, options, command.as_doc())
}

fn oplog_command(ns: &Ns, fields: Doc<'_>) -> DocBuf {
    DocBuf::build(|w| {
        w.append("collMod", ns.coll()).append_all(fields);
    })
}

/// `expireAfterSeconds` of a clustered collection: a number, or `"off"`.
fn change_expiry(cx: &mut Cx<'_>, coll: &Collection, expire: Value<'_>) -> Result<()> {
    let ns = &coll.ns;
    if !coll.is_clustered() {
        bail!(InvalidOptions, "'expireAfterSeconds' is only supported on a time-series or clustered collection: {ns}");
    }
    let seconds = match expire {
        Value::String("off") => None,
        Value::String(other) => bail!(BadValue, "expireAfterSeconds must be a number or 'off', not '{other}'"),
        v => Some(clustered::seconds(v)?),
    };
    let options = DocBuf::build(|w| {
        for e in coll.options().iter().filter(|e| e.name() != "expireAfterSeconds") {
            w.append_element(&e);
        }
        if let Some(n) = seconds {
            w.append("expireAfterSeconds", n);
        }
    });
    let shared = cx.op.shared.clone();
    let command = oplog_command(ns, DocBuf::build(|w| { w.append("expireAfterSeconds", expire); }).as_doc());
    shared.catalog.set_clustered_options(&mut cx.op, ns, options, command.as_doc())
}

fn change_view(cx: &mut Cx<'_>, coll: &Collection, on: Option<&str>, pipeline: Option<Array<'_>>) -> Result<()> {
    if on.is_none() && pipeline.is_none() {
        return Ok(());
    }
    // What is not named stays.
    let on = on.or(coll.option("viewOn").as_str()).unwrap_or_default();
    let pipeline = pipeline.or(coll.option("pipeline").as_array()).unwrap_or(Array::EMPTY);
    let ns = &coll.ns;
    Ns::new(ns.db(), on)?;
    let compiled = Pipeline::compile(pipeline, &CompileCx { db: ns.db().into(), coll: on.into(), now: cx.op.compile.now, ..CompileCx::default() })?;
    if let Some(writes) = compiled.writes() {
        bail!(OptionNotSupportedOnView, "The aggregation stage {} of the pipeline cannot be used in the view definition of {ns}", writes.name());
    }
    let options = DocBuf::build(|w| {
        w.append("viewOn", on).append("pipeline", pipeline).append("collation", coll.option("collation"));
    });
    let shared = cx.op.shared.clone();
    let command = oplog_command(ns, options.as_doc());
    shared.catalog.set_options(&mut cx.op, ns, options, command.as_doc())
}

fn change_index(cx: &mut Cx<'_>, coll: &Collection, spec: Doc<'_>, dry: bool, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = &coll.ns;
    let mut args = Args::nested("collMod.index", spec);
    let name = args.str("name")?;
    let key = args.doc("keyPattern")?;
    let mut flag = |name: &str| match args.value(name) {
        v if v.is_nullish() => Ok(None),
        v if v.is_number() || v.as_bool().is_some() => Ok(Some(v.truthy())),
        v => Err(args.wrong_type(name, v, "bool, long, int, decimal, double")),
    };
    let (hidden, prepare, unique) = (flag("hidden")?, flag("prepareUnique")?, flag("unique")?);
    let expire = match args.value("expireAfterSeconds") {
        v if v.is_nullish() => None,
        Value::Decimal(d) => Some(d.to_i64_rounded().or_else(|| number::to_i64_saturating(Value::Decimal(d))).unwrap_or(0).min(i64::from(i32::MAX))),
        v if v.is_number() => Some(number::to_i64_saturating(v).unwrap_or(0).min(i64::from(i32::MAX))),
        v => return Err(args.wrong_type("expireAfterSeconds", v, "long, int, decimal, double")),
    };
    args.refuse(&["forceNonUnique"])?;
    args.finish()?;
    let index = match (name, key) {
        (Some(_), Some(_)) => bail!(InvalidOptions, "Cannot specify both key pattern and name."),
        (None, None) => bail!(InvalidOptions, "Must specify either index name or key pattern."),
        (Some(name), None) => coll.index(name).cloned(),
        (None, Some(key)) => coll.indexes.iter().find(|i| !i.clustered && smongo_bson::compare::compare_docs(i.key(), key, None).is_eq()).cloned(),
    };
    let Some(index) = index else {
        match (name, key) {
            (Some(name), _) => bail!(IndexNotFound, "cannot find index {name} for ns {ns}"),
            (_, key) => bail!(IndexNotFound, "cannot find index {:?} for ns {ns}", key.unwrap_or(Doc::EMPTY)),
        }
    };
    if hidden.is_none() && expire.is_none() && prepare.is_none() && unique.is_none() {
        bail!(InvalidOptions, "no expireAfterSeconds, hidden, unique, or prepareUnique field");
    }
    if hidden.is_some() && index.clustered {
        bail!(6011800, "The 'clustered' index cannot be hidden");
    }
    if hidden.is_some() && index.is_id() {
        bail!(BadValue, "can't hide _id index");
    }
    if let Some(seconds) = expire {
        if index.is_id() || index.parts.len() != 1 {
            bail!(InvalidOptions, "TTL indexes are single-field indexes, compound indexes do not support TTL");
        }
        if seconds < 0 {
            bail!(InvalidOptions, "TTL index 'expireAfterSeconds' option must be within an acceptable range, try a different number");
        }
    }
    let prepare = prepare.filter(|p| *p != index.prepare_unique);
    if prepare == Some(true) && index.special.is_some() {
        bail!(InvalidOptions, "an index of this kind cannot become unique: {}", index.pattern_text());
    }
    let alone = hidden.is_none() && expire.is_none();
    if (prepare.is_some() || unique.is_some()) && !alone || prepare.is_some() && unique.is_some() {
        bail!(InvalidOptions, "prepareUnique and unique cannot be combined with other modifications of an index");
    }
    if dry && unique.is_none() {
        bail!(InvalidOptions, "dryRun is only for making an index unique");
    }
    if let Some(unique) = unique {
        return if unique { make_unique(cx, ns, &index, spec, dry, reply) } else { Err(err!(BadValue, "'unique: false' is not supported: an index can only become unique")) };
    }
    if let Some(prepare) = prepare {
        reply.append("prepareUnique_old", !prepare).append("prepareUnique_new", prepare);
    }
    let new = changed_spec(&index, hidden, expire, prepare);
    if let Some(seconds) = expire {
        if let Some(old) = index.expire_after {
            reply.append("expireAfterSeconds_old", old);
        }
        reply.append("expireAfterSeconds_new", seconds);
    }
    if let Some(hidden) = hidden
        && hidden != index.hidden
    {
        reply.append("hidden_old", index.hidden).append("hidden_new", hidden);
    }
    let shared = cx.op.shared.clone();
    let command = oplog_command(ns, DocBuf::build(|w| { w.append("index", spec); }).as_doc());
    shared.catalog.set_index_spec(&mut cx.op, ns, &index.name, new, command.as_doc())
}

/// An index that refuses new duplicates becomes unique, if it holds no old ones. A dry run only looks.
fn make_unique(cx: &mut Cx<'_>, ns: &Ns, index: &Index, asked: Doc<'_>, dry: bool, reply: &mut DocWriter<'_>) -> Result<()> {
    if index.unique {
        return Ok(());
    }
    if !index.prepare_unique || index.special.is_some() {
        bail!(InvalidOptions, "Cannot make index unique: it must have prepareUnique set first");
    }
    let spec = DocBuf::build(|w| {
        for e in index.spec.as_doc().iter().filter(|e| e.name() != "prepareUnique") {
            w.append_element(&e);
            if e.name() == "name" {
                w.append("unique", true);
            }
        }
    });
    let shared = cx.op.shared.clone();
    let command = oplog_command(ns, DocBuf::build(|w| { w.append("index", asked); }).as_doc());
    shared.catalog.rebuild_index(&mut cx.op, ns, &index.name, spec, command.as_doc(), dry).map_err(|e| match e.code() {
        Code::DuplicateKey => err!(CannotConvertIndexToUnique, "Cannot convert the index to unique. Please resolve conflicting documents before running collMod again. {}", e.message()),
        _ => e,
    })?;
    if !dry {
        reply.append("unique_new", true);
    }
    Ok(())
}

fn changed_spec(index: &Index, hidden: Option<bool>, expire: Option<i64>, prepare: Option<bool>) -> DocBuf {
    DocBuf::build(|w| {
        for e in index.spec.as_doc() {
            let replaced = match e.name() {
                "hidden" => hidden.is_some(),
                "expireAfterSeconds" => expire.is_some(),
                "prepareUnique" => prepare.is_some(),
                _ => false,
            };
            if !replaced {
                w.append_element(&e);
            }
        }
        if prepare == Some(true) {
            w.append("prepareUnique", true);
        }
        if hidden == Some(true) {
            w.append("hidden", true);
        }
        if let Some(seconds) = expire {
            w.append("expireAfterSeconds", Value::Int32(seconds as i32));
        }
    })
}
