//! The cache file of a graph: whatever it holds, the graph that is made with it has all rows and no others, and finds them.

use smongo_search::vector::{Graph, Kind, Loader, Params, Query, Similarity, Vector, row_hash};

const ROWS: i64 = 40;

fn params() -> Params {
    Params { max_edges: 4, edge_candidates: 8, ..Params::new(Kind::Int8, Similarity::Euclidean, 3) }
}

fn row(record: i64) -> [i8; 3] {
    [record as i8, (record * 7 % 40) as i8, (record % 5) as i8]
}

fn hash(record: i64) -> u64 {
    row_hash(&row(record).map(|x| x as u8))
}

/// What lies in a file without the checksums of its blocks: mutations would hardly get past them.
pub fn graph_file(data: &[u8]) {
    let mut file = Vec::with_capacity(data.len() + 4);
    for block in data.chunks((1 << 16) - 4) {
        file.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
        file.extend_from_slice(block);
    }
    let mut missing: Vec<i64> = (0..ROWS).collect();
    let graph = match Loader::open(params(), &file[..]) {
        Ok(mut loader) => {
            missing.retain(|record| !loader.row(*record, hash(*record), Vector::Int8(&row(*record))));
            loader.finish()
        }
        Err(_) => Graph::new(params()),
    };
    for record in missing {
        graph.insert(record, hash(record), Vector::Int8(&row(record))).expect("a row of this graph's form");
    }
    assert_eq!(graph.len(), ROWS as usize);
    assert!(graph.read().records().all(|record| (0..ROWS).contains(&record)));
    for record in [0, 17, ROWS - 1] {
        let query = Query::new(Similarity::Euclidean, Vector::Int8(&row(record))).expect("a query");
        for hit in graph.read().search(&query, 64, |_| true) {
            let score = query.score(Vector::Int8(&row(hit.record)), 0.0).expect("of one form");
            assert_eq!(score, query.score_of(hit.distance), "record {}", hit.record);
        }
    }
}

/// A file of these rows, and one of a graph in which some have changed.
pub fn graph_file_seeds() -> Vec<Vec<u8>> {
    let graph = Graph::new(params());
    let mut files = Vec::new();
    for other in [0, 1] {
        for record in (0..ROWS).filter(|record| other == 0 || record % 6 == 0) {
            let row = row(record).map(|x| x.wrapping_add(other));
            graph.insert(record, row_hash(&row.map(|x| x as u8)), Vector::Int8(&row)).expect("a row of this graph's form");
        }
        let mut file = Vec::new();
        graph.save(&mut file).expect("memory");
        // One block: without its checksum it is what lies in it.
        files.push(file.split_off(4));
    }
    files
}
