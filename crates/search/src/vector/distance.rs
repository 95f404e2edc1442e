//! Distances between vectors, by the widest instructions that the machine has (AVX-512, AVX2, NEON; chosen at run time by `pulp`).
//!
//! A distance is small for what is near: the square of the Euclidean distance, the negated dot product, or the number of bits that
//! differ. Negation is exact, so a score can be made of a distance without losing a bit. Whatever the number of rows that a call
//! compares at once, each row's sum is made in the same order: a vector's distance is the same to the bit wherever it is computed.

use super::codes::Blocks;
use pulp::{Arch, Simd, WithSimd};

/// How rows are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Metric {
    /// `f32`, negated dot product; the cosine of vectors of length 1, too.
    FloatDot,
    /// `f32`, square of the Euclidean distance.
    #[default]
    FloatL2,
    /// `i8`, negated dot product.
    ByteDot,
    /// `i8`, negated cosine: the dot product by the reciprocal lengths, which lie beside the rows.
    ByteCosine,
    /// `i8`, square of the Euclidean distance.
    ByteL2,
    /// Bits in words of 64, how many of them differ.
    Hamming,
}

/// What is compared with rows: one of the three slices is in use, as the metric says.
#[derive(Clone, Copy, Default)]
pub(crate) struct Probe<'a> {
    pub metric: Metric,
    pub floats: &'a [f32],
    pub bytes: &'a [i8],
    pub words: &'a [u64],
    /// One divided by the length of `bytes`; only for [`Metric::ByteCosine`].
    pub inverse: f32,
}

/// Rows that can be compared: as in [`Probe`], one of the three is in use.
pub(crate) struct Rows {
    /// How rows are compared with each other.
    pub metric: Metric,
    pub floats: Blocks<f32>,
    pub bytes: Blocks<i8>,
    pub words: Blocks<u64>,
    /// Reciprocal lengths of `bytes`, for [`Metric::ByteCosine`].
    pub inverses: Blocks<f32>,
    arch: Arch,
}

impl Rows {
    /// For rows of `dims` dimensions.
    pub fn new(metric: Metric, dims: usize) -> Self {
        let floats = matches!(metric, Metric::FloatDot | Metric::FloatL2);
        let words = metric == Metric::Hamming;
        let of = |used: bool, stride: usize| if used { stride } else { 0 };
        Rows {
            metric,
            floats: Blocks::new(of(floats, dims)),
            bytes: Blocks::new(of(!floats && !words, dims)),
            words: Blocks::new(of(words, dims.div_ceil(64))),
            inverses: Blocks::new(of(metric == Metric::ByteCosine, 1)),
            arch: Arch::new(),
        }
    }

    /// A row as a probe.
    #[inline]
    pub fn probe(&self, row: u32) -> Probe<'_> {
        let inverse = if self.metric == Metric::ByteCosine { self.inverse(row) } else { 0.0 };
        Probe { metric: self.metric, floats: self.floats.row(row), bytes: self.bytes.row(row), words: self.words.row(row), inverse }
    }

    #[inline]
    fn inverse(&self, row: u32) -> f32 {
        self.inverses.row(row).first().copied().unwrap_or(0.0)
    }

    pub fn push(&mut self, probe: Probe<'_>) {
        self.floats.push(probe.floats);
        self.bytes.push(probe.bytes);
        self.words.push(probe.words);
        self.inverses.push(&[probe.inverse]);
    }

    /// Puts `probe` where a row of zeros was made room for.
    pub fn set(&mut self, row: u32, probe: Probe<'_>) {
        self.floats.set(row, probe.floats);
        self.bytes.set(row, probe.bytes);
        self.words.set(row, probe.words);
        self.inverses.set(row, &[probe.inverse]);
    }

    /// Moves a row to a place before it.
    pub fn copy(&mut self, from: u32, to: u32) {
        self.floats.copy(from, to);
        self.bytes.copy(from, to);
        self.words.copy(from, to);
        self.inverses.copy(from, to);
    }

    pub fn resize(&mut self, rows: usize) {
        self.floats.resize(rows);
        self.bytes.resize(rows);
        self.words.resize(rows);
        self.inverses.resize(rows);
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.floats.memory() + self.bytes.memory() + self.words.memory() + self.inverses.memory()
    }

    /// The distances of the rows `ids`, in their order, instead of what `out` held.
    #[inline]
    pub fn distances(&self, probe: Probe<'_>, ids: &[u32], out: &mut Vec<f32>) {
        out.clear();
        let visit = |_, distance| {
            out.push(distance);
            true
        };
        self.each(probe, ids, visit);
    }

    /// Whether one of the rows `ids` is nearer than `bound`.
    #[inline]
    pub fn any_nearer(&self, probe: Probe<'_>, ids: &[u32], bound: f32) -> bool {
        let mut found = false;
        let visit = |_, distance| {
            found = distance < bound;
            !found
        };
        self.each(probe, ids, visit);
        found
    }

    /// The distance of one row.
    #[inline]
    pub fn distance(&self, probe: Probe<'_>, id: u32) -> f32 {
        let mut found = f32::INFINITY;
        let visit = |_, distance| {
            found = distance;
            true
        };
        self.each(probe, &[id], visit);
        found
    }

    /// Shows `visit` each row's number and distance until it has seen enough.
    #[inline]
    pub fn each(&self, probe: Probe<'_>, ids: &[u32], visit: impl FnMut(u32, f32) -> bool) {
        match probe.metric {
            Metric::FloatDot => self.arch.dispatch(Each { step: FloatDot, probe: probe.floats, rows: &self.floats, ids, visit }),
            Metric::FloatL2 => self.arch.dispatch(Each { step: FloatL2, probe: probe.floats, rows: &self.floats, ids, visit }),
            Metric::ByteDot => self.arch.dispatch(Each { step: ByteDot, probe: probe.bytes, rows: &self.bytes, ids, visit }),
            Metric::ByteL2 => self.arch.dispatch(Each { step: ByteL2, probe: probe.bytes, rows: &self.bytes, ids, visit }),
            Metric::Hamming => self.arch.dispatch(Each { step: Hamming, probe: probe.words, rows: &self.words, ids, visit }),
            Metric::ByteCosine => {
                let mut visit = visit;
                let visit = |id, distance: f32| visit(id, distance * probe.inverse * self.inverse(id));
                self.arch.dispatch(Each { step: ByteDot, probe: probe.bytes, rows: &self.bytes, ids, visit });
            }
        }
    }
}

/// One way to compare a probe with `N` rows at once, so that the sums do not wait for each other.
trait Step: Copy {
    type Item;
    fn compare<S: Simd, const N: usize>(self, simd: S, probe: &[Self::Item], rows: [&[Self::Item]; N]) -> [f32; N];
}

/// [`Rows::each`] as an operation that is compiled for each set of instructions.
struct Each<'a, T: Step, V> {
    step: T,
    probe: &'a [T::Item],
    rows: &'a Blocks<T::Item>,
    ids: &'a [u32],
    visit: V,
}

impl<T: Step, V: FnMut(u32, f32) -> bool> WithSimd for Each<'_, T, V>
where
    T::Item: Copy + Default,
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (fours, rest) = self.ids.as_chunks::<4>();
        for ids in fours {
            let [a, b, c, d] = *ids;
            let rows = [self.rows.row(a), self.rows.row(b), self.rows.row(c), self.rows.row(d)];
            let found = self.step.compare(simd, self.probe, rows);
            for (id, distance) in ids.iter().zip(found) {
                if !(self.visit)(*id, distance) {
                    return;
                }
            }
        }
        for id in rest {
            let [distance] = self.step.compare(simd, self.probe, [self.rows.row(*id)]);
            if !(self.visit)(*id, distance) {
                return;
            }
        }
    }
}

/// What of the probe and of the rows is compared: as much as all of them have.
#[inline(always)]
fn common<'a, T, const N: usize>(probe: &'a [T], rows: [&'a [T]; N]) -> (&'a [T], [&'a [T]; N]) {
    let len = rows.iter().fold(probe.len(), |len, row| len.min(row.len()));
    (&probe[..len], rows.map(|row| &row[..len]))
}

/// The step of a sum over floats.
trait Sum: Copy {
    fn add<S: Simd>(self, simd: S, probe: S::f32s, row: S::f32s, sum: S::f32s) -> S::f32s;
}

#[derive(Clone, Copy)]
struct Product;

impl Sum for Product {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, probe: S::f32s, row: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(probe, row, sum)
    }
}

#[derive(Clone, Copy)]
struct Square;

impl Sum for Square {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, probe: S::f32s, row: S::f32s, sum: S::f32s) -> S::f32s {
        let difference = simd.sub_f32s(probe, row);
        simd.mul_add_e_f32s(difference, difference, sum)
    }
}

/// The product with a row that is multiplied by a number first, as it would have been had it been stored so.
#[derive(Clone, Copy)]
struct Scaled(f32);

impl Sum for Scaled {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, probe: S::f32s, row: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(probe, simd.mul_f32s(row, simd.splat_f32s(self.0)), sum)
    }
}

/// Two sums a row, of every other vector of the machine's width. What is left over is a vector with zeros behind it.
#[inline(always)]
fn sums<S: Simd, T: Sum, const N: usize>(simd: S, step: T, probe: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let (probe, rows) = common(probe, rows);
    let (head, tail) = S::as_simd_f32s(probe);
    let whole = head.len();
    let heads = rows.map(|row| &S::as_simd_f32s(row).0[..whole]);
    let mut even = [simd.splat_f32s(0.0); N];
    let mut odd = even;
    let mut at = 0;
    while at + 1 < whole {
        for n in 0..N {
            even[n] = step.add(simd, head[at], heads[n][at], even[n]);
            odd[n] = step.add(simd, head[at + 1], heads[n][at + 1], odd[n]);
        }
        at += 2;
    }
    if at < whole {
        for n in 0..N {
            even[n] = step.add(simd, head[at], heads[n][at], even[n]);
        }
    }
    if !tail.is_empty() {
        let last = simd.partial_load_f32s(tail);
        for n in 0..N {
            odd[n] = step.add(simd, last, simd.partial_load_f32s(S::as_simd_f32s(rows[n]).1), odd[n]);
        }
    }
    let mut out = [0.0; N];
    for n in 0..N {
        out[n] = simd.reduce_sum_f32s(simd.add_f32s(even[n], odd[n]));
    }
    out
}

#[derive(Clone, Copy)]
struct FloatDot;

impl Step for FloatDot {
    type Item = f32;
    #[inline(always)]
    fn compare<S: Simd, const N: usize>(self, simd: S, probe: &[f32], rows: [&[f32]; N]) -> [f32; N] {
        sums(simd, Product, probe, rows).map(|dot| -dot)
    }
}

#[derive(Clone, Copy)]
struct FloatL2;

impl Step for FloatL2 {
    type Item = f32;
    #[inline(always)]
    fn compare<S: Simd, const N: usize>(self, simd: S, probe: &[f32], rows: [&[f32]; N]) -> [f32; N] {
        sums(simd, Square, probe, rows)
    }
}

/// Sums of whole numbers come out the same in every order, and the compiler finds the instructions itself. Of 8,192 products of
/// bytes the sum is below 2³⁰.
#[derive(Clone, Copy)]
struct ByteDot;

impl Step for ByteDot {
    type Item = i8;
    #[inline(always)]
    fn compare<S: Simd, const N: usize>(self, _: S, probe: &[i8], rows: [&[i8]; N]) -> [f32; N] {
        let (probe, rows) = common(probe, rows);
        rows.map(|row| -(probe.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>() as f32))
    }
}

#[derive(Clone, Copy)]
struct ByteL2;

impl Step for ByteL2 {
    type Item = i8;
    #[inline(always)]
    fn compare<S: Simd, const N: usize>(self, _: S, probe: &[i8], rows: [&[i8]; N]) -> [f32; N] {
        let (probe, rows) = common(probe, rows);
        let square = |(a, b): (&i8, &i8)| {
            let difference = i16::from(*a) - i16::from(*b);
            i32::from(difference) * i32::from(difference)
        };
        rows.map(|row| probe.iter().zip(row).map(square).sum::<i32>() as f32)
    }
}

#[derive(Clone, Copy)]
struct Hamming;

impl Step for Hamming {
    type Item = u64;
    #[inline(always)]
    fn compare<S: Simd, const N: usize>(self, _: S, probe: &[u64], rows: [&[u64]; N]) -> [f32; N] {
        let (probe, rows) = common(probe, rows);
        rows.map(|row| probe.iter().zip(row).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() as f32)
    }
}

/// Kernels for rows that lie anywhere: what an exact scan compares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels(Arch);

impl Kernels {
    pub fn new() -> Self {
        Kernels(Arch::new())
    }

    /// The dot product with `row` by `scale`, rounded as if the row had been stored that way.
    pub fn dot_scaled(self, probe: &[f32], row: &[f32], scale: f32) -> f32 {
        self.0.dispatch(One { step: Scaled(scale), probe, row })
    }

    pub fn dot(self, probe: &[f32], row: &[f32]) -> f32 {
        self.0.dispatch(One { step: Product, probe, row })
    }

    pub fn l2(self, probe: &[f32], row: &[f32]) -> f32 {
        self.0.dispatch(One { step: Square, probe, row })
    }

    pub fn byte_dot(self, probe: &[i8], row: &[i8]) -> f32 {
        // A distance back into the product, and −0 into 0.
        0.0 - self.0.dispatch(Whole { step: ByteDot, probe, row })
    }

    pub fn byte_l2(self, probe: &[i8], row: &[i8]) -> f32 {
        self.0.dispatch(Whole { step: ByteL2, probe, row })
    }

    /// Bits that differ in two strings of bytes.
    pub fn hamming(self, probe: &[u8], row: &[u8]) -> u32 {
        self.0.dispatch(Bits { probe, row })
    }
}

struct One<'a, T> {
    step: T,
    probe: &'a [f32],
    row: &'a [f32],
}

impl<T: Sum> WithSimd for One<'_, T> {
    type Output = f32;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let [sum] = sums(simd, self.step, self.probe, [self.row]);
        sum
    }
}

struct Whole<'a, T> {
    step: T,
    probe: &'a [i8],
    row: &'a [i8],
}

impl<T: Step<Item = i8>> WithSimd for Whole<'_, T> {
    type Output = f32;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let [distance] = self.step.compare(simd, self.probe, [self.row]);
        distance
    }
}

struct Bits<'a> {
    probe: &'a [u8],
    row: &'a [u8],
}

impl WithSimd for Bits<'_> {
    type Output = u32;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u32 {
        let (probe, rest) = self.probe.as_chunks::<8>();
        let (row, row_rest) = self.row.as_chunks::<8>();
        let words = probe.iter().zip(row).map(|(a, b)| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones()).sum::<u32>();
        words + rest.iter().zip(row_rest).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between −1 and 1, the same each time.
    fn numbers(len: usize, seed: u64) -> Vec<f32> {
        (0..len as u64).map(|n| (super::super::mix(n << 8 | seed) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn bytes(len: usize, seed: u64) -> Vec<i8> {
        numbers(len, seed).iter().map(|x| if *x < -0.9 { -128 } else { (x * 127.0) as i8 }).collect()
    }

    const LENGTHS: [usize; 17] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 127, 129, 768, 8192];
    const IDS: [u32; 7] = [0, 1, 2, 3, 4, 3, 5];

    fn check(rows: &Rows, probe: Probe<'_>, expected: impl Fn(u32) -> f64, relative: f64) {
        let mut out = Vec::new();
        rows.distances(probe, &IDS, &mut out);
        assert_eq!(out.len(), IDS.len());
        for (id, distance) in IDS.iter().zip(&out) {
            let expected = expected(*id);
            assert!((f64::from(*distance) - expected).abs() <= relative * (1.0 + expected.abs()), "{id}: {distance} instead of {expected}");
            // In fours or alone: the same to the bit.
            assert_eq!(distance.to_bits(), rows.distance(probe, *id).to_bits());
            assert!(!rows.any_nearer(probe, &[*id], *distance));
        }
        let farthest = out.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(rows.any_nearer(probe, &IDS, farthest), out.iter().any(|d| *d < farthest));
    }

    #[test]
    fn floats_as_a_plain_loop() {
        for len in LENGTHS {
            let probe = numbers(len, 99);
            for metric in [Metric::FloatDot, Metric::FloatL2] {
                let mut rows = Rows::new(metric, len);
                let all: Vec<_> = (0..6).map(|n| numbers(len, n)).collect();
                all.iter().for_each(|row| rows.push(Probe { floats: row, ..Probe::default() }));
                let expected = |id: u32| {
                    let pairs = probe.iter().zip(&all[id as usize]).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                    if metric == Metric::FloatDot { -pairs.map(|(a, b)| a * b).sum::<f64>() } else { pairs.map(|(a, b)| (a - b).powi(2)).sum() }
                };
                check(&rows, Probe { floats: &probe, metric, ..Probe::default() }, expected, 1e-5);
                for (n, row) in all.iter().enumerate() {
                    let one = if metric == Metric::FloatDot { -Kernels::new().dot(&probe, row) } else { Kernels::new().l2(&probe, row) };
                    assert_eq!(one.to_bits(), rows.distance(Probe { floats: &probe, metric, ..Probe::default() }, n as u32).to_bits());
                }
            }
        }
    }

    #[test]
    fn a_scaled_row_is_the_row_that_was_stored_scaled() {
        for len in LENGTHS {
            let (probe, row) = (numbers(len, 1), numbers(len, 2));
            let stored: Vec<f32> = row.iter().map(|x| x * 0.123).collect();
            assert_eq!(Kernels::new().dot_scaled(&probe, &row, 0.123).to_bits(), Kernels::new().dot(&probe, &stored).to_bits());
        }
    }

    #[test]
    fn bytes_and_bits_as_a_plain_loop() {
        for len in LENGTHS {
            let probe = bytes(len, 99);
            let all: Vec<_> = (0..6).map(|n| bytes(len, n)).collect();
            for metric in [Metric::ByteDot, Metric::ByteL2, Metric::ByteCosine] {
                let mut rows = Rows::new(metric, len);
                all.iter().enumerate().for_each(|(n, row)| rows.push(Probe { bytes: row, inverse: 0.5 + n as f32, ..Probe::default() }));
                let expected = |id: u32| {
                    let pairs = probe.iter().zip(&all[id as usize]).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                    match metric {
                        Metric::ByteL2 => pairs.map(|(a, b)| (a - b).powi(2)).sum(),
                        Metric::ByteDot => -pairs.map(|(a, b)| a * b).sum::<f64>(),
                        _ => -pairs.map(|(a, b)| a * b).sum::<f64>() * 0.25 * (0.5 + f64::from(id)),
                    }
                };
                check(&rows, Probe { bytes: &probe, inverse: 0.25, metric, ..Probe::default() }, expected, 1e-6);
            }
            let words = |row: &[i8]| row.iter().map(|x| *x as u64).collect::<Vec<_>>();
            let mut rows = Rows::new(Metric::Hamming, len * 64);
            all.iter().for_each(|row| rows.push(Probe { words: &words(row), ..Probe::default() }));
            let differ = |id: u32| probe.iter().zip(&all[id as usize]).map(|(a, b)| f64::from((*a as u64 ^ *b as u64).count_ones())).sum();
            check(&rows, Probe { words: &words(&probe), metric: Metric::Hamming, ..Probe::default() }, differ, 0.0);
            let as_bytes = |row: &[i8]| row.iter().map(|x| *x as u8).collect::<Vec<u8>>();
            let plain = probe.iter().zip(&all[0]).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            assert_eq!(Kernels::new().hamming(&as_bytes(&probe), &as_bytes(&all[0])), plain);
        }
    }

    #[test]
    fn rows_that_are_not_there_are_no_panic() {
        let mut rows = Rows::new(Metric::FloatL2, 3);
        rows.push(Probe { floats: &[1.0], ..Probe::default() });
        assert_eq!(rows.probe(0).floats, [1.0, 0.0, 0.0]);
        assert_eq!(rows.probe(7).floats, [0.0; 0]);
        rows.resize(3000);
        rows.set(2999, Probe { floats: &[1.0, 2.0, 3.0], ..Probe::default() });
        rows.copy(2999, 5);
        rows.resize(6);
        assert_eq!(rows.probe(5).floats, [1.0, 2.0, 3.0]);
        assert_eq!(rows.probe(6).floats, [0.0; 0]);
    }
}
