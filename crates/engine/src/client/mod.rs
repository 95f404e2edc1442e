//! The embedded client: the official Rust driver's style, over the engine in the same process.
//!
//! ```
//! use bson::doc;
//! use serde::{Deserialize, Serialize};
//! use smongo_engine::client::Client;
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! struct Film { title: String, year: i32 }
//!
//! # fn main() -> smongo_engine::client::Result<()> {
//! let client = Client::in_memory()?; // or Client::open("data")
//! let films = client.database("demo").collection::<Film>("films");
//! films.insert_one(&Film { title: "Alien".into(), year: 1979 })?;
//! let old: Vec<Film> = films.find(doc! {"year": {"$lt": 1980}}).sort(doc! {"year": 1}).run()?.collect::<Result<_, _>>()?;
//! assert_eq!(old[0].title, "Alien");
//! # Ok(())
//! # }
//! ```

mod collection;
mod cursor;

use std::path::Path;

use bson::{Document, doc};
use parking_lot::Mutex;
use smongo_bson::{DocBuf, Error};
use std::sync::Arc;

use crate::{Engine, Options, Session};
pub use collection::{Aggregate, Collection, DeleteResult, Find, InsertManyResult, InsertOneResult, Update, UpdateResult};
pub use cursor::Cursor;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An open database. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    /// Sessions at rest. A command takes one, so that threads do not wait for each other.
    sessions: Mutex<Vec<Session>>,
}

impl Client {
    /// Opens the database in a directory, creating it where there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Client> {
        Client::with_options(Options { path: Some(path.as_ref().to_owned()), ..Options::default() })
    }

    /// A database that lives in memory and is gone with its last handle.
    pub fn in_memory() -> Result<Client> {
        Client::with_options(Options::default())
    }

    pub fn with_options(options: Options) -> Result<Client> {
        Ok(Client::over(Engine::open(options)?))
    }

    /// A client of an engine that is open already, for instance one that also serves sockets.
    pub fn over(engine: Engine) -> Client {
        Client { inner: Arc::new(Inner { engine, sessions: Mutex::default() }) }
    }

    pub fn database(&self, name: &str) -> Database {
        Database { client: self.clone(), name: name.to_owned() }
    }

    pub fn list_database_names(&self) -> Result<Vec<String>> {
        let reply = self.run("admin", doc! {"listDatabases": 1, "nameOnly": true})?;
        let names = reply.get_array("databases").into_iter().flatten();
        Ok(names.filter_map(|d| d.as_document()?.get_str("name").ok().map(str::to_owned)).collect())
    }

    /// Everything acknowledged so far is on disk when this returns.
    pub fn sync(&self) -> Result<()> {
        self.run("admin", doc! {"fsync": 1}).map(drop)
    }

    pub(crate) fn run(&self, db: &str, command: Document) -> Result<Document> {
        smongo_bson::json::to_document(self.run_raw(db, &smongo_bson::json::from_document(&command)?)?.as_doc())
    }

    fn run_raw(&self, db: &str, command: &DocBuf) -> Result<DocBuf> {
        self.with_session(|session| session.run_command(db, command))
    }

    fn with_session<R>(&self, work: impl FnOnce(&mut Session) -> R) -> R {
        let resting = self.inner.sessions.lock().pop();
        let mut session = resting.unwrap_or_else(|| self.inner.engine.session(crate::Client { local: "localhost:27017".into(), ..crate::Client::owner() }));
        let result = work(&mut session);
        self.inner.sessions.lock().push(session);
        result
    }
}

/// A database of the client.
#[derive(Clone)]
pub struct Database {
    client: Client,
    name: String,
}

impl Database {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn collection<T>(&self, name: &str) -> Collection<T> {
        Collection::new(self.clone(), name)
    }

    /// Runs any command; the reply, unless it failed.
    pub fn run_command(&self, command: Document) -> Result<Document> {
        self.client.run(&self.name, command)
    }

    /// Runs a command without making documents of its reply.
    fn run_raw(&self, command: &Document) -> Result<DocBuf> {
        self.client.run_raw(&self.name, &smongo_bson::json::from_document(command)?)
    }

    pub fn list_collection_names(&self) -> Result<Vec<String>> {
        let first = self.run_raw(&doc! {"listCollections": 1, "nameOnly": true})?;
        let cursor: Cursor<Document> = Cursor::new(self.clone(), first)?;
        cursor.map(|d| Ok(d?.get_str("name").unwrap_or_default().to_owned())).collect()
    }

    pub fn drop(&self) -> Result<()> {
        self.run_command(doc! {"dropDatabase": 1}).map(std::mem::drop)
    }
}
