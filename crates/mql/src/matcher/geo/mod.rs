//! Geospatial operators: `$geoWithin`, `$geoIntersects`, `$near`, `$nearSphere`.

mod cells;
mod chain;
mod grid;
mod keys;
mod near;
mod parse;
mod shapes;
mod sphere;

use smongo_bson::Value;

use super::FieldTest;
use shapes::{Geometry, stored};
use sphere::{Cap, Polygon};

pub use grid::Grid;
pub use keys::{GeoOrder, KeyRanges};
pub use near::Near;
pub(super) use parse::{alone, intersects, near, within};

/// Where `$geoWithin` looks.
enum Region {
    /// Opposite corners, sorted.
    Box { min: (f64, f64), max: (f64, f64) },
    Circle { center: (f64, f64), radius: f64 },
    FlatPolygon(Vec<(f64, f64)>),
    Cap(Cap),
    Polygons(Vec<Polygon>),
}

struct Within(Region);

struct Intersects(Geometry);

impl FieldTest for Within {
    fn matches(&self, value: Value<'_>) -> bool {
        stored(value).is_some_and(|g| self.0.contains(&g))
    }

    fn geo_ranges(&self, order: &GeoOrder) -> Option<KeyRanges> {
        self.ranges(order)
    }
}

impl FieldTest for Intersects {
    fn matches(&self, value: Value<'_>) -> bool {
        stored(value).is_some_and(|g| !g.only_flat && self.0.meets(&g))
    }

    fn geo_ranges(&self, order: &GeoOrder) -> Option<KeyRanges> {
        self.ranges(order)
    }
}

impl Region {
    fn contains(&self, g: &Geometry) -> bool {
        match self {
            Region::Cap(cap) => !g.only_flat && cap_contains(*cap, g),
            Region::Polygons(polygons) => !g.only_flat && polygons_contain(polygons, g),
            _ => g.flat.is_some_and(|p| self.contains_flat(p)),
        }
    }

    fn contains_flat(&self, (x, y): (f64, f64)) -> bool {
        match self {
            Region::Box { min, max } => (min.0..=max.0).contains(&x) && (min.1..=max.1).contains(&y),
            Region::Circle { center, radius } => {
                // The coordinates were rounded when they were written, and so was their difference.
                let rounding = 2.0 * f64::EPSILON * x.abs().max(y.abs()).max(center.0.abs()).max(center.1.abs());
                (x - center.0).hypot(y - center.1) <= radius + rounding
            }
            Region::FlatPolygon(corners) => flat_polygon_holds(corners, x, y),
            _ => false,
        }
    }
}

fn cap_contains(cap: Cap, g: &Geometry) -> bool {
    g.points.iter().all(|p| cap.holds(*p)) && g.lines.iter().all(|l| cap.holds_line(l)) && g.polygons.iter().all(|p| cap.holds_polygon(p))
}

/// Points on the boundary belong to a polygon.
fn polygons_contain(polygons: &[Polygon], g: &Geometry) -> bool {
    g.points.iter().all(|p| polygons.iter().any(|region| region.holds(*p)))
        && g.lines.iter().all(|l| polygons.iter().any(|region| region.holds_line(l)))
        && g.polygons.iter().all(|p| polygons.iter().any(|region| region.holds_polygon(p)))
}

/// Even-odd rule. Corners and edges parallel to an axis belong to the polygon; of other edges those count inside that lie
/// right of an odd number of edges, as in MongoDB.
fn flat_polygon_holds(corners: &[(f64, f64)], x: f64, y: f64) -> bool {
    let between = |p: f64, q: f64, v: f64| v >= p.min(q) && v <= p.max(q);
    let mut inside = false;
    for (a, b) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        let level = a.1 == b.1 && y == a.1 && between(a.0, b.0, x);
        let upright = a.0 == b.0 && x == a.0 && between(a.1, b.1, y);
        if level || upright || (x, y) == *a {
            return true;
        }
        let spans = a.1 != b.1 && y > a.1.min(b.1) && y <= a.1.max(b.1);
        if spans && (x <= a.0.max(b.0)) && (a.0 == b.0 || x <= (y - a.1) * (b.0 - a.0) / (b.1 - a.1) + a.0) {
            inside = !inside;
        }
    }
    inside
}
