//! Keys that are not simply the values at an index's paths: wildcard, geospatial and text indexes.

use smongo_bson::index_keys::{Multikey, index_keys};
use smongo_bson::path::Path;
use smongo_bson::wildcard::Scope;
use smongo_bson::{Code, Doc, Result, Value, ValueBuf, bail, number};
use smongo_mql::matcher::GeoOrder;
use smongo_mql::text::TextFields;

use super::{IndexKind, KeyPart, PATH_PART};

/// The name of the key part that holds the terms of a text index; their scores are in the next.
pub const TERM_PART: &str = "_fts";

/// How the keys of such an index are made: each combination of the ordinary fields' values with each tuple of special ones.
#[derive(Clone)]
pub struct Special {
    source: Source,
    /// The ordinary fields.
    plain: Vec<Path>,
    /// Where each part of the key comes from.
    slots: Vec<Slot>,
}

#[derive(Clone)]
enum Source {
    Wildcard(Scope),
    Geo(Vec<(Path, GeoOrder)>),
    Text(Box<TextFields>),
}

#[derive(Clone, Copy)]
enum Slot {
    Plain(usize),
    Special(usize),
}

/// Special values, and whether some of them come of arrays.
struct Tuples {
    rows: Vec<Vec<ValueBuf>>,
    arrays: bool,
}

impl Special {
    /// `None` when the index is an ordinary one.
    pub fn new(spec: Doc<'_>, parts: &[KeyPart]) -> Result<Option<Special>> {
        let wild = parts.iter().position(|p| p.path.text() == PATH_PART);
        let geo: Vec<(Path, GeoOrder)> = parts.iter().filter_map(|p| p.geo.map(|order| (p.path.clone(), order))).collect();
        let text = parts.iter().position(|p| p.path.text() == TERM_PART).filter(|_| spec.contains("weights"));
        let source = match wild {
            Some(at) => Source::Wildcard(wildcard_scope(spec, parts.get(at + 1).map_or("", |p| p.path.text()))?),
            None if text.is_some() => Source::Text(Box::new(TextFields::new(spec)?)),
            None if geo.is_empty() => return Ok(None),
            None => Source::Geo(geo),
        };
        let (mut plain, mut slots, mut specials) = (Vec::new(), Vec::new(), 0);
        for (n, part) in parts.iter().enumerate() {
            if part.geo.is_some() || wild.or(text).is_some_and(|at| n == at || n == at + 1) {
                slots.push(Slot::Special(specials));
                specials += 1;
            } else {
                slots.push(Slot::Plain(plain.len()));
                plain.push(part.path.clone());
            }
        }
        Ok(Some(Special { source, plain, slots }))
    }

    pub fn kind(&self) -> IndexKind {
        match self.source {
            Source::Wildcard(_) => IndexKind::Wildcard,
            Source::Geo(_) => IndexKind::Geo,
            Source::Text(_) => IndexKind::Text,
        }
    }

    /// The ordinary fields beside the special ones.
    pub fn plain(&self) -> &[Path] {
        &self.plain
    }

    /// The paths of a wildcard index.
    pub fn scope(&self) -> Option<&Scope> {
        match &self.source {
            Source::Wildcard(scope) => Some(scope),
            _ => None,
        }
    }

    /// The fields of a text index.
    pub fn text(&self) -> Option<&TextFields> {
        match &self.source {
            Source::Text(fields) => Some(fields),
            _ => None,
        }
    }

    /// Calls `emit` with every key of a document; keys may repeat.
    pub fn keys(&self, doc: Doc<'_>, emit: &mut dyn FnMut(&[Value<'_>]) -> Result<()>) -> Result<Multikey> {
        let tuples = match &self.source {
            Source::Wildcard(scope) => self.wildcard(scope, doc)?,
            Source::Geo(fields) => geo(fields, doc)?,
            Source::Text(fields) => {
                let row = |(term, score): (String, f64)| vec![ValueBuf::new(Value::String(&term)), ValueBuf::new(Value::Double(score))];
                Tuples { rows: fields.terms(doc).into_iter().map(row).collect(), arrays: false }
            }
        };
        // An array on the way to a wildcard's fields counts also where it leads to none of them: no entry tells of the document then.
        if tuples.rows.is_empty() {
            return Ok(self.masks(&Multikey::default(), tuples.arrays));
        }
        let mut combine = |plain: &[Value<'_>]| {
            tuples.rows.iter().try_for_each(|row| {
                // The row and the plain values live differently long; a key is a fresh view over both.
                let key: Vec<Value<'_>> = self.slots.iter().map(|slot| match *slot {
                    Slot::Plain(n) => plain.get(n).copied().unwrap_or(Value::Null),
                    Slot::Special(n) => row.get(n).map_or(Value::Null, ValueBuf::view),
                }).collect();
                emit(&key)
            })
        };
        let plain = if self.plain.is_empty() {
            combine(&[])?;
            Multikey::default()
        } else {
            self.combinations(doc, &mut combine)?
        };
        if plain.any() && matches!(self.source, Source::Wildcard(_)) {
            bail!(7246301, "Compound wildcard indexes cannot have arrays in their fields beside the wildcard");
        }
        Ok(self.masks(&plain, tuples.arrays))
    }

    /// Where arrays were: in the plain fields, and somewhere below the special ones.
    fn masks(&self, plain: &Multikey, special: bool) -> Multikey {
        let masks: Vec<u64> = self.slots.iter().map(|slot| match *slot {
            Slot::Plain(n) => plain.components(n),
            Slot::Special(0) if matches!(self.source, Source::Wildcard(_)) => 0,
            Slot::Special(_) if special => u64::MAX,
            Slot::Special(_) => 0,
        }).collect();
        Multikey::from_masks(&masks)
    }

    /// The keys of the ordinary fields. Beside a 2d field they may hold arrays that are independent of each other, which other indexes refuse.
    fn combinations(&self, doc: Doc<'_>, emit: &mut dyn FnMut(&[Value<'_>]) -> Result<()>) -> Result<Multikey> {
        let flat = matches!(&self.source, Source::Geo(fields) if fields.iter().any(|(_, order)| matches!(order, GeoOrder::Flat(_))));
        match index_keys(doc, &self.plain, false, &mut |plain| emit(plain)) {
            Err(e) if flat && e.code() == Code::CannotIndexParallelArrays => {}
            done => return done,
        }
        let (mut keys, mut masks): (Vec<Vec<ValueBuf>>, Vec<u64>) = (vec![Vec::new()], Vec::new());
        for path in &self.plain {
            let mut own = Vec::new();
            let multikey = index_keys(doc, std::slice::from_ref(path), false, &mut |values| {
                own.extend(values.iter().map(|v| ValueBuf::new(*v)));
                Ok(())
            })?;
            masks.push(multikey.components(0));
            keys = keys.iter().flat_map(|key| own.iter().map(|v| key.iter().chain([v]).cloned().collect())).collect();
        }
        for key in &keys {
            let views: Vec<Value<'_>> = key.iter().map(ValueBuf::view).collect();
            emit(&views)?;
        }
        Ok(Multikey::from_masks(&masks))
    }

    fn wildcard(&self, scope: &Scope, doc: Doc<'_>) -> Result<Tuples> {
        let mut rows = Vec::new();
        let arrays = scope.keys(doc, &mut |path, value| {
            rows.push(vec![ValueBuf::new(Value::String(path)), ValueBuf::new(value)]);
            Ok(())
        })?;
        if rows.is_empty() && !self.plain.is_empty() {
            // So that a query of the other fields alone finds the document.
            rows.push(vec![ValueBuf::new(Value::MinKey), ValueBuf::new(Value::MinKey)]);
        }
        Ok(Tuples { rows, arrays })
    }
}

/// Every combination of the fields' cells. A document without any geometry has none.
fn geo(fields: &[(Path, GeoOrder)], doc: Doc<'_>) -> Result<Tuples> {
    let mut rows: Vec<Vec<ValueBuf>> = vec![Vec::new()];
    let (mut arrays, mut found) = (false, false);
    for (path, order) in fields {
        let keys = order.keys(doc, path.parts())?;
        arrays |= keys.len() > 1;
        found |= !keys.is_empty();
        let cells: Vec<Value<'_>> = if keys.is_empty() { vec![Value::Null] } else { keys.into_iter().map(Value::Int64).collect() };
        let longer = |row: &Vec<ValueBuf>| {
            let row = row.clone();
            cells.iter().map(move |cell| row.iter().cloned().chain([ValueBuf::new(*cell)]).collect()).collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    if !found {
        rows.clear();
    }
    Ok(Tuples { rows, arrays })
}

/// What a wildcard index covers, by the name of its field and `wildcardProjection`.
///
/// A projection includes or excludes, `_id` aside; 31254 and 31253 when it does both, 31249 and 31250 when one of its paths lies in
/// another, 51271 for what is no number or bool.
pub fn wildcard_scope(spec: Doc<'_>, field: &str) -> Result<Scope> {
    let projection = match spec.get("wildcardProjection") {
        Value::Document(d) => d,
        _ => return Ok(field.strip_suffix(".$**").map_or_else(Scope::all, Scope::below)),
    };
    let mut paths: Vec<(String, bool)> = Vec::new();
    projected(projection, "", &mut paths)?;
    for (n, (path, _)) in paths.iter().enumerate() {
        for (earlier, _) in &paths[..n] {
            if path.strip_prefix(earlier.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                bail!(31249, "Path collision at {path} remaining portion {}", path.get(earlier.len()..).unwrap_or_default());
            }
            if earlier.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.')) {
                bail!(31250, "Path collision at {path}");
            }
        }
    }
    let id = paths.iter().find(|(p, _)| p == "_id").map(|(_, on)| *on);
    let others: Vec<&(String, bool)> = paths.iter().filter(|(p, _)| p != "_id").collect();
    let include = others.first().map_or(id == Some(true), |(_, on)| *on);
    if let Some((path, on)) = others.iter().find(|(_, on)| *on != include) {
        match on {
            true => bail!(31253, "Cannot do inclusion on field {path} in exclusion projection"),
            false => bail!(31254, "Cannot do exclusion on field {path} in inclusion projection"),
        }
    }
    let mut named: Vec<Box<str>> = others.iter().map(|(p, _)| p.as_str().into()).collect();
    if include && id == Some(true) {
        named.push("_id".into());
    }
    Ok(Scope::new(include, named, id == Some(true)))
}

fn projected(d: Doc<'_>, prefix: &str, out: &mut Vec<(String, bool)>) -> Result<()> {
    for e in d {
        let path = if prefix.is_empty() { e.name().to_owned() } else { format!("{prefix}.{}", e.name()) };
        if path.split('.').any(str::is_empty) {
            bail!(15998, "FieldPath field names may not be empty strings.");
        }
        if path.split('.').any(|p| p.starts_with('$')) {
            bail!(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.");
        }
        match e.value() {
            Value::Document(inner) if inner.is_empty() => bail!(51270, "An empty sub-projection is not a valid value. Found empty object at path"),
            Value::Document(inner) => projected(inner, &path, out)?,
            Value::Bool(on) => out.push((path, on)),
            v if v.is_number() => out.push((path, number::to_f64(v) != Some(0.0))),
            _ => bail!(51271, "Bad projection specification, cannot use computed fields in an index: {path}"),
        }
    }
    Ok(())
}
