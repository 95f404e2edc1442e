//! An index as the catalog knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use smongo_bson::index_keys::Multikey;
use smongo_bson::path::Path;
use smongo_bson::{DocBuf, Result, Value, number};
use smongo_mql::collation::Collation;
use smongo_mql::{CompileCx, Matcher};
use smongo_storage::Table;

/// An index. Its definition never changes but for `hidden` and `expireAfterSeconds`, which make a new snapshot.
pub struct Index {
    pub id: u64,
    pub name: String,
    /// The specification as listIndexes gives it back: `{v, key, name, …}`.
    pub spec: DocBuf,
    pub kind: IndexKind,
    pub parts: Vec<KeyPart>,
    pub paths: Vec<Path>,
    pub unique: bool,
    pub sparse: bool,
    pub hidden: bool,
    pub partial: Option<Matcher>,
    pub collation: Option<Arc<Collation>>,
    pub expire_after: Option<i64>,
    pub table: Table,
    /// Where documents hold arrays along the paths. Grows before the write that makes it true commits, and never shrinks.
    multikey: Arc<RwLock<Multikey>>,
    /// Plans that used the index since the database was opened.
    uses: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Ascending and descending fields.
    Btree,
    Hashed,
    /// A kind that is known but cannot be used yet; refused when it is created.
    Unsupported,
}

pub struct KeyPart {
    pub path: Path,
    pub descending: bool,
    pub hashed: bool,
}

impl Index {
    /// From a specification that was checked and normalised.
    pub fn from_spec(id: u64, spec: DocBuf, table: Table, multikey: Multikey) -> Result<Index> {
        let key = spec.get("key").as_doc().unwrap_or(smongo_bson::Doc::EMPTY);
        let part = |e: smongo_bson::Element<'_>| KeyPart {
            path: Path::new(e.name()),
            descending: number::to_f64(e.value()).is_some_and(|n| n < 0.0),
            hashed: e.value().as_str() == Some("hashed"),
        };
        let parts: Vec<KeyPart> = key.iter().map(part).collect();
        let collation = match spec.get("collation") {
            Value::Document(d) => Collation::parse(d)?.map(Arc::new),
            _ => None,
        };
        let partial = match spec.get("partialFilterExpression") {
            Value::Document(filter) => Some(Matcher::compile(filter, &CompileCx { collation: collation.clone(), ..CompileCx::default() })?),
            _ => None,
        };
        let kind = if parts.iter().any(|p| p.hashed) { IndexKind::Hashed } else { IndexKind::Btree };
        Ok(Index {
            id,
            name: spec.get("name").as_str().unwrap_or_default().to_owned(),
            kind,
            paths: parts.iter().map(|p| p.path.clone()).collect(),
            parts,
            unique: spec.get("unique").truthy(),
            sparse: spec.get("sparse").truthy(),
            hidden: spec.get("hidden").truthy(),
            partial,
            collation,
            expire_after: number::to_f64(spec.get("expireAfterSeconds")).map(|n| n as i64),
            table,
            multikey: Arc::new(RwLock::new(multikey)),
            uses: Arc::default(),
            spec,
        })
    }

    pub fn is_id(&self) -> bool {
        self.name == "_id_"
    }

    pub fn key(&self) -> smongo_bson::Doc<'_> {
        self.spec.get("key").as_doc().unwrap_or(smongo_bson::Doc::EMPTY)
    }

    /// How many plans used the index.
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    pub fn used(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn multikey(&self) -> Multikey {
        self.multikey.read().clone()
    }

    /// Adds where a document holds arrays; returns whether that was news (and must be persisted).
    pub fn set_multikey(&self, more: &Multikey) -> bool {
        more.any() && self.multikey.write().merge(more)
    }

    /// Whether entries hold the record id in their key (not unique) or in their value (unique).
    pub fn record_id_in_key(&self) -> bool {
        !self.unique && !self.is_id()
    }

    /// The same index under another specification (collMod): table and multikey state are shared.
    pub fn with_spec(&self, spec: DocBuf) -> Result<Index> {
        let mut index = Index::from_spec(self.id, spec, self.table.clone(), Multikey::default())?;
        index.multikey = self.multikey.clone();
        index.uses = self.uses.clone();
        Ok(index)
    }

    /// The key pattern as errors show it: `{ a: 1, b: -1 }`.
    pub fn pattern_text(&self) -> String {
        let field = |e: smongo_bson::Element<'_>| match e.value() {
            Value::String(s) => format!("{}: \"{s}\"", e.name()),
            v => format!("{}: {}", e.name(), number::to_f64(v).unwrap_or_default()),
        };
        format!("{{ {} }}", self.key().iter().map(field).collect::<Vec<_>>().join(", "))
    }
}

