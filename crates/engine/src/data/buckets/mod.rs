//! `system.buckets.X`: the measurements of the time-series collection X in the form in which MongoDB stores them, and its dump tools
//! read and write them.
//!
//! Here measurements are documents of their own. Their buckets are made while they are read ([`pack`]), from the measurements
//! alone, so that the same measurements always make the same buckets; and taken apart when they are inserted ([`unpack`]).

mod minmax;
mod pack;
mod unpack;

use std::sync::Arc;

use smongo_bson::{Doc, DocWriter, Result, number};
use smongo_mql::Stream;

use crate::data::catalog::Collection;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
pub use unpack::unpack;

/// What the names of the collections of buckets begin with.
pub const PREFIX: &str = "system.buckets.";

/// The time-series collection whose buckets a name is of, whether or not there is one.
pub fn series_of(ns: &Ns) -> Option<Ns> {
    ns.coll().strip_prefix(PREFIX).filter(|name| !name.is_empty()).map(|name| Ns::unchecked(ns.db(), name))
}

/// For commands that concern files and indexes: the collection itself, when a name is of the buckets of one.
pub fn behind(op: &OpCx, ns: Ns) -> Result<Ns> {
    Ok(match series_of(&ns) {
        Some(series) if op.collection(&series)?.is_some_and(|coll| coll.timeseries.is_some()) => series,
        _ => ns,
    })
}

/// How the measurements of a collection are put into buckets.
#[derive(Clone)]
struct Layout {
    time: String,
    meta: Option<String>,
    /// Milliseconds to whose multiples the beginning of a bucket is rounded down.
    rounding: i64,
    /// Milliseconds from there on that a bucket may reach.
    span: i64,
}

impl Layout {
    fn of(coll: &Collection) -> Option<Layout> {
        let series = coll.timeseries.as_ref()?;
        let options = coll.option("timeseries").as_doc().unwrap_or(Doc::EMPTY);
        let seconds = |name: &str| number::to_i64_exact(options.get(name)).filter(|n| *n > 0);
        let usual = match options.get("granularity").as_str() {
            Some("minutes") => 3600,
            Some("hours") => 86_400,
            _ => 60,
        };
        let rounding = seconds("bucketRoundingSeconds").unwrap_or(usual).saturating_mul(1000);
        let span = seconds("bucketMaxSpanSeconds").map_or(3_600_000, |s| s.saturating_mul(1000));
        Some(Layout { time: series.time.clone(), meta: series.meta.clone(), rounding, span })
    }

    fn begin(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.rounding))
    }
}

/// The buckets of a time-series collection whose measurements come in the order of their time.
pub fn open(coll: &Collection, measurements: Box<dyn Stream>) -> Box<dyn Stream> {
    match Layout::of(coll) {
        Some(layout) => Box::new(pack::Buckets::new(layout, measurements)),
        None => measurements,
    }
}

/// The options of the collection of buckets, as listCollections gives them.
pub fn options(coll: &Collection, w: &mut DocWriter<'_>) {
    let Some(series) = &coll.timeseries else { return };
    {
        let mut validator = w.document("validator");
        let mut schema = validator.document("$jsonSchema");
        schema.append("bsonType", "object");
        schema.array("required").push("_id").push("control").push("data");
        let mut properties = schema.document("properties");
        properties.document("_id").append("bsonType", "objectId");
        {
            let mut control = properties.document("control");
            control.append("bsonType", "object");
            control.array("required").push("version").push("min").push("max");
            let mut fields = control.document("properties");
            fields.document("version").append("bsonType", "number");
            for end in ["min", "max"] {
                let mut end = fields.document(end);
                end.append("bsonType", "object");
                end.array("required").push(&*series.time);
                end.document("properties").document(&series.time).append("bsonType", "date");
            }
            fields.document("closed").append("bsonType", "bool");
            fields.document("count").append("bsonType", "number").append("minimum", 1);
            fields.finish();
            control.append("additionalProperties", false);
        }
        properties.document("data").append("bsonType", "object");
        properties.document("meta");
        properties.finish();
        schema.append("additionalProperties", false);
    }
    w.append("clusteredIndex", true).append("expireAfterSeconds", coll.option("expireAfterSeconds")).append("timeseries", coll.option("timeseries"));
}

/// The collection of buckets as commands that read find it: a view that makes them.
pub fn collection(series: &Arc<Collection>) -> Option<Arc<Collection>> {
    let ns = Ns::unchecked(series.ns.db(), &format!("{PREFIX}{}", series.ns.coll()));
    series.timeseries.as_ref().map(|_| Arc::new(Collection::buckets(ns, series)))
}
