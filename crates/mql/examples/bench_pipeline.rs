//! What pipelines cost over a million documents of 200 bytes in memory: `cargo run --release -p smongo-mql --example bench_pipeline [name]`.
//!
//! CPU seconds of one run each. `perf record` of one name shows where they go.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Result, err};
use smongo_mql::pipeline::{optimize, stage_array};
use smongo_mql::{CompileCx, Host, Pipeline, Stream};

const DOCS: i32 = 1_000_000;
const FOREIGN: i32 = 10_000;

/// Documents one behind the other.
#[derive(Clone, Default)]
struct Collection {
    bytes: Arc<Vec<u8>>,
    at: usize,
    current: (usize, usize),
}

impl Stream for Collection {
    fn advance(&mut self, _host: &mut dyn Host) -> Result<bool> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let Some(len) = rest.first_chunk().map(|b| i32::from_le_bytes(*b) as usize) else { return Ok(false) };
        self.current = (self.at, self.at + len);
        self.at += len;
        Ok(true)
    }

    fn doc(&self) -> Doc<'_> {
        self.bytes.get(self.current.0..self.current.1).map_or(Doc::EMPTY, Doc::from_checked)
    }
}

fn document(i: i32) -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", i).append("k", i.wrapping_mul(7919) % 1000).append("city", format!("city{:03}", i % 200).as_str());
        w.append("price", f64::from(i % 10_000) * 0.25).append("qty", i % 17).append("ref", i % FOREIGN);
        w.append("note", format!("some text of no interest to anyone {i:010}").as_str());
        let mut tags = w.array("tags");
        for t in 0..4 {
            tags.push(format!("t{}", (i + t * 7) % 50).as_str());
        }
    })
}

fn collection(docs: impl Iterator<Item = DocBuf>) -> Collection {
    let mut bytes = Vec::new();
    docs.for_each(|d| bytes.extend_from_slice(d.as_bytes()));
    Collection { bytes: Arc::new(bytes), ..Collection::default() }
}

struct Bench {
    main: Collection,
    foreign: Collection,
}

impl Host for Bench {
    fn interrupt(&mut self) -> Result<()> {
        Ok(())
    }

    fn open(&mut self, _db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>> {
        let source = if coll == "foreign" { self.foreign.clone() } else { self.main.clone() };
        let mut stages = stages.to_vec();
        optimize(&mut stages, cx);
        let array = stage_array(&stages);
        let mut pipeline = Pipeline::compile(array.as_array().ok_or_else(|| err!(InternalError, "no array"))?, cx)?;
        pipeline.trim();
        pipeline.open(Box::new(source))
    }

    fn finds(&mut self, _db: &str, _coll: &str, _path: &str, _cx: &CompileCx) -> Result<bool> {
        Ok(false)
    }

    fn spill_file(&mut self) -> Result<File> {
        tempfile::tempfile().map_err(|e| err!(OutOfDiskSpace, "{e}"))
    }
}

/// User and system seconds of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // Behind the state: ppid is the first number, utime and stime the 11th and 12th.
    (fields.get(10).unwrap_or(&0.0) + fields.get(11).unwrap_or(&0.0)) / 100.0
}

const PIPELINES: &[(&str, &str)] = &[
    ("scan", r#"[{"$match": {"price": -1}}]"#),
    ("group int", r#"[{"$group": {"_id": "$k", "n": {"$sum": 1}, "total": {"$sum": "$price"}, "most": {"$max": "$qty"}}}]"#),
    ("group string", r#"[{"$group": {"_id": "$city", "n": {"$sum": 1}, "avg": {"$avg": "$price"}}}]"#),
    ("group two keys", r#"[{"$group": {"_id": {"c": "$city", "q": "$qty"}, "n": {"$sum": 1}}}]"#),
    ("group expression", r#"[{"$group": {"_id": "$k", "v": {"$sum": {"$multiply": ["$price", "$qty"]}}}}]"#),
    ("distinct", r#"[{"$group": {"_id": "$city"}}]"#),
    ("unwind group", r#"[{"$unwind": "$tags"}, {"$group": {"_id": "$tags", "n": {"$sum": "$qty"}}}]"#),
    ("sort limit", r#"[{"$sort": {"price": -1, "_id": 1}}, {"$limit": 10}]"#),
    ("sort", r#"[{"$sort": {"price": -1}}, {"$count": "n"}]"#),
    ("project", r#"[{"$project": {"k": 1, "v": {"$multiply": ["$price", "$qty"]}}}]"#),
    ("addFields match", r#"[{"$addFields": {"v": {"$add": ["$qty", 1]}}}, {"$match": {"k": 5, "v": {"$gt": 3}}}]"#),
    ("lookup", r#"[{"$lookup": {"from": "foreign", "localField": "ref", "foreignField": "_id", "as": "r"}}, {"$count": "n"}]"#),
    ("lookup unwind group", r#"[{"$lookup": {"from": "foreign", "localField": "ref", "foreignField": "_id", "as": "r"}}, {"$unwind": "$r"}, {"$group": {"_id": "$r.c", "n": {"$sum": 1}}}]"#),
];

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1);
    let foreign = |i: i32| DocBuf::build(|w| { w.append("_id", i).append("c", i % 7).append("name", "a name of some length"); });
    let mut bench = Bench { main: collection((0..DOCS).map(document)), foreign: collection((0..FOREIGN).map(foreign)) };
    println!("{DOCS} documents of {} bytes", bench.main.bytes.len() / DOCS as usize);
    let cx = CompileCx { db: "test".into(), coll: "main".into(), allow_disk_use: true, ..CompileCx::default() };
    for (name, text) in PIPELINES {
        if wanted.as_ref().is_some_and(|w| w != name) {
            continue;
        }
        let doc = parse_doc(&format!("{{\"p\": {text}}}"))?;
        let stages: Vec<DocBuf> = doc.get("p").as_array().into_iter().flat_map(|a| a.iter()).filter_map(|s| s.as_doc()).map(DocBuf::from).collect();
        let (start, before, mut results) = (Instant::now(), cpu(), 0u64);
        let mut stream = bench.open("test", "main", &stages, &cx)?;
        while stream.advance(&mut bench)? {
            results += 1;
        }
        println!("{name:<22} {:>6.2} s CPU {:>6.2} s  {results} results", cpu() - before, start.elapsed().as_secs_f64());
    }
    Ok(())
}
