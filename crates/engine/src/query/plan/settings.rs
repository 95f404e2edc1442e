//! Query settings, as far as they narrow the choice of indexes.

use smongo_bson::{Doc, DocBuf, Value};

use crate::data::catalog::{Collection, IndexFilter};

/// The indexes that a query of these settings may use of a collection: `None` where nothing is said of it, or where none of those
/// that are named is there any more.
pub fn allowed(settings: Doc<'_>, coll: &Collection) -> Option<IndexFilter> {
    let hints: Vec<Doc<'_>> = match settings.get("indexHints") {
        Value::Document(hint) => vec![hint],
        Value::Array(hints) => hints.iter().filter_map(|v| v.as_doc()).collect(),
        _ => return None,
    };
    let meant = |hint: &Doc<'_>| {
        let ns = hint.get("ns").as_doc().unwrap_or(Doc::EMPTY);
        ns.get("db").as_str() == Some(coll.ns.db()) && ns.get("coll").as_str() == Some(coll.ns.coll())
    };
    let named = hints.into_iter().find(meant)?.get("allowedIndexes").as_array()?;
    let indexes = DocBuf::build(|w| {
        named.iter().for_each(|value| {
            w.append("", value);
        });
    });
    let filter = IndexFilter { indexes, shape: String::new(), query: DocBuf::new(), sort: DocBuf::new(), projection: DocBuf::new(), collation: DocBuf::new() };
    let natural = filter.indexes.as_doc().iter().any(|e| e.value().as_doc().is_some_and(|key| key.contains("$natural")));
    (natural || coll.indexes.iter().any(|index| filter.allows(index))).then_some(filter)
}
