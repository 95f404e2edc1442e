//! TEXT_MATCH: the documents in which the index knows a term of a `$text`, with their scores.

use std::collections::HashMap;
use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, Value, bail, keystring, number};
use smongo_mql::text::{Asked, TextFields};
use smongo_mql::{Host, Matcher};
use smongo_storage::Table;

use super::{Counters, Entry, INTERRUPT_EVERY, Rows, Test};
use super::ixscan::IndexScan;
use super::ranges::Ranges;
use crate::data::catalog::{Collection, Index};
use crate::data::keys::{RecordId, record_key};
use crate::data::op::OpCx;
use crate::query::plan::{self, Filter};
use crate::query::plan::interval::{Interval, Intervals};

pub struct TextRows {
    index: Arc<Index>,
    fields: Vec<Intervals>,
    part: usize,
    asked: Asked,
    texts: TextFields,
    test: Test,
    records: Table,
    /// Records and scores, once the index was read; the last comes first.
    found: Option<Vec<(RecordId, f64)>>,
    rid: RecordId,
    doc: Vec<u8>,
    meta: DocBuf,
    counters: Counters,
}

impl TextRows {
    pub fn new(coll: &Collection, scan: &plan::IndexScan, part: usize, matcher: &Arc<Matcher>, filter: Option<Filter>) -> Result<TextRows> {
        let texts = scan.index.special.as_ref().and_then(|s| s.text());
        let (Some(storage), Some(texts), Some(search)) = (coll.storage(), texts, matcher.search()) else {
            bail!(InternalError, "a text search without an index for it");
        };
        Ok(TextRows {
            index: scan.index.clone(),
            fields: scan.fields.clone(),
            part,
            asked: search.ask(texts),
            texts: texts.clone(),
            test: Test::new(filter),
            records: storage.records.clone(),
            found: None,
            rid: 0,
            doc: Vec::new(),
            meta: DocBuf::new(),
            counters: Counters::default(),
        })
    }

    /// Adds up what the index says of each term.
    fn read(&mut self, op: &mut OpCx) -> Result<Vec<(RecordId, f64)>> {
        let mut scores: HashMap<RecordId, f64> = HashMap::new();
        for term in &self.asked.terms {
            if let Some(field) = self.fields.get_mut(self.part) {
                *field = vec![Interval::point(Value::String(term))];
            }
            let mut scan = IndexScan::new(&self.index, Ranges::compile(&self.index, &self.fields), true, false, true);
            while scan.advance(op)? {
                let Some(entry) = scan.entry() else { continue };
                *scores.entry(scan.record_id()).or_default() += TextRows::score(&self.index, self.part, &entry)?;
            }
            let mut counted = Vec::new();
            scan.counters(&mut counted);
            self.counters.keys += counted.first().map_or(0, |c| c.keys);
        }
        let mut found: Vec<(RecordId, f64)> = scores.into_iter().collect();
        found.sort_unstable_by_key(|(rid, _)| std::cmp::Reverse(*rid));
        Ok(found)
    }

    /// The score stands behind the term.
    fn score(index: &Index, term_part: usize, entry: &Entry<'_>) -> Result<f64> {
        let mut rest = entry.key;
        for part in index.parts.iter().take(term_part + 1) {
            rest = keystring::skip(rest, part.descending)?;
        }
        let (value, _) = keystring::decode(rest, false)?;
        Ok(number::to_f64(value.view()).unwrap_or(0.0))
    }
}

impl Rows for TextRows {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        if self.found.is_none() {
            self.found = Some(self.read(op)?);
        }
        while let Some((rid, score)) = self.found.as_mut().and_then(Vec::pop) {
            self.counters.docs += 1;
            if self.counters.docs.is_multiple_of(INTERRUPT_EVERY) {
                op.interrupt()?;
            }
            let Some(found) = op.store()?.get(&self.records, &record_key(rid))? else { continue };
            let doc = Doc::from_checked(found);
            if self.asked.accepts(&self.texts, doc) && self.test.passes(doc)? {
                self.doc.clear();
                self.doc.extend_from_slice(found);
                self.rid = rid;
                self.meta = DocBuf::build(|w| {
                    w.append("textScore", score);
                });
                self.counters.advanced += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        self.rid
    }

    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.doc)
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_doc()
    }

    fn park(&mut self, _op: &mut OpCx) {}

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
    }
}
