//! Group commit: many threads that want the log on disk share one flush.

use crate::error::Result;
use parking_lot::{Condvar, Mutex};

/// Flushes are numbered. Whoever asks needs the next flush that has not begun yet, since the one
/// under way may have missed its commit. The first to find none under way leads.
#[derive(Default)]
pub(crate) struct GroupCommit {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    begun: u64,
    finished: u64,
    flushing: bool,
}

impl GroupCommit {
    /// Returns when a flush that began after this call has ended. `flush` runs in one of the
    /// waiting threads; its failure is that thread's alone, and the others try on their own.
    pub fn wait(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        let mine = state.begun + 1;
        loop {
            if state.finished >= mine {
                return Ok(());
            }
            if !state.flushing {
                break;
            }
            self.done.wait(&mut state);
        }
        state.flushing = true;
        state.begun += 1;
        let leading = state.begun;
        drop(state);
        let result = flush();
        let mut state = self.state.lock();
        state.flushing = false;
        if result.is_ok() {
            state.finished = leading;
        }
        drop(state);
        self.done.notify_all();
        result
    }
}
