//! The law of the graph: of what is nearest it finds 95 % and more, after whatever was inserted, changed and removed; it finds nodes by
//! their own vectors, dead ones never, and what several threads build is as good as what one does.
//!
//! `SMONGO_RECALL=10000 cargo test --release -p smongo-search --test recall_law -- --nocapture` makes as many changes on each graph, in all combinations,
//! and prints what it found.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{DISTRIBUTIONS, Distribution, Maker, Row, Rows, answer, ask, params, recall};
use smongo_search::vector::{Codes, Graph, GraphError, Inserted, Kind, Params, Query, Similarity, Top, Vector, norm, scale};
use std::sync::atomic::{AtomicBool, Ordering};

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
            let own = query.score(row.vector(), norm(row.vector())).unwrap();
            asked += 1;
            found += usize::from(best.first().is_some_and(|hit| hit.0 >= own));
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

/// Binary codes are rough: the law is that the walk finds what is nearest by the codes.
#[test]
fn binary_codes() {
    let mut world = World::new(Distribution::Overlapping, (Kind::Float, Similarity::Cosine, "full"), 256);
    world.params.codes = Codes::Binary;
    world.graph = Graph::new(world.params);
    (0..4000).for_each(|_| world.change());
    let (mut sum, queries) = (0.0, 60);
    for _ in 0..queries {
        let query = world.row();
        let query = Query::new(Similarity::Cosine, query.vector()).unwrap();
        let view = world.graph.read();
        let mut all = Vec::new();
        view.scan_all(&query, |_| true, |hit| all.push((-hit.distance, hit.record)));
        assert_eq!(all.len(), world.rows.len());
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let found: Vec<_> = view.search(&query, 100, |_| true).iter().take(10).map(|hit| (-hit.distance, hit.record)).collect();
        sum += recall(&found, &all) / f64::from(queries);
    }
    assert!(sum >= 0.95, "recall {sum}");
}

/// Products of vectors of very different lengths. MongoDB's manual wants them of one length, and the graph's links are made for that; it finds
/// most of what is nearest all the same.
#[test]
fn products_of_any_length() {
    for distribution in [Distribution::Overlapping, Distribution::Manifold] {
        let mut world = World::new(distribution, (Kind::Float, Similarity::DotProduct, "full"), 32);
        for record in 0..4000 {
            let factor = 0.1 + world.maker.random.uniform() * 3.0;
            let row = Row::Float(world.maker.vector().iter().map(|x| x * factor).collect());
            world.graph.insert(record, row.hash(), row.vector()).unwrap();
            world.rows.insert(record, row);
        }
        let recall = world.recall(100);
        assert!(recall >= 0.9, "{distribution:?}: recall {recall}");
    }
}

#[test]
fn four_builders_are_as_good_as_one() {
    for distribution in [Distribution::Overlapping, Distribution::Copies] {
        let mut world = World::new(distribution, (Kind::Float, Similarity::Euclidean, "full"), 48);
        let rows: Vec<Row> = (0..8000).map(|_| world.row()).collect();
        world.rows = rows.iter().cloned().enumerate().map(|(n, row)| (n as i64, row)).collect();
        let builders = AtomicBool::new(true);
        let (graph, rows) = (&world.graph, &rows);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|thread| {
                    scope.spawn(move || {
                        for (n, row) in rows.iter().enumerate().skip(thread).step_by(4) {
                            graph.insert(n as i64, row.hash(), row.vector()).unwrap();
                            // Two threads change one record at once: it is there once.
                            if n % 10 == 0 {
                                graph.insert(n as i64 + 1, rows[n + 1].hash(), rows[n + 1].vector()).unwrap();
                            }
                        }
                    })
                })
                .collect();
            // Searches go on meanwhile and see whole nodes only.
            let builders = &builders;
            scope.spawn(move || {
                let query = Query::new(Similarity::Euclidean, rows[0].vector()).unwrap();
                while builders.load(Ordering::Relaxed) {
                    let view = graph.read();
                    for hit in view.search(&query, 20, |_| true) {
                        assert_eq!(view.distance(&query, hit.record), Some(hit.distance));
                    }
                }
            });
            all.into_iter().for_each(|builder| builder.join().unwrap());
            builders.store(false, Ordering::Relaxed);
        });
        assert_eq!(world.graph.len(), 8000);
        let (recall, found) = (world.recall(100), world.found(2000));
        assert!(recall >= 0.95, "{distribution:?}: recall {recall}");
        world.graph = Graph::new(world.params);
        for (record, row) in &world.rows {
            world.graph.insert(*record, row.hash(), row.vector()).unwrap();
        }
        // Of vectors that are there 27 times 64 results are two and a half: a walk among so few may end beside its goal, whoever built.
        let one = world.found(2000);
        let least = if distribution == Distribution::Copies { one - 0.01 } else { 0.999 };
        assert!(found >= least, "{distribution:?}: found by their own vector {found}, built by one {one}");
    }
}

/// What passes decides what is found, however little passes.
#[test]
fn filters() {
    let mut world = World::new(Distribution::Overlapping, (Kind::Float, Similarity::Cosine, "full"), 24);
    (0..5000).for_each(|_| world.change());
    for share in [2, 10, 100] {
        let (mut sum, queries) = (0.0, 30);
        for _ in 0..queries {
            let query = world.row();
            let query = Query::new(Similarity::Cosine, query.vector()).unwrap();
            let passing = world.rows.iter().filter(|(record, _)| *record % share == 0).map(|(record, row)| (*record, row.clone())).collect();
            let answer = answer(&passing, &query);
            let view = world.graph.read();
            let hits = view.search(&query, 100, |node| view.record(node) % share == 0);
            assert!(hits.iter().all(|hit| hit.record % share == 0));
            let found: Vec<_> = hits.iter().take(10).map(|hit| (query.score_of(hit.distance), hit.record)).collect();
            sum += recall(&found, &answer) / f64::from(queries);
            // A scan of what passes is the answer, to the bit.
            let mut top = Top::new(10);
            view.scan(&query, passing.keys().copied(), |hit| top.push(hit.record, query.score_of(hit.distance)));
            let top: Vec<_> = top.into_sorted().iter().map(|scored| (scored.score, scored.record)).collect();
            assert_eq!(top, answer[..answer.len().min(10)]);
        }
        assert!(sum >= 0.95, "one in {share}: recall {sum}");
    }
}

/// The graph's distances and the rows' are the same to the bit where codes are exact.
#[test]
fn scores_do_not_depend_on_where_a_row_lies() {
    for form in FORMS.into_iter().filter(|form| form.2 == "full") {
        for dims in [3, 17, 127, 768] {
            let mut world = World::new(Distribution::Overlapping, form, dims);
            (0..50).for_each(|_| world.change());
            let query = world.row();
            let query = Query::new(form.1, query.vector()).unwrap();
            let mut room = Vec::new();
            let mut seen = 0;
            world.graph.read().scan_all(&query, |_| true, |hit| {
                let row = &world.rows[&hit.record];
                let score = query.score_of(hit.distance);
                assert_eq!(query.score(row.vector(), norm(row.vector())), Some(score), "{}", world.name);
                assert_eq!(query.score_bytes(&row.bytes(), norm(row.vector()), &mut room), Some(score));
                seen += 1;
            });
            assert_eq!(seen, world.rows.len());
        }
    }
}

/// One record that changes ten thousand times, to and fro between two rows, is found and is alone.
#[test]
fn one_record_that_changes_often() {
    let graph = Graph::new(params(Kind::Float, Similarity::Euclidean, Codes::Full, 2));
    let places = [[0.0, 1.0], [1.0, 0.0]];
    for n in 0..10_000usize {
        assert_ne!(graph.insert(7, n as u64, Vector::Float(&places[n % 2])), Ok(Inserted::Same));
    }
    graph.insert(8, 1, Vector::Float(&[5.0, 5.0])).unwrap();
    let query = Query::new(Similarity::Euclidean, Vector::Float(&[0.0, 0.0])).unwrap();
    let hits = graph.read().search(&query, 10, |_| true);
    assert_eq!(hits.iter().map(|hit| hit.record).collect::<Vec<_>>(), [7, 8]);
    assert!(graph.dead_share() > 0.99);
    assert!(graph.remove(7) && graph.remove(8));
    assert_eq!((graph.len(), graph.dead_share(), graph.memory() < 100_000), (0, 0.0, true));
    assert!(graph.read().search(&query, 10, |_| true).is_empty());
    assert_eq!(graph.insert(9, 1, Vector::Float(&[5.0, 5.0])), Ok(Inserted::New));
}

#[test]
fn others_are_refused() {
    let graph = Graph::new(params(Kind::Float, Similarity::Euclidean, Codes::Full, 2));
    assert_eq!(graph.insert(1, 1, Vector::Float(&[0.0])), Err(GraphError::Shape));
    assert_eq!(graph.insert(1, 1, Vector::Int8(&[0, 0])), Err(GraphError::Shape));
    graph.insert(1, 1, Vector::Float(&[0.0, 1.0])).unwrap();
    let query = Query::new(Similarity::Euclidean, Vector::Float(&[0.0; 3])).unwrap();
    assert!(graph.read().search(&query, 10, |_| true).is_empty());
    assert_eq!(graph.read().distance(&query, 1), None);
    // Whatever is no number is far, and walks end.
    graph.insert(2, 2, Vector::Float(&[f32::NAN, f32::INFINITY])).unwrap();
    graph.insert(3, 3, Vector::Float(&[f32::INFINITY, f32::NEG_INFINITY])).unwrap();
    let query = Query::new(Similarity::Euclidean, Vector::Float(&[0.0, 1.0])).unwrap();
    assert_eq!(graph.read().search(&query, 10, |_| true)[0].record, 1);
}
