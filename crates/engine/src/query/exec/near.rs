//! GEO_NEAR: the documents around a point, nearest first. The search grows: what lies within a radius is all found before the
//! first of it is given out, and then the radius grows.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, bail};
use smongo_mql::Matcher;
use smongo_mql::matcher::GeoOrder;
use smongo_storage::Table;

use super::{Counters, Rows, Test};
use super::ixscan::IndexScan;
use super::ranges::Ranges;
use crate::data::catalog::{Collection, Index};
use crate::data::keys::{RecordId, record_key};
use crate::data::op::OpCx;
use crate::query::plan::{self, Filter, cells};
use crate::query::plan::interval::Intervals;

/// A document that was found and not yet given out.
struct Found {
    distance: f64,
    rid: RecordId,
    doc: DocBuf,
}

// Nearer documents are greater, so that the heap gives them out first; of two as near the one that was inserted first.
impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        other.distance.total_cmp(&self.distance).then(other.rid.cmp(&self.rid))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found {}

pub struct NearRows {
    index: Arc<Index>,
    fields: Vec<Intervals>,
    part: usize,
    order: GeoOrder,
    matcher: Arc<Matcher>,
    test: Test,
    records: Table,
    /// Everything within this distance was found.
    radius: f64,
    next_radius: f64,
    end: f64,
    seen: HashSet<RecordId>,
    waiting: BinaryHeap<Found>,
    current: Option<Found>,
    meta: DocBuf,
    counters: Counters,
}

impl NearRows {
    pub fn new(coll: &Collection, scan: &plan::IndexScan, part: usize, matcher: &Arc<Matcher>, filter: Option<Filter>) -> Result<NearRows> {
        let order = scan.index.parts.get(part).and_then(|p| p.geo);
        let (Some(storage), Some(order), Some(near)) = (coll.storage(), order, matcher.near()) else {
            bail!(InternalError, "a search near a point without an index for it");
        };
        let (next_radius, end) = near.radii(&order);
        Ok(NearRows {
            index: scan.index.clone(),
            fields: scan.fields.clone(),
            part,
            order,
            matcher: matcher.clone(),
            test: Test::new(filter),
            records: storage.records.clone(),
            radius: f64::NEG_INFINITY,
            next_radius,
            end,
            seen: HashSet::new(),
            waiting: BinaryHeap::new(),
            current: None,
            meta: DocBuf::new(),
            counters: Counters::default(),
        })
    }

    /// Finds everything within the next radius.
    fn grow(&mut self, op: &mut OpCx) -> Result<()> {
        let Some(near) = self.matcher.near() else { bail!(InternalError, "a search near no point") };
        let radius = self.next_radius.min(self.end);
        if let Some(field) = self.fields.get_mut(self.part) {
            *field = cells(&near.ranges(&self.order, radius));
        }
        let before = self.seen.len();
        let mut scan = IndexScan::new(&self.index, Ranges::compile(&self.index, &self.fields), true, false, false);
        while scan.advance(op)? {
            let rid = scan.record_id();
            if !self.seen.insert(rid) {
                continue;
            }
            let Some(found) = op.store()?.get(&self.records, &record_key(rid))? else { continue };
            self.counters.docs += 1;
            let doc = Doc::from_checked(found);
            if let Some((distance, _)) = near.nearest(doc, &self.order)
                && self.test.passes(doc)?
            {
                self.waiting.push(Found { distance, rid, doc: DocBuf::from(doc) });
            }
        }
        let mut counted = Vec::new();
        scan.counters(&mut counted);
        self.counters.keys += counted.first().map_or(0, |c| c.keys);
        self.radius = if radius >= self.end { f64::INFINITY } else { radius };
        // Where there is little, larger steps.
        self.next_radius = radius * if self.seen.len() - before < 16 { 4.0 } else { 2.0 };
        Ok(())
    }
}

impl Rows for NearRows {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        loop {
            if self.waiting.peek().is_some_and(|f| f.distance <= self.radius) {
                break;
            }
            if self.radius == f64::INFINITY {
                self.current = None;
                return Ok(false);
            }
            self.grow(op)?;
        }
        self.current = self.waiting.pop();
        self.counters.advanced += 1;
        if let (Some(found), Some(near)) = (&self.current, self.matcher.near())
            && let Some((distance, place)) = near.nearest(found.doc.as_doc(), &self.order)
        {
            self.meta = DocBuf::build(|w| {
                w.append("geoNearDistance", distance).append("geoNearPoint", place);
            });
        }
        Ok(true)
    }

    fn record_id(&self) -> RecordId {
        self.current.as_ref().map_or(0, |f| f.rid)
    }

    fn doc(&self) -> Doc<'_> {
        self.current.as_ref().map_or(Doc::EMPTY, |f| f.doc.as_doc())
    }

    fn meta(&self) -> Doc<'_> {
        self.meta.as_doc()
    }

    fn park(&mut self, _op: &mut OpCx) {}

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
    }
}
