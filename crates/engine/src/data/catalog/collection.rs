//! A collection or view as the catalog knows it.

use std::sync::{Arc, OnceLock};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;
use parking_lot::lock_api::{ArcRwLockReadGuard, ArcRwLockWriteGuard};
use smongo_bson::{Doc, DocBuf, Result, bail};
use smongo_mql::Matcher;
use smongo_mql::collation::Collation;
use smongo_storage::Table;
use uuid::Uuid;

use super::search::SearchIndex;
use super::{Index, PlanMemory};
use crate::data::keys::RecordId;
use crate::data::namespace::Ns;

pub type Lock = Arc<RwLock<()>>;
pub type LockGuard = ArcRwLockReadGuard<parking_lot::RawRwLock, ()>;
pub type ExclusiveGuard = ArcRwLockWriteGuard<parking_lot::RawRwLock, ()>;

/// An immutable snapshot of a collection's definition; `state` is what all snapshots of it share.
pub struct Collection {
    pub ns: Ns,
    pub uuid: Uuid,
    pub kind: Kind,
    /// `options` as listCollections gives them back.
    pub options: DocBuf,
    pub collation: Option<Arc<Collation>>,
    pub validator: Option<Validator>,
    /// Changes keep the document as it was before (`changeStreamPreAndPostImages`).
    pub pre_images: bool,
    pub timeseries: Option<TimeSeries>,
    /// The `_id` index first. Empty for views; time-series collections have no index on `_id`.
    pub indexes: Vec<Arc<Index>>,
    pub search: Vec<Arc<SearchIndex>>,
    pub state: Arc<State>,
}

#[derive(Clone)]
pub enum Kind {
    Collection(Storage),
    View(View),
}

/// Where a collection's documents are.
#[derive(Clone)]
pub struct Storage {
    pub id: u64,
    pub records: Table,
    pub capped: Option<Capped>,
}

#[derive(Clone, Copy, Debug)]
pub struct Capped {
    pub bytes: i64,
    pub documents: Option<i64>,
}

/// What makes a collection one of measurements: it is in the order of their time.
#[derive(Clone)]
pub struct TimeSeries {
    pub time: String,
    pub meta: Option<String>,
    /// Seconds after which measurements go.
    pub expire_after: Option<i64>,
}

#[derive(Clone)]
pub struct View {
    pub on: String,
    pub pipeline: Vec<DocBuf>,
    /// Of the buckets of a time-series collection: that collection.
    pub buckets_of: Option<Arc<Collection>>,
    /// Of a collection that is not stored: its documents, made as somebody asked for it.
    pub made: Option<Vec<DocBuf>>,
}

/// A document validator: `validator`, `validationLevel`, `validationAction` of the collection's options.
#[derive(Clone)]
pub struct Validator {
    pub matcher: Arc<Matcher>,
    /// `moderate` lets invalid documents that are there already be updated.
    pub moderate: bool,
    /// `validationLevel: "off"`.
    pub off: bool,
    /// `warn` (and `errorAndLog`'s log part) only log.
    pub warn_only: bool,
}

/// What changes while a collection lives.
#[derive(Default)]
pub struct State {
    /// Shared by writers, exclusive for data definition.
    pub lock: Lock,
    last_record: AtomicI64,
    /// Documents and their bytes; around [`State::UNKNOWN`] documents while unknown, as after a crash, until somebody counts.
    pub documents: AtomicI64,
    pub bytes: AtomicI64,
    /// The timestamp of the newest change since the database was opened.
    last_change: AtomicU64,
    pub plans: PlanMemory,
    /// Why the collection cannot be used, when its documents could not be read at all as the database was opened.
    pub damage: OnceLock<String>,
}

impl State {
    /// Far from both ends, so that what is added or taken away meanwhile neither wraps around nor makes it look known.
    pub const UNKNOWN: i64 = i64::MIN / 2;

    pub fn new(last_record: RecordId, documents: i64, bytes: i64) -> State {
        State { lock: Lock::default(), last_record: last_record.into(), documents: documents.into(), bytes: bytes.into(), ..State::default() }
    }

    pub fn next_record(&self) -> RecordId {
        self.last_record.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a committed change of size. An unknown count stays unknown for all practical sums.
    pub fn add(&self, documents: i64, bytes: i64) {
        if documents != 0 {
            self.documents.fetch_add(documents, Ordering::Relaxed);
        }
        if bytes != 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// To be called before the timestamp becomes visible.
    pub fn changed(&self, ts: u64) {
        self.last_change.fetch_max(ts, Ordering::AcqRel);
    }

    pub fn last_change(&self) -> u64 {
        self.last_change.load(Ordering::Acquire)
    }

    /// Sets what a count found; nobody writes meanwhile.
    pub fn set(&self, documents: i64, bytes: i64) {
        self.documents.store(documents, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }


    /// The number of documents, when it is known.
    pub fn known_documents(&self) -> Option<i64> {
        let n = self.documents.load(Ordering::Relaxed);
        (n >= 0).then_some(n)
    }
}

impl Collection {
    /// Fails for a collection that can only be dropped.
    #[inline]
    pub fn usable(&self) -> Result<()> {
        match self.state.damage.get() {
            None => Ok(()),
            Some(damage) => bail!(InternalError, "{damage}"),
        }
    }

    pub fn storage(&self) -> Option<&Storage> {
        match &self.kind {
            Kind::Collection(s) => Some(s),
            Kind::View(_) => None,
        }
    }

    pub fn view(&self) -> Option<&View> {
        match &self.kind {
            Kind::View(v) => Some(v),
            Kind::Collection(_) => None,
        }
    }

    /// The collection of buckets of a time-series collection, which is made of it for each command that asks for it.
    pub fn buckets(ns: Ns, series: &Arc<Collection>) -> Collection {
        let view = View { on: series.ns.coll().to_owned(), pipeline: Vec::new(), buckets_of: Some(series.clone()), made: None };
        Collection { ns, kind: Kind::View(view), timeseries: None, validator: None, indexes: Vec::new(), search: Vec::new(), ..series.copy() }
    }

    /// Of the collection of buckets of a time-series collection: that collection.
    pub fn buckets_of(&self) -> Option<&Arc<Collection>> {
        self.view()?.buckets_of.as_ref()
    }

    /// Whether its documents are made, not stored; lists show it as a collection.
    pub fn is_made(&self) -> bool {
        self.view().is_some_and(|view| view.made.is_some())
    }

    pub fn index(&self, name: &str) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|i| i.name == name)
    }

    /// The index on `_id`, which every collection has but those of measurements.
    pub fn id_index(&self) -> Option<&Arc<Index>> {
        self.indexes.first().filter(|i| i.is_id())
    }

    /// Whether the documents are in the order of `_id`.
    pub fn is_clustered(&self) -> bool {
        self.id_index().is_some_and(|i| i.clustered)
    }

    /// The specification of the `_id` index as lists of collections give it: a clustered collection has none.
    pub fn id_index_spec(&self) -> smongo_bson::Value<'_> {
        self.id_index().filter(|i| !i.clustered).map_or(smongo_bson::Value::Missing, |i| i.spec.as_doc().into())
    }

    /// How many indexes there are beside the documents' own order.
    pub fn index_count(&self) -> usize {
        self.indexes.len() - usize::from(self.is_clustered())
    }

    pub fn option(&self, name: &str) -> smongo_bson::Value<'_> {
        self.options.get(name)
    }

    pub fn options(&self) -> Doc<'_> {
        self.options.as_doc()
    }

    pub fn is_capped(&self) -> bool {
        self.storage().is_some_and(|s| s.capped.is_some())
    }
}

impl Collection {
    /// The same collection under another name.
    pub fn with_name(&self, ns: Ns) -> Collection {
        Collection { ns, ..self.copy() }
    }

    pub fn with_kind(&self, kind: Kind) -> Collection {
        Collection { kind, ..self.copy() }
    }

    /// The same collection with other indexes; plans are chosen anew.
    pub fn with_indexes(&self, indexes: Vec<Arc<Index>>) -> Collection {
        self.state.plans.clear(None);
        Collection { indexes, ..self.copy() }
    }

    /// The same collection with other search indexes.
    pub fn with_search(&self, search: Vec<Arc<SearchIndex>>) -> Collection {
        Collection { search, ..self.copy() }
    }

    fn copy(&self) -> Collection {
        Collection {
            ns: self.ns.clone(),
            uuid: self.uuid,
            kind: self.kind.clone(),
            options: self.options.clone(),
            collation: self.collation.clone(),
            validator: self.validator.clone(),
            pre_images: self.pre_images,
            timeseries: self.timeseries.clone(),
            indexes: self.indexes.clone(),
            search: self.search.clone(),
            state: self.state.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn an_unknown_count_stays_unknown_until_somebody_counts() {
        let state = State::new(0, State::UNKNOWN, 0);
        state.add(-1, -10);
        assert_eq!(state.known_documents(), None);
        state.add(3, 30);
        assert_eq!(state.known_documents(), None);
        state.set(2, 20);
        assert_eq!(state.known_documents(), Some(2));
    }
}
