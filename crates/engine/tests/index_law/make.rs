//! Random values of every shape, indexes of every kind, and filters about them.

use smongo_bson::json::{parse_doc, to_canonical, value_to_canonical};
use smongo_bson::{DocBuf, Value};

use crate::common::Random;

const SCALARS: &[&str] = &[
    "null", "\"a\"", "\"A\"", "\"ab\"", "\"b\"", "\"\"", "true", "false", "0", "2.5", "-1", "{\"$date\": \"2020-01-01T00:00:00Z\"}",
    "{\"$numberDouble\": \"NaN\"}", "{\"$numberDouble\": \"Infinity\"}", "{\"$numberLong\": \"2\"}", "{\"$numberDecimal\": \"2.5\"}",
    "{\"$minKey\": 1}", "{\"$maxKey\": 1}", "{\"$oid\": \"000000000000000000000001\"}", "{\"$undefined\": true}",
    "{\"$regularExpression\": {\"pattern\": \"^a\", \"options\": \"\"}}", "{\"$timestamp\": {\"t\": 1, \"i\": 1}}",
    "{\"$binary\": {\"base64\": \"AQ==\", \"subType\": \"00\"}}",
];

const ROOTS: &[&str] = &["a", "b", "c"];
const NAMES: &[&str] = &["a", "b", "x", "y"];

/// Few different values, so that filters meet documents.
fn scalar(r: &mut Random) -> String {
    if r.chance(4) { r.pick(SCALARS).to_owned() } else { r.pick(&["1", "2", "3"]).to_owned() }
}

/// A value of any shape: documents in arrays in arrays, empty ones too. Without `arrays` there are none.
pub fn shape(r: &mut Random, depth: usize, arrays: bool) -> String {
    match r.below(8) {
        _ if depth == 0 => scalar(r),
        0..3 if arrays => {
            let items: Vec<String> = (0..r.below(4)).map(|_| shape(r, depth - 1, true)).collect();
            format!("[{}]", items.join(", "))
        }
        3..6 => {
            let mut fields: Vec<String> = Vec::new();
            for name in NAMES {
                if r.chance(3) {
                    fields.push(format!("\"{name}\": {}", shape(r, depth - 1, arrays)));
                }
            }
            if r.chance(12) {
                fields.push(format!("\"0\": {}", shape(r, depth - 1, arrays)));
            }
            format!("{{{}}}", fields.join(", "))
        }
        _ => scalar(r),
    }
}

/// What a round is about.
pub struct World {
    pub docs: Vec<DocBuf>,
    /// The paths its indexes and filters are about, so that they meet.
    paths: Vec<String>,
    arrays: bool,
}

impl World {
    pub fn new(r: &mut Random) -> World {
        let arrays = !r.chance(4);
        let depth = 1 + r.below(3);
        let docs = (0..10 + r.below(20)).map(|id| document(r, id, depth, arrays)).collect();
        let mut world = World { docs, paths: Vec::new(), arrays };
        for _ in 0..5 {
            let path = world.new_path(r);
            if !world.paths.contains(&path) {
                world.paths.push(path);
            }
        }
        world
    }

    fn new_path(&self, r: &mut Random) -> String {
        let mut path = r.pick(ROOTS).to_owned();
        for _ in 0..r.below(3) {
            path.push('.');
            let names: &[&str] = if r.chance(8) { &["0", "1"] } else { NAMES };
            path.push_str(r.pick(names));
        }
        path
    }

    pub fn path(&self, r: &mut Random) -> String {
        if r.chance(8) { self.new_path(r) } else { self.paths[r.below(self.paths.len())].clone() }
    }

    /// A value that stands in a document, as a filter may ask for it, or another one.
    fn value(&self, r: &mut Random, path: &str) -> String {
        if r.chance(3) {
            let depth = 1 + r.below(2);
            return shape(r, depth, true);
        }
        let doc = &self.docs[r.below(self.docs.len())];
        let mut at = Value::Document(doc.as_doc());
        let mut parts = path.split('.').peekable();
        loop {
            // Into an array or through it, as a path does, or the array itself.
            at = match at {
                Value::Array(a) if !r.chance(3) && !a.is_empty() => a.iter().nth(r.below(a.len())).unwrap_or(Value::Null),
                Value::Array(_) => break,
                Value::Document(d) => match parts.next() {
                    Some(name) => d.get(name),
                    None => break,
                },
                _ => break,
            };
        }
        match at {
            Value::Missing => scalar(r),
            v => value_to_canonical(v),
        }
    }

    /// The same without regular expressions, which comparisons and negations refuse.
    fn plain(&self, r: &mut Random, path: &str) -> String {
        loop {
            let value = self.value(r, path);
            if !value.contains("regularExpression") && !value.contains("undefined") {
                return value;
            }
        }
    }

    /// `{$operator: …}` that may stand under `$not` and `$elemMatch` too.
    fn operators(&self, r: &mut Random, path: &str) -> String {
        match r.below(14) {
            0 | 1 => format!("{{\"$eq\": {}}}", self.plain(r, path)),
            2 | 3 => format!("{{\"{}\": {}}}", r.pick(&["$gt", "$gte", "$lt", "$lte"]), self.plain(r, path)),
            4 => {
                let (low, high) = (self.plain(r, path), self.plain(r, path));
                format!("{{\"{}\": {low}, \"{}\": {high}}}", r.pick(&["$gt", "$gte"]), r.pick(&["$lt", "$lte"]))
            }
            5 | 6 => {
                let items: Vec<String> = (0..r.below(4)).map(|_| if r.chance(4) { "null".to_owned() } else { self.plain(r, path) }).collect();
                format!("{{\"{}\": [{}]}}", r.pick(&["$in", "$nin"]), items.join(", "))
            }
            7 => format!("{{\"$ne\": {}}}", if r.chance(2) { "null".to_owned() } else { self.plain(r, path) }),
            8 => format!("{{\"$exists\": {}}}", r.pick(&["true", "false"])),
            9 => {
                let types = &["\"number\"", "\"string\"", "\"null\"", "\"array\"", "\"int\"", "[\"bool\", \"date\"]", "\"object\"", "\"minKey\""];
                format!("{{\"$type\": {}}}", r.pick(types))
            }
            10 => format!("{{\"$regex\": \"{}\"}}", r.pick(&["^a", "^ab", "b", "^a.*", "^(a|b)", "^$"])),
            11 => {
                let items: Vec<String> = (0..1 + r.below(2)).map(|_| self.plain(r, path)).collect();
                format!("{{\"$all\": [{}]}}", items.join(", "))
            }
            12 => "{\"$eq\": null}".to_owned(),
            _ => r.pick(&["{\"$size\": 0}", "{\"$size\": 2}", "{\"$mod\": [2, 1]}", "{\"$bitsAllSet\": [0]}"]).to_owned(),
        }
    }

    fn condition(&self, r: &mut Random, path: &str, depth: usize) -> String {
        match r.below(10) {
            0..3 => self.plain(r, path),
            3..7 => self.operators(r, path),
            7 => format!("{{\"$not\": {}}}", self.operators(r, path)),
            8 => format!("{{\"$elemMatch\": {}}}", self.operators(r, path)),
            _ => format!("{{\"$not\": {}}}", self.elem_match(r, path, depth)),
        }
    }

    /// An `$elemMatch` over documents on what stands before a path's end, or within.
    fn elem_match(&self, r: &mut Random, path: &str, depth: usize) -> String {
        let mut fields = Vec::new();
        for _ in 0..1 + r.below(2) {
            let below = self.paths.iter().filter_map(|p| p.strip_prefix(path)?.strip_prefix('.')).collect::<Vec<_>>();
            let inner = if below.is_empty() || r.chance(4) { r.pick(NAMES).to_owned() } else { r.pick(&below).to_owned() };
            let whole = format!("{path}.{inner}");
            let one = if depth > 0 && r.chance(4) { self.elem_match(r, &whole, depth - 1) } else { self.condition(r, &whole, 0) };
            fields.push(format!("{{\"{inner}\": {one}}}"));
        }
        if fields.len() == 1 {
            return format!("{{\"$elemMatch\": {}}}", fields[0]);
        }
        format!("{{\"$elemMatch\": {{\"{}\": [{}]}}}}", r.pick(&["$and", "$and", "$and", "$or", "$nor"]), fields.join(", "))
    }

    pub fn filter(&self, r: &mut Random, depth: usize) -> String {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..1 + r.below(3) {
            let path = self.path(r);
            if depth > 0 && r.chance(6) {
                let branches: Vec<String> = (0..1 + r.below(3)).map(|_| self.filter(r, depth - 1)).collect();
                parts.push(format!("{{\"{}\": [{}]}}", r.pick(&["$or", "$or", "$and", "$nor"]), branches.join(", ")));
            } else if r.chance(12) {
                let operator = r.pick(&["$eq", "$gt", "$gte", "$lt", "$lte"]);
                parts.push(format!("{{\"$expr\": {{\"{operator}\": [\"${path}\", {{\"$literal\": {}}}]}}}}", self.plain(r, &path)));
            } else if r.chance(4) {
                let cut = path.rfind('.').map_or(path.as_str(), |at| &path[..at]);
                parts.push(format!("{{\"{cut}\": {}}}", self.elem_match(r, cut, 2)));
            } else {
                parts.push(format!("{{\"{path}\": {}}}", self.condition(r, &path, 1)));
            }
        }
        if parts.len() == 1 { parts.remove(0) } else { format!("{{\"$and\": [{}]}}", parts.join(", ")) }
    }

    /// A key pattern over some of the paths.
    pub fn key(&self, r: &mut Random, most: usize) -> String {
        let mut paths = self.paths.clone();
        let mut fields = Vec::new();
        for _ in 0..1 + r.below(most.min(paths.len())) {
            let at = r.below(paths.len());
            fields.push(format!("\"{}\": {}", paths.remove(at), r.pick(&["1", "-1"])));
        }
        format!("{{{}}}", fields.join(", "))
    }

    /// Whether one of the paths of a projection stands in another.
    pub fn collide(&self, fields: &str) -> bool {
        let named: Vec<&String> = self.paths.iter().filter(|p| fields.contains(&format!("\"{p}\""))).collect();
        named.iter().any(|a| named.iter().any(|b| b.strip_prefix(a.as_str()).is_some_and(|rest| rest.starts_with('.'))))
    }

    /// The specification of an index without its name, and whether a hint may name it for any filter.
    pub fn index(&self, r: &mut Random) -> (String, bool) {
        let hashed = |r: &mut Random| {
            let (one, other) = (self.path(r), self.path(r));
            let key = match r.below(3) {
                _ if one == other => format!("{{\"{one}\": \"hashed\"}}"),
                0 => format!("{{\"{one}\": \"hashed\", \"{other}\": 1}}"),
                1 => format!("{{\"{one}\": -1, \"{other}\": \"hashed\"}}"),
                _ => format!("{{\"{one}\": \"hashed\"}}"),
            };
            (format!("\"key\": {key}"), true)
        };
        match r.below(10) {
            0 if !self.arrays => hashed(r),
            0..3 => {
                let path = self.path(r);
                (wildcard(r, &path), false)
            }
            3 => (format!("\"key\": {}, \"sparse\": true", self.key(r, 3)), false),
            4 => {
                let path = self.path(r);
                let test = r.pick(&["{\"$exists\": true}", "{\"$gt\": 1}", "{\"$type\": \"number\"}", "{\"$lte\": 2}", "{\"$eq\": 2}"]);
                (format!("\"key\": {}, \"partialFilterExpression\": {{\"{path}\": {test}}}", self.key(r, 3)), false)
            }
            5 => (format!("\"key\": {}, \"collation\": {{\"locale\": \"en\", \"strength\": 2}}", self.key(r, 3)), true),
            _ => (format!("\"key\": {}", self.key(r, 3)), true),
        }
    }
}

fn document(r: &mut Random, id: usize, depth: usize, arrays: bool) -> DocBuf {
    let mut fields = vec![format!("\"_id\": {id}")];
    for name in ROOTS {
        if !r.chance(5) {
            fields.push(format!("\"{name}\": {}", shape(r, depth, arrays)));
        }
    }
    let text = format!("{{{}}}", fields.join(", "));
    parse_doc(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn wildcard(r: &mut Random, path: &str) -> String {
    let root = path.split('.').next().unwrap_or("a");
    let other = if root == "a" { "b" } else { "a" };
    match r.below(8) {
        0 => format!("\"key\": {{\"{root}.$**\": 1}}"),
        1 => format!("\"key\": {{\"{path}.$**\": -1}}"),
        2 => format!("\"key\": {{\"$**\": -1}}, \"wildcardProjection\": {{\"{path}\": 1, \"{other}\": 1}}"),
        3 => format!("\"key\": {{\"$**\": 1}}, \"wildcardProjection\": {{\"{path}\": 0}}"),
        4 => format!("\"key\": {{\"{other}\": 1, \"$**\": 1}}, \"wildcardProjection\": {{\"{other}\": 0}}"),
        5 => format!("\"key\": {{\"$**\": 1, \"{other}\": -1}}, \"wildcardProjection\": {{\"{other}\": 0}}"),
        6 => format!("\"key\": {{\"{other}\": 1, \"{root}.$**\": 1}}"),
        _ => "\"key\": {\"$**\": 1}".to_owned(),
    }
}

/// A document as text, with the types of its numbers.
pub fn told(doc: &DocBuf) -> String {
    to_canonical(doc.as_doc())
}
