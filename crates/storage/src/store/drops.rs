//! Dropping tables: at once where nobody uses them, else as soon as somebody lets go of them.

use super::{DROP_RETRY, Inner, PATIENCE};
use crate::error::{ErrorKind, Result};
use crate::session::Work;
use crate::table::Table;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The longest time between two rounds of deferred drops, while nothing is let go of.
const DROP_RETRY_MOST: Duration = Duration::from_secs(3);
/// How long a round may go on, and how many busy tables it may meet: the thread has the log to flush.
const DROP_ROUND: Duration = Duration::from_millis(50);
const DROP_ROUND_BUSY: usize = 16;

/// Tables dropped by the caller, but in use when tried, with the wish that still stands for each.
pub(super) struct Deferred {
    pub waiting: VecDeque<(Table, u64)>,
    pause: Duration,
    next: Instant,
}

impl Default for Deferred {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), pause: DROP_RETRY, next: Instant::now() }
    }
}

impl Inner {
    pub(super) fn drop_table(&self, table: &Table, patience: Duration) -> Result<()> {
        let wish = self.wish(table);
        let dropped = self.try_drop(table, wish, patience);
        self.unwish(wish);
        dropped
    }

    /// Drops a table that is wished for; the wish stands on when it is busy.
    pub(super) fn try_drop(&self, table: &Table, wish: u64, patience: Duration) -> Result<()> {
        let mut work = self.work_even_closed()?;
        let dropped = self.alone(&mut work, table, patience, |work| {
            // A checkpoint at work makes the table busy; do not wait for it. With `force` it goes though it has changes since the
            // last checkpoint, and though there are older snapshots.
            work.raw().drop_object(table.uri(), Some(c"force=true,checkpoint_wait=false"))
        });
        self.take_back(work);
        match &dropped {
            Err(error) if error.kind() == ErrorKind::Busy => {}
            _ => self.unwish(wish),
        }
        dropped?;
        self.connection.forget_damage(table.name());
        self.shared.mark_unsynced();
        self.tables.lock().remove(table);
        Ok(())
    }

    /// Makes sessions close the cursors that they keep of a table, each when it comes to the end of what it does.
    pub(super) fn wish(&self, table: &Table) -> u64 {
        let mut dropping = self.shared.dropping.lock();
        let wish = self.shared.drops.fetch_add(1, Ordering::AcqRel) + 1;
        dropping.insert(wish, (table.id, table.generation));
        wish
    }

    fn unwish(&self, wish: u64) {
        self.shared.dropping.lock().remove(&wish);
    }

    /// Runs what needs a table for itself, after asking all sessions to close their kept cursors.
    pub(super) fn exclusively(
        &self,
        work: &mut Work,
        table: &Table,
        patience: Duration,
        run: impl FnMut(&mut Work) -> Result<()>,
    ) -> Result<()> {
        let wish = self.wish(table);
        let result = self.alone(work, table, patience, run);
        self.unwish(wish);
        result
    }

    /// Runs what needs a table that is wished for.
    fn alone(
        &self,
        work: &mut Work,
        table: &Table,
        patience: Duration,
        mut run: impl FnMut(&mut Work) -> Result<()>,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            for resting in self.pool.lock().iter_mut() {
                resting.close_cached(table.id, table.generation);
            }
            work.close_cached(table.id, table.generation);
            match run(work) {
                Err(error) if error.kind() == ErrorKind::Busy && started.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                result => break result,
            }
        }
    }

    /// Tries tables that wait to be dropped: at once when somebody has let go of one, else less and less often. What is busy goes to
    /// the end of the queue, so that a round costs the same however many wait.
    pub(super) fn try_deferred(&self) {
        let released = self.shared.released.swap(false, Ordering::AcqRel);
        let started = Instant::now();
        let mut busy = 0;
        let mut dropped = 0;
        let round = {
            let deferred = self.deferred.lock();
            if deferred.waiting.is_empty() || !(released || started >= deferred.next) {
                return;
            }
            deferred.waiting.len()
        };
        for _ in 0..round {
            if busy >= DROP_ROUND_BUSY || started.elapsed() >= DROP_ROUND {
                break;
            }
            let Some((table, wish)) = self.deferred.lock().waiting.pop_front() else { break };
            self.unwish(wish);
            // A new wish: a session may have opened the table again after granting the one before.
            let wish = self.wish(&table);
            match self.try_drop(&table, wish, Duration::ZERO) {
                Err(error) if error.kind() == ErrorKind::Busy => {
                    self.deferred.lock().waiting.push_back((table, wish));
                    busy += 1;
                }
                Err(error) => tracing::warn!("dropping table {}: {error}", table.name()),
                Ok(()) => dropped += 1,
            }
        }
        let mut deferred = self.deferred.lock();
        deferred.pause = if dropped > 0 || released { DROP_RETRY } else { (deferred.pause * 2).min(DROP_RETRY_MOST) };
        deferred.next = Instant::now() + deferred.pause;
    }

    /// The last tries, when the store is closed.
    pub(super) fn finish_deferred(&self) {
        let until = Instant::now() + PATIENCE;
        let waiting = std::mem::take(&mut self.deferred.lock().waiting);
        for (table, wish) in waiting {
            match self.try_drop(&table, wish, until.saturating_duration_since(Instant::now())) {
                Err(error) if error.kind() == ErrorKind::Busy => tracing::debug!("the table {} stays for the next start", table.name()),
                Err(error) => tracing::warn!("dropping table {}: {error}", table.name()),
                Ok(()) => {}
            }
        }
    }

    /// Has resting sessions let go of what is left of tables that are gone.
    pub(super) fn sweep(&self) {
        let resting = self.pool.lock().len();
        for _ in 0..resting {
            // One at a time, the first of the queue: whoever needs a session finds the others.
            let Some(mut work) = Some(self.pool.lock()).filter(|pool| !pool.is_empty()).map(|mut pool| pool.remove(0)) else { return };
            work.sweep();
            self.take_back(work);
        }
    }
}
