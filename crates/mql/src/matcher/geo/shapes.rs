//! Geometries of documents and queries: GeoJSON and legacy coordinate pairs.

use smongo_bson::{Array, Doc, Error, Result, Value, bail, err, number};

use super::chain::Chain;
use super::sphere::{Edge, Loop, Point, Polygon};

/// A geometry: what it is on the sphere, and in the plane when it is a single point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Geometry {
    pub points: Vec<Point>,
    pub lines: Vec<Chain>,
    pub polygons: Vec<Polygon>,
    /// x and y of a point.
    pub flat: Option<(f64, f64)>,
    /// A legacy point whose coordinates are no longitude and latitude.
    pub only_flat: bool,
    /// A polygon that may be larger than a hemisphere.
    pub big: bool,
}

const STRICT: &str = "urn:x-mongodb:crs:strictwinding:EPSG:4326";
const PLAIN: &[&str] = &["urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"];

fn bad(why: &str) -> Error {
    err!(BadValue, "{why}")
}

/// The first two values of an array or document, when they are finite numbers.
pub(super) fn flat_point(value: Value<'_>) -> Result<(f64, f64)> {
    let doc = match value {
        Value::Document(d) | Value::Array(Array(d)) => d,
        _ => return Err(bad("Point must be an array or object")),
    };
    let mut coordinates = [0.0; 2];
    let mut fields = doc.iter();
    for slot in &mut coordinates {
        let value = fields.next().map_or(Value::Missing, |e| e.value());
        let Some(n) = number::to_f64(value).filter(|_| value.is_number()) else {
            return Err(bad("Point must only contain numeric elements"));
        };
        if !n.is_finite() {
            return Err(bad("Point coordinates must be finite numbers"));
        }
        *slot = n;
    }
    Ok((coordinates[0], coordinates[1]))
}

/// A legacy point in a query: nothing but two numbers.
pub(super) fn legacy_point(value: Value<'_>) -> Result<(f64, f64)> {
    let point = flat_point(value)?;
    let (Value::Document(d) | Value::Array(Array(d))) = value else { return Ok(point) };
    if d.len() > 2 {
        return Err(bad("Point must only contain two numeric elements"));
    }
    Ok(point)
}

fn is_lng_lat((x, y): (f64, f64)) -> bool {
    (-180.0..=180.0).contains(&x) && (-90.0..=90.0).contains(&y)
}

fn position(value: Value<'_>) -> Result<Point> {
    let (x, y) = flat_point(value)?;
    if !is_lng_lat((x, y)) {
        bail!(BadValue, "Longitude/latitude is out of bounds, lng: {x} lat: {y}");
    }
    Ok(Point::from_lng_lat(x, y))
}

fn items<'a>(value: Value<'a>, what: &str) -> Result<Array<'a>> {
    match value {
        Value::Array(a) => Ok(a),
        _ => bail!(BadValue, "{what} must be an array"),
    }
}

/// Positions without repetitions of the one before.
fn positions(value: Value<'_>, what: &str) -> Result<Vec<Point>> {
    let mut out: Vec<Point> = Vec::new();
    for v in items(value, what)?.iter() {
        let p = position(v)?;
        if !out.last().is_some_and(|last| last.same(p)) {
            out.push(p);
        }
    }
    Ok(out)
}

fn line(value: Value<'_>) -> Result<Chain> {
    let points = positions(value, "LineString coordinates")?;
    if points.len() < 2 {
        return Err(bad("GeoJSON LineString must have at least 2 vertices"));
    }
    let line = Chain::new(points, false);
    if line.edges().any(|Edge(a, b)| a.dot(b) < -1.0 + 1e-15) {
        return Err(bad("GeoJSON LineString has antipodal vertices next to each other"));
    }
    Ok(line)
}

fn ring(value: Value<'_>, oriented: bool) -> Result<Loop> {
    let list = items(value, "Polygon coordinates")?;
    if list.len() < 4 {
        return Err(bad("Loop must have at least 4 vertices, the last the same as the first"));
    }
    let mut points = positions(value, "Polygon coordinates")?;
    let closed = matches!((points.first(), points.last()), (Some(a), Some(b)) if a.same(*b));
    if points.len() < 2 || !closed {
        return Err(bad("Loop is not closed"));
    }
    points.pop();
    if points.len() < 3 {
        return Err(bad("Loop must have at least 3 different vertices"));
    }
    let ring = Loop::new(points, oriented);
    if ring.is_crossed() {
        return Err(bad("Loop is not valid: edges cross or vertices are repeated"));
    }
    Ok(ring)
}

fn polygon(value: Value<'_>, oriented: bool) -> Result<Polygon> {
    let mut rings = Vec::new();
    for v in items(value, "Polygon coordinates")?.iter() {
        rings.push(ring(v, oriented)?);
    }
    if oriented && rings.len() > 1 {
        return Err(bad("Only one simple loop is allowed in a polygon with a strict winding order"));
    }
    let mut rings = rings.into_iter();
    let Some(shell) = rings.next() else { return Err(bad("Polygon has no loops")) };
    let holes: Vec<Loop> = rings.collect();
    for (i, hole) in holes.iter().enumerate() {
        let outside = hole.vertices().iter().any(|v| !shell.on_boundary(*v) && !shell.contains(*v));
        if outside || hole.edges().any(|e| shell.on_boundary(e.middle()) || shell.line().any_near(e, |s| s.crosses(e))) {
            return Err(bad("Secondary loops not contained by first exterior loop - secondary loops must be holes"));
        }
        if holes.iter().take(i).any(|other| hole.line().any_pair(other.line(), Edge::crosses)) {
            return Err(bad("Polygon holes intersect"));
        }
    }
    Ok(Polygon { shell, holes })
}

fn list<T>(value: Value<'_>, what: &str, parse: impl Fn(Value<'_>) -> Result<T>) -> Result<Vec<T>> {
    let out = items(value, what)?.iter().map(parse).collect::<Result<Vec<T>>>()?;
    if out.is_empty() {
        bail!(BadValue, "{what} must have at least 1 element");
    }
    Ok(out)
}

/// Whether the geometry demands a strict winding order.
fn crs(d: Doc<'_>) -> Result<bool> {
    let crs = match d.get("crs") {
        Value::Missing => return Ok(false),
        Value::Document(crs) => crs,
        _ => return Err(bad("GeoJSON CRS must be an object")),
    };
    if crs.get("type").as_str() != Some("name") {
        return Err(bad("GeoJSON CRS must have field \"type\": \"name\""));
    }
    let Value::Document(properties) = crs.get("properties") else { return Err(bad("CRS must have field \"properties\" which is an object")) };
    match properties.get("name") {
        Value::String(STRICT) => Ok(true),
        Value::String(name) if PLAIN.contains(&name) => Ok(false),
        Value::String(name) => bail!(BadValue, "Unknown CRS name: {name}"),
        _ => Err(bad("In CRS, \"properties.name\" must be a string")),
    }
}

/// A GeoJSON object.
pub(super) fn geojson(d: Doc<'_>) -> Result<Geometry> {
    let Value::String(kind) = d.get("type") else { return Err(bad("GeoJSON type must be a string")) };
    let strict = crs(d)?;
    if strict && kind != "Polygon" {
        return Err(bad("Strict winding order is only supported by polygon"));
    }
    let mut g = Geometry { big: strict, ..Geometry::default() };
    let at = d.get("coordinates");
    match kind {
        "Point" => {
            g.points.push(position(at)?);
            g.flat = Some(flat_point(at)?);
        }
        "MultiPoint" => g.points = list(at, "MultiPoint coordinates", position)?,
        "LineString" => g.lines.push(line(at)?),
        "MultiLineString" => g.lines = list(at, "MultiLineString coordinates", line)?,
        "Polygon" => g.polygons.push(polygon(at, strict)?),
        "MultiPolygon" => g.polygons = list(at, "MultiPolygon coordinates", |v| polygon(v, false))?,
        "GeometryCollection" => {
            let parts = list(d.get("geometries"), "GeometryCollection geometries", |v| match v {
                Value::Document(inner) if inner.get("type").as_str() == Some("GeometryCollection") => {
                    Err(bad("GeometryCollections cannot be nested"))
                }
                Value::Document(inner) => geojson(inner),
                _ => Err(bad("GeometryCollection geometries must be objects")),
            })?;
            for part in parts {
                g.points.extend(part.points);
                g.lines.extend(part.lines);
                g.polygons.extend(part.polygons);
            }
        }
        other => bail!(BadValue, "Unknown GeoJSON type: {other}"),
    }
    Ok(g)
}

/// A legacy point, on the sphere too when its coordinates are longitude and latitude.
pub(super) fn of_flat(point: (f64, f64)) -> Geometry {
    let valid = is_lng_lat(point);
    let points = if valid { vec![Point::from_lng_lat(point.0, point.1)] } else { Vec::new() };
    Geometry { points, flat: Some(point), only_flat: !valid, ..Geometry::default() }
}

/// The geometry a document holds; `None` when the value is none.
pub(crate) fn stored(value: Value<'_>) -> Option<Geometry> {
    match value {
        Value::Document(d) if matches!(d.get("type"), Value::String(_)) => geojson(d).ok().filter(|g| !g.big),
        Value::Document(_) | Value::Array(_) => flat_point(value).ok().map(of_flat),
        _ => None,
    }
}

impl Geometry {
    /// Whether the geometries have a point in common.
    pub fn meets(&self, o: &Geometry) -> bool {
        self.meets_one_way(o) || o.meets_one_way(self) || self.lines.iter().any(|a| o.lines.iter().any(|b| a.any_pair(b, Edge::touches)))
            || self.polygons.iter().any(|a| o.polygons.iter().any(|b| a.meets_polygon(b)))
            || self.points.iter().any(|p| o.points.iter().any(|q| p.same(*q)))
    }

    /// This one's points and lines against the other's lines and polygons.
    fn meets_one_way(&self, o: &Geometry) -> bool {
        self.points.iter().any(|p| o.lines.iter().any(|l| l.holds(*p)) || o.polygons.iter().any(|g| g.holds(*p)))
            || self.lines.iter().any(|l| o.polygons.iter().any(|g| g.meets_line(l)))
    }

    /// The distance of a point from the nearest part, in radians.
    pub fn distance(&self, p: Point) -> f64 {
        let points = self.points.iter().map(|q| q.distance(p));
        let lines = self.lines.iter().map(|l| l.distance(p));
        let polygons = self.polygons.iter().map(|g| g.distance(p));
        points.chain(lines).chain(polygons).fold(f64::INFINITY, f64::min)
    }

    /// Whether a part is so near to a point.
    pub fn is_within(&self, p: Point, radius: f64) -> bool {
        self.points.iter().any(|q| q.distance(p) <= radius)
            || self.lines.iter().any(|l| l.is_within(p, radius))
            || self.polygons.iter().any(|g| g.is_within(p, radius))
    }
}
