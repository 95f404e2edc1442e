//! Search indexes in the catalog. They are no indexes of the planner's, of listIndexes or of the oplog.

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, Value, ValueBuf, bail, err, number};
use smongo_search::definition::{Definition, IndexType};

use super::{Catalog, Collection};
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// A search index, as its entry says.
#[derive(Clone)]
pub struct SearchIndex {
    /// 24 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub kind: IndexType,
    /// As the user gave it.
    pub definition: DocBuf,
    pub compiled: Definition,
    /// Goes up with each update.
    pub version: i32,
    /// When this version was made, in milliseconds since 1970.
    pub created: i64,
}

impl SearchIndex {
    pub fn new(id: String, name: &str, kind: IndexType, definition: Doc<'_>, version: i32, created: i64) -> Result<SearchIndex> {
        let compiled = Definition::parse(kind, definition)?;
        Ok(SearchIndex { id, name: name.to_owned(), kind, definition: DocBuf::from(definition), compiled, version, created })
    }

    pub(super) fn write(&self) -> DocBuf {
        DocBuf::build(|w| {
            w.append("id", &*self.id).append("name", &*self.name).append("type", self.kind.name());
            w.append("definition", self.definition.as_doc()).append("version", self.version).append("created", Value::DateTime(self.created));
        })
    }

    fn read(entry: Doc<'_>) -> Result<SearchIndex> {
        let damaged = || err!(UnsupportedFormat, "the catalog holds a damaged search index: {entry:?}");
        let text = |name: &str| entry.get(name).as_str().ok_or_else(damaged);
        let kind = IndexType::parse(text("type")?).ok_or_else(damaged)?;
        let version = number::to_i64_exact(entry.get("version")).and_then(|n| i32::try_from(n).ok()).ok_or_else(damaged)?;
        let Value::DateTime(created) = entry.get("created") else { return Err(damaged()) };
        let definition = entry.get("definition").as_doc().ok_or_else(damaged)?;
        SearchIndex::new(text("id")?.to_owned(), text("name")?, kind, definition, version, created)
    }
}

/// The search indexes of a collection's entry.
pub(super) fn read(entry: Doc<'_>) -> Result<Vec<Arc<SearchIndex>>> {
    let list = entry.get("search").as_array();
    list.into_iter().flat_map(|list| list.iter().filter_map(|v| v.as_doc()).map(|d| SearchIndex::read(d).map(Arc::new)).collect::<Vec<_>>()).collect()
}

pub(super) fn write(indexes: &[Arc<SearchIndex>]) -> ValueBuf {
    ValueBuf::array(|w| {
        for index in indexes {
            w.push(index.write().as_doc());
        }
    })
}

impl Catalog {
    /// Changes a collection's search indexes, all of them at once; `change` says what they shall be, and `None` leaves them.
    pub fn change_search_indexes<T>(&self, op: &mut OpCx, ns: &Ns, change: impl FnOnce(&Collection) -> Result<(Option<Vec<Arc<SearchIndex>>>, T)>) -> Result<T> {
        let _ddl = self.definition(op)?;
        let coll = self.require(ns)?;
        if coll.view().is_some() {
            bail!(CommandNotSupportedOnView, "Search indexes on views are not supported: {ns}");
        }
        let (changed, done) = change(&coll)?;
        if let Some(search) = changed {
            let _alone = self.exclusive(op, &coll)?;
            self.replace(op, &coll, &Arc::new(coll.with_search(search)), None)?;
        }
        Ok(done)
    }
}
