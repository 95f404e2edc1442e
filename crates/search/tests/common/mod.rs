//! Vectors that are made up, the same each time, and what holds them beside the graph.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use smongo_search::vector::{Codes, Graph, Kind, Params, Query, Similarity, Vector, norm, row_hash};
use std::collections::BTreeMap;

/// xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// From 0 to 1.
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Nearly normal.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform() - self.uniform()).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Anywhere in a cube: in many dimensions everything is about equally far from everything.
    Uniform,
    /// Far from each other, and close within.
    Clusters,
    Overlapping,
    /// Of eight dimensions that are stretched and turned into more, with a little noise.
    Manifold,
    /// A few hundred different vectors, each many times.
    Copies,
}

pub const DISTRIBUTIONS: [Distribution; 5] =
    [Distribution::Uniform, Distribution::Clusters, Distribution::Overlapping, Distribution::Manifold, Distribution::Copies];

/// Makes vectors of one distribution.
pub struct Maker {
    pub random: Random,
    distribution: Distribution,
    dims: usize,
    /// Centres, the axes of the manifold, or the vectors of which there are copies.
    base: Vec<Vec<f32>>,
}

impl Maker {
    pub fn new(distribution: Distribution, dims: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let base = match distribution {
            Distribution::Uniform => 0,
            Distribution::Clusters | Distribution::Overlapping => 40,
            Distribution::Manifold => 8,
            Distribution::Copies => 300,
        };
        let base = (0..base).map(|_| (0..dims).map(|_| random.normal()).collect()).collect();
        Maker { random, distribution, dims, base }
    }

    pub fn vector(&mut self) -> Vec<f32> {
        let Maker { random: r, base, dims, distribution } = self;
        let spread = if *distribution == Distribution::Clusters { 0.1 } else { 1.0 };
        match distribution {
            Distribution::Uniform => (0..*dims).map(|_| r.uniform() * 2.0 - 1.0).collect(),
            Distribution::Clusters | Distribution::Overlapping => {
                let centre = r.below(base.len());
                base[centre].iter().map(|c| c + spread * r.normal()).collect()
            }
            Distribution::Manifold => {
                let at: Vec<f32> = base.iter().map(|_| r.normal()).collect();
                (0..*dims).map(|d| base.iter().zip(&at).map(|(axis, x)| axis[d] * x).sum::<f32>() + 0.05 * r.normal()).collect()
            }
            Distribution::Copies => base[r.below(base.len())].clone(),
        }
    }
}

/// A vector's values as a row holds them.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Float(Vec<f32>),
    Int8(Vec<i8>),
    Bit(Vec<u8>),
}

impl Row {
    /// A row of a kind near to the floats.
    pub fn of(kind: Kind, values: &[f32]) -> Self {
        match kind {
            Kind::Float => Row::Float(values.to_vec()),
            Kind::Int8 => Row::Int8(values.iter().map(|x| (x * 32.0).clamp(-128.0, 127.0) as i8).collect()),
            Kind::Bit => Row::Bit(values.chunks(8).map(|c| c.iter().fold(0, |byte, x| byte << 1 | u8::from(*x > 0.0))).collect()),
        }
    }

    pub fn vector(&self) -> Vector<'_> {
        match self {
            Row::Float(values) => Vector::Float(values),
            Row::Int8(values) => Vector::Int8(values),
            Row::Bit(bytes) => Vector::Bit(bytes),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Row::Float(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Row::Int8(values) => values.iter().map(|x| *x as u8).collect(),
            Row::Bit(bytes) => bytes.clone(),
        }
    }

    pub fn hash(&self) -> u64 {
        row_hash(&self.bytes())
    }
}

/// The rows that the graph should have.
pub type Rows = BTreeMap<i64, Row>;

/// The scores of all rows, best first: the answer.
pub fn answer(rows: &Rows, query: &Query) -> Vec<(f32, i64)> {
    let score = |(record, row): (&i64, &Row)| (query.score(row.vector(), norm(row.vector())).unwrap(), *record);
    let mut all: Vec<_> = rows.iter().map(score).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all
}

/// The best ten of a walk: candidates of inexact codes are scored again from the rows, as the engine does.
pub fn ask(graph: &Graph, rows: &Rows, query: &Query, ef: usize) -> Vec<(f32, i64)> {
    let mut hits: Vec<_> = graph
        .read()
        .search(query, ef, |_| true)
        .iter()
        .map(|hit| {
            let row = rows.get(&hit.record).unwrap_or_else(|| panic!("record {} is dead or never was", hit.record));
            (query.score(row.vector(), norm(row.vector())).unwrap(), hit.record)
        })
        .collect();
    hits.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    hits.truncate(10);
    hits
}

/// Of ten wanted the share that is as good as the answer: among equals any will do.
pub fn recall(found: &[(f32, i64)], answer: &[(f32, i64)]) -> f64 {
    let wanted = answer.len().min(10);
    if wanted == 0 {
        return 1.0;
    }
    let bound = answer[wanted - 1].0;
    found.iter().filter(|hit| hit.0 >= bound).count().min(wanted) as f64 / wanted as f64
}

pub fn params(kind: Kind, similarity: Similarity, codes: Codes, dims: usize) -> Params {
    Params { codes, ..Params::new(kind, similarity, dims) }
}
