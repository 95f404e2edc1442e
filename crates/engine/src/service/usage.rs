//! What commands did and how long they took: serverStatus's counters, and top's times of each collection.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use smongo_bson::{DocWriter, Value};

use crate::data::catalog::Catalog;
use crate::data::namespace::Ns;
use crate::data::tally::add;
use crate::service::command::{Command, Request, WRITES};

/// What serverStatus and top divide commands into; the order is theirs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Query,
    GetMore,
    Insert,
    Update,
    Delete,
    Command,
}

/// The kinds with their names in `opcounters` and in top.
const KINDS: [(Kind, &str, &str); 6] = [
    (Kind::Query, "query", "queries"),
    (Kind::GetMore, "getmore", "getmore"),
    (Kind::Insert, "insert", "insert"),
    (Kind::Update, "update", "update"),
    (Kind::Delete, "delete", "remove"),
    (Kind::Command, "command", "commands"),
];

impl Kind {
    pub const fn of(command: &str) -> Kind {
        match command.as_bytes() {
            b"find" => Kind::Query,
            b"getMore" => Kind::GetMore,
            b"insert" => Kind::Insert,
            b"update" => Kind::Update,
            b"delete" => Kind::Delete,
            _ => Kind::Command,
        }
    }

    /// As the profiler names it.
    pub fn op(self) -> &'static str {
        match self {
            Kind::Delete => "remove",
            kind => KINDS[kind as usize].1,
        }
    }

    /// The list that a write command brings: documents or statements.
    pub fn list(self) -> Option<&'static str> {
        match self {
            Kind::Insert => Some("documents"),
            Kind::Update => Some("updates"),
            Kind::Delete => Some("deletes"),
            _ => None,
        }
    }
}

/// How often, and how long in all.
#[derive(Clone, Copy, Default)]
struct Event {
    count: u64,
    micros: u64,
}

impl Event {
    fn add(&mut self, micros: u64) {
        self.count += 1;
        self.micros += micros;
    }

    fn write(self, name: &str, w: &mut DocWriter<'_>) {
        w.document(name).append("time", self.micros as i64).append("count", self.count as i64);
    }
}

/// Bounds of latency histograms: powers of two, from 2048 µs on with their halves between them.
const BUCKETS: usize = 51;

fn bucket(micros: u64) -> usize {
    let log = micros.max(1).ilog2() as usize;
    let at = match log {
        0..=10 => log,
        _ => 11 + 2 * (log - 11) + (micros >> (log - 1) & 1) as usize,
    };
    at.min(BUCKETS - 1)
}

/// The least latency of a bucket.
fn bound(bucket: usize) -> u64 {
    match bucket {
        0 => 0,
        1..=10 => 1 << bucket,
        _ => (2 + (bucket as u64 - 11) % 2) << (10 + (bucket - 11) / 2),
    }
}

/// What `$collStats` tells of reads or writes.
#[derive(Clone, Copy)]
struct Latencies {
    all: Event,
    histogram: [u32; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { all: Event::default(), histogram: [0; BUCKETS] }
    }
}

impl Latencies {
    fn add(&mut self, micros: u64) {
        self.all.add(micros);
        self.histogram[bucket(micros)] += 1;
    }

    fn write(&self, name: &str, histogram: bool, w: &mut DocWriter<'_>) {
        let mut w = w.document(name);
        if histogram {
            let mut list = w.array("histogram");
            for (n, count) in self.histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
                list.document().append("micros", bound(n) as i64).append("count", i64::from(*count));
            }
        }
        w.append("latency", self.all.micros as i64).append("ops", self.all.count as i64).append("queryableEncryptionLatencyMicros", 0i64);
    }
}

/// The events of one collection.
#[derive(Clone, Copy, Default)]
struct Times {
    kinds: [Event; 6],
    reads: Latencies,
    writes: Latencies,
}

/// Times of so many collections are kept without asking whether they exist.
const FEW: usize = 1000;

/// How often commands of a class ran, and how long in all.
#[derive(Default)]
struct Total {
    count: AtomicU64,
    micros: AtomicU64,
}

/// Classes of commands in `opLatencies`.
const CLASSES: [&str; 3] = ["reads", "writes", "commands"];

/// How often a command ran, and how often it failed.
#[derive(Default)]
struct Runs {
    total: AtomicU64,
    failed: AtomicU64,
}

/// The versions of TLS that there were, as serverStatus names them.
const TLS_VERSIONS: [&str; 5] = ["1.0", "1.1", "1.2", "1.3", "unknown"];

#[derive(Default)]
pub struct Usage {
    /// Statements by kind: documents of an insert, statements of an update or delete.
    statements: [AtomicU64; 6],
    totals: [Total; 3],
    /// The table of commands, and what is counted of each of them.
    table: &'static [Command],
    runs: Box<[Runs]>,
    pub failures: AtomicU64,
    pub requests: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// Connections by their version of TLS.
    encrypted: [AtomicU64; 5],
    collections: Mutex<HashMap<String, Times>>,
}

impl Usage {
    pub fn new(table: &'static [Command]) -> Usage {
        Usage { table, runs: table.iter().map(|_| Runs::default()).collect(), ..Usage::default() }
    }

    /// Counts a connection that has begun, if it is encrypted.
    pub fn encrypted(&self, version: Option<&str>) {
        let Some(version) = version else { return };
        let at = TLS_VERSIONS.iter().position(|known| *known == version).unwrap_or(TLS_VERSIONS.len() - 1);
        self.encrypted.iter().skip(at).take(1).for_each(|count| add(count, 1));
    }

    pub fn write_encrypted(&self, w: &mut DocWriter<'_>) {
        for (version, count) in TLS_VERSIONS.iter().zip(&self.encrypted) {
            w.append(version, count.load(Ordering::Relaxed) as i64);
        }
    }

    /// Counts a command that is over.
    pub fn record(&self, catalog: &Catalog, command: &Command, request: &Request<'_>, db: &str, elapsed: Duration, failed: bool) {
        let kind = command.kind;
        self.count(kind, statements(kind, request));
        if let Some(runs) = self.runs.get(place(self.table, command)) {
            add(&runs.total, 1);
            add(&runs.failed, u64::from(failed));
        }
        let Some(coll) = collection(kind, request) else {
            self.totals[2].add(elapsed);
            return;
        };
        NAME.with_borrow_mut(|name| {
            name.clear();
            name.extend([db, ".", coll]);
            self.time(catalog, name, kind, command.is(WRITES), elapsed);
        });
    }

    pub fn count(&self, kind: Kind, statements: u64) {
        self.statements[kind as usize].fetch_add(statements, Ordering::Relaxed);
    }

    /// Adds the time of a command to its collection's.
    pub fn time(&self, catalog: &Catalog, ns: &str, kind: Kind, writes: bool, elapsed: Duration) {
        let micros = (elapsed.as_micros() as u64).max(1);
        self.totals[usize::from(writes)].add(elapsed);
        let mut collections = self.collections.lock();
        let times = match collections.get_mut(ns) {
            Some(times) => times,
            None => {
                // Names come from clients, and most may be of what is gone or never was.
                if collections.len() >= FEW.max(2 * catalog.len()) {
                    forget_missing(&mut collections, catalog);
                }
                collections.entry(ns.to_owned()).or_default()
            }
        };
        times.kinds[kind as usize].add(micros);
        if writes { times.writes.add(micros) } else { times.reads.add(micros) }
    }

    pub fn write_counters(&self, w: &mut DocWriter<'_>) {
        for (kind, name, _) in [KINDS[2], KINDS[0], KINDS[3], KINDS[4], KINDS[1], KINDS[5]] {
            w.append(name, self.statements[kind as usize].load(Ordering::Relaxed) as i64);
        }
    }

    /// serverStatus's `opLatencies`.
    pub fn write_totals(&self, w: &mut DocWriter<'_>) {
        for (total, name) in self.totals.iter().zip(CLASSES) {
            w.document(name).append("latency", total.micros.load(Ordering::Relaxed) as i64).append("ops", total.count.load(Ordering::Relaxed) as i64);
        }
        // A transaction is told of by its commands.
        w.document("transactions").append("latency", 0i64).append("ops", 0i64);
    }

    /// serverStatus's `metrics.commands`: those that ran.
    pub fn write_runs(&self, w: &mut DocWriter<'_>) {
        for (command, runs) in self.table.iter().zip(&self.runs) {
            let total = runs.total.load(Ordering::Relaxed);
            if total > 0 {
                w.document(command.name).append("failed", runs.failed.load(Ordering::Relaxed) as i64).append("total", total as i64);
            }
        }
    }

    /// The times of a collection as top shows them; collections nobody asked for yet have zeros.
    pub fn write_times(&self, ns: &str, w: &mut DocWriter<'_>) {
        let times = self.collections.lock().get(ns).copied().unwrap_or_default();
        let (reads, writes) = (times.reads.all, times.writes.all);
        let total = Event { count: reads.count + writes.count, micros: reads.micros + writes.micros };
        total.write("total", w);
        reads.write("readLock", w);
        writes.write("writeLock", w);
        for (kind, _, name) in KINDS {
            times.kinds[kind as usize].write(name, w);
        }
    }

    /// The same as `latencyStats` of `$collStats`. Commands that neither read nor write documents are told of as reads.
    pub fn write_latencies(&self, ns: &str, histograms: bool, w: &mut DocWriter<'_>) {
        let times = self.collections.lock().get(ns).copied().unwrap_or_default();
        times.reads.write("reads", histograms, w);
        times.writes.write("writes", histograms, w);
        for name in ["commands", "transactions"] {
            Latencies::default().write(name, histograms, w);
        }
    }

    /// Forgets the collections that are gone.
    pub fn forget_missing(&self, catalog: &Catalog) {
        forget_missing(&mut self.collections.lock(), catalog);
    }
}

impl Total {
    fn add(&self, elapsed: Duration) {
        add(&self.count, 1);
        add(&self.micros, elapsed.as_micros() as u64);
    }
}

/// The place of a command in the table, which holds it.
fn place(table: &[Command], command: &Command) -> usize {
    (std::ptr::from_ref(command) as usize).wrapping_sub(table.as_ptr() as usize) / size_of::<Command>()
}

fn forget_missing(times: &mut HashMap<String, Times>, catalog: &Catalog) {
    let existing = catalog.snapshot();
    let names: HashSet<&str> = existing.keys().map(Ns::as_str).collect();
    times.retain(|ns, _| names.contains(&**ns));
}

/// The documents or statements a write command brings; one for every other command.
fn statements(kind: Kind, request: &Request<'_>) -> u64 {
    let Some(list) = kind.list() else { return 1 };
    let count = match request.sequences.iter().find(|s| s.name == list) {
        Some(sequence) => sequence.iter().count(),
        None => request.body.get(list).as_array().map_or(1, |a| a.iter().count()),
    };
    count as u64
}

/// The collection a command is about.
pub fn collection<'a>(kind: Kind, request: &Request<'a>) -> Option<&'a str> {
    let value = if kind == Kind::GetMore { request.body.get("collection") } else { request.body.first()?.value() };
    match value {
        Value::String(name) if !name.is_empty() => Some(name),
        _ => None,
    }
}

thread_local! {
    /// Where full names are put together, so that counting allocates nothing.
    static NAME: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_within_its_bucket() {
        for micros in (0..100_000).chain([1 << 20, 3 << 20, 1 << 29]) {
            let at = bucket(micros);
            assert!(bound(at) <= micros, "{micros}");
            assert!(micros < bound(at + 1), "{micros}");
        }
    }
}
