//! The checker itself: histories made by hand, each with the anomaly it must find, and sound ones.

use crate::checker::{Kind, check};
use crate::history::{Key, Op, Outcome, Txn};

/// Transactions as text: `a1` appends 1 to list a, `ra[1,2]` reads it. `!` in front aborts, `?` leaves the outcome unknown.
/// All run at the same time, but for those behind a `|`, which begin when the others have ended.
fn history(texts: &[&str]) -> Vec<Txn> {
    let mut shift = 0;
    let mut txns = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let mut rest = *text;
        if let Some(later) = rest.strip_prefix('|') {
            (rest, shift) = (later, shift + 1000);
        }
        let (outcome, rest) = match rest.as_bytes().first() {
            Some(b'!') => (Outcome::Aborted, &rest[1..]),
            Some(b'?') => (Outcome::Unknown, &rest[1..]),
            _ => (Outcome::Committed, rest),
        };
        let ops = rest.split_whitespace().map(op).collect();
        txns.push(Txn { ops, outcome, began: shift + n as u64, ended: shift + 500 + n as u64 });
    }
    txns
}

fn op(text: &str) -> Op {
    let key = |c: &str| Key::from(c.as_bytes()[0]);
    match text.strip_prefix('r') {
        Some(read) => {
            let list = read[2..].trim_end_matches(']').split(',').filter(|e| !e.is_empty());
            Op::Read(key(read), list.map(|e| e.parse().unwrap()).collect())
        }
        None => Op::Append(key(text), text[1..].parse().unwrap()),
    }
}

fn kinds(texts: &[&str]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(&history(texts)).into_iter().map(|a| a.kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn sound_histories_pass() {
    for sound in [
        &["a1 b1", "ra[1] rb[1]", "ra[] rb[]"][..],
        &["a1", "ra[1] a2 ra[1,2]", "|ra[1,2]"],
        &["a1 a2", "ra[1,2]", "!a3", "?a4", "?b1", "rb[1]"],
        // Write skew: two `rw` in a row, which snapshot isolation allows.
        &["ra[] b1", "rb[] a1", "|ra[1] rb[1]"],
        // The anomaly of read-only transactions (Fekete and others), allowed too.
        &["ra[] rb[] a1", "rb[] b1", "ra[] rb[1]", "|ra[1] rb[1]"],
        &["?a1 b1", "ra[] rb[]"],
    ] {
        assert_eq!(kinds(sound), [], "{sound:?}");
    }
}

#[test]
fn each_anomaly_is_found() {
    for (kind, texts) in [
        (Kind::Internal, &["a1 ra[]"][..]),
        (Kind::Internal, &["a1", "ra[] ra[1]"]),
        (Kind::Internal, &["a1", "ra[1] a2 ra[2]"]),
        (Kind::Garbage, &["ra[7]"]),
        (Kind::Duplicate, &["a1", "ra[1,1]"]),
        (Kind::IncompatibleOrder, &["a1", "a2", "ra[1,2]", "ra[2]"]),
        (Kind::AbortedRead, &["!a1", "ra[1]"]),
        (Kind::IntermediateRead, &["a1 a2", "ra[1]", "ra[1,2]"]),
        (Kind::LostUpdate, &["ra[] a1", "ra[] a2", "|ra[1,2]"]),
        (Kind::G0, &["a1 b1", "a2 b2", "ra[1,2]", "rb[2,1]"]),
        (Kind::G1c, &["a1 rb[1]", "b1 ra[1]"]),
        (Kind::G1c, &["a1 rb[1]", "b1 a2", "ra[1,2]"]),
        // A torn transaction: half of it was seen.
        (Kind::GSingle, &["a1 b1", "ra[1] rb[]", "|ra[1] rb[1]"]),
        (Kind::GSingle, &["a1 b1", "ra[1] rb[]"]),
        // An acknowledged append that a later reader misses, and one that comes behind a later one.
        (Kind::GSingle, &["a1", "|ra[]"]),
        (Kind::G0, &["a1", "|a2", "|ra[2]"]),
        // A long fork: two readers disagree about what came first.
        (Kind::GNonadjacent, &["a1", "b1", "ra[1] rb[]", "ra[] rb[1]"]),
    ] {
        assert!(kinds(texts).contains(&kind), "{texts:?}: {kind:?} is not in {:?}", kinds(texts));
    }
}

#[test]
fn real_time_counts_for_acknowledged_transactions_only() {
    assert_eq!(kinds(&["?a1", "|ra[]"]), []);
    assert_eq!(kinds(&["!a1", "|ra[]"]), []);
    assert_eq!(kinds(&["?a1", "|ra[1]"]), []);
}
