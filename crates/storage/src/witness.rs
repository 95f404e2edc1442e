//! Which tables a thread reads and writes, noted where somebody asks: tests hold it against what a command was let through for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::table::Table;

/// The names of tables that were read or written, and whether they were written.
pub type Touched = BTreeMap<String, bool>;

thread_local! {
    static ASKED: Cell<bool> = const { Cell::new(false) };
    static TOUCHED: RefCell<Touched> = const { RefCell::new(Touched::new()) };
}

/// Runs something and tells what it touched on this thread. What a panic leaves behind belongs to nobody.
pub fn watch<T>(run: impl FnOnce() -> T) -> (T, Touched) {
    TOUCHED.take();
    ASKED.set(true);
    let done = run();
    ASKED.set(false);
    (done, TOUCHED.take())
}

/// Each access passes here, so it must cost nothing where nobody asks.
#[inline]
pub(crate) fn note(table: &Table, writes: bool) {
    if ASKED.get() {
        note_now(table, writes);
    }
}

#[cold]
fn note_now(table: &Table, writes: bool) {
    TOUCHED.with_borrow_mut(|touched| *touched.entry(table.name().to_owned()).or_default() |= writes);
}
