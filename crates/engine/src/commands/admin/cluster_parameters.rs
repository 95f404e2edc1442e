//! getClusterParameter, setClusterParameter: what of a cluster's parameters means something to one member. They are kept in
//! `config.clusterParameters`.

use std::sync::Arc;

use smongo_bson::{ArrayWriter, Doc, DocBuf, DocWriter, Result, Timestamp, Value, bail, number};
use smongo_mql::access::Action;

use crate::data::catalog::find_by_id;
use crate::data::write;
use crate::service::audit::{Event, Weight};
use crate::service::cluster_parameters::{ClusterParameters, home};
use crate::service::command::{ADMIN, Access, Args, Command, Cx};
use crate::service::shared::Shared;

pub const GET: Command = Command::new("getClusterParameter", get, ADMIN, Access::Cluster(&[Action::GetClusterParameter]));
pub const SET: Command = Command::new("setClusterParameter", set, ADMIN, Access::Cluster(&[Action::SetClusterParameter]));

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

/// The parameter as it is stored, or its default.
fn show(set: &ClusterParameters, parameter: &Parameter, w: &mut DocWriter<'_>) {
    if let Some(document) = set.stored(parameter.name) {
        w.append_all(document.as_doc());
        return;
    }
    w.append("_id", parameter.name).append("clusterParameterTime", Timestamp::default());
    (parameter.default)(w);
}

/// All of them, as the audit log tells them when the database is open.
pub fn write_all(set: &ClusterParameters, w: &mut ArrayWriter<'_>) {
    PARAMETERS.iter().for_each(|parameter| show(set, parameter, &mut w.document()));
}

/// Reads what was set before the database was opened.
pub fn load(shared: &Arc<Shared>) -> Result<()> {
    let Some(coll) = shared.catalog.get(&home()) else { return Ok(()) };
    let mut op = shared.op();
    for parameter in PARAMETERS {
        if let Some((_, doc)) = find_by_id(&mut op, &coll, Value::String(parameter.name))? {
            let stored = DocBuf::from(doc);
            shared.cluster_parameters.take(parameter.name, stored);
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
    let asked = args.first();
    cx.tell(Weight::Note, || {
        Event::new("getClusterParameter", |w| {
            w.append("requestedClusterServerParameters", asked);
        })
    })?;
    // Fields that nobody knows are nothing to this command.
    args.rest();
    let mut list = reply.array("clusterParameters");
    for parameter in wanted {
        show(&cx.shared.cluster_parameters, parameter, &mut list.document());
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
        w.append("_id", parameter.name).append("clusterParameterTime", cx.shared.clock.take_stamp());
        checked = normalise(value, w);
    });
    checked?;
    let _alone = cx.shared.alone_in_settings(&mut cx.op)?;
    let event = || {
        Event::new("setClusterParameter", |w| {
            show(&cx.shared.cluster_parameters, parameter, &mut w.document("originalClusterServerParameter"));
            w.append("updatedClusterServerParameter", document.as_doc());
        })
    };
    let event = event();
    cx.told(|| event, |cx| write::put(&mut cx.op, &home(), document.as_doc()))?;
    cx.shared.cluster_parameters.take(parameter.name, document);
    cx.op.make_durable(true)
}
