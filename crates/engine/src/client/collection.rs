//! A collection of documents of one Rust type.

use std::marker::PhantomData;

use bson::{Bson, Document, doc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smongo_bson::{Code, DocBuf, Error, err};

use super::{Cursor, Database, Result};

/// A collection whose documents are `T` (`bson::Document` for any).
pub struct Collection<T> {
    database: Database,
    name: String,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Collection { database: self.database.clone(), name: self.name.clone(), kind: PhantomData }
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

fn number(reply: &Document, name: &str) -> u64 {
    reply.get_i32(name).map(i64::from).or_else(|_| reply.get_i64(name)).unwrap_or(0).max(0) as u64
}

/// The first write error of a reply becomes an error.
fn check(reply: Document) -> Result<Document> {
    let Some(Bson::Document(e)) = reply.get_array("writeErrors").ok().and_then(|a| a.first()) else { return Ok(reply) };
    let code = Code(e.get_i32("code").unwrap_or(Code::UnknownError.0));
    Err(Error::new(code, e.get_str("errmsg").unwrap_or_default()))
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
        Collection { database, name: name.to_owned(), kind: PhantomData }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn insert_one(&self, value: &T) -> Result<InsertOneResult>
    where
        T: Serialize,
    {
        let (doc, inserted_id) = document(value)?;
        self.insert(&[doc])?;
        Ok(InsertOneResult { inserted_id })
    }

    pub fn insert_many<'v>(&self, values: impl IntoIterator<Item = &'v T>) -> Result<InsertManyResult>
    where
        T: Serialize + 'v,
    {
        let (mut docs, mut inserted_ids) = (Vec::new(), Vec::new());
        for value in values {
            let (doc, id) = document(value)?;
            docs.push(doc);
            inserted_ids.push(id);
        }
        for group in docs.chunks(10_000) {
            self.insert(group)?;
        }
        Ok(InsertManyResult { inserted_ids })
    }

    fn insert(&self, docs: &[DocBuf]) -> Result<()> {
        let command = DocBuf::build(|w| {
            w.append("insert", &*self.name);
            let mut list = w.array("documents");
            for doc in docs {
                list.push(doc.as_doc());
            }
        });
        let reply = self.database.run_bytes(&command)?;
        check(smongo_bson::json::to_document(reply.as_doc())?).map(drop)
    }

    pub fn find_one(&self, filter: Document) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        self.find(filter).limit(1).run()?.next().transpose()
    }

    /// A query; `run` it after setting what else it needs.
    pub fn find(&self, filter: Document) -> Find<T> {
        Find { collection: self.clone(), command: doc! {"find": &self.name, "filter": filter} }
    }

    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate {
        let stages: Vec<Document> = pipeline.into_iter().collect();
        Aggregate { database: self.database.clone(), command: doc! {"aggregate": &self.name, "pipeline": stages, "cursor": {}} }
    }

    pub fn count_documents(&self, filter: Document) -> Result<u64> {
        let mut counted = self.aggregate([doc! {"$match": filter}, doc! {"$count": "n"}]).run()?;
        Ok(counted.next().transpose()?.map_or(0, |d| number(&d, "n")))
    }

    /// An update of the first document that matches: operators or a pipeline.
    pub fn update_one(&self, filter: Document, update: impl Into<Bson>) -> Update {
        self.update(filter, update.into(), false)
    }

    pub fn update_many(&self, filter: Document, update: impl Into<Bson>) -> Update {
        self.update(filter, update.into(), true)
    }

    fn update(&self, filter: Document, update: Bson, multi: bool) -> Update {
        Update { database: self.database.clone(), collection: self.name.clone(), statement: doc! {"q": filter, "u": update, "multi": multi} }
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
        let reply = check(self.database.run_command(doc! {"delete": &self.name, "deletes": [{"q": filter, "limit": limit}]})?)?;
        Ok(DeleteResult { deleted_count: number(&reply, "n") })
    }

    /// Creates an index; its name is made of the keys, as drivers do.
    pub fn create_index(&self, keys: Document, unique: bool) -> Result<String> {
        let part = |(name, value): (&String, &Bson)| format!("{name}_{}", value.to_string().trim_matches('"'));
        let name = keys.iter().map(part).collect::<Vec<_>>().join("_");
        let mut index = doc! {"key": keys, "name": &name};
        if unique {
            index.insert("unique", true);
        }
        self.database.run_command(doc! {"createIndexes": &self.name, "indexes": [index]})?;
        Ok(name)
    }

    pub fn drop(&self) -> Result<()> {
        self.database.run_command(doc! {"drop": &self.name}).map(std::mem::drop)
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
        let reply = check(self.database.run_command(doc! {"update": self.collection, "updates": [self.statement]})?)?;
        let upserted = reply.get_array("upserted").ok().and_then(|a| a.first()?.as_document()?.get("_id").cloned());
        let matched = number(&reply, "n") - u64::from(upserted.is_some());
        Ok(UpdateResult { matched_count: matched, modified_count: number(&reply, "nModified"), upserted_id: upserted })
    }
}
