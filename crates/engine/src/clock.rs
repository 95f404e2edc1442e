//! The cluster time: strictly increasing timestamps for the oplog, and which of them are visible.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use smongo_bson::Timestamp;

/// Milliseconds since the epoch.
pub fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// The wall clock as a timestamp.
pub fn wall() -> Timestamp {
    Timestamp { time: (now_millis() / 1000) as u32, increment: 1 }
}

/// Gives out timestamps and knows which of them still belong to transactions that have not committed.
///
/// A timestamp is taken just before its transaction commits. Commits may finish out of order, so readers of the oplog
/// must not read past the oldest one in flight, or they would miss an entry for ever.
#[derive(Default)]
pub struct Clock {
    state: Mutex<State>,
    advanced: Condvar,
}

#[derive(Default)]
struct State {
    last: Timestamp,
    /// Ascending, as they were taken.
    in_flight: VecDeque<Timestamp>,
    /// Grows with every change a waiter could care about; a waiter that has seen generation g sleeps until it is past it.
    generation: u64,
}

impl Clock {
    /// Continues after what the oplog holds, also when the machine's clock has gone backwards.
    pub fn starting_after(last: Timestamp) -> Clock {
        Clock { state: Mutex::new(State { last, ..State::default() }), advanced: Condvar::new() }
    }

    fn next(state: &mut State) -> Timestamp {
        let now = (now_millis() / 1000) as u32;
        state.last = if now > state.last.time {
            Timestamp { time: now, increment: 1 }
        } else {
            Timestamp::from_u64(state.last.to_u64() + 1)
        };
        state.last
    }

    /// Takes the next timestamp; it is in flight until [`Clock::done`].
    pub fn take(&self) -> Timestamp {
        let mut state = self.state.lock();
        let ts = Clock::next(&mut state);
        state.in_flight.push_back(ts);
        ts
    }

    /// A timestamp for a document's empty timestamp field: unique, and nobody waits for it.
    pub fn take_stamp(&self) -> Timestamp {
        Clock::next(&mut self.state.lock())
    }

    /// The transaction of these timestamps has committed or is gone.
    pub fn done(&self, timestamps: &[Timestamp]) {
        if timestamps.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for ts in timestamps {
            if let Ok(at) = state.in_flight.binary_search(ts) {
                state.in_flight.remove(at);
            }
        }
        state.generation += 1;
        drop(state);
        self.advanced.notify_all();
    }

    /// The newest timestamp given out.
    pub fn last(&self) -> Timestamp {
        self.state.lock().last
    }

    /// Moves on to at least this time, which a client has seen elsewhere (`$clusterTime`).
    pub fn advance_to(&self, ts: Timestamp) {
        let mut state = self.state.lock();
        state.last = state.last.max(ts);
    }

    /// The newest timestamp such that no older one is still in flight.
    pub fn visible(&self) -> Timestamp {
        let state = self.state.lock();
        match state.in_flight.front() {
            Some(oldest) => Timestamp::from_u64(oldest.to_u64() - 1),
            None => state.last,
        }
    }

    /// A mark for [`Clock::wait`]: take it before looking whether there is something to do.
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Sleeps until something committed after `seen` was taken, or `timeout` is over. Returns whether something did.
    pub fn wait(&self, seen: u64, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.generation == seen {
            if self.advanced.wait_until(&mut state, until).timed_out() {
                return state.generation != seen;
            }
        }
        true
    }

    /// Wakes every waiter, so that it looks whether it was killed.
    pub fn wake(&self) {
        self.state.lock().generation += 1;
        self.advanced.notify_all();
    }
}
