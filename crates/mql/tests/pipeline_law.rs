//! Laws of pipelines: an optimized pipeline answers what the pipeline as it was written answers, and what spills to disk answers what does not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Memory;
use common::random::{Random, documents, is_ordered, pipeline};
use smongo_bson::json::to_relaxed;

const CASES: u64 = 4000;

/// The number of cases, and where the seeds begin: `CASES=100000 SEED=7 cargo test …` looks further.
fn range() -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let start = number("SEED", 0) << 32;
    start..start + number("CASES", CASES)
}

#[test]
fn optimized_is_unoptimized() {
    let (mut compared, mut rewritten) = (0, 0);
    for seed in range() {
        let mut r = Random(seed);
        let mut host = Memory::new(documents(&mut r), documents(&mut r));
        let stages = pipeline(&mut r);
        let Ok(plain) = host.run(&stages) else { continue };
        host.optimize = true;
        let optimized = host.run(&stages);
        compared += 1;
        rewritten += u32::from(host.rewrites(&stages));
        let text = || stages.iter().map(|s| to_relaxed(s.as_doc())).collect::<Vec<_>>().join(",\n");
        match optimized {
            Err(e) => panic!("seed {seed}: optimized fails: {e:?}\n{}", text()),
            Ok(optimized) => assert!(plain == optimized, "seed {seed}: {}\nplain {plain:#?}\noptimized {optimized:#?}", text()),
        }
    }
    assert!(compared > 100 && rewritten * 20 > compared, "{compared} cases were compared, {rewritten} rewritten");
}

#[test]
fn spilled_is_unspilled() {
    let mut spills = 0;
    for seed in range() {
        let mut r = Random(seed);
        let mut host = Memory::new(documents(&mut r), documents(&mut r));
        let stages = pipeline(&mut r);
        let Ok(mut whole) = host.run(&stages) else { continue };
        host.limit = 400 + r.below(1500);
        let before = host.files;
        let Ok(mut spilled) = host.run(&stages) else { continue };
        spills += host.files - before;
        // Groups that were spilled come in another order, and what follows may depend on it.
        if is_ordered(&stages) {
            whole.sort();
            spilled.sort();
            let text = || stages.iter().map(|s| to_relaxed(s.as_doc())).collect::<Vec<_>>().join(",\n");
            assert!(whole == spilled, "seed {seed}: {}\nwhole {whole:#?}\nspilled {spilled:#?}", text());
        }
    }
    assert!(spills > 100, "{spills} spills");
}
