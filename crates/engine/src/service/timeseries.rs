//! The options of time-series collections, as create, collMod and `$out` give them.
//!
//! What MongoDB keeps in buckets, and says about them in `granularity` and the like, is kept with the options and given back; it changes
//! nothing of what queries find.

use smongo_bson::{Doc, DocBuf, DocWriter, Result, bail};

use crate::data::catalog::compact_number;
use crate::data::clock::now_millis;
use crate::service::command::{Args, choice};

const GRANULARITIES: &[&str] = &["seconds", "minutes", "hours"];
/// Seconds a bucket of each granularity spans at most.
const SPANS: [i64; 3] = [3600, 86_400, 2_592_000];
const MOST_SECONDS: i64 = 365 * 24 * 3600;

/// The `timeseries` option of create.
pub struct Given<'a> {
    time: &'a str,
    meta: Option<&'a str>,
    buckets: Buckets<'a>,
}

/// How measurements are put into buckets.
struct Buckets<'a> {
    granularity: Option<&'a str>,
    max_span: Option<i64>,
    rounding: Option<i64>,
}

impl<'a> Buckets<'a> {
    fn read(args: &mut Args<'a>) -> Result<Buckets<'a>> {
        let granularity = choice(args, "granularity", GRANULARITIES)?;
        let mut seconds = |name: &str| match args.int(name)? {
            Some(n) if n < 1 => bail!(BadValue, "BSON field '{name}' value must be >= 1, actual value '{n}'"),
            Some(n) if n > MOST_SECONDS => bail!(BadValue, "BSON field '{name}' value must be <= {MOST_SECONDS}, actual value '{n}'"),
            n => Ok(n),
        };
        Ok(Buckets { granularity, max_span: seconds("bucketMaxSpanSeconds")?, rounding: seconds("bucketRoundingSeconds")? })
    }
}

fn span(granularity: &str) -> i64 {
    GRANULARITIES.iter().position(|g| *g == granularity).map_or(SPANS[0], |at| SPANS[at])
}

pub fn read<'a>(args: &mut Args<'a>) -> Result<Option<Given<'a>>> {
    let Some(spec) = args.doc("timeseries")? else { return Ok(None) };
    let mut nested = Args::nested("create.timeseries", spec);
    let time = nested.str("timeField")?.ok_or_else(|| nested.missing("timeField"))?;
    let meta = nested.str("metaField")?;
    let buckets = Buckets::read(&mut nested)?;
    nested.finish()?;
    for (name, field) in [("timeField", Some(time)), ("metaField", meta)] {
        match field {
            Some(f) if f.contains('\0') => bail!(BadValue, "'{name}' cannot contain NUL bytes"),
            Some(f) if f.contains('.') => bail!(InvalidOptions, "'{name}' must be a top-level field without dots"),
            _ => {}
        }
    }
    if meta.is_some_and(|meta| meta == "_id" || meta == time) {
        bail!(InvalidOptions, "'metaField' can be neither \"_id\" nor the 'timeField'");
    }
    // A granularity has a span of its own, which may be said again; other spans come in pairs and without a granularity.
    match (buckets.granularity, buckets.max_span, buckets.rounding) {
        (_, None, None) => {}
        (Some(granularity), Some(max), None) if max == span(granularity) => {}
        (Some(_), _, _) => bail!(InvalidOptions, "Timeseries 'granularity' cannot be combined with 'bucketMaxSpanSeconds' and 'bucketRoundingSeconds'"),
        (None, max, rounding) if max != rounding => {
            bail!(InvalidOptions, "Timeseries 'bucketMaxSpanSeconds' and 'bucketRoundingSeconds' must both be set and be equal")
        }
        _ => {}
    }
    Ok(Some(Given { time, meta, buckets }))
}

/// The `timeseries` option of `$out`, which the stage has checked, as it is stored.
pub fn stored(spec: Doc<'_>) -> Result<DocBuf> {
    let mut args = Args::nested("$out.timeseries", spec);
    let (time, meta) = (args.str("timeField")?.unwrap_or_default(), args.str("metaField")?);
    let given = Given { time, meta, buckets: Buckets::read(&mut args)? };
    Ok(DocBuf::build(|w| given.write(w)))
}

impl Given<'_> {
    /// The option as it is stored.
    pub fn write(&self, w: &mut DocWriter<'_>) {
        w.append("timeField", self.time);
        if let Some(meta) = self.meta {
            w.append("metaField", meta);
        }
        match self.buckets.rounding {
            Some(seconds) => {
                w.append("bucketRoundingSeconds", compact_number(seconds)).append("bucketMaxSpanSeconds", compact_number(seconds));
            }
            None => {
                let granularity = self.buckets.granularity.unwrap_or(GRANULARITIES[0]);
                w.append("granularity", granularity).append("bucketMaxSpanSeconds", compact_number(span(granularity)));
            }
        }
    }
}

/// `expireAfterSeconds` of create and collMod; what it stands for has to be a time that is over.
pub fn check_expiry(seconds: i64) -> Result<i64> {
    if !(0..=now_millis() / 1000).contains(&seconds) {
        bail!(InvalidOptions, "'expireAfterSeconds' must be at least 0 and reach back no further than 1970, but got {seconds}");
    }
    Ok(seconds)
}

/// The `timeseries` option after a collMod: buckets may only grow.
pub fn changed(current: Doc<'_>, change: Doc<'_>) -> Result<DocBuf> {
    let mut args = Args::nested("collMod.timeseries", change);
    let buckets = Buckets::read(&mut args)?;
    args.finish()?;
    let now = smongo_bson::number::to_i64_rounded(current.get("bucketMaxSpanSeconds"));
    let new = match (buckets.granularity, buckets.max_span, buckets.rounding) {
        (None, None, None) => return Ok(DocBuf::from(current)),
        (Some(granularity), None, None) => span(granularity),
        (None, Some(max), Some(rounding)) if max == rounding => max,
        (None, ..) => bail!(InvalidOptions, "Timeseries 'bucketMaxSpanSeconds' and 'bucketRoundingSeconds' must both be set and be equal"),
        (Some(_), ..) => bail!(InvalidOptions, "Timeseries 'granularity' cannot be combined with 'bucketMaxSpanSeconds' and 'bucketRoundingSeconds'"),
    };
    if new < now {
        bail!(InvalidOptions, "Invalid transition for timeseries buckets: their span cannot shrink from {now} to {new} seconds");
    }
    Ok(DocBuf::build(|w| {
        for e in current.iter().filter(|e| !["granularity", "bucketMaxSpanSeconds", "bucketRoundingSeconds"].contains(&e.name())) {
            w.append_element(&e);
        }
        match buckets.granularity {
            Some(granularity) => w.append("granularity", granularity),
            None => w.append("bucketRoundingSeconds", compact_number(new)),
        };
        w.append("bucketMaxSpanSeconds", compact_number(new));
    }))
}
