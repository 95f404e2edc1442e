//! `$vectorSearch`: the nearest documents of the operation's own snapshot, each of them scored.

use smongo_bson::{Doc, DocBuf, Error, Result, Value, keystring};
use smongo_mql::pipeline::spill::{Sorted, Sorter};
use smongo_mql::stream::{Docs, SourceSpec};
use smongo_mql::{Arena, CompileCx, Host, Projection, Stream};
use smongo_search::definition::Definition;
use smongo_search::request::{Request, Search, vector_of};
use smongo_search::vector::norm;

use super::INTERRUPT_EVERY;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// What went wrong in a search, as who asked for an aggregation hears it.
fn in_search(error: Error) -> Error {
    error.context("PlanExecutor error during aggregation")
}

/// A collection that does not exist has no documents, and an index that does not exist finds none.
pub fn open(op: &mut OpCx, source: &SourceSpec) -> Result<Box<dyn Stream>> {
    let ns = Ns::unchecked(&source.db, &source.coll);
    let nothing = || Box::new(Docs::new(Vec::new()));
    let Some(coll) = op.collection(&ns)? else { return Ok(nothing()) };
    let request = Request::parse(source.spec.view().as_doc().unwrap_or(Doc::EMPTY)).map_err(in_search)?;
    let Some(index) = coll.search.iter().find(|index| index.name == request.index) else { return Ok(nothing()) };
    let Definition::Vector(definition) = &index.compiled else {
        return Err(in_search(smongo_bson::err!(UnknownError, "{} is not indexed as vector", request.path)));
    };
    let search = request.on(definition).map_err(in_search)?;
    let stored = definition.stored.as_ref().filter(|_| request.stored_source);
    let projection = stored.map(|stored| Projection::compile_project(stored.projection().as_doc(), &CompileCx::default())).transpose()?;
    Ok(Box::new(VectorSearch {
        ns,
        path: request.path.to_owned(),
        limit: request.limit as u64,
        search,
        projection,
        found: None,
        doc: DocBuf::new(),
        meta: DocBuf::new(),
    }))
}

struct VectorSearch {
    ns: Ns,
    path: String,
    limit: u64,
    search: Search,
    /// What the index keeps of documents, where only that is wanted.
    projection: Option<Projection>,
    found: Option<Sorted>,
    doc: DocBuf,
    meta: DocBuf,
}

/// Of a row: the score stands before the document.
const SCORE: usize = 4;

impl VectorSearch {
    fn run(&self, host: &mut dyn Host) -> Result<Sorted> {
        let cx = CompileCx { db: self.ns.db().to_owned(), coll: self.ns.coll().to_owned(), depth: 1, ..CompileCx::default() };
        let mut documents = host.open(self.ns.db(), self.ns.coll(), &[], &cx)?;
        let query = &self.search.query;
        let (kind, dims) = (query.vector().kind(), query.vector().dims());
        let mut sorter = Sorter::new("$vectorSearch", true, Some(self.limit));
        let (mut key, mut row) = (Vec::new(), Vec::new());
        let mut seen = 0u64;
        while documents.advance(host)? {
            seen += 1;
            if seen.is_multiple_of(INTERRUPT_EVERY) {
                host.interrupt()?;
            }
            let doc = documents.doc();
            let Some(vector) = vector_of(doc, &self.path, kind, dims) else { continue };
            if self.search.filter.as_ref().is_some_and(|filter| !filter.matches(doc)) {
                continue;
            }
            let Some(score) = query.score(vector.view(), norm(vector.view())) else { continue };
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
        let Some((score, doc)) = found.payload().split_first_chunk::<SCORE>() else { return Ok(false) };
        let score = f64::from(f32::from_le_bytes(*score));
        let doc = Doc::from_checked(doc);
        self.doc = match &self.projection {
            Some(projection) => {
                let mut out = Vec::new();
                projection.apply(doc, None, &Arena::new(), &mut out)?;
                DocBuf::from_checked(out)
            }
            None => DocBuf::from(doc),
        };
        self.meta = DocBuf::build(|w| {
            w.append("vectorSearchScore", score).append("score", score);
        });
        Ok(true)
    }

    fn doc(&self) -> Doc<'_> {
        self.doc.as_doc()
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
