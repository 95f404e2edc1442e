//! The operations that run: what currentOp shows and killOp kills.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use smongo_bson::{Code, Doc, DocBuf, Value};

use crate::door::{Client, Generic};
use crate::op::KillSwitch;
use crate::sessions::Lsid;

#[derive(Default)]
pub struct Operations {
    running: Arc<Mutex<BTreeMap<u64, Arc<Operation>>>>,
    next: AtomicU64,
    /// Commands answered since the start, by kind, for serverStatus.
    pub total: AtomicU64,
}

/// One running operation.
pub struct Operation {
    pub id: u64,
    pub command: &'static str,
    pub db: String,
    pub body: DocBuf,
    pub lsid: Option<Lsid>,
    pub client: String,
    pub connection: u64,
    pub since: Instant,
    pub kill: Arc<KillSwitch>,
}

impl Operation {
    /// As currentOp shows it.
    pub fn describe(&self) -> DocBuf {
        let running = self.since.elapsed();
        let ns = match self.body.as_doc().first().map(|e| e.value()) {
            Some(Value::String(coll)) => format!("{}.{coll}", self.db),
            _ => format!("{}.$cmd", self.db),
        };
        DocBuf::build(|w| {
            w.append("type", "op").append("desc", &*format!("conn{}", self.connection)).append("connectionId", self.connection as i64);
            w.append("client", &*self.client).append("active", true).append("opid", self.id as i64);
            w.append("secs_running", running.as_secs() as i64).append("microsecs_running", running.as_micros() as i64);
            if let Some(lsid) = &self.lsid {
                w.append("lsid", lsid.to_doc().as_doc());
            }
            w.append("op", "command").append("ns", &*ns).append("command", self.body.as_doc());
        })
    }
}

/// Takes the operation off the list when the command is over.
pub struct Running {
    running: Arc<Mutex<BTreeMap<u64, Arc<Operation>>>>,
    id: u64,
    pub kill: Arc<KillSwitch>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

impl Operations {
    pub fn begin(&self, command: &'static str, body: Doc<'_>, generic: &Generic<'_>, client: &Client, connection: u64) -> Running {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        let kill = Arc::<KillSwitch>::default();
        // Long commands (bulk inserts) are not worth copying for a listing.
        let shown = if body.as_bytes().len() <= 1024 { DocBuf::from(body) } else { DocBuf::new() };
        let operation = Operation {
            id,
            command,
            db: generic.db.to_owned(),
            body: shown,
            lsid: generic.lsid.clone(),
            client: client.remote.clone(),
            connection,
            since: Instant::now(),
            kill: kill.clone(),
        };
        self.running.lock().insert(id, Arc::new(operation));
        Running { running: self.running.clone(), id, kill }
    }

    pub fn list(&self) -> Vec<Arc<Operation>> {
        self.running.lock().values().cloned().collect()
    }

    pub fn kill(&self, id: u64) {
        if let Some(op) = self.running.lock().get(&id) {
            op.kill.kill(Code::Interrupted);
        }
    }

    pub fn kill_sessions(&self, ids: &[Lsid]) {
        for op in self.running.lock().values() {
            if op.lsid.as_ref().is_some_and(|l| ids.contains(l)) {
                op.kill.kill(Code::Interrupted);
            }
        }
    }

    pub fn kill_all(&self) {
        for op in self.running.lock().values() {
            op.kill.kill(Code::InterruptedAtShutdown);
        }
    }
}
