//! `system.views`: the definitions of a database's views, as MongoDB keeps them.

use std::sync::Arc;

use md5::{Digest, Md5};
use smongo_bson::{DocBuf, Value};
use smongo_mql::pipeline::stage_array;
use uuid::Builder;

use super::{Catalog, Collection, Kind, State, View};
use super::persist::define;
use crate::data::namespace::Ns;

pub const NAME: &str = "system.views";

/// The collection as commands that read find it; `None` where there is no view.
pub(super) fn collection(catalog: &Catalog, ns: &Ns) -> Option<Arc<Collection>> {
    let views = catalog.collections(ns.db());
    let made: Vec<DocBuf> = views.iter().filter_map(|coll| coll.view().map(|view| document(coll, view))).collect();
    if made.is_empty() {
        return None;
    }
    made_of(ns, made)
}

/// A collection of documents that are not stored.
pub fn made_of(ns: &Ns, made: Vec<DocBuf>) -> Option<Arc<Collection>> {
    // The same each time, without being remembered.
    let uuid = Builder::from_md5_bytes(Md5::digest(ns.as_str()).into()).into_uuid();
    let coll = define(ns.clone(), uuid, DocBuf::new(), None, Vec::new(), Vec::new(), Arc::new(State::default())).ok()?;
    let view = View { on: String::new(), pipeline: Vec::new(), buckets_of: None, made: Some(made) };
    Some(Arc::new(coll.with_kind(Kind::View(view))))
}

fn document(coll: &Collection, view: &View) -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", coll.ns.as_str()).append("viewOn", &*view.on).append("pipeline", stage_array(&view.pipeline).view());
        if let Value::Document(collation) = coll.option("collation") {
            w.append("collation", collation);
        }
    })
}
