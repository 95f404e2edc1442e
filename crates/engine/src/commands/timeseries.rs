//! Time-series collections: their options, and what may be done to their measurements.
//!
//! A measurement is stored as a document of its own, in the order of time. What MongoDB keeps in buckets, and says about them in
//! `granularity` and the like, is kept with the options and given back; it changes nothing of what queries find.

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail};

use super::Args;
use super::create::{choice, compact_number};
use crate::catalog::TimeSeries;
use crate::clock::now_millis;

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

/// A measurement as it is stored: time and meta first. `_id` is made when there is none.
pub fn measurement<'d>(series: &TimeSeries, doc: Doc<'_>, buf: &'d mut Vec<u8>) -> Result<Doc<'d>> {
    if !matches!(doc.get(&series.time), Value::DateTime(_)) {
        bail!(BadValue, "'{}' must be present and contain a valid BSON UTC datetime value", series.time);
    }
    buf.clear();
    let mut w = DocWriter::new(buf);
    let first = [Some(series.time.as_str()), series.meta.as_deref().filter(|meta| *meta != series.time)];
    for name in first.iter().flatten() {
        w.append(name, doc.get(name));
    }
    if series.time != "_id" && !doc.contains("_id") {
        w.append("_id", smongo_bson::ObjectId::generate());
    }
    for e in doc.iter().filter(|e| !first.contains(&Some(e.name()))) {
        w.append_element(&e);
    }
    w.finish();
    Ok(Doc::from_checked(buf))
}

/// Only the meta field of measurements can be updated, in all that a query on that field finds.
pub fn check_update(series: &TimeSeries, query: Doc<'_>, update: Value<'_>, multi: bool, upsert: bool) -> Result<()> {
    let Some(meta) = &series.meta else { bail!(InvalidOptions, "Cannot perform an update on a time-series collection that has no metaField") };
    if !multi {
        bail!(InvalidOptions, "Cannot perform a non-multi update on a time-series collection");
    }
    if upsert {
        bail!(InvalidOptions, "Cannot perform an upsert on a time-series collection");
    }
    let of_meta = |path: &str| path.strip_prefix(meta.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if !query_reads_only(query, &of_meta) {
        bail!(InvalidOptions, "Cannot perform an update on a time-series collection when querying on a field that is not the metaField '{meta}'");
    }
    let Value::Document(update) = update else { bail!(InvalidOptions, "Cannot perform an update with a pipeline on a time-series collection") };
    for operator in update {
        let Value::Document(fields) = operator.value() else { bail!(InvalidOptions, "Cannot perform a replacement on a time-series collection") };
        if operator.name() == "$rename" {
            bail!(InvalidOptions, "Cannot perform a rename on a time-series collection");
        }
        if !operator.name().starts_with('$') || fields.iter().any(|f| !of_meta(f.name())) {
            bail!(InvalidOptions, "Cannot perform an update on a time-series collection which updates a field that is not the metaField '{meta}'");
        }
    }
    Ok(())
}

/// What an index on measurements may be: MongoDB's are made over buckets.
pub fn check_index(series: &TimeSeries, spec: Doc<'_>) -> Result<()> {
    let Value::Document(key) = spec.get("key") else { return Ok(()) };
    let of_meta = |path: &str| series.meta.as_deref().and_then(|meta| path.strip_prefix(meta)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    for field in key {
        match field.value() {
            Value::String("text") => bail!(InvalidOptions, "Text indexes are not supported on time-series collections"),
            Value::String(kind @ ("2d" | "hashed")) if !of_meta(field.name()) => {
                bail!(CannotCreateIndex, "A {kind} index on a time-series collection must be on its metaField, not on '{}'", field.name())
            }
            _ if field.name() == "$**" => bail!(7246201, "A wildcard index on a time-series collection must be below its metaField"),
            _ => {}
        }
    }
    if spec.get("unique").truthy() {
        bail!(InvalidOptions, "Unique indexes are not supported on time-series collections");
    }
    if spec.get("sparse").truthy() && !key.iter().all(|field| of_meta(field.name())) {
        bail!(InvalidOptions, "Sparse indexes on time-series collections are supported on the metaField only");
    }
    let partial = spec.get("partialFilterExpression").as_doc();
    if partial.is_some() && spec.contains("collation") {
        bail!(IndexOptionsConflict, "An index on a time-series collection cannot have both a collation and a partialFilterExpression");
    }
    // What goes by its time goes in whole buckets, which only the metaField tells apart.
    if spec.contains("expireAfterSeconds") && !partial.is_some_and(|filter| query_reads_only(filter, &of_meta)) {
        bail!(InvalidOptions, "A TTL index on a time-series collection needs a partialFilterExpression on its metaField");
    }
    Ok(())
}

fn query_reads_only(query: Doc<'_>, allowed: &dyn Fn(&str) -> bool) -> bool {
    query.iter().all(|e| match e.name() {
        "$and" | "$or" | "$nor" => e.value().as_array().is_some_and(|all| all.iter().all(|q| q.as_doc().is_some_and(|q| query_reads_only(q, allowed)))),
        "$comment" => true,
        name => allowed(name),
    })
}
