//! The query language: pure functions over BSON, compiled once, run per document
