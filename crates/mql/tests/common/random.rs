//! Random documents and pipelines, the same for the same seed.

use smongo_bson::DocBuf;
use smongo_bson::json::parse_doc;

/// splitmix64: tests repeat themselves.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

const SCALARS: &[&str] = &[
    "0", "2.5", "-1", "null", "\"a\"", "\"ab\"", "true", "{\"x\": 1}", "{}", "{\"$numberLong\": \"3\"}", "{\"$numberDouble\": \"2.0\"}",
    "{\"$numberDecimal\": \"1.0\"}", "{\"$date\": \"2020-01-01T00:00:00Z\"}", "{\"$numberDouble\": \"NaN\"}",
];
const FIELDS: &[&str] = &["a", "b", "c", "d", "_id", "g", "e"];
pub const PATHS: &[&str] = &["a", "b", "c.x", "c.y", "d", "_id", "e.a", "e.c.x", "g", "_id.k", "e", "c", "c.0", "n"];

fn scalar(r: &mut Random) -> String {
    if r.chance(4) { r.pick(SCALARS).to_owned() } else { r.pick(&["1", "2", "3"]).to_owned() }
}

fn value(r: &mut Random) -> String {
    match r.below(6) {
        0 => {
            let items: Vec<String> = (0..r.below(4)).map(|_| if r.chance(6) { format!("[{}]", scalar(r)) } else { scalar(r) }).collect();
            format!("[{}]", items.join(", "))
        }
        1 => {
            let items: Vec<String> = (0..r.below(3)).map(|_| format!("{{\"x\": {}, \"y\": {}}}", scalar(r), scalar(r))).collect();
            format!("[{}]", items.join(", "))
        }
        2 => format!("{{\"x\": {}, \"y\": {}}}", scalar(r), scalar(r)),
        _ => scalar(r),
    }
}

/// A collection of a few documents whose values meet.
pub fn documents(r: &mut Random) -> Vec<DocBuf> {
    let count = r.below(14);
    (0..count)
        .map(|id| {
            let mut fields = vec![format!("\"_id\": {id}")];
            for name in ["a", "b", "c", "d"] {
                if !r.chance(5) {
                    fields.push(format!("\"{name}\": {}", value(r)));
                }
            }
            let text = format!("{{{}}}", fields.join(", "));
            parse_doc(&text).unwrap()
        })
        .collect()
}

fn condition(r: &mut Random) -> String {
    match r.below(8) {
        0..3 => value(r),
        3 => format!("{{\"{}\": {}}}", r.pick(&["$gt", "$gte", "$lt", "$lte", "$ne", "$eq"]), value(r)),
        4 => format!("{{\"{}\": [{}, {}]}}", r.pick(&["$in", "$nin"]), scalar(r), value(r)),
        5 => format!("{{\"$exists\": {}}}", r.pick(&["true", "false"])),
        6 => r.pick(&["{\"$type\": \"number\"}", "{\"$type\": \"array\"}", "{\"$size\": 2}", "{\"$regex\": \"^a\"}"]).to_owned(),
        _ => format!("{{\"$not\": {{\"$gt\": {}}}}}", scalar(r)),
    }
}

pub fn filter(r: &mut Random, depth: usize) -> String {
    let mut parts = Vec::new();
    for _ in 0..1 + r.below(3) {
        parts.push(match r.below(10) {
            0 if depth > 0 => format!("{{\"{}\": [{}, {}]}}", r.pick(&["$or", "$and", "$nor"]), filter(r, depth - 1), filter(r, depth - 1)),
            1 => format!("{{\"$expr\": {{\"{}\": [\"${}\", {}]}}}}", r.pick(&["$eq", "$gt", "$lte"]), r.pick(PATHS), scalar(r)),
            2 => format!("{{\"$expr\": {{\"$eq\": [\"${}\", \"${}\"]}}}}", r.pick(FIELDS), r.pick(FIELDS)),
            _ => format!("{{\"{}\": {}}}", r.pick(PATHS), condition(r)),
        });
    }
    if parts.len() == 1 { parts.remove(0) } else { format!("{{\"$and\": [{}]}}", parts.join(", ")) }
}

fn expression(r: &mut Random) -> String {
    match r.below(8) {
        0 => format!("{{\"$add\": [\"${}\", 1]}}", r.pick(FIELDS)),
        1 => format!("{{\"$concatArrays\": [\"${}\", [1]]}}", r.pick(FIELDS)),
        2 => format!("{{\"$ifNull\": [\"${}\", 7]}}", r.pick(PATHS)),
        3 => format!("{{\"k\": \"${}\", \"x\": {}}}", r.pick(FIELDS), scalar(r)),
        4 => r.pick(&["\"$$ROOT\"", "\"$$REMOVE\"", "{\"$literal\": 1}", "{\"$isArray\": \"$a\"}"]).to_owned(),
        _ => format!("\"${}\"", if r.chance(3) { r.pick(PATHS) } else { r.pick(FIELDS) }),
    }
}

pub fn distinct<'a>(r: &mut Random, from: &[&'a str], max: usize) -> Vec<&'a str> {
    let mut left = from.to_vec();
    (0..1 + r.below(max)).map(|_| left.remove(r.below(left.len()))).collect()
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn accumulators(r: &mut Random) -> String {
    let names = distinct(r, &["n", "e", "g", "a"], 2);
    let one = |name: &str, r: &mut Random| match r.below(9) {
        0 => format!("\"{name}\": {{\"$sum\": 1}}"),
        1 => format!("\"{name}\": {{\"$topN\": {{\"n\": 2, \"sortBy\": {{\"b\": 1, \"_id\": 1}}, \"output\": \"$a\"}}}}"),
        _ => format!("\"{name}\": {{\"{}\": {}}}", r.pick(&["$sum", "$avg", "$min", "$max", "$push", "$first", "$last", "$count"]), "\"$b\"").replace("\"$count\": \"$b\"", "\"$count\": {}"),
    };
    names.iter().map(|n| one(n, r)).collect::<Vec<_>>().join(", ")
}

fn lookup(r: &mut Random) -> String {
    let pipeline = match r.below(5) {
        0 => format!(", \"pipeline\": [{}]", join((0..r.below(2)).map(|_| stage(r, 0)))),
        1 => format!(", \"let\": {{\"v\": \"$b\"}}, \"pipeline\": [{{\"$match\": {{\"$expr\": {{\"$eq\": [\"${}\", \"$$v\"]}}}}}}]", r.pick(FIELDS)),
        2 => format!(", \"let\": {{\"v\": \"${}\"}}, \"pipeline\": [{}, {{\"$match\": {{\"$expr\": {{\"{}\": [\"$$v\", \"${}\"]}}}}}}]", r.pick(FIELDS), stage(r, 0), r.pick(&["$eq", "$eq", "$lt", "$gte"]), r.pick(PATHS)),
        _ => String::new(),
    };
    let uncorrelated = !pipeline.is_empty() && r.chance(3);
    let fields = if uncorrelated { String::new() } else { format!(", \"localField\": \"{}\", \"foreignField\": \"{}\"", r.pick(PATHS), r.pick(PATHS)) };
    format!("{{\"$lookup\": {{\"from\": \"f\", \"as\": \"{}\"{fields}{pipeline}}}}}", r.pick(&["e", "e", "c", "c.x"]))
}

fn stage(r: &mut Random, depth: usize) -> String {
    match r.below(if depth > 0 { 18 } else { 12 }) {
        0..4 => format!("{{\"$match\": {}}}", filter(r, 1)),
        4 => format!("{{\"$sort\": {{{}}}}}", join(distinct(r, PATHS, 2).iter().map(|p| format!("\"{p}\": {}", r.pick(&["1", "-1"]))))),
        5 => match r.below(3) {
            0 => format!("{{\"$project\": {{{}}}}}", join(distinct(r, FIELDS, 3).iter().map(|p| format!("\"{p}\": 0")))),
            1 => format!("{{\"$project\": {{{}}}}}", join(distinct(r, FIELDS, 3).iter().map(|p| format!("\"{p}\": {}", if r.chance(3) { expression(r) } else { "1".into() })))),
            _ => format!("{{\"$project\": {{\"_id\": {}, \"c.x\": 1, \"g\": \"$a\"}}}}", r.pick(&["0", "1"])),
        },
        6 | 7 => format!("{{\"{}\": {{{}}}}}", r.pick(&["$addFields", "$set"]), join(distinct(r, &["a", "b", "c", "g", "e"], 2).iter().map(|p| format!("\"{p}\": {}", expression(r))))),
        8 => format!("{{\"$unset\": [\"{}\"]}}", r.pick(PATHS)),
        9 => match r.below(3) {
            0 => format!("{{\"$unwind\": {{\"path\": \"${}\", \"preserveNullAndEmptyArrays\": true}}}}", r.pick(PATHS)),
            1 => format!("{{\"$unwind\": {{\"path\": \"${}\", \"includeArrayIndex\": \"n\"}}}}", r.pick(PATHS)),
            _ => format!("{{\"$unwind\": \"${}\"}}", r.pick(PATHS)),
        },
        10 => format!("{{\"{}\": {}}}", r.pick(&["$limit", "$skip"]), 1 + r.below(6)),
        11 => format!("{{\"$group\": {{\"_id\": {}, {}}}}}", r.pick(&["\"$a\"", "{\"k\": \"$a\", \"x\": \"$b\"}", "null", "\"$c.x\"", "{\"$ifNull\": [\"$a\", 1]}"]), accumulators(r)),
        12 => lookup(r),
        13 => format!("{}, {{\"$unwind\": \"$e\"}}, {{\"$match\": {{\"e.{}\": {}}}}}", lookup(r), r.pick(PATHS), condition(r)),
        14 => format!("{{\"$unionWith\": {}}}", if r.chance(2) { "\"f\"".to_owned() } else { format!("{{\"coll\": \"f\", \"pipeline\": [{}]}}", stage(r, 0)) }),
        15 => format!(
            "{{\"$setWindowFields\": {{\"partitionBy\": \"${}\", \"sortBy\": {{\"_id\": 1}}, \"output\": {{\"g\": {{\"$sum\": \"$b\"}}, \"n\": {{\"$documentNumber\": {{}}}}}}}}}}",
            r.pick(FIELDS)
        ),
        16 => r.pick(&["{\"$count\": \"n\"}", "{\"$sortByCount\": \"$b\"}", "{\"$bucketAuto\": {\"groupBy\": \"$a\", \"buckets\": 3}}", "{\"$replaceRoot\": {\"newRoot\": {\"a\": \"$b\", \"c\": \"$c\"}}}"]).to_owned(),
        _ => format!("{{\"$graphLookup\": {{\"from\": \"f\", \"startWith\": \"${}\", \"connectFromField\": \"a\", \"connectToField\": \"b\", \"as\": \"e\"}}}}", r.pick(FIELDS)),
    }
}

/// A pipeline of a few stages.
pub fn pipeline(r: &mut Random) -> Vec<DocBuf> {
    let count = 1 + r.below(5);
    let text = format!("{{\"p\": [{}]}}", join((0..count).map(|_| stage(r, 1))));
    let doc = parse_doc(&text).unwrap_or_else(|e| panic!("{e:?}: {text}"));
    doc.get("p").as_array().unwrap().iter().map(|s| DocBuf::from(s.as_doc().unwrap())).collect()
}

/// Whether an answer does not depend on the order groups come in: no stage behind a `$group` looks at it.
pub fn is_ordered(stages: &[DocBuf]) -> bool {
    let groups = |s: &DocBuf| s.as_doc().first().is_some_and(|e| matches!(e.name(), "$group" | "$sortByCount"));
    if stages.iter().any(|s| !groups(s) && format!("{:?}", s.as_doc()).contains("$group")) {
        return false;
    }
    let behind = stages.iter().position(groups).map_or(stages.len(), |at| at + 1);
    stages.iter().skip(behind).all(|s| {
        s.as_doc().first().is_some_and(|e| matches!(e.name(), "$match" | "$project" | "$addFields" | "$set" | "$unset" | "$unwind" | "$count" | "$replaceRoot"))
    })
}

/// Whether an answer holds the same documents, whatever order they come in from the collection.
pub fn is_order_free(stages: &[DocBuf]) -> bool {
    stages.iter().all(|s| {
        let Some(e) = s.as_doc().first() else { return false };
        matches!(e.name(), "$match" | "$project" | "$addFields" | "$set" | "$unset" | "$unwind" | "$sort" | "$lookup" | "$replaceRoot" | "$count")
    })
}

/// An update.
pub fn update(r: &mut Random) -> String {
    let path = r.pick(&["a", "b", "c", "d", "c.x", "c.y", "c.0", "c.0.x", "g", "a.1"]);
    match r.below(12) {
        0 | 1 => format!("{{\"$set\": {{\"{path}\": {}}}}}", value(r)),
        2 => format!("{{\"{}\": {{\"{path}\": {}}}}}", r.pick(&["$inc", "$mul"]), r.pick(&["1", "2", "-1.5"])),
        3 => format!("{{\"$unset\": {{\"{path}\": 1}}}}"),
        4 => format!("{{\"$push\": {{\"{path}\": {}}}}}", value(r)),
        5 => format!("{{\"$push\": {{\"{path}\": {{\"$each\": [{}, {}], \"$sort\": 1, \"$slice\": 3}}}}}}", scalar(r), scalar(r)),
        6 => format!("{{\"$addToSet\": {{\"{path}\": {}}}}}", value(r)),
        7 => format!("{{\"$pull\": {{\"{path}\": {}}}}}", condition(r)),
        8 => format!("{{\"$pop\": {{\"{path}\": {}}}}}", r.pick(&["1", "-1"])),
        9 => format!("{{\"$rename\": {{\"{path}\": \"{}\"}}}}", r.pick(&["h", "e.k"])),
        10 => format!("{{\"{}\": {{\"{path}\": {}}}}}", r.pick(&["$min", "$max"]), scalar(r)),
        _ => format!("[{{\"$set\": {{\"{path}\": {}}}}}]", expression(r)),
    }
}
