//! Random numbers for `$sampleRate`, `$rand` and `{$meta: "randVal"}`: fast, not secret.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};

/// 64 random bits: splitmix64 over a per-thread state that the standard library's hasher keys seed.
pub fn bits() -> u64 {
    thread_local!(static STATE: Cell<u64> = Cell::new(std::hash::RandomState::new().build_hasher().finish()));
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let z = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A number in [0, 1): the top 53 bits as a fraction.
pub fn fraction() -> f64 {
    (bits() >> 11) as f64 / (1u64 << 53) as f64
}
