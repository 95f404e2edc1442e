//! What the floor of data asks of those above it, answered: pipelines, sources and sinks of the floor of queries, and the lists of
//! what outlives a command.

use std::sync::Arc;

use smongo_bson::{Binary, Doc, DocBuf, Result, Value};
use smongo_mql::stream::{Docs, Sink, SourceSpec, WriteSpec};
use smongo_mql::{CompileCx, Stream};

use crate::data::above::{Above, FailedWrite};
use crate::data::catalog::Collection;
use crate::data::clock::now_millis;
use crate::data::lsid::Lsid;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::exec;
use crate::service::{replica_set, sink};
use crate::service::current_op::{self, Show};
use crate::service::shared::Shared;

impl Above for Shared {
    fn open_pipeline(&self, op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<Box<dyn Stream>> {
        exec::open_pipeline(op, db, coll, stages, cx)
    }

    fn finds(&self, op: &mut OpCx, db: &str, coll: &str, path: &str, cx: &CompileCx) -> Result<bool> {
        exec::finds(op, db, coll, path, cx)
    }

    fn open_source(&self, op: &mut OpCx, source: &SourceSpec) -> Result<Box<dyn Stream>> {
        let spec = source.spec.view().as_doc().unwrap_or(Doc::EMPTY);
        let docs = match source.name {
            "$currentOp" => current_op::list(self, Show::of_stage(spec)),
            "$querySettings" => {
                let debug = spec.get("showDebugQueryShape").truthy();
                self.query_settings.all().iter().map(|setting| DocBuf::build(|w| setting.write(w, debug))).collect()
            }
            "$listLocalSessions" | "$listSessions" => sessions(self, spec),
            _ => return exec::open_source(op, source, &|ns, histograms, w| self.usage.write_latencies(ns, histograms, w)),
        };
        Ok(Box::new(Docs::new(docs)))
    }

    fn open_sink(&self, op: &mut OpCx, target: &WriteSpec) -> Result<Box<dyn Sink>> {
        sink::open(op, target)
    }

    fn made(&self, ns: &Ns) -> Option<Arc<Collection>> {
        replica_set::collection(self, ns)
    }

    fn fails_write(&self) -> Option<FailedWrite> {
        self.failpoints.transactional_write()
    }
}

/// SHA-256 of nothing: the user of sessions without one.
const NO_USER: [u8; 33] = [
    0, 0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4,
    0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The sessions; asked for those of certain users there are none.
fn sessions(shared: &Shared, spec: Doc<'_>) -> Vec<DocBuf> {
    if spec.get("users").as_array().is_some_and(|users| users.iter().any(|user| !user.is_nullish())) {
        return Vec::new();
    }
    let now = now_millis();
    let one = |id: &Lsid| {
        DocBuf::build(|w| {
            {
                let id = id.to_doc();
                let mut w = w.document("_id");
                w.append("id", id.get("id"));
                match id.get("uid") {
                    Value::Missing => w.append("uid", Value::Binary(Binary::from_raw(&NO_USER))),
                    uid => w.append("uid", uid),
                };
            }
            w.append("lastUse", Value::DateTime(now));
        })
    };
    shared.sessions.ids().iter().map(one).collect()
}
