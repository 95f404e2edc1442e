//! The short way in for embedded callers: a read by `_id` without a command and a reply made of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use smongo_bson::{Doc, Result, Value};
use smongo_storage::Begin;

use super::Session;
use super::run::panicked;
use crate::exec;
use crate::namespace::Ns;
use crate::plan;
use crate::usage::Kind;

impl Session {
    /// Answers `find` with the filter `{_id: id}`, handing the document, if there is one, to `read`.
    ///
    /// `None` where the command itself must run: the value asks for more than one key of the index on `_id`, or somebody
    /// watches commands (a fail point, the profiler, the log).
    pub fn find_by_id<T>(&mut self, ns: &Ns, id: Value<'_>, read: impl FnOnce(Option<Doc<'_>>) -> T) -> Option<Result<T>> {
        let shared = &self.shared;
        if shared.shutting_down() || shared.failpoints.any() || shared.profiler.is_active() || shared.parameters.log_level() > 0 {
            return None;
        }
        let begun = Instant::now();
        let coll = shared.catalog.get(ns)?;
        if !plan::is_point(&coll, id, coll.collation.is_some()) {
            return None;
        }
        let found = catch_unwind(AssertUnwindSafe(|| {
            // Given back, the session ends the transaction.
            let mut store = shared.store.session()?;
            store.begin(Begin { read_only: true })?;
            let found = exec::point_read(&mut store, &coll, id)?;
            Ok(read(found.map(|(_, doc)| doc)))
        }));
        shared.usage.count(Kind::Query, 1);
        shared.usage.time(ns.as_str(), Kind::Query, false, begun.elapsed());
        Some(found.unwrap_or_else(|panic| Err(panicked(&*panic))))
    }
}
