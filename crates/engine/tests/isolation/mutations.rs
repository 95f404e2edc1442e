//! Real histories, each broken at one place as a database with that fault would have answered: the checker must see it.

use std::collections::HashMap;

use crate::checker::{Kind, check};
use crate::history::{Element, Key, Op, Outcome, Txn};
use crate::record;
use crate::workload::{Plan, Random};

/// Makes a fault somewhere in a history; `None` where the history has no place for it.
type Break = fn(&mut Vec<Txn>, &mut Random) -> Option<()>;

/// Of the cycles in a history the checker names a shortest one, which may pass elsewhere than through the fault.
const CYCLES: &[Kind] = &[Kind::G0, Kind::G1c, Kind::GSingle, Kind::GNonadjacent];

/// Each with the anomalies of which it must make one.
const BREAKS: &[(&[Kind], Break)] = &[
    (&[Kind::LostUpdate], lost_update),
    (&[Kind::AbortedRead], aborted_read),
    (&[Kind::IntermediateRead], intermediate_read),
    (&[Kind::G1c], circular_information),
    (CYCLES, fractured_read),
    (CYCLES, lost_commit),
    (&[Kind::IncompatibleOrder], swapped),
    (&[Kind::Internal], unrepeatable_read),
];

#[test]
fn a_real_history_that_was_broken_is_found_out() {
    let mut found: HashMap<usize, usize> = HashMap::new();
    for seed in 0..12 {
        let history = record(Plan { threads: 8, ..Plan::random(seed, 200, false) }, false);
        assert!(check(&history).is_empty(), "{:?}", check(&history));
        for (n, (expected, break_it)) in BREAKS.iter().enumerate() {
            for round in 0..5 {
                let mut broken = history.clone();
                if break_it(&mut broken, &mut Random(seed << 8 | round)).is_some() {
                    let kinds: Vec<Kind> = check(&broken).iter().map(|a| a.kind).collect();
                    assert!(kinds.iter().any(|kind| expected.contains(kind)), "break {n} of history {seed}: {kinds:?} has none of {expected:?}");
                    *found.entry(n).or_default() += 1;
                }
            }
        }
    }
    for n in 0..BREAKS.len() {
        assert!(found.get(&n).is_some_and(|times| *times >= 20), "break {n} had too few places: {found:?}");
    }
}

/// Who appended an element.
fn writers(history: &[Txn]) -> HashMap<Element, usize> {
    let appends = history.iter().enumerate().flat_map(|(t, txn)| {
        txn.ops.iter().filter_map(move |op| match op {
            Op::Append(_, element) => Some((*element, t)),
            Op::Read(..) => None,
        })
    });
    appends.collect()
}

/// A read of a committed transaction that had not appended to its key: transaction, place in it, key and list.
fn plain_reads(history: &[Txn]) -> Vec<(usize, usize, Key, Vec<Element>)> {
    let mut reads = Vec::new();
    for (t, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Committed) {
        for (n, op) in txn.ops.iter().enumerate() {
            if let Op::Read(key, list) = op
                && appended(txn, *key).is_empty()
            {
                reads.push((t, n, *key, list.clone()));
            }
        }
    }
    reads
}

fn appended(txn: &Txn, key: Key) -> Vec<Element> {
    let append = |op: &Op| match op {
        Op::Append(k, element) if *k == key => Some(*element),
        _ => None,
    };
    txn.ops.iter().filter_map(append).collect()
}

fn pick<T>(mut places: Vec<T>, random: &mut Random) -> Option<T> {
    (!places.is_empty()).then(|| places.swap_remove(random.below(places.len())))
}

/// All reads of a key by one transaction, changed.
fn reread(txn: &mut Txn, key: Key, change: impl Fn(&mut Vec<Element>)) {
    for op in &mut txn.ops {
        if let Op::Read(k, list) = op
            && *k == key
        {
            change(list);
        }
    }
}

/// Of two transactions that changed a list one after the other, the later one read what the earlier one had read.
fn lost_update(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let writers = writers(history);
    let mut places = Vec::new();
    for (t, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Committed) {
        for op in &txn.ops {
            let Op::Read(key, list) = op else { continue };
            let own = appended(txn, *key);
            let before = list.iter().rev().find(|e| !own.contains(e)).and_then(|e| writers.get(e)).copied();
            if let Some(w) = before.filter(|_| !own.is_empty())
                && history[w].outcome == Outcome::Committed
                && history[w].ops.iter().any(|op| matches!(op, Op::Read(k, _) if k == key))
            {
                places.push((t, *key, appended(&history[w], *key)));
            }
        }
    }
    let (t, key, lost) = pick(places, random)?;
    reread(&mut history[t], key, |list| list.retain(|e| !lost.contains(e)));
    Some(())
}

/// G1a: somebody read what a transaction had appended that aborted.
fn aborted_read(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let aborted = history.iter().filter(|txn| txn.outcome == Outcome::Aborted).flat_map(|txn| &txn.ops);
    let appends = aborted.filter_map(|op| match op {
        Op::Append(key, element) => Some((*key, *element)),
        Op::Read(..) => None,
    });
    let (key, element) = pick(appends.collect(), random)?;
    let (t, ..) = pick(plain_reads(history).into_iter().filter(|read| read.2 == key).collect(), random)?;
    reread(&mut history[t], key, |list| list.push(element));
    Some(())
}

/// G1b: somebody read a list in the midst of a transaction's appends.
fn intermediate_read(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let writers = writers(history);
    let between = |(t, _, _, list): &(usize, usize, Key, Vec<Element>)| match list[..] {
        [.., before, last] => writers[&before] == writers[&last] && writers[&last] != *t,
        _ => false,
    };
    let (t, _, key, _) = pick(plain_reads(history).into_iter().filter(between).collect(), random)?;
    reread(&mut history[t], key, |list| list.truncate(list.len() - 1));
    Some(())
}

/// G1c: a transaction read what one appended that had read its own.
fn circular_information(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let writers = writers(history);
    let mut places = Vec::new();
    for (t, _, _, list) in plain_reads(history) {
        let Some(&w) = list.last().and_then(|e| writers.get(e)) else { continue };
        if w == t || history[w].outcome != Outcome::Committed {
            continue;
        }
        for (_, _, key, full) in plain_reads(history) {
            // Another list to which the reader appended, and with which the writer had nothing to do.
            let end = full.iter().rposition(|e| writers[e] == t);
            let strange = !history[w].ops.iter().any(|op| matches!(op, Op::Read(k, _) | Op::Append(k, _) if *k == key));
            if let Some(end) = end.filter(|_| strange) {
                places.push((w, key, full[..=end].to_vec()));
            }
        }
    }
    let (w, key, list) = pick(places, random)?;
    history[w].ops.push(Op::Read(key, list));
    Some(())
}

/// A transaction read one list with what another had appended, and a second list without it.
fn fractured_read(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let writers = writers(history);
    let reads = plain_reads(history);
    let last = |list: &[Element]| list.last().map(|e| writers[e]);
    let mut places = Vec::new();
    for (t, _, key, list) in &reads {
        let with = |(other, _, second, and): &&(usize, usize, Key, Vec<Element>)| other == t && second != key && last(and) == last(list);
        if let Some(w) = last(list).filter(|w| w != t && reads.iter().any(|read| with(&read))) {
            places.push((*t, *key, appended(&history[w], *key)));
        }
    }
    let (t, key, lost) = pick(places, random)?;
    reread(&mut history[t], key, |list| list.retain(|e| !lost.contains(e)));
    Some(())
}

/// What the last transaction to append to a list had done was gone when all was over, though it was acknowledged.
fn lost_commit(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let writers = writers(history);
    let end = history.len() - 1;
    let ended = |(t, _, _, list): &(usize, usize, Key, Vec<Element>)| {
        *t == end && list.last().is_some_and(|e| history[writers[e]].outcome == Outcome::Committed)
    };
    let (_, _, key, list) = pick(plain_reads(history).into_iter().filter(ended).collect(), random)?;
    let lost = appended(&history[writers[list.last()?]], key);
    reread(&mut history[end], key, |list| list.retain(|e| !lost.contains(e)));
    Some(())
}

/// Two readers saw two elements in different orders.
fn swapped(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let reads = plain_reads(history);
    let again = |read: &(usize, usize, Key, Vec<Element>)| {
        read.3.len() > 1 && reads.iter().any(|other| other.0 != read.0 && other.2 == read.2 && other.3.len() >= read.3.len())
    };
    let (t, _, key, _) = pick(reads.iter().filter(|r| again(r)).cloned().collect(), random)?;
    reread(&mut history[t], key, |list| {
        let n = list.len();
        list.swap(n - 1, n - 2);
    });
    Some(())
}

/// A transaction read a list twice, and an element more the second time.
fn unrepeatable_read(history: &mut Vec<Txn>, random: &mut Random) -> Option<()> {
    let reads = plain_reads(history).into_iter().filter(|read| !read.3.is_empty()).collect();
    let (t, n, key, mut list) = pick(reads, random)?;
    list.pop();
    history[t].ops.insert(n, Op::Read(key, list));
    Some(())
}
