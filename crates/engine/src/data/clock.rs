//! The cluster time: strictly increasing timestamps for the oplog, and which of them are visible.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use smongo_bson::Timestamp;

use crate::data::watchers::Touched;

/// Milliseconds since the epoch.
pub fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Where a clock begins: behind all timestamps that a process before may have given out in this second. Those that a crash has undone must
/// not come again, or who has seen one would miss what bears it the second time.
pub fn next_second() -> Timestamp {
    Timestamp { time: (now_millis() / 1000) as u32 + 1, increment: 0 }
}

/// Gives out timestamps and knows which of them still belong to transactions that have not committed.
///
/// A timestamp is taken just before its transaction commits. Commits may finish out of order, so readers of the oplog
/// must not read past the oldest one in flight, or they would miss an entry for ever.
#[derive(Default)]
pub struct Clock {
    state: Mutex<State>,
    /// Nothing is in flight any more, or whoever waited for that is through.
    calm: Condvar,
}

#[derive(Default)]
struct State {
    last: Timestamp,
    /// Ascending, as they were taken: those that are in flight, and those behind one that is.
    flights: VecDeque<Flight>,
    /// Those who wait until nothing is in flight; new transactions wait for them.
    settling: usize,
}

/// A timestamp, and the machine's time when it was taken, in milliseconds since the epoch. The first never goes backwards.
#[derive(Clone, Copy)]
pub struct Taken {
    pub ts: Timestamp,
    pub millis: i64,
}

struct Flight {
    ts: Timestamp,
    /// What its transaction changed, once it has ended.
    landed: Option<Touched>,
}

impl Clock {
    /// Continues after what the oplog holds, also when the machine's clock has gone backwards.
    pub fn starting_after(last: Timestamp) -> Clock {
        Clock { state: Mutex::new(State { last, ..State::default() }), calm: Condvar::new() }
    }

    fn next(state: &mut State) -> Taken {
        let millis = now_millis();
        let now = (millis / 1000) as u32;
        state.last = if now > state.last.time {
            Timestamp { time: now, increment: 1 }
        } else {
            Timestamp::from_u64(state.last.to_u64() + 1)
        };
        Taken { ts: state.last, millis }
    }

    /// Takes the next timestamp; it is in flight until [`Clock::done`]. `first`: the transaction has no other yet.
    pub fn take(&self, first: bool) -> Taken {
        let mut state = self.state.lock();
        while first && state.settling > 0 {
            self.calm.wait(&mut state);
        }
        let taken = Clock::next(&mut state);
        state.flights.push_back(Flight { ts: taken.ts, landed: None });
        taken
    }

    /// A timestamp for a document's empty timestamp field: unique, and nobody waits for it.
    pub fn take_stamp(&self) -> Timestamp {
        Clock::next(&mut self.state.lock()).ts
    }

    /// The transaction of these timestamps has committed or is gone. Returns what has become visible by that, which may
    /// include what other transactions changed that were waiting behind it.
    pub fn done(&self, timestamps: &[Timestamp], mut touched: Touched) -> Touched {
        let mut state = self.state.lock();
        for ts in timestamps.iter().rev() {
            if let Ok(at) = state.flights.binary_search_by_key(ts, |f| f.ts) {
                state.flights[at].landed = Some(std::mem::take(&mut touched));
            }
        }
        let mut visible = Touched::Nothing;
        while let Some(landed) = state.flights.front_mut().and_then(|f| f.landed.take()) {
            state.flights.pop_front();
            visible.add(landed);
        }
        if state.settling > 0 && state.flights.is_empty() {
            self.calm.notify_all();
        }
        visible
    }

    /// The newest timestamp given out.
    pub fn last(&self) -> Timestamp {
        self.state.lock().last
    }

    /// The newest timestamp given out, when nothing is in flight.
    pub fn last_settled(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        state.flights.is_empty().then_some(state.last)
    }

    /// Runs `look` while no transaction is between taking its timestamp and its end: what it sees is exactly what was
    /// done up to the timestamp returned. Transactions that are about to commit wait for it.
    pub fn settled<T>(&self, look: impl FnOnce() -> T) -> (Timestamp, T) {
        let mut state = self.state.lock();
        state.settling += 1;
        while !state.flights.is_empty() {
            self.calm.wait(&mut state);
        }
        state.settling -= 1;
        let seen = look();
        let last = state.last;
        drop(state);
        self.calm.notify_all();
        (last, seen)
    }

    /// Moves on to at least this time, which a client has seen elsewhere (`$clusterTime`).
    pub fn advance_to(&self, ts: Timestamp) {
        let mut state = self.state.lock();
        state.last = state.last.max(ts);
    }

    /// The newest timestamp such that no older one is still in flight.
    pub fn visible(&self) -> Timestamp {
        let state = self.state.lock();
        match state.flights.front() {
            Some(oldest) => Timestamp::from_u64(oldest.ts.to_u64() - 1),
            None => state.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_landed_behind_another_is_visible_when_that_has_landed() {
        let clock = Clock::default();
        let (first, second) = (clock.take(true).ts, clock.take(true).ts);
        assert!(matches!(clock.done(&[second], Touched::Everything), Touched::Nothing));
        assert!(clock.visible() < first);
        assert!(clock.last_settled().is_none());
        assert!(matches!(clock.done(&[first], Touched::Nothing), Touched::Everything));
        assert_eq!(clock.visible(), second);
        assert_eq!(clock.last_settled(), Some(second));
    }

    #[test]
    fn who_looks_at_a_settled_moment_waits_for_those_in_flight() {
        let clock = std::sync::Arc::new(Clock::default());
        let ts = [clock.take(true).ts, clock.take(false).ts];
        let looker = std::thread::spawn({
            let clock = clock.clone();
            move || clock.settled(|| clock.state.is_locked())
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!looker.is_finished());
        clock.done(&ts, Touched::Nothing);
        let (at, locked) = looker.join().unwrap();
        assert!(locked && at >= ts[1]);
        assert!(clock.take(true).ts > at);
    }
}
