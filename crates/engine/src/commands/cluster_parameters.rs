//! getClusterParameter, setClusterParameter: what of a cluster's parameters means something to one member. None can be changed.

use smongo_bson::{DocWriter, Result, Timestamp, Value, bail};

use super::{ADMIN, Args, Command};
use crate::door::Cx;

pub const GET: Command = Command::new("getClusterParameter", get, ADMIN);
pub const SET: Command = Command::new("setClusterParameter", set, ADMIN);

type Show = fn(&mut DocWriter<'_>);

/// The parameters and what they are.
const PARAMETERS: &[(&str, Show)] = &[
    ("changeStreamOptions", |w| {
        w.document("preAndPostImages").append("expireAfterSeconds", "off");
    }),
    ("defaultMaxTimeMS", |w| {
        w.append("readOperations", 0i64);
    }),
    ("pauseMigrationsDuringMultiUpdates", |w| {
        w.append("enabled", false);
    }),
    ("querySettings", |w| {
        w.array("settingsArray");
    }),
];

fn find(name: &str) -> Result<&'static (&'static str, Show)> {
    match PARAMETERS.iter().find(|(known, _)| *known == name) {
        Some(row) => Ok(row),
        None => bail!(NoSuchKey, "Unknown server parameter: {name}"),
    }
}

fn get(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let rows: Vec<&(&str, Show)> = match args.first() {
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
    if rows.is_empty() {
        bail!(BadValue, "Must supply at least one cluster server parameter name to getClusterParameter");
    }
    // Fields that nobody knows are nothing to this command.
    args.rest();
    let mut list = reply.array("clusterParameters");
    for (name, show) in rows {
        let mut w = list.document();
        w.append("_id", *name).append("clusterParameterTime", Timestamp::default());
        show(&mut w);
    }
    Ok(())
}

fn set(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let wanted = match args.first() {
        Value::Document(d) => d,
        v if v.is_nullish() => return Err(args.missing("setClusterParameter")),
        v => return Err(args.wrong_type("setClusterParameter", v, "object")),
    };
    match wanted.iter().collect::<Vec<_>>().as_slice() {
        [] => bail!(NoSuchKey, "Unknown server parameter: "),
        [one] => {
            find(one.name())?;
            bail!(NotImplemented, "changing the cluster parameter {} is not implemented", one.name())
        }
        _ => bail!(InvalidOptions, "setClusterParameter only supports setting exactly one parameter"),
    }
}
