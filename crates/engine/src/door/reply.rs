//! The one place that writes the ends of replies and the errors.

use std::cell::RefCell;

use smongo_bson::{Binary, Doc, DocBuf, DocWriter, Error, Timestamp, Value};

use crate::service::command::WriteConcern;
use crate::service::shared::Shared;

/// `ok: 1` and the times, at the end of a successful reply.
pub fn succeed(w: &mut DocWriter<'_>, ok: Value<'_>, shared: &Shared, write_concern: &WriteConcern) {
    if let Some(mode) = &write_concern.unsatisfiable {
        write_concern_error(w, mode);
    }
    w.append("ok", ok);
    times(w, shared);
}

/// What a `w` is answered that one member cannot satisfy.
pub fn write_concern_error(w: &mut DocWriter<'_>, mode: &str) {
    let mut e = w.document("writeConcernError");
    if mode.parse::<u32>().is_ok() {
        e.append("code", 100).append("codeName", "UnsatisfiableWriteConcern").append("errmsg", "Not enough data-bearing nodes");
    } else {
        e.append("code", 79).append("codeName", "UnknownReplWriteConcern").append("errmsg", &*format!("No write concern mode named '{mode}' found in replica set configuration"));
    }
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
    TIMES.with_borrow_mut(|fields| {
        set_times(fields, now);
        w.append_all(Doc::from_checked(fields));
    });
}

/// Where the cluster time stands in the fields; the operation time is the last thing in them.
const CLUSTER_TIME: usize = 4 + b"\x03$clusterTime\0".len() + 4 + b"\x11clusterTime\0".len();

thread_local! {
    /// Every reply ends with these fields, so they are made once and only given their times.
    static TIMES: RefCell<Vec<u8>> = RefCell::new(DocBuf::build(|w| write_times(w, Timestamp::default())).into_bytes());
}

fn set_times(fields: &mut [u8], now: Timestamp) {
    let operation_time = fields.len() - 1 - 8;
    for at in [CLUSTER_TIME, operation_time] {
        fields[at..at + 8].copy_from_slice(&now.to_u64().to_le_bytes());
    }
}

fn write_times(w: &mut DocWriter<'_>, now: Timestamp) {
    {
        let mut time = w.document("$clusterTime");
        time.append("clusterTime", now);
        let mut signature = time.document("signature");
        signature.append("hash", Value::Binary(Binary::from_raw(&[0; 21]))).append("keyId", 0i64);
    }
    w.append("operationTime", now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_where_they_belong() {
        let now = Timestamp { time: 7, increment: 9 };
        let mut whole = DocBuf::build(|w| write_times(w, Timestamp::default())).into_bytes();
        set_times(&mut whole, now);
        assert_eq!(whole, DocBuf::build(|w| write_times(w, now)).into_bytes());
    }
}
