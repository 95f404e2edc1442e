//! Exact search: a query's score of any row, and the best of those that were scored.

use super::codes::reciprocal;
use super::distance::Kernels;
use super::{Kind, Similarity, Vector, floats, norm};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;

/// Why a vector cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A vector without a direction has no cosine.
    ZeroVector,
    /// Bits have a Euclidean distance and nothing else.
    BitsNeedEuclidean,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::ZeroVector => f.write_str("Cosine similarity cannot be calculated against a zero vector."),
            QueryError::BitsNeedEuclidean => f.write_str("vectors of bits can only be compared by euclidean similarity"),
        }
    }
}

impl std::error::Error for QueryError {}

/// A vector that is asked for, and what scores rows by it.
///
/// Rows are scored one way whether they lie in a graph, in a block or in a row of storage, so the scores are equal to the bit.
#[derive(Clone, Debug)]
pub struct Query {
    similarity: Similarity,
    kernels: Kernels,
    given: Given,
    /// `given` at length 1, for the cosine of floats.
    unit: Vec<f32>,
    /// One divided by the length of `given`.
    inverse: f32,
}

#[derive(Clone, Debug)]
enum Given {
    Float(Vec<f32>),
    Int8(Vec<i8>),
    Bit(Vec<u8>),
}

impl Query {
    pub fn new(similarity: Similarity, vector: Vector<'_>) -> Result<Self, QueryError> {
        if vector.kind() == Kind::Bit && similarity != Similarity::Euclidean {
            return Err(QueryError::BitsNeedEuclidean);
        }
        let norm = norm(vector);
        if similarity == Similarity::Cosine && norm == 0.0 {
            return Err(QueryError::ZeroVector);
        }
        let inverse = reciprocal(norm);
        let unit = match vector {
            Vector::Float(values) if similarity == Similarity::Cosine => values.iter().map(|x| x * inverse).collect(),
            _ => Vec::new(),
        };
        let given = match vector {
            Vector::Float(values) => Given::Float(values.to_vec()),
            Vector::Int8(values) => Given::Int8(values.to_vec()),
            Vector::Bit(bytes) => Given::Bit(bytes.to_vec()),
        };
        Ok(Query { similarity, kernels: Kernels::new(), given, unit, inverse })
    }

    /// The vector as it was given.
    pub fn vector(&self) -> Vector<'_> {
        match &self.given {
            Given::Float(values) => Vector::Float(values),
            Given::Int8(values) => Vector::Int8(values),
            Given::Bit(bytes) => Vector::Bit(bytes),
        }
    }

    /// The score of a row. `row_norm` is its [`norm`], which is only looked at for cosine. `None` when the row is of another kind or has
    /// other dimensions.
    pub fn score(&self, row: Vector<'_>, row_norm: f32) -> Option<f32> {
        (row.kind() == self.vector().kind() && row.dims() == self.vector().dims()).then(|| self.score_of(self.distance(row, row_norm)))
    }

    /// The score of a row that lies as bytes (floats little-endian), by way of `room`.
    pub fn score_bytes(&self, row: &[u8], row_norm: f32, room: &mut Vec<f32>) -> Option<f32> {
        match &self.given {
            Given::Float(_) => {
                floats(row, room);
                self.score(Vector::Float(room), row_norm)
            }
            Given::Int8(_) => self.score(Vector::Int8(bytemuck::cast_slice(row)), row_norm),
            Given::Bit(_) => self.score(Vector::Bit(row), row_norm),
        }
    }

    fn distance(&self, row: Vector<'_>, row_norm: f32) -> f32 {
        let kernels = self.kernels;
        match (&self.given, row, self.similarity) {
            (Given::Float(_), Vector::Float(row), Similarity::Cosine) => -kernels.dot_scaled(&self.unit, row, reciprocal(row_norm)),
            (Given::Float(values), Vector::Float(row), Similarity::DotProduct) => -kernels.dot(values, row),
            (Given::Float(values), Vector::Float(row), Similarity::Euclidean) => kernels.l2(values, row),
            (Given::Int8(values), Vector::Int8(row), Similarity::Cosine) => {
                -kernels.byte_dot(values, row) * self.inverse * reciprocal(row_norm)
            }
            (Given::Int8(values), Vector::Int8(row), Similarity::DotProduct) => -kernels.byte_dot(values, row),
            (Given::Int8(values), Vector::Int8(row), Similarity::Euclidean) => kernels.byte_l2(values, row),
            (Given::Bit(bytes), Vector::Bit(row), _) => kernels.hamming(bytes, row) as f32,
            // Callers have compared the kinds.
            _ => f32::INFINITY,
        }
    }

    /// The score that a distance stands for, from 0 for what is far to 1 for what is near; above 1 for dot products of long vectors.
    /// For distances of a graph whose codes are exact ([`Params::is_exact`](super::Params::is_exact)).
    pub fn score_of(&self, distance: f32) -> f32 {
        let dims = self.vector().dims().max(1) as f32;
        // What overflowed on the way scores 0: `max` prefers a number.
        match (&self.given, self.similarity) {
            (Given::Bit(_), _) => (dims - distance) / dims,
            (_, Similarity::Euclidean) => (1.0 / (1.0 + distance)).max(0.0),
            (Given::Int8(_), Similarity::DotProduct) => 0.5 - distance / (dims * 32768.0),
            _ => ((1.0 - distance) / 2.0).max(0.0),
        }
    }
}

/// A record and its score. The greater of two is the better one: by score, then by the smaller record.
#[derive(Clone, Copy, Debug)]
pub struct Scored {
    pub record: i64,
    pub score: f32,
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.record.cmp(&self.record))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scored {}

/// The best of what is pushed, at most `limit` of it.
pub struct Top {
    limit: usize,
    /// The worst first.
    kept: BinaryHeap<std::cmp::Reverse<Scored>>,
}

impl Top {
    pub fn new(limit: usize) -> Self {
        Top { limit, kept: BinaryHeap::new() }
    }

    pub fn push(&mut self, record: i64, score: f32) {
        let scored = Scored { record, score };
        if self.kept.len() < self.limit {
            self.kept.push(std::cmp::Reverse(scored));
        } else if let Some(mut worst) = self.kept.peek_mut()
            && scored > worst.0
        {
            *worst = std::cmp::Reverse(scored);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// All of them, the best first.
    pub fn into_sorted(self) -> Vec<Scored> {
        self.kept.into_sorted_vec().into_iter().map(|scored| scored.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(similarity: Similarity, query: Vector<'_>, row: Vector<'_>) -> f32 {
        Query::new(similarity, query).unwrap().score(row, norm(row)).unwrap()
    }

    #[test]
    fn scores_are_the_manuals_formulas() {
        use Similarity::{Cosine, DotProduct, Euclidean};
        let float = |query: &[f32], row: &[f32], similarity| score(similarity, Vector::Float(query), Vector::Float(row));
        assert_eq!(float(&[1.0, 0.0], &[5.0, 0.0], Cosine), 1.0);
        assert_eq!(float(&[1.0, 0.0], &[0.0, 2.0], Cosine), 0.5);
        assert_eq!(float(&[1.0, 0.0], &[-3.0, 0.0], Cosine), 0.0);
        assert!((float(&[3.0, 4.0], &[4.0, 3.0], Cosine) - 0.98).abs() < 1e-6);
        assert_eq!(float(&[1.0, 2.0], &[3.0, 0.5], DotProduct), 2.5);
        assert_eq!(float(&[1.0, 2.0], &[-3.0, -0.5], DotProduct), 0.0);
        assert_eq!(float(&[1.0, 2.0], &[1.0, 4.0], Euclidean), 0.2);
        assert_eq!(float(&[1.0, 2.0], &[1.0, 2.0], Euclidean), 1.0);
        let int8 = |query: &[i8], row: &[i8], similarity| score(similarity, Vector::Int8(query), Vector::Int8(row));
        assert_eq!(int8(&[100, -100], &[50, 50], DotProduct), 0.5);
        assert_eq!(int8(&[127, 0], &[127, 0], DotProduct), 0.5 + 16129.0 / 65536.0);
        assert_eq!(int8(&[-128, 0], &[-128, 0], Euclidean), 1.0);
        assert_eq!(int8(&[1, 0], &[4, 0], Euclidean), 0.1);
        assert_eq!(int8(&[0, 7], &[0, 7], Cosine), 1.0);
        assert_eq!(int8(&[3, 0], &[0, 7], Cosine), 0.5);
        assert_eq!(score(Euclidean, Vector::Bit(&[0b1111_0000, 0]), Vector::Bit(&[0b1100_0000, 1])), 13.0 / 16.0);
    }

    #[test]
    fn what_overflows_is_far_and_no_nan() {
        let large = [3e38, 3e38, -3e38];
        for similarity in [Similarity::Cosine, Similarity::DotProduct, Similarity::Euclidean] {
            let query = Query::new(similarity, Vector::Float(&large)).unwrap();
            for row in [[3e38, 3e38, 3e38], [-3e38, 3e38, 3e38], [1e-42, 0.0, 0.0], [0.0; 3]] {
                let row = Vector::Float(&row);
                assert!(!query.score(row, norm(row)).unwrap().is_nan());
            }
        }
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(Query::new(Similarity::Cosine, Vector::Float(&[0.0, 0.0])).err(), Some(QueryError::ZeroVector));
        assert_eq!(Query::new(Similarity::Cosine, Vector::Bit(&[1])).err(), Some(QueryError::BitsNeedEuclidean));
        let query = Query::new(Similarity::Euclidean, Vector::Float(&[1.0])).unwrap();
        assert_eq!(query.score(Vector::Int8(&[1]), 1.0), None);
        assert_eq!(query.score(Vector::Float(&[1.0, 2.0]), 1.0), None);
        let mut room = Vec::new();
        assert_eq!(query.score_bytes(&2f32.to_le_bytes(), 2.0, &mut room), Some(0.5));
        assert_eq!(query.score_bytes(&[1, 2, 3], 1.0, &mut room), None);
    }

    #[test]
    fn the_best_by_score_then_record() {
        let mut top = Top::new(3);
        for (record, score) in [(5, 0.5), (9, 0.9), (1, 0.1), (4, 0.5), (6, 0.5)] {
            top.push(record, score);
        }
        assert_eq!(top.into_sorted().iter().map(|s| s.record).collect::<Vec<_>>(), [9, 4, 5]);
        let mut none = Top::new(0);
        none.push(1, 1.0);
        assert!(none.is_empty());
    }
}
