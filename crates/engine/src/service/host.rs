//! What the floor of data asks of those above it, answered: pipelines, sources and sinks of the floor of queries, and the lists of
//! what outlives a command.

use std::sync::Arc;

use smongo_bson::{Binary, Doc, DocBuf, Error, Result, Value, bail, err};
use smongo_mql::stream::{Docs, Sink, SourceSpec, WriteSpec};
use smongo_mql::{CompileCx, Stream};

use crate::data::above::{Above, Build, Definitions, FailedWrite};
use crate::data::catalog::Collection;
use crate::data::clock::now_millis;
use crate::data::lsid::{Lsid, NOBODY, Uid};
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::query::exec;
use crate::service::auth::principals::{Kind, Principal};
use crate::service::auth::users::uid;
use crate::service::{audit, replica_set, sink};
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
            "$currentOp" => current_op::list(self, Show::of_stage(spec, op.held_to)),
            "$querySettings" => {
                let debug = spec.get("showDebugQueryShape").truthy();
                self.query_settings.all().iter().map(|setting| DocBuf::build(|w| setting.write(w, debug))).collect()
            }
            "$listLocalSessions" | "$listSessions" => sessions(self, op.held_to, spec),
            name @ ("$search" | "$searchMeta" | "$vectorSearch" | "$listSearchIndexes") if !self.parameters.searches() => return Err(search_off(name)),
            name @ ("$search" | "$searchMeta") => bail!(NotImplemented, "the stage {name} is not implemented"),
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

    fn before_definition(&self, op: &mut OpCx) -> Result<Definitions> {
        self.audit.as_ref().map_or(Ok(Definitions::default()), |audit| audit::before_commit(self, audit, op))
    }

    fn undefined(&self, told: Definitions, e: &Error) {
        if let Some(audit) = self.audit.as_ref().filter(|_| !told.0.is_empty()) {
            audit::take_back(self, audit, told, e);
        }
    }

    fn index_build(&self, ns: &Ns, specs: &[DocBuf], build: Build) -> Result<()> {
        self.audit.as_ref().map_or(Ok(()), |audit| audit::index_build(self, audit, ns, specs, build))
    }
}

/// The sessions of whoever asks, of all or of certain users. Who is nobody sees all: then there is nobody they belong to.
fn sessions(shared: &Shared, own: Option<Uid>, spec: Doc<'_>) -> Vec<DocBuf> {
    let asked = spec.get("users").as_array().filter(|users| users.iter().any(|user| !user.is_nullish()));
    let listed = asked.map(|list| list.iter().filter_map(|v| Principal::parse(Kind::User, v, "").ok()).map(|user| uid(&user)).collect::<Vec<_>>());
    let meant = |id: &Lsid| match &listed {
        _ if spec.get("allUsers").truthy() => true,
        Some(users) => id.uid.is_some_and(|uid| users.contains(&uid)),
        None => own.is_none() || id.uid == own,
    };
    let now = now_millis();
    let one = |id: &Lsid| {
        DocBuf::build(|w| {
            {
                let id = id.to_doc();
                let mut w = w.document("_id");
                w.append("id", id.get("id"));
                match id.get("uid") {
                    Value::Missing => {
                        let mut raw = [0; 33];
                        raw[1..].copy_from_slice(&NOBODY);
                        w.append("uid", Value::Binary(Binary::from_raw(&raw)))
                    }
                    uid => w.append("uid", uid),
                };
            }
            w.append("lastUse", Value::DateTime(now));
        })
    };
    shared.sessions.ids().iter().filter(|id| meant(id)).map(one).collect()
}

/// What a server without search answers; clients find out by it.
pub fn search_off(what: &str) -> Error {
    let what = match what {
        "$search" | "$searchMeta" | "$vectorSearch" => "$search and $vectorSearch aggregation stages",
        _ => "Atlas Search Database Commands and the $listSearchIndexes aggregation stage",
    };
    err!(31082, "Using {what} requires additional configuration. Please connect to Atlas or an AtlasCLI local deployment to enable.")
}
