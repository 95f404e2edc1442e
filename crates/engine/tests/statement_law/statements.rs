//! Random collections with every kind of index, and random statements that fail in every way.

use crate::common::Random;

/// Index specifications: those of one list may stand beside each other in one collection.
const INDEXES: &[&str] = &[
    r#"{"key": {"a": 1}, "name": "a"}"#,
    r#"{"key": {"u": 1}, "name": "u", "unique": true}"#,
    r#"{"key": {"a": 1, "b": -1}, "name": "ab"}"#,
    r#"{"key": {"b": 1, "u": 1}, "name": "bu", "unique": true}"#,
    r#"{"key": {"c.x": 1}, "name": "cx", "sparse": true}"#,
    r#"{"key": {"v": 1}, "name": "v", "unique": true, "sparse": true}"#,
    r#"{"key": {"v": -1, "c.y": 1}, "name": "vcy", "unique": true, "partialFilterExpression": {"a": {"$gt": 2}}}"#,
    r#"{"key": {"a": "hashed"}, "name": "h"}"#,
    r#"{"key": {"$**": 1}, "name": "w"}"#,
    r#"{"key": {"c.$**": 1}, "name": "wc"}"#,
    r#"{"key": {"g": "2dsphere"}, "name": "g"}"#,
    r#"{"key": {"l": "2d"}, "name": "l"}"#,
    r#"{"key": {"s": "text", "c.x": "text"}, "name": "text"}"#,
    r#"{"key": {"t": 1}, "name": "t", "expireAfterSeconds": 100000}"#,
    r#"{"key": {"s": 1}, "name": "s", "unique": true, "sparse": true, "collation": {"locale": "en", "strength": 2}}"#,
    r#"{"key": {"u": 1, "g": "2dsphere"}, "name": "ug"}"#,
    r#"{"key": {"c.x": 1, "u": -1}, "name": "cxu"}"#,
];

pub fn index(r: &mut Random) -> &'static str {
    INDEXES[r.below(INDEXES.len())]
}

/// What a collection is created with.
pub fn options(r: &mut Random) -> &'static str {
    match r.below(8) {
        0 => r#", "clusteredIndex": {"key": {"_id": 1}, "unique": true}"#,
        1 => r#", "validator": {"a": {"$ne": 5}}"#,
        2 => r#", "changeStreamPreAndPostImages": {"enabled": true}"#,
        3 => r#", "collation": {"locale": "en", "strength": 2}"#,
        _ => "",
    }
}

fn small(r: &mut Random) -> String {
    r.below(6).to_string()
}

fn scalar(r: &mut Random) -> String {
    match r.below(12) {
        0 => r.pick(&["null", "true", "\"a\"", "\"A\"", "{\"x\": 1}", "2.5", "{\"$numberLong\": \"3\"}", "{\"$numberDouble\": \"NaN\"}", "{}"]).to_owned(),
        _ => small(r),
    }
}

fn list(r: &mut Random, item: &dyn Fn(&mut Random) -> String) -> String {
    let items: Vec<String> = (0..r.below(4)).map(|_| item(r)).collect();
    format!("[{}]", items.join(", "))
}

/// A value of a field, also such as an index refuses.
fn value(r: &mut Random, field: &str) -> String {
    match field {
        "a" | "b" | "v" => if r.chance(4) { list(r, &scalar) } else { scalar(r) },
        "u" => match r.below(8) {
            0 => list(r, &|r| r.below(30).to_string()),
            1 => scalar(r),
            _ => r.below(30).to_string(),
        },
        "c" => match r.below(5) {
            0 => scalar(r),
            1 => list(r, &|r| format!("{{\"x\": {}, \"y\": {}}}", scalar(r), scalar(r))),
            2 => format!("{{\"x\": {}}}", list(r, &scalar)),
            _ => format!("{{\"x\": {}, \"y\": {}}}", scalar(r), scalar(r)),
        },
        "g" => r.pick(&[
            r#"{"type": "Point", "coordinates": [1, 2]}"#, r#"{"type": "Point", "coordinates": [3, 4]}"#,
            r#"{"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 0]]]}"#,
            r#"{"type": "Point", "coordinates": [1, 200]}"#, r#"{"type": "Polygon", "coordinates": [[[0, 0], [2, 0]]]}"#, "[5, 6]", "7", "null",
            r#"[{"type": "Point", "coordinates": [1, 2]}, {"type": "Point", "coordinates": [5, 5]}]"#,
        ]).to_owned(),
        "l" => r.pick(&["[1, 2]", "[3, 4]", "[1000, 2]", "[[1, 2], [3, 4]]", "\"x\"", "null", "[1]"]).to_owned(),
        "s" => r.pick(&["\"one\"", "\"One\"", "\"two fish\"", "\"red\"", "\"blue red\"", "3", "[\"one\", \"three\"]", "null", "\"fish\""]).to_owned(),
        "t" => r.pick(&["{\"$date\": \"2999-01-01T00:00:00Z\"}", "{\"$date\": \"2998-01-01T00:00:00Z\"}", "1", "[]"]).to_owned(),
        _ => scalar(r),
    }
}

const FIELDS: &[&str] = &["a", "b", "u", "c", "v", "g", "l", "s", "t"];

pub fn document(r: &mut Random) -> String {
    let id = if r.chance(40) { r.pick(&["[1]", "{\"$undefined\": true}", "{\"$a\": 1}"]).to_owned() } else { r.below(14).to_string() };
    let mut fields = vec![format!("\"_id\": {id}")];
    for field in FIELDS {
        // Most have a value of their own where an index is unique.
        if r.chance(2) || *field == "u" {
            fields.push(format!("\"{field}\": {}", value(r, field)));
        }
    }
    format!("{{{}}}", fields.join(", "))
}

pub fn filter(r: &mut Random) -> String {
    match r.below(12) {
        0..3 => "{}".to_owned(),
        3 => format!("{{\"_id\": {}}}", r.below(14)),
        4 => format!("{{\"_id\": {{\"$gte\": {}}}}}", r.below(14)),
        5 => format!("{{\"u\": {{\"$lt\": {}}}}}", r.below(30)),
        6 => format!("{{\"c.x\": {}}}", scalar(r)),
        7 => format!("{{\"b\": {{\"$in\": [{}, {}]}}}}", scalar(r), scalar(r)),
        8 => format!("{{\"$or\": [{{\"a\": {}}}, {{\"v\": {}}}]}}", scalar(r), scalar(r)),
        9 => format!("{{\"s\": {}}}", value(r, "s")),
        _ => format!("{{\"a\": {{\"$gt\": {}}}}}", small(r)),
    }
}

/// An update; more than one field at a time, so that one may be written before another is refused.
pub fn update(r: &mut Random, many: bool) -> String {
    let field = |r: &mut Random| FIELDS[r.below(FIELDS.len())];
    match r.below(16) {
        0..6 => {
            let mut fields = FIELDS.to_vec();
            let set: Vec<String> = (0..1 + r.below(3))
                .map(|_| {
                    let field = fields.remove(r.below(fields.len()));
                    format!("\"{field}\": {}", value(r, field))
                })
                .collect();
            format!("{{\"$set\": {{{}}}}}", set.join(", "))
        }
        6 => format!("{{\"$unset\": {{\"{}\": 1}}, \"$set\": {{\"u\": {}}}}}", r.pick(&["a", "b", "c", "v", "g"]), value(r, "u")),
        7 => format!("{{\"$inc\": {{\"{}\": 1, \"u\": 1}}}}", r.pick(&["a", "b", "v", "c.x"])),
        8 => format!("{{\"$push\": {{\"{}\": {}}}, \"$set\": {{\"b\": {}}}}}", r.pick(&["a", "v", "c.x"]), scalar(r), value(r, "b")),
        9 => format!("{{\"$set\": {{\"c.x.z\": {}, \"u\": {}}}}}", scalar(r), value(r, "u")),
        10 => format!("[{{\"$set\": {{\"a\": {{\"$add\": [\"$b\", 1]}}, \"u\": {{\"$add\": [\"$u\", {}]}}}}}}]", r.below(3)),
        11 => format!("[{{\"$set\": {{\"v\": {{\"$divide\": [6, \"$a\"]}}, \"b\": [1, 2]}}}}, {{\"$unset\": \"{}\"}}]", field(r)),
        12 => format!("{{\"$set\": {{\"_id\": {}, \"a\": 3}}}}", r.below(14)),
        13 => format!("{{\"$rename\": {{\"{}\": \"{}\"}}}}", r.pick(&["a", "b", "v"]), r.pick(&["c", "u", "g", "s"])),
        14 if !many => {
            let fields: Vec<String> = FIELDS.iter().filter(|_| r.chance(2)).copied().collect::<Vec<_>>().iter().map(|f| format!("\"{f}\": {}", value(r, f))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        _ => format!("{{\"$max\": {{\"u\": {}}}, \"$set\": {{\"g\": {}}}}}", r.below(30), value(r, "g")),
    }
}
