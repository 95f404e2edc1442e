//! collMod: changing what a collection or view is.

use smongo_bson::{Array, Doc, DocBuf, DocWriter, Result, Value, bail, number};

use super::{clustered, views};
use super::create::{check_validator, images, in_order};
use crate::commands::rules;
use crate::data::{buckets, limits};
use crate::data::catalog::{Collection, Index, compact_number, round_up};
use crate::data::namespace::Ns;
use crate::service::command::{Access, Args, Command, Cx, WRITES, choice};
use crate::service::timeseries;

pub const COLL_MOD: Command = Command::new("collMod", coll_mod, WRITES, Access::Computed(rules::coll_mod));

fn coll_mod(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = buckets::behind(&cx.op, args.ns(&cx.db)?)?;
    let change = Change::read(args)?;
    let index = args.doc("index")?.map(IndexChange::read).transpose()?;
    let (view_on, pipeline) = (args.str("viewOn")?, args.array("pipeline")?);
    let dry_run = args.bool("dryRun")?;
    let series = args.doc("timeseries")?;
    args.refuse(&["timeseriesBucketsMayHaveMixedSchemaData", "isTimeseriesNamespace"])?;
    let expire = args.value("expireAfterSeconds");
    args.finish()?;
    if dry_run && index.as_ref().is_none_or(|i| i.unique != Some(true)) {
        bail!(InvalidOptions, "dryRun mode is only supported for the conversion of an index to unique");
    }
    check_validator(cx, &ns, change.validator)?;
    let shared = cx.shared.clone();
    let Some(coll) = shared.catalog.get(&ns) else { bail!(NamespaceNotFound, "ns does not exist: {ns}") };
    if coll.view().is_some() {
        if let Some(option) = change.first_option().or(index.as_ref().map(|_| "index")).or((!expire.is_nullish()).then_some("expireAfterSeconds")).or(series.map(|_| "timeseries")) {
            bail!(InvalidOptions, "option not supported on a view: {option}");
        }
        return change_view(cx, &coll, view_on, pipeline);
    }
    if view_on.is_some() || pipeline.is_some() {
        bail!(InvalidOptions, "option not supported on a collection: {}", if view_on.is_some() { "viewOn" } else { "pipeline" });
    }
    if series.is_some() && coll.timeseries.is_none() {
        bail!(InvalidOptions, "option only supported on a time-series collection: timeseries");
    }
    if !expire.is_nullish() && coll.timeseries.is_none() && !coll.is_clustered() {
        bail!(InvalidOptions, "'expireAfterSeconds' is only supported on a time-series or clustered collection: {ns}");
    }
    if (change.size.is_some() || change.max.is_some()) && coll.timeseries.is_none() && (!coll.is_capped() || ns.as_str() == "local.oplog.rs") {
        bail!(InvalidOptions, "cannot change the size of {ns}: it is no capped collection of a user");
    }
    // A command that asks for nothing is still an event for those who watch.
    let empty = index.is_none() && expire.is_nullish() && change.first_option().is_none();
    if let Some(index) = index {
        index.apply(cx, &coll, dry_run, reply)?;
    }
    if coll.timeseries.is_some() {
        return change_series(cx, &coll, &change, series, expire);
    }
    if !expire.is_nullish() {
        change_expiry(cx, &coll, expire)?;
    }
    if change.first_option().is_none() && !empty {
        return Ok(());
    }
    let coll = shared.catalog.require(&ns)?;
    let options = if empty { coll.options.clone() } else { change.options(&coll) };
    let command = oplog_command(&ns, change.given().as_doc());
    shared.catalog.set_options(&mut cx.op, &ns, options, command.as_doc())
}

/// What the oplog tells is the command itself: what was asked for, and nothing of what was so before.
fn oplog_command(ns: &Ns, fields: Doc<'_>) -> DocBuf {
    DocBuf::build(|w| {
        w.append("collMod", ns.coll()).append_all(fields);
    })
}

/// Changes of a collection's own options.
struct Change<'a> {
    validator: Option<Doc<'a>>,
    level: Option<&'a str>,
    action: Option<&'a str>,
    size: Option<i64>,
    max: Option<i64>,
    images: Option<bool>,
}

impl<'a> Change<'a> {
    fn read(args: &mut Args<'a>) -> Result<Change<'a>> {
        let change = Change {
            validator: args.doc("validator")?,
            level: choice(args, "validationLevel", &["off", "strict", "moderate"])?,
            action: choice(args, "validationAction", &["error", "warn", "errorAndLog"])?,
            size: args.int("cappedSize")?,
            max: args.int("cappedMax")?,
            images: images(args, "collMod")?,
        };
        if let Some(size) = change.size.filter(|n| !(1..=limits::CAPPED_BYTES).contains(n)) {
            bail!(BadValue, "BSON field 'cappedSize' value must be >= 1 and <= {}, actual value '{size}'", limits::CAPPED_BYTES);
        }
        if let Some(max) = change.max.filter(|n| *n > i64::from(i32::MAX)) {
            bail!(BadValue, "BSON field 'cappedMax' value must be < 2147483648, actual value '{max}'");
        }
        Ok(change)
    }

    fn first_option(&self) -> Option<&'static str> {
        let given = [
            ("validator", self.validator.is_some()),
            ("validationLevel", self.level.is_some()),
            ("validationAction", self.action.is_some()),
            ("cappedSize", self.size.is_some()),
            ("cappedMax", self.max.is_some()),
            ("changeStreamPreAndPostImages", self.images.is_some()),
        ];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }

    /// The command's fields that say what is to change.
    fn given(&self) -> DocBuf {
        DocBuf::build(|w| {
            if let Some(validator) = self.validator {
                w.append("validator", validator);
            }
            for (name, text) in [("validationLevel", self.level), ("validationAction", self.action)] {
                if let Some(text) = text {
                    w.append(name, text);
                }
            }
            for (name, n) in [("cappedSize", self.size), ("cappedMax", self.max)] {
                if let Some(n) = n {
                    w.append(name, compact_number(n));
                }
            }
            if let Some(images) = self.images {
                w.document("changeStreamPreAndPostImages").append("enabled", images);
            }
        })
    }

    /// The collection's options after the change.
    fn options(&self, coll: &Collection) -> DocBuf {
        in_order(&DocBuf::build(|w| {
            for e in coll.options() {
                let replaced = match e.name() {
                    "validator" => self.validator.is_some(),
                    "validationLevel" => self.level.is_some(),
                    "validationAction" => self.action.is_some(),
                    "size" => self.size.is_some(),
                    "max" => self.max.is_some(),
                    "changeStreamPreAndPostImages" => self.images.is_some(),
                    _ => false,
                };
                if !replaced {
                    w.append_element(&e);
                }
            }
            if let Some(n) = self.size {
                w.append("size", compact_number(round_up(n)));
            }
            if let Some(n) = self.max.filter(|n| *n > 0) {
                w.append("max", compact_number(n));
            }
            if self.images == Some(true) {
                w.document("changeStreamPreAndPostImages").append("enabled", true);
            }
            if let Some(v) = self.validator.filter(|v| !v.is_empty()) {
                w.append("validator", v);
            }
            for (name, text) in [("validationLevel", self.level), ("validationAction", self.action)] {
                if let Some(t) = text {
                    w.append(name, t);
                } else if self.validator.is_some() && !coll.options().contains(name) {
                    w.append(name, if name == "validationLevel" { "strict" } else { "error" });
                }
            }
        }))
    }
}

/// `expireAfterSeconds` of a clustered collection: a number, or `"off"`.
fn change_expiry(cx: &mut Cx<'_>, coll: &Collection, expire: Value<'_>) -> Result<()> {
    let ns = &coll.ns;
    let seconds = match expire {
        Value::String("off") => None,
        Value::String(other) => bail!(InvalidOptions, "expireAfterSeconds must be a number or 'off', not '{other}'"),
        v => Some(clustered::seconds(v)?),
    };
    let options = in_order(&DocBuf::build(|w| {
        for e in coll.options().iter().filter(|e| e.name() != "expireAfterSeconds") {
            w.append_element(&e);
        }
        if let Some(n) = seconds {
            w.append("expireAfterSeconds", n);
        }
    }));
    let shared = cx.shared.clone();
    let command = oplog_command(ns, DocBuf::build(|w| { w.append("expireAfterSeconds", expire); }).as_doc());
    shared.catalog.set_clustered_options(&mut cx.op, ns, options, command.as_doc())
}

/// Of a time-series collection, only its buckets and when measurements go can be changed.
fn change_series(cx: &mut Cx<'_>, coll: &Collection, change: &Change<'_>, series: Option<Doc<'_>>, expire: Value<'_>) -> Result<()> {
    // What is about capped collections passes unnoticed, as it does in MongoDB.
    if let Some(option) = change.first_option().filter(|option| !option.starts_with("capped")) {
        bail!(InvalidOptions, "option not supported on a time-series collection: {option}");
    }
    let expire = match expire {
        Value::Missing => None,
        Value::String("off") => Some(None),
        Value::String(other) => bail!(InvalidOptions, "expireAfterSeconds must be a number or 'off', not '{other}'"),
        v if v.is_number() => Some(Some(timeseries::check_expiry(number::to_i64_rounded(v))?)),
        v => bail!(TypeMismatch, "BSON field 'collMod.expireAfterSeconds' is the wrong type '{}', expected a number or 'off'", v.type_name()),
    };
    if series.is_none() && expire.is_none() {
        return Ok(());
    }
    let current = coll.option("timeseries").as_doc().unwrap_or(Doc::EMPTY);
    let buckets = series.map(|change| timeseries::changed(current, change)).transpose()?.unwrap_or_else(|| DocBuf::from(current));
    let options = in_order(&DocBuf::build(|w| {
        for e in coll.options().iter().filter(|e| e.name() != "timeseries" && (e.name() != "expireAfterSeconds" || expire.is_none())) {
            w.append_element(&e);
        }
        if let Some(Some(seconds)) = expire {
            w.append("expireAfterSeconds", seconds);
        }
        w.append("timeseries", buckets.as_doc());
    }));
    let shared = cx.shared.clone();
    let given = DocBuf::build(|w| {
        w.append("timeseries", series.map_or(Value::Missing, Value::Document));
        match expire {
            None => {}
            Some(None) => {
                w.append("expireAfterSeconds", "off");
            }
            Some(Some(seconds)) => {
                w.append("expireAfterSeconds", seconds);
            }
        }
    });
    let command = oplog_command(&coll.ns, given.as_doc());
    shared.catalog.set_options(&mut cx.op, &coll.ns, options, command.as_doc())
}

/// What is not given stays as it is.
fn change_view(cx: &mut Cx<'_>, coll: &Collection, on: Option<&str>, pipeline: Option<Array<'_>>) -> Result<()> {
    if on.is_none() && pipeline.is_none() {
        return Ok(());
    }
    let ns = &coll.ns;
    let on = on.or(coll.option("viewOn").as_str()).unwrap_or_default();
    let pipeline = views::check(cx, ns, on, pipeline.or(coll.option("pipeline").as_array()))?;
    let options = views::options(on, &pipeline, coll.option("collation").as_doc());
    let shared = cx.shared.clone();
    let given = DocBuf::build(|w| {
        w.append("viewOn", on).append("pipeline", pipeline.view());
    });
    let command = oplog_command(ns, given.as_doc());
    shared.catalog.set_options(&mut cx.op, ns, options, command.as_doc())
}

/// `index: {name or keyPattern, …}`.
struct IndexChange<'a> {
    spec: Doc<'a>,
    name: Option<&'a str>,
    key: Option<Doc<'a>>,
    hidden: Option<bool>,
    expire: Option<i64>,
    unique: Option<bool>,
    prepare_unique: Option<bool>,
}

impl<'a> IndexChange<'a> {
    fn read(spec: Doc<'a>) -> Result<IndexChange<'a>> {
        let mut args = Args::nested("collMod.index", spec);
        let name = args.str("name")?;
        let key = args.doc("keyPattern")?;
        let mut flag = |name: &str| match args.value(name) {
            v if v.is_nullish() => Ok(None),
            v if v.is_number() || v.as_bool().is_some() => Ok(Some(v.truthy())),
            v => Err(args.wrong_type(name, v, "bool, long, int, decimal, double")),
        };
        let (hidden, unique, prepare_unique) = (flag("hidden")?, flag("unique")?, flag("prepareUnique")?);
        let expire = args.int("expireAfterSeconds")?;
        args.refuse(&["forceNonUnique"])?;
        args.finish()?;
        match (name, key) {
            (Some(_), Some(_)) => bail!(InvalidOptions, "Cannot specify both key pattern and name."),
            (None, None) => bail!(InvalidOptions, "Must specify either index name or key pattern."),
            _ => {}
        }
        if hidden.is_none() && expire.is_none() && unique.is_none() && prepare_unique.is_none() {
            bail!(InvalidOptions, "no expireAfterSeconds, hidden, unique, or prepareUnique field");
        }
        if unique == Some(false) {
            bail!(BadValue, "BSON field 'collMod.index.unique' cannot be false: an index cannot be made not unique");
        }
        Ok(IndexChange { spec, name, key, hidden, expire, unique, prepare_unique })
    }

    fn find<'c>(&self, coll: &'c Collection) -> Result<&'c std::sync::Arc<Index>> {
        let found = coll.indexes.iter().find(|i| match (self.name, self.key) {
            (Some(name), _) => i.name == name,
            (None, key) => !i.clustered && key.is_some_and(|key| smongo_bson::compare::compare_docs(i.key(), key, None).is_eq()),
        });
        match (found, self.name) {
            (Some(index), _) => Ok(index),
            (None, Some(name)) => bail!(IndexNotFound, "cannot find index {name} for ns {}", coll.ns),
            (None, None) => bail!(IndexNotFound, "cannot find index {:?} for ns {}", self.key.unwrap_or(Doc::EMPTY), coll.ns),
        }
    }

    fn apply(&self, cx: &mut Cx<'_>, coll: &Collection, dry_run: bool, reply: &mut DocWriter<'_>) -> Result<()> {
        let index = self.find(coll)?;
        let hidden = self.hidden.filter(|h| *h != index.hidden);
        let prepare = self.prepare_unique.filter(|p| *p != index.prepare_unique && !index.unique);
        if self.hidden.is_some() && index.clustered {
            bail!(6011800, "The 'clustered' index cannot be hidden");
        }
        if self.hidden.is_some() && index.is_id() {
            bail!(BadValue, "can't hide _id index");
        }
        if prepare.is_some() && (self.hidden.is_some() || self.expire.is_some()) {
            bail!(InvalidOptions, "cannot combine prepareUnique with any other modification");
        }
        let expire = self.expire.map(|seconds| check_expire(index, seconds)).transpose()?;
        let shared = cx.shared.clone();
        let command = oplog_command(&coll.ns, DocBuf::build(|w| { w.append("index", self.spec); }).as_doc());
        if self.unique == Some(true) && !index.unique && !index.is_id() {
            if !index.prepare_unique {
                bail!(InvalidOptions, "Cannot make index unique with 'prepareUnique=false'. Run collMod to set it first.");
            }
            shared.catalog.make_unique(&mut cx.op, &coll.ns, &index.name, dry_run, command.as_doc())?;
            if !dry_run {
                reply.append("unique_new", true);
            }
            return Ok(());
        }
        if let Some(seconds) = expire {
            if let Some(old) = index.expire_after {
                reply.append("expireAfterSeconds_old", old);
            }
            reply.append("expireAfterSeconds_new", seconds);
        }
        for (change, old, names) in [
            (hidden, index.hidden, ["hidden_old", "hidden_new"]),
            (prepare, index.prepare_unique, ["prepareUnique_old", "prepareUnique_new"]),
        ] {
            if let Some(new) = change {
                reply.append(names[0], old).append(names[1], new);
            }
        }
        let flags = [("hidden", hidden), ("prepareUnique", prepare)];
        shared.catalog.set_index_spec(&mut cx.op, &coll.ns, &index.name, changed_spec(index, &flags, expire), command.as_doc())
    }
}

/// The seconds as they are stored: MongoDB cuts off what does not fit.
fn check_expire(index: &Index, seconds: i64) -> Result<i64> {
    if index.is_id() || index.parts.len() != 1 || index.key().iter().any(|e| e.value().as_str() == Some("text") || e.name().ends_with("$**")) {
        bail!(InvalidOptions, "TTL indexes are single-field indexes on a field other than _id; {} cannot be one", index.name);
    }
    if seconds < 0 {
        bail!(InvalidOptions, "TTL index 'expireAfterSeconds' option must be within an acceptable range, try a different number");
    }
    Ok(seconds.min(i64::from(i32::MAX)))
}

fn changed_spec(index: &Index, flags: &[(&str, Option<bool>)], expire: Option<i64>) -> DocBuf {
    DocBuf::build(|w| {
        for e in index.spec.as_doc() {
            let replaced = flags.iter().any(|(name, change)| e.name() == *name && change.is_some()) || (e.name() == "expireAfterSeconds" && expire.is_some());
            if !replaced {
                w.append_element(&e);
            }
        }
        for (name, change) in flags {
            if *change == Some(true) {
                w.append(name, true);
            }
        }
        if let Some(seconds) = expire {
            w.append("expireAfterSeconds", compact_number(seconds));
        }
    })
}
