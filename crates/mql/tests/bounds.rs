//! Large inputs take time in proportion to their size: each of these would take minutes if something were quadratic.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Memory;
use smongo_bson::json::parse_doc;
use smongo_bson::{DocBuf, ValueBuf};
use smongo_mql::{Arena, CompileCx, Matcher};

/// What each test may take, in seconds of CPU: many times what it does.
const BOUND: f64 = 5.0;

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    (fields.get(10).unwrap_or(&0.0) + fields.get(11).unwrap_or(&0.0)) / 100.0
}

fn bounded<T>(what: impl FnOnce() -> T) -> T {
    let before = cpu();
    let result = what();
    let spent = cpu() - before;
    assert!(spent < BOUND, "{spent} s");
    result
}

fn run(docs: Vec<DocBuf>, foreign: Vec<DocBuf>, stages: &str) -> Vec<String> {
    let doc = parse_doc(&format!("{{\"p\": {stages}}}")).unwrap();
    let stages: Vec<DocBuf> = doc.get("p").as_array().unwrap().iter().map(|s| DocBuf::from(s.as_doc().unwrap())).collect();
    let mut host = Memory::new(docs, foreign);
    host.optimize = true;
    host.run(&stages).unwrap()
}

fn numbers(n: i32) -> Vec<DocBuf> {
    (0..n).map(|i| DocBuf::build(|w| { w.append("_id", i).append("a", i % 1000); })).collect()
}

/// A document of many fields.
fn wide(fields: i32) -> DocBuf {
    DocBuf::build(|w| (0..fields).for_each(|f| { w.append(&format!("field{f}"), f); }))
}

#[test]
fn in_of_a_hundred_thousand_values() {
    let list = ValueBuf::array(|w| (0..100_000).for_each(|i| { w.push(format!("value {i}").as_str()); }));
    let filter = DocBuf::build(|w| { w.document("a").append("$in", list.view()); });
    bounded(|| {
        let matcher = Matcher::compile(filter.as_doc(), &CompileCx::default()).unwrap();
        let arena = Arena::new();
        let found = (0..50_000).filter(|i| {
            let doc = DocBuf::build(|w| { w.append("a", format!("value {}", i * 4).as_str()); });
            matcher.matches(doc.as_doc(), &arena).unwrap()
        });
        assert_eq!(found.count(), 25_000);
    });
}

#[test]
fn long_arrays_are_pushed() {
    let answer = bounded(|| run(numbers(300_000), Vec::new(), r#"[{"$group": {"_id": null, "all": {"$push": "$_id"}, "set": {"$addToSet": "$_id"}}}, {"$project": {"n": {"$size": "$all"}, "s": {"$size": "$set"}}}]"#));
    assert!(answer[0].contains("300000"), "{answer:?}");
}

#[test]
fn documents_of_ten_thousand_fields() {
    let docs: Vec<DocBuf> = (0..20).map(|_| wide(10_000)).collect();
    let keep: Vec<String> = (0..2000).map(|f| format!("\"field{}\": 1", f * 5)).collect();
    let set: Vec<String> = (0..2000).map(|f| format!("\"field{}\": {{\"$add\": [\"$field{}\", 1]}}", f * 5, f * 5)).collect();
    let stages = format!("[{{\"$set\": {{{}}}}}, {{\"$project\": {{{}}}}}, {{\"$count\": \"n\"}}]", set.join(", "), keep.join(", "));
    assert_eq!(bounded(|| run(docs, Vec::new(), &stages)).len(), 1);
}

#[test]
fn objects_of_ten_thousand_fields_are_merged() {
    let docs: Vec<DocBuf> = (0..200).map(|_| wide(10_000)).collect();
    assert_eq!(bounded(|| run(docs, Vec::new(), r#"[{"$group": {"_id": null, "o": {"$mergeObjects": "$$ROOT"}}}]"#)).len(), 1);
}

/// A document in `name`s of arrays, so deep.
fn nested(name: &str, depth: usize, core: DocBuf) -> DocBuf {
    (0..depth).fold(core, |inner, _| {
        DocBuf::build(|w| {
            w.array(name).push(inner.as_doc());
        })
    })
}

#[test]
fn nesting_a_hundred_deep() {
    bounded(|| {
        let filter = nested("$and", 99, parse_doc("{\"a\": 1}").unwrap());
        Matcher::compile(filter.as_doc(), &CompileCx::default()).unwrap();
        let expression = nested("$add", 90, parse_doc("{\"$abs\": \"$a\"}").unwrap());
        let stage = DocBuf::build(|w| {
            w.document("$project").append("v", expression.as_doc());
        });
        assert_eq!(Memory::new(numbers(1000), Vec::new()).run(&[stage]).unwrap().len(), 1000);
    });
}

#[test]
fn pipelines_of_a_thousand_stages() {
    let stages = |count: usize| -> Vec<DocBuf> {
        let pair = |i| [format!("{{\"$addFields\": {{\"f{i}\": {{\"$add\": [\"$a\", {i}]}}}}}}"), format!("{{\"$match\": {{\"f{i}\": {{\"$gte\": 0}}, \"a\": {{\"$gte\": 0}}}}}}")];
        (0..count / 2).flat_map(pair).map(|s| parse_doc(&s).unwrap()).collect()
    };
    let mut host = Memory::new(numbers(20), Vec::new());
    host.optimize = true;
    bounded(|| {
        assert!(host.rewrites(&stages(500)));
        assert_eq!(host.run(&stages(500)).unwrap().len(), 20);
        assert_eq!(host.run(&stages(1000)).unwrap().len(), 20);
    });
    assert_eq!(host.run(&stages(1002)).err().map(|e| e.code().0), Some(7_749_501));
}

#[test]
fn long_and_hostile_regexes() {
    let hostile = DocBuf::build(|w| { w.append("a", "a".repeat(5000).as_str()); });
    bounded(|| {
        for pattern in ["(a+)+$b".to_owned(), "a".repeat(16_000), format!("({})", vec!["abc"; 4000].join("|"))] {
            let filter = DocBuf::build(|w| { w.document("a").append("$regex", pattern.as_str()); });
            // Too long or too costly is an error, but it comes soon.
            if let Ok(matcher) = Matcher::compile(filter.as_doc(), &CompileCx::default()) {
                let _ = matcher.matches(hostile.as_doc(), &Arena::new());
            }
        }
    });
}

#[test]
fn joins_without_an_index() {
    let stages = r#"[{"$lookup": {"from": "f", "localField": "a", "foreignField": "_id", "as": "r"}}, {"$unwind": "$r"}, {"$group": {"_id": "$r.a", "n": {"$sum": 1}}}]"#;
    assert_eq!(bounded(|| run(numbers(50_000), numbers(20_000), stages)).len(), 1000);
}

#[test]
fn windows_over_a_large_partition() {
    let stages = r#"[{"$setWindowFields": {"sortBy": {"_id": 1}, "output": {
        "all": {"$push": "$a"}, "top": {"$max": "$a", "window": {"documents": ["unbounded", "current"]}}, "near": {"$sum": "$a", "window": {"documents": [-50, 50]}}}}},
        {"$project": {"n": {"$size": "$all"}}}, {"$limit": 3}]"#;
    assert_eq!(bounded(|| run(numbers(20_000), Vec::new(), stages)).len(), 3);
}

/// The time for `small` of something, and for four times as much, which must not be much more than four times that.
fn linear(what: &str, run: impl Fn(usize), small: usize) {
    let time = |n: usize| {
        let before = cpu();
        run(n);
        cpu() - before
    };
    let (few, many) = (time(small), time(4 * small));
    println!("{what}: {small} in {few:.2} s, {} in {many:.2} s", 4 * small);
    // What takes less than a tenth of a second is not measured well enough.
    assert!(many < 8.0 * few.max(0.1), "{what}: {few} s, {many} s");
}

fn repeated(stage: &str, times: usize) -> String {
    format!("[{}]", vec![stage; times].join(", "))
}

#[test]
fn stages_cost_in_proportion_to_their_number() {
    for stage in [
        r#"{"$match": {}}"#,
        r#"{"$match": {"a": {"$gte": 0}}}"#,
        r#"{"$unwind": "$a"}"#,
        r#"{"$unwind": {"path": "$a", "includeArrayIndex": "i"}}"#,
        r#"{"$set": {"x": "$a"}}"#,
        r#"{"$project": {"a": 1}}"#,
        r#"{"$replaceWith": "$$ROOT"}"#,
        r#"{"$redact": "$$KEEP"}"#,
        r#"{"$skip": 1}"#,
        r#"{"$unset": "z"}"#,
        r#"{"$lookup": {"from": "f", "localField": "a", "foreignField": "_id", "as": "r"}}"#,
    ] {
        let docs = if stage.contains("lookup") { 50 } else { 3000 };
        linear(stage, |n| drop(run(numbers(docs), Vec::new(), &repeated(stage, n))), 240);
    }
}

fn list_of(n: usize, from: usize) -> ValueBuf {
    ValueBuf::array(|w| (from..from + n).for_each(|i| { w.push(format!("value {}", i * 7919 % 1_000_003).as_str()); }))
}

fn update(operator: &str, argument: ValueBuf, doc: &DocBuf) {
    let update = DocBuf::build(|w| {
        let mut w = w.document(operator);
        match operator {
            "$pullAll" => {
                w.append("a", argument.view());
            }
            _ => {
                w.document("a").append("$each", argument.view());
            }
        }
    });
    let cx = CompileCx::default();
    let filter = Matcher::compile(smongo_bson::Doc::EMPTY, &cx).unwrap();
    let update = smongo_mql::Update::compile(smongo_bson::Value::Document(update.as_doc()), None, &cx).unwrap();
    update.apply(doc.as_doc(), &filter, &Arena::new()).unwrap();
}

#[test]
fn arrays_are_updated_in_proportion_to_their_length() {
    for operator in ["$addToSet", "$pullAll", "$push"] {
        linear(operator, |n| update(operator, list_of(n, n / 2), &DocBuf::build(|w| { w.append("a", list_of(n, 0).view()); })), 20_000);
    }
}

#[test]
fn constants_and_sets_are_searched_by_halves() {
    let docs = |n: usize| vec![DocBuf::build(|w| { w.append("_id", 1).append("a", list_of(n, 0).view()).append("b", list_of(n, n).view()); })];
    for expression in [
        r#"{"$setUnion": ["$a", "$b"]}"#,
        r#"{"$setDifference": ["$a", "$b"]}"#,
        r#"{"$setIntersection": ["$a", "$b"]}"#,
        r#"{"$setIsSubset": ["$a", "$b"]}"#,
        r#"{"$reduce": {"input": "$a", "initialValue": 0, "in": {"$add": ["$$value", {"$strLenCP": "$$this"}]}}}"#,
        r#"{"$map": {"input": {"$range": [0, {"$size": "$a"}]}, "in": {"$arrayElemAt": ["$a", "$$this"]}}}"#,
        r#"{"$filter": {"input": "$a", "cond": {"$in": ["$$this", ["x", "value 5"]]}}}"#,
    ] {
        let stage = format!("[{{\"$project\": {{\"r\": {expression}}}}}]");
        linear(expression, |n| drop(run(docs(n), Vec::new(), &stage)), 25_000);
    }
    linear("$in of constants", |n| {
        let stage = DocBuf::build(|w| {
            let mut project = w.document("$match");
            let mut expr = project.document("$expr");
            let mut args = expr.array("$in");
            args.push("$a").push(list_of(n, 0).view());
        });
        let docs: Vec<DocBuf> = (0..n).map(|i| DocBuf::build(|w| { w.append("a", format!("value {i}").as_str()); })).collect();
        Memory::new(docs, Vec::new()).run(&[stage]).unwrap();
    }, 10_000);
}

#[test]
fn what_rounds_leave_behind_is_not_kept() {
    // Each round makes an array as long as the input: kept, they would be gigabytes, and more than an expression may hold.
    let stages = r#"[{"$project": {
        "copied": {"$size": {"$reduce": {"input": {"$range": [0, 8000]}, "initialValue": [], "in": {"$concatArrays": ["$$value", ["$$this"]]}}}},
        "mapped": {"$size": {"$map": {"input": {"$range": [0, 8000]}, "in": {"$size": {"$concatArrays": [{"$range": [0, 8000]}, ["$$this"]]}}}}},
        "kept": {"$size": {"$filter": {"input": {"$range": [0, 8000]}, "cond": {"$in": ["$$this", {"$range": [0, 8000]}]}}}}}}]"#;
    let before = cpu();
    let answer = run(numbers(1), Vec::new(), stages);
    assert_eq!(answer[0].matches(r#"{"$numberInt":"8000"}"#).count(), 3, "{answer:?}");
    println!("{} s", cpu() - before);
}

#[test]
fn specifications_of_many_fields() {
    let fields = |n: usize, value: &str| -> String { (0..n).map(|i| format!("\"f{i}\": {value}")).collect::<Vec<_>>().join(", ") };
    for (stage, value) in [
        (r#"{"$project": {#}}"#, "1"),
        (r#"{"$project": {#}}"#, "{\"x\": 1}"),
        (r#"{"$addFields": {#}}"#, "\"$a\""),
        (r#"{"$project": {"o": {"$mergeObjects": [{#}, "$$ROOT"]}}}"#, "\"$a\""),
        (r#"{"$group": {"_id": 1, #}}"#, "{\"$sum\": 1}"),
        (r#"{"$setWindowFields": {"output": {#}}}"#, "{\"$sum\": 1}"),
        (r#"{"$match": {#}}"#, "1"),
    ] {
        linear(stage, |n| drop(run(numbers(1), Vec::new(), &format!("[{}]", stage.replace('#', &fields(n, value))))), 4000);
    }
}
