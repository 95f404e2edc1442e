//! Meanings that are easy to get wrong; the bulk is in case files and the functional suite.

use smongo_bson::json::parse_doc;
use smongo_bson::{Code, Result};

use super::{Matcher, Node};
use crate::arena::Arena;
use crate::cx::CompileCx;

fn matcher(filter: &str) -> Result<Matcher> {
    Matcher::compile(parse_doc(filter)?.as_doc(), &CompileCx::default())
}

fn matches(filter: &str, doc: &str) -> bool {
    let run = || matcher(filter)?.matches(parse_doc(doc)?.as_doc(), &Arena::new());
    run().unwrap_or_else(|e| panic!("{filter}: {e}"))
}

fn position(filter: &str, doc: &str) -> Option<u32> {
    let run = || matcher(filter)?.matches_with_position(parse_doc(doc)?.as_doc(), &Arena::new());
    run().unwrap_or_else(|e| panic!("{filter}: {e}")).unwrap_or(None)
}

fn code(filter: &str) -> Code {
    matcher(filter).err().map_or(Code(0), |e| e.code())
}

#[test]
fn null_and_what_is_missing() {
    for doc in ["{}", r#"{"a": null}"#, r#"{"a": [1, null]}"#] {
        assert!(matches(r#"{"a": null}"#, doc), "{doc}");
    }
    assert!(!matches(r#"{"a": null}"#, r#"{"a": {"$undefined": true}}"#));
    assert!(matches(r#"{"a.b": null}"#, r#"{"a": 5}"#));
    assert!(!matches(r#"{"a.b": null}"#, r#"{"a": []}"#));
    assert!(matches(r#"{"a.b": {"$exists": false}}"#, r#"{"a": []}"#));
}

#[test]
fn arrays_as_a_whole_and_by_element() {
    assert!(matches(r#"{"a": [1, 2]}"#, r#"{"a": [[1, 2], 3]}"#));
    assert!(matches(r#"{"a": {"$gt": 1, "$lt": 0}}"#, r#"{"a": [-5, 5]}"#));
    assert!(!matches(r#"{"a": {"$elemMatch": {"$gt": 1, "$lt": 0}}}"#, r#"{"a": [-5, 5]}"#));
    assert!(!matches(r#"{"a": {"$gt": 1}}"#, r#"{"a": [[5]]}"#));
    assert!(!matches(r#"{"a": {"$ne": 1}}"#, r#"{"a": [1, 2]}"#));
}

#[test]
fn the_position_is_that_of_the_outermost_array() {
    assert_eq!(position(r#"{"a": 5}"#, r#"{"a": [1, 5]}"#), Some(1));
    assert_eq!(position(r#"{"a.b": 5}"#, r#"{"a": [{"b": 1}, {"b": [4, 5]}]}"#), Some(1));
    assert_eq!(position(r#"{"a": {"$elemMatch": {"b": 5}}}"#, r#"{"a": [{"b": 1}, {}, {"b": [4, 5]}]}"#), Some(2));
    assert_eq!(position(r#"{"a": 5, "c": 7}"#, r#"{"a": [1, 5], "c": [7]}"#), Some(0));
    assert_eq!(position(r#"{"a": {"$ne": 5}}"#, r#"{"a": [1]}"#), None);
}

#[test]
fn the_tree_is_normal() {
    assert!(matches!(matcher(r#"{"$and": [{"a": {"$in": [1]}}]}"#).map(|m| m.root), Ok(Node::Compare { .. })));
    let flat = matcher(r#"{"a": 1, "$and": [{"b": 1}, {"$and": [{"c": 1}, {"d": 1}]}]}"#).map(|m| m.root);
    assert!(matches!(flat, Ok(Node::And(children)) if children.len() == 4));
    assert!(matches!(matcher(r#"{"a": {"$in": []}}"#).map(|m| m.root), Ok(Node::AlwaysFalse)));
}

#[test]
fn errors() {
    assert_eq!(code(r#"{"a": {"$foo": 1}}"#), Code::BadValue);
    assert_eq!(code(r#"{"$or": 1}"#), Code::BadValue);
    assert_eq!(code(r#"{"a": {"$type": true}}"#), Code::TypeMismatch);
    assert_eq!(code(r#"{"a": {"$regex": "("}}"#), Code(51091));
}

#[test]
fn upserts_take_equalities() {
    let m = matcher(r#"{"a": 1, "$and": [{"b.c": {"$eq": 2}}, {"d": {"$in": [3]}}], "e": {"$gt": 1}}"#).unwrap_or_else(|e| panic!("{e}"));
    let paths: Vec<&str> = m.equalities().map(|v| v.into_iter().map(|(p, _)| p).collect()).unwrap_or_default();
    assert_eq!(paths, ["a", "b.c", "d"]);
    let twice = matcher(r#"{"a": 1, "a.b": 1}"#).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(twice.equalities().err().map(|e| e.code()), Some(Code::NotSingleValueField));
}
