//! A collection of documents of one Rust type.

use std::marker::PhantomData;

use bson::{Bson, Document, doc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smongo_bson::{Code, Doc, DocBuf, Error, Value, err, number};

use super::{Cursor, Database, Result};
use crate::{Request, Sequence};
use crate::data::namespace::Ns;

/// Documents, and bytes of them, that `insert_many` sends at a time.
const BATCH: usize = 10_000;
const BATCH_BYTES: usize = 16 << 20;

/// A collection whose documents are `T` (`bson::Document` for any).
pub struct Collection<T> {
    database: Database,
    ns: Ns,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Collection { database: self.database.clone(), ns: self.ns.clone(), kind: PhantomData }
    }
}

#[derive(Debug)]
pub struct InsertOneResult {
    pub inserted_id: Bson,
}

#[derive(Debug)]
pub struct InsertManyResult {
    pub inserted_ids: Vec<Bson>,
}

#[derive(Debug)]
pub struct UpdateResult {
    pub matched_count: u64,
    pub modified_count: u64,
    pub upserted_id: Option<Bson>,
}

#[derive(Debug)]
pub struct DeleteResult {
    pub deleted_count: u64,
}

fn count(reply: Doc<'_>, name: &str) -> u64 {
    number::to_i64_exact(reply.get(name)).unwrap_or(0).max(0) as u64
}

/// The first write error of a reply becomes an error.
fn check(reply: DocBuf) -> Result<DocBuf> {
    let Some(e) = reply.get("writeErrors").as_array().and_then(|list| list.iter().next()?.as_doc()) else { return Ok(reply) };
    let code = match e.get("code") {
        Value::Int32(code) => Code(code),
        _ => Code::UnknownError,
    };
    Err(Error::new(code, e.get("errmsg").as_str().unwrap_or_default()))
}

/// A document as the type asked for.
pub(super) fn typed<T: DeserializeOwned>(doc: Doc<'_>) -> Result<T> {
    bson::deserialize_from_slice(doc.as_bytes()).map_err(|e| err!(FailedToParse, "a document does not have the type asked for: {e}"))
}

/// The bytes of a value, with an `_id`, and that.
fn document(value: &impl Serialize) -> Result<(DocBuf, Bson)> {
    let bytes = bson::serialize_to_vec(value).map_err(|e| err!(FailedToParse, "the value is no document: {e}"))?;
    let doc = DocBuf::parse(bytes)?;
    if let Some(id) = smongo_bson::json::to_bson(doc.get("_id")) {
        return Ok((doc, id));
    }
    let id = smongo_bson::ObjectId::generate();
    let doc = DocBuf::build(|w| {
        w.append("_id", id).append_all(doc.as_doc());
    });
    Ok((doc, bson::oid::ObjectId::from_bytes(id.0).into()))
}

impl<T> Collection<T> {
    pub(super) fn new(database: Database, name: &str) -> Collection<T> {
        // Commands check the names.
        let ns = Ns::unchecked(&database.name, name);
        Collection { database, ns, kind: PhantomData }
    }

    pub fn name(&self) -> &str {
        self.ns.coll()
    }

    pub fn insert_one(&self, value: &T) -> Result<InsertOneResult>
    where
        T: Serialize,
    {
        let (doc, inserted_id) = document(value)?;
        match self.database.client.with_session(|session| session.insert_one(&self.ns, doc.as_doc())) {
            Some(done) => done?,
            None => self.insert(doc.as_bytes())?,
        }
        Ok(InsertOneResult { inserted_id })
    }

    pub fn insert_many<'v>(&self, values: impl IntoIterator<Item = &'v T>) -> Result<InsertManyResult>
    where
        T: Serialize + 'v,
    {
        let (mut docs, mut inserted_ids) = (Vec::new(), Vec::new());
        for value in values {
            let (doc, id) = document(value)?;
            docs.extend_from_slice(doc.as_bytes());
            inserted_ids.push(id);
            if docs.len() > BATCH_BYTES || inserted_ids.len() % BATCH == 0 {
                self.insert(&docs)?;
                docs.clear();
            }
        }
        if !docs.is_empty() {
            self.insert(&docs)?;
        }
        Ok(InsertManyResult { inserted_ids })
    }

    fn insert(&self, docs: &[u8]) -> Result<()> {
        let Database { client, name: db } = &self.database;
        let body = DocBuf::build(|w| {
            w.append("insert", self.name()).append("$db", &**db);
        });
        let documents = [Sequence { name: "documents", docs }];
        let reply = client.with_session(|session| session.reply_to(&Request { body: body.as_doc(), sequences: &documents }))?;
        check(reply).map(drop)
    }

    pub fn find_one(&self, filter: Document) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        if filter.len() == 1
            && let Some(id) = filter.get("_id").and_then(smongo_bson::json::scalar)
            && let Some(found) = self.database.client.with_session(|session| session.find_by_id(&self.ns, id, |doc| doc.map(typed).transpose()))
        {
            return found?;
        }
        self.find(filter).limit(1).run()?.next().transpose()
    }

    /// A query; `run` it after setting what else it needs.
    pub fn find(&self, filter: Document) -> Find<T> {
        Find { collection: self.clone(), command: doc! {"find": self.name(), "filter": filter} }
    }

    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate {
        let stages: Vec<Document> = pipeline.into_iter().collect();
        Aggregate { database: self.database.clone(), command: doc! {"aggregate": self.name(), "pipeline": stages, "cursor": {}} }
    }

    pub fn count_documents(&self, filter: Document) -> Result<u64> {
        let mut counted = self.aggregate([doc! {"$match": filter}, doc! {"$count": "n"}]).run()?;
        let n = |d: Document| d.get_i32("n").map(i64::from).or_else(|_| d.get_i64("n")).unwrap_or(0);
        Ok(counted.next().transpose()?.map_or(0, n) as u64)
    }

    /// An update of the first document that matches: operators or a pipeline.
    pub fn update_one(&self, filter: Document, update: impl Into<Bson>) -> Update {
        self.update(filter, update.into(), false)
    }

    pub fn update_many(&self, filter: Document, update: impl Into<Bson>) -> Update {
        self.update(filter, update.into(), true)
    }

    fn update(&self, filter: Document, update: Bson, multi: bool) -> Update {
        Update { database: self.database.clone(), collection: self.name().to_owned(), statement: doc! {"q": filter, "u": update, "multi": multi} }
    }

    pub fn replace_one(&self, filter: Document, value: &T) -> Result<UpdateResult>
    where
        T: Serialize,
    {
        let doc = bson::serialize_to_document(value).map_err(|e| err!(FailedToParse, "the value is no document: {e}"))?;
        self.update(filter, Bson::Document(doc), false).run()
    }

    pub fn delete_one(&self, filter: Document) -> Result<DeleteResult> {
        self.delete(filter, 1)
    }

    pub fn delete_many(&self, filter: Document) -> Result<DeleteResult> {
        self.delete(filter, 0)
    }

    fn delete(&self, filter: Document, limit: i32) -> Result<DeleteResult> {
        let reply = check(self.database.run_raw(&doc! {"delete": self.name(), "deletes": [{"q": filter, "limit": limit}]})?)?;
        Ok(DeleteResult { deleted_count: count(reply.as_doc(), "n") })
    }

    /// Creates an index; its name is made of the keys, as drivers do.
    pub fn create_index(&self, keys: Document, unique: bool) -> Result<String> {
        let part = |(name, value): (&String, &Bson)| format!("{name}_{}", value.to_string().trim_matches('"'));
        let name = keys.iter().map(part).collect::<Vec<_>>().join("_");
        let mut index = doc! {"key": keys, "name": &name};
        if unique {
            index.insert("unique", true);
        }
        self.database.run_command(doc! {"createIndexes": self.name(), "indexes": [index]})?;
        Ok(name)
    }

    pub fn drop(&self) -> Result<()> {
        self.database.run_command(doc! {"drop": self.name()}).map(std::mem::drop)
    }
}

/// A query that has not run yet.
pub struct Find<T> {
    collection: Collection<T>,
    command: Document,
}

impl<T> Find<T> {
    fn set(mut self, name: &str, value: impl Into<Bson>) -> Find<T> {
        self.command.insert(name, value);
        self
    }

    pub fn sort(self, sort: Document) -> Find<T> {
        self.set("sort", sort)
    }

    pub fn skip(self, count: u64) -> Find<T> {
        self.set("skip", count as i64)
    }

    /// Zero means no limit.
    pub fn limit(self, count: u64) -> Find<T> {
        self.set("limit", count as i64)
    }

    pub fn projection(self, projection: Document) -> Find<T> {
        self.set("projection", projection)
    }

    pub fn batch_size(self, count: u32) -> Find<T> {
        self.set("batchSize", i64::from(count))
    }

    pub fn run(self) -> Result<Cursor<T>> {
        let database = self.collection.database;
        let reply = database.run_raw(&self.command)?;
        Cursor::new(database, reply)
    }
}

/// An aggregation that has not run yet.
pub struct Aggregate {
    database: Database,
    command: Document,
}

impl Aggregate {
    pub fn run(self) -> Result<Cursor<Document>> {
        let reply = self.database.run_raw(&self.command)?;
        Cursor::new(self.database, reply)
    }
}

/// An update that has not run yet.
pub struct Update {
    database: Database,
    collection: String,
    statement: Document,
}

impl Update {
    /// Inserts a document where none matches.
    pub fn upsert(mut self, yes: bool) -> Update {
        self.statement.insert("upsert", yes);
        self
    }

    pub fn array_filters(mut self, filters: Vec<Document>) -> Update {
        self.statement.insert("arrayFilters", filters);
        self
    }

    pub fn run(self) -> Result<UpdateResult> {
        let reply = check(self.database.run_raw(&doc! {"update": self.collection, "updates": [self.statement]})?)?;
        let upserted = reply.get("upserted").as_array().and_then(|list| smongo_bson::json::to_bson(list.iter().next()?.as_doc()?.get("_id")));
        let count = |name| count(reply.as_doc(), name);
        Ok(UpdateResult { matched_count: count("n") - u64::from(upserted.is_some()), modified_count: count("nModified"), upserted_id: upserted })
    }
}
