//! An index as the catalog knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use smongo_bson::index_keys::{Multikey, meets_array};
use smongo_bson::path::Path;
use smongo_bson::{Doc, DocBuf, Result, Value, bail, number};
use smongo_mql::collation::Collation;
use smongo_mql::matcher::{GeoOrder, Grid};
use smongo_mql::{CompileCx, Matcher};
use smongo_storage::Table;

use super::special::Special;

/// An index. Its definition never changes but for `hidden` and `expireAfterSeconds`, which make a new snapshot.
pub struct Index {
    pub id: u64,
    pub name: String,
    /// The specification as listIndexes gives it back: `{v, key, name, …}`.
    pub spec: DocBuf,
    pub kind: IndexKind,
    pub parts: Vec<KeyPart>,
    pub paths: Vec<Path>,
    /// How keys are made, where they are not the values at the paths.
    pub special: Option<Special>,
    pub unique: bool,
    /// No key may come a second time, as if the index were unique already; what is there may (collMod: `prepareUnique`).
    pub prepare_unique: bool,
    pub sparse: bool,
    pub hidden: bool,
    /// The `_id` index of a clustered collection: no index of its own to whoever asks, but the order of the documents.
    pub clustered: bool,
    pub partial: Option<Matcher>,
    pub collation: Option<Arc<Collation>>,
    pub expire_after: Option<i64>,
    pub table: Table,
    /// Where documents hold arrays along the paths, or did, or would have. It grows before the write that makes it true commits, and
    /// never beyond what the catalog's entry says; it never shrinks.
    multikey: Arc<RwLock<Multikey>>,
    /// The catalog's generation from which on snapshots hold all of its entries; see [`Index::is_complete_in`].
    complete_from: AtomicU64,
    /// Plans that used the index since the database was opened.
    uses: Arc<AtomicU64>,
    /// It was dropped: a scan that was parked must not go on, since nothing enters new documents any more.
    dropped: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Ascending and descending fields.
    Btree,
    Hashed,
    /// Values at many paths, by path.
    Wildcard,
    /// `2d` and `2dsphere`.
    Geo,
    Text,
}

pub struct KeyPart {
    pub path: Path,
    pub descending: bool,
    pub hashed: bool,
    /// Keys are cells of the sphere or the plane.
    pub geo: Option<GeoOrder>,
}

/// The name of the key part that holds the paths of a wildcard index.
pub const PATH_PART: &str = "$_path";

impl Index {
    /// From a specification that was checked and normalised.
    pub fn from_spec(id: u64, spec: DocBuf, table: Table, multikey: Multikey) -> Result<Index> {
        let key = spec.get("key").as_doc().unwrap_or(smongo_bson::Doc::EMPTY);
        let mut parts = Vec::new();
        for e in key {
            if is_wildcard(e) {
                parts.push(KeyPart { path: Path::new(PATH_PART), descending: false, hashed: false, geo: None });
            }
            parts.push(KeyPart {
                path: Path::new(e.name()),
                descending: number::to_f64(e.value()).is_some_and(|n| n < 0.0),
                hashed: e.value().as_str() == Some("hashed"),
                geo: match e.value() {
                    Value::String("2dsphere") => Some(GeoOrder::Sphere),
                    Value::String("2d") => Some(GeoOrder::Flat(Grid::new(spec.as_doc())?)),
                    _ => None,
                },
            });
        }
        let special = Special::new(spec.as_doc(), &parts)?;
        let collation = match spec.get("collation") {
            Value::Document(d) => Collation::parse(d)?.map(Arc::new),
            _ => None,
        };
        let partial = match spec.get("partialFilterExpression") {
            Value::Document(filter) => Some(Matcher::compile(filter, &CompileCx { collation: collation.clone(), ..CompileCx::default() })?),
            _ => None,
        };
        let kind = match &special {
            Some(special) => special.kind(),
            None if parts.iter().any(|p| p.hashed) => IndexKind::Hashed,
            None => IndexKind::Btree,
        };
        Ok(Index {
            id,
            name: spec.get("name").as_str().unwrap_or_default().to_owned(),
            kind,
            paths: parts.iter().map(|p| p.path.clone()).collect(),
            parts,
            special,
            unique: spec.get("unique").truthy(),
            prepare_unique: spec.get("prepareUnique").truthy(),
            sparse: spec.get("sparse").truthy(),
            hidden: spec.get("hidden").truthy(),
            clustered: spec.get("clustered").truthy(),
            partial,
            collation,
            expire_after: number::to_f64(spec.get("expireAfterSeconds")).map(|n| n as i64),
            table,
            multikey: Arc::new(RwLock::new(multikey)),
            complete_from: AtomicU64::new(0),
            uses: Arc::default(),
            dropped: AtomicBool::new(false),
            spec,
        })
    }

    /// Whether there are fields in which it takes no arrays.
    pub fn refuses_arrays(&self) -> bool {
        matches!(self.kind, IndexKind::Hashed | IndexKind::Text)
    }

    /// Refuses arrays where an index of its kind takes none: hashed ones on any path, text ones on the paths beside the text.
    pub fn check_arrays(&self, doc: smongo_bson::Doc<'_>) -> Result<()> {
        let met = |paths: &[Path]| paths.iter().find(|path| meets_array(doc, path)).map(|path| path.text().to_owned());
        match (self.kind, &self.special) {
            (IndexKind::Hashed, _) => match met(&self.paths) {
                Some(path) => bail!(16766, "Error: hashed indexes do not currently support array values. Found array at path: {path}"),
                None => Ok(()),
            },
            (IndexKind::Text, Some(special)) => match met(special.plain()) {
                Some(path) => bail!(CannotBuildIndexKeys, "Field '{path}' of text index contains an array in document: {doc}"),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub fn is_id(&self) -> bool {
        self.clustered || self.name == "_id_"
    }

    pub fn key(&self) -> smongo_bson::Doc<'_> {
        self.spec.get("key").as_doc().unwrap_or(smongo_bson::Doc::EMPTY)
    }

    /// How many plans used the index.
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    pub fn set_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub fn used(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that snapshots that are taken in this generation or later hold every entry.
    pub fn completed(&self, generation: u64) {
        self.complete_from.store(generation, Ordering::Relaxed);
    }

    /// Whether a snapshot taken in this generation holds every entry. An index is built while older transactions read on:
    /// what they would see of it is only what was there when they began.
    pub fn is_complete_in(&self, generation: u64) -> bool {
        self.complete_from.load(Ordering::Relaxed) <= generation
    }

    /// Elements of arrays may have no key: a sparse index knows a document by its other elements, and has none for one that lacks
    /// all of the fields.
    pub fn omits_elements(&self, multikey: &Multikey) -> bool {
        self.sparse && multikey.any()
    }

    pub fn multikey(&self) -> Multikey {
        self.multikey.read().clone()
    }

    /// Whether a document's arrays are news, which must be persisted before [`Index::set_multikey`] says so to others.
    #[inline]
    pub fn would_grow(&self, more: &Multikey) -> bool {
        more.any() && !self.multikey.read().covers(more)
    }

    /// Adds where a document holds arrays.
    pub fn set_multikey(&self, more: &Multikey) {
        if more.any() {
            self.multikey.write().merge(more);
        }
    }

    /// Whether entries hold the record id in their key (not unique) or in their value (unique).
    pub fn record_id_in_key(&self) -> bool {
        !self.unique && !self.is_id()
    }

    /// Whether a document may have several entries although no array is in it.
    pub fn repeats(&self) -> bool {
        self.special.is_some()
    }

    /// The same index, its key parts under other names: a wildcard index seen as one on a path it covers.
    pub fn seen_as(&self, key: DocBuf) -> Result<Index> {
        let spec = DocBuf::build(|w| {
            w.append("key", key.as_doc());
            for e in self.spec.as_doc().iter().filter(|e| !matches!(e.name(), "key" | "wildcardProjection")) {
                w.append_element(&e);
            }
        });
        let mut index = self.with_spec(spec)?;
        index.kind = self.kind;
        index.special = self.special.clone();
        Ok(index)
    }

    /// The same index under another specification (collMod): table and multikey state are shared.
    pub fn with_spec(&self, spec: DocBuf) -> Result<Index> {
        let mut index = Index::from_spec(self.id, spec, self.table.clone(), Multikey::default())?;
        index.multikey = self.multikey.clone();
        // Hiding an index and showing it again begins a new count.
        if index.hidden == self.hidden {
            index.uses = self.uses.clone();
        }
        index.complete_from = self.complete_from.load(Ordering::Relaxed).into();
        Ok(index)
    }
}


/// Whether a field of a key pattern means all paths, or all below one.
pub fn is_wildcard(e: smongo_bson::Element<'_>) -> bool {
    (e.name() == "$**" || e.name().ends_with(".$**")) && e.value().is_number()
}

/// Whether two key patterns are the same.
pub fn same_key(a: Doc<'_>, b: Doc<'_>) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| x.name_bytes() == y.name_bytes() && smongo_bson::compare::equal(x.value(), y.value()))
}
