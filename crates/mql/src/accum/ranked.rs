//! Numbers in order, found by their rank.

/// A block of more numbers is split, one that is much smaller than half of this is joined with a neighbour.
const BLOCK: usize = 1024;

/// Numbers that come and go, none of them NaN. They lie in sorted blocks, none of which is empty: finding one by its rank passes over
/// the blocks, inserting and removing move a part of one block. Both are a microsecond for millions of numbers.
#[derive(Debug, Default)]
pub struct Ranked {
    blocks: Vec<Vec<f64>>,
    len: usize,
}

impl Ranked {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block that holds `x`, or may.
    fn find(&self, x: f64) -> usize {
        let at = self.blocks.partition_point(|b| b.last().is_some_and(|last| last.total_cmp(&x).is_lt()));
        at.min(self.blocks.len().saturating_sub(1))
    }

    pub fn insert(&mut self, x: f64) {
        self.len += 1;
        let at = self.find(x);
        let Some(block) = self.blocks.get_mut(at) else { return self.blocks.push(vec![x]) };
        block.insert(block.partition_point(|y| y.total_cmp(&x).is_lt()), x);
        if block.len() > BLOCK {
            let upper = block.split_off(BLOCK / 2);
            self.blocks.insert(at + 1, upper);
        }
    }

    /// Takes out one `x`, if there is one.
    pub fn remove(&mut self, x: f64) {
        let at = self.find(x);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Ok(place) = block.binary_search_by(|y| y.total_cmp(&x)) else { return };
        block.remove(place);
        self.len -= 1;
        let len = block.len();
        if len == 0 {
            self.blocks.remove(at);
        } else if self.blocks.get(at + 1).is_some_and(|next| len + next.len() < BLOCK / 4) {
            let next = self.blocks.remove(at + 1);
            self.blocks.get_mut(at).into_iter().for_each(|block| block.extend(&next));
        }
    }

    /// The number that so many are before.
    pub fn nth(&self, mut rank: usize) -> Option<f64> {
        for block in &self.blocks {
            match block.get(rank) {
                Some(x) => return Some(*x),
                None => rank -= block.len(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_sorted_list() {
        let (mut ranked, mut list) = (Ranked::default(), Vec::new());
        let mut seed = 1u64;
        for step in 0..30_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let x = (seed >> 50) as f64 - 8000.0;
            // It grows, and shrinks to nothing.
            if step < 12_000 || (step < 15_000 && step % 2 == 0) {
                ranked.insert(x);
                list.push(x);
            } else if !list.is_empty() {
                ranked.remove(list.swap_remove(seed as usize % list.len()));
            }
            if step % 1000 == 0 {
                list.sort_by(f64::total_cmp);
                assert_eq!((0..ranked.len()).filter_map(|at| ranked.nth(at)).collect::<Vec<_>>(), list);
            }
        }
        assert!(ranked.is_empty() && ranked.blocks.is_empty());
        ranked.remove(1.0);
    }
}
