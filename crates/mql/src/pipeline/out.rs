//! `$out`, and the stream both writing stages are: it yields no document.

use smongo_bson::{Doc, DocBuf, Result, Value, bail};

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

fn parse_document(spec: Doc<'_>) -> Result<OutSpec> {
    let (mut db, mut coll, mut timeseries) = (None, None, None);
    for field in spec {
        match (field.name(), field.value()) {
            ("db", Value::String(s)) => db = Some(s),
            ("coll", Value::String(s)) => coll = Some(s),
            ("timeseries", Value::Document(d)) => timeseries = Some(DocBuf::from(d)),
            (name @ ("db" | "coll"), v) => {
                bail!(TypeMismatch, "BSON field '$out.{name}' is the wrong type '{}', expected type 'string'", v.type_name())
            }
            ("timeseries", v) => bail!(TypeMismatch, "BSON field '$out.timeseries' is the wrong type '{}', expected type 'object'", v.type_name()),
            (other, _) => bail!(40415, "BSON field '$out.{other}' is an unknown field."),
        }
    }
    let missing = |name: &str| smongo_bson::err!(40414, "BSON field '$out.{name}' is missing but a required field");
    let db = db.ok_or_else(|| missing("db"))?;
    let coll = coll.ok_or_else(|| missing("coll"))?;
    let (db, coll) = checked_target("$out", db.to_owned(), coll)?;
    Ok(OutSpec { db, coll, timeseries })
}

/// Refuses targets no stage may write to.
pub(super) fn checked_target(stage: &str, db: String, coll: &str) -> Result<(String, String)> {
    let merge = stage == "$merge";
    if coll.is_empty() || db.is_empty() || coll.contains('\0') || db.contains(['\0', '.', '/', '\\', ' ', '"', '$']) || coll.contains('$') {
        bail!(InvalidNamespace, "Invalid {stage} target namespace, {db}.{coll}");
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
    Box::new(WriteStream { input, spec, done: false })
}

struct WriteStream {
    input: Box<dyn Stream>,
    spec: WriteSpec,
    done: bool,
}

impl Stream for WriteStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        self.done = true;
        let mut sink: Box<dyn Sink> = host.write(&self.spec)?;
        let mut n = 0u32;
        while self.input.advance(host)? {
            sink.write(host, self.input.doc())?;
            n = n.wrapping_add(1);
            if n % 128 == 0 {
                host.interrupt()?;
            }
        }
        sink.finish(host)?;
        Ok(false)
    }
    fn doc(&self) -> Doc<'_> {
        Doc::EMPTY
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
