//! TTL indexes: deleting documents whose date is over.

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, Result, Value};
use smongo_mql::Arena;

use crate::data::catalog::Collection;
use crate::data::clock::now_millis;
use crate::data::tally::add;
use crate::data::write;
use crate::query::statement::Target;
use crate::service::shared::Shared;

/// Documents deleted in one transaction.
const GROUP: usize = 500;

/// One pass over all TTL indexes.
pub fn pass(shared: &Arc<Shared>) {
    add(&shared.tally.ttl_passes, 1);
    for coll in shared.catalog.all() {
        let series = coll.timeseries.iter().filter_map(|series| Some((series.time.as_str(), series.expire_after?)));
        let indexes = coll.indexes.iter().filter_map(|index| Some((index.paths.first()?.text(), index.expire_after?)));
        for (path, seconds) in series.chain(indexes) {
            if let Err(e) = expire(shared, &coll, path, seconds) {
                tracing::warn!("deleting expired documents of {} by {path}: {e}", coll.ns);
            }
        }
    }
}

/// Deletes the documents whose date (or an element of whose array of dates) is at least `seconds` old.
fn expire(shared: &Arc<Shared>, coll: &Arc<Collection>, path: &str, seconds: i64) -> Result<()> {
    let limit = now_millis().saturating_sub(seconds.saturating_mul(1000));
    let filter = DocBuf::build(|w| {
        w.document(path).append("$lte", Value::DateTime(limit));
    });
    let mut op = shared.op();
    let target = Target::compile(filter.as_doc(), Doc::EMPTY, None, &op.compile)?;
    let ids = target.all(&mut op, coll)?;
    let mut arena = Arena::new();
    for group in ids.chunks(GROUP) {
        if shared.shutting_down() {
            return Ok(());
        }
        let deleted = op.write(|op| {
            let mut deleted = 0;
            let coll = op.data.catalog.require(&coll.ns)?;
            op.lock(&coll)?;
            for id in group {
                arena.reset();
                if let Some(doc) = target.still(op, &coll, *id, &arena)? {
                    write::delete(op, &coll, *id, doc.as_doc())?;
                    deleted += 1;
                }
            }
            Ok(deleted)
        })?;
        add(&shared.tally.ttl_deleted, deleted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{Client, Engine, Options};
    use smongo_bson::json;

    #[test]
    fn a_pass_deletes_what_is_over_and_nothing_else() {
        let engine = Engine::open(Options::default()).unwrap();
        let mut session = engine.session(Client::owner());
        let mut run = |command: &str| session.run_command("test", &json::parse_doc(command).unwrap()).unwrap();
        run(r#"{"createIndexes": "t", "indexes": [{"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 3600}]}"#);
        run(
            r#"{"insert": "t", "documents": [{"_id": 1, "at": {"$date": "2001-01-01T00:00:00Z"}}, {"_id": 2, "at": {"$date": "2999-01-01T00:00:00Z"}},
            {"_id": 3, "at": "2001-01-01"}, {"_id": 4}, {"_id": 5, "at": [{"$date": "2999-01-01T00:00:00Z"}, {"$date": "2001-01-01T00:00:00Z"}]}]}"#,
        );
        super::pass(&engine.shared);
        let left = run(r#"{"find": "t", "projection": {"_id": 1}, "sort": {"_id": 1}}"#);
        let batch = left.get("cursor").as_doc().unwrap().get("firstBatch").as_array().unwrap();
        let ids: Vec<String> = batch.iter().map(|d| json::value_to_relaxed(d)).collect();
        assert_eq!(ids, [r#"{"_id":2}"#, r#"{"_id":3}"#, r#"{"_id":4}"#]);
    }
}
