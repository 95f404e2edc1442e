//! What programs know of the operation that runs them, where nothing can be handed down to them: loops deep in the language ask whether
//! it is to end ([`tick`]), and validators, which outlive the command they were compiled in, what time it is ([`RunningClock`]).
//!
//! The engine says so when a command begins ([`enter`]); an operation stays on its thread.

use std::cell::{Cell, RefCell};

use smongo_bson::{Result, Timestamp};

use crate::cx::Clock;

/// So many rounds go by between two looks at the clock. A round takes from nanoseconds to a millisecond.
const ROUNDS: u32 = 512;

/// An operation to the programs it runs.
pub struct Operation {
    /// Fails when the operation was killed or its time is over.
    pub check: Box<dyn Fn() -> Result<()>>,
    /// `$$NOW` and `$$CLUSTER_TIME`, which are the same for all of a command.
    pub now: i64,
    pub cluster_time: Timestamp,
}

thread_local! {
    static OPERATION: RefCell<Option<Operation>> = const { RefCell::new(None) };
    static LEFT: Cell<u32> = const { Cell::new(ROUNDS) };
}

/// Puts back the operation that ran before.
pub struct Entered(Option<Operation>);

impl Drop for Entered {
    fn drop(&mut self) {
        OPERATION.with(|o| o.replace(self.0.take()));
    }
}

/// Says what runs on this thread until the guard is dropped.
pub fn enter(operation: Operation) -> Entered {
    Entered(OPERATION.with(|o| o.replace(Some(operation))))
}

/// One round of a loop: now and then it fails because the operation was killed or its time is over.
#[inline]
pub fn tick() -> Result<()> {
    LEFT.with(|left| match left.get() {
        0 => {
            left.set(ROUNDS);
            OPERATION.with(|o| o.borrow().as_ref().map_or(Ok(()), |running| (running.check)()))
        }
        n => {
            left.set(n - 1);
            Ok(())
        }
    })
}

/// The time of the command that runs; the beginning of time where none does.
pub struct RunningClock;

impl Clock for RunningClock {
    fn now(&self) -> i64 {
        OPERATION.with(|o| o.borrow().as_ref().map_or(0, |running| running.now))
    }
    fn cluster_time(&self) -> Timestamp {
        OPERATION.with(|o| o.borrow().as_ref().map_or(Timestamp::default(), |running| running.cluster_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smongo_bson::bail;

    fn operation(now: i64, killed: bool) -> Operation {
        Operation { check: Box::new(move || if killed { bail!(Interrupted, "killed") } else { Ok(()) }), now, cluster_time: Timestamp::default() }
    }

    #[test]
    fn a_loop_ends_when_its_operation_does() {
        let rounds = || (0..2 * ROUNDS).try_for_each(|_| tick());
        assert!(rounds().is_ok() && RunningClock.now() == 0);
        let outer = enter(operation(1, true));
        assert!(rounds().is_err());
        let inner = enter(operation(2, false));
        assert!(rounds().is_ok() && RunningClock.now() == 2);
        drop(inner);
        assert!(rounds().is_err() && RunningClock.now() == 1);
        drop(outer);
        assert!(rounds().is_ok());
    }
}
