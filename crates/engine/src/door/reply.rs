//! The one place that writes the ends of replies and the errors.

use smongo_bson::{Binary, DocWriter, Error, Timestamp, Value};

use super::generic::WriteConcern;
use crate::shared::Shared;

/// `ok: 1` and the times, at the end of a successful reply.
pub fn succeed(w: &mut DocWriter<'_>, shared: &Shared, write_concern: &WriteConcern) {
    if let Some(mode) = &write_concern.unsatisfiable {
        let mut e = w.document("writeConcernError");
        if mode.parse::<u32>().is_ok() {
            e.append("code", 100).append("codeName", "UnsatisfiableWriteConcern").append("errmsg", "Not enough data-bearing nodes");
        } else {
            e.append("code", 79).append("codeName", "UnknownReplWriteConcern").append("errmsg", &*format!("No write concern mode named '{mode}' found in replica set configuration"));
        }
    }
    w.append("ok", 1.0);
    times(w, shared);
}

/// `{ok: 0, errmsg, code, codeName, errorLabels}`, the fields some codes carry, and the times.
pub fn fail(w: &mut DocWriter<'_>, shared: Option<&Shared>, e: &Error) {
    w.append("ok", 0.0).append("errmsg", e.message()).append("code", e.code().0).append("codeName", &*e.code().name());
    if let Some(info) = e.info() {
        w.append_all(info);
    }
    if !e.labels().is_empty() {
        let mut labels = w.array("errorLabels");
        for label in e.labels() {
            labels.push(&**label);
        }
    }
    if let Some(shared) = shared {
        times(w, shared);
    }
}

fn times(w: &mut DocWriter<'_>, shared: &Shared) {
    let now: Timestamp = shared.clock.last();
    {
        let mut time = w.document("$clusterTime");
        time.append("clusterTime", now);
        let mut signature = time.document("signature");
        signature.append("hash", Value::Binary(Binary::from_raw(&[0; 21]))).append("keyId", 0i64);
    }
    w.append("operationTime", now);
}
