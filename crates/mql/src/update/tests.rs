//! Laws of updates, and the oplog entries they make. What operators do is in `cases/update`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use smongo_bson::json::parse_doc;
use smongo_bson::testing;
use smongo_bson::{Doc, DocBuf, Value, json};

use super::{Update, diff};
use crate::arena::Arena;
use crate::cx::CompileCx;
use crate::matcher::Matcher;

fn doc(text: &str) -> DocBuf {
    parse_doc(text).unwrap()
}

/// The document after an update and the diff the oplog gets of it.
fn applied(before: Doc<'_>, update: &str) -> Option<(DocBuf, DocBuf)> {
    let cx = CompileCx::default();
    let filter = Matcher::compile(Doc::EMPTY, &cx).unwrap();
    let update = Update::compile(Value::Document(doc(update).as_doc()), None, &cx).unwrap();
    let result = update.apply(before, &filter, &Arena::new()).ok()?;
    Some((result.doc?, result.delta?))
}

fn delta(before: &str, update: &str) -> String {
    let (_, delta) = applied(doc(before).as_doc(), update).unwrap();
    json::to_relaxed(delta.get("diff").as_doc().unwrap())
}

#[test]
fn deltas_name_what_changed() {
    assert_eq!(delta(r#"{"_id": 1, "a": 1}"#, r#"{"$set": {"a": 2, "b": 3}}"#), r#"{"u":{"a":2},"i":{"b":3}}"#);
    assert_eq!(delta(r#"{"_id": 1, "a": 1}"#, r#"{"$unset": {"a": 1}}"#), r#"{"d":{"a":false}}"#);
    assert_eq!(delta(r#"{"_id": 1, "a": {"b": 1}}"#, r#"{"$inc": {"a.b": 1, "a.c": 1}}"#), r#"{"sa":{"u":{"b":2},"i":{"c":1}}}"#);
    assert_eq!(delta(r#"{"_id": 1, "a": [1, 2]}"#, r#"{"$push": {"a": 3}}"#), r#"{"sa":{"a":true,"u2":3}}"#);
    assert_eq!(delta(r#"{"_id": 1, "a": [1, {"x": 1}]}"#, r#"{"$set": {"a.1.x": 2}}"#), r#"{"sa":{"a":true,"s1":{"u":{"x":2}}}}"#);
    assert_eq!(delta(r#"{"_id": 1, "a": [1]}"#, r#"{"$set": {"a.2": 5}}"#), r#"{"sa":{"a":true,"u1":null,"u2":5}}"#);
    assert_eq!(delta(r#"{"_id": 1, "a": [1, 2, 3]}"#, r#"{"$pull": {"a": 2}}"#), r#"{"u":{"a":[1,3]}}"#);
}

#[test]
fn updates_that_change_nothing_say_so() {
    let before = doc(r#"{"_id": 1, "a": 1, "b": [1], "c": {"d": 1}}"#);
    for update in [
        r#"{"$set": {"a": 1}}"#,
        r#"{"$set": {"c.d": 1}}"#,
        r#"{"$inc": {"a": 0}}"#,
        r#"{"$unset": {"x.y": 1}}"#,
        r#"{"$addToSet": {"b": 1}}"#,
        r#"{"$pull": {"b": 7}}"#,
        r#"{"$max": {"a": 0}}"#,
        r#"{"$setOnInsert": {"z": 0}}"#,
        r#"{"$rename": {"x": "y"}}"#,
        r#"{"$set": {}}"#,
    ] {
        assert!(applied(before.as_doc(), update).is_none(), "{update}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// apply(diff(a, b), a) = b, fields and their order.
    #[test]
    fn a_diff_leads_from_one_document_to_the_other(a in testing::distinct_document(), b in testing::distinct_document()) {
        if let Some(found) = diff::diff(a.as_doc(), b.as_doc()) {
            let after = diff::apply(found.as_doc(), a.as_doc()).unwrap();
            prop_assert_eq!(after.as_bytes(), b.as_bytes(), "{:?} by {:?} to {:?}", a, found, b);
        }
    }

    /// The delta written while updating leads to the same document as the update.
    #[test]
    fn a_delta_leads_to_the_updated_document(before in testing::distinct_document(), update in operators()) {
        if let Some((after, delta)) = applied(before.as_doc(), &update) {
            let diff = delta.get("diff").as_doc().unwrap();
            let replayed = diff::apply(diff, before.as_doc()).unwrap();
            prop_assert_eq!(replayed.as_bytes(), after.as_bytes(), "{:?} by {} gives {:?}, delta {:?}", before, update, after, delta);
            smongo_bson::check::document(after.as_bytes()).unwrap();
        }
    }
}

/// A few operators on short paths, some through arrays.
fn operators() -> impl Strategy<Value = String> {
    let path = proptest::sample::select(vec!["a", "b", "c", "a.b", "a.0", "b.1", "b.3", "c.a.b", "d.0.a", "ab.c"]);
    let operand = proptest::sample::select(vec!["1", "2.5", "\"x\"", "null", "[1, 2]", "{\"a\": 1}"]);
    let operator = proptest::sample::select(vec!["$set", "$unset", "$inc", "$max", "$push", "$addToSet", "$pull", "$min"]);
    proptest::collection::vec((operator, path, operand), 1..4).prop_map(|ops| {
        let mut text = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let mut first: Vec<&str> = Vec::new();
        for (operator, path, operand) in ops {
            let top = path.split('.').next().unwrap_or_default();
            let operand = if operator == "$inc" { "1" } else { operand };
            if !names.contains(&operator) && !first.contains(&top) {
                names.push(operator);
                first.push(top);
                text.push(format!("\"{operator}\": {{\"{path}\": {operand}}}"));
            }
        }
        format!("{{{}}}", text.join(", "))
    })
}
