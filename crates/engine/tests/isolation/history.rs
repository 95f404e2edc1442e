//! What clients did and saw: histories of list-append transactions.

pub type Key = u32;
/// Appended once in a history, so that it names its append.
pub type Element = i64;

#[derive(Clone, Debug)]
pub enum Op {
    Append(Key, Element),
    Read(Key, Vec<Element>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    /// The answer to the commit was lost: its elements tell, where somebody read them.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Txn {
    pub ops: Vec<Op>,
    pub outcome: Outcome,
    /// Instants on a clock that all clients share: before the first command left, after the last answer came.
    pub began: u64,
    pub ended: u64,
}
