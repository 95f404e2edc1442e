//! Stages at the head of a pipeline whose documents the engine makes, and those that are refused.

use smongo_bson::decimal::Rounding;
use smongo_bson::{Doc, DocBuf, Error, Result, Value, ValueBuf, bail, err, number};

use super::{Operator, Stage};
use crate::cx::CompileCx;
use crate::stream::{Host, SourceSpec, Stream};

type Out<'o> = &'o mut Vec<Stage>;

struct Source(SourceSpec);

pub(super) fn push(name: &'static str, arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let spec = SourceSpec { name, spec: ValueBuf::new(arg), db: cx.db.clone(), coll: cx.coll.clone() };
    out.push(Stage::Other(Box::new(Source(spec))));
    Ok(())
}

impl Operator for Source {
    fn name(&self) -> &'static str {
        self.0.name
    }
    fn open(self: Box<Self>, _input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(Box::new(SourceStream { spec: self.0, inner: None }))
    }
    fn is_source(&self) -> bool {
        true
    }
    fn source(&self) -> Option<&SourceSpec> {
        Some(&self.0)
    }
}

/// Asks the host for the documents when the first is wanted.
struct SourceStream {
    spec: SourceSpec,
    inner: Option<Box<dyn Stream>>,
}

impl Stream for SourceStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.inner.is_none() {
            self.inner = Some(host.source(&self.spec)?);
        }
        self.inner.as_mut().map_or(Ok(false), |s| s.advance(host))
    }
    fn doc(&self) -> Doc<'_> {
        self.inner.as_ref().map_or(Doc::EMPTY, |s| s.doc())
    }
    fn meta(&self) -> Doc<'_> {
        self.inner.as_ref().map_or(Doc::EMPTY, |s| s.meta())
    }
    fn passes(&self) -> u32 {
        self.inner.as_ref().map_or(0, |s| s.passes() + 1)
    }
    fn park(&mut self, host: &mut dyn Host) {
        if let Some(s) = &mut self.inner {
            s.park(host);
        }
    }
}

fn document<'v>(name: &str, arg: Value<'v>) -> Result<Doc<'v>> {
    match arg {
        Value::Document(d) => Ok(d),
        _ => bail!(FailedToParse, "The {name} stage specification must be an object, but found {}", arg.type_name()),
    }
}

pub(super) fn parse_coll_stats(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(5447000, "$collStats must take a nested object but found: {}", arg.type_name());
    };
    // An option that is null is not given; of two, the one that is given counts.
    let mut given: Vec<(&str, Value<'_>)> = Vec::new();
    for field in spec.iter().filter(|f| !f.value().is_nullish()) {
        given.push((field.name(), field.value()));
    }
    for (name, value) in &given {
        check_coll_stats(name, *value)?;
    }
    let cleaned = DocBuf::build(|w| {
        for (name, value) in given {
            match (name, value.as_doc().map(|d| d.get("scale"))) {
                ("storageStats", Some(scale)) if scale.is_number() => drop(w.document(name).append("scale", stats_scale(scale))),
                _ => drop(w.append(name, value)),
            }
        }
    });
    push("$collStats", Value::Document(cleaned.as_doc()), cx, out)
}

/// The divisor of sizes, as an int: doubles are cut, decimals rounded half to even, and what is too large is the largest.
fn stats_scale(value: Value<'_>) -> i32 {
    let n = match value {
        Value::Decimal(d) => number::to_f64(Value::Decimal(d.round_to_integer(Rounding::HalfEven))),
        v => number::to_f64(v),
    };
    n.unwrap_or(0.0) as i32
}

fn check_coll_stats(name: &str, value: Value<'_>) -> Result<()> {
    let object = |path: &str| match value {
        Value::Document(d) => Ok(d),
        v => bail!(TypeMismatch, "BSON field '$collStats.{path}' is the wrong type '{}', expected type 'object'", v.type_name()),
    };
    match name {
        "latencyStats" => {
            for f in object(name)? {
                match (f.name(), f.value()) {
                    ("histograms", Value::Bool(_)) => {}
                    ("histograms", v) => bail!(TypeMismatch, "BSON field '$collStats.latencyStats.histograms' is the wrong type '{}', expected type 'bool'", v.type_name()),
                    (other, _) => bail!(40415, "BSON field '$collStats.latencyStats.{other}' is an unknown field."),
                }
            }
        }
        "storageStats" => {
            for f in object(name)? {
                match (f.name(), f.value()) {
                    ("scale", v) if v.is_number() => {
                        if stats_scale(v) < 1 {
                            bail!(BadValue, "BSON field 'scale' value must be >= 1, actual value '{}'", super::args::show(v));
                        }
                    }
                    ("scale", v) if !v.is_nullish() => bail!(TypeMismatch, "BSON field '$collStats.storageStats.scale' is the wrong type '{}', expected types '[long, int, decimal, double]'", v.type_name()),
                    // Whatever else there may be is nothing to MongoDB.
                    _ => {}
                }
            }
        }
        "count" | "queryExecStats" => {
            if !object(name)?.is_empty() {
                bail!(31170, "Option {name} must be an empty object");
            }
        }
        "$_requestOnTimeseriesView" | "operationStats" | "targetAllNodes" => {}
        other => bail!(40415, "BSON field '$collStats.{other}' is an unknown field."),
    }
    Ok(())
}

pub(super) fn parse_index_stats(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    match arg {
        Value::Document(d) if d.is_empty() => push("$indexStats", arg, cx, out),
        _ => bail!(28803, "The $indexStats stage specification must be an empty object"),
    }
}

pub(super) fn parse_plan_cache_stats(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let spec = document("$planCacheStats", arg)?;
    let Some(option) = spec.first() else { return push("$planCacheStats", arg, cx, out) };
    if option.name() != "allHosts" || spec.len() > 1 {
        bail!(FailedToParse, "$planCacheStats stage options object must be empty or have just one option 'allHosts', found: {spec:?}");
    }
    match option.value() {
        Value::Bool(true) => bail!(4503200, "$planCacheStats stage supports allHosts parameter only for sharded clusters"),
        Value::Bool(false) => {}
        v => bail!(13111, "wrong type for field (allHosts) {} != bool", v.type_name()),
    }
    push("$planCacheStats", arg, cx, out)
}

pub(super) fn parse_current_op(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(TypeMismatch, "The $currentOp stage specification must be an object, but found {}", arg.type_name())
    };
    if cx.db != "admin" {
        bail!(InvalidNamespace, "$currentOp must be run against the 'admin' database with {{aggregate: 1}}");
    }
    const FLAGS: [&str; 8] = ["allUsers", "backtrace", "idleConnections", "idleCursors", "idleSessions", "localOps", "targetAllNodes", "truncateOps"];
    for field in spec {
        match (field.name(), field.value()) {
            ("targetAllNodes", Value::Bool(true)) => bail!(FailedToParse, "$currentOp supports targetAllNodes parameter only for sharded clusters"),
            (name, Value::Bool(_)) if FLAGS.contains(&name) => {}
            (name, v) if FLAGS.contains(&name) => bail!(TypeMismatch, "The '{name}' parameter of the $currentOp stage must be a boolean value, but found: {}", v.type_name()),
            (other, _) => bail!(IDLUnknownField, "BSON field '$currentOp.{other}' is an unknown field."),
        }
    }
    push("$currentOp", arg, cx, out)
}

fn sessions(name: &'static str, arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let wrong = |field: &str, v: Value<'_>, expected: &str| -> Error {
        err!(TypeMismatch, "BSON field '{name}{field}' is the wrong type '{}', expected type '{expected}'", v.type_name())
    };
    let Value::Document(spec) = arg else { return Err(wrong("", arg, "object")) };
    let (mut all, mut users) = (false, 0);
    for field in spec {
        match (field.name(), field.value()) {
            ("allUsers" | "users", v) if v.is_nullish() => {}
            ("allUsers", Value::Bool(b)) => all = b,
            ("allUsers", v) => return Err(wrong(".allUsers", v, "bool")),
            ("users", Value::Array(list)) => {
                for user in list.iter().filter(|user| !user.is_nullish()) {
                    let Value::Document(user) = user else { return Err(wrong(".users", user, "object")) };
                    check_user(name, user)?;
                    users += 1;
                }
            }
            ("users", v) => return Err(wrong(".users", v, "array")),
            ("$_internalPredicate", _) => {}
            (other, _) => bail!(40415, "BSON field '{name}.{other}' is an unknown field."),
        }
    }
    if all && users > 0 {
        bail!(UnsupportedFormat, "{name} may not specify both allUsers and users options");
    }
    push(name, arg, cx, out)
}

/// `{user, db}`, both strings.
fn check_user(stage: &str, user: Doc<'_>) -> Result<()> {
    if let Some(unknown) = user.iter().find(|e| !["user", "db"].contains(&e.name())) {
        bail!(40415, "BSON field '{stage}.users.{}' is an unknown field.", unknown.name());
    }
    for required in ["user", "db"] {
        match user.get(required) {
            Value::String(_) => {}
            v if v.is_nullish() => bail!(40414, "BSON field '{stage}.users.{required}' is missing but a required field"),
            v => bail!(TypeMismatch, "BSON field '{stage}.users.{required}' is the wrong type '{}', expected type 'string'", v.type_name()),
        }
    }
    Ok(())
}

pub(super) fn parse_list_sessions(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    if cx.db != "config" || cx.coll != "system.sessions" {
        bail!(InvalidNamespace, "$listSessions may only be run against config.system.sessions");
    }
    sessions("$listSessions", arg, cx, out)
}

pub(super) fn parse_list_local_sessions(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    sessions("$listLocalSessions", arg, cx, out)
}

pub(super) fn parse_list_search_indexes(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let spec = document("$listSearchIndexes", arg)?;
    for field in spec {
        match (field.name(), field.value()) {
            ("name" | "id", Value::String(_)) => {}
            (name @ ("name" | "id"), v) => bail!(TypeMismatch, "BSON field '$listSearchIndexes.{name}' is the wrong type '{}', expected type 'string'", v.type_name()),
            (other, _) => bail!(40415, "BSON field '$listSearchIndexes.{other}' is an unknown field."),
        }
    }
    if spec.contains("name") && spec.contains("id") {
        bail!(UnknownError, "only one of [id, name] may be present");
    }
    push("$listSearchIndexes", arg, cx, out)
}

pub(super) fn parse_list_catalog(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    match arg {
        Value::Document(d) if d.is_empty() => push("$listCatalog", arg, cx, out),
        _ => bail!(6200600, "The $listCatalog stage specification must be an empty object"),
    }
}

pub(super) fn parse_list_cluster_catalog(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    if !cx.coll.is_empty() {
        bail!(9621301, "$listClusterCatalog must be run against the database with {{aggregate: 1}}");
    }
    let Value::Document(spec) = arg else { bail!(9621302, "$listClusterCatalog must take a nested object but found: {}", arg.type_name()) };
    for field in spec {
        match (field.name(), field.value()) {
            ("shards" | "tracked" | "balancingConfiguration", Value::Bool(_)) => {}
            (name @ ("shards" | "tracked" | "balancingConfiguration"), v) => {
                bail!(TypeMismatch, "BSON field '$listClusterCatalog.{name}' is the wrong type '{}', expected type 'bool'", v.type_name())
            }
            (other, _) => bail!(40415, "BSON field '$listClusterCatalog.{other}' is an unknown field."),
        }
    }
    push("$listClusterCatalog", arg, cx, out)
}

pub(super) fn parse_list_sampled_queries(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    document("$listSampledQueries", arg)?;
    push("$listSampledQueries", arg, cx, out)
}

pub(super) fn parse_query_settings(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    let Value::Document(spec) = arg else { bail!(7746800, "$querySettings stage expects a document as argument") };
    for field in spec {
        match (field.name(), field.value()) {
            ("showDebugQueryShape", Value::Bool(_)) => {}
            ("showDebugQueryShape", v) => bail!(TypeMismatch, "BSON field '$querySettings.showDebugQueryShape' is the wrong type '{}', expected type 'bool'", v.type_name()),
            (other, _) => bail!(40415, "BSON field '$querySettings.{other}' is an unknown field."),
        }
    }
    push("$querySettings", arg, cx, out)
}

pub(super) fn parse_query_stats(arg: Value<'_>, cx: &CompileCx, out: Out<'_>) -> Result<()> {
    document("$queryStats", arg)?;
    push("$queryStats", arg, cx, out)
}
