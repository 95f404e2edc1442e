//! Fail points, for the test suites of drivers: `configureFailPoint`, with `enableTestCommands` only.

use smongo_bson::{Doc, DocBuf, Result};

use crate::door::Client;

pub struct FailPoints {
    enabled: bool,
}

/// What a fail point does to a command, beyond failing or delaying it.
#[derive(Default)]
pub struct Fail {
    pub close: bool,
    pub write_concern_error: Option<DocBuf>,
}

impl FailPoints {
    pub fn new(enabled: bool) -> FailPoints {
        FailPoints { enabled }
    }

    /// Called at the start of each command.
    pub fn enter(&self, _command: &str, _client: &Client, _metadata: Option<&DocBuf>, _body: Doc<'_>) -> Result<Fail> {
        if !self.enabled {
            return Ok(Fail::default());
        }
        Ok(Fail::default())
    }
}

/// Adds fields to a finished reply.
pub fn patch_reply(out: &mut Vec<u8>, start: usize, fields: Doc<'_>) {
    let patched = DocBuf::build(|w| {
        w.append_all(Doc::from_checked(&out[start..])).append_all(fields);
    });
    out.truncate(start);
    out.extend_from_slice(patched.as_bytes());
}
