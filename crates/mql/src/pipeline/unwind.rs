//! `$unwind`: one document for each element of an array.

use smongo_bson::path::{self, Path};
use smongo_bson::{Doc, DocWriter, Result, Value, bail};

use super::args::{field_path, show};
use super::{Operator, Stage, set_path};
use crate::cx::CompileCx;
use crate::stream::{Host, Stream};

/// The parsed argument; `$lookup` takes over the one behind it.
pub struct Unwind {
    pub path: Path,
    pub keep_empty: bool,
    pub index: Option<Path>,
}

pub(super) fn parse(arg: Value<'_>, _cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let mut unwind = parse_spec(arg)?;
    if let Some(Stage::Other(before)) = out.last_mut() {
        match before.take_unwind(unwind) {
            Ok(()) => return Ok(()),
            Err(back) => unwind = back,
        }
    }
    out.push(Stage::Other(Box::new(unwind)));
    Ok(())
}

pub(super) fn parse_spec(arg: Value<'_>) -> Result<Unwind> {
    let (mut path, mut keep_empty, mut index) = (None, false, None);
    match arg {
        Value::String(s) => path = Some(s),
        Value::Document(spec) => {
            for field in spec {
                match (field.name(), field.value()) {
                    ("path", Value::String(s)) => path = Some(s),
                    ("path", v) => bail!(28808, "expected a string as the path for $unwind stage, got {}", v.type_name()),
                    ("preserveNullAndEmptyArrays", Value::Bool(b)) => keep_empty = b,
                    ("preserveNullAndEmptyArrays", v) => {
                        bail!(28809, "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got {}", v.type_name())
                    }
                    ("includeArrayIndex", Value::String(s)) if !s.is_empty() => index = Some(s),
                    ("includeArrayIndex", v) => {
                        bail!(28810, "expected a non-empty string for the includeArrayIndex  option to $unwind stage, got {}", show(v))
                    }
                    (other, _) => bail!(28811, "unrecognized option to $unwind stage: {other}"),
                }
            }
        }
        v => bail!(15981, "expected either a string or an object as specification for $unwind stage, got {}", v.type_name()),
    }
    let Some(path) = path.filter(|p| !p.is_empty()) else { bail!(28812, "no path specified to $unwind stage") };
    let Some(path) = path.strip_prefix('$') else { bail!(28818, "path option to $unwind stage should be prefixed with a '$': {path}") };
    field_path(path)?;
    if let Some(index) = index {
        if index.starts_with('$') {
            bail!(28822, "includeArrayIndex option to $unwind stage should not be prefixed with a '$': {index}");
        }
        field_path(index)?;
    }
    Ok(Unwind { path: Path::new(path), keep_empty, index: index.map(Path::new) })
}

impl Operator for Unwind {
    fn name(&self) -> &'static str {
        "$unwind"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(Box::new(UnwindStream { input, spec: *self, at: None, out: Vec::new(), scratch: Vec::new(), whole: false }))
    }
}

struct UnwindStream {
    input: Box<dyn Stream>,
    spec: Unwind,
    /// Offset of the next element in the array's body and its number, while an array is unwound.
    at: Option<(usize, i64)>,
    out: Vec<u8>,
    scratch: Vec<u8>,
    /// The current document is the input's, unchanged.
    whole: bool,
}

impl UnwindStream {
    /// The next element of the array being unwound; `false` when it has none left.
    fn element(&mut self) -> bool {
        let Some((offset, number)) = self.at else { return false };
        let doc = self.input.doc();
        let Value::Array(array) = path::get(doc, self.spec.path.parts()) else { return false };
        let rest = Doc::from_checked(array.as_bytes()).body().get(offset..).unwrap_or(&[]);
        let Some(element) = smongo_bson::doc::Iter::over(rest).next() else {
            self.at = None;
            return false;
        };
        self.at = Some((offset + element.raw().len(), number + 1));
        write(&self.spec, doc, element.value(), Value::Int64(number), &mut self.out, &mut self.scratch);
        true
    }

    /// Begins an input document; `true` when it yields a document at once.
    fn begin(&mut self) -> bool {
        self.whole = false;
        let doc = self.input.doc();
        match path::get(doc, self.spec.path.parts()) {
            Value::Array(a) if !a.is_empty() => {
                self.at = Some((0, 0));
                self.element()
            }
            v if v.is_nullish() || matches!(v, Value::Array(_)) => {
                if !self.spec.keep_empty {
                    return false;
                }
                let empty = matches!(v, Value::Array(_));
                if empty || self.spec.index.is_some() {
                    let value = if empty { Value::Missing } else { v };
                    write(&self.spec, doc, value, Value::Null, &mut self.out, &mut self.scratch);
                } else {
                    self.whole = true;
                }
                true
            }
            v => {
                match self.spec.index {
                    Some(_) => write(&self.spec, doc, v, Value::Null, &mut self.out, &mut self.scratch),
                    None => self.whole = true,
                }
                true
            }
        }
    }
}

fn write(spec: &Unwind, doc: Doc<'_>, value: Value<'_>, index: Value<'_>, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
    out.clear();
    match &spec.index {
        None => set_path::write(&mut DocWriter::new(out), doc, spec.path.parts(), value),
        Some(path) => {
            scratch.clear();
            set_path::write(&mut DocWriter::new(scratch), doc, spec.path.parts(), value);
            set_path::write(&mut DocWriter::new(out), Doc::from_checked(scratch), path.parts(), index);
        }
    }
}

impl Stream for UnwindStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.element() {
            return Ok(true);
        }
        while self.input.advance(host)? {
            if self.begin() {
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn doc(&self) -> Doc<'_> {
        if self.whole { self.input.doc() } else { Doc::from_checked(&self.out) }
    }
    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
