//! Keys of documents in geospatial indexes, and the keys by which predicates find them.

use std::ops::ControlFlow;

use smongo_bson::path::{self, Part};
use smongo_bson::{Array, Code, Doc, Error, Result, Value, bail};

use super::cells::{Cell, cover, intervals};
use super::grid::{Grid, around};
use super::near::EARTH;
use super::shapes::{Geometry, flat_point, geojson, of_flat};
use super::sphere::Point;
use super::{Intersects, Near, Region, Within};

/// Cells that stand for a line or polygon of a document, and for a region that is searched.
const CELLS_OF_SHAPE: usize = 16;
const CELLS_OF_QUERY: usize = 32;

/// Inclusive intervals of keys.
pub type KeyRanges = Vec<(i64, i64)>;

/// What orders the geometries of an index field.
#[derive(Clone, Copy, Debug)]
pub enum GeoOrder {
    Sphere,
    Flat(Grid),
}

fn no_keys(doc: Doc<'_>, why: &Error) -> Error {
    Error::new(Code(16755), format!("Can't extract geo keys: {doc}  {}", why.message()))
}

/// What holds no place: a document all of whose values are such is not in the index.
fn is_nowhere(value: Value<'_>) -> bool {
    match value {
        Value::Array(Array(d)) | Value::Document(d) => d.is_empty(),
        v => v.is_nullish(),
    }
}

impl GeoOrder {
    /// The keys of what a document holds at a path. Null and nothing have none; 16755 for what is no geometry, 13027 for a point
    /// outside the grid.
    pub fn keys(&self, doc: Doc<'_>, path: &[Part]) -> Result<Vec<i64>> {
        let mut values = Vec::new();
        let _ = path::walk(doc, path, false, &mut |value| {
            values.push(value);
            ControlFlow::Continue(())
        });
        let mut keys = Vec::new();
        if values.iter().all(|v| is_nowhere(*v)) {
            return Ok(keys);
        }
        for value in values {
            match self {
                GeoOrder::Sphere => sphere_keys(doc, value, &mut keys),
                GeoOrder::Flat(grid) => flat_keys(*grid, doc, value, &mut keys),
            }?;
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

fn sphere_keys(doc: Doc<'_>, value: Value<'_>, keys: &mut Vec<i64>) -> Result<()> {
    let geometry = match value {
        v if v.is_nullish() => return Ok(()),
        Value::Array(a) if a.is_empty() => return Ok(()),
        Value::Document(d) if d.is_empty() => Err(smongo_bson::err!(BadValue, "unknown GeoJSON type: {{}}")),
        Value::Document(d) if d.contains("type") || d.contains("coordinates") => geojson(d),
        v => flat_point(v).map(of_flat),
    };
    let geometry = geometry.map_err(|e| no_keys(doc, &e))?;
    if geometry.only_flat {
        return Err(no_keys(doc, &smongo_bson::err!(BadValue, "Longitude/latitude is out of bounds")));
    }
    if geometry.big {
        return Err(no_keys(doc, &smongo_bson::err!(BadValue, "polygons of a strict winding order cannot be indexed")));
    }
    keys.extend(geometry.points.iter().map(|p| Cell::of(*p).id()));
    let mut shape = |meets: &dyn Fn(Point, f64) -> bool| keys.extend(cover(meets, CELLS_OF_SHAPE).into_iter().map(Cell::id));
    for line in &geometry.lines {
        shape(&|p, r| line.is_within(p, r));
    }
    for polygon in &geometry.polygons {
        shape(&|p, r| polygon.is_within(p, r));
    }
    Ok(())
}

/// A point, or a list of points.
fn flat_keys(grid: Grid, doc: Doc<'_>, value: Value<'_>, keys: &mut Vec<i64>) -> Result<()> {
    let list = match value {
        v if v.is_nullish() => return Ok(()),
        Value::Array(a) => a,
        Value::Document(d) if d.contains("coordinates") && d.contains("type") => {
            bail!(13026, "geo values must be 'legacy coordinate pairs' for 2d indexes: {}", d)
        }
        Value::Document(d) if d.is_empty() => return Ok(()),
        Value::Document(_) => Array::EMPTY,
        _ => bail!(13654, "location object expected, location array not in correct format"),
    };
    let many = list.iter().next().is_some_and(|v| matches!(v, Value::Document(_) | Value::Array(_)));
    if many {
        return list.iter().try_for_each(|v| flat_keys(grid, doc, v, keys));
    }
    if matches!(value, Value::Array(a) if a.is_empty()) {
        return Ok(());
    }
    keys.push(grid.key(flat_point(value).map_err(|e| no_keys(doc, &e))?)?);
    Ok(())
}

impl Geometry {
    fn sphere_ranges(&self) -> KeyRanges {
        intervals(&cover(&|p, r| self.is_within(p, r), CELLS_OF_QUERY))
    }
}

impl Intersects {
    pub(super) fn ranges(&self, order: &GeoOrder) -> Option<KeyRanges> {
        matches!(order, GeoOrder::Sphere).then(|| self.0.sphere_ranges())
    }
}

impl Within {
    /// `None` where the order does not help: regions of the plane and cells of the sphere have nothing to do with each other.
    pub(super) fn ranges(&self, order: &GeoOrder) -> Option<KeyRanges> {
        match (order, &self.0) {
            (GeoOrder::Sphere, Region::Cap(cap)) => Some(intervals(&cover(&|p, r| cap.center.distance(p) <= cap.radius + r, CELLS_OF_QUERY))),
            (GeoOrder::Sphere, Region::Polygons(all)) => Some(intervals(&cover(&|p, r| all.iter().any(|polygon| polygon.is_within(p, r)), CELLS_OF_QUERY))),
            (GeoOrder::Flat(grid), Region::Box { min, max }) => Some(grid.intervals((*min, *max))),
            (GeoOrder::Flat(grid), Region::Circle { center, radius }) => {
                let r = radius + radius.abs() * 1e-9 + 1e-12 * center.0.abs().max(center.1.abs());
                Some(grid.intervals(((center.0 - r, center.1 - r), (center.0 + r, center.1 + r))))
            }
            (GeoOrder::Flat(grid), Region::FlatPolygon(corners)) => {
                let fold = |f: fn(f64, f64) -> f64, start: f64| corners.iter().fold((start, start), |(x, y), c| (f(x, c.0), f(y, c.1)));
                Some(grid.intervals((fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))))
            }
            (GeoOrder::Flat(grid), Region::Cap(cap)) => Some(grid.intervals(around(cap.center.to_lng_lat(), cap.radius))),
            _ => None,
        }
    }
}

impl Near {
    /// The keys of everything within a distance, in the unit of [`Near::distance`].
    pub fn ranges(&self, order: &GeoOrder, radius: f64) -> KeyRanges {
        let angle = if self.geojson { radius / EARTH } else { radius };
        match order {
            GeoOrder::Sphere => {
                let center = Point::from_lng_lat(self.x, self.y);
                intervals(&cover(&|p, r| center.distance(p) <= angle + r, CELLS_OF_QUERY))
            }
            GeoOrder::Flat(grid) if self.spherical => grid.intervals(around((self.x, self.y), angle)),
            GeoOrder::Flat(grid) => grid.intervals(((self.x - radius, self.y - radius), (self.x + radius, self.y + radius))),
        }
    }

    /// Where a search that grows begins, and the radius beyond which there is nothing.
    pub fn radii(&self, order: &GeoOrder) -> (f64, f64) {
        let end = match order {
            _ if self.geojson => std::f64::consts::PI * EARTH * 1.001,
            _ if self.spherical => std::f64::consts::PI * 1.001,
            GeoOrder::Flat(grid) => grid.reach() + self.x.hypot(self.y),
            GeoOrder::Sphere => f64::INFINITY,
        };
        let end = end.min(self.max);
        (end / 16384.0, end)
    }
}
