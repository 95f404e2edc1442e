//! Logins that failed: who tries many passwords waits. Nobody is shut out by a name alone, or anybody could shut out others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::principals::Principal;
use crate::data::limits;
use crate::service::command::Way;

#[derive(Default)]
pub struct Attempts {
    counts: Mutex<Counts>,
    /// Names may be long, and whoever fails chooses them: only their hashes are kept, of a kind that nobody can foresee.
    hasher: RandomState,
}

#[derive(Default)]
struct Counts {
    /// By address, and by address and name.
    failed: HashMap<u64, Count>,
}

struct Count {
    n: u32,
    since: Instant,
    last: Instant,
}

/// What a login that is tried meets.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Try,
    /// Not even looked at.
    Refuse,
}

impl Attempts {
    /// To be asked before a login is tried.
    pub fn may_try(&self, from: Way, who: &Principal) -> Verdict {
        self.may_try_at(from, who, Instant::now())
    }

    /// A login failed; how long its answer is to wait.
    pub fn failed(&self, from: Way, who: &Principal) -> Duration {
        self.failed_at(from, who, Instant::now())
    }

    /// A login succeeded: whoever it is knows the password.
    pub fn succeeded(&self, from: Way, who: &Principal) {
        self.counts.lock().failed.remove(&self.key(from, Some(who)));
    }

    fn may_try_at(&self, from: Way, who: &Principal, now: Instant) -> Verdict {
        match self.counts.lock().failed.get(&self.key(from, Some(who))) {
            Some(count) if count.n >= limits::FAILED_LOGINS_REFUSED && now.duration_since(count.last) < limits::LOGIN_REFUSED_FOR => Verdict::Refuse,
            _ => Verdict::Try,
        }
    }

    fn failed_at(&self, from: Way, who: &Principal, now: Instant) -> Duration {
        let mut counts = self.counts.lock();
        let of_name = counts.count(self.key(from, Some(who)), limits::FAILED_LOGINS_FOR, now);
        let of_address = counts.count(self.key(from, None), Duration::from_secs(60), now);
        if of_address > limits::FAILED_LOGINS_OF_ADDRESS {
            return limits::FAILED_LOGIN_DELAY_MOST;
        }
        match of_name.checked_sub(limits::FAILED_LOGINS_FREE + 1) {
            Some(n) => (limits::FAILED_LOGIN_DELAY * 2u32.pow(n.min(8))).min(limits::FAILED_LOGIN_DELAY_MOST),
            None => Duration::ZERO,
        }
    }

    /// Every connection of a client has a port of its own, which does not matter.
    fn key(&self, from: Way, who: Option<&Principal>) -> u64 {
        let address = match from {
            Way::Ip { from, .. } => Some(from),
            Way::Socket | Way::Process => None,
        };
        self.hasher.hash_one((address, who))
    }
}

impl Counts {
    /// Counts one more; how many there are within the time.
    fn count(&mut self, key: u64, within: Duration, now: Instant) -> u32 {
        if self.failed.len() >= limits::FAILED_LOGINS_KEPT && !self.failed.contains_key(&key) {
            self.make_room();
        }
        let count = self.failed.entry(key).or_insert(Count { n: 0, since: now, last: now });
        if now.duration_since(count.since) > within {
            (count.n, count.since) = (0, now);
        }
        count.n = count.n.saturating_add(1);
        count.last = now;
        count.n
    }

    /// The older half goes.
    fn make_room(&mut self) {
        let mut last: Vec<Instant> = self.failed.values().map(|count| count.last).collect();
        let middle = last.len() / 2;
        let median = *last.select_nth_unstable(middle).1;
        self.failed.retain(|_, count| count.last > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Way {
        Way::Ip { from: address.parse().unwrap(), to: "127.0.0.1".parse().unwrap() }
    }

    #[test]
    fn many_failures_wait_and_then_are_refused() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let (ann, bob) = (Principal::new("ann", "d"), Principal::new("bob", "d"));
        let delays: Vec<u64> = (0..9).map(|_| attempts.failed_at(from("10.0.0.1"), &ann, start).as_millis() as u64).collect();
        assert_eq!(delays, [0, 0, 0, 100, 200, 400, 800, 1000, 1000]);
        (9..20).for_each(|_| {
            attempts.failed_at(from("10.0.0.1"), &ann, start);
        });
        assert_eq!(attempts.may_try_at(from("10.0.0.1"), &ann, start), Verdict::Refuse);
        // Others, and the same from elsewhere, may.
        assert_eq!(attempts.may_try_at(from("10.0.0.1"), &bob, start), Verdict::Try);
        assert_eq!(attempts.may_try_at(from("10.0.0.2"), &ann, start), Verdict::Try);
        assert_eq!(attempts.may_try_at(from("10.0.0.1"), &ann, start + limits::LOGIN_REFUSED_FOR), Verdict::Try);
        // Later the count begins anew.
        assert_eq!(attempts.failed_at(from("10.0.0.1"), &ann, start + 2 * limits::FAILED_LOGINS_FOR), Duration::ZERO);
        attempts.succeeded(from("10.0.0.1"), &ann);
        assert_eq!(attempts.failed_at(from("10.0.0.1"), &ann, start), Duration::ZERO);
    }

    #[test]
    fn an_address_that_tries_many_names_waits() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let name = |n: u32| Principal::new(&n.to_string(), "d");
        for n in 0..limits::FAILED_LOGINS_OF_ADDRESS {
            assert_eq!(attempts.failed_at(from("10.0.0.1"), &name(n), start), Duration::ZERO);
        }
        assert_eq!(attempts.failed_at(from("10.0.0.1"), &name(1000), start), limits::FAILED_LOGIN_DELAY_MOST);
        assert_eq!(attempts.failed_at(from("10.0.0.2"), &name(1000), start), Duration::ZERO);
    }

    #[test]
    fn counters_are_bounded() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for n in 0..limits::FAILED_LOGINS_KEPT as u64 + 10 {
            attempts.failed_at(from("10.0.0.1"), &Principal::new(&n.to_string(), "d"), start + Duration::from_micros(n));
        }
        assert!(attempts.counts.lock().failed.len() <= limits::FAILED_LOGINS_KEPT);
    }
}
