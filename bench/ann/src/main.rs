//! Inserts, asks and scans the same vectors with the graph of `smongo-search` and with usearch, and prints both: see README.md.

mod data;

use data::Set;
use smongo_search::vector::{Graph, Kind, Params, Query, Similarity, Top, Vector, scan_pays};
use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;
use usearch::{IndexOptions, MetricKind, ScalarKind};

// What our programs allocate with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const M: usize = 16;
const CANDIDATES: usize = 128;
const K: usize = 10;
const EFS: [usize; 4] = [32, 64, 100, 200];

fn main() {
    let sets: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| (sets.is_empty() && name != "1m") || sets.iter().any(|s| s == name);
    println!("usearch {}, its kernels: {}", usearch::version(), usearch::hardware_acceleration_available());
    if wanted("100k") {
        bench("100,000 x 128, 1,000 clusters", &data::clusters(100_000, 128, 1000, 0.5, 2000));
    }
    if wanted("overlap") {
        bench("100,000 x 128, 100 overlapping clusters", &data::clusters(100_000, 128, 100, 1.0, 2000));
    }
    if wanted("768") {
        bench("20,000 x 768, 100 overlapping clusters", &data::clusters(20_000, 768, 100, 1.0, 1000));
    }
    if wanted("1m") {
        bench("1,000,000 x 128, 10,000 clusters", &data::clusters(1_000_000, 128, 10_000, 0.5, 2000));
    }
    if wanted("threads") {
        threads(&data::clusters(50_000, 128, 1000, 0.5, 0));
    }
}

/// Insertions of two builders at once beside those of one.
fn threads(set: &Set) {
    println!("\n50,000 x 128; insertions/s of all threads");
    for threads in [1, 2] {
        let graph = Graph::new(Params { max_edges: M, edge_candidates: CANDIDATES, ..Params::new(Kind::Float, Similarity::Cosine, set.dims) });
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let graph = &graph;
                scope.spawn(move || {
                    for (n, row) in set.rows.chunks_exact(set.dims).enumerate().filter(|(n, _)| n % threads == thread) {
                        graph.insert(n as i64, n as u64, Vector::Float(row)).expect("an insertion");
                    }
                });
            }
        });
        println!("  {threads} threads {:>15.0}", set.len() as f64 / start.elapsed().as_secs_f64());
    }
}

fn bench(name: &str, set: &Set) {
    println!("\n{name}; M {M}, efConstruction {CANDIDATES}, cosine, one thread");
    println!("  {:<22} {:>9} {:>9}  ratio", "", "ours", "usearch");
    let truth = truth(set);
    let threads = 1;
    let graph = Graph::new(Params { max_edges: M, edge_candidates: CANDIDATES, ..Params::new(Kind::Float, Similarity::Cosine, set.dims) });
    let index = usearch::new_index(&IndexOptions {
        dimensions: set.dims,
        metric: MetricKind::IP,
        quantization: ScalarKind::F32,
        connectivity: M,
        expansion_add: CANDIDATES,
        expansion_search: 64,
        multi: false,
        ..Default::default()
    })
    .expect("an index of usearch");
    index.reserve_capacity_and_threads(set.len(), threads).expect("room");

    // In turns, so that what else the machine does slows both.
    let (mut ours, mut theirs) = (0.0, 0.0);
    // Cosine is the product of vectors of length 1, which usearch is given; ours makes them itself.
    let unit_rows: Vec<Vec<f32>> = set.rows.chunks_exact(set.dims).map(unit).collect();
    let rows: Vec<&[f32]> = set.rows.chunks_exact(set.dims).collect();
    for (group, rows) in rows.chunks(2000).enumerate() {
        let first = group * 2000;
        let start = Instant::now();
        for (n, row) in rows.iter().enumerate() {
            let id = (first + n) as i64;
            graph.insert(id, id as u64, Vector::Float(row)).expect("an insertion");
        }
        ours += start.elapsed().as_secs_f64();
        let start = Instant::now();
        for (n, row) in unit_rows[first..first + rows.len()].iter().enumerate() {
            index.add((first + n) as u64, row).expect("an insertion");
        }
        theirs += start.elapsed().as_secs_f64();
    }
    let n = set.len() as f64;
    line("insertions/s", n / ours, n / theirs, "");
    println!("  {:<22} {:>9.0} {:>9.0}  bytes a vector", "memory", graph.memory() as f64 / n, index.memory_usage() as f64 / n);

    for ef in EFS {
        index.change_expansion_search(ef);
        let (mut ours, mut theirs) = (0.0, 0.0);
        let (mut found_ours, mut found_theirs) = (0, 0);
        let queries: Vec<&[f32]> = set.queries.chunks_exact(set.dims).collect();
        // An inner product orders the same whatever the length of the query.
        for (group, queries) in queries.chunks(200).enumerate() {
            let truth = &truth[group * 200..];
            let start = Instant::now();
            let hits: Vec<Vec<u64>> = queries.iter().map(|q| ask(&graph, q, ef)).collect();
            ours += start.elapsed().as_secs_f64();
            found_ours += hits.iter().zip(truth).map(|(hits, truth)| agreement(hits, truth)).sum::<usize>();
            let start = Instant::now();
            let hits: Vec<Vec<u64>> = queries.iter().map(|q| index.search(q, K).expect("a search").keys).collect();
            theirs += start.elapsed().as_secs_f64();
            found_theirs += hits.iter().zip(truth).map(|(hits, truth)| agreement(hits, truth)).sum::<usize>();
        }
        let q = queries.len() as f64;
        let recall = |found: usize| found as f64 / (q * K as f64);
        line(&format!("queries/s at ef {ef}"), q / ours, q / theirs, &format!("recall {:.4} {:.4}", recall(found_ours), recall(found_theirs)));
    }
    filters(set, &graph, &index);
    scan(set, &graph, &index);
}

fn line(what: &str, ours: f64, theirs: f64, more: &str) {
    println!("  {what:<22} {ours:>9.0} {theirs:>9.0}  {:>5.2}  {more}", ours / theirs);
}

fn ask(graph: &Graph, query: &[f32], ef: usize) -> Vec<u64> {
    let query = Query::new(Similarity::Cosine, Vector::Float(query)).expect("a query");
    graph.read().search(&query, ef, |_| true).iter().take(K).map(|hit| hit.record as u64).collect()
}

fn unit(v: &[f32]) -> Vec<f32> {
    let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
    v.iter().map(|x| x / norm).collect()
}

/// The nearest, by a plain loop over all.
fn truth(set: &Set) -> Vec<HashSet<u64>> {
    let rows: Vec<Vec<f32>> = set.rows.chunks_exact(set.dims).map(unit).collect();
    let one = |query: &[f32]| {
        let query = unit(query);
        let mut top = Top::new(K);
        for (n, row) in rows.iter().enumerate() {
            let mut sums = [0.0; 16];
            for (q, r) in query.as_chunks::<16>().0.iter().zip(row.as_chunks::<16>().0) {
                (0..16).for_each(|i| sums[i] += q[i] * r[i]);
            }
            top.push(n as i64, sums.iter().sum());
        }
        top.into_sorted().iter().map(|scored| scored.record as u64).collect()
    };
    set.queries.chunks_exact(set.dims).map(one).collect()
}

fn agreement(hits: &[u64], truth: &HashSet<u64>) -> usize {
    hits.iter().filter(|hit| truth.contains(hit)).count()
}

/// A filter that one in 100 or in 10 passes: ours as the engine does it, which scans when that is cheaper.
fn filters(set: &Set, graph: &Graph, index: &usearch::Index) {
    let ef = 100;
    index.change_expansion_search(ef);
    let queries: Vec<&[f32]> = set.queries.chunks_exact(set.dims).take(100).collect();
    for share in [100, 10] {
        let passing: Vec<i64> = (0..set.len() as i64).filter(|n| n % share == 3).collect();
        let scans = scan_pays(set.len(), passing.len(), ef);
        let start = Instant::now();
        for query in &queries {
            let query = Query::new(Similarity::Cosine, Vector::Float(query)).expect("a query");
            let view = graph.read();
            if scans {
                let mut top = Top::new(K);
                view.scan(&query, passing.iter().copied(), |hit| top.push(hit.record, query.score_of(hit.distance)));
                black_box(top.into_sorted());
            } else {
                black_box(view.search(&query, ef, |node| view.record(node) % share == 3));
            }
        }
        let ours = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for query in &queries {
            black_box(index.filtered_search(query, K, |key| key % share as u64 == 3).expect("a search"));
        }
        let theirs = start.elapsed().as_secs_f64();
        let q = queries.len() as f64;
        let way = if scans { "ours scans what passes" } else { "ours walks" };
        line(&format!("filter of 1 in {share}"), q / ours, q / theirs, way);
    }
}

fn scan(set: &Set, graph: &Graph, index: &usearch::Index) {
    let queries: Vec<&[f32]> = set.queries.chunks_exact(set.dims).take(20).collect();
    let gigabytes = (set.rows.len() * 4 * queries.len()) as f64 / 1e9;
    let start = Instant::now();
    for query in &queries {
        let query = Query::new(Similarity::Cosine, Vector::Float(query)).expect("a query");
        let mut top = Top::new(K);
        graph.read().scan_all(&query, |_| true, |hit| top.push(hit.record, query.score_of(hit.distance)));
        black_box(top.into_sorted());
    }
    let ours = gigabytes / start.elapsed().as_secs_f64();
    let bytes: &[u8] = &set.rows.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let start = Instant::now();
    let mut room = Vec::new();
    for query in &queries {
        let query = Query::new(Similarity::Cosine, Vector::Float(query)).expect("a query");
        let mut top = Top::new(K);
        for (n, row) in bytes.chunks_exact(set.dims * 4).enumerate() {
            top.push(n as i64, query.score_bytes(row, 1.0, &mut room).unwrap_or(0.0));
        }
        black_box(top.into_sorted());
    }
    let of_rows = gigabytes / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for query in &queries {
        black_box(index.exact_search(query, K).expect("a search"));
    }
    let theirs = gigabytes / start.elapsed().as_secs_f64();
    println!("  {:<22} {ours:>9.1} {theirs:>9.1}  {:>5.2}  from bytes of rows {of_rows:.1}", "exact scan, GB/s", ours / theirs);
}
