//! getClusterParameter, setClusterParameter: what of a cluster's parameters means something to one member. They are kept in
//! `config.clusterParameters`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Timestamp, Value, bail, number};

use super::{ADMIN, Args, Command};
use crate::door::Cx;
use crate::exec;
use crate::namespace::Ns;
use crate::op::OpCx;
use crate::shared::Shared;
use crate::write;

pub const GET: Command = Command::new("getClusterParameter", get, ADMIN);
pub const SET: Command = Command::new("setClusterParameter", set, ADMIN);

/// What was set, as it is stored.
#[derive(Default)]
pub struct ClusterParameters {
    stored: RwLock<BTreeMap<&'static str, DocBuf>>,
    /// Zero: images live as long as their oplog entries.
    image_seconds: AtomicI64,
}

struct Parameter {
    name: &'static str,
    default: fn(&mut DocWriter<'_>),
    /// Checks a value and writes it with every field it has; `None` for a parameter that cannot be set.
    normalise: Option<fn(Doc<'_>, &mut DocWriter<'_>) -> Result<()>>,
}

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "changeStreamOptions",
        default: |w| {
            w.document("preAndPostImages").append("expireAfterSeconds", "off");
        },
        normalise: Some(change_stream_options),
    },
    // Of change collections, which a replica set does not have: it can be set there, too, and does nothing.
    Parameter {
        name: "changeStreams",
        default: |w| {
            w.append("expireAfterSeconds", 3600i64);
        },
        normalise: Some(change_streams),
    },
    Parameter {
        name: "defaultMaxTimeMS",
        default: |w| {
            w.append("readOperations", 0i64);
        },
        normalise: None,
    },
    // There are no migrations to pause.
    Parameter {
        name: "pauseMigrationsDuringMultiUpdates",
        default: |w| {
            w.append("enabled", false);
        },
        normalise: Some(pause_migrations),
    },
    Parameter {
        name: "querySettings",
        default: |w| {
            w.array("settingsArray");
        },
        normalise: None,
    },
];

fn change_stream_options(value: Doc<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    let only = |doc: Doc<'_>, field: &str| -> Result<()> {
        match doc.iter().find(|e| e.name() != field) {
            Some(other) => bail!(BadValue, "BSON field 'changeStreamOptions.{}' is an unknown field.", other.name()),
            None => Ok(()),
        }
    };
    only(value, "preAndPostImages")?;
    let Value::Document(images) = value.get("preAndPostImages") else {
        bail!(BadValue, "changeStreamOptions.preAndPostImages must be a document");
    };
    only(images, "expireAfterSeconds")?;
    let seconds = match images.get("expireAfterSeconds") {
        Value::String("off") => Value::String("off"),
        v if v.is_number() => match number::to_i64_exact(v) {
            Some(n) if n > 0 => Value::Int64(n),
            _ => bail!(BadValue, "Expected a positive integer for 'expireAfterSeconds' field in 'preAndPostImages'"),
        },
        _ => bail!(BadValue, "'expireAfterSeconds' of 'preAndPostImages' must be 'off' or a positive number of seconds"),
    };
    w.document("preAndPostImages").append("expireAfterSeconds", seconds);
    Ok(())
}

fn change_streams(value: Doc<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    let mut args = Args::nested("changeStreams", value);
    let seconds = args.int("expireAfterSeconds")?;
    args.finish()?;
    match seconds {
        Some(n) if n < 1 => bail!(BadValue, "BSON field 'changeStreams.expireAfterSeconds' value must be >= 1, actual value '{n}'"),
        n => w.append("expireAfterSeconds", n.unwrap_or(3600)),
    };
    Ok(())
}

fn pause_migrations(value: Doc<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    let mut args = Args::nested("pauseMigrationsDuringMultiUpdates", value);
    let enabled = args.strict_bool("enabled")?;
    args.finish()?;
    w.append("enabled", enabled.unwrap_or(false));
    Ok(())
}

impl ClusterParameters {
    /// How long images of change streams are kept, when not as long as their oplog entries.
    pub fn image_lifetime(&self) -> Option<Duration> {
        let seconds = self.image_seconds.load(Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds as u64))
    }

    fn take(&self, parameter: &Parameter, document: DocBuf) {
        if parameter.name == "changeStreamOptions" {
            let seconds = document.get("preAndPostImages").as_doc().map(|images| images.get("expireAfterSeconds"));
            self.image_seconds.store(seconds.and_then(number::to_i64_exact).unwrap_or(0), Ordering::Relaxed);
        }
        self.stored.write().insert(parameter.name, document);
    }

    /// What a command of its own has stored.
    pub fn remember(&self, name: &'static str, document: DocBuf) {
        self.stored.write().insert(name, document);
    }

    fn show(&self, parameter: &Parameter, w: &mut DocWriter<'_>) {
        if let Some(document) = self.stored.read().get(parameter.name) {
            w.append_all(document.as_doc());
            return;
        }
        w.append("_id", parameter.name).append("clusterParameterTime", Timestamp::default());
        (parameter.default)(w);
    }
}

/// Where they are kept.
pub fn home() -> Ns {
    Ns::unchecked("config", "clusterParameters")
}

/// Reads what was set before the database was opened.
pub fn load(shared: &Arc<Shared>) -> Result<()> {
    let Some(coll) = shared.catalog.get(&home()) else { return Ok(()) };
    let mut op = OpCx::new(shared);
    for parameter in PARAMETERS {
        if let Some((_, doc)) = exec::find_by_id(&mut op, &coll, Value::String(parameter.name))? {
            let stored = DocBuf::from(doc);
            shared.cluster_parameters.take(parameter, stored);
        }
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Parameter> {
    match PARAMETERS.iter().find(|p| p.name == name) {
        Some(parameter) => Ok(parameter),
        None => bail!(NoSuchKey, "Unknown server parameter: {name}"),
    }
}

fn get(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let wanted: Vec<&Parameter> = match args.first() {
        Value::String("*") => PARAMETERS.iter().collect(),
        Value::String(name) => vec![find(name)?],
        Value::Array(names) => {
            let name = |v: Value<'_>| match v {
                Value::String(name) => find(name),
                v => Err(args.wrong_type("getClusterParameter", v, "string")),
            };
            names.iter().map(name).collect::<Result<_>>()?
        }
        v => return Err(args.wrong_type("getClusterParameter", v, "array, string")),
    };
    if wanted.is_empty() {
        bail!(BadValue, "Must supply at least one cluster server parameter name to getClusterParameter");
    }
    // Fields that nobody knows are nothing to this command.
    args.rest();
    let mut list = reply.array("clusterParameters");
    for parameter in wanted {
        cx.op.shared.cluster_parameters.show(parameter, &mut list.document());
    }
    Ok(())
}

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let wanted = match args.first() {
        Value::Document(d) => d,
        v if v.is_nullish() => return Err(args.missing("setClusterParameter")),
        v => return Err(args.wrong_type("setClusterParameter", v, "object")),
    };
    args.rest();
    let mut fields = wanted.iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        if wanted.is_empty() {
            bail!(NoSuchKey, "Unknown server parameter: ");
        }
        bail!(InvalidOptions, "setClusterParameter only supports setting exactly one parameter");
    };
    let parameter = find(field.name())?;
    let Some(normalise) = parameter.normalise else { bail!(NotImplemented, "changing the cluster parameter {} is not implemented", parameter.name) };
    let Value::Document(value) = field.value() else {
        bail!(BadValue, "Cluster parameter value must be a document, found {}", field.value().type_name());
    };
    if let Some(dollar) = value.iter().find(|e| e.name().starts_with('$')) {
        bail!(DollarPrefixedFieldName, "The field name '{}' may not begin with '$'", dollar.name());
    }
    let mut checked = Ok(());
    let document = DocBuf::build(|w| {
        w.append("_id", parameter.name).append("clusterParameterTime", cx.op.shared.clock.take_stamp());
        checked = normalise(value, w);
    });
    checked?;
    write::put(&mut cx.op, &home(), document.as_doc())?;
    cx.op.shared.cluster_parameters.take(parameter, document);
    cx.op.make_durable(true)
}
