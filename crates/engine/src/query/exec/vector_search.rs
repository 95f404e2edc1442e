//! `$vectorSearch`: the nearest documents of the operation's own snapshot, each of them scored.

use smongo_bson::{Doc, DocBuf, Error, Result, Value, keystring};
use smongo_mql::pipeline::spill::{Sorted, Sorter};
use smongo_mql::stream::{Docs, SourceSpec};
use smongo_mql::{CompileCx, Host, Stream};
use smongo_search::definition::Definition;
use smongo_search::request::{Request, Search};

use super::INTERRUPT_EVERY;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// What went wrong in a search, as who asked for an aggregation hears it.
fn in_search(error: Error) -> Error {
    error.context("PlanExecutor error during aggregation")
}

/// Fails where the stage would, for who explains it.
pub fn check(op: &OpCx, source: &SourceSpec) -> Result<()> {
    if op.collection(&Ns::unchecked(&source.db, &source.coll))?.is_some() {
        Request::parse(source.spec.view().as_doc().unwrap_or(Doc::EMPTY), true).map_err(in_search)?;
    }
    Ok(())
}

/// A collection that does not exist has no documents, and an index that does not exist finds none.
pub fn open(op: &mut OpCx, source: &SourceSpec) -> Result<Box<dyn Stream>> {
    let ns = Ns::unchecked(&source.db, &source.coll);
    let nothing = || Box::new(Docs::new(Vec::new()));
    let Some(coll) = op.collection(&ns)? else { return Ok(nothing()) };
    let request = Request::parse(source.spec.view().as_doc().unwrap_or(Doc::EMPTY), false).map_err(in_search)?;
    let Some(index) = coll.search.iter().find(|index| index.name == request.index) else { return Ok(nothing()) };
    let Definition::Vector(definition) = &index.compiled else {
        return Err(in_search(smongo_bson::err!(UnknownError, "{} is not indexed as vector", request.path)));
    };
    let search = request.on(definition).map_err(in_search)?;
    Ok(Box::new(VectorSearch { ns, limit: request.limit as u64, search, found: None, meta: DocBuf::new() }))
}

struct VectorSearch {
    ns: Ns,
    limit: u64,
    search: Search,
    found: Option<Sorted>,
    meta: DocBuf,
}

/// Of a row: the score stands before the document.
const SCORE: usize = 4;

impl VectorSearch {
    fn run(&self, host: &mut dyn Host) -> Result<Sorted> {
        let cx = CompileCx { db: self.ns.db().to_owned(), coll: self.ns.coll().to_owned(), depth: 1, ..CompileCx::default() };
        let mut documents = host.open(self.ns.db(), self.ns.coll(), &[], &cx)?;
        let mut sorter = Sorter::new("$vectorSearch", true, Some(self.limit));
        let (mut key, mut row) = (Vec::new(), Vec::new());
        let mut seen = 0u64;
        while documents.advance(host)? {
            seen += 1;
            if seen.is_multiple_of(INTERRUPT_EVERY) {
                host.interrupt()?;
            }
            let doc = documents.doc();
            let Some(score) = self.search.score(doc) else { continue };
            key.clear();
            keystring::append(&mut key, Value::Double(f64::from(score)), true, None);
            row.clear();
            row.extend_from_slice(&score.to_le_bytes());
            row.extend_from_slice(doc.as_bytes());
            sorter.push(&key, &row, host)?;
        }
        sorter.finish(host)
    }
}

impl Stream for VectorSearch {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if self.found.is_none() {
            self.found = Some(self.run(host)?);
        }
        let Some(found) = &mut self.found else { return Ok(false) };
        if !found.advance()? {
            return Ok(false);
        }
        let score = found.payload().first_chunk::<SCORE>().map_or(0.0, |score| f64::from(f32::from_le_bytes(*score)));
        self.meta = DocBuf::build(|w| {
            w.append("vectorSearchScore", score).append("score", score);
        });
        Ok(true)
    }

    fn doc(&self) -> Doc<'_> {
        let row = self.found.as_ref().map_or(&[][..], Sorted::payload);
        row.get(SCORE..).filter(|doc| !doc.is_empty()).map_or(Doc::EMPTY, Doc::from_checked)
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_doc()
    }

    fn park(&mut self, host: &mut dyn Host) {
        if let Some(found) = self.found.as_mut().filter(|_| host.resting()) {
            found.rest(true, host);
        }
    }
}
