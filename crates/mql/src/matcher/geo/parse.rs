//! Geospatial operators from BSON.

use smongo_bson::path::Path;
use smongo_bson::{Array, Doc, Element, Result, Value, bail, number};

use super::shapes::{Geometry, flat_point, geojson, legacy_point, of_flat};
use super::sphere::{Cap, Point};
use super::{Intersects, Near, Region, Within};
use crate::matcher::Node;

/// Whether an operator belongs to the geospatial ones, which stand alone under a field.
fn is_geo(name: &str) -> bool {
    matches!(name, "$geoWithin" | "$within" | "$geoIntersects" | "$near" | "$nearSphere" | "$geoNear")
}

fn object<'a>(name: &str, value: Value<'a>) -> Result<Doc<'a>> {
    match value {
        Value::Document(d) => Ok(d),
        Value::Array(Array(d)) if matches!(name, "$near" | "$nearSphere" | "$geoNear") => Ok(d),
        _ => bail!(BadValue, "geometry must be an object: {name}"),
    }
}

fn number_of(value: Value<'_>) -> Option<f64> {
    number::to_f64(value).filter(|_| value.is_number())
}

pub(in crate::matcher) fn within(path: &str, name: &str, value: Value<'_>) -> Result<Node> {
    let shapes = object(name, value)?;
    let mut region = None;
    for e in shapes {
        if e.name() == "$uniqueDocs" {
            continue;
        }
        if region.is_some() {
            bail!(BadValue, "{name} takes a single shape, not '{}' too", e.name());
        }
        region = Some(shape(&e)?);
    }
    let Some(region) = region else { bail!(BadValue, "$geoWithin not supported with provided geometry: {{}}") };
    Ok(Node::Field { path: Path::new(path), test: Box::new(Within(region)) })
}

fn shape(e: &Element<'_>) -> Result<Region> {
    match (e.name(), e.value()) {
        ("$geometry", Value::Document(d)) => {
            let g = geojson(d)?;
            if g.polygons.is_empty() || !g.points.is_empty() || !g.lines.is_empty() {
                bail!(BadValue, "$geoWithin not supported with provided geometry: {}", d);
            }
            Ok(Region::Polygons(g.polygons))
        }
        ("$box", v) => flat_box(v),
        ("$polygon", v) => flat_polygon(v),
        ("$center", v) => {
            let (center, radius) = circle("$center", v)?;
            Ok(Region::Circle { center, radius })
        }
        ("$centerSphere", v) => {
            let ((x, y), radius) = circle("$centerSphere", v)?;
            if !(-180.0..=180.0).contains(&x) || !(-90.0..=90.0).contains(&y) {
                bail!(BadValue, "Spherical circle would require (unimplemented) splitting");
            }
            Ok(Region::Cap(Cap { center: Point::from_lng_lat(x, y), radius }))
        }
        (other, _) => bail!(BadValue, "unknown geo specifier: {other}"),
    }
}

/// The members of an array, or of a document that stands for one.
fn members<'a>(name: &str, value: Value<'a>) -> Result<Vec<Value<'a>>> {
    match value {
        Value::Array(Array(d)) | Value::Document(d) => Ok(d.iter().map(|e| e.value()).collect()),
        _ => bail!(BadValue, "{name} must be an array"),
    }
}

fn flat_box(value: Value<'_>) -> Result<Region> {
    let corners = members("$box", value)?;
    let (Some(a), Some(b)) = (corners.first(), corners.get(1)) else { bail!(BadValue, "$box needs two corners") };
    let (a, b) = (legacy_point(*a)?, legacy_point(*b)?);
    Ok(Region::Box { min: (a.0.min(b.0), a.1.min(b.1)), max: (a.0.max(b.0), a.1.max(b.1)) })
}

fn flat_polygon(value: Value<'_>) -> Result<Region> {
    let corners = members("$polygon", value)?.into_iter().map(legacy_point).collect::<Result<Vec<_>>>()?;
    if corners.len() < 3 {
        bail!(BadValue, "Polygon must have at least 3 points");
    }
    Ok(Region::FlatPolygon(corners))
}

fn circle(name: &str, value: Value<'_>) -> Result<((f64, f64), f64)> {
    let parts = members(name, value)?;
    let [center, radius] = parts[..] else { bail!(BadValue, "{name} takes a centre and a radius") };
    let center = legacy_point(center)?;
    match number_of(radius) {
        Some(r) if r >= 0.0 => Ok((center, r)),
        _ => bail!(BadValue, "radius must be a non-negative number"),
    }
}

pub(in crate::matcher) fn intersects(path: &str, value: Value<'_>) -> Result<Node> {
    let Value::Document(d) = value else { bail!(BadValue, "$geoIntersects must be an object") };
    let mut geometry = None;
    for e in d {
        if e.name() != "$geometry" {
            bail!(BadValue, "unknown geo specifier: {}", e.name());
        }
        geometry = Some(query_geometry(e.value())?);
    }
    let Some(geometry) = geometry else { bail!(BadValue, "$geoIntersects not supported with provided geometry: {{}}") };
    Ok(Node::Field { path: Path::new(path), test: Box::new(Intersects(geometry)) })
}

/// GeoJSON, or a legacy point that is longitude and latitude.
fn query_geometry(value: Value<'_>) -> Result<Geometry> {
    match value {
        Value::Document(d) if d.contains("type") || d.contains("coordinates") => geojson(d),
        Value::Document(_) | Value::Array(_) => {
            let g = of_flat(legacy_point(value)?);
            if g.only_flat {
                bail!(BadValue, "Longitude/latitude is out of bounds");
            }
            Ok(g)
        }
        _ => bail!(BadValue, "$geometry must be an object"),
    }
}

/// `$near`, `$nearSphere`: `{$geometry, $minDistance, $maxDistance}`, or a legacy point with the distances beside the operator.
pub(in crate::matcher) fn near(path: &str, name: &str, value: Value<'_>, siblings: Doc<'_>) -> Result<Node> {
    let d = object(name, value)?;
    let mut near = Near { path: Path::new(path), x: 0.0, y: 0.0, geojson: false, spherical: name == "$nearSphere", min: 0.0, max: f64::INFINITY };
    if d.first().is_some_and(|e| e.name().starts_with('$')) {
        near.geojson = true;
        near.spherical = true;
        if let Some(extra) = siblings.iter().find(|e| !is_geo(e.name())) {
            bail!(BadValue, "geo near accepts just one argument when querying for a GeoJSON point. Extra field found: {extra}");
        }
        geojson_near(&mut near, d)?;
    } else {
        legacy_near(&mut near, d, value, siblings)?;
    }
    Ok(Node::Near(near))
}

fn geojson_near(near: &mut Near, d: Doc<'_>) -> Result<()> {
    let mut found = false;
    for e in d {
        match (e.name(), e.value()) {
            ("$geometry", v) => {
                let Some((x, y)) = near_point(v)?.flat else { bail!(BadValue, "invalid point in geo near query $geometry argument: {v:?}") };
                (near.x, near.y) = (x, y);
                found = true;
            }
            ("$minDistance", v) => near.min = distance("$minDistance", v)?,
            ("$maxDistance", v) => near.max = distance("$maxDistance", v)?,
            (other, _) => bail!(BadValue, "invalid argument in geo near query: {other}"),
        }
    }
    if !found {
        bail!(BadValue, "$geometry is required for geo near query");
    }
    Ok(())
}

/// The point of `$geoNear`: GeoJSON when it is a document with coordinates, else a legacy pair.
pub(super) fn near_of_stage(value: Value<'_>, spherical: bool, min: f64, max: f64) -> Result<Near> {
    let mut near = Near { path: Path::new(""), x: 0.0, y: 0.0, geojson: false, spherical, min, max };
    match value {
        v if is_geojson(v) => {
            let Some((x, y)) = near_point(value)?.flat else { bail!(BadValue, "$geoNear requires a point: {value:?}") };
            (near.x, near.y, near.geojson, near.spherical) = (x, y, true, true);
        }
        _ => {
            if matches!(value, Value::Array(a) if a.len() > 3) {
                bail!(BadValue, "Point must only contain two numeric elements");
            }
            (near.x, near.y) = flat_point(value)?;
            if near.spherical && of_flat((near.x, near.y)).only_flat {
                bail!(BadValue, "Legacy point is out of bounds for spherical query");
            }
        }
    }
    Ok(near)
}

fn is_geojson(value: Value<'_>) -> bool {
    matches!(value, Value::Document(d) if d.contains("coordinates") || matches!(d.get("type"), Value::String(_)))
}

/// GeoJSON whose type may be left out.
fn near_point(value: Value<'_>) -> Result<Geometry> {
    match value {
        Value::Document(d) if d.contains("coordinates") && !d.contains("type") => query_geometry(d.get("coordinates")),
        v => query_geometry(v),
    }
}

fn distance(name: &str, value: Value<'_>) -> Result<f64> {
    match number_of(value) {
        None => bail!(BadValue, "{name} must be a number"),
        Some(n) if n >= 0.0 && n.is_finite() => Ok(n),
        Some(_) => bail!(BadValue, "{name} must be non-negative and finite"),
    }
}

/// `[x, y]`, `[x, y, max]`, `{x, y}` or a GeoJSON point; codes 16893 to 16896 are those of the old syntax.
fn legacy_near(near: &mut Near, d: Doc<'_>, value: Value<'_>, siblings: Doc<'_>) -> Result<()> {
    let geojson = if is_geojson(value) { query_geometry(value)?.flat } else { None };
    if let Some((x, y)) = geojson {
        (near.x, near.y, near.geojson, near.spherical) = (x, y, true, true);
    } else {
        (near.x, near.y) = flat_point(value)?;
        if near.spherical && of_flat((near.x, near.y)).only_flat {
            bail!(BadValue, "Legacy point is out of bounds for spherical query");
        }
    }
    if let Some(e) = d.iter().nth(2).filter(|_| geojson.is_none()) {
        match number_of(e.value()) {
            Some(n) if n >= 0.0 => near.max = n,
            Some(_) => bail!(16896, "$maxDistance must be non-negative"),
            None => bail!(BadValue, "Point must only contain numeric elements"),
        }
    }
    for e in siblings {
        match (e.name(), number_of(e.value())) {
            ("$minDistance", None) => bail!(16893, "$minDistance must be a number"),
            ("$minDistance", Some(n)) if n >= 0.0 => near.min = n,
            ("$minDistance", Some(_)) => bail!(16894, "$minDistance must be non-negative"),
            ("$maxDistance", None) => bail!(16895, "$maxDistance must be a number"),
            ("$maxDistance", Some(n)) if n >= 0.0 => near.max = n,
            ("$maxDistance", Some(_)) => bail!(16896, "$maxDistance must be non-negative"),
            _ => {}
        }
    }
    Ok(())
}

/// A geospatial operator stands alone under its field, but for the distances of `$near`.
pub(in crate::matcher) fn alone(operators: Doc<'_>) -> Result<()> {
    let geo = operators.iter().filter(|e| is_geo(e.name())).count();
    let other = operators.iter().find(|e| !is_geo(e.name()) && !matches!(e.name(), "$minDistance" | "$maxDistance" | "$uniqueDocs"));
    let near = operators.first().is_some_and(|e| matches!(e.name(), "$near" | "$nearSphere" | "$geoNear"));
    match (geo, other) {
        (1, Some(e)) if near => bail!(34413, "unable to mix geo near with other operators: {}", e.name()),
        (1, Some(e)) => bail!(BadValue, "can't parse extra field: {}", e.name()),
        (2.., _) => bail!(BadValue, "Too many geo expressions under one field"),
        _ => Ok(()),
    }
}
