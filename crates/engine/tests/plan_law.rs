//! The law of the planner: whatever indexes there are, a query answers what a collection scan answers, in order when it is sorted.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Db, Random, normal_all};
use smongo_bson::json::{parse_doc, to_relaxed};
use smongo_bson::{Doc, DocBuf, Value, keystring};
use smongo_engine::{Client, Engine, Options};
use smongo_mql::{CompileCx, SortPattern};

const SCALARS: &[&str] = &[
    "1", "2", "3", "4", "5", "2.5", "-1", "null", "\"a\"", "\"ab\"", "\"b\"", "true", "false", "{\"x\": 1}", "{}", "0",
    "{\"$date\": \"2020-01-01T00:00:00Z\"}", "{\"$numberDouble\": \"NaN\"}", "{\"$numberDouble\": \"Infinity\"}", "{\"$minKey\": 1}",
    "{\"$numberLong\": \"3\"}", "{\"$numberDecimal\": \"2.5\"}", "{\"$regularExpression\": {\"pattern\": \"^a\", \"options\": \"\"}}",
];

const PATHS: &[&str] = &["a", "b", "c.x", "c.y", "d"];

/// Few different values, so that filters meet documents.
fn scalar(r: &mut Random) -> String {
    if r.chance(3) { r.pick(SCALARS).to_owned() } else { r.pick(&["1", "2", "3", "4", "5"]).to_owned() }
}

fn value(r: &mut Random, arrays: bool) -> String {
    if !arrays || !r.chance(4) {
        return scalar(r);
    }
    let items: Vec<String> = (0..r.below(4)).map(|_| if r.chance(8) { format!("[{}]", scalar(r)) } else { scalar(r) }).collect();
    format!("[{}]", items.join(", "))
}

fn sub_document(r: &mut Random, arrays: bool) -> String {
    let mut fields = Vec::new();
    let x_array = arrays && r.chance(4);
    if !r.chance(4) {
        fields.push(format!("\"x\": {}", value(r, x_array)));
    }
    if !r.chance(4) {
        fields.push(format!("\"y\": {}", value(r, arrays && !x_array)));
    }
    format!("{{{}}}", fields.join(", "))
}

/// Arrays stand in one field at most, so that compound indexes take every document.
fn document(r: &mut Random, id: usize, arrays: bool) -> String {
    let place = if arrays { r.below(4) } else { 9 };
    let mut fields = vec![format!("\"_id\": {id}")];
    for (n, name) in ["a", "b", "d"].iter().enumerate() {
        if !r.chance(5) {
            fields.push(format!("\"{name}\": {}", value(r, place == n)));
        }
    }
    match r.below(6) {
        0 => {}
        1 => fields.push(format!("\"c\": {}", scalar(r))),
        2 | 3 if place == 3 => {
            let items: Vec<String> = (0..r.below(4)).map(|_| if r.chance(6) { scalar(r) } else { sub_document(r, false) }).collect();
            fields.push(format!("\"c\": [{}]", items.join(", ")));
        }
        _ => fields.push(format!("\"c\": {}", sub_document(r, place == 3))),
    }
    format!("{{{}}}", fields.join(", "))
}

fn not_regex(r: &mut Random) -> String {
    loop {
        let v = value(r, true);
        if !v.contains("regularExpression") {
            return v;
        }
    }
}

/// `{$operator: …}` that may stand under `$not` and `$elemMatch` too.
fn operators(r: &mut Random) -> String {
    match r.below(10) {
        0 => format!("{{\"$eq\": {}}}", not_regex(r)),
        1 | 2 => format!("{{\"{}\": {}}}", r.pick(&["$gt", "$gte", "$lt", "$lte"]), not_regex(r)),
        3 => format!("{{\"{}\": {}, \"{}\": {}}}", r.pick(&["$gt", "$gte"]), not_regex(r), r.pick(&["$lt", "$lte"]), not_regex(r)),
        4 => {
            let items: Vec<String> = (0..r.below(5)).map(|_| value(r, true)).collect();
            format!("{{\"{}\": [{}]}}", r.pick(&["$in", "$nin"]), items.join(", "))
        }
        5 => format!("{{\"$ne\": {}}}", not_regex(r)),
        6 => format!("{{\"$exists\": {}}}", r.pick(&["true", "false"])),
        7 => {
            let types = &["\"number\"", "\"string\"", "\"null\"", "\"array\"", "\"int\"", "[\"bool\", \"date\"]", "\"object\""];
            format!("{{\"$type\": {}}}", r.pick(types))
        }
        8 => format!("{{\"$regex\": \"{}\"}}", r.pick(&["^a", "^ab", "b", "^a.*", "^(a|b)"])),
        _ => r.pick(&["{\"$size\": 2}", "{\"$mod\": [2, 1]}"]).to_owned(),
    }
}

fn condition(r: &mut Random) -> String {
    match r.below(8) {
        0..3 => not_regex(r),
        3..6 => operators(r),
        6 => format!("{{\"$not\": {}}}", operators(r)),
        _ => format!("{{\"$elemMatch\": {}}}", operators(r)),
    }
}

fn filter(r: &mut Random, depth: usize) -> String {
    let mut parts: Vec<String> = Vec::new();
    for _ in 0..1 + r.below(3) {
        if depth > 0 && r.chance(6) {
            let branches: Vec<String> = (0..2 + r.below(2)).map(|_| filter(r, depth - 1)).collect();
            parts.push(format!("{{\"{}\": [{}]}}", r.pick(&["$or", "$or", "$and", "$nor"]), branches.join(", ")));
        } else if r.chance(10) {
            parts.push(format!("{{\"$expr\": {}}}", with_constant(r)));
        } else if r.chance(8) {
            parts.push(format!("{{\"c\": {{\"$elemMatch\": {{\"x\": {}, \"y\": {}}}}}}}", condition(r), condition(r)));
        } else {
            parts.push(format!("{{\"{}\": {}}}", r.pick(PATHS), condition(r)));
        }
    }
    if parts.len() == 1 { parts.remove(0) } else { format!("{{\"$and\": [{}]}}", parts.join(", ")) }
}

fn key(r: &mut Random, max: usize) -> String {
    let mut paths: Vec<&str> = PATHS.to_vec();
    let mut fields = Vec::new();
    for _ in 0..1 + r.below(max) {
        let at = r.below(paths.len());
        fields.push(format!("\"{}\": {}", paths.remove(at), r.pick(&["1", "-1"])));
    }
    format!("{{{}}}", fields.join(", "))
}

/// The documents a find yields, or its error.
fn find(db: &mut Db, rest: &str) -> Result<Vec<DocBuf>, String> {
    db.all(&format!("{{\"find\": \"t\", \"$db\": \"law\", \"batchSize\": 7, {rest}}}"), "t", "\"$db\": \"law\"")
}

/// The documents of an aggregation.
fn aggregate(db: &mut Db, stages: &str, options: &str) -> Result<Vec<DocBuf>, String> {
    let command = format!("{{\"aggregate\": \"t\", \"$db\": \"law\", \"cursor\": {{\"batchSize\": 7}}, \"pipeline\": [{stages}]{options}}}");
    db.all(&command, "t", "\"$db\": \"law\"")
}

fn id(doc: &DocBuf) -> i32 {
    if let Value::Int32(n) = doc.get("_id") { n } else { -1 }
}

fn ids(docs: &[DocBuf]) -> Vec<i32> {
    let mut ids: Vec<i32> = docs.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

fn in_order(docs: &[DocBuf], sort: &str) -> bool {
    let spec = parse_doc(sort).expect("a sort");
    let pattern = SortPattern::compile(spec.as_doc(), &CompileCx::default()).expect("a sort");
    let key = |d: &DocBuf| {
        let mut key = Vec::new();
        pattern.append_key(d.as_doc(), &mut key).expect("a key");
        key
    };
    docs.iter().map(key).collect::<Vec<_>>().is_sorted()
}

fn index_options(r: &mut Random) -> String {
    match r.below(6) {
        0 => ", \"sparse\": true".to_owned(),
        1 => format!(", \"partialFilterExpression\": {{\"{}\": {{\"$gt\": {}}}}}", r.pick(PATHS), r.pick(&["1", "3"])),
        2 => format!(", \"partialFilterExpression\": {{\"{}\": {{\"$exists\": true}}}}", r.pick(PATHS)),
        _ => String::new(),
    }
}

/// Which indexes a round has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Ordinary,
    Wildcard,
}

/// Makes a wildcard index, compound with a field without arrays or not.
fn wildcard(r: &mut Random, db: &mut Db, arrays: bool) {
    let spec = match r.below(6) {
        0 => "{\"key\": {\"c.$**\": 1}, \"name\": \"w\"}",
        1 => "{\"key\": {\"$**\": -1}, \"name\": \"w\", \"wildcardProjection\": {\"a\": 1, \"c.x\": 1}}",
        2 => "{\"key\": {\"$**\": 1}, \"name\": \"w\", \"wildcardProjection\": {\"b\": 0, \"c.y\": 0}}",
        3 if !arrays => "{\"key\": {\"a\": 1, \"$**\": 1}, \"name\": \"w\", \"wildcardProjection\": {\"a\": 0}}",
        4 if !arrays => "{\"key\": {\"$**\": 1, \"b\": -1}, \"name\": \"w\", \"wildcardProjection\": {\"b\": 0}}",
        _ => "{\"key\": {\"$**\": 1}, \"name\": \"w\"}",
    };
    let reply = db.run(&format!("{{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{spec}]}}"));
    assert!(reply.get("ok").truthy(), "{reply:?}");
}

/// Makes a collection with some indexes; returns the names of those that hold every document.
fn prepare(r: &mut Random, db: &mut Db, arrays: bool, kinds: Kinds) -> Vec<(String, String)> {
    if r.chance(3) {
        let reply = db.run("{\"create\": \"t\", \"$db\": \"law\", \"clusteredIndex\": {\"key\": {\"_id\": 1}, \"unique\": true}}");
        assert!(reply.get("ok").truthy(), "{reply:?}");
    }
    let docs: Vec<String> = (0..60).map(|id| document(r, id, arrays)).collect();
    let insert = |db: &mut Db| {
        for d in &docs {
            db.run(&format!("{{\"insert\": \"t\", \"$db\": \"law\", \"documents\": [{d}]}}"));
        }
    };
    let early = r.chance(2);
    if early {
        insert(db);
    }
    let mut names = Vec::new();
    if kinds == Kinds::Wildcard {
        wildcard(r, db, arrays);
    }
    for n in 0..if kinds == Kinds::Ordinary { 2 + r.below(3) } else { 0 } {
        let options = index_options(r);
        let key = key(r, 3);
        let command = format!("{{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{{\"key\": {key}, \"name\": \"i{n}\"{options}}}]}}");
        if db.run(&command).get("ok").truthy() && options.is_empty() {
            names.push((format!("i{n}"), key));
        }
    }
    if !early {
        insert(db);
    }
    names
}

/// One random collection with random indexes, and random queries of it.
fn round(seed: u64, arrays: bool, queries: usize, kinds: Kinds) -> usize {
    let mut r = Random(seed);
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    let names = prepare(&mut r, &mut db, arrays, kinds);
    let mut answered = 0;
    for _ in 0..queries {
        let mut rest = format!("\"filter\": {}", filter(&mut r, 2));
        let sort = r.chance(2).then(|| key(&mut r, 2));
        if let Some(sort) = &sort {
            rest.push_str(&format!(", \"sort\": {sort}"));
        }
        let Ok(expected) = find(&mut db, &format!("{rest}, \"hint\": {{\"$natural\": 1}}")) else { continue };
        answered += expected.len();
        let mut hints = vec![String::new()];
        hints.extend(names.iter().map(|(n, _)| format!(", \"hint\": \"{n}\"")));
        for hint in hints {
            let found = find(&mut db, &format!("{rest}{hint}")).unwrap_or_else(|e| panic!("seed {seed}: {rest}{hint}: {e}"));
            let (want, got) = (ids(&expected), ids(&found));
            if want != got {
                let count = |all: &[i32], one: i32| all.iter().filter(|i| **i == one).count();
                let odd = expected.iter().chain(&found).find(|d| count(&want, id(d)) != count(&got, id(d)));
                let odd = odd.map_or(String::new(), |d| to_relaxed(d.as_doc()));
                panic!("seed {seed}: {rest}{hint}\nindexes {names:?}\nwant {want:?}\ngot  {got:?}\n{odd}");
            }
            if let Some(sort) = &sort {
                assert!(in_order(&found, sort), "seed {seed}: {rest}{hint}: out of order, indexes {names:?}");
            }
        }
    }
    answered
}

/// An expression that compares paths with `other`, which makes operands.
fn comparison(r: &mut Random, other: &dyn Fn(&mut Random) -> String) -> String {
    let one = |r: &mut Random| {
        let (path, other) = (format!("\"${}\"", r.pick(PATHS)), other(r));
        let operator = r.pick(&["$eq", "$gt", "$gte", "$lt", "$lte"]);
        if r.chance(3) { format!("{{\"{operator}\": [{other}, {path}]}}") } else { format!("{{\"{operator}\": [{path}, {other}]}}") }
    };
    if r.chance(2) { one(r) } else { format!("{{\"$and\": [{}, {}]}}", one(r), one(r)) }
}

fn with_constant(r: &mut Random) -> String {
    comparison(r, &|r| format!("{{\"$literal\": {}}}", value(r, true)))
}

/// Comparisons of expressions, with constants and with the variables of a `$lookup`.
fn expressions(seed: u64, arrays: bool, queries: usize) -> usize {
    let mut r = Random(seed);
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    prepare(&mut r, &mut db, arrays, Kinds::Ordinary);
    aggregate(&mut db, "{\"$out\": \"plain\"}", "").expect("a copy without indexes");
    let mut answered = 0;
    for _ in 0..queries {
        let stage = format!("{{\"$match\": {{\"$expr\": {}}}}}", with_constant(&mut r));
        let expected = aggregate(&mut db, &stage, ", \"hint\": {\"$natural\": 1}").expect("an answer");
        let found = aggregate(&mut db, &stage, "").expect("an answer");
        assert_eq!(ids(&expected), ids(&found), "seed {seed}: {stage}");
        answered += found.len();

        let variable = comparison(&mut r, &|_| "\"$$v\"".to_owned());
        let front = if r.chance(2) { format!("{{\"$match\": {}}}, ", filter(&mut r, 0)) } else { String::new() };
        let lookup = |from: &str, path: &str| {
            let inner = format!("{front}{{\"$match\": {{\"$expr\": {variable}}}}}, {{\"$sort\": {{\"_id\": 1}}}}, {{\"$project\": {{\"_id\": 1}}}}");
            format!("{{\"$lookup\": {{\"from\": \"{from}\", \"let\": {{\"v\": \"${path}\"}}, \"pipeline\": [{inner}], \"as\": \"e\"}}}}, {{\"$sort\": {{\"_id\": 1}}}}")
        };
        let path = r.pick(PATHS);
        // One document at a time, nothing is kept from one to the next.
        let mut expected = Vec::new();
        for id in 0..60 {
            expected.extend(aggregate(&mut db, &format!("{{\"$match\": {{\"_id\": {id}}}}}, {}", lookup("plain", path)), "").expect("an answer"));
        }
        for from in ["t", "plain"] {
            let found = aggregate(&mut db, &lookup(from, path), "").expect("an answer");
            let text = |docs: &[DocBuf]| docs.iter().map(|d| to_relaxed(d.as_doc())).collect::<Vec<_>>();
            assert_eq!(text(&expected), text(&found), "seed {seed}: {}", lookup(from, path));
        }
    }
    answered
}

/// A projection of some paths, with `_id` or without; often of what an index holds.
fn projection(r: &mut Random, indexes: &[(String, String)]) -> String {
    if let Some((_, key)) = indexes.get(r.below(indexes.len() + 1)) {
        let key = parse_doc(key).expect("a key");
        let fields: Vec<String> = key.as_doc().iter().map(|e| format!("\"{}\": 1", e.name())).collect();
        return format!("{{\"_id\": 0, {}}}", fields.join(", "));
    }
    let mut fields = vec![format!("\"_id\": {}", r.pick(&["0", "0", "1"]))];
    let mut paths: Vec<&str> = PATHS.to_vec();
    for _ in 0..1 + r.below(2) {
        let at = r.below(paths.len());
        fields.push(format!("\"{}\": 1", paths.remove(at)));
    }
    format!("{{{}}}", fields.join(", "))
}

/// What explain says of a find's winning plan.
fn winning(db: &mut Db, rest: &str) -> String {
    let reply = db.run(&format!("{{\"explain\": {{\"find\": \"t\", {rest}}}, \"verbosity\": \"queryPlanner\", \"$db\": \"law\"}}"));
    let planner = reply.get("queryPlanner").as_doc().unwrap_or(Doc::EMPTY);
    format!("{:?}", planner.get("winningPlan"))
}

/// Projections, counts and distinct values of random queries of one random collection. Returns how many plans were
/// covered, and how many values distinct scans found.
fn other_plans(seed: u64, arrays: bool, queries: usize) -> (usize, usize) {
    let mut r = Random(seed);
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    let names = prepare(&mut r, &mut db, arrays, Kinds::Ordinary);
    let (mut covered, mut values) = (0, 0);
    for _ in 0..queries {
        let filter = match r.below(4) {
            0 => "{}".to_owned(),
            1 => format!("{{\"{}\": {{\"$gte\": {}}}}}", r.pick(PATHS), r.below(5)),
            _ => filter(&mut r, 1),
        };
        let natural = "\"hint\": {\"$natural\": 1}";
        let mut hints = vec![String::new()];
        hints.extend(names.iter().map(|(n, _)| format!(", \"hint\": \"{n}\"")));
        let projection = projection(&mut r, &names);
        let mut rest = format!("\"filter\": {filter}, \"projection\": {projection}");
        if r.chance(3) {
            rest.push_str(&format!(", \"sort\": {}", key(&mut r, 2)));
        }
        let Ok(expected) = find(&mut db, &format!("{rest}, {natural}")) else { continue };
        for hint in &hints {
            let found = find(&mut db, &format!("{rest}{hint}")).unwrap_or_else(|e| panic!("seed {seed}: {rest}{hint}: {e}"));
            let plan = winning(&mut db, &format!("{rest}{hint}"));
            covered += usize::from(plan.contains("PROJECTION") && plan.contains("IXSCAN") && !plan.contains("FETCH"));
            assert_eq!(normal_all(&expected), normal_all(&found), "seed {seed}: {rest}{hint}, indexes {names:?}");
            let count = db.run(&format!("{{\"count\": \"t\", \"$db\": \"law\", \"query\": {filter}{hint}}}"));
            assert!(matches!(count.get("n"), Value::Int32(n) if n as usize == expected.len()), "seed {seed}: count {filter}{hint}: {count:?}");
            let path = r.pick(PATHS).to_owned();
            let mut distinct = |hint: &str| {
                let reply = db.run(&format!("{{\"distinct\": \"t\", \"$db\": \"law\", \"key\": \"{path}\", \"query\": {filter}{hint}}}"));
                let values = reply.get("values").as_array().unwrap_or_else(|| panic!("seed {seed}: distinct {path} {filter}{hint}: {reply:?}"));
                values.iter().map(|v| keystring::encode(v, false)).collect::<Vec<_>>()
            };
            let (want, got) = (distinct(&format!(", {natural}")), distinct(hint));
            assert_eq!(want, got, "seed {seed}: distinct {path} of {filter}{hint}, indexes {names:?}");
            values += got.len();
        }
    }
    (covered, values)
}

#[test]
fn an_expression_bounds_an_index_without_arrays() {
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    db.run("{\"insert\": \"t\", \"$db\": \"law\", \"documents\": [{\"a\": 1, \"b\": [1]}, {\"a\": \"x\", \"b\": 2}]}");
    db.run("{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{\"key\": {\"a\": 1}, \"name\": \"a\"}, {\"key\": {\"b\": 1}, \"name\": \"b\"}]}");
    let mut explain = |expr: &str| {
        let command = format!("{{\"aggregate\": \"t\", \"cursor\": {{}}, \"pipeline\": [{{\"$match\": {{\"$expr\": {expr}}}}}]}}");
        to_relaxed(db.run(&format!("{{\"explain\": {command}, \"$db\": \"law\"}}")).as_doc())
    };
    let both = explain("{\"$and\": [{\"$gt\": [\"$a\", 1]}, {\"$gte\": [\"z\", \"$a\"]}]}");
    assert!(both.contains("\"indexBounds\":{\"a\":[\"(1, \\\"z\\\"]\"]}") && both.contains("$_internalExprLte"), "{both}");
    assert!(explain("{\"$lt\": [\"$b\", 1]}").contains("COLLSCAN"));
}

/// Of one range no key beyond its end is looked at, of several ranges one behind each that does not touch the next.
#[test]
fn explain_counts_the_keys_that_are_looked_at() {
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    let docs: Vec<String> = (1..=100).map(|x| format!("{{\"x\": {x}}}")).collect();
    db.must(&format!("{{\"insert\": \"t\", \"$db\": \"law\", \"documents\": [{}]}}", docs.join(", ")));
    db.must("{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{\"key\": {\"x\": 1}, \"name\": \"x\"}]}");
    let mut keys = |command: &str| {
        let reply = db.must(&format!("{{\"explain\": {command}, \"$db\": \"law\"}}"));
        let stats = reply.get("executionStats").as_doc().unwrap_or(Doc::EMPTY);
        smongo_bson::number::to_i64_exact(stats.get("totalKeysExamined")).unwrap_or(-1)
    };
    assert_eq!(keys("{\"find\": \"t\", \"filter\": {\"x\": 7}}"), 1);
    assert_eq!(keys("{\"find\": \"t\", \"filter\": {\"x\": {\"$gte\": 3, \"$lt\": 5}}}"), 2);
    assert_eq!(keys("{\"find\": \"t\", \"filter\": {\"x\": {\"$gt\": 90}}, \"sort\": {\"x\": -1}}"), 10);
    // The manual's example: 3, 4, 5, 50, 51, 74, 75, 76, 90 and 91.
    assert_eq!(keys("{\"find\": \"t\", \"filter\": {\"x\": {\"$in\": [3, 4, 50, 74, 75, 90]}}}"), 10);
}

/// A reply has room for so much: bounds, filter and command are left out of it where they are too large, and said to be.
#[test]
fn an_explain_is_no_larger_than_a_document() {
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    db.must("{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{\"key\": {\"x\": 1}, \"name\": \"x\"}]}");
    let values: Vec<String> = (0..800_000).map(|n| n.to_string()).collect();
    let reply = db.must(&format!("{{\"explain\": {{\"find\": \"t\", \"filter\": {{\"x\": {{\"$in\": [{}]}}}}}}, \"$db\": \"law\"}}", values.join(", ")));
    assert!(reply.as_doc().as_bytes().len() < 16 << 20, "{} bytes", reply.as_doc().as_bytes().len());
    assert!(to_relaxed(reply.as_doc()).contains("index bounds omitted"));
}

#[test]
fn expressions_compare_by_indexes_as_by_a_scan() {
    let answered: usize = (0..40).map(|seed| expressions(seed, seed % 2 == 0, 12)).sum();
    assert!(answered > 1000, "{answered} documents were found");
}

#[test]
fn covered_counted_and_distinct() {
    let of_both = |seed| [other_plans(seed, false, 40), other_plans(seed + 5000, true, 20)];
    let (covered, values) = (0..rounds()).flat_map(of_both).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(covered > 30, "only {covered} plans were covered");
    assert!(values > 1000, "only {values} distinct values were found");
}

fn rounds() -> u64 {
    std::env::var("SMONGO_LAW_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

#[test]
fn scalars() {
    let answered: usize = (0..rounds()).map(|seed| round(seed, false, 60, Kinds::Ordinary)).sum();
    assert!(answered > 1000, "only {answered} documents were found");
}

#[test]
fn arrays() {
    let answered: usize = (1000..1000 + rounds()).map(|seed| round(seed, true, 60, Kinds::Ordinary)).sum();
    assert!(answered > 1000, "only {answered} documents were found");
}

#[test]
fn wildcard_indexes() {
    let answered: usize = (2000..2000 + 2 * rounds()).map(|seed| round(seed, seed % 2 == 0, 60, Kinds::Wildcard)).sum();
    assert!(answered > 1000, "only {answered} documents were found");
}
