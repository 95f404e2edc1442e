//! What `$currentOp` and the command currentOp list: running commands and, where asked, idle connections, cursors and transactions.

use smongo_bson::{Doc, DocBuf, DocWriter};

use crate::data::lsid::Uid;
use crate::service::shared::Shared;

/// Of a longer command only its beginning is shown where commands are truncated.
pub const TRUNCATED_BYTES: usize = 1000;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Show {
    pub idle_connections: bool,
    pub idle_cursors: bool,
    pub idle_sessions: bool,
    pub truncate: bool,
    /// What is this user's, alone.
    pub only: Option<Uid>,
}

impl Show {
    /// The options of the stage `$currentOp`.
    pub fn of_stage(spec: Doc<'_>, held_to: Option<Uid>) -> Show {
        let flag = |name: &str, default: bool| spec.get(name).as_bool().unwrap_or(default);
        Show {
            idle_connections: flag("idleConnections", false),
            idle_cursors: flag("idleCursors", false),
            idle_sessions: flag("idleSessions", true),
            truncate: flag("truncateOps", false),
            only: held_to.filter(|_| !flag("allUsers", false)),
        }
    }
}

pub fn list(shared: &Shared, show: Show) -> Vec<DocBuf> {
    let mut all = shared.operations.list(show);
    if show.idle_cursors {
        all.extend(shared.cursors.list_idle(show.only));
    }
    if show.idle_sessions {
        all.extend(shared.sessions.list_idle(show.only));
    }
    all
}

/// Writes a command, or the beginning of its text when it is longer than shown.
pub fn write_command(w: &mut DocWriter<'_>, body: Doc<'_>, show: Show) {
    if !show.truncate || body.as_bytes().len() <= TRUNCATED_BYTES {
        w.append("command", body);
        return;
    }
    let mut text = smongo_bson::json::to_relaxed(body);
    let end = (0..=TRUNCATED_BYTES.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    text.truncate(end);
    text.push_str("...");
    let mut w = w.document("command");
    w.append("$truncated", &*text);
    // A field that is missing is not written.
    w.append("comment", body.get("comment"));
}
