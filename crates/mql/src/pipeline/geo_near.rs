//! `$geoNear`: the documents of a collection, nearest first. The engine reads them through a geospatial index; what the stage
//! itself does is to write distances and places into them.

use smongo_bson::path::Path;
use smongo_bson::{Array, Doc, DocBuf, DocWriter, Element, Result, Value, bail, number};

use super::args::field_path;
use super::step::{Step, over};
use super::{Stage, set_path};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;
use crate::matcher::{Matcher, Near};
use crate::stream::{Host, Stream};

/// The most components of `key` and of the paths that are written, which become part of a filter or a document.
const KEY_COMPONENTS: usize = 180;
const PATH_COMPONENTS: usize = 199;

/// A `$geoNear` stage.
pub struct GeoNear {
    near: DocBuf,
    spherical: bool,
    min: f64,
    max: f64,
    /// The indexed field; `None`: that of the only index that fits.
    pub key: Option<String>,
    query: DocBuf,
    distance_field: Option<Path>,
    include_locs: Option<Path>,
    multiplier: f64,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let (Value::Document(spec) | Value::Array(Array(spec))) = arg else {
        bail!(10065, "invalid parameter: expected an object ($geoNear)");
    };
    if !spec.contains("near") {
        bail!(5860400, "$geoNear requires a 'near' argument");
    }
    let mut stage = GeoNear {
        near: DocBuf::new(),
        spherical: false,
        min: 0.0,
        max: f64::INFINITY,
        key: None,
        query: DocBuf::new(),
        distance_field: None,
        include_locs: None,
        multiplier: 1.0,
    };
    for e in spec {
        stage.option(&e, cx)?;
    }
    // Malformed points are found here and not only when the collection is read.
    stage.nearness("")?;
    if super::registry::has_text(stage.query.as_doc()) {
        bail!(BadValue, "$geoNear's query cannot hold a $text");
    }
    Matcher::near_stage(stage.query.as_doc(), stage.nearness("")?, cx)?;
    out.push(Stage::GeoNear(Box::new(stage)));
    Ok(())
}

impl GeoNear {
    fn option(&mut self, e: &Element<'_>, cx: &CompileCx) -> Result<()> {
        match (e.name(), e.value()) {
            ("near", v) => self.near = near(v, cx)?,
            ("distanceField", Value::String(path)) => self.distance_field = Some(written(path)?),
            ("distanceField", v) => bail!(16606, "$geoNear requires a 'distanceField' option as a string, not {}", v.type_name()),
            ("includeLocs", Value::String(path)) => self.include_locs = Some(written(path)?),
            ("includeLocs", v) => bail!(16607, "$geoNear requires that 'includeLocs' option is a string, not {}", v.type_name()),
            ("maxDistance", v) => self.max = distance("maxDistance", v, 7555702, cx)?,
            ("minDistance", v) => self.min = distance("minDistance", v, 7555701, cx)?,
            ("distanceMultiplier", v) => self.multiplier = not_negative("distanceMultiplier", v)?,
            ("spherical", v) => self.spherical = v.truthy(),
            ("query", Value::Document(query)) => self.query = DocBuf::from(query),
            ("query", v) => bail!(TypeMismatch, "$geoNear parameter 'query' must be of type object, not {}", v.type_name()),
            ("key", Value::String("")) => bail!(BadValue, "$geoNear parameter 'key' cannot be the empty string"),
            ("key", Value::String(key)) => {
                field_path(key)?;
                if key.split('.').count() > KEY_COMPONENTS {
                    bail!(5729100, "$geoNear parameter 'key' has more than {KEY_COMPONENTS} components");
                }
                self.key = Some(key.to_owned());
            }
            ("key", v) => bail!(TypeMismatch, "$geoNear parameter 'key' must be of type string, not {}", v.type_name()),
            // Options of old versions that never changed the documents.
            ("limit" | "num" | "start", _) => bail!(50856, "$geoNear no longer supports the '{}' parameter. Use a $limit stage", e.name()),
            ("uniqueDocs" | "$comment", _) => {}
            (other, _) => bail!(BadValue, "Unknown argument to $geoNear: {other}"),
        }
        Ok(())
    }

    fn nearness(&self, path: &str) -> Result<Near> {
        let mut near = Near::for_stage(self.near.get("near"), self.spherical, self.min, self.max)?;
        near.path = Path::new(path);
        Ok(near)
    }

    /// The kinds of index that can serve the stage, the better first.
    pub fn index_kinds(&self) -> Result<&'static [&'static str]> {
        Ok(self.nearness("")?.index_kinds())
    }

    /// Which documents are read, by the field the index is on.
    pub fn filter(&self, key: &str, cx: &CompileCx) -> Result<Matcher> {
        Matcher::near_stage(self.query.as_doc(), self.nearness(key)?, cx)
    }

    pub(super) fn open(self: Box<Self>, input: Box<dyn Stream>) -> Box<dyn Stream> {
        over(input, GeoNearStream { stage: self, out: Vec::new(), scratch: Vec::new() })
    }
}

/// The value of a constant expression.
fn constant(value: Value<'_>, cx: &CompileCx, code: i32, name: &str) -> Result<DocBuf> {
    let expr = Expr::compile(value, cx)?;
    let reads = expr.dependencies();
    if reads.whole_document || !reads.fields.is_empty() {
        return Err(smongo_bson::Error::new(smongo_bson::Code(code), format!("$geoNear '{name}' must be a constant expression")));
    }
    let arena = Arena::new();
    let value = expr.eval(&Cx::new(&arena, Doc::EMPTY, expr.slots()))?;
    Ok(DocBuf::build(|w| {
        w.append(name, value);
    }))
}

fn near(value: Value<'_>, cx: &CompileCx) -> Result<DocBuf> {
    let near = constant(value, cx, 5860402, "near")?;
    match near.get("near") {
        Value::Document(_) | Value::Array(_) => Ok(near),
        v => bail!(5860401, "$geoNear requires near argument to be a GeoJSON point or a legacy pair, not {}", v.type_name()),
    }
}

fn distance(name: &str, value: Value<'_>, code: i32, cx: &CompileCx) -> Result<f64> {
    let constant = constant(value, cx, code, name)?;
    not_negative(name, constant.get(name))
}

fn not_negative(name: &str, value: Value<'_>) -> Result<f64> {
    if !value.is_number() {
        bail!(TypeMismatch, "$geoNear parameter '{name}' must be a number, not {}", value.type_name());
    }
    match number::to_f64(value) {
        Some(n) if n >= 0.0 => Ok(n),
        _ => bail!(BadValue, "$geoNear parameter '{name}' must be nonnegative"),
    }
}

/// A path a value is written to.
fn written(path: &str) -> Result<Path> {
    field_path(path)?;
    if path.split('.').count() > PATH_COMPONENTS {
        bail!(5984700, "FieldPath is too deep for a document");
    }
    Ok(Path::new(path))
}

struct GeoNearStream {
    stage: Box<GeoNear>,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

impl GeoNearStream {
    fn set(&mut self, path: &Path, value: Value<'_>) {
        self.scratch.clear();
        let mut w = DocWriter::new(&mut self.scratch);
        set_path::write(&mut w, Doc::from_checked(&self.out), path.parts(), value);
        w.finish();
        std::mem::swap(&mut self.out, &mut self.scratch);
    }
}

impl Step for GeoNearStream {
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if !input.advance(host)? {
            return Ok(false);
        }
        self.out.clear();
        self.out.extend_from_slice(input.doc().as_bytes());
        let meta = DocBuf::from(input.meta());
        let distance = number::to_f64(meta.get("geoNearDistance")).unwrap_or(0.0) * self.stage.multiplier;
        if let Some(path) = self.stage.distance_field.clone() {
            self.set(&path, Value::Double(distance));
        }
        if let Some(path) = self.stage.include_locs.clone() {
            self.set(&path, meta.get("geoNearPoint"));
        }
        Ok(true)
    }

    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        Doc::from_checked(&self.out)
    }
}
