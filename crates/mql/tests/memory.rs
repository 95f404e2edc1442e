//! Sorting and grouping ten times what the memory limit allows: the answers are right and the process stays small. Alone in its binary, because
//! the peak is the process's.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;

use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Result, Value, err, number};
use smongo_mql::{CompileCx, Host, Pipeline, Stream};

const LIMIT: usize = 16 << 20;
/// What may be used beyond the limit.
const SLACK: usize = 64 << 20;
const DOCS: i64 = 400_000;

/// Documents of some 400 bytes in no order, made as they are asked for.
struct Source {
    next: i64,
    doc: DocBuf,
}

impl Stream for Source {
    fn advance(&mut self, _host: &mut dyn Host) -> Result<bool> {
        let n = self.next * 7_368_787 % DOCS;
        self.next += 1;
        self.doc = DocBuf::build(|w| {
            w.append("_id", n).append("k", n / 2).append("text", "x".repeat(360).as_str());
        });
        Ok(self.next <= DOCS)
    }

    fn doc(&self) -> Doc<'_> {
        self.doc.as_doc()
    }
}

struct Small {
    files: usize,
}

impl Host for Small {
    fn interrupt(&mut self) -> Result<()> {
        Ok(())
    }

    fn open(&mut self, _db: &str, _coll: &str, _stages: &[DocBuf], _cx: &CompileCx) -> Result<Box<dyn Stream>> {
        Err(err!(InternalError, "there is one collection"))
    }

    fn memory_limit(&self) -> usize {
        LIMIT
    }

    fn spill_file(&mut self) -> Result<File> {
        self.files += 1;
        tempfile::tempfile().map_err(|e| err!(OutOfDiskSpace, "{e}"))
    }
}

/// The most bytes this process has had in memory; zero where that is not known.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 1024
}

fn open(stages: &str, allow_disk_use: bool) -> Box<dyn Stream> {
    let doc = parse_doc(&format!("{{\"p\": {stages}}}")).unwrap();
    let cx = CompileCx { db: "test".into(), coll: "t".into(), allow_disk_use, ..CompileCx::default() };
    let pipeline = Pipeline::compile(doc.get("p").as_array().unwrap(), &cx).unwrap();
    pipeline.open(Box::new(Source { next: 0, doc: DocBuf::new() })).unwrap()
}

fn int(value: Value<'_>) -> i64 {
    number::to_i64_exact(value).unwrap()
}

#[test]
fn ten_times_the_limit() {
    let before = peak();
    let mut host = Small { files: 0 };

    let mut sorted = open(r#"[{"$sort": {"_id": 1}}]"#, true);
    for n in 0..DOCS {
        assert!(sorted.advance(&mut host).unwrap());
        assert_eq!(int(sorted.doc().get("_id")), n);
    }
    assert!(!sorted.advance(&mut host).unwrap());
    drop(sorted);

    let mut groups = open(r#"[{"$group": {"_id": "$k", "n": {"$sum": 1}, "ids": {"$push": "$_id"}, "text": {"$first": "$text"}}}]"#, true);
    let mut count = 0;
    while groups.advance(&mut host).unwrap() {
        assert_eq!(int(groups.doc().get("n")), 2);
        assert_eq!(groups.doc().get("ids").as_array().unwrap().len(), 2);
        count += 1;
    }
    assert_eq!(count, DOCS / 2);
    drop(groups);

    // One partition. What is as long as it is on disk; the last eleven numbers are in memory.
    let functions = r#"{
        "all": {"$sum": "$_id"}, "sum": {"$sum": "$_id", "window": {"documents": ["unbounded", "current"]}},
        "rest": {"$sum": "$_id", "window": {"range": ["current", "unbounded"]}}, "last": {"$push": "$_id", "window": {"documents": [-10, 0]}},
        "far": {"$shift": {"output": "$_id", "by": 300000}}, "rank": {"$rank": {}}, "text": {"$first": "$text", "window": {"range": [-200000, 10]}},
        "slope": {"$derivative": {"input": "$k"}, "window": {"documents": [-200000, 200000]}}}"#;
    let mut windows = open(&format!("[{{\"$setWindowFields\": {{\"sortBy\": {{\"_id\": 1}}, \"output\": {functions}}}}}]"), true);
    let total = DOCS * (DOCS - 1) / 2;
    for n in 0..DOCS {
        assert!(windows.advance(&mut host).unwrap());
        let doc = windows.doc();
        let before = n * (n - 1) / 2;
        assert_eq!([int(doc.get("all")), int(doc.get("sum")), int(doc.get("rest")), int(doc.get("rank"))], [total, before + n, total - before, n + 1]);
        assert_eq!(doc.get("last").as_array().unwrap().len() as i64, 11.min(n + 1));
        assert_eq!(number::to_i64_exact(doc.get("far")), Some(n + 300_000).filter(|far| *far < DOCS));
    }
    assert!(!windows.advance(&mut host).unwrap());
    drop(windows);
    let too_much = open(r#"[{"$setWindowFields": {"sortBy": {"_id": 1}, "output": {"all": {"$push": "$text"}}}}]"#, true).advance(&mut host);
    assert_eq!(too_much.map_err(|e| e.code().0), Err(5_643_011));

    assert_eq!(host.files, 6);
    let used = peak().saturating_sub(before);
    assert!(used < LIMIT + SLACK, "{} MiB were used", used >> 20);

    for stages in [r#"[{"$sort": {"_id": 1}}]"#, r#"[{"$group": {"_id": "$k", "all": {"$push": "$text"}}}]"#, r#"[{"$bucketAuto": {"groupBy": "$k", "buckets": 5}}]"#, r#"[{"$setWindowFields": {"sortBy": {"_id": 1}, "output": {"n": {"$sum": 1}}}}]"#] {
        let refused = open(stages, false).advance(&mut host).map_err(|e| e.code().0);
        assert_eq!(refused, Err(292), "{stages}");
    }
}
