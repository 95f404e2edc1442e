//! The grid of a `2d` index: the plane between two bounds, cut into squares whose interleaved positions are the keys.

use smongo_bson::{Doc, Result, Value, bail, number};

use super::cells::{interleave, joined};

/// The most cells a region is covered with.
const MOST: usize = 24;

/// `bits`, `min` and `max` of an index.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    bits: u32,
    min: f64,
    max: f64,
}

/// A rectangle: its least and greatest corner.
pub(super) type Rect = ((f64, f64), (f64, f64));

impl Grid {
    /// From the specification of an index, with MongoDB's defaults and errors (72).
    pub fn new(spec: Doc<'_>) -> Result<Grid> {
        let number = |name: &str, default: f64| match spec.get(name) {
            Value::Missing => Ok(default),
            v if v.is_number() => Ok(number::to_f64(v).unwrap_or(f64::NAN)),
            v => bail!(TypeMismatch, "The field '{name}' must be a number, but got {}", v.type_name()),
        };
        let (min, max, bits) = (number("min", -180.0)?, number("max", 180.0)?, number("bits", 26.0)?);
        if !(1.0..=32.0).contains(&bits) || matches!(spec.get("bits"), Value::Decimal(_)) {
            bail!(InvalidOptions, "bits for hash must be > 0 and <= 32, but {bits} bits were specified");
        }
        if !(min.is_finite() && max.is_finite() && min < max) {
            bail!(InvalidOptions, "region for hash must be valid and have positive area, but [{min}, {max}] was specified");
        }
        Ok(Grid { bits: bits as u32, min, max })
    }

    /// Where a coordinate lies, clamped to the grid; grows with the coordinate.
    fn step(self, v: f64) -> u32 {
        let cells = (1u64 << self.bits) as f64;
        let at = ((v - self.min) / (self.max - self.min) * cells).clamp(0.0, cells - 1.0);
        at as u32
    }

    /// The key of a point; 13027 outside the bounds.
    pub(super) fn key(self, (x, y): (f64, f64)) -> Result<i64> {
        let (min, max) = (self.min, self.max);
        if !(min..=max).contains(&x) || !(min..=max).contains(&y) {
            bail!(13027, "point not in interval of [ {min}, {max} ]: {{ x: {x}, y: {y} }}");
        }
        Ok(self.number(self.step(x), self.step(y)))
    }

    fn number(self, i: u32, j: u32) -> i64 {
        // With 32 bits a key takes all of a long: the sign bit is turned so that keys keep their order.
        (interleave(i, j) ^ 1 << 63) as i64
    }

    /// The intervals of keys that hold all points of a rectangle.
    pub(super) fn intervals(self, (low, high): Rect) -> Vec<(i64, i64)> {
        let (from, to) = ((self.step(low.0), self.step(low.1)), (self.step(high.0), self.step(high.1)));
        let meets = |(shift, i, j): &(u32, u32, u32)| {
            let span = |n: u32| (u64::from(n) << shift, ((u64::from(n) + 1) << shift) - 1);
            let ((x0, x1), (y0, y1)) = (span(*i), span(*j));
            x0 <= u64::from(to.0) && x1 >= u64::from(from.0) && y0 <= u64::from(to.1) && y1 >= u64::from(from.1)
        };
        let mut cells = vec![(self.bits, 0u32, 0u32)];
        while cells.first().is_some_and(|(shift, ..)| *shift > 0) {
            let children = |(shift, i, j): &(u32, u32, u32)| {
                let (shift, i, j) = (*shift, *i, *j);
                (0..4).map(move |n| (shift - 1, i * 2 + n / 2, j * 2 + n % 2))
            };
            let finer: Vec<_> = cells.iter().flat_map(children).filter(meets).collect();
            if finer.len() > MOST {
                break;
            }
            cells = finer;
        }
        let keys = |(shift, i, j): &(u32, u32, u32)| {
            let last = |n: u32| ((((u64::from(n) + 1) << shift) - 1) & u64::from(u32::MAX)) as u32;
            let first = |n: u32| ((u64::from(n) << shift) & u64::from(u32::MAX)) as u32;
            (self.number(first(*i), first(*j)), self.number(last(*i), last(*j)))
        };
        joined(cells.iter().map(keys).collect())
    }

    /// A radius beyond which there is nothing.
    pub(super) fn reach(self) -> f64 {
        (self.max - self.min) * 1.5
    }
}

/// The longitudes and latitudes within an angle of a point.
pub(super) fn around((lng, lat): (f64, f64), radius: f64) -> Rect {
    let reach = radius.to_degrees() + 1e-6;
    let (south, north) = (lat - reach, lat + reach);
    let sides = (radius.sin() / lat.to_radians().cos()).asin().to_degrees() + 1e-6;
    let wraps = south <= -90.0 || north >= 90.0 || !sides.is_finite() || lng - sides < -180.0 || lng + sides > 180.0;
    let (west, east) = if wraps { (-180.0, 180.0) } else { (lng - sides, lng + sides) };
    ((west, south), (east, north))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_points() {
        let grid = Grid { bits: 26, min: -180.0, max: 180.0 };
        let rect = ((-10.0, 5.0), (20.5, 90.0));
        let found = grid.intervals(rect);
        for (x, y) in [(-10.0, 5.0), (20.5, 90.0), (0.0, 50.0), (20.5, 5.0), (-10.0, 90.0)] {
            let key = grid.key((x, y)).unwrap();
            assert!(found.iter().any(|(l, h)| (*l..=*h).contains(&key)), "{x} {y}");
        }
        let key = grid.key((-90.0, -90.0)).unwrap();
        assert!(!found.iter().any(|(l, h)| (*l..=*h).contains(&key)));
        assert!(grid.key((181.0, 0.0)).is_err() && grid.key((180.0, -180.0)).is_ok());
    }

    #[test]
    fn all_bits() {
        let grid = Grid { bits: 32, min: 0.0, max: 1.0 };
        let all = grid.intervals(((0.0, 0.0), (1.0, 1.0)));
        assert_eq!(all, [(i64::MIN, i64::MAX)]);
    }
}
