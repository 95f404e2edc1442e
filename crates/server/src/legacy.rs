//! OP_QUERY, which drivers still use for their first hello, and its OP_REPLY. All other uses were removed in MongoDB 5.1.

use smongo_bson::error::{Error, Result};
use smongo_bson::{Doc, Value, check, err};

use crate::frame::{HEADER, OP_REPLY, begin};

/// `QueryFailure` of OP_REPLY's flags.
const QUERY_FAILURE: i32 = 2;
const UPGRADE: &str = "The client driver may require an upgrade. For more details see https://dochub.mongodb.org/core/legacy-opcode-removal";

/// What an OP_QUERY asks.
pub enum Query<'a> {
    /// `hello` or `isMaster` on `<db>.$cmd`.
    Hello(Doc<'a>),
    /// Anything else: the error to answer, and whether it was meant as a command.
    Refused { error: Error, command: bool },
}

/// Reads an OP_QUERY: `frame` is the whole message, header included.
///
/// # Errors
/// The frame is malformed; the connection is to be closed.
pub fn parse(frame: &[u8]) -> Result<Query<'_>> {
    let short = || err!(InvalidLength, "OP_QUERY is too short");
    let named = frame.get(HEADER + 4..).ok_or_else(short)?;
    let nul = named.iter().position(|b| *b == 0).ok_or_else(short)?;
    let (namespace, rest) = named.split_at(nul);
    let bytes = rest.get(9..).ok_or_else(short)?;
    if !namespace.ends_with(b".$cmd") {
        let error = err!(5739101, "OP_QUERY is no longer supported. {UPGRADE}");
        return Ok(Query::Refused { error, command: false });
    }
    let len = check::prefix(bytes)?;
    let mut command = Doc::parse(bytes.get(..len).unwrap_or(bytes))?;
    // Drivers that send a read preference wrap the command.
    if let Value::Document(inner) = command.get("$query") {
        command = inner;
    } else if let Value::Document(inner) = command.get("query") {
        command = inner;
    }
    let name = command.first().map_or("", |e| e.name());
    if matches!(name, "hello" | "isMaster" | "ismaster") {
        return Ok(Query::Hello(command));
    }
    let error = err!(UnsupportedOpQueryCommand, "Unsupported OP_QUERY command: {name}. {UPGRADE}");
    Ok(Query::Refused { error, command: true })
}

/// Begins an OP_REPLY of one document, which is appended behind it.
pub fn begin_reply(out: &mut Vec<u8>, request_id: i32, response_to: i32, failure: bool) {
    begin(out, request_id, response_to, OP_REPLY);
    let flags = if failure { QUERY_FAILURE } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&0i64.to_le_bytes());
    out.extend_from_slice(&0i32.to_le_bytes());
    out.extend_from_slice(&1i32.to_le_bytes());
}


#[cfg(test)]
mod tests {
    use super::*;

    fn query(namespace: &str, doc: &smongo_bson::DocBuf) -> Vec<u8> {
        let mut f = vec![0; HEADER + 4];
        f.extend_from_slice(namespace.as_bytes());
        f.push(0);
        f.extend_from_slice(&[0; 8]);
        f.extend_from_slice(doc.as_bytes());
        f
    }

    #[test]
    fn hello_is_found_also_in_a_wrapper() {
        let inner = smongo_bson::DocBuf::build(|w| {
            w.append("ismaster", 1);
        });
        let wrapped = smongo_bson::DocBuf::build(|w| {
            w.append("$query", inner.as_doc());
        });
        for doc in [&inner, &wrapped] {
            assert!(matches!(parse(&query("admin.$cmd", doc)), Ok(Query::Hello(d)) if d.contains("ismaster")));
        }
        assert!(matches!(parse(&query("a.b", &inner)), Ok(Query::Refused { command: false, .. })));
    }
}
