//! Walking the graph: from the entry down to the nodes that are nearest to a probe.

use super::codes::Encoder;
use super::distance::Probe;
use super::graph::{Core, NONE};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A distance and a node in one number that orders as they do: by distance, then the newer node first. What is no number is farthest.
#[inline]
pub(crate) fn pack(distance: f32, node: u32) -> u64 {
    let bits = if distance.is_nan() { f32::INFINITY.to_bits() } else { distance.to_bits() };
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(!node)
}

#[inline]
pub(crate) fn unpack(packed: u64) -> (f32, u32) {
    let ordered = (packed >> 32) as u32;
    let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
    (f32::from_bits(bits), !(packed as u32))
}

/// The part of a packed number that the distance is.
#[inline]
fn order(packed: u64) -> u32 {
    (packed >> 32) as u32
}

/// Which nodes a walk has been at: a byte a node, emptied once in 255 walks.
#[derive(Default)]
struct Visited {
    stamps: Vec<u8>,
    stamp: u8,
}

impl Visited {
    fn begin(&mut self, nodes: usize) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.stamps.fill(0);
            self.stamp = 1;
        }
        if self.stamps.len() < nodes {
            // With room for more, so that a growing graph does not make each walk grow this.
            self.stamps.resize(nodes + nodes / 4 + 64, 0);
        }
    }

    /// Whether a node is seen for the first time. What is no node never is.
    #[inline]
    fn enter(&mut self, node: u32) -> bool {
        match self.stamps.get_mut(node as usize) {
            Some(stamp) if *stamp != self.stamp => {
                *stamp = self.stamp;
                true
            }
            _ => false,
        }
    }
}

/// The memory that a walk or an insertion needs, kept for the next one.
#[derive(Default)]
pub(crate) struct Scratch {
    pub encoder: Encoder,
    visited: Visited,
    candidates: BinaryHeap<Reverse<u64>>,
    results: BinaryHeap<u64>,
    fresh: Vec<u32>,
    distances: Vec<f32>,
    /// What the last walk found, nearest first, packed.
    pub sorted: Vec<u64>,
    pub plan: super::insert::Plan,
}

impl Core {
    /// Leaves the `ef` nearest nodes that are `ok` in `scratch.sorted`.
    pub fn search(&self, probe: Probe<'_>, ef: usize, scratch: &mut Scratch, ok: impl FnMut(u32) -> bool) {
        scratch.sorted.clear();
        if self.entry == NONE {
            return;
        }
        let mut nearest = self.entry_for(probe);
        for level in (1..=self.top()).rev() {
            nearest = self.descend(probe, nearest, level, scratch);
        }
        self.walk(probe, &[nearest], ef, 0, scratch, ok);
    }

    /// The entry, packed with its distance.
    pub fn entry_for(&self, probe: Probe<'_>) -> u64 {
        pack(self.rows.distance(probe, self.entry), self.entry)
    }

    /// Goes from node to node on a level as long as it gets nearer.
    pub fn descend(&self, probe: Probe<'_>, mut nearest: u64, level: usize, scratch: &mut Scratch) -> u64 {
        loop {
            let (_, node) = unpack(nearest);
            let (links, _) = self.links(node, level);
            let mut best = nearest;
            self.rows.distances(probe, links, &mut scratch.distances);
            for (link, distance) in links.iter().zip(&scratch.distances) {
                best = best.min(pack(*distance, *link));
            }
            // Among equals the walk would go round in circles.
            if order(best) >= order(nearest) {
                return nearest;
            }
            nearest = best;
        }
    }

    /// Walks a level from `starts` and leaves the `ef` nearest nodes that are `ok` in `scratch.sorted`. It ends when nothing is left that
    /// is nearer than the farthest of `ef` results.
    pub fn walk(&self, probe: Probe<'_>, starts: &[u64], ef: usize, level: usize, scratch: &mut Scratch, mut ok: impl FnMut(u32) -> bool) {
        let Scratch { visited, candidates, results, fresh, distances, sorted, .. } = scratch;
        visited.begin(self.len as usize);
        candidates.clear();
        results.clear();
        let mut worst = u32::MAX;
        for start in starts {
            let (_, node) = unpack(*start);
            if visited.enter(node) {
                candidates.push(Reverse(*start));
                if ok(node) {
                    results.push(*start);
                }
            }
        }
        while let Some(Reverse(nearest)) = candidates.pop() {
            if results.len() >= ef && order(nearest) > worst {
                break;
            }
            let (_, node) = unpack(nearest);
            fresh.clear();
            fresh.extend(self.links(node, level).0.iter().filter(|link| visited.enter(**link)));
            self.rows.distances(probe, fresh, distances);
            for (link, distance) in fresh.iter().zip(distances.iter()) {
                let found = pack(*distance, *link);
                let full = results.len() >= ef;
                if full && order(found) >= worst {
                    continue;
                }
                candidates.push(Reverse(found));
                if ok(*link) {
                    if full {
                        results.pop();
                    }
                    results.push(found);
                    if results.len() >= ef {
                        worst = results.peek().map_or(u32::MAX, |farthest| order(*farthest));
                    }
                }
            }
        }
        sorted.clear();
        sorted.extend(results.drain());
        sorted.sort_unstable();
    }
}
