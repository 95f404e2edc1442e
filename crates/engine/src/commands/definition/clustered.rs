//! `clusteredIndex` and what goes with it in create and collMod.

use smongo_bson::{DocBuf, Result, Value, bail, number};

use crate::data::clock::now_millis;
use crate::service::command::Args;

/// The option as it was given.
pub struct Clustered {
    given: bool,
    /// `{v, key, name, unique}`; `None` when the collection is not to be clustered.
    pub index: Option<DocBuf>,
}

/// Reads `clusteredIndex`. What stands for false asks for nothing; other values than documents are of an old, internal form.
pub fn option(args: &mut Args<'_>) -> Result<Clustered> {
    let spec = match args.value("clusteredIndex") {
        Value::Missing => return Ok(Clustered { given: false, index: None }),
        Value::Document(d) => d,
        v if !v.is_number() && !matches!(v, Value::Bool(_)) => return Err(args.wrong_type("clusteredIndex", v, "object, bool, long, int, decimal, double")),
        v if !v.truthy() => return Ok(Clustered { given: true, index: None }),
        _ => bail!(5979703, "The 'clusteredIndex' legacy format {{clusteredIndex: <bool>}} is only supported for specific internal collections"),
    };
    let mut spec = Args::nested("create.clusteredIndex", spec);
    let Some(key) = spec.doc("key")? else { return Err(spec.missing("key")) };
    let unique = match spec.value("unique") {
        v if v.is_nullish() => return Err(spec.missing("unique")),
        v if v.is_number() || matches!(v, Value::Bool(_)) => v.truthy(),
        v => return Err(spec.wrong_type("unique", v, "bool, long, int, decimal, double")),
    };
    let name = spec.str("name")?.unwrap_or("_id_");
    let version = match spec.value("v") {
        v if v.is_nullish() => 2,
        v => integer(&spec, "v", v)?,
    };
    spec.finish()?;
    if !unique {
        bail!(5979700, "The clusteredIndex option requires unique: true to be specified");
    }
    if version != 2 {
        bail!(5979704, "The only supported value of 'v' for a clusteredIndex is 2, not {version}");
    }
    let by_id = key.len() == 1 && key.get("_id").is_number() && number::to_f64(key.get("_id")) == Some(1.0);
    if !by_id {
        bail!(InvalidIndexSpecificationOption, "The clusteredIndex option supports only the key {{_id: 1}}, not {key:?}");
    }
    let index = DocBuf::build(|w| {
        w.append("v", 2).append("key", key).append("name", name).append("unique", true);
    });
    Ok(Clustered { given: true, index: Some(index) })
}

impl Clustered {
    /// Refuses the options that cannot stand beside this one.
    pub fn check_company(&self, capped: bool, max: bool, view: bool, id_index: bool) -> Result<()> {
        match self {
            Clustered { given: true, .. } if capped => bail!(6049200, "The 'capped' option is not supported with the 'clusteredIndex' option"),
            Clustered { index: None, .. } => Ok(()),
            _ if max => bail!(6049204, "The 'max' option is not supported with the 'clusteredIndex' option"),
            _ if view => bail!(6026500, "The 'clusteredIndex' option is not supported with views"),
            _ if id_index => bail!(InvalidOptions, "The 'clusteredIndex' option is not supported with the 'idIndex' option"),
            _ => Ok(()),
        }
    }
}

fn integer(args: &Args<'_>, name: &str, value: Value<'_>) -> Result<i64> {
    match value {
        Value::Decimal(d) => Ok(d.to_i64_rounded().unwrap_or(if d.is_negative() { i64::MIN } else if d.is_nan() { 0 } else { i64::MAX })),
        v if v.is_number() => Ok(number::to_i64_saturating(v).unwrap_or(0)),
        v => Err(args.wrong_type(name, v, "long, int, decimal, double")),
    }
}

/// A collection's `expireAfterSeconds`: not negative, and not longer than since 1970, so that no date lies before it.
pub fn seconds(value: Value<'_>) -> Result<i64> {
    let args = Args::nested("create", smongo_bson::Doc::EMPTY);
    let n = integer(&args, "expireAfterSeconds", value)?;
    if n < 0 {
        bail!(InvalidOptions, "collection 'expireAfterSeconds' option must be non-negative, not {n}");
    }
    if n > now_millis() / 1000 {
        bail!(InvalidOptions, "collection 'expireAfterSeconds' option must be within an acceptable range, try a lower number than {n}");
    }
    Ok(n)
}
