//! Finds what snapshot isolation forbids in a history, as Elle does.
//!
//! Lists tell in which order their elements were appended: the longest list read of a key is the order of the key's
//! versions, and every other read is a prefix of it. From that follow the edges between committed transactions: `ww` to who
//! wrote the next version, `wr` to who read the version, `rw` from who read a version to who wrote the next one, and `rt` from
//! who had ended to who began afterwards. A history is snapshot isolated if and only if each cycle of these has two `rw` edges in a row.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use crate::history::{Element, Key, Op, Outcome, Txn};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A transaction's reads contradict each other or its own writes.
    Internal,
    /// An element that nobody appended.
    Garbage,
    /// An element twice in a list.
    Duplicate,
    /// Two lists of a key of which neither is a prefix of the other.
    IncompatibleOrder,
    /// G1a: an element of an aborted transaction.
    AbortedRead,
    /// G1b: a list that ends within another transaction's appends.
    IntermediateRead,
    /// Two transactions read one version of a key, and both appended to it.
    LostUpdate,
    /// A cycle of `ww`.
    G0,
    /// A cycle of `ww` and `wr`.
    G1c,
    /// A cycle with one `rw`.
    GSingle,
    /// A cycle with several `rw`, none next to another.
    GNonadjacent,
}

#[derive(Clone, Debug)]
pub struct Anomaly {
    pub kind: Kind,
    pub text: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// Everything wrong with the history; of cycles, one of each kind at most.
pub fn check(history: &[Txn]) -> Vec<Anomaly> {
    let mut check = Check { history, anomalies: Vec::new(), writers: HashMap::new(), finals: HashMap::new() };
    check.index_writes();
    let reads = check.external_reads();
    check.judge_reads(&reads);
    let versions = check.version_orders(&reads);
    check.lost_updates(&reads);
    let graph = check.graph(&reads, &versions);
    check.cycles(&graph);
    check.anomalies
}

/// The version of a key that a committed transaction read: the list without what it had appended itself.
struct Read<'h> {
    txn: usize,
    key: Key,
    version: &'h [Element],
    /// As the transaction saw it.
    list: &'h [Element],
}

struct Check<'h> {
    history: &'h [Txn],
    anomalies: Vec<Anomaly>,
    writers: HashMap<(Key, Element), usize>,
    /// The last element that a transaction appended to a key.
    finals: HashMap<(usize, Key), Element>,
}

impl<'h> Check<'h> {
    fn report(&mut self, kind: Kind, text: String) {
        self.anomalies.push(Anomaly { kind, text });
    }

    fn index_writes(&mut self) {
        for (t, txn) in self.history.iter().enumerate() {
            for op in &txn.ops {
                if let Op::Append(key, element) = *op {
                    assert!(self.writers.insert((key, element), t).is_none(), "element {element} is appended twice by the history");
                    self.finals.insert((t, key), element);
                }
            }
        }
    }

    /// Reads of committed transactions, compared with what each transaction must see of itself. A transaction of unknown fate
    /// has none, since its reads were never acknowledged either.
    fn external_reads(&mut self) -> Vec<Read<'h>> {
        let history = self.history;
        let mut reads = Vec::new();
        for (t, txn) in history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Committed) {
            let mut seen: HashMap<Key, &'h [Element]> = HashMap::new();
            let mut own: HashMap<Key, Vec<Element>> = HashMap::new();
            for op in &txn.ops {
                match op {
                    Op::Append(key, element) => own.entry(*key).or_default().push(*element),
                    Op::Read(key, list) => {
                        let mine = own.get(key).map_or(&[][..], |own| own);
                        let Some(version) = list.strip_suffix(mine) else {
                            self.report(Kind::Internal, format!("T{t} appended {mine:?} to key {key} and read {list:?}"));
                            continue;
                        };
                        match seen.insert(*key, version) {
                            Some(before) if before != version => {
                                self.report(Kind::Internal, format!("T{t} read {before:?} and then {version:?} at key {key}"));
                            }
                            Some(_) => {}
                            None => reads.push(Read { txn: t, key: *key, version, list }),
                        }
                    }
                }
            }
        }
        reads
    }

    fn judge_reads(&mut self, reads: &[Read<'_>]) {
        for read in reads {
            let (t, key) = (read.txn, read.key);
            let mut met = HashSet::new();
            for &element in read.list {
                if !met.insert(element) {
                    self.report(Kind::Duplicate, format!("T{t} read {element} twice at key {key}: {:?}", read.list));
                }
                match self.writers.get(&(key, element)) {
                    None => self.report(Kind::Garbage, format!("T{t} read {element} at key {key}, which nobody appended")),
                    Some(&w) if self.history[w].outcome == Outcome::Aborted => {
                        self.report(Kind::AbortedRead, format!("T{t} read {element} at key {key}, which T{w} had appended and aborted"));
                    }
                    Some(_) => {}
                }
            }
            if let Some(&last) = read.version.last()
                && let Some(&w) = self.writers.get(&(key, last))
                && w != t
                && self.finals.get(&(w, key)) != Some(&last)
            {
                self.report(Kind::IntermediateRead, format!("T{t} read {:?} at key {key} in the midst of T{w}", read.version));
            }
        }
    }

    /// The longest list of each key, of which the others must be prefixes.
    fn version_orders(&mut self, reads: &[Read<'h>]) -> HashMap<Key, &'h [Element]> {
        let mut orders: HashMap<Key, &Read<'h>> = HashMap::new();
        for read in reads {
            let longest = orders.entry(read.key).or_insert(read);
            if read.list.len() > longest.list.len() {
                *longest = read;
            }
        }
        for read in reads {
            let longest = orders[&read.key];
            if !longest.list.starts_with(read.list) {
                let (t, l) = (read.txn, longest.txn);
                self.report(Kind::IncompatibleOrder, format!("key {}: T{t} read {:?}, T{l} {:?}", read.key, read.list, longest.list));
            }
        }
        orders.into_iter().map(|(key, read)| (key, read.list)).collect()
    }

    fn lost_updates(&mut self, reads: &[Read<'_>]) {
        let mut updates: HashMap<(Key, &[Element]), usize> = HashMap::new();
        for read in reads.iter().filter(|r| self.finals.contains_key(&(r.txn, r.key))).collect::<Vec<_>>() {
            if let Some(other) = updates.insert((read.key, read.version), read.txn) {
                let text = format!("T{other} and T{} both read {:?} at key {} and appended", read.txn, read.version, read.key);
                self.report(Kind::LostUpdate, text);
            }
        }
    }

    fn graph(&self, reads: &[Read<'_>], versions: &HashMap<Key, &[Element]>) -> Graph {
        let mut graph = Graph { edges: vec![Vec::new(); self.history.len()] };
        let unread = self.unread_appends(versions);
        for (&key, list) in versions {
            let writer = |element: &Element| self.writers.get(&(key, *element)).copied();
            for pair in list.windows(2) {
                graph.add(writer(&pair[0]), Edge::Ww, writer(&pair[1]));
            }
            // Whatever was appended and is not in the longest list can only come behind it.
            for &later in unread.get(&key).into_iter().flatten() {
                graph.add(list.last().and_then(writer), Edge::Ww, Some(later));
            }
        }
        for read in reads {
            let writer = |element: &Element| self.writers.get(&(read.key, *element)).copied();
            graph.add(read.version.last().and_then(writer), Edge::Wr, Some(read.txn));
            match versions[&read.key].get(read.version.len()) {
                Some(next) => graph.add(Some(read.txn), Edge::Rw, writer(next)),
                None => unread.get(&read.key).into_iter().flatten().for_each(|&w| graph.add(Some(read.txn), Edge::Rw, Some(w))),
            }
        }
        self.add_real_time(&mut graph);
        graph
    }

    /// Committed transactions that appended to a key what its longest list does not have.
    fn unread_appends(&self, versions: &HashMap<Key, &[Element]>) -> HashMap<Key, HashSet<usize>> {
        let mut unread: HashMap<Key, HashSet<usize>> = HashMap::new();
        for (&(key, element), &w) in &self.writers {
            if self.history[w].outcome == Outcome::Committed && !versions.get(&key).is_some_and(|list| list.contains(&element)) {
                unread.entry(key).or_default().insert(w);
            }
        }
        unread
    }

    /// Edges from each transaction to those that began after its end, but for those that follow from others.
    fn add_real_time(&self, graph: &mut Graph) {
        let done = |t: &usize| self.history[*t].outcome == Outcome::Committed;
        for t in (0..self.history.len()).filter(done) {
            let after: Vec<usize> = (0..self.history.len()).filter(done).filter(|&l| self.history[l].began > self.history[t].ended).collect();
            let first_end = after.iter().map(|&l| self.history[l].ended).min().unwrap_or(0);
            for l in after.into_iter().filter(|&l| self.history[l].began <= first_end) {
                graph.add(Some(t), Edge::Rt, Some(l));
            }
        }
    }

    fn cycles(&mut self, graph: &Graph) {
        const STEPS: [&[Edge]; 4] =
            [&[Edge::Ww], &[Edge::Ww, Edge::Wr], &[Edge::Ww, Edge::Wr, Edge::Rw], &[Edge::Ww, Edge::Wr, Edge::Rw, Edge::Rt]];
        for allowed in STEPS {
            if let Some(cycle) = graph.cycle(allowed) {
                self.report(cycle.kind(), self.explain(&cycle));
                return;
            }
        }
    }

    fn explain(&self, cycle: &Cycle) -> String {
        let mut text = String::new();
        for (n, (t, edge)) in cycle.steps.iter().enumerate() {
            let next = cycle.steps[(n + 1) % cycle.steps.len()].0;
            text += &format!("T{t} -{edge:?}-> T{next}; ");
        }
        for (t, _) in &cycle.steps {
            text += &format!("\n  T{t}: {:?}", self.history[*t]);
        }
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Ww,
    Wr,
    Rw,
    Rt,
}

struct Graph {
    edges: Vec<Vec<(Edge, usize)>>,
}

/// A transaction and the edge that leads from it to the next.
struct Cycle {
    steps: Vec<(usize, Edge)>,
}

impl Cycle {
    fn kind(&self) -> Kind {
        let count = |edge: Edge| self.steps.iter().filter(|(_, e)| *e == edge).count();
        match (count(Edge::Rw), count(Edge::Wr)) {
            (0, 0) => Kind::G0,
            (0, _) => Kind::G1c,
            (1, _) => Kind::GSingle,
            _ => Kind::GNonadjacent,
        }
    }
}

impl Graph {
    fn add(&mut self, from: Option<usize>, edge: Edge, to: Option<usize>) {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
            && !self.edges[from].contains(&(edge, to))
        {
            self.edges[from].push((edge, to));
        }
    }

    /// A shortest cycle without two `rw` in a row. Such a cycle has an edge that is none; it starts behind that one.
    fn cycle(&self, allowed: &[Edge]) -> Option<Cycle> {
        let all = (0..self.edges.len()).filter_map(|start| self.cycle_through(start, allowed));
        all.min_by_key(|cycle| cycle.steps.len())
    }

    fn cycle_through(&self, start: usize, allowed: &[Edge]) -> Option<Cycle> {
        // States are transactions and whether an `rw` led there; `came` tells from which state, by which edge.
        let mut came: HashMap<(usize, bool), (usize, bool, Edge)> = HashMap::new();
        let mut queue = VecDeque::from([(start, false)]);
        while let Some((at, by_rw)) = queue.pop_front() {
            for &(edge, to) in self.edges[at].iter().filter(|(e, _)| allowed.contains(e)) {
                let state = (to, edge == Edge::Rw);
                if (by_rw && edge == Edge::Rw) || came.contains_key(&state) {
                    continue;
                }
                came.insert(state, (at, by_rw, edge));
                if state == (start, false) {
                    return Some(Cycle { steps: walk_back(&came, state) });
                }
                queue.push_back(state);
            }
        }
        None
    }
}

fn walk_back(came: &HashMap<(usize, bool), (usize, bool, Edge)>, end: (usize, bool)) -> Vec<(usize, Edge)> {
    let mut steps = Vec::new();
    let mut state = end;
    loop {
        let (at, by_rw, edge) = came[&state];
        steps.push((at, edge));
        state = (at, by_rw);
        if state == end {
            steps.reverse();
            return steps;
        }
    }
}
