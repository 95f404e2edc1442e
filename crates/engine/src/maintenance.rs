//! The background thread: idle cursors and sessions, transactions over their lifetime, the oplog's size, TTL indexes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::limits;
use crate::shared::Shared;

const INTERVAL: Duration = Duration::from_secs(1);

/// Starts the thread; it ends by itself once the database is closed.
pub fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let started = std::thread::Builder::new().name("smongo-maintenance".into()).stack_size(1 << 20).spawn(move || run(&weak));
    if let Err(e) = started {
        tracing::warn!("no maintenance thread: {e}");
    }
}

fn run(shared: &Weak<Shared>) {
    let mut ticks = 0u64;
    loop {
        std::thread::sleep(INTERVAL);
        ticks += 1;
        let Some(shared) = shared.upgrade() else { return };
        if shared.shutting_down() {
            return;
        }
        shared.cursors.expire(shared.parameters.cursor_timeout());
        shared.sessions.expire();
        shared.snapshots.expire(&shared);
        if shared.parameters.ttl_seconds().is_some_and(|seconds| ticks.is_multiple_of(seconds)) {
            crate::ttl::pass(&shared);
        }
        if ticks.is_multiple_of(limits::EXPIRE_SECONDS)
            && let Err(e) = crate::retry::expire(&shared)
        {
            tracing::warn!("forgetting old retryable writes: {e}");
        }
        if let Err(e) = crate::change::images::expire(&shared) {
            tracing::warn!("removing old pre-images: {e}");
        }
        if let Err(e) = crate::oplog::trim(&shared) {
            tracing::warn!("trimming the oplog: {e}");
        }
    }
}
