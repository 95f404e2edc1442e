//! Documents of a reply's cursor, batch by batch.

use std::marker::PhantomData;
use std::ops::Range;

use bson::doc;
use serde::de::DeserializeOwned;
use smongo_bson::{Doc, DocBuf, Value, err};

use super::{Database, Result};
use super::collection::typed;

/// An iterator over the documents of a query. Batches are fetched as they are needed; dropping it early closes it.
pub struct Cursor<T> {
    database: Database,
    collection: String,
    id: i64,
    reply: DocBuf,
    /// Where the documents of the batch stand in the reply.
    batch: std::vec::IntoIter<Range<usize>>,
    kind: PhantomData<T>,
}

impl<T> Cursor<T> {
    pub(super) fn new(database: Database, reply: DocBuf) -> Result<Cursor<T>> {
        let mut cursor = Cursor { database, collection: String::new(), id: 0, reply: DocBuf::new(), batch: Vec::new().into_iter(), kind: PhantomData };
        cursor.refill(reply, "firstBatch")?;
        Ok(cursor)
    }

    fn refill(&mut self, reply: DocBuf, batch: &str) -> Result<()> {
        let cursor = reply.get("cursor").as_doc().unwrap_or(Doc::EMPTY);
        let (Value::Int64(id), Value::String(ns), Value::Array(docs)) = (cursor.get("id"), cursor.get("ns"), cursor.get(batch)) else {
            return Err(err!(InternalError, "a cursor reply without its fields"));
        };
        self.id = id;
        if id != 0 && self.collection.is_empty() {
            self.collection = ns.split_once('.').map_or("", |(_, c)| c).to_owned();
        }
        let base = reply.as_bytes().as_ptr() as usize;
        let place = |bytes: &[u8]| {
            let start = bytes.as_ptr() as usize - base;
            start..start + bytes.len()
        };
        let places: Vec<Range<usize>> = docs.iter().filter_map(|v| v.as_doc()).map(|d| place(d.as_bytes())).collect();
        self.batch = places.into_iter();
        self.reply = reply;
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Cursor<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(place) = self.batch.next() {
                let bytes = self.reply.as_bytes().get(place).unwrap_or_default();
                return Some(typed(Doc::from_checked(bytes)));
            }
            if self.id == 0 {
                return None;
            }
            let more = doc! {"getMore": self.id, "collection": &self.collection};
            self.id = 0;
            let fetched = self.database.run_raw(&more).and_then(|reply| self.refill(reply, "nextBatch"));
            if let Err(e) = fetched {
                return Some(Err(e));
            }
        }
    }
}

impl<T> Drop for Cursor<T> {
    fn drop(&mut self) {
        if self.id != 0 {
            // Nobody is left to tell of a failure; an idle cursor also ends by itself.
            let _ = self.database.run_command(doc! {"killCursors": &self.collection, "cursors": [self.id]});
        }
    }
}
