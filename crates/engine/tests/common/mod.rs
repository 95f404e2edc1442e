//! What the laws share: numbers that repeat themselves, and a session that is spoken to in JSON.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use smongo_bson::json::{parse_doc, value_to_canonical};
use smongo_bson::{Doc, DocBuf, Value};
use smongo_engine::{Request, Session};

/// splitmix64: tests repeat themselves.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
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

pub struct Db {
    pub session: Session,
}

impl Db {
    pub fn run(&mut self, command: &str) -> DocBuf {
        let body = parse_doc(command).unwrap_or_else(|e| panic!("{command}: {e}"));
        let mut out = Vec::new();
        self.session.run(&Request::new(body.as_doc()), &mut out);
        DocBuf::from_checked(out)
    }

    /// The same for what must work.
    pub fn must(&mut self, command: &str) -> DocBuf {
        let reply = self.run(command);
        assert!(reply.get("ok").truthy() && !reply.as_doc().contains("writeErrors"), "{command}: {reply:?}");
        reply
    }

    /// All documents of a cursor, or the error. `rest` is added to each getMore.
    pub fn all(&mut self, command: &str, coll: &str, rest: &str) -> Result<Vec<DocBuf>, String> {
        let mut docs = Vec::new();
        let mut reply = self.run(command);
        loop {
            if !reply.get("ok").truthy() {
                return Err(format!("{reply:?}"));
            }
            let cursor = reply.get("cursor").as_doc().unwrap_or(Doc::EMPTY);
            for name in ["firstBatch", "nextBatch"] {
                docs.extend(cursor.get(name).as_array().into_iter().flat_map(|a| a.iter()).filter_map(|v| v.as_doc()).map(DocBuf::from));
            }
            let Value::Int64(id) = cursor.get("id") else { return Err(format!("{reply:?}")) };
            if id == 0 {
                return Ok(docs);
            }
            reply = self.run(&format!("{{\"getMore\": {{\"$numberLong\": \"{id}\"}}, \"collection\": \"{coll}\", \"batchSize\": 50, {rest}}}"));
        }
    }
}

/// A document as text with its fields in the order of their names: those of a covered plan come in the index's order. Numbers of
/// different types differ.
pub fn normal(v: Value<'_>) -> String {
    match v {
        Value::Document(d) => {
            let mut fields: Vec<String> = d.iter().map(|e| format!("{}: {}", e.name(), normal(e.value()))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(a) => format!("[{}]", a.iter().map(normal).collect::<Vec<_>>().join(", ")),
        v => value_to_canonical(v),
    }
}

/// The same of all documents, in any order.
pub fn normal_all(docs: &[DocBuf]) -> Vec<String> {
    let mut all: Vec<String> = docs.iter().map(|d| normal(Value::Document(d.as_doc()))).collect();
    all.sort();
    all
}
