//! Those who wait for changes: getMores of change streams and tailable cursors. A commit wakes those it concerns and nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::data::catalog::Collection;
use crate::data::namespace::Ns;

/// What somebody waits for changes of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    Collection(Ns),
    Database(String),
    Everything,
}

/// What a transaction changed.
#[derive(Default)]
pub enum Touched {
    #[default]
    Nothing,
    Collections(Vec<Arc<Collection>>),
    /// Data definition, or nobody has asked when it could be told.
    Everything,
}

impl Touched {
    pub fn add(&mut self, other: Touched) {
        match (&mut *self, other) {
            (Touched::Collections(all), Touched::Collections(more)) => all.extend(more),
            (_, Touched::Nothing) | (Touched::Everything, _) => {}
            (_, other) => *self = other,
        }
    }
}

#[derive(Default)]
pub struct Watchers {
    /// How many there are: commits look at nothing else while there are none.
    count: AtomicUsize,
    waiting: Mutex<HashMap<Interest, Vec<Arc<Waiter>>>>,
}

#[derive(Default)]
struct Waiter {
    woken: Mutex<bool>,
    changed: Condvar,
}

/// One who waits, until it is dropped.
pub struct Watcher<'w> {
    watchers: &'w Watchers,
    interest: Interest,
    waiter: Arc<Waiter>,
}

impl Watchers {
    /// From here on changes are noticed: what was changed before is to be looked for after this.
    pub fn watch(&self, interest: Interest) -> Watcher<'_> {
        let waiter = Arc::<Waiter>::default();
        self.waiting.lock().entry(interest.clone()).or_default().push(waiter.clone());
        self.count.fetch_add(1, Ordering::SeqCst);
        Watcher { watchers: self, interest, waiter }
    }

    pub fn none(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Wakes those whom a visible change concerns.
    pub fn wake(&self, touched: &Touched) {
        if matches!(touched, Touched::Nothing) || self.none() {
            return;
        }
        let waiting = self.waiting.lock();
        let wake = |interest: &Interest| waiting.get(interest).into_iter().flatten().for_each(|w| w.wake());
        match touched {
            Touched::Nothing => {}
            Touched::Everything => waiting.values().flatten().for_each(|w| w.wake()),
            Touched::Collections(all) => {
                wake(&Interest::Everything);
                for coll in all {
                    wake(&Interest::Collection(coll.ns.clone()));
                    wake(&Interest::Database(coll.ns.db().to_owned()));
                }
            }
        }
    }

    /// Wakes everybody, to look whether they were killed.
    pub fn wake_all(&self) {
        self.wake(&Touched::Everything);
    }
}

impl Waiter {
    fn wake(&self) {
        let mut woken = self.woken.lock();
        if !*woken {
            *woken = true;
            self.changed.notify_one();
        }
    }
}

impl Watcher<'_> {
    /// Sleeps until something of interest happened since the last call, or `until`.
    pub fn wait(&self, until: Instant) {
        let mut woken = self.waiter.woken.lock();
        while !*woken {
            if self.waiter.changed.wait_until(&mut woken, until).timed_out() {
                break;
            }
        }
        *woken = false;
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut waiting = self.watchers.waiting.lock();
        if let Some(list) = waiting.get_mut(&self.interest) {
            list.retain(|w| !Arc::ptr_eq(w, &self.waiter));
            if list.is_empty() {
                waiting.remove(&self.interest);
            }
        }
        self.watchers.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_was_woken_before_it_sleeps_does_not_sleep() {
        let watchers = Watchers::default();
        assert!(watchers.none());
        let watcher = watchers.watch(Interest::Everything);
        watchers.wake_all();
        let begun = Instant::now();
        watcher.wait(begun + Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(30));
        drop(watcher);
        assert!(watchers.none() && watchers.waiting.lock().is_empty());
    }
}
