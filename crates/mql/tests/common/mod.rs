//! Collections in memory, and random documents and pipelines over them. Each test uses a part of it.

#![allow(dead_code)]

pub mod random;

use std::fs::File;

use smongo_bson::json::to_canonical;
use smongo_bson::{DocBuf, Result, err};
use smongo_mql::pipeline::{optimize, stage_array};
use smongo_mql::stream::Docs;
use smongo_mql::{CompileCx, Host, Pipeline, Stream};

/// Two collections, `t` and `f`.
pub struct Memory {
    t: Vec<DocBuf>,
    f: Vec<DocBuf>,
    pub optimize: bool,
    pub limit: usize,
    /// How many files were made to spill to.
    pub files: usize,
}

impl Memory {
    pub fn new(t: Vec<DocBuf>, f: Vec<DocBuf>) -> Memory {
        Memory { t, f, optimize: false, limit: 100 << 20, files: 0 }
    }

    fn cx() -> CompileCx {
        CompileCx { db: "test".into(), coll: "t".into(), allow_disk_use: true, ..CompileCx::default() }
    }

    /// The answer as text.
    pub fn run(&mut self, stages: &[DocBuf]) -> Result<Vec<String>> {
        // What the command checks, be the pipeline optimized or not.
        Pipeline::compile(stage_array(stages).as_array().unwrap(), &Memory::cx())?;
        let mut stream = self.open("test", "t", stages, &Memory::cx())?;
        let mut out = Vec::new();
        while stream.advance(self)? {
            out.push(to_canonical(stream.doc()));
        }
        Ok(out)
    }

    pub fn rewrites(&self, stages: &[DocBuf]) -> bool {
        let mut better = stages.to_vec();
        optimize(&mut better, &Memory::cx());
        better.iter().map(DocBuf::as_bytes).ne(stages.iter().map(DocBuf::as_bytes))
    }
}

impl Host for Memory {
    fn interrupt(&mut self) -> Result<()> {
        Ok(())
    }

    fn open(&mut self, _db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>> {
        let docs = match coll {
            "t" => self.t.clone(),
            "f" => self.f.clone(),
            _ => Vec::new(),
        };
        let mut stages = stages.to_vec();
        if self.optimize {
            optimize(&mut stages, cx);
        }
        let mut pipeline = Pipeline::compile(stage_array(&stages).as_array().unwrap(), cx)?;
        if self.optimize {
            pipeline.trim();
        }
        pipeline.open(Box::new(Docs::new(docs)))
    }

    fn finds(&mut self, _db: &str, _coll: &str, _path: &str, _cx: &CompileCx) -> Result<bool> {
        Ok(!self.optimize)
    }

    fn memory_limit(&self) -> usize {
        self.limit
    }

    fn spill_file(&mut self) -> Result<File> {
        self.files += 1;
        tempfile::tempfile().map_err(|e| err!(OutOfDiskSpace, "{e}"))
    }
}

