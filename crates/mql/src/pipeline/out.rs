//! `$out`, and the stream both writing stages are: it yields no document.

use smongo_bson::{Doc, DocBuf, Result, Value, bail};

use super::args::Spec;
use super::step::{Step, over};
use super::{Operator, Stage};
use crate::cx::CompileCx;
use crate::stream::{Host, OutSpec, Sink, Stream, WriteSpec};

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, stages: &mut Vec<Stage>) -> Result<()> {
    let spec = match arg {
        Value::String(coll) => {
            let (db, coll) = checked_target("$out", cx.db.clone(), coll)?;
            OutSpec { db, coll, timeseries: None }
        }
        Value::Document(d) => parse_document(d)?,
        v => bail!(16990, "$out only supports a string or object argument, but found {}", v.type_name()),
    };
    stages.push(Stage::Other(Box::new(Out(WriteSpec::Out(spec)))));
    Ok(())
}

fn parse_document(doc: Doc<'_>) -> Result<OutSpec> {
    let spec = Spec::read("$out", doc, &["coll", "db", "timeseries"])?;
    let timeseries = spec.document("timeseries")?;
    if let Some(options) = timeseries {
        check_timeseries(options)?;
    }
    let db = spec.require("db", spec.string("db")?)?;
    let coll = spec.require("coll", spec.string("coll")?)?;
    let (db, coll) = checked_target("$out", db.to_owned(), coll)?;
    Ok(OutSpec { db, coll, timeseries: timeseries.map(DocBuf::from) })
}

const MAX_SPAN: i64 = 365 * 86_400;

/// Checks the options a time series collection is created with.
fn check_timeseries(doc: Doc<'_>) -> Result<()> {
    let known = ["timeField", "metaField", "granularity", "bucketMaxSpanSeconds", "bucketRoundingSeconds"];
    let spec = Spec::read("$out.timeseries", doc, &known)?;
    spec.require("timeField", spec.string("timeField")?)?;
    spec.string("metaField")?;
    let granularity = spec.string("granularity")?;
    if let Some(name) = granularity.filter(|g| !matches!(*g, "seconds" | "minutes" | "hours")) {
        bail!(BadValue, "Enumeration value '{name}' for field 'timeseries.granularity' is not a valid value.");
    }
    let (span, rounding) = (seconds(&spec, "bucketMaxSpanSeconds")?, seconds(&spec, "bucketRoundingSeconds")?);
    match (span, rounding) {
        (None, None) => Ok(()),
        (Some(a), Some(b)) if a == b && granularity.is_none() => Ok(()),
        (Some(a), Some(b)) if a == b => {
            bail!(InvalidOptions, "'granularity' may not be given beside 'bucketMaxSpanSeconds' and 'bucketRoundingSeconds'")
        }
        _ => bail!(InvalidOptions, "'bucketMaxSpanSeconds' and 'bucketRoundingSeconds' must both be given, and be equal"),
    }
}

fn seconds(spec: &Spec<'_>, name: &str) -> Result<Option<i64>> {
    let n = match spec.get(name) {
        None => return Ok(None),
        Some(Value::Decimal(d)) => d.to_i64_rounded().unwrap_or(0),
        Some(v) if v.is_number() => smongo_bson::number::to_i64_saturating(v).unwrap_or(0),
        Some(v) => return Err(spec.wrong(name, v, "[long, int, decimal, double]")),
    };
    if !(1..=MAX_SPAN).contains(&n) {
        bail!(BadValue, "BSON field '{name}' value must be >= 1 and <= {MAX_SPAN}, actual value '{n}'");
    }
    Ok(Some(n))
}

/// Refuses targets no stage may write to.
pub(super) fn checked_target(stage: &str, db: String, coll: &str) -> Result<(String, String)> {
    let merge = stage == "$merge";
    let bad_db = db.is_empty() || db.contains(['\0', '.', '/', '\\', ' ', '"', '$']);
    if bad_db || coll.is_empty() || coll.starts_with('.') || coll.contains('\0') {
        bail!(InvalidNamespace, "Invalid {stage} target namespace, {db}.{coll}");
    }
    if coll.starts_with('$') || db.len() + 1 + coll.len() > 255 {
        bail!(IllegalOperation, "Invalid {stage} target namespace: {db}.{coll}");
    }
    if coll.starts_with("system.") {
        match merge {
            true => bail!(31319, "Cannot merge into special collection: '{coll}'"),
            false => bail!(17385, "Can't {stage} to special collection: '{coll}'"),
        }
    }
    if matches!(db.as_str(), "admin" | "config" | "local") {
        match merge {
            true => bail!(31320, "Cannot merge into internal database: '{db}'"),
            false => bail!(31321, "Can't {stage} to internal database: '{db}'"),
        }
    }
    Ok((db, coll.to_owned()))
}

struct Out(WriteSpec);

impl Operator for Out {
    fn name(&self) -> &'static str {
        "$out"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(writing(input, self.0))
    }
    fn writes(&self) -> Option<&WriteSpec> {
        Some(&self.0)
    }
}

pub(super) fn writing(input: Box<dyn Stream>, spec: WriteSpec) -> Box<dyn Stream> {
    over(input, WriteStream { spec, done: false })
}

struct WriteStream {
    spec: WriteSpec,
    done: bool,
}

impl Step for WriteStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        self.done = true;
        let mut sink: Box<dyn Sink> = host.write(&self.spec)?;
        let mut n = 0u32;
        while input.advance(host)? {
            sink.write(host, input.doc())?;
            n = n.wrapping_add(1);
            if n.is_multiple_of(128) {
                host.interrupt()?;
            }
        }
        sink.finish(host)?;
        Ok(false)
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::EMPTY
    }
}
