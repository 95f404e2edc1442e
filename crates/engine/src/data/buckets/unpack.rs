//! Buckets into measurements.

use smongo_bson::{Doc, DocWriter, Iter, Result, Value, bail, number};

use crate::data::catalog::TimeSeries;
use crate::data::limits;

/// The values of one field, by the names of their rows.
struct Column<'a> {
    name: &'a str,
    rows: Doc<'a>,
    /// Whether the rows are in order, as MongoDB's are.
    sorted: bool,
    next: Iter<'a>,
    ahead: Option<(&'a str, Value<'a>)>,
    /// Rows that belong to no measurement so far.
    left: usize,
}

impl<'a> Column<'a> {
    /// `sorted`: the times are in order.
    fn new(name: &'a str, rows: Doc<'a>, sorted: bool) -> Column<'a> {
        let sorted = sorted && is_sorted(rows);
        let mut next = rows.iter();
        let ahead = next.next().map(|e| (e.name(), e.value()));
        Column { name, rows, sorted, next, ahead, left: rows.iter().count() }
    }

    /// The value of a row, or `Missing`.
    fn of(&mut self, row: &str) -> Value<'a> {
        let value = match self.ahead {
            Some((name, value)) if name == row => {
                self.ahead = self.next.next().map(|e| (e.name(), e.value()));
                value
            }
            // The row of another measurement, which comes later.
            _ if self.sorted => Value::Missing,
            _ => self.rows.get(row),
        };
        self.left -= usize::from(!value.is_missing() && self.left > 0);
        value
    }
}

fn is_sorted(rows: Doc<'_>) -> bool {
    let numbers: Option<Vec<u32>> = rows.iter().map(|e| e.name().parse().ok()).collect();
    numbers.is_some_and(|all| all.is_sorted_by(|a, b| a < b))
}

/// Calls `each` for every measurement of a bucket, in order, as it is stored here: time and meta first.
pub fn unpack(series: &TimeSeries, bucket: Doc<'_>, mut each: impl FnMut(Doc<'_>) -> Result<()>) -> Result<()> {
    let (meta, data) = parts(series, bucket)?;
    match number::to_i64_exact(bucket.get("control").as_doc().map_or(Value::Missing, |c| c.get("version"))) {
        Some(1) => {}
        // Their columns are compressed, in a form of which there is no public description.
        Some(version @ 2..=3) => bail!(NotImplemented, "buckets of version {version}, whose data are compressed, are not implemented: insert the measurements instead"),
        _ => bail!(DocumentValidationFailure, "Document failed validation: a bucket's control.version must be 1, 2 or 3"),
    }
    let Value::Document(times) = data.get(&series.time) else {
        bail!(DocumentValidationFailure, "Document failed validation: a bucket's data must hold the times '{}'", series.time)
    };
    let sorted = is_sorted(times);
    let mut columns = Vec::new();
    for e in data.iter().filter(|e| e.name() != series.time) {
        match e.value() {
            Value::Document(rows) => columns.push(Column::new(e.name(), rows, sorted)),
            _ => bail!(DocumentValidationFailure, "Document failed validation: a bucket's data.{} must be a document", e.name()),
        }
    }
    let mut buf = Vec::new();
    for time in times {
        if !matches!(time.value(), Value::DateTime(_)) {
            bail!(DocumentValidationFailure, "Document failed validation: a bucket's data.{}.{} must be a date", series.time, time.name());
        }
        buf.clear();
        let mut w = DocWriter::new(&mut buf);
        w.append(&series.time, time.value());
        if let Some(name) = &series.meta {
            w.append(name, meta);
        }
        for column in &mut columns {
            w.append(column.name, column.of(time.name()));
        }
        w.finish();
        if buf.len() > limits::DOCUMENT_BYTES {
            bail!(BSONObjectTooLarge, "a measurement of the bucket is too large. size in bytes: {}, max size: {}", buf.len(), limits::DOCUMENT_BYTES);
        }
        each(Doc::from_checked(&buf))?;
    }
    match columns.iter().find(|column| column.left > 0) {
        Some(column) => bail!(DocumentValidationFailure, "Document failed validation: a bucket's data.{} has rows without a time", column.name),
        None => Ok(()),
    }
}

/// What every bucket has: its meta value, if any, and its data.
fn parts<'a>(series: &TimeSeries, bucket: Doc<'a>) -> Result<(Value<'a>, Doc<'a>)> {
    if !matches!(bucket.get("_id"), Value::ObjectId(_)) {
        bail!(DocumentValidationFailure, "Document failed validation: a bucket's _id must be an ObjectId");
    }
    if let Some(e) = bucket.iter().find(|e| !["_id", "control", "meta", "data"].contains(&e.name())) {
        bail!(DocumentValidationFailure, "Document failed validation: a bucket has no field '{}'", e.name());
    }
    let Value::Document(control) = bucket.get("control") else {
        bail!(DocumentValidationFailure, "Document failed validation: a bucket's control must be a document")
    };
    for end in ["min", "max"] {
        let time = control.get(end).as_doc().map_or(Value::Missing, |d| d.get(&series.time));
        if !matches!(time, Value::DateTime(_)) {
            bail!(DocumentValidationFailure, "Document failed validation: a bucket's control.{end}.{} must be a date", series.time);
        }
    }
    let meta = bucket.get("meta");
    if series.meta.is_none() && !meta.is_missing() {
        bail!(DocumentValidationFailure, "Document failed validation: the collection has no metaField, its buckets no meta");
    }
    match bucket.get("data") {
        Value::Document(data) => Ok((meta, data)),
        _ => bail!(DocumentValidationFailure, "Document failed validation: a bucket's data must be a document"),
    }
}
