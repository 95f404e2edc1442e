//! The law of the cache file: whatever is in it, loading it and inserting what it has no place for gives a graph that answers as before,
//! and nothing panics.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{Distribution, Maker, Row, Rows, answer, ask, params, recall};
use smongo_search::vector::{Codes, FileError, Graph, Kind, Loader, Params, Query, Similarity, scale_of};

fn form() -> Params {
    Params { max_edges: 4, edge_candidates: 20, ..params(Kind::Float, Similarity::Euclidean, Codes::Full, 3) }
}

/// A graph of `n` records after some have changed and gone.
fn world(params: Params, distribution: Distribution, n: i64) -> (Graph, Rows, Maker) {
    let mut maker = Maker::new(distribution, params.dims, 5);
    let graph = Graph::new(params);
    let mut rows = Rows::new();
    for record in (0..n).chain((0..n).step_by(7)) {
        let row = Row::of(params.kind, &maker.vector());
        graph.insert(record, row.hash(), row.vector()).unwrap();
        rows.insert(record, row);
    }
    for record in (0..n).step_by(11) {
        graph.remove(record);
        rows.remove(&record);
    }
    (graph, rows, maker)
}

fn saved(graph: &Graph) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph.save(&mut bytes).unwrap();
    bytes
}

/// What the engine does at opening. The number of rows that had to be inserted comes with the graph.
fn load(params: Params, bytes: &[u8], rows: &Rows) -> (Result<(), FileError>, Graph, usize) {
    let mut missing = Vec::new();
    let (result, graph) = match Loader::open(params, bytes) {
        Ok(mut loader) => {
            for (record, row) in rows {
                if !loader.row(*record, row.hash(), row.vector()) {
                    missing.push((record, row));
                }
            }
            (Ok(()), loader.finish())
        }
        Err(e) => {
            missing.extend(rows);
            (Err(e), Graph::new(params))
        }
    };
    for (record, row) in &missing {
        graph.insert(**record, row.hash(), row.vector()).unwrap();
    }
    (result, graph, missing.len())
}

fn recall_of(graph: &Graph, rows: &Rows, maker: &mut Maker, queries: usize) -> f64 {
    assert_eq!(graph.len(), rows.len());
    let of = |graph: &Graph, maker: &mut Maker| {
        let row = Row::of(graph.params().kind, &maker.vector());
        let query = Query::new(graph.params().similarity, row.vector()).unwrap();
        recall(&ask(graph, rows, &query, 100), &answer(rows, &query))
    };
    (0..queries).map(|_| of(graph, maker)).sum::<f64>() / queries as f64
}

#[test]
fn what_was_saved_is_loaded() {
    let codes = Codes::Scalar { scale: 1.5 };
    for (kind, codes) in [(Kind::Float, Codes::Full), (Kind::Float, codes), (Kind::Int8, Codes::Full), (Kind::Bit, Codes::Full)] {
        for distribution in common::DISTRIBUTIONS {
            let params = params(kind, Similarity::Euclidean, codes, 16);
            let (graph, rows, mut maker) = world(params, distribution, 3000);
            let before = recall_of(&graph, &rows, &mut maker, 50);
            let bytes = saved(&graph);
            let (result, loaded, missing) = load(params, &bytes, &rows);
            assert!(result.is_ok() && missing == 0, "{missing} rows had no place");
            assert_eq!(loaded.dead_share(), 0.0);
            let after = recall_of(&loaded, &rows, &mut maker, 50);
            assert!(after > 0.95 && after > before - 0.02, "{distribution:?} {kind:?}: recall {before} before, {after} after");
            // Once more: now nothing is left out.
            let (_, again, _) = load(params, &saved(&loaded), &rows);
            assert_eq!(saved(&again), saved(&loaded));
        }
    }
}

#[test]
fn a_graph_without_anything_has_a_file() {
    let bytes = saved(&Graph::new(form()));
    let (result, graph, _) = load(form(), &bytes, &Rows::new());
    assert!(result.is_ok() && graph.is_empty());
    let rows = world(form(), Distribution::Uniform, 50).1;
    let (_, graph, missing) = load(form(), &bytes, &rows);
    assert_eq!((graph.len(), missing), (rows.len(), rows.len()));
}

#[test]
fn cut_off_or_flipped_anywhere() {
    let (graph, rows, mut maker) = world(form(), Distribution::Overlapping, 60);
    let bytes = saved(&graph);
    assert!(bytes.len() > 2000);
    let queries: Vec<_> =
        (0..3).map(|_| Query::new(Similarity::Euclidean, Row::Float(maker.vector()).vector()).unwrap()).collect();
    let answers: Vec<_> = queries.iter().map(|query| answer(&rows, query)).collect();
    let check = |bytes: &[u8], what: &str| {
        let (result, graph, _) = load(form(), bytes, &rows);
        assert!(result.is_err(), "{what} was not noticed");
        for (query, answer) in queries.iter().zip(&answers) {
            // All of these few are walked through: the answer is the whole one.
            assert_eq!(ask(&graph, &rows, query, 100), answer[..10], "{what}");
        }
    };
    for at in 0..bytes.len() {
        check(&bytes[..at], &format!("an end at {at}"));
        for bit in [0, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            check(&flipped, &format!("bit {bit} of byte {at}"));
        }
    }
    check(&[bytes.clone(), vec![0]].concat(), "a byte behind the end");
}

/// The same with checksums that are right: what a program wrote that was wrong.
#[test]
fn flipped_under_the_checksum() {
    let (graph, rows, mut maker) = world(form(), Distribution::Overlapping, 60);
    let bytes = saved(&graph);
    let mut taken = 0;
    for at in 4..bytes.len() {
        for bit in [0, 3, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let sum = crc32c::crc32c(&flipped[4..]).to_le_bytes();
            flipped[..4].copy_from_slice(&sum);
            let (result, graph, _) = load(form(), &flipped, &rows);
            taken += usize::from(result.is_ok());
            let recall = recall_of(&graph, &rows, &mut maker, 1);
            assert!(recall >= 0.9, "byte {at}: recall {recall}");
        }
    }
    assert!(taken > bytes.len(), "most files can be used: {taken}");
}

#[test]
fn an_old_file_costs_what_has_changed_since() {
    let params = params(Kind::Float, Similarity::Cosine, Codes::Full, 24);
    let (graph, mut rows, mut maker) = world(params, Distribution::Manifold, 4000);
    let bytes = saved(&graph);
    // Every record near one place goes, and others come and change.
    let centre = Query::new(Similarity::Cosine, rows[&1].vector()).unwrap();
    for (_, record) in answer(&rows, &centre).into_iter().take(400) {
        rows.remove(&record);
    }
    for record in (0..4000).step_by(40).chain(5000..5200) {
        rows.insert(record, Row::Float(maker.vector()));
    }
    let (result, graph, missing) = load(params, &bytes, &rows);
    assert!(result.is_ok() && (200..=300).contains(&missing), "{missing} rows had no place");
    let recall = recall_of(&graph, &rows, &mut maker, 200);
    assert!(recall > 0.95, "recall {recall}");
    let mut near = 0.0;
    for (_, record) in answer(&rows, &centre).into_iter().take(50) {
        let query = Query::new(Similarity::Cosine, rows[&record].vector()).unwrap();
        near += common::recall(&ask(&graph, &rows, &query, 100), &answer(&rows, &query)) / 50.0;
    }
    assert!(near > 0.95, "recall around what went is {near}");
}

#[test]
fn a_file_of_something_else_is_foreign() {
    let (graph, ..) = world(form(), Distribution::Uniform, 30);
    let bytes = saved(&graph);
    let others = [
        Params { dims: 4, ..form() },
        Params { max_edges: 5, ..form() },
        Params { similarity: Similarity::Cosine, ..form() },
        Params { kind: Kind::Int8, ..form() },
        Params { codes: Codes::Binary, ..form() },
        Params { codes: Codes::Scalar { scale: 1.0 }, ..form() },
    ];
    for other in others {
        assert!(matches!(Loader::open(other, &bytes[..]), Err(FileError::Foreign)), "{other:?}");
    }
    assert_eq!(scale_of(&bytes[..]).unwrap(), None);
    let scalar = Params { codes: Codes::Scalar { scale: 0.75 }, ..form() };
    assert_eq!(scale_of(&saved(&Graph::new(scalar))[..]).unwrap(), Some(0.75));
    assert!(scale_of(&b"anything"[..]).is_err());
}

/// Two records have changed places: each is where its row was.
#[test]
fn rows_that_moved_are_inserted() {
    let (graph, mut rows, _) = world(form(), Distribution::Uniform, 200);
    let bytes = saved(&graph);
    let (a, b) = (rows[&1].clone(), rows[&2].clone());
    rows.insert(1, b);
    rows.insert(2, a);
    let (_, graph, missing) = load(form(), &bytes, &rows);
    assert_eq!(missing, 2);
    let query = Query::new(Similarity::Euclidean, rows[&1].vector()).unwrap();
    assert_eq!(ask(&graph, &rows, &query, 100)[0].1, 1);
}
