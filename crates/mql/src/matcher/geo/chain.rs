//! Lines of many edges: boxes around runs of them, so that a question about a place looks at the edges near it and not at all.

use super::sphere::{Edge, Point, SAME};

/// Edges in a box of the lowest level; a line of as few has no boxes at all.
const RUN: usize = 8;

/// A line of geodesics, open or closed.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    points: Vec<Point>,
    closed: bool,
    /// Boxes around the first edges, the next …, and then around neighbours among these, level by level; the last one is around all.
    boxes: Vec<Bounds>,
}

/// A box in space around a part of the sphere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    low: [f64; 3],
    high: [f64; 3],
}

impl Bounds {
    fn of(e: Edge) -> Bounds {
        let (Point(a), Point(b)) = (e.0, e.1);
        // So far a geodesic bulges out of its chord; and room for what counts as the same place.
        let bulge = 1.0 - ((1.0 + e.0.dot(e.1)).max(0.0) / 2.0).sqrt() + 2.0 * SAME;
        Bounds { low: std::array::from_fn(|i| a[i].min(b[i]) - bulge), high: std::array::from_fn(|i| a[i].max(b[i]) + bulge) }
    }

    fn joined(self, o: Bounds) -> Bounds {
        Bounds { low: std::array::from_fn(|i| self.low[i].min(o.low[i])), high: std::array::from_fn(|i| self.high[i].max(o.high[i])) }
    }

    fn holds(self, p: Point) -> bool {
        (0..3).all(|i| self.low[i] <= p.0[i] && p.0[i] <= self.high[i])
    }

    fn meets(self, o: Bounds) -> bool {
        (0..3).all(|i| self.low[i] <= o.high[i] && o.low[i] <= self.high[i])
    }

    /// Whether the plane through the centre with this normal cuts the box.
    fn is_cut(self, normal: Point) -> bool {
        let (mut middle, mut reach) = (0.0, 0.0);
        for i in 0..3 {
            middle += (self.low[i] + self.high[i]) * normal.0[i];
            reach += (self.high[i] - self.low[i]) * normal.0[i].abs();
        }
        f64::abs(middle) <= reach
    }

    /// At most the distance of a point from anything in the box, in radians: a chord is shorter than its arc.
    fn distance(self, p: Point) -> f64 {
        let off = |i: usize| (self.low[i] - p.0[i]).max(p.0[i] - self.high[i]).max(0.0);
        (0..3).map(|i| off(i) * off(i)).sum::<f64>().sqrt()
    }
}

impl Chain {
    pub fn new(points: Vec<Point>, closed: bool) -> Chain {
        let mut chain = Chain { points, closed, boxes: Vec::new() };
        if chain.count() <= RUN {
            return chain;
        }
        let around = |edges: &mut dyn Iterator<Item = Edge>| edges.map(Bounds::of).reduce(Bounds::joined);
        let runs = 0..chain.count().div_ceil(RUN);
        let mut boxes: Vec<Bounds> = runs.filter_map(|r| around(&mut chain.range(r * RUN, RUN).map(|(_, e)| e))).collect();
        let mut level = 0;
        while boxes.len() - level > 1 {
            let next = boxes.len();
            for at in (level..next).step_by(2) {
                let pair = boxes.iter().copied().take(next).skip(at).take(2).reduce(Bounds::joined);
                boxes.extend(pair);
            }
            level = next;
        }
        chain.boxes = boxes;
        chain
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    fn count(&self) -> usize {
        if self.closed { self.points.len() } else { self.points.len().saturating_sub(1) }
    }

    fn edge(&self, at: usize) -> Option<Edge> {
        let next = if at + 1 == self.points.len() { 0 } else { at + 1 };
        Some(Edge(*self.points.get(at)?, *self.points.get(next)?))
    }

    /// Edges by their numbers.
    fn range(&self, from: usize, count: usize) -> impl Iterator<Item = (usize, Edge)> + '_ {
        (from..(from + count).min(self.count())).filter_map(|at| Some((at, self.edge(at)?)))
    }

    pub fn edges(&self) -> impl Iterator<Item = Edge> + Clone + '_ {
        (0..self.count()).filter_map(|at| self.edge(at))
    }

    /// Visits edges in boxes that may matter, until `visit` says that it is enough; whether it did.
    fn search(&self, may: &mut dyn FnMut(&Chain, Bounds) -> bool, visit: &mut dyn FnMut(usize, Edge) -> bool) -> bool {
        if self.boxes.is_empty() {
            return self.range(0, self.count()).any(|(at, e)| visit(at, e));
        }
        // The levels' first boxes, the lowest level's first.
        let (mut levels, mut size) = (vec![0], self.count().div_ceil(RUN));
        while size > 1 {
            levels.push(levels.last().map_or(0, |l| l + size));
            size = size.div_ceil(2);
        }
        let mut open = vec![(levels.len() - 1, 0usize)];
        while let Some((level, at)) = open.pop() {
            let Some(bounds) = levels.get(level).and_then(|first| self.boxes.get(first + at)) else { continue };
            // Behind a level's last box comes the next level's first.
            let behind = levels.get(level + 1).is_some_and(|next| levels.get(level).is_some_and(|first| first + at >= *next));
            if behind || !may(self, *bounds) {
                continue;
            }
            match level.checked_sub(1) {
                Some(below) => open.extend([(below, at * 2 + 1), (below, at * 2)]),
                None if self.range(at * RUN, RUN).any(|(at, e)| visit(at, e)) => return true,
                None => {}
            }
        }
        false
    }

    /// Whether the point lies on the line.
    pub fn holds(&self, p: Point) -> bool {
        self.search(&mut |_, b| b.holds(p), &mut |_, e| e.holds(p))
    }

    /// Whether an edge near another one passes a test.
    pub fn any_near(&self, e: Edge, mut test: impl FnMut(Edge) -> bool) -> bool {
        let around = Bounds::of(e);
        self.search(&mut |_, b| b.meets(around), &mut |_, own| test(own))
    }

    /// Whether two edges, one of each line, pass a test that only edges pass which are near each other.
    pub fn any_pair(&self, o: &Chain, test: impl Fn(Edge, Edge) -> bool) -> bool {
        let (few, many) = if self.count() <= o.count() { (self, o) } else { (o, self) };
        let Some(all) = many.bounds() else { return false };
        few.search(&mut |_, b| b.meets(all), &mut |_, e| many.any_near(e, |f| test(e, f)))
    }

    fn bounds(&self) -> Option<Bounds> {
        self.boxes.last().copied().or_else(|| self.edges().map(Bounds::of).reduce(Bounds::joined))
    }

    /// How many edges cut one that is given.
    pub fn cuts(&self, by: Edge) -> usize {
        let (around, normal) = (Bounds::of(by), by.0.cross(by.1));
        let mut count = 0;
        self.search(&mut |_, b| b.meets(around) && b.is_cut(normal), &mut |_, e| {
            count += usize::from(e.cuts(by));
            false
        });
        count
    }

    /// Whether two edges meet that are not neighbours.
    pub fn meets_itself(&self) -> bool {
        let n = self.count();
        self.range(0, n).any(|(i, a)| {
            let around = Bounds::of(a);
            let apart = |j: usize| j > i + 1 && !(self.closed && i == 0 && j == n - 1);
            self.search(&mut |_, b| b.meets(around), &mut |j, b| apart(j) && a.touches(b))
        })
    }

    /// The distance of a point from the line, in radians.
    pub fn distance(&self, p: Point) -> f64 {
        let best = std::cell::Cell::new(f64::INFINITY);
        self.search(&mut |_, b| b.distance(p) <= best.get(), &mut |_, e| {
            best.set(best.get().min(e.distance(p)));
            false
        });
        best.get()
    }

    /// Whether the line comes so near to a point.
    pub fn is_within(&self, p: Point, radius: f64) -> bool {
        self.search(&mut |_, b| b.distance(p) <= radius, &mut |_, e| e.distance(p) <= radius)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that winds around the globe, with more edges than one box holds.
    fn winding(n: usize, closed: bool) -> Chain {
        let at = |i: usize| {
            let t = i as f64 / n as f64 * std::f64::consts::TAU;
            Point::from_lng_lat(t.to_degrees() - 180.0, 40.0 * (5.0 * t).sin() + 20.0 * (17.0 * t).cos())
        };
        Chain::new((0..n).map(at).collect(), closed)
    }

    #[test]
    fn boxes_change_no_answer() {
        for n in [3, 8, 9, 16, 17, 63, 64, 65, 400] {
            for closed in [false, true] {
                let chain = winding(n, closed);
                let edges: Vec<Edge> = chain.edges().collect();
                assert_eq!(edges.len(), if closed { n } else { n - 1 });
                for k in 0..200 {
                    let p = Point::from_lng_lat(f64::from(k) * 1.8 - 180.0, f64::from(k * 37 % 180) - 90.0);
                    let q = edges[k as usize % edges.len()].middle();
                    let nearest = edges.iter().map(|e| e.distance(p)).fold(f64::INFINITY, f64::min);
                    assert!((chain.distance(p) - nearest).abs() < 1e-12, "{n} {k}");
                    assert!(chain.is_within(p, nearest + 1e-9) && !chain.is_within(p, nearest - 1e-9));
                    assert!(chain.holds(q) && !chain.holds(p) == (nearest > SAME));
                    assert_eq!(chain.cuts(Edge(p, q)), edges.iter().filter(|e| e.cuts(Edge(p, q))).count(), "{n} {k}");
                    let touched = edges.iter().any(|e| e.touches(Edge(p, q)));
                    assert_eq!(chain.any_near(Edge(p, q), |e| e.touches(Edge(p, q))), touched);
                }
            }
        }
    }
}
