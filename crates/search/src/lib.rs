//! Search without storage: pure functions and structures in memory that the engine gives rows to and takes answers from.
//!
//! # Vectors
//!
//! Rows in storage are the truth. A [`vector::Graph`] is a cache of them: it holds for each record a code of the row that it was given
//! last, and finds those that are near to a query. [`vector::Query`] scores rows exactly, the same to the bit wherever a row lies.
//!
//! ```
//! use smongo_search::vector::{Graph, Kind, Params, Query, Similarity, Top, Vector, row_hash};
//!
//! let params = Params::new(Kind::Float, Similarity::Cosine, 2);
//! let graph = Graph::new(params);
//! graph.insert(1, row_hash(b"first row"), Vector::Float(&[1.0, 0.0])).unwrap();
//! graph.insert(2, row_hash(b"second row"), Vector::Float(&[0.6, 0.8])).unwrap();
//! let query = Query::new(Similarity::Cosine, Vector::Float(&[0.0, 3.0])).unwrap();
//! let view = graph.read();
//! let mut top = Top::new(10);
//! for hit in view.search(&query, 100, |node| view.record(node) != 7) {
//!     // Where the codes are not exact, rows are scored again: `query.score_bytes`.
//!     assert!(graph.params().is_exact());
//!     top.push(hit.record, query.score_of(hit.distance));
//! }
//! assert_eq!(top.into_sorted()[0].record, 2);
//! ```
//!
//! - Records are 64-bit ids; scores are from 0 (far) to 1 (near); sizes ([`memory`](vector::Graph::memory), [`estimate`](vector::Graph::estimate)) are bytes.
//! - All methods take `&self`: any number of threads insert, remove and search at once. [`read`](vector::Graph::read) holds the graph as it
//!   is, and with it keeps writers out.
//! - A row of another kind or size is [`GraphError::Shape`](vector::GraphError); such a query finds nothing. Nothing panics.
//! - [`save`](vector::Graph::save) writes the links, [`Loader`](vector::Loader) takes them back against the rows that there are; whatever is wrong with
//!   a file is a [`FileError`](vector::FileError) or a row that must be inserted, never a wrong answer.
//! - When [`dead_share`](vector::Graph::dead_share) is above a quarter, make a new graph from the rows.
//!
//! # Stages and indexes
//!
//! [`definition`] reads what an index is to hold, [`request`] what `$vectorSearch` asks for, [`filter`] what documents it may find; [`spec`] is how
//! all of them read, and how errors name what is wrong.
#![forbid(unsafe_code)]

pub mod definition;
pub mod filter;
pub mod request;
pub mod spec;
pub mod vector;
