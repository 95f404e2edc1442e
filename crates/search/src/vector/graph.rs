//! The graph: a hierarchy of small worlds (HNSW) in flat arrays.
//!
//! Every node is on level 0 and has up to 2·`max_edges` links there; each level above has about one in `max_edges` of the nodes of the
//! level below, with up to `max_edges` links. A node that is removed is marked dead and can still be walked through; a record that
//! changes becomes a dead node and a new one. When many are dead ([`Graph::dead_share`]), whoever owns the graph makes a new one.
//!
//! All of it is under one lock. Readers hold it for a search; a writer holds it while it sets links, which takes microseconds: where
//! they lead was found while others could read ([`insert`](super::insert)).

use super::codes::{Blocks, Encoder};
use super::distance::Rows;
use super::exact::Query;
use super::walk::{Scratch, unpack};
use super::{GraphError, Params, Vector, mix};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// No node.
pub(crate) const NONE: u32 = u32::MAX;
/// Levels a graph may have: 2³² nodes with the fewest edges have no more.
pub(crate) const LEVELS: usize = 32;
/// How many searches leave their memory for the next ones.
const SCRATCHES: usize = 16;

/// Hashes of record ids, which nobody outside chooses.
#[derive(Default)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = mix(self.0 ^ u64::from(*b)));
    }
    fn write_i64(&mut self, n: i64) {
        self.0 = mix(n as u64);
    }
}

pub(crate) type Numbers = HashMap<i64, u32, BuildHasherDefault<Mixer>>;

#[derive(Clone, Copy, Default)]
pub(crate) struct Node {
    pub record: i64,
    /// Of the row's bytes.
    pub hash: u64,
    /// The first of its lists above level 0 in `upper`; level 1's, then level 2's.
    pub upper: u32,
    pub level: u8,
    /// How many links of level 0 lead here from nodes with other vectors; 255 stands for that many and more, and stays.
    pub reach: u8,
}

/// What the lock guards.
pub(crate) struct Core {
    pub params: Params,
    /// How often the graph has begun anew: numbers of nodes from before mean nothing any more.
    pub era: u64,
    pub rows: Rows,
    pub nodes: Blocks<Node>,
    /// Number of nodes, dead ones included.
    pub len: u32,
    /// A list is its number of links, with the number of those that are known to be diverse in the upper half, and the links.
    pub ground: Blocks<u32>,
    pub upper: Blocks<u32>,
    pub uppers: u32,
    /// A bit a node.
    pub dead: Vec<u64>,
    pub deaths: u32,
    pub of_record: Numbers,
    /// Where walks begin: a node of the highest level.
    pub entry: u32,
}

impl Core {
    pub fn new(params: Params) -> Self {
        Core {
            params,
            era: 0,
            rows: params.rows(),
            nodes: Blocks::new(1),
            len: 0,
            ground: Blocks::new(2 * params.max_edges + 1),
            upper: Blocks::new(params.max_edges + 1),
            uppers: 0,
            dead: Vec::new(),
            deaths: 0,
            of_record: Numbers::default(),
            entry: NONE,
        }
    }

    #[inline]
    pub fn node(&self, node: u32) -> Node {
        self.nodes.row(node).first().copied().unwrap_or_default()
    }

    pub fn top(&self) -> usize {
        usize::from(self.node(self.entry).level)
    }

    #[inline]
    pub fn is_dead(&self, node: u32) -> bool {
        self.dead.get(node as usize / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    /// The list of a node on a level: its links, and how many of the first of them are known to be diverse.
    #[inline]
    pub fn links(&self, node: u32, level: usize) -> (&[u32], usize) {
        let list = if level == 0 { self.ground.row(node) } else { self.upper.row(self.list(node, level)) };
        let Some((head, links)) = list.split_first() else { return (&[], 0) };
        let (count, diverse) = ((head & 0xffff) as usize, (head >> 16) as usize);
        (links.get(..count).unwrap_or(links), diverse.min(count))
    }

    /// Where a node's list above level 0 lies; nowhere if the node does not reach up to that level.
    fn list(&self, node: u32, level: usize) -> u32 {
        let node = self.node(node);
        if level <= usize::from(node.level) { node.upper.saturating_add(level as u32 - 1) } else { NONE }
    }

    /// Sets a list, as much of it as there is room for.
    pub fn set_links(&mut self, node: u32, level: usize, links: &[u32], diverse: usize) {
        let at = if level == 0 { NONE } else { self.list(node, level) };
        let list = if level == 0 { self.ground.row_mut(node) } else { self.upper.row_mut(at) };
        let Some((head, room)) = list.split_first_mut() else { return };
        let count = links.len().min(room.len());
        room[..count].copy_from_slice(&links[..count]);
        *head = count as u32 | (diverse.min(count) as u32) << 16;
    }

    /// Counts a link of level 0 to a node from one with another vector.
    pub fn count_link(&mut self, node: u32) {
        if let [node] = self.nodes.row_mut(node) {
            node.reach = node.reach.saturating_add(1);
        }
    }

    /// Counts that such a link goes; false when it is the only one, which stays.
    pub fn let_go(&mut self, node: u32) -> bool {
        let [node] = self.nodes.row_mut(node) else { return true };
        match node.reach {
            0 | 1 => return false,
            u8::MAX => {}
            _ => node.reach -= 1,
        }
        true
    }

    /// Counts that the only one goes, too.
    pub fn let_last_go(&mut self, node: u32) {
        if let [node] = self.nodes.row_mut(node) {
            node.reach = 0;
        }
    }

    /// Adds a link at the end of a list; false when it is full.
    pub fn add_link(&mut self, node: u32, level: usize, link: u32) -> bool {
        let at = if level == 0 { NONE } else { self.list(node, level) };
        let list = if level == 0 { self.ground.row_mut(node) } else { self.upper.row_mut(at) };
        let Some((head, room)) = list.split_first_mut() else { return true };
        let Some(free) = room.get_mut((*head & 0xffff) as usize) else { return false };
        *free = link;
        *head += 1;
        true
    }

    /// Adds a node without links.
    pub fn push(&mut self, record: i64, hash: u64, level: usize) -> u32 {
        let node = self.len;
        self.nodes.push(&[Node { record, hash, upper: self.uppers, level: level as u8, reach: 0 }]);
        self.ground.push(&[]);
        (0..level).for_each(|_| self.upper.push(&[]));
        self.uppers += level as u32;
        self.len += 1;
        if node.is_multiple_of(64) {
            self.dead.push(0);
        }
        self.of_record.insert(record, node);
        node
    }

    /// Marks the node of a record dead.
    pub fn remove(&mut self, record: i64) -> bool {
        let Some(node) = self.of_record.remove(&record) else { return false };
        if let Some(word) = self.dead.get_mut(node as usize / 64) {
            *word |= 1 << (node % 64);
        }
        self.deaths += 1;
        true
    }
}

/// What [`Graph::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The record was not in the graph.
    New,
    /// It was there with another row.
    Replaced,
    /// It was there with this row.
    Same,
}

/// A result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub record: i64,
    /// By the graph's codes; [`Query::score_of`] makes a score of it where they are exact ([`Params::is_exact`]).
    pub distance: f32,
}

/// A graph that threads share.
pub struct Graph {
    pub(crate) params: Params,
    pub(crate) core: RwLock<Core>,
    pub(crate) draws: AtomicU64,
    scratches: Mutex<Vec<Box<Scratch>>>,
}

impl Graph {
    /// An empty graph. Numbers beyond what a definition may say are brought within.
    pub fn new(params: Params) -> Self {
        Graph::of(Core::new(params.bounded()))
    }

    pub(crate) fn of(core: Core) -> Self {
        let draws = AtomicU64::new(u64::from(core.len));
        Graph { params: core.params, core: RwLock::new(core), draws, scratches: Mutex::default() }
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Puts a record's row into the graph, instead of what the graph had of the record. `hash` is the row's
    /// ([`row_hash`](super::row_hash)): with the same one nothing is done. Several threads may insert at once.
    pub fn insert(&self, record: i64, hash: u64, vector: Vector<'_>) -> Result<Inserted, GraphError> {
        self.with_scratch(|scratch| {
            let mut encoder = std::mem::take(&mut scratch.encoder);
            let done = match encoder.encode(&self.params, vector, false) {
                Some(()) => self.insert_code(record, hash, &encoder, scratch),
                None => Err(GraphError::Shape),
            };
            scratch.encoder = encoder;
            done
        })
    }

    /// Takes a record out; false when it was not there. A graph in which nobody is left begins anew.
    pub fn remove(&self, record: i64) -> bool {
        let mut core = self.core.write();
        let removed = core.remove(record);
        if removed && core.of_record.is_empty() {
            *core = Core { era: core.era + 1, ..Core::new(core.params) };
        }
        removed
    }

    /// Holds the graph as it is until the view is dropped. A thread that holds a view must not ask for another one.
    pub fn read(&self) -> View<'_> {
        View { graph: self, core: self.core.read() }
    }

    /// The records.
    pub fn len(&self) -> usize {
        self.core.read().of_record.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The share of nodes that only slow walks down, from 0 to 1. Above a quarter a new graph is worth its making.
    pub fn dead_share(&self) -> f64 {
        let core = self.core.read();
        f64::from(core.deaths) / f64::from(core.len.max(1))
    }

    /// Bytes of memory, without the few that searches leave for each other.
    pub fn memory(&self) -> usize {
        let core = self.core.read();
        // A table of hashes keeps an eighth free and a byte beside each place.
        let numbers = core.of_record.capacity() * 8 / 7 * (size_of::<(i64, u32)>() + 1);
        core.rows.memory() + core.nodes.memory() + core.ground.memory() + core.upper.memory() + core.dead.capacity() * 8 + numbers
    }

    /// About the bytes that a graph of `n` vectors will have.
    pub fn estimate(params: &Params, n: usize) -> usize {
        let code = match (params.kind, params.codes) {
            (super::Kind::Bit, _) | (_, super::Codes::Binary) => params.dims.div_ceil(64) * 8,
            (super::Kind::Float, super::Codes::Full) => params.dims * 4,
            _ => params.dims + 4,
        };
        let edges = params.max_edges;
        let upper = (edges + 1) * 4 / edges.saturating_sub(1).max(1);
        n.saturating_mul(code + (2 * edges + 1) * 4 + upper + size_of::<Node>() + 34)
    }

    /// A level for a new node: each is reached by one in `max_edges` of those that reach the one below.
    pub(crate) fn draw_level(&self) -> usize {
        let draw = mix(self.draws.fetch_add(1, Ordering::Relaxed) ^ 0x736d_6f6e_676f);
        // In (0, 1]; its logarithm is finite.
        let uniform = ((draw >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let level = -uniform.ln() / (self.params.max_edges as f64).ln();
        (level as usize).min(LEVELS - 1)
    }

    pub(crate) fn with_scratch<T>(&self, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratches.lock().pop().unwrap_or_default();
        let out = f(&mut scratch);
        let mut scratches = self.scratches.lock();
        if scratches.len() < SCRATCHES {
            scratches.push(scratch);
        }
        out
    }
}

/// The graph while nobody changes it.
///
/// Nodes are numbers that mean something in this view only.
pub struct View<'a> {
    graph: &'a Graph,
    pub(crate) core: RwLockReadGuard<'a, Core>,
}

impl View<'_> {
    /// The records.
    pub fn len(&self) -> usize {
        self.core.of_record.len()
    }

    pub fn is_empty(&self) -> bool {
        self.core.of_record.is_empty()
    }

    /// The record that a node is, or was, of.
    pub fn record(&self, node: u32) -> i64 {
        self.core.node(node).record
    }

    pub fn node(&self, record: i64) -> Option<u32> {
        self.core.of_record.get(&record).copied()
    }

    pub fn records(&self) -> impl Iterator<Item = i64> {
        self.core.of_record.keys().copied()
    }

    /// The distance of a record's row, if the graph has it.
    pub fn distance(&self, query: &Query, record: i64) -> Option<f32> {
        let node = self.node(record)?;
        let mut encoder = Encoder::default();
        encoder.encode(&self.graph.params, query.vector(), true)?;
        Some(self.core.rows.distance(encoder.probe(), node))
    }

    /// The nearest records that the walk finds, at most `ef`, nearest first. `ok` decides which nodes may be among them, not which ones
    /// may be walked through; it is asked once a node at most, and never about a dead one. Empty when the query is of another kind.
    ///
    /// Of 10 wanted, an `ef` of 100 finds 95 % and more; with few nodes passing the walk goes on until it has `ef` of them, or has been everywhere.
    pub fn search(&self, query: &Query, ef: usize, mut ok: impl FnMut(u32) -> bool) -> Vec<Hit> {
        self.graph.with_scratch(|scratch| {
            let mut encoder = std::mem::take(&mut scratch.encoder);
            let mut hits = Vec::new();
            if encoder.encode(&self.graph.params, query.vector(), true).is_some() {
                self.core.search(encoder.probe(), ef.max(1), scratch, |node| !self.core.is_dead(node) && ok(node));
                hits.extend(scratch.sorted.iter().map(|found| {
                    let (distance, node) = unpack(*found);
                    Hit { record: self.core.node(node).record, distance }
                }));
            }
            scratch.encoder = encoder;
            hits
        })
    }

    /// The distances of those of `records` that the graph has, in their order: what a filter that lets few through is answered from.
    pub fn scan(&self, query: &Query, records: impl Iterator<Item = i64>, mut found: impl FnMut(Hit)) {
        let nodes = records.filter_map(|record| self.node(record));
        self.scan_nodes(query, nodes, &mut found);
    }

    /// The distances of all records for which `ok` says so.
    pub fn scan_all(&self, query: &Query, mut ok: impl FnMut(u32) -> bool, mut found: impl FnMut(Hit)) {
        let nodes = (0..self.core.len).filter(|node| !self.core.is_dead(*node) && ok(*node));
        self.scan_nodes(query, nodes, &mut found);
    }

    fn scan_nodes(&self, query: &Query, nodes: impl Iterator<Item = u32>, found: &mut impl FnMut(Hit)) {
        let mut encoder = Encoder::default();
        if encoder.encode(&self.graph.params, query.vector(), true).is_none() {
            return;
        }
        let mut nodes = nodes.peekable();
        let mut ids = Vec::with_capacity(64);
        while nodes.peek().is_some() {
            ids.clear();
            ids.extend(nodes.by_ref().take(64));
            self.core.rows.each(encoder.probe(), &ids, |node, distance| {
                found(Hit { record: self.core.node(node).record, distance });
                true
            });
        }
    }
}
