//! Geometry on the unit sphere: points, geodesic edges, polygons, caps.

use std::f64::consts::PI;

use super::chain::Chain;

/// What counts as the same place, in radians: about six millimetres on the earth.
pub(super) const SAME: f64 = 1e-9;

/// A point on the unit sphere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point(pub [f64; 3]);

impl Point {
    /// From degrees.
    pub fn from_lng_lat(lng: f64, lat: f64) -> Point {
        let (lng, lat) = (lng.to_radians(), lat.to_radians());
        Point([lat.cos() * lng.cos(), lat.cos() * lng.sin(), lat.sin()])
    }

    /// In degrees.
    pub fn to_lng_lat(self) -> (f64, f64) {
        let [x, y, z] = self.0;
        (y.atan2(x).to_degrees(), z.atan2(x.hypot(y)).to_degrees())
    }

    pub fn dot(self, o: Point) -> f64 {
        let ([a, b, c], [x, y, z]) = (self.0, o.0);
        a * x + b * y + c * z
    }

    pub fn cross(self, o: Point) -> Point {
        let ([a, b, c], [x, y, z]) = (self.0, o.0);
        Point([b * z - c * y, c * x - a * z, a * y - b * x])
    }

    fn norm(self) -> f64 {
        self.dot(self).sqrt()
    }

    pub fn unit(self) -> Point {
        let n = self.norm();
        if n == 0.0 { self } else { self.scaled(1.0 / n) }
    }

    fn scaled(self, k: f64) -> Point {
        let [a, b, c] = self.0;
        Point([a * k, b * k, c * k])
    }

    fn plus(self, o: Point) -> Point {
        let ([a, b, c], [x, y, z]) = (self.0, o.0);
        Point([a + x, b + y, c + z])
    }

    /// The angle between two points, in radians.
    pub fn distance(self, o: Point) -> f64 {
        self.cross(o).norm().atan2(self.dot(o))
    }

    /// The same by the length of the chord, as MongoDB computes it over `2d` indexes: it differs in the last digit.
    pub fn chord_distance(self, o: Point) -> f64 {
        2.0 * (self.plus(o.scaled(-1.0)).norm() / 2.0).min(1.0).asin()
    }

    pub fn same(self, o: Point) -> bool {
        self.distance(o) <= SAME
    }
}

/// A geodesic between two points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge(pub Point, pub Point);

impl Edge {
    pub fn middle(self) -> Point {
        self.0.plus(self.1).unit()
    }

    /// Distance of a point from the edge, in radians.
    pub fn distance(self, p: Point) -> f64 {
        let normal = self.0.cross(self.1);
        if normal.norm() > 0.0 {
            let n = normal.unit();
            // The foot of the perpendicular lies within the edge when it is on the inner side of both ends.
            if n.cross(self.0).dot(p) >= 0.0 && self.1.cross(n).dot(p) >= 0.0 {
                return p.distance(p.plus(n.scaled(-n.dot(p))).unit());
            }
        }
        p.distance(self.0).min(p.distance(self.1))
    }

    pub fn holds(self, p: Point) -> bool {
        self.distance(p) <= SAME
    }

    /// Whether the edges cross at inner points of both: touching is not crossing.
    pub fn crosses(self, o: Edge) -> bool {
        self.cuts(o) && !(self.holds(o.0) || self.holds(o.1) || o.holds(self.0) || o.holds(self.1))
    }

    /// The same by the signs of the corners alone, which near them is a matter of rounding.
    pub(super) fn cuts(self, o: Edge) -> bool {
        let (n, m) = (self.0.cross(self.1), o.0.cross(o.1));
        let (a, b) = (n.dot(o.0), n.dot(o.1));
        let (c, d) = (m.dot(self.0), m.dot(self.1));
        if a * b >= 0.0 || c * d >= 0.0 {
            return false;
        }
        // Two great circles meet in two opposite points; the edges cross when both hold the same one.
        let meet = n.cross(m).unit();
        let meet = if meet.dot(self.middle()) < 0.0 { meet.scaled(-1.0) } else { meet };
        self.holds(meet) && o.holds(meet)
    }

    /// Whether the edges have a point in common.
    pub fn touches(self, o: Edge) -> bool {
        self.cuts(o) || self.holds(o.0) || self.holds(o.1) || o.holds(self.0) || o.holds(self.1)
    }
}

/// A closed line of geodesics; its inside is to the left.
#[derive(Clone, Debug)]
pub(crate) struct Loop {
    line: Chain,
    /// A point off the line, and whether it is inside.
    reference: (Point, bool),
}

impl Loop {
    /// From at least three distinct vertices, the last not repeating the first. Without `oriented` the smaller side is the inside.
    pub fn new(mut vertices: Vec<Point>, oriented: bool) -> Loop {
        if !oriented && area_left(&vertices) > 2.0 * PI {
            vertices.reverse();
        }
        let line = Chain::new(vertices, true);
        let reference = (inner_point(&line), true);
        Loop { line, reference }
    }

    pub fn line(&self) -> &Chain {
        &self.line
    }

    pub fn edges(&self) -> impl Iterator<Item = Edge> + Clone + '_ {
        self.line.edges()
    }

    pub fn vertices(&self) -> &[Point] {
        self.line.points()
    }

    pub fn on_boundary(&self, p: Point) -> bool {
        self.line.holds(p)
    }

    /// Whether the point is inside; on the boundary the answer is either.
    pub fn contains(&self, p: Point) -> bool {
        let (from, inside) = self.reference;
        // By way of a third point, so that no leg is close to half a circle.
        let via = from.cross(p).plus(from).plus(p.scaled(0.5)).plus(Point([1e-3, 2e-3, 5e-3])).unit();
        let crossings = self.line.cuts(Edge(from, via)) + self.line.cuts(Edge(via, p));
        inside != (crossings % 2 == 1)
    }

    /// Whether two edges that are not neighbours meet, or a vertex occurs twice.
    pub fn is_crossed(&self) -> bool {
        self.line.meets_itself()
    }
}

/// The area to the left, in 0 … 4π.
fn area_left(vertices: &[Point]) -> f64 {
    let Some((first, rest)) = vertices.split_first() else { return 0.0 };
    let pairs = rest.iter().zip(rest.iter().skip(1));
    let sum: f64 = pairs.map(|(b, c)| triangle(*first, *b, *c)).sum();
    sum.rem_euclid(4.0 * PI)
}

/// The signed area of a triangle, counter-clockwise positive.
fn triangle(a: Point, b: Point, c: Point) -> f64 {
    2.0 * a.dot(b.cross(c)).atan2(1.0 + a.dot(b) + b.dot(c) + c.dot(a))
}

/// A point just to the left of the longest edge.
fn inner_point(line: &Chain) -> Point {
    let longest = line.edges().max_by(|a, b| a.0.distance(a.1).total_cmp(&b.0.distance(b.1)));
    let Some(e) = longest else { return Point([1.0, 0.0, 0.0]) };
    let left = e.0.cross(e.1).unit();
    // Off the middle, so that regular shapes do not send test lines through their own corners.
    let middle = e.0.scaled(0.47).plus(e.1.scaled(0.53)).unit();
    middle.plus(left.scaled(e.0.distance(e.1) * 1e-6)).unit()
}

/// A loop and the holes in it.
#[derive(Clone, Debug)]
pub(crate) struct Polygon {
    pub shell: Loop,
    pub holes: Vec<Loop>,
}

impl Polygon {
    pub fn loops(&self) -> impl Iterator<Item = &Loop> {
        std::iter::once(&self.shell).chain(&self.holes)
    }

    /// Whether an edge near another one passes a test.
    fn any_near(&self, e: Edge, test: impl Fn(Edge) -> bool) -> bool {
        self.loops().any(|l| l.line.any_near(e, &test))
    }

    pub fn on_boundary(&self, p: Point) -> bool {
        self.loops().any(|l| l.on_boundary(p))
    }

    /// Inside and not on the boundary.
    pub fn holds_inside(&self, p: Point) -> bool {
        !self.on_boundary(p) && self.shell.contains(p) && !self.holes.iter().any(|h| h.contains(p))
    }

    /// Inside or on the boundary.
    pub fn holds(&self, p: Point) -> bool {
        self.on_boundary(p) || (self.shell.contains(p) && !self.holes.iter().any(|h| h.contains(p)))
    }

    fn holds_edge(&self, e: Edge) -> bool {
        self.holds(e.0) && self.holds(e.1) && self.holds(e.middle()) && !self.any_near(e, |b| b.crosses(e))
    }

    /// Whether the line lies within, touching the boundary at most.
    pub fn holds_line(&self, line: &Chain) -> bool {
        line.edges().all(|e| self.holds_edge(e))
    }

    /// Whether the other polygon lies within.
    pub fn holds_polygon(&self, o: &Polygon) -> bool {
        o.shell.edges().all(|e| self.holds_edge(e)) && !self.holes.iter().any(|h| h.vertices().iter().any(|v| o.holds_inside(*v)))
    }

    pub fn meets_line(&self, line: &Chain) -> bool {
        line.points().iter().any(|p| self.holds(*p)) || self.loops().any(|l| l.line.any_pair(line, Edge::touches))
    }

    /// Whether the polygons overlap; those that only touch do not.
    pub fn meets_polygon(&self, o: &Polygon) -> bool {
        let any_pair = |test: fn(Edge, Edge) -> bool| self.loops().any(|l| o.loops().any(|m| l.line.any_pair(&m.line, test)));
        if any_pair(Edge::crosses) {
            return true;
        }
        let touching = any_pair(Edge::touches);
        let reaches_into = |a: &Polygon, b: &Polygon| {
            if !touching {
                // Lines without a common point lie on one side of each other.
                return a.shell.vertices().first().is_some_and(|v| b.holds_inside(*v));
            }
            b.holds_inside(a.shell.reference.0) || a.shell.edges().any(|e| b.holds_inside(e.0) || b.holds_inside(e.middle()))
        };
        reaches_into(self, o) || reaches_into(o, self)
    }

    /// Distance of a point from the polygon, in radians; 0 inside.
    pub fn distance(&self, p: Point) -> f64 {
        if self.holds(p) { 0.0 } else { self.loops().map(|l| l.line.distance(p)).fold(f64::INFINITY, f64::min) }
    }

    /// Whether the polygon has a point so near to one that is given.
    pub fn is_within(&self, p: Point, radius: f64) -> bool {
        self.loops().any(|l| l.line.is_within(p, radius)) || self.holds(p)
    }
}

/// All points within an angle of a centre.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cap {
    pub center: Point,
    /// Radians.
    pub radius: f64,
}

impl Cap {
    pub fn holds(self, p: Point) -> bool {
        self.center.distance(p) <= self.radius + 1e-15
    }

    /// The middle and the radius of what is outside, where that is the smaller part: there a line may leave between points that are inside.
    fn hollow(self) -> Option<(Point, f64)> {
        (self.radius > PI / 2.0).then(|| (self.center.scaled(-1.0), PI - self.radius))
    }

    pub fn holds_line(self, line: &Chain) -> bool {
        match self.hollow() {
            Some((middle, radius)) => radius <= 0.0 || line.distance(middle) >= radius,
            None => line.points().iter().all(|p| self.holds(*p)),
        }
    }

    pub fn holds_polygon(self, polygon: &Polygon) -> bool {
        match self.hollow() {
            Some((middle, radius)) => radius <= 0.0 || polygon.distance(middle) >= radius,
            None => polygon.shell.vertices().iter().all(|p| self.holds(*p)),
        }
    }
}
