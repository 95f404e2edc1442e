//! The background threads. One lets go of what clients have left: idle cursors and sessions, transactions over their lifetime, old
//! snapshots. Another one writes: the oplog's size, TTL indexes. Writing may wait, for `fsync: {lock: true}` or a lock; what clients
//! have left must go meanwhile.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::data::limits;
use crate::service::shared::Shared;

const INTERVAL: Duration = Duration::from_secs(1);
/// Seconds between two looks for cursors whose session is gone, and for sessions whose command runs long.
const ORPHANS_SECONDS: u64 = 10;

/// Starts the threads; they end by themselves once the database is closed.
pub fn start(shared: &Arc<Shared>) {
    for (name, turn) in [("smongo-maintenance", write as fn(&Arc<Shared>, u64)), ("smongo-expiry", expire)] {
        let weak = Arc::downgrade(shared);
        let started = std::thread::Builder::new().name(name.into()).stack_size(1 << 20).spawn(move || run(&weak, turn));
        if let Err(e) = started {
            tracing::warn!("no thread {name}: {e}");
        }
    }
}

fn run(shared: &Weak<Shared>, turn: fn(&Arc<Shared>, u64)) {
    let mut ticks = 0u64;
    loop {
        std::thread::sleep(INTERVAL);
        ticks += 1;
        let Some(shared) = shared.upgrade() else { return };
        if shared.shutting_down() {
            return;
        }
        turn(&shared, ticks);
    }
}

fn expire(shared: &Arc<Shared>, ticks: u64) {
    if ticks.is_multiple_of(ORPHANS_SECONDS) {
        shared.sessions.keep(&shared.operations.sessions());
    }
    shared.cursors.expire(shared.parameters.cursor_timeout());
    shared.sessions.expire(shared.parameters.session_timeout(), shared.parameters.transaction_lifetime());
    shared.snapshots.expire(shared, Duration::from_secs(shared.parameters.snapshot_window()));
    if ticks.is_multiple_of(ORPHANS_SECONDS) {
        shared.end_orphans();
    }
    shared.cursors.rest(shared);
}

fn write(shared: &Arc<Shared>, ticks: u64) {
    if shared.parameters.ttl_seconds().is_some_and(|seconds| ticks.is_multiple_of(seconds)) {
        crate::life::ttl::pass(shared);
    }
    if ticks.is_multiple_of(limits::EXPIRE_SECONDS)
        && let Err(e) = crate::data::retry::expire(shared, shared.parameters.session_timeout())
    {
        tracing::warn!("forgetting old retryable writes: {e}");
    }
    if let Some(lifetime) = shared.cluster_parameters.image_lifetime()
        && let Err(e) = crate::data::oplog::images::expire(shared, lifetime)
    {
        tracing::warn!("removing old pre-images: {e}");
    }
    if let Err(e) = crate::data::oplog::trim(shared) {
        tracing::warn!("trimming the oplog: {e}");
    }
    crate::service::sink::drop_temporary(&mut shared.op());
}
