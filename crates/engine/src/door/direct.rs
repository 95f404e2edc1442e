//! The short way in for embedded callers: a read by `_id` and the insertion of one document, without a command and a reply
//! made of them. Both answer `None` where the command itself must run, which knows everything else: somebody watches commands
//! (a fail point, the profiler, the log), or the collection is not a plain one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use smongo_bson::{Doc, Result, Value};
use smongo_storage::Begin;

use super::Session;
use super::run::panicked;
use crate::commands::crud::insert::insert_plain;
use crate::data::catalog::{Collection, point_read};
use crate::data::namespace::Ns;
use crate::query::plan;
use crate::service::command::Trust;
use crate::service::usage::Kind;

impl Session {
    /// Answers `find` with the filter `{_id: id}`, handing the document, if there is one, to `read`. `None` also where the value
    /// asks for more than one key of the index on `_id`.
    pub fn find_by_id<T>(&mut self, ns: &Ns, id: Value<'_>, read: impl FnOnce(Option<Doc<'_>>) -> T) -> Option<Result<T>> {
        let shared = &self.shared;
        let begun = Instant::now();
        let coll = self.plain(ns)?;
        if !plan::is_point(&coll, id, coll.collation.is_some()) {
            return None;
        }
        let found = catch_unwind(AssertUnwindSafe(|| {
            // Given back, the session ends the transaction.
            let mut store = shared.store.session()?;
            store.begin(Begin { read_only: true })?;
            let found = point_read(&mut store, &coll, id)?;
            Ok(read(found.map(|(_, doc)| doc)))
        }));
        shared.tally.point_read(1);
        shared.usage.count(Kind::Query, 1);
        shared.usage.time(&shared.catalog, ns.as_str(), Kind::Query, false, begun.elapsed());
        Some(found.unwrap_or_else(|panic| Err(panicked(&*panic))))
    }

    /// Answers `insert` of one document under the default write concern.
    pub fn insert_one(&mut self, ns: &Ns, doc: Doc<'_>) -> Option<Result<()>> {
        let shared = &self.shared;
        let begun = Instant::now();
        let coll = self.plain(ns).filter(|coll| !coll.is_capped() && coll.validator.is_none() && !matches!(ns.db(), "admin" | "config" | "local"))?;
        let concern = shared.default_concerns.write_concern();
        if concern.unsatisfiable.is_some() {
            return None;
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut op = shared.op();
            insert_plain(&mut op, coll, doc)?;
            op.make_durable(concern.durable)
        }));
        shared.usage.count(Kind::Insert, 1);
        shared.usage.time(&shared.catalog, ns.as_str(), Kind::Insert, true, begun.elapsed());
        Some(done.unwrap_or_else(|panic| Err(panicked(&*panic))))
    }

    /// The collection, unless a command must see to it.
    fn plain(&self, ns: &Ns) -> Option<Arc<Collection>> {
        let shared = &self.shared;
        // Whatever a user may is a question to the gate.
        if self.place.client().trust != Trust::Owner {
            return None;
        }
        let asked = shared.parameters.log_level() > 0 || shared.parameters.require_api_version();
        if self.place.client().trust != Trust::Owner || shared.shutting_down() || shared.failpoints.any() || shared.profiler.is_active() || asked || shared.write_block.is_on() {
            return None;
        }
        shared.catalog.get(ns).filter(|coll| coll.view().is_none())
    }
}
