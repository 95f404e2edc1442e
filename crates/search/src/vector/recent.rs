//! What the graph cannot vouch for in a reader's snapshot.
//!
//! The graph holds for each record the newest row that was applied to it; a reader may have an older snapshot, or one with a commit in it
//! that the graph does not have yet. So writers and the thread that applies their changes to the graph tell [`Recent`]:
//!
//! 1. Before a transaction commits in storage its records *enter*. After it they *land* with the commit's timestamp, or *leave* if it failed.
//! 2. What has landed is pending until it is in the graph: [`Recent::next`] gives it out, [`Recent::applied`] is told.
//! 3. A reader notes `seen`, up to which all commits are in every snapshot from now on, **before** its snapshot begins. It holds the graph
//!    ([`Graph::read`](super::Graph::read)) when it asks for [`Recent::view`], until it has its answer; so nothing is applied meanwhile.
//!
//! A commit that the snapshot may contain has entered before. So its record is doubtful, unless all of the record's commits have
//! timestamps up to `seen`: then the pending row, or else the graph, has the newest of them, which is the snapshot's.
//! Doubtful records are read in the snapshot.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How many applied changes are remembered.
const REMEMBERED: usize = 16_384;
/// How much may be pending before those who commit must help.
const PENDING_ROWS: usize = 20_000;
const PENDING_BYTES: usize = 64 << 20;

/// A row's bytes as the caller has them, or nothing where the record has no row any more.
pub type RowBytes = Option<Arc<[u8]>>;

/// A change that has landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub record: i64,
    pub timestamp: u64,
    pub row: RowBytes,
}

/// See the [module](self). Its owner keeps it under a mutex beside the graph.
#[derive(Debug)]
pub struct Recent {
    /// How many transactions that are committing have written a record.
    in_flight: HashMap<i64, u32>,
    pending: HashMap<i64, (u64, RowBytes)>,
    /// The same by time.
    waiting: BTreeSet<(u64, i64)>,
    pending_bytes: usize,
    applied: HashMap<i64, u64>,
    by_time: BTreeSet<(u64, i64)>,
    /// The newest change that has been forgotten.
    horizon: u64,
    remembered: usize,
}

/// What a reader needs to know beside the graph.
#[derive(Debug, Default)]
pub struct RecentView {
    /// Records to read in the snapshot, whatever the graph says.
    pub doubtful: HashSet<i64>,
    /// Rows that stand for the graph's, if it has any; of records that are not doubtful.
    pub pending: HashMap<i64, RowBytes>,
}

impl RecentView {
    /// Whether the graph's row of a record is the snapshot's.
    pub fn graph_knows(&self, record: i64) -> bool {
        !self.doubtful.contains(&record) && !self.pending.contains_key(&record)
    }

    /// Whether reading the doubtful ones costs more than to scan all of `n` rows at once.
    pub fn is_too_much(&self, n: usize) -> bool {
        self.doubtful.len() > (n / 50).max(2000)
    }
}

impl Recent {
    /// For a graph of the rows as they were at `loaded`. It must be told of everything that commits from before that moment on.
    pub fn new(loaded: u64) -> Self {
        Recent {
            in_flight: HashMap::new(),
            pending: HashMap::new(),
            waiting: BTreeSet::new(),
            pending_bytes: 0,
            applied: HashMap::new(),
            by_time: BTreeSet::new(),
            horizon: loaded,
            remembered: REMEMBERED,
        }
    }

    /// A transaction that wrote these records is about to commit.
    pub fn enter(&mut self, records: impl IntoIterator<Item = i64>) {
        for record in records {
            *self.in_flight.entry(record).or_default() += 1;
        }
    }

    /// It did not: nothing has changed.
    pub fn leave(&mut self, records: impl IntoIterator<Item = i64>) {
        for record in records {
            if let Some(count) = self.in_flight.get_mut(&record) {
                *count -= 1;
                if *count == 0 {
                    self.in_flight.remove(&record);
                }
            }
        }
    }

    /// It did. Threads come here in any order: of two changes of a record the one with the newer timestamp stays.
    pub fn land(&mut self, change: Change) {
        let Change { record, timestamp, row } = change;
        let older = |other: Option<&u64>| other.is_none_or(|other| *other < timestamp);
        if older(self.applied.get(&record)) && older(self.pending.get(&record).map(|(at, _)| at)) {
            self.pending_bytes += bytes(&row);
            self.waiting.insert((timestamp, record));
            if let Some((before, row)) = self.pending.insert(record, (timestamp, row)) {
                self.waiting.remove(&(before, record));
                self.pending_bytes -= bytes(&row);
            }
        }
        self.leave([record]);
    }

    /// The oldest change that is pending; it stays so until it is said to be applied.
    pub fn next(&self) -> Option<Change> {
        let (timestamp, record) = self.waiting.first()?;
        let (_, row) = self.pending.get(record)?;
        Some(Change { record: *record, timestamp: *timestamp, row: row.clone() })
    }

    /// The graph has a change now. Another one of the record may have landed meanwhile and is pending still.
    pub fn applied(&mut self, record: i64, timestamp: u64) {
        if self.waiting.remove(&(timestamp, record))
            && let Some((_, row)) = self.pending.remove(&record)
        {
            self.pending_bytes -= bytes(&row);
        }
        if let Some(before) = self.applied.get(&record).copied() {
            if before >= timestamp {
                return;
            }
            self.by_time.remove(&(before, record));
        }
        self.applied.insert(record, timestamp);
        self.by_time.insert((timestamp, record));
        self.forget();
    }

    /// Forgets the oldest beyond what is remembered, but no record that is in flight: what lands of it may be older than what was applied.
    fn forget(&mut self) {
        while self.by_time.len() > self.remembered {
            let old = self.by_time.iter().find(|(_, record)| !self.in_flight.contains_key(record)).copied();
            let Some((timestamp, record)) = old else { return };
            self.by_time.remove(&(timestamp, record));
            self.applied.remove(&record);
            self.horizon = self.horizon.max(timestamp);
        }
    }

    /// Whether those who commit must apply changes themselves, because the applier does not keep up.
    pub fn is_full(&self) -> bool {
        self.pending.len() > PENDING_ROWS || self.pending_bytes > PENDING_BYTES
    }

    /// How many changes are pending.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// What a reader must know whose snapshot has all commits up to `seen`, and which wrote `own` itself. `None` if it is older than what
    /// is remembered: then only the rows are right.
    pub fn view(&self, seen: u64, own: impl IntoIterator<Item = i64>) -> Option<RecentView> {
        if seen < self.horizon {
            return None;
        }
        let Some(after) = seen.checked_add(1) else { return Some(RecentView::default()) };
        let newer = |times: &BTreeSet<(u64, i64)>| times.range((after, i64::MIN)..).map(|(_, record)| *record).collect::<Vec<_>>();
        let mut doubtful: HashSet<i64> = self.in_flight.keys().copied().collect();
        doubtful.extend(newer(&self.waiting));
        doubtful.extend(newer(&self.by_time));
        doubtful.extend(own);
        let known = self.pending.iter().filter(|(record, _)| !doubtful.contains(record));
        let pending = known.map(|(record, (_, row))| (*record, row.clone())).collect();
        Some(RecentView { doubtful, pending })
    }
}

fn bytes(row: &RowBytes) -> usize {
    row.as_ref().map_or(0, |row| row.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transaction that has entered; committed under a timestamp, or not yet.
    struct Writer {
        record: i64,
        value: Option<u8>,
        committed: Option<u64>,
    }

    fn row(value: Option<u8>) -> RowBytes {
        value.map(|value| Arc::from([value]))
    }

    /// Writers, the applier and readers take steps in a random order; what is not doubtful must be what the snapshot has.
    fn run(seed: u64, remembered: usize) -> (usize, usize) {
        let mut state = seed;
        let mut below = |n: usize| {
            state = super::super::mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            (state % n as u64) as usize
        };
        const RECORDS: i64 = 12;
        let mut recent = Recent { remembered, ..Recent::new(0) };
        let mut clock = 0;
        let mut writers: Vec<Writer> = Vec::new();
        // Each record's values with the timestamps they have been committed under.
        let mut storage: HashMap<i64, Vec<(u64, Option<u8>)>> = HashMap::new();
        let mut graph: HashMap<i64, Option<u8>> = HashMap::new();
        let mut applying: Option<Change> = None;
        let (mut vouched, mut refused) = (0, 0);
        // Snapshots that are kept open: all up to `seen` and, being later, all up to the second.
        let mut readers: Vec<(u64, u64)> = vec![(0, 0)];
        for _ in 0..400 {
            match below(8) {
                0 | 1 => {
                    let record = below(RECORDS as usize) as i64;
                    // In storage a second transaction conflicts with one that has not committed.
                    if !writers.iter().any(|w| w.record == record && w.committed.is_none()) {
                        recent.enter([record]);
                        writers.push(Writer { record, value: (below(4) > 0).then(|| below(250) as u8), committed: None });
                    }
                }
                2 if !writers.is_empty() => {
                    let n = below(writers.len());
                    let writer = &mut writers[n];
                    if writer.committed.is_none() {
                        clock += 1;
                        writer.committed = Some(clock);
                        storage.entry(writer.record).or_default().push((clock, writer.value));
                    }
                }
                3 | 4 if !writers.is_empty() => {
                    let n = below(writers.len());
                    let Writer { record, value, committed } = writers.swap_remove(n);
                    match committed {
                        Some(timestamp) => recent.land(Change { record, timestamp, row: row(value) }),
                        None => recent.leave([record]),
                    }
                }
                5 => match applying.take() {
                    None => {
                        applying = recent.next();
                        if let Some(change) = &applying {
                            graph.insert(change.record, change.row.as_ref().map(|row| row[0]));
                        }
                    }
                    Some(change) => recent.applied(change.record, change.timestamp),
                },
                6 => {
                    // The snapshot begins a little after `seen` was noted.
                    readers.push((clock - below(clock.min(2) as usize + 1) as u64, clock));
                }
                _ => {
                    let (seen, snapshot) = readers[below(readers.len())];
                    let Some(view) = recent.view(seen, [3]) else {
                        refused += 1;
                        continue;
                    };
                    assert!(view.doubtful.contains(&3));
                    for record in 0..RECORDS {
                        let versions = storage.get(&record).map_or(&[][..], Vec::as_slice);
                        let truth = versions.iter().rev().find(|(at, _)| *at <= snapshot).and_then(|(_, value)| *value);
                        if view.graph_knows(record) {
                            assert_eq!(graph.get(&record).copied().flatten(), truth, "seed {seed}: the graph's row of {record}");
                            vouched += 1;
                        } else if let Some(row) = view.pending.get(&record) {
                            assert_eq!(row.as_ref().map(|row| row[0]), truth, "seed {seed}: the pending row of {record}");
                            vouched += 1;
                        }
                    }
                }
            }
        }
        (vouched, refused)
    }

    #[test]
    fn what_is_not_doubtful_is_what_the_snapshot_has() {
        let (mut vouched, mut refused) = (0, 0);
        for seed in 0..3000 {
            let (v, r) = run(seed, [3, 8, 100][seed as usize % 3]);
            vouched += v;
            refused += r;
        }
        assert!(vouched > 100_000 && refused > 1000, "{vouched} rows were vouched for, {refused} snapshots were too old");
    }

    #[test]
    fn it_says_when_it_is_full_and_forgets_what_was_applied() {
        let mut recent = Recent::new(5);
        assert!(recent.view(4, []).is_none());
        for n in 0..=PENDING_ROWS as i64 {
            assert!(!recent.is_full());
            recent.enter([n]);
            recent.land(Change { record: n, timestamp: 6 + n as u64, row: None });
        }
        assert!(recent.is_full());
        assert!(recent.view(5, []).unwrap().is_too_much(100_000));
        while let Some(change) = recent.next() {
            recent.applied(change.record, change.timestamp);
        }
        assert!(recent.is_empty() && recent.pending_bytes == 0 && recent.in_flight.is_empty());
        assert_eq!((recent.by_time.len(), recent.applied.len()), (REMEMBERED, REMEMBERED));
        let dropped = (PENDING_ROWS + 1 - REMEMBERED) as u64 + 5;
        assert_eq!(recent.horizon, dropped);
        assert!(recent.view(dropped, []).is_some() && recent.view(dropped - 1, []).is_none());
        assert!(recent.view(u64::MAX, []).unwrap().doubtful.is_empty());
        // Eight large rows are full, too, and one record's newest row is all that counts of it.
        for n in 0..9 {
            recent.enter([7]);
            recent.land(Change { record: 7, timestamp: 1_000_000 + n, row: Some(Arc::from(vec![0; 8 << 20])) });
        }
        assert!(!recent.is_full() && recent.len() == 1);
    }
}
