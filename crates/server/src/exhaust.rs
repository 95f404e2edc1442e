//! Exhaust: a request with `exhaustAllowed` is answered by a stream of replies, each flagged `moreToCome` but the last.
//!
//! The server itself issues the requests a client would have sent: the same getMore again while its cursor lives, and the
//! awaitable hello with the topology version of the reply before.

use smongo_bson::{Doc, DocBuf, Value};

/// The request that follows `request` after `reply`, or `None` when the stream ends here.
pub fn next(request: Doc<'_>, reply: Doc<'_>) -> Option<DocBuf> {
    if !succeeded(reply) {
        return None;
    }
    match request.first()?.name() {
        "hello" | "isMaster" | "ismaster" => next_hello(request, reply),
        "getMore" => next_get_more(request, reply),
        _ => None,
    }
}

fn succeeded(reply: Doc<'_>) -> bool {
    matches!(reply.get("ok"), Value::Double(n) if n == 1.0)
}

/// Only an awaitable hello is streamed: one with both `topologyVersion` and `maxAwaitTimeMS`.
fn next_hello(request: Doc<'_>, reply: Doc<'_>) -> Option<DocBuf> {
    let version = reply.element("topologyVersion")?;
    if !request.contains("topologyVersion") || !request.contains("maxAwaitTimeMS") {
        return None;
    }
    Some(DocBuf::build(|w| {
        for e in request {
            w.append_element(if e.name() == "topologyVersion" { &version } else { &e });
        }
    }))
}

fn next_get_more(request: Doc<'_>, reply: Doc<'_>) -> Option<DocBuf> {
    let Value::Document(cursor) = reply.get("cursor") else { return None };
    match cursor.get("id") {
        Value::Int64(id) if id != 0 => Some(DocBuf::from(request)),
        _ => None,
    }
}
