//! Which documents a write statement is about.

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result};
use smongo_mql::{Arena, CompileCx, Matcher, SortPattern};

use crate::data::catalog::{Collection, find_by_id};
use crate::data::keys::{RecordId, record_key};
use crate::data::op::OpCx;
use crate::query::exec;
use crate::query::plan::{self, Hint, Query};

/// The compiled query of an update, delete or findAndModify statement.
pub struct Target<'a> {
    pub filter: Arc<Matcher>,
    pub filter_doc: Doc<'a>,
    sort: Doc<'a>,
    hint: Option<Hint>,
    cx: CompileCx,
}

impl<'a> Target<'a> {
    pub fn compile(filter_doc: Doc<'a>, sort: Doc<'a>, hint: Option<Hint>, cx: &CompileCx) -> Result<Target<'a>> {
        if !sort.is_empty() {
            SortPattern::compile(sort, cx)?;
        }
        Ok(Target { filter: Arc::new(Matcher::compile(filter_doc, cx)?), filter_doc, sort, hint, cx: cx.clone() })
    }

    fn query(&self) -> Result<Query> {
        let mut query = Query::new(self.filter.clone());
        query.hint = self.hint.clone();
        if !self.sort.is_empty() {
            query.sort = Some(SortPattern::compile(self.sort, &self.cx)?);
            query.sort_doc = DocBuf::from(self.sort);
        }
        Ok(query)
    }

    /// The first document, in the statement's order.
    pub fn first(&self, op: &mut OpCx, coll: &Arc<Collection>) -> Result<Option<(RecordId, DocBuf)>> {
        if self.hint.is_none()
            && let Some(id) = plan::by_id(coll, self.filter_doc, self.cx.collation.is_some())
        {
            let found = find_by_id(op, coll, id)?;
            return Ok(found.map(|(id, doc)| (id, DocBuf::from(doc))));
        }
        let mut query = self.query()?;
        query.limit = Some(1);
        let mut rows = plan::plan(op, coll, query)?.open_rows(op)?;
        let found = if rows.advance(op)? { Some((rows.record_id(), DocBuf::from(rows.doc()))) } else { None };
        exec::count(op, &*rows, (0, 0));
        rows.park(op);
        Ok(found)
    }

    /// The record ids of all documents, in the order found; the snapshot is let go.
    pub fn all(&self, op: &mut OpCx, coll: &Arc<Collection>) -> Result<Vec<RecordId>> {
        let mut rows = plan::plan(op, coll, self.query()?)?.open_rows(op)?;
        let mut ids = Vec::new();
        while rows.advance(op)? {
            ids.push(rows.record_id());
        }
        exec::count(op, &*rows, (0, 0));
        rows.park(op);
        op.end_read();
        Ok(ids)
    }

    /// The document of a record id found earlier, if it is there and matches in the present snapshot.
    pub fn still(&self, op: &mut OpCx, coll: &Collection, id: RecordId, arena: &Arena) -> Result<Option<DocBuf>> {
        let Some(storage) = coll.storage() else { return Ok(None) };
        let Some(bytes) = op.store()?.get(&storage.records, &record_key(id))? else { return Ok(None) };
        let doc = Doc::from_checked(bytes);
        Ok(if self.filter.matches(doc, arena)? { Some(DocBuf::from(doc)) } else { None })
    }
}
