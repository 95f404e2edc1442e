//! `$unwind`: one document for each element of an array.

use smongo_bson::path::{self, Path};
use smongo_bson::{Doc, DocWriter, Result, Value, bail};

use super::args::{field_path, show};
use super::step::{Step, over};
use super::{Needs, Operator, Stage, set_path};
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
    if path.contains('\0') {
        bail!(16419, "field path must not contain embedded null characters");
    }
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
    fn needs(&self, mut after: Needs) -> Needs {
        after.path(self.path.text());
        after
    }
    fn carries(&self) -> bool {
        true
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        if self.index.is_none()
            && let [part] = self.path.parts()
        {
            let (name, keep_empty) = (part.name.as_bytes().to_vec(), self.keep_empty);
            return Ok(over(input, PlainUnwind { name, keep_empty, cut: Cut::default(), out: Vec::new(), whole: false }));
        }
        Ok(over(input, UnwindStream { spec: *self, at: None, out: Vec::new(), scratch: Vec::new(), whole: false }))
    }
}

/// The usual case, an undotted path and no index: what stands before and behind the array is copied as a whole.
struct PlainUnwind {
    name: Vec<u8>,
    keep_empty: bool,
    cut: Cut,
    out: Vec<u8>,
    /// The current document is the input's, unchanged.
    whole: bool,
}

/// Where a document is cut, as offsets in its bytes.
#[derive(Default)]
struct Cut {
    /// Where the array's field begins; so much of `out` stays.
    before: usize,
    /// The elements that are left.
    elements: std::ops::Range<usize>,
    /// Where the next field begins.
    behind: usize,
}

impl PlainUnwind {
    /// The next element of the array being unwound; `false` when it has none left.
    fn element(&mut self, input: &dyn Stream) -> bool {
        if self.cut.elements.is_empty() {
            return false;
        }
        let bytes = input.doc().as_bytes();
        let left = bytes.get(self.cut.elements.clone()).unwrap_or(&[]);
        let Some(element) = smongo_bson::doc::Iter::over(left).next() else { return false };
        self.cut.elements.start += element.raw().len();
        self.out.truncate(self.cut.before);
        self.out.push(element.tag());
        self.out.extend_from_slice(&self.name);
        self.out.push(0);
        self.out.extend_from_slice(element.value_bytes());
        finish(&mut self.out, bytes.get(self.cut.behind..).unwrap_or(&[0]));
        true
    }

    /// Begins an input document; `true` when it yields a document at once.
    fn begin(&mut self, input: &dyn Stream) -> bool {
        self.whole = false;
        let doc = input.doc();
        let mut at = 4;
        let field = doc.iter().find(|e| {
            let found = e.name_bytes() == self.name;
            at += if found { 0 } else { e.raw().len() };
            found
        });
        let Some(field) = field else {
            self.whole = self.keep_empty;
            return self.whole;
        };
        let behind = at + field.raw().len();
        match field.value() {
            Value::Array(a) => {
                // An array ends with a zero byte and begins with its length.
                self.cut = Cut { before: at, elements: behind - a.as_bytes().len() + 4..behind - 1, behind };
                self.out.clear();
                self.out.extend_from_slice(doc.as_bytes().get(..at).unwrap_or(&[]));
                if !a.is_empty() {
                    return self.element(input);
                }
                finish(&mut self.out, doc.as_bytes().get(behind..).unwrap_or(&[0]));
                self.keep_empty
            }
            v => {
                self.whole = self.keep_empty || !v.is_nullish();
                self.whole
            }
        }
    }
}

/// Ends a document whose first bytes, its length among them, are in `out`.
fn finish(out: &mut Vec<u8>, rest: &[u8]) {
    out.extend_from_slice(rest);
    let len = (out.len() as i32).to_le_bytes();
    if let Some(head) = out.first_chunk_mut() {
        *head = len;
    }
}

impl Step for PlainUnwind {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.element(input) {
            return Ok(true);
        }
        while input.advance(host)? {
            self.cut = Cut::default();
            if self.begin(input) {
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn doc<'a>(&'a self, input: &'a dyn Stream) -> Doc<'a> {
        if self.whole { input.doc() } else { Doc::from_checked(&self.out) }
    }
}

struct UnwindStream {
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
    fn element(&mut self, input: &dyn Stream) -> bool {
        let Some((offset, number)) = self.at else { return false };
        let doc = input.doc();
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
    fn begin(&mut self, input: &dyn Stream) -> bool {
        self.whole = false;
        let doc = input.doc();
        match path::get(doc, self.spec.path.parts()) {
            Value::Array(a) if !a.is_empty() => {
                self.at = Some((0, 0));
                self.element(input)
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

impl Step for UnwindStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if self.element(input) {
            return Ok(true);
        }
        while input.advance(host)? {
            if self.begin(input) {
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn doc<'a>(&'a self, input: &'a dyn Stream) -> Doc<'a> {
        if self.whole { input.doc() } else { Doc::from_checked(&self.out) }
    }
}
