//! create: collections, capped collections and views.

use smongo_bson::{Array, Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::collation::Collation;
use smongo_mql::{CompileCx, Matcher, Pipeline};

use super::{Args, Command, IN_TXN, WRITES, clustered};
use crate::door::Cx;
use crate::namespace::Ns;

pub const CREATE: Command = Command::new("create", create, IN_TXN | WRITES);

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    args.refuse(&["timeseries", "encryptedFields", "changeStreamPreAndPostImages", "recordIdsReplicated"])?;
    let options = options(cx, &ns, args)?;
    args.finish()?;
    let shared = cx.op.shared.clone();
    match shared.catalog.create(&mut cx.op, &ns, options.clone()) {
        // Creating what is there already, with the same options, is no error.
        Err(e) if e.code() == smongo_bson::Code::NamespaceExists => match shared.catalog.get(&ns) {
            Some(coll) if coll.options.as_bytes() == options.as_bytes() => Ok(()),
            _ => Err(e),
        },
        done => done.map(|_| ()),
    }
}

/// The options as they are stored and as listCollections gives them back.
fn options(cx: &Cx<'_>, ns: &Ns, args: &mut Args<'_>) -> Result<DocBuf> {
    let capped = args.bool("capped")?;
    let size = args.int("size")?;
    let max = args.int("max")?;
    let view_on = args.str("viewOn")?;
    let pipeline = args.array("pipeline")?;
    let collation = collation(args.doc("collation")?)?;
    let validator = args.doc("validator")?;
    let level = choice(args, "validationLevel", &["off", "strict", "moderate"])?;
    let action = choice(args, "validationAction", &["error", "warn", "errorAndLog"])?;
    let index_defaults = args.doc("indexOptionDefaults")?;
    let storage_engine = args.doc("storageEngine")?;
    let expire = args.value("expireAfterSeconds");
    let clustered = clustered::option(args)?;
    let id_index = !args.value("idIndex").is_nullish();
    args.accept(&["autoIndexId", "flags", "temp"]);
    clustered.check_company(capped, max.is_some(), view_on.is_some(), id_index)?;
    if let Some(on) = view_on {
        return view(cx, ns, on, pipeline, collation, capped || size.is_some() || max.is_some() || validator.is_some());
    }
    if pipeline.is_some() {
        bail!(InvalidOptions, "'pipeline' requires 'viewOn' to also be specified");
    }
    let expire = match (expire, &clustered.index) {
        (v, _) if v.is_nullish() => None,
        (v, Some(_)) => Some(clustered::seconds(v)?),
        _ => bail!(InvalidOptions, "'expireAfterSeconds' is only supported on time-series collections or when the 'clusteredIndex' option is specified"),
    };
    if capped && size.is_none() {
        bail!(InvalidOptions, "the 'size' field is required when 'capped' is true");
    }
    if !capped && (size.is_some() || max.is_some()) {
        bail!(InvalidOptions, "the 'capped' field needs to be true when either the 'size' or 'max' fields are present");
    }
    check_validator(cx, validator)?;
    Ok(DocBuf::build(|w| {
        if let Some(index) = &clustered.index {
            w.append("clusteredIndex", index.as_doc());
        }
        if let Some(seconds) = expire {
            w.append("expireAfterSeconds", seconds);
        }
        if capped {
            // MongoDB rounds sizes up to a multiple of 256 bytes.
            let size = size.unwrap_or(0).max(1);
            w.append("capped", true).append("size", Value::Int64(size.saturating_add(255) / 256 * 256));
            if let Some(max) = max.filter(|m| *m > 0) {
                w.append("max", max);
            }
        }
        for (name, doc) in [("storageEngine", storage_engine), ("indexOptionDefaults", index_defaults), ("validator", validator)] {
            if let Some(d) = doc {
                w.append(name, d);
            }
        }
        for (name, text) in [("validationLevel", level), ("validationAction", action)] {
            if let Some(t) = text.or(validator.map(|_| if name == "validationLevel" { "strict" } else { "error" })) {
                w.append(name, t);
            }
        }
        if let Some(c) = &collation {
            w.append("collation", c.as_doc());
        }
    }))
}

/// A collation with every default filled in; `None` for the simple one.
pub fn collation(spec: Option<Doc<'_>>) -> Result<Option<DocBuf>> {
    match spec {
        Some(d) if !d.is_empty() => Ok(Collation::parse(d)?.map(|c| c.spec)),
        _ => Ok(None),
    }
}

pub fn choice<'a>(args: &mut Args<'a>, name: &str, valid: &[&str]) -> Result<Option<&'a str>> {
    match args.str(name)? {
        Some(v) if !valid.contains(&v) => {
            bail!(BadValue, "Enumeration value '{v}' for field '{name}' is not a valid value.")
        }
        v => Ok(v),
    }
}

pub fn check_validator(cx: &Cx<'_>, validator: Option<Doc<'_>>) -> Result<()> {
    if let Some(filter) = validator {
        let matcher = Matcher::compile(filter, &CompileCx { now: cx.op.compile.now, ..CompileCx::default() })?;
        if matcher.has_text() || matcher.near().is_some() {
            bail!(QueryFeatureNotAllowed, "$text, $near and $nearSphere are not allowed in this context");
        }
    }
    Ok(())
}

fn view(cx: &Cx<'_>, ns: &Ns, on: &str, pipeline: Option<Array<'_>>, collation: Option<DocBuf>, other: bool) -> Result<DocBuf> {
    if other {
        bail!(InvalidOptions, "the options of a collection cannot be given for a view");
    }
    Ns::new(ns.db(), on)?;
    let pipeline = pipeline.unwrap_or(Array::EMPTY);
    let compiled = Pipeline::compile(pipeline, &CompileCx { db: ns.db().into(), coll: on.into(), now: cx.op.compile.now, ..CompileCx::default() })?;
    if let Some(writes) = compiled.writes() {
        bail!(OptionNotSupportedOnView, "The aggregation stage {} of the pipeline cannot be used in the view definition of {ns}", writes.name());
    }
    Ok(DocBuf::build(|w| {
        w.append("viewOn", on).append("pipeline", pipeline);
        if let Some(c) = &collation {
            w.append("collation", c.as_doc());
        }
    }))
}
