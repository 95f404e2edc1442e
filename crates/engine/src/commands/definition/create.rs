//! create: collections, capped collections and views.

use smongo_bson::{Doc, DocBuf, DocWriter, Error, Result, Value, bail, number};
use smongo_mql::collation::Collation;
use smongo_mql::{CompileCx, Matcher};

use super::{clustered, views};
use crate::commands::rules;
use crate::data::{buckets, limits};
use crate::data::catalog::{IdIndex, write_capped};
use crate::data::namespace::{self, Ns};
use crate::service::command::{Access, Args, Command, Cx, IN_TXN, WRITES, choice};
use crate::service::timeseries;

pub const CREATE: Command = Command::new("create", create, IN_TXN | WRITES, Access::Computed(rules::create));

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = args.ns(&cx.db)?;
    if let Some(series) = buckets::series_of(&ns).filter(|_| matches!(args.value("timeseries"), Value::Document(_))) {
        // The buckets come with the collection they are of, and what they are beside comes with them.
        let body = DocBuf::build(|w| {
            args.body().as_doc().iter().filter(|e| !["clusteredIndex", "validator"].contains(&e.name())).for_each(|e| {
                w.append_element(&e);
            });
        });
        return create_named(cx, &series, &mut Args::new("create", body.as_doc(), &[]));
    }
    create_named(cx, &ns, args)
}

/// Creates what the arguments describe, under a name that is not read from them.
fn create_named(cx: &mut Cx<'_>, ns: &Ns, args: &mut Args<'_>) -> Result<()> {
    namespace::check_creatable(ns)?;
    args.refuse(&["encryptedFields", "recordIdsReplicated"])?;
    let given = Given::read(args)?;
    args.finish()?;
    if cx.in_transaction {
        check_in_transaction(cx, ns)?;
        if given.view_on.is_some() || given.timeseries.is_some() {
            bail!(OperationNotSupportedInTransaction, "Cannot create a view or a time-series collection in a multi-document transaction.");
        }
    }
    let options = given.options(cx, ns)?;
    let id_index = given.id_index()?;
    let shared = cx.shared.clone();
    match shared.catalog.create(&mut cx.op, ns, options.clone(), id_index) {
        // Creating what is there already, with the same options, is no error outside of transactions.
        Err(e) if e.code() == smongo_bson::Code::NamespaceExists && !cx.in_transaction => match cx.op.collection(ns)? {
            Some(coll) if coll.options.as_bytes() == options.as_bytes() => Ok(()),
            _ => Err(e),
        },
        done => done.map(|_| ()),
    }
}

/// Whether data definition may be a part of the transaction that the command is in.
pub fn check_in_transaction(cx: &Cx<'_>, ns: &Ns) -> Result<()> {
    if let Some(level) = cx.op.read_level.as_deref().filter(|level| *level != "local") {
        bail!(
            InvalidOptions,
            "Command {} does not support {{ readConcern: {{ level: \"{level}\", provenance: \"clientSupplied\" }} }} :: caused by :: read concern not supported",
            cx.command.name
        );
    }
    if ns.is_system() || matches!(ns.db(), "admin" | "config" | "local") {
        bail!(OperationNotSupportedInTransaction, "Cannot create the collection or the indexes of {ns} in a multi-document transaction.");
    }
    Ok(())
}

/// The command's options, each of its type.
struct Given<'a> {
    capped: Option<(i64, i64)>,
    view_on: Option<&'a str>,
    pipeline: Option<smongo_bson::Array<'a>>,
    collation: Option<DocBuf>,
    validator: Option<Doc<'a>>,
    level: Option<&'a str>,
    action: Option<&'a str>,
    index_defaults: Option<Doc<'a>>,
    storage_engine: Option<Doc<'a>>,
    images: bool,
    images_given: bool,
    id_index: Option<Doc<'a>>,
    clustered: clustered::Clustered,
    timeseries: Option<timeseries::Given<'a>>,
    expire_after: Option<i64>,
}

impl<'a> Given<'a> {
    fn read(args: &mut Args<'a>) -> Result<Given<'a>> {
        let images = images(args, "create")?;
        let clustered = clustered::option(args)?;
        let given = Given {
            capped: capped(args, clustered.index.is_some())?,
            view_on: args.str("viewOn")?,
            pipeline: args.array("pipeline")?,
            collation: collation(args.doc("collation")?)?,
            validator: args.doc("validator")?,
            level: choice(args, "validationLevel", &["off", "strict", "moderate"])?,
            action: choice(args, "validationAction", &["error", "warn", "errorAndLog"])?,
            index_defaults: args.doc("indexOptionDefaults")?,
            storage_engine: args.doc("storageEngine")?,
            images: images.unwrap_or(false),
            images_given: images.is_some(),
            id_index: args.doc("idIndex")?,
            clustered,
            timeseries: timeseries::read(args)?,
            expire_after: args.int("expireAfterSeconds")?,
        };
        args.accept(&["autoIndexId", "flags", "temp"]);
        given.check()?;
        Ok(given)
    }

    fn check(&self) -> Result<()> {
        if let Some(engine) = self.storage_engine {
            check_storage_engine(engine)?;
        }
        if let Some(defaults) = self.index_defaults {
            let mut args = Args::nested("create.indexOptionDefaults", defaults);
            let engine = args.doc("storageEngine")?;
            args.finish()?;
            engine.map_or(Ok(()), check_storage_engine)?;
        }
        if self.pipeline.is_some() && self.view_on.is_none() {
            bail!(InvalidOptions, "'pipeline' requires 'viewOn' to also be specified");
        }
        let max = self.capped.is_some_and(|(_, max)| max > 0);
        self.clustered.check_company(self.capped.is_some(), max, self.view_on.is_some(), self.id_index.is_some())?;
        if let Some(seconds) = self.expire_after.filter(|_| self.timeseries.is_some()) {
            timeseries::check_expiry(seconds)?;
        } else if let Some(seconds) = self.expire_after.filter(|_| self.clustered.index.is_some()) {
            clustered::seconds(Value::Int64(seconds))?;
        } else if self.expire_after.is_some() {
            bail!(InvalidOptions, "'expireAfterSeconds' is only supported on time-series collections or when the 'clusteredIndex' option is specified");
        }
        let documents = self.clustered.index.is_some() || self.capped.is_some() || self.validator.is_some() || self.level.is_some() || self.action.is_some() || self.view_on.is_some();
        if self.timeseries.is_some() && (documents || self.id_index.is_some() || self.images_given) {
            bail!(InvalidOptions, "'timeseries' cannot be combined with an option of another kind of collection");
        }
        if self.view_on.is_some() && self.images {
            bail!(InvalidOptions, "option not supported on a view: changeStreamPreAndPostImages");
        }
        if self.view_on.is_some() && self.id_index.is_some() {
            bail!(InvalidOptions, "The 'idIndex' option is not supported on a view");
        }
        Ok(())
    }

    /// The options as they are stored and as listCollections gives them back.
    fn options(&self, cx: &Cx<'_>, ns: &Ns) -> Result<DocBuf> {
        if let Some(on) = self.view_on {
            let pipeline = views::check(cx, ns, on, self.pipeline)?;
            return Ok(views::options(on, &pipeline, self.collation.as_ref().map(DocBuf::as_doc)));
        }
        check_validator(cx, ns, self.validator)?;
        Ok(DocBuf::build(|w| self.write(w)))
    }

    fn write(&self, w: &mut DocWriter<'_>) {
        if let Some((size, max)) = self.capped {
            write_capped(w, size, max);
        }
        if self.images {
            w.document("changeStreamPreAndPostImages").append("enabled", true);
        }
        for (name, doc) in [("storageEngine", self.storage_engine), ("indexOptionDefaults", self.index_defaults), ("validator", self.validator)] {
            if let Some(d) = doc.filter(|d| !d.is_empty()) {
                w.append(name, d);
            }
        }
        let validates = self.validator.is_some();
        if let Some(level) = self.level.or(validates.then_some("strict")) {
            w.append("validationLevel", level);
        }
        if let Some(action) = self.action.or(validates.then_some("error")) {
            w.append("validationAction", action);
        }
        if let Some(c) = &self.collation {
            w.append("collation", c.as_doc());
        }
        if let Some(index) = &self.clustered.index {
            w.append("clusteredIndex", index.as_doc());
        }
        if let Some(seconds) = self.expire_after {
            w.append("expireAfterSeconds", seconds);
        }
        if let Some(series) = &self.timeseries {
            series.write(&mut w.document("timeseries"));
        }
    }

    /// `idIndex` may choose the version of the index on `_id`; everything else in it is only checked.
    fn id_index(&self) -> Result<IdIndex> {
        let Some(spec) = self.id_index else { return Ok(IdIndex::default()) };
        for e in spec {
            if !["key", "name", "v", "ns", "collation"].contains(&e.name()) {
                bail!(InvalidIndexSpecificationOption, "The field '{}' is not valid for an _id index specification. Specification: {spec:?}", e.name());
            }
        }
        let wrong = |name: &str, v: Value<'_>, expected: &str| -> Error {
            smongo_bson::err!(TypeMismatch, "The field '{name}' must be {expected}, but got {}", v.type_name())
        };
        match spec.get("key") {
            Value::Missing => bail!(FailedToParse, "The 'key' field is a required property of an index specification"),
            Value::Document(key) => {
                let field = key.first();
                if key.iter().count() != 1 || !field.is_some_and(|e| e.name() == "_id" && number::to_f64(e.value()) == Some(1.0)) {
                    bail!(BadValue, "The field 'key' for an _id index must be {{_id: 1}}, but got {key:?}");
                }
            }
            v => return Err(wrong("key", v, "an object")),
        }
        match spec.get("name") {
            Value::Missing => bail!(FailedToParse, "The 'name' field is a required property of an index specification"),
            Value::String("") => bail!(CannotCreateIndex, "index name cannot be empty"),
            Value::String(_) => {}
            v => return Err(wrong("name", v, "a string")),
        }
        let own = match spec.get("collation") {
            Value::Document(d) => Some(collation(Some(d))?),
            _ => None,
        };
        let theirs = self.collation.as_ref().map(DocBuf::as_bytes);
        if own.is_some_and(|own| own.as_ref().map(DocBuf::as_bytes) != theirs) {
            bail!(BadValue, "The _id index must have the same collation as the collection.");
        }
        match spec.get("v") {
            Value::Missing => Ok(IdIndex::default()),
            v if v.is_number() => match number::to_i64_exact(v) {
                Some(version @ 1..=2) => Ok(IdIndex { version: version as i32 }),
                Some(other) => bail!(CannotCreateIndex, "Invalid index specification {spec:?}; cannot create an index with v={other}"),
                None => bail!(BadValue, "Index version must be representable as a 32-bit integer, but got {v:?}"),
            },
            v => Err(wrong("v", v, "a number")),
        }
    }
}

/// `capped`, `size`, `max`: bytes and documents, zero for any number of them.
fn capped(args: &mut Args<'_>, clustered: bool) -> Result<Option<(i64, i64)>> {
    let capped = args.bool("capped")?;
    let size = args.int("size")?;
    let max = args.int("max")?;
    if let Some(size) = size {
        if size < 1 {
            bail!(BadValue, "BSON field 'size' value must be >= 1, actual value '{size}'");
        }
        if size > limits::CAPPED_BYTES {
            bail!(BadValue, "BSON field 'size' value must be < {}, actual value '{size}'", limits::CAPPED_BYTES + 1);
        }
    }
    if let Some(max) = max.filter(|max| *max > i64::from(i32::MAX)) {
        bail!(BadValue, "BSON field 'max' value must be < 2147483648, actual value '{max}'");
    }
    match size {
        Some(size) if capped => Ok(Some((size, max.unwrap_or(0).max(0)))),
        None if capped => bail!(InvalidOptions, "the 'size' field is required when 'capped' is true"),
        None if max.is_none() => Ok(None),
        None if clustered => bail!(6049204, "The 'max' option is not supported with the 'clusteredIndex' option"),
        _ => bail!(InvalidOptions, "the 'capped' field needs to be true when either the 'size' or 'max' fields are present"),
    }
}

/// The order in which [`Given::write`] leaves options, which is the same for those that changed since.
const ORDER: &[&str] = &[
    "capped", "size", "max", "changeStreamPreAndPostImages", "storageEngine", "indexOptionDefaults", "validator", "validationLevel", "validationAction",
    "collation", "clusteredIndex", "expireAfterSeconds", "timeseries",
];

/// Options in the order of a collection that was created with them.
pub fn in_order(options: &DocBuf) -> DocBuf {
    DocBuf::build(|w| {
        for name in ORDER {
            w.append(name, options.get(name));
        }
        for e in options.as_doc().iter().filter(|e| !ORDER.contains(&e.name())) {
            w.append_element(&e);
        }
    })
}

/// A collation with every default filled in; `None` for the simple one.
pub fn collation(spec: Option<Doc<'_>>) -> Result<Option<DocBuf>> {
    match spec {
        Some(d) => Ok(Collation::parse(d)?.map(|c| c.spec)),
        None => Ok(None),
    }
}

/// `changeStreamPreAndPostImages: {enabled}`.
pub fn images(args: &mut Args<'_>, command: &str) -> Result<Option<bool>> {
    let Some(spec) = args.doc("changeStreamPreAndPostImages")? else { return Ok(None) };
    let owner = format!("{command}.changeStreamPreAndPostImages");
    let mut nested = Args::nested(&owner, spec);
    let enabled = nested.strict_bool("enabled")?;
    nested.finish()?;
    enabled.map(Some).ok_or_else(|| nested.missing("enabled"))
}

/// `{wiredTiger: {configString: ""}}`: there are no settings of the storage that a collection could choose.
fn check_storage_engine(spec: Doc<'_>) -> Result<()> {
    for engine in spec {
        let Value::Document(options) = engine.value() else {
            bail!(BadValue, "'storageEngine.{}' has to be an embedded document.", engine.name())
        };
        if engine.name() != "wiredTiger" {
            bail!(InvalidOptions, "{} is not a registered storage engine for this server", engine.name());
        }
        for option in options {
            match (option.name(), option.value()) {
                ("configString", Value::String("")) => {}
                ("configString", Value::String(text)) if text.contains('\0') => bail!(FailedToParse, "malformed 'configString' value."),
                ("configString", Value::String(text)) => bail!(BadValue, "the configuration '{text}' is not supported"),
                ("configString", v) => bail!(TypeMismatch, "'configString' must be a string, found {}", v.type_name()),
                (name, _) => bail!(InvalidOptions, "'{name}' is not a supported option in the storage engine options"),
            }
        }
    }
    Ok(())
}

/// A validator is a filter of which each document can be tested alone.
pub fn check_validator(cx: &Cx<'_>, ns: &Ns, validator: Option<Doc<'_>>) -> Result<()> {
    let Some(filter) = validator else { return Ok(()) };
    if !filter.is_empty() && (ns.is_system() || matches!(ns.db(), "admin" | "local" | "config")) {
        bail!(InvalidOptions, "Document validators not allowed on {} collection {ns}", if ns.is_system() { "system" } else { "internal" });
    }
    plain_filter(filter, &CompileCx { now: cx.op.compile.now, cluster_time: cx.op.compile.cluster_time, ..CompileCx::default() }).map(|_| ())
}

/// A filter without `$where`, `$text` and `$near`, which want a collection to run against.
pub fn plain_filter(filter: Doc<'_>, cx: &CompileCx) -> Result<Matcher> {
    match Matcher::compile_stage(filter, false, cx) {
        Err(e) if e.code().0 == 17313 => bail!(BadValue, "$text is not allowed in this context"),
        done => done,
    }
}
