//! Vectors: distances and scores, exact search, and a graph for approximate search.

pub(crate) mod codes;
pub(crate) mod distance;
pub mod exact;
pub mod file;
pub mod graph;
mod insert;
pub mod recent;
mod walk;

use std::fmt;

pub use codes::scale;
pub use file::{FileError, Loader, scale_of};
pub use exact::{Query, QueryError, Scored, Top};
pub use graph::{Graph, Hit, Inserted, View};
pub use recent::{Change, Recent, RecentView, RowBytes};

/// The most dimensions that a vector may have.
pub const MAX_DIMS: usize = 8192;

/// What a vector is made of. Vectors of one path but different kinds are in different graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Float,
    Int8,
    Bit,
}

/// How near two vectors are, by the name that an index's definition has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Similarity {
    Euclidean,
    Cosine,
    DotProduct,
}

/// What the graph keeps of a row: all of it, a byte for each float, or a bit for the sign of each number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Codes {
    Full,
    /// For [`Kind::Float`]; other kinds are kept whole. `scale` becomes 127, what is larger is cut off.
    Scalar {
        scale: f32,
    },
    Binary,
}

/// A vector's values. Bits lie eight in a byte; their dimensions are a multiple of eight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Vector<'a> {
    Float(&'a [f32]),
    Int8(&'a [i8]),
    Bit(&'a [u8]),
}

impl Vector<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Vector::Float(_) => Kind::Float,
            Vector::Int8(_) => Kind::Int8,
            Vector::Bit(_) => Kind::Bit,
        }
    }

    pub fn dims(&self) -> usize {
        match self {
            Vector::Float(values) => values.len(),
            Vector::Int8(values) => values.len(),
            Vector::Bit(bytes) => bytes.len() * 8,
        }
    }
}

/// A vector's Euclidean length, the same to the bit on every machine; what lies in a row beside the values for cosine.
pub fn norm(vector: Vector<'_>) -> f32 {
    let squares = match vector {
        Vector::Float(values) => squares(values.iter().map(|x| f64::from(*x))),
        Vector::Int8(values) => values.iter().map(|x| i32::from(*x) * i32::from(*x)).sum::<i32>().into(),
        Vector::Bit(bytes) => bytes.iter().map(|b| b.count_ones()).sum::<u32>().into(),
    };
    squares.sqrt() as f32
}

/// Four sums, so that an addition need not wait for the one before it.
fn squares(values: impl Iterator<Item = f64>) -> f64 {
    let mut sums = [0.0; 4];
    for (n, x) in values.enumerate() {
        sums[n % 4] += x * x;
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// The floats of a row's bytes (little-endian) instead of what `out` held; bytes that make no whole float are left out.
pub fn floats(bytes: &[u8], out: &mut Vec<f32>) {
    out.clear();
    out.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
}

/// 64 bits that tell a row from what it was before. It only decides whether the graph's place for a row may be kept: where two rows have
/// the same hash by chance, the place is a poor one and the distances are right.
pub fn row_hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let step = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| step(hash, u64::from_le_bytes(*word)));
    mix(step(hash, u64::from_le_bytes(last)))
}

/// Spreads the bits of a number (the last step of MurmurHash3).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// What a graph is of. `max_edges` and `edge_candidates` are the definition's `maxEdges` and `numEdgeCandidates`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    pub kind: Kind,
    pub similarity: Similarity,
    pub dims: usize,
    pub codes: Codes,
    pub max_edges: usize,
    pub edge_candidates: usize,
}

impl Params {
    /// With the defaults of a definition: codes as the rows are, 16 edges chosen of 100 candidates.
    pub fn new(kind: Kind, similarity: Similarity, dims: usize) -> Self {
        Params { kind, similarity, dims, codes: Codes::Full, max_edges: 16, edge_candidates: 100 }
    }

    /// Numbers within what a definition may say. Its parser has refused others before; this is for those that come from elsewhere.
    pub(crate) fn bounded(mut self) -> Self {
        self.dims = self.dims.clamp(1, MAX_DIMS);
        self.max_edges = self.max_edges.clamp(2, 64);
        self.edge_candidates = self.edge_candidates.clamp(self.max_edges, 3200);
        self
    }
}

/// Why a graph does not take a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphError {
    /// The vector is of another kind or has other dimensions than the graph's.
    Shape,
    /// 2³² − 2 nodes, dead ones included, are all that its numbers can tell apart.
    Full,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Shape => f.write_str("the vector is of another kind or has other dimensions than its index"),
            GraphError::Full => f.write_str("the graph of a vector index holds as many vectors as it can"),
        }
    }
}

impl std::error::Error for GraphError {}

/// Below this many vectors a scan is as fast as a walk.
pub const SCAN_ALL: usize = 2000;

/// Whether scoring the `passing` of `n` vectors that a filter lets through is cheaper than walking the graph for `ef` of them: a walk
/// compares about 30·ef/s vectors where the share s of them passes, a scan s·n.
pub fn scan_pays(n: usize, passing: usize, ef: usize) -> bool {
    n <= SCAN_ALL || (passing as f64).powi(2) <= 30.0 * ef as f64 * n as f64
}
