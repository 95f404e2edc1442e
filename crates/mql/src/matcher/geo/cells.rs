//! Cells over the sphere: what a `2dsphere` index orders geometries by.
//!
//! The sphere is seen from the centre of a cube. Each of its faces is a cell of level 0, and every cell has four children, down
//! to level 30 (about a centimetre). A cell's id is its face, the interleaved bits of its position, and a bit that marks the
//! level, so that the ids of all cells within a cell form one interval. Interleaving instead of a Hilbert curve costs a few
//! more intervals for a region and needs no tables.

use super::sphere::Point;

const LEVELS: u8 = 30;

/// Room for rounding and for what geometries count as the same place.
const SLACK: f64 = 1e-8;

/// A square of a cube's face, seen on the sphere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    face: u8,
    level: u8,
    i: u32,
    j: u32,
}

/// Bits moved apart: the bit n to the place 2n.
fn spread(n: u32) -> u64 {
    let mut x = u64::from(n);
    for (shift, mask) in [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f), (2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)] {
        x = (x | (x << shift)) & mask;
    }
    x
}

pub(super) fn interleave(i: u32, j: u32) -> u64 {
    spread(i) << 1 | spread(j)
}

impl Cell {
    /// The smallest cell that holds a point.
    pub fn of(p: Point) -> Cell {
        let axis = (0..3).max_by(|a, b| p.0[*a].abs().total_cmp(&p.0[*b].abs())).unwrap_or(0);
        let depth = p.0[axis].abs();
        let position = |n: usize| {
            let s = (p.0[(axis + n) % 3] / depth + 1.0) / 2.0;
            ((s * f64::from(1u32 << LEVELS)) as u32).min((1 << LEVELS) - 1)
        };
        let face = axis as u8 + if p.0[axis] < 0.0 { 3 } else { 0 };
        Cell { face, level: LEVELS, i: position(1), j: position(2) }
    }

    fn faces() -> Vec<Cell> {
        (0..6).map(|face| Cell { face, level: 0, i: 0, j: 0 }).collect()
    }

    fn children(self) -> impl Iterator<Item = Cell> {
        (0..4).map(move |n| Cell { face: self.face, level: self.level + 1, i: self.i * 2 + n / 2, j: self.j * 2 + n % 2 })
    }

    /// The point at a fraction of the cell's sides.
    fn point(self, s: f64, t: f64) -> Point {
        let side = 2.0 / f64::from(1u32 << self.level);
        let axis = usize::from(self.face % 3);
        let mut p = [0.0; 3];
        p[axis] = if self.face < 3 { 1.0 } else { -1.0 };
        p[(axis + 1) % 3] = (f64::from(self.i) + s) * side - 1.0;
        p[(axis + 2) % 3] = (f64::from(self.j) + t) * side - 1.0;
        Point(p).unit()
    }

    /// A circle around the cell: its centre and its radius in radians. Its sides are geodesics, so the corners decide.
    fn circle(self) -> (Point, f64) {
        let center = self.point(0.5, 0.5);
        let corners = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)];
        (center, corners.iter().map(|(s, t)| self.point(*s, *t).distance(center)).fold(0.0, f64::max) + SLACK)
    }

    /// The least bit that is set in the id.
    fn mark(self) -> u64 {
        1 << (2 * (LEVELS - self.level))
    }

    pub fn id(self) -> i64 {
        // As a signed number the faces from 4 on come first; no interval runs from one face to another.
        (u64::from(self.face) << 61 | interleave(self.i, self.j) << (2 * (LEVELS - self.level) + 1) | self.mark()) as i64
    }

    /// The ids of all cells within this one.
    fn within(self) -> (i64, i64) {
        let reach = self.mark() as i64 - 1;
        (self.id() - reach, self.id() + reach)
    }

    fn parent(self) -> Option<Cell> {
        let level = self.level.checked_sub(1)?;
        Some(Cell { face: self.face, level, i: self.i / 2, j: self.j / 2 })
    }
}

/// At most `most` cells (but never less than what begins on the faces) that hold all of a region. `meets` tells whether
/// the region may have a point within a circle.
pub(super) fn cover(meets: &dyn Fn(Point, f64) -> bool, most: usize) -> Vec<Cell> {
    let near = |c: &Cell| {
        let (center, radius) = c.circle();
        meets(center, radius)
    };
    let mut cells: Vec<Cell> = Cell::faces().into_iter().filter(|c| near(c)).collect();
    while cells.first().is_some_and(|c| c.level < LEVELS) {
        let finer: Vec<Cell> = cells.iter().flat_map(|c| c.children()).filter(|c| near(c)).collect();
        if finer.len() > most || finer.is_empty() {
            break;
        }
        cells = finer;
    }
    cells
}

/// The intervals of ids by which a geometry in the cells is found: everything within them, and the larger cells they lie in.
pub(super) fn intervals(cells: &[Cell]) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = cells.iter().map(|c| c.within()).collect();
    for cell in cells {
        let mut at = *cell;
        while let Some(parent) = at.parent() {
            all.push((parent.id(), parent.id()));
            at = parent;
        }
    }
    joined(all)
}

/// Sorted intervals, neighbours and overlaps joined.
pub(super) fn joined(mut all: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    all.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::with_capacity(all.len());
    for (low, high) in all {
        match out.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => out.push((low, high)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_its_points_and_its_children() {
        for (lng, lat) in [(0.0, 0.0), (45.0, 45.0), (-179.9, -89.9), (180.0, 0.0), (13.4, 52.5), (-73.97, 40.77), (0.0, 90.0)] {
            let leaf = Cell::of(Point::from_lng_lat(lng, lat));
            let mut at = leaf;
            while let Some(parent) = at.parent() {
                let (low, high) = parent.within();
                assert!(low <= leaf.id() && leaf.id() <= high && low <= at.id() && at.id() <= high);
                let (center, radius) = parent.circle();
                assert!(Point::from_lng_lat(lng, lat).distance(center) <= radius, "{lng} {lat} level {}", parent.level);
                at = parent;
            }
        }
    }

    #[test]
    fn a_cover_finds_what_lies_in_it() {
        let center = Point::from_lng_lat(13.4, 52.5);
        for radius in [1e-7, 1e-3, 0.1, 2.0] {
            let found = intervals(&cover(&|p, r| center.distance(p) <= radius + r, 24));
            for (dx, dy) in [(0.0, 0.0), (0.9, 0.0), (0.0, -0.9), (0.6, 0.6)] {
                let p = Point::from_lng_lat(13.4 + dx * f64::to_degrees(radius) * 0.5, (52.5 + dy * f64::to_degrees(radius) * 0.5f64).clamp(-90.0, 90.0));
                let id = Cell::of(p).id();
                assert!(center.distance(p) > radius || found.iter().any(|(l, h)| (*l..=*h).contains(&id)), "{radius} {dx} {dy}");
            }
        }
    }
}
