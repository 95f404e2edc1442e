//! Insertion in two phases: where a node's links lead is found under the read lock, where most of the time goes, so that several
//! threads insert at once and searches go on; the links are set under the write lock. A node is in the graph with all its links or not
//! at all. The nodes that others linked between the phases are looked at in the second one, so that nodes which are near to each other
//! and came at the same time find each other.
//!
//! Links are chosen by the heuristic of HNSW's authors: a candidate is taken unless one that was taken before is nearer to it than the node is.
//! Such a list is called diverse here. When a list is full it is cut down to three quarters, so that it is cut rarely; of a list's first
//! links it is known that they are diverse among each other, so only the newer ones are compared.

use super::codes::Encoder;
use super::distance::{Metric, Probe};
use super::graph::{Core, Graph, Inserted, NONE, Node};
use super::walk::{Scratch, pack, unpack};
use super::GraphError;

/// How many nodes may have come between the phases before the first is repeated.
const LATE: u32 = 256;
/// How often it is repeated: however many builders there are, each comes to its end.
const TRIES: usize = 3;
/// Cosines of vectors in the same direction differ from 1 by rounding.
const SAME_DIRECTION: f32 = -1.0 + 3e-7;

/// What the first phase found, and memory for choosing.
#[derive(Default)]
pub(crate) struct Plan {
    era: u64,
    seen: u32,
    /// For each level from 0 on the nodes to link to, packed with their distances.
    chosen: Vec<Vec<u64>>,
    starts: Vec<u64>,
    chooser: Chooser,
}

/// Memory for choosing links.
#[derive(Default)]
pub(crate) struct Chooser {
    /// Packed, and whether it is known to be diverse with the others that are.
    candidates: Vec<(u64, bool)>,
    kept: Vec<u64>,
    known: Vec<u32>,
    others: Vec<u32>,
    ids: Vec<u32>,
    distances: Vec<f32>,
}

impl Graph {
    pub(crate) fn insert_code(&self, record: i64, hash: u64, encoder: &Encoder, scratch: &mut Scratch) -> Result<Inserted, GraphError> {
        let probe = encoder.probe();
        let level = self.draw_level();
        let mut plan = std::mem::take(&mut scratch.plan);
        let mut tries = 0;
        let done = loop {
            tries += 1;
            {
                let core = self.core.read();
                if core.has(record, hash) {
                    break Ok(Inserted::Same);
                }
                core.plan(probe, level, NONE, &mut plan, scratch);
            }
            let mut core = self.core.write();
            if core.era != plan.era || (core.len - plan.seen > LATE && tries < TRIES) {
                continue;
            }
            break core.link(record, hash, level, probe, &mut plan);
        };
        scratch.plan = plan;
        done
    }
}

impl Core {
    fn has(&self, record: i64, hash: u64) -> bool {
        self.of_record.get(&record).is_some_and(|node| self.node(*node).hash == hash)
    }

    /// The first phase. `own` is the node itself, if it is there already.
    fn plan(&self, probe: Probe<'_>, level: usize, own: u32, plan: &mut Plan, scratch: &mut Scratch) {
        let Plan { era, seen, chosen, starts, chooser } = plan;
        (*era, *seen) = (self.era, self.len);
        chosen.resize_with(chosen.len().max(level + 1), Vec::new);
        chosen.iter_mut().for_each(Vec::clear);
        if self.entry == NONE {
            return;
        }
        let top = self.top();
        let mut nearest = self.entry_for(probe);
        for above in (level + 1..=top).rev() {
            nearest = self.descend(probe, nearest, above, scratch);
        }
        starts.clear();
        starts.push(nearest);
        for (on, chosen) in chosen.iter_mut().enumerate().take(level.min(top) + 1).rev() {
            self.walk(probe, starts, self.params.edge_candidates, on, scratch, |node| node != own);
            std::mem::swap(starts, &mut scratch.sorted);
            chooser.candidates.clear();
            chooser.candidates.extend(starts.iter().map(|found| (*found, false)));
            self.look_behind_twins(probe, on, own, chooser);
            self.choose(self.params.max_edges, chooser);
            chosen.extend_from_slice(&chooser.kept);
        }
    }

    /// Whether vectors at this distance are the same. Of twins only a few are linked to each
    /// other, the newest, and they are not compared with other candidates: a thousand equal vectors would have links to nobody else.
    fn is_twin(&self, distance: f32) -> bool {
        distance < self.twins_below()
    }

    fn twins_below(&self) -> f32 {
        match self.rows.metric {
            Metric::FloatL2 | Metric::ByteL2 | Metric::Hamming => f32::MIN_POSITIVE,
            Metric::FloatDot | Metric::ByteDot | Metric::ByteCosine => SAME_DIRECTION,
        }
    }

    /// If twins are all that was found, adds what they have links to.
    fn look_behind_twins(&self, probe: Probe<'_>, level: usize, own: u32, chooser: &mut Chooser) {
        let Chooser { candidates, ids, distances, .. } = chooser;
        let Some((last, _)) = candidates.last() else { return };
        let (distance, _) = unpack(*last);
        if !self.is_twin(distance) {
            return;
        }
        ids.clear();
        for (twin, _) in candidates.iter().take(4) {
            ids.extend_from_slice(self.links(unpack(*twin).1, level).0);
        }
        ids.retain(|id| *id != own);
        ids.sort_unstable();
        ids.dedup();
        self.rows.distances(probe, ids, distances);
        candidates.extend(ids.iter().zip(distances).map(|(node, distance)| (pack(*distance, *node), false)));
        candidates.sort_unstable();
        candidates.dedup();
    }

    /// Leaves in `kept`, packed, at most `max` of the candidates, which are sorted: the nearest ones that are diverse.
    fn choose(&self, max: usize, chooser: &mut Chooser) {
        let Chooser { candidates, kept, known, others, .. } = chooser;
        kept.clear();
        known.clear();
        others.clear();
        let mut twins = self.params.max_edges.div_ceil(4);
        for (candidate, is_known) in candidates.iter() {
            if kept.len() >= max {
                return;
            }
            let (distance, node) = unpack(*candidate);
            if self.is_twin(distance) {
                if twins > 0 {
                    twins -= 1;
                    kept.push(*candidate);
                }
                continue;
            }
            let probe = self.rows.probe(node);
            if self.rows.any_nearer(probe, others, distance) || (!is_known && self.rows.any_nearer(probe, known, distance)) {
                continue;
            }
            kept.push(*candidate);
            if *is_known { known.push(node) } else { others.push(node) }
        }
    }

    /// The second phase.
    fn link(&mut self, record: i64, hash: u64, level: usize, probe: Probe<'_>, plan: &mut Plan) -> Result<Inserted, GraphError> {
        if self.has(record, hash) {
            return Ok(Inserted::Same);
        }
        if self.len >= NONE - 1 {
            return Err(GraphError::Full);
        }
        let done = if self.remove(record) { Inserted::Replaced } else { Inserted::New };
        let top = self.top();
        let had_entry = self.entry != NONE;
        let Plan { seen, chosen, chooser, .. } = plan;
        let late = *seen..self.len;
        if !late.is_empty() {
            self.add_late(late, probe, chosen, chooser);
        }
        let node = self.push(record, hash, level);
        self.rows.push(probe);
        let levels = if had_entry { level.min(top) + 1 } else { 0 };
        for (on, chosen) in chosen.iter().enumerate().take(levels) {
            self.set_own_links(node, on, chosen, chooser);
            for chosen in chosen {
                self.link_back(*chosen, on, node, chooser);
            }
        }
        if !had_entry || level > top {
            self.entry = node;
        }
        Ok(done)
    }

    /// Chooses anew where nodes came in between.
    fn add_late(&self, late: std::ops::Range<u32>, probe: Probe<'_>, chosen: &mut [Vec<u64>], chooser: &mut Chooser) {
        chooser.ids.clear();
        chooser.ids.extend(late);
        self.rows.distances(probe, &chooser.ids, &mut chooser.distances);
        for (level, chosen) in chosen.iter_mut().enumerate() {
            chooser.candidates.clear();
            chooser.candidates.extend(chosen.iter().map(|chosen| (*chosen, true)));
            let reach = chooser.ids.iter().zip(&chooser.distances).filter(|(id, _)| usize::from(self.node(**id).level) >= level);
            chooser.candidates.extend(reach.map(|(id, distance)| (pack(*distance, *id), false)));
            if chooser.candidates.len() > chosen.len() {
                chooser.candidates.sort_unstable();
                self.choose(self.params.max_edges, chooser);
                chosen.clear();
                chosen.extend_from_slice(&chooser.kept);
            }
        }
    }

    /// Makes others link to a node that is there, and gives it links where it has none.
    pub fn relink(&mut self, node: u32, scratch: &mut Scratch) {
        let Node { level, .. } = self.node(node);
        let mut plan = std::mem::take(&mut scratch.plan);
        self.plan(self.rows.probe(node), usize::from(level), node, &mut plan, scratch);
        for (on, chosen) in plan.chosen.iter().enumerate().take(usize::from(level) + 1) {
            if self.links(node, on).0.is_empty() {
                self.set_own_links(node, on, chosen, &mut plan.chooser);
            }
            for chosen in chosen {
                self.link_back(*chosen, on, node, &mut plan.chooser);
            }
        }
        scratch.plan = plan;
    }

    fn set_own_links(&mut self, node: u32, level: usize, chosen: &[u64], chooser: &mut Chooser) {
        chooser.ids.clear();
        chooser.ids.extend(chosen.iter().map(|chosen| unpack(*chosen).1));
        self.set_links(node, level, &chooser.ids, chooser.ids.len());
        for (distance, link) in chosen.iter().map(|chosen| unpack(*chosen)) {
            if level == 0 && !self.is_twin(distance) {
                self.count_link(link);
            }
        }
    }

    /// Links a neighbour, packed with its distance, to a new node. A full list is cut down.
    ///
    /// No vector loses the last link of level 0 that leads to it from another one: of twins, which lead to each other, the newest is
    /// linked to from outside, and one that has such a link gives it up only to a twin.
    fn link_back(&mut self, neighbour: u64, level: usize, new: u32, chooser: &mut Chooser) {
        let (distance, node) = unpack(neighbour);
        let counts = level == 0 && !self.is_twin(distance);
        if counts {
            self.count_link(new);
        }
        if self.add_link(node, level, new) {
            return;
        }
        let (links, diverse) = self.links(node, level);
        let full = links.len();
        chooser.ids.clear();
        chooser.ids.extend_from_slice(links);
        chooser.ids.push(new);
        self.choose_links(node, diverse, full * 3 / 4, chooser);
        let diverse = chooser.ids.len();
        if level == 0 {
            self.let_dropped_go(full, chooser);
        }
        self.set_links(node, level, &chooser.ids, diverse);
    }

    /// Counts the links that go with the candidates that were not kept, and adds to `ids` those that must stay.
    fn let_dropped_go(&mut self, full: usize, chooser: &mut Chooser) {
        let Chooser { candidates, kept, ids, .. } = chooser;
        // What was kept is a part of the candidates, in their order.
        let mut kept = kept.iter().peekable();
        for (candidate, _) in candidates.iter() {
            if kept.next_if_eq(&candidate).is_some() {
                continue;
            }
            let (distance, link) = unpack(*candidate);
            if self.is_twin(distance) || self.let_go(link) {
                continue;
            }
            if ids.len() + 1 >= full || self.rows.any_nearer(self.rows.probe(link), ids, self.twins_below()) {
                self.let_last_go(link);
            } else {
                ids.push(link);
            }
        }
    }

    /// Cuts a list for `node` down to at most `max` that are diverse.
    pub fn choose_of(&self, node: u32, list: &mut Vec<u32>, max: usize, chooser: &mut Chooser) {
        chooser.ids.clear();
        chooser.ids.append(list);
        self.choose_links(node, 0, max, chooser);
        list.append(&mut chooser.ids);
    }

    /// Leaves in `ids` at most `max` of them that are diverse, seen from `node`; of the first `diverse` that is known.
    fn choose_links(&self, node: u32, diverse: usize, max: usize, chooser: &mut Chooser) {
        self.rows.distances(self.rows.probe(node), &chooser.ids, &mut chooser.distances);
        chooser.candidates.clear();
        let packed = chooser.ids.iter().zip(&chooser.distances).map(|(id, distance)| pack(*distance, *id));
        chooser.candidates.extend(packed.enumerate().map(|(n, packed)| (packed, n < diverse)));
        chooser.candidates.sort_unstable();
        self.choose(max, chooser);
        chooser.ids.clear();
        chooser.ids.extend(chooser.kept.iter().map(|kept| unpack(*kept).1));
    }
}
