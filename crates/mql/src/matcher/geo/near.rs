//! `$near` and `$nearSphere`: distances, for whoever orders documents by them.

use std::ops::ControlFlow;

use smongo_bson::{Doc, Result, Value, bail};
use smongo_bson::path::{self, Path};

use super::keys::GeoOrder;
use super::shapes::stored;
use super::sphere::Point;

/// The earth's radius in metres, as MongoDB computes with.
pub(super) const EARTH: f64 = 6_378_100.0;

/// A point near which documents are wanted. Results come in the order of [`Near::distance`].
pub struct Near {
    pub path: Path,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Given as GeoJSON: distances are metres on the sphere.
    pub(super) geojson: bool,
    /// `$nearSphere`, or GeoJSON: the sphere instead of the plane.
    pub(super) spherical: bool,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Near {
    /// What `$geoNear` asks for; the path is filled in when the index is known.
    pub(crate) fn for_stage(near: Value<'_>, spherical: bool, min: f64, max: f64) -> Result<Near> {
        super::parse::near_of_stage(near, spherical, min, max)
    }

    /// Whether the point lies where the index has an order: 16433.
    pub fn check(&self, order: &GeoOrder) -> Result<()> {
        match order {
            GeoOrder::Flat(grid) => match grid.key((self.x, self.y)) {
                Ok(_) => Ok(()),
                Err(e) => bail!(16433, "{}", e.message()),
            },
            GeoOrder::Sphere => Ok(()),
        }
    }

    /// The kinds of index on the path of which one must exist: without it the query has no plan (291).
    pub fn index_kinds(&self) -> &'static [&'static str] {
        match (self.geojson, self.spherical) {
            (true, _) => &["2dsphere"],
            (false, true) => &["2d", "2dsphere"],
            (false, false) => &["2d"],
        }
    }

    /// The nearest of the document's geometries at the path within the distances asked for: in metres when the point was
    /// given as GeoJSON, in radians for `$nearSphere` with a legacy point, in the plane's unit else. `None`: no match.
    pub fn distance(&self, doc: Doc<'_>) -> Option<f64> {
        self.nearest(doc, &GeoOrder::Sphere).map(|(distance, _)| distance)
    }

    /// The same with the geometry it is the distance of. By a `2d` index MongoDB computes angles another way, which differs in
    /// the last digit.
    pub fn nearest<'a>(&self, doc: Doc<'a>, order: &GeoOrder) -> Option<(f64, Value<'a>)> {
        let mut best: Option<(f64, Value<'a>)> = None;
        let _ = path::walk(doc, self.path.parts(), true, &mut |value| {
            let found = stored(value).and_then(|g| {
                if self.spherical {
                    let unit = if self.geojson { EARTH } else { 1.0 };
                    let center = Point::from_lng_lat(self.x, self.y);
                    match (order, g.points.as_slice()) {
                        (GeoOrder::Flat(_), [only]) => Some(center.chord_distance(*only)),
                        _ => (!g.only_flat).then(|| g.distance(center) * unit),
                    }
                } else {
                    g.flat.map(|(x, y)| (x - self.x).hypot(y - self.y))
                }
            });
            if let Some(d) = found.filter(|d| (self.min..=self.max).contains(d)) {
                best = Some(best.filter(|(b, _)| *b <= d).unwrap_or((d, value)));
            }
            ControlFlow::Continue(())
        });
        best
    }
}
