//! The law of the graph: of what is nearest it finds 95 % and more, after whatever was inserted, changed and removed; it finds nodes by
//! their own vectors, dead ones never, and what several threads build is as good as what one does.
//!
//! `SMONGO_RECALL=10000 cargo test --release -p smongo-search --test recall_law -- --nocapture` makes as many changes on each graph, in all combinations,
//! and prints what it found.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{DISTRIBUTIONS, Distribution, Maker, Row, Rows, answer, ask, params, recall};
use smongo_search::vector::{Codes, Graph, Inserted, Kind, Params, Query, Similarity, scale};

/// What the graph is of; dimensions of bits are whole bytes.
const FORMS: [(Kind, Similarity, &str); 9] = [
    (Kind::Float, Similarity::Cosine, "full"),
    (Kind::Float, Similarity::Euclidean, "full"),
    (Kind::Float, Similarity::DotProduct, "full"),
    (Kind::Float, Similarity::Cosine, "scalar"),
    (Kind::Float, Similarity::Euclidean, "scalar"),
    (Kind::Int8, Similarity::Cosine, "full"),
    (Kind::Int8, Similarity::Euclidean, "full"),
    (Kind::Int8, Similarity::DotProduct, "full"),
    (Kind::Bit, Similarity::Euclidean, "full"),
];
const DIMS: [usize; 4] = [3, 8, 127, 768];

fn changes() -> Option<usize> {
    std::env::var("SMONGO_RECALL").ok().and_then(|v| v.parse().ok())
}

/// Vectors of one length, without which nothing is near by its dot product but what is long.
fn unit(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|x| x * x).sum::<f32>().sqrt();
    values.iter_mut().for_each(|x| *x *= 3.0 / norm);
    values
}

struct World {
    maker: Maker,
    params: Params,
    graph: Graph,
    rows: Rows,
    name: String,
}

impl World {
    fn new(distribution: Distribution, (kind, similarity, codes): (Kind, Similarity, &str), dims: usize) -> Self {
        let dims = if kind == Kind::Bit { dims.next_multiple_of(8) } else { dims };
        let mut maker = Maker::new(distribution, dims, dims as u64);
        let codes = if codes == "scalar" {
            let sample: Vec<_> = (0..100).map(|_| maker.vector()).collect();
            Codes::Scalar { scale: scale(similarity, sample.iter().map(Vec::as_slice)) }
        } else {
            Codes::Full
        };
        let params = params(kind, similarity, codes, dims);
        let name = format!("{distribution:?} {kind:?} {similarity:?} {codes:?} {dims}");
        World { maker, params, graph: Graph::new(params), rows: Rows::new(), name }
    }

    fn row(&mut self) -> Row {
        let values = self.maker.vector();
        let values = if self.params.similarity == Similarity::DotProduct { unit(values) } else { values };
        Row::of(self.params.kind, &values)
    }

    /// Six in ten changes insert, two update, two remove.
    fn change(&mut self) {
        let record = self.maker.random.below(1 << 40) as i64;
        let old = self.rows.range(record..).next().map(|(record, _)| *record);
        match (self.maker.random.below(10), old) {
            (0 | 1, Some(old)) => {
                assert!(self.graph.remove(old));
                assert!(!self.graph.remove(old));
                self.rows.remove(&old);
            }
            (2 | 3, Some(old)) => {
                let row = self.row();
                let same = self.rows[&old] == row;
                let done = self.graph.insert(old, row.hash(), row.vector()).unwrap();
                assert_eq!(done, if same { Inserted::Same } else { Inserted::Replaced });
                self.rows.insert(old, row);
            }
            _ => {
                let row = self.row();
                assert_eq!(self.graph.insert(record, row.hash(), row.vector()), Ok(Inserted::New));
                self.rows.insert(record, row);
            }
        }
    }

    fn recall(&mut self, queries: usize) -> f64 {
        let mut sum = 0.0;
        for _ in 0..queries {
            let query = self.row();
            let Ok(query) = Query::new(self.params.similarity, query.vector()) else {
                sum += 1.0;
                continue;
            };
            sum += recall(&ask(&self.graph, &self.rows, &query, 100), &answer(&self.rows, &query));
        }
        sum / queries as f64
    }

    /// The share of rows that are found by their own vector, or others as near.
    fn found(&self, sample: usize) -> f64 {
        let step = (self.rows.len() / sample).max(1);
        let (mut asked, mut found) = (0, 0);
        for row in self.rows.values().step_by(step) {
            let Ok(query) = Query::new(self.params.similarity, row.vector()) else { continue };
            let best = ask(&self.graph, &self.rows, &query, 64);
            let own = query.score(row.vector(), smongo_search::vector::norm(row.vector())).unwrap();
            asked += 1;
            if !best.first().is_some_and(|hit| hit.0 >= own - 1e-6) {
                let all = answer(&self.rows, &query);
                eprintln!("{}: own {own} best {:?} of {} all {:?}", self.name, best.first(), best.len(), &all[..3]);
            }
            found += usize::from(best.first().is_some_and(|hit| hit.0 >= own - 1e-6));
        }
        if asked == 0 { 1.0 } else { f64::from(found as u32) / f64::from(asked) }
    }
}

fn law(distribution: Distribution) {
    let long = changes();
    let mut n = DISTRIBUTIONS.iter().position(|d| *d == distribution).unwrap_or(0);
    let mut failed = Vec::new();
    for dims in DIMS {
        for form in FORMS {
            n += 1;
            // In CI each distribution and number of dimensions has a few of the forms.
            if long.is_none() && n % 4 != 0 {
                continue;
            }
            let mut world = World::new(distribution, form, dims);
            let count = long.unwrap_or(if dims > 500 { 2500 } else { 4000 });
            (0..count).for_each(|_| world.change());
            assert_eq!(world.graph.len(), world.rows.len());
            let (recall, found) = (world.recall(if long.is_some() { 200 } else { 60 }), world.found(if long.is_some() { 2000 } else { 400 }));
            if long.is_some() {
                println!("{:<70} recall {recall:.4} found {found:.4} dead {:.2}", world.name, world.graph.dead_share());
            }
            if recall < 0.95 || found < 0.999 {
                failed.push(format!("{}: recall {recall:.4}, found by their own vector {found:.4}", world.name));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn uniform() {
    law(Distribution::Uniform);
}

#[test]
fn clusters() {
    law(Distribution::Clusters);
}

#[test]
fn overlapping() {
    law(Distribution::Overlapping);
}

#[test]
fn manifold() {
    law(Distribution::Manifold);
}

#[test]
fn copies() {
    law(Distribution::Copies);
}
