//! What is remembered of a collection's query shapes: plans that won, for `$planCacheStats`, and index filters, which narrow the choice.
//!
//! Shared by all snapshots of the collection; not persistent, as in MongoDB. What a shape and a plan are, the planner knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use smongo_bson::{DocBuf, DocWriter, Value};

use super::{Index, same_key};
use crate::data::limits;

#[derive(Default)]
pub struct PlanMemory {
    plans: Mutex<HashMap<String, Entry>>,
    filters: RwLock<Vec<IndexFilter>>,
    /// Whether there are filters: few collections have any, and none of the others' queries computes its shape.
    filtered: AtomicBool,
}

struct Entry {
    described: DocBuf,
    /// The shape was seen again after the entry was made.
    active: bool,
}

/// What `planCacheSetFilter` sets: only these indexes are considered for queries of a shape.
#[derive(Clone)]
pub struct IndexFilter {
    pub shape: String,
    pub query: DocBuf,
    pub sort: DocBuf,
    pub projection: DocBuf,
    pub collation: DocBuf,
    /// Names and key patterns, as they were given.
    pub indexes: DocBuf,
}

impl IndexFilter {
    pub fn allows(&self, index: &Index) -> bool {
        self.indexes.as_doc().iter().any(|e| match e.value() {
            Value::String(name) => index.name == name,
            Value::Document(key) => same_key(index.key(), key),
            _ => false,
        })
    }

    /// As `planCacheListFilters` shows it.
    pub fn describe(&self, w: &mut DocWriter<'_>) {
        w.append("query", self.query.as_doc()).append("sort", self.sort.as_doc()).append("projection", self.projection.as_doc());
        if !self.collation.as_doc().is_empty() {
            w.append("collation", self.collation.as_doc());
        }
        let mut indexes = w.array("indexes");
        for e in self.indexes.as_doc() {
            indexes.push(e.value());
        }
    }
}

impl PlanMemory {
    /// The index filter for queries of a shape, which is only computed where there are filters.
    pub fn filter(&self, shape: impl FnOnce() -> String) -> Option<IndexFilter> {
        if !self.filtered.load(Ordering::Relaxed) {
            return None;
        }
        let shape = shape();
        self.filters.read().iter().find(|f| f.shape == shape).cloned()
    }

    pub fn filters(&self) -> Vec<IndexFilter> {
        self.filters.read().clone()
    }

    pub fn set_filter(&self, filter: IndexFilter) {
        let mut filters = self.filters.write();
        filters.retain(|f| f.shape != filter.shape);
        filters.push(filter);
        self.filtered.store(true, Ordering::Relaxed);
    }

    /// Removes the filter of a shape, or all of them.
    pub fn clear_filters(&self, shape: Option<&str>) {
        let mut filters = self.filters.write();
        filters.retain(|f| shape.is_some_and(|s| f.shape != s));
        self.filtered.store(!filters.is_empty(), Ordering::Relaxed);
    }

    /// Forgets the plan of a shape, or all plans.
    pub fn clear(&self, shape: Option<&str>) {
        self.plans.lock().retain(|s, _| shape.is_some_and(|gone| s != gone));
    }

    /// Remembers the plan of a shape that won over others; it is described when it is new.
    pub fn remember(&self, shape: String, describe: impl FnOnce(&str) -> DocBuf) {
        let mut plans = self.plans.lock();
        if let Some(entry) = plans.get_mut(&shape) {
            entry.active = true;
            return;
        }
        if plans.len() >= limits::CACHED_PLANS {
            let some = plans.keys().next().cloned();
            some.map(|shape| plans.remove(&shape));
        }
        let described = describe(&shape);
        plans.insert(shape, Entry { described, active: false });
    }

    /// The entries as `$planCacheStats` shows them.
    pub fn describe(&self, host: &str) -> Vec<DocBuf> {
        let one = |entry: &Entry| {
            DocBuf::build(|w| {
                let described = entry.described.as_doc();
                w.append_all(described).append("isActive", entry.active);
                w.append("estimatedSizeBytes", described.as_bytes().len() as i64).append("host", host);
            })
        };
        self.plans.lock().values().map(one).collect()
    }
}
