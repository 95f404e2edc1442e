//! Vectors that are made up: the same ones each time.

/// xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Nearly normal: the sum of twelve uniform ones.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform() - self.uniform()).sum()
    }
}

/// Rows and queries: points around `clusters` centres at a distance of `spread` times that of the centres from the origin. With a
/// spread of 1 the clusters overlap.
pub struct Set {
    pub dims: usize,
    pub rows: Vec<f32>,
    pub queries: Vec<f32>,
}

pub fn clusters(n: usize, dims: usize, clusters: usize, spread: f32, queries: usize) -> Set {
    let mut r = Random::new(7);
    let centres: Vec<f32> = (0..clusters * dims).map(|_| r.normal()).collect();
    let mut make = |n: usize| {
        let mut out = Vec::with_capacity(n * dims);
        for _ in 0..n {
            let at = r.below(clusters) * dims;
            out.extend(centres[at..at + dims].iter().map(|c| c + spread * r.normal()));
        }
        out
    };
    let rows = make(n);
    let queries = make(queries);
    Set { dims, rows, queries }
}

impl Set {
    pub fn len(&self) -> usize {
        self.rows.len() / self.dims
    }
}
