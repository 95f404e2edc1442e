//! Documents of a reply's cursor, batch by batch.

use std::marker::PhantomData;

use bson::{Bson, Document, doc};
use serde::de::DeserializeOwned;
use smongo_bson::err;

use super::{Database, Result};

/// An iterator over the documents of a query. Batches are fetched as they are needed; dropping it early closes it.
pub struct Cursor<T> {
    database: Database,
    collection: String,
    id: i64,
    batch: std::vec::IntoIter<Bson>,
    kind: PhantomData<T>,
}

impl<T> Cursor<T> {
    pub(super) fn new(database: Database, reply: &Document) -> Result<Cursor<T>> {
        let mut cursor = Cursor { database, collection: String::new(), id: 0, batch: Vec::new().into_iter(), kind: PhantomData };
        cursor.refill(reply, "firstBatch")?;
        Ok(cursor)
    }

    fn refill(&mut self, reply: &Document, batch: &str) -> Result<()> {
        let missing = |_| err!(InternalError, "a cursor reply without its fields");
        let cursor = reply.get_document("cursor").map_err(missing)?;
        self.id = cursor.get_i64("id").map_err(missing)?;
        let ns = cursor.get_str("ns").map_err(missing)?;
        self.collection = ns.split_once('.').map_or("", |(_, c)| c).to_owned();
        self.batch = cursor.get_array(batch).map_err(missing)?.clone().into_iter();
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Cursor<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(doc) = self.batch.next() {
                return Some(bson::deserialize_from_bson(doc).map_err(|e| err!(FailedToParse, "a document does not have the type asked for: {e}")));
            }
            if self.id == 0 {
                return None;
            }
            let more = doc! {"getMore": self.id, "collection": &self.collection};
            self.id = 0;
            let fetched = self.database.run_command(more).and_then(|reply| self.refill(&reply, "nextBatch"));
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
