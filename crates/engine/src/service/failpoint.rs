//! Fail points, for the test suites of drivers: `configureFailPoint`, with `enableTestCommands` only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use smongo_bson::{Code, Doc, DocBuf, Error, Result, Value, bail, number};

use crate::data::above::FailedWrite;
use crate::service::command::Client;

/// Fail points that exist beside `failCommand`; they can be set and have no effect on one member without replication.
const OTHERS: &[&str] = &[
    "failGetMoreAfterCursorCheckout", "maxTimeAlwaysTimeOut", "maxTimeNeverTimeOut", "onPrimaryTransactionalWrite", "disableMaxSyncSourceLagSecs",
    "WTPauseStableTimestamp", "waitInFindBeforeMakingBatch", "hangBeforeReadingIndex",
];

pub struct FailPoints {
    enabled: bool,
    any: AtomicBool,
    active: Mutex<HashMap<String, FailPoint>>,
}

struct FailPoint {
    /// How many more times it fires; `None` for always.
    times: Option<i64>,
    /// How many commands pass first.
    skip: i64,
    activations: i64,
    data: DocBuf,
}

/// What a fail point does to a command, beyond failing or delaying it.
#[derive(Default)]
pub struct Fail {
    pub close: bool,
    /// Fields to add to the reply.
    pub patch: Option<DocBuf>,
}

impl FailPoints {
    pub fn new(enabled: bool) -> FailPoints {
        FailPoints { enabled, any: AtomicBool::new(false), active: Mutex::default() }
    }

    /// `configureFailPoint: name, mode, data`. Returns how often the point has fired.
    pub fn configure(&self, name: &str, mode: Value<'_>, data: Option<Doc<'_>>) -> Result<i64> {
        if name != "failCommand" && !OTHERS.contains(&name) {
            bail!(FailPointSetFailed, "{name} not found");
        }
        let (times, skip) = match mode {
            Value::String("off") => {
                let mut active = self.active.lock();
                let fired = active.remove(name).map_or(0, |p| p.activations);
                self.any.store(!active.is_empty(), Ordering::Relaxed);
                return Ok(fired);
            }
            Value::String("alwaysOn") => (None, 0),
            Value::Document(d) => match (number::to_i64_exact(d.get("times")), number::to_i64_exact(d.get("skip"))) {
                (Some(times), None) => (Some(times), 0),
                (None, Some(skip)) => (None, skip),
                _ => bail!(BadValue, "'mode' must hold 'times' or 'skip'"),
            },
            _ => bail!(BadValue, "'mode' must be a string or JSON object"),
        };
        let data = data.map(DocBuf::from).unwrap_or_default();
        let mut active = self.active.lock();
        let fired = active.insert(name.to_owned(), FailPoint { times, skip, activations: 0, data }).map_or(0, |p| p.activations);
        self.any.store(true, Ordering::Relaxed);
        Ok(fired)
    }

    /// Whether any fail point is set.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Called at the start of each command.
    pub fn enter(&self, command: &str, _client: &Client, metadata: Option<&DocBuf>, body: Doc<'_>) -> Result<Fail> {
        if !self.enabled || !self.any.load(Ordering::Relaxed) || command == "configureFailPoint" {
            return Ok(Fail::default());
        }
        let Some(data) = self.fires(command, metadata, body) else { return Ok(Fail::default()) };
        if data.get("blockConnection").truthy() {
            let ms = number::to_i64_exact(data.get("blockTimeMS")).unwrap_or(0).max(0);
            std::thread::sleep(Duration::from_millis(ms as u64));
        }
        if data.get("closeConnection").truthy() {
            return Ok(Fail { close: true, patch: None });
        }
        if let Some(code) = number::to_i64_exact(data.get("errorCode")) {
            let mut e = Error::new(Code(code as i32), format!("Failing command via 'failCommand' failpoint: {command}"));
            match data.get("errorLabels").as_array() {
                Some(labels) => e = e.with_exact_labels(labels.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()),
                None => e = default_label(e, body),
            }
            return Err(e);
        }
        let patch = match data.get("writeConcernError") {
            Value::Document(d) => Some(DocBuf::build(|w| {
                w.append("writeConcernError", d);
                if let Some(labels) = data.get("errorLabels").as_array() {
                    w.append("errorLabels", labels);
                } else if retryable_code(number::to_i64_exact(d.get("code")).unwrap_or(0) as i32) && retries(body) {
                    w.array("errorLabels").push("RetryableWriteError");
                }
            })),
            _ => None,
        };
        Ok(Fail { close: false, patch })
    }

    /// Whether a time limit must be taken as exceeded at once.
    pub fn times_out(&self) -> bool {
        self.any.load(Ordering::Relaxed) && self.active.lock().contains_key("maxTimeAlwaysTimeOut")
    }

    /// `failGetMoreAfterCursorCheckout`: called when a getMore has its cursor.
    pub fn cursor_checkout(&self) -> Result<()> {
        match self.simple("failGetMoreAfterCursorCheckout").map(|data| number::to_i64_exact(data.get("errorCode"))) {
            Some(Some(code)) => Err(Error::new(Code(code as i32), "Hit the 'failGetMoreAfterCursorCheckout' fail point")),
            _ => Ok(()),
        }
    }

    /// `onPrimaryTransactionalWrite`: called when a statement of a retryable write is about to commit.
    pub fn transactional_write(&self) -> Option<FailedWrite> {
        let data = self.simple("onPrimaryTransactionalWrite")?;
        let before_commit = number::to_i64_exact(data.get("failBeforeCommitExceptionCode")).map(|code| code as i32);
        // The connection is closed unless the data says otherwise.
        Some(FailedWrite { before_commit, close: data.get("closeConnection").is_missing() || data.get("closeConnection").truthy() })
    }

    /// The data of a point that fires without conditions.
    fn simple(&self, name: &str) -> Option<DocBuf> {
        if !self.enabled || !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut active = self.active.lock();
        let point = active.get_mut(name)?;
        point.count().then(|| point.data.clone())
    }

    fn fires(&self, command: &str, metadata: Option<&DocBuf>, body: Doc<'_>) -> Option<DocBuf> {
        let mut active = self.active.lock();
        let point = active.get_mut("failCommand")?;
        let named = |v: Value<'_>| v.as_str().is_some_and(|s| s == command || (s == "isMaster" && command == "ismaster"));
        if !point.data.get("failCommands").as_array().is_some_and(|a| a.iter().any(named)) {
            return None;
        }
        if let Some(wanted) = point.data.get("appName").as_str() {
            // A connection's first hello is what brings the name.
            let client = metadata.map(DocBuf::as_doc).or_else(|| body.get("client").as_doc());
            let app = client.and_then(|m| m.get("application").as_doc()).and_then(|a| a.get("name").as_str());
            if app != Some(wanted) {
                return None;
            }
        }
        if let Some(ns) = point.data.get("namespace").as_str() {
            let coll = body.first().and_then(|e| e.value().as_str()).unwrap_or_default();
            if ns != format!("{}.{coll}", body.get("$db").as_str().unwrap_or_default()) {
                return None;
            }
        }
        point.count().then(|| point.data.clone())
    }
}

impl FailPoint {
    /// Counts a passage; tells whether the point fires.
    fn count(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.times {
            Some(0) => return false,
            Some(n) => *n -= 1,
            None => {}
        }
        self.activations += 1;
        true
    }
}

/// Codes after which a driver may send a retryable write again.
fn retryable_code(code: i32) -> bool {
    matches!(code, 11600 | 11602 | 10107 | 13435 | 13436 | 189 | 91 | 7 | 6 | 89 | 9001 | 262)
}

/// Codes after which a transaction may be tried again as a whole, also when its commit failed with them.
fn transient_code(code: i32) -> bool {
    matches!(code, 24 | 112 | 246 | 251 | 267)
}

fn default_label(e: Error, body: Doc<'_>) -> Error {
    let in_transaction = body.contains("autocommit");
    let retryable = retryable_code(e.code().0);
    if retryable && retries(body) {
        return e.with_label("RetryableWriteError");
    }
    if in_transaction && (retryable || transient_code(e.code().0)) {
        return e.with_label("TransientTransactionError");
    }
    e
}

/// Whether the command is one that drivers send again: a retryable write or the end of a transaction.
fn retries(body: Doc<'_>) -> bool {
    let ends = body.first().is_some_and(|f| matches!(f.name(), "commitTransaction" | "abortTransaction"));
    ends || (body.contains("txnNumber") && !body.contains("autocommit"))
}

/// Adds fields to a finished reply.
pub fn patch_reply(out: &mut Vec<u8>, start: usize, fields: Doc<'_>) {
    let patched = DocBuf::build(|w| {
        w.append_all(Doc::from_checked(&out[start..])).append_all(fields);
    });
    out.truncate(start);
    out.extend_from_slice(patched.as_bytes());
}
