//! The fuzz targets without coverage: random mutations of good inputs, for `SMONGO_FUZZ_SECONDS` each (default 1).
//! A failure prints its seed; `SMONGO_FUZZ_SEED` repeats it. Seeds begin with the time, or with `SMONGO_FUZZ_START`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod common;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smongo_bson::json::parse_doc;
use smongo_server::compress::{self, Compressor};

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A good input with a few changes, or noise.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds.get(self.below(seeds.len() + 1)).cloned().unwrap_or_default();
        if input.is_empty() {
            return (0..self.below(300)).map(|_| self.next() as u8).collect();
        }
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            match self.below(8) {
                0 => input.truncate(at),
                1 => input.insert(at, self.next() as u8),
                2 => drop(input.remove(at)),
                3 => input[at] ^= 1 << self.below(8),
                4 => input[at] = [0, 1, 4, 5, 0x7f, 0x80, 0xff][self.below(7)],
                5 => {
                    let end = (at + self.below(40)).min(input.len());
                    let piece = input[at..end].to_vec();
                    let to = self.below(input.len());
                    input.splice(to..to, piece);
                }
                6 => {
                    let other = &seeds[self.below(seeds.len())];
                    let cut = self.below(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[cut..]);
                }
                // A length: off by a little, or by a lot.
                _ if at + 4 <= input.len() => {
                    let n = i32::from_le_bytes(*input[at..].first_chunk().unwrap());
                    let n = [n.wrapping_add(1), n.wrapping_sub(1), -1, 0, i32::MAX, i32::MIN][self.below(6)];
                    input[at..at + 4].copy_from_slice(&n.to_le_bytes());
                }
                _ => {}
            }
            if input.is_empty() {
                break;
            }
        }
        input
    }
}

thread_local! {
    /// Where this thread panicked, also where the engine caught it at its door.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let at = info.location().map(ToString::to_string).unwrap_or_default();
            let first_here = PANICS.with(|p| {
                p.borrow_mut().push(at);
                p.borrow().len() == 1
            });
            if first_here {
                before(info);
            }
        }));
    });
}

/// Runs until the time is over and names every place that panicked, with a seed that leads there.
fn run(target: fn(&[u8]), mut input: impl FnMut(&mut Rng) -> Vec<u8>) {
    note_panics();
    let seconds = std::env::var("SMONGO_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = std::env::var("SMONGO_FUZZ_SEED").ok().and_then(|s| s.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let start = std::env::var("SMONGO_FUZZ_START").ok().and_then(|s| s.parse().ok());
    let mut seed = first.or(start).unwrap_or_else(now);
    let mut runs = 0u64;
    let mut found = BTreeMap::new();
    loop {
        let bytes = input(&mut Rng(seed));
        let begun = Instant::now();
        let _ = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        if begun.elapsed() > Duration::from_secs(20) {
            found.entry(format!("took {:?}", begun.elapsed())).or_insert(seed);
        }
        for at in PANICS.with(RefCell::take) {
            found.entry(at).or_insert(seed);
        }
        runs += 1;
        if first.is_some() || Instant::now() > end {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    println!("{runs} runs");
    assert!(found.is_empty(), "panics, each with its SMONGO_FUZZ_SEED: {found:#?}");
}

/// A document with every type.
fn every_type() -> Vec<u8> {
    let text = r#"{"d":1.5,"s":"text","o":{"a":{"b":[]}},"l":[1,"x",{"y":null}],"b":{"$binary":{"base64":"AQID","subType":"00"}},"u":{"$undefined":true},
        "i":{"$oid":"5f5f5f5f5f5f5f5f5f5f5f5f"},"t":true,"w":{"$date":"2020-01-02T03:04:05.678Z"},"n":null,"r":{"$regularExpression":{"pattern":"a+","options":"i"}},
        "j":{"$code":"f()"},"y":{"$symbol":"z"},"c":{"$code":"g()","$scope":{"v":1}},"k":7,"m":{"$timestamp":{"t":5,"i":6}},"g":{"$numberLong":"9007199254740993"},
        "e":{"$numberDecimal":"1.50E+7"},"lo":{"$minKey":1},"hi":{"$maxKey":1},"nan":{"$numberDouble":"NaN"},"z":{"$numberDouble":"-0.0"}}"#;
    parse_doc(text).unwrap().into_bytes()
}

fn documents() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = targets::command_seeds().iter().map(|d| d.as_bytes().to_vec()).collect();
    all.push(every_type());
    all
}

#[test]
fn bson() {
    let seeds = documents();
    run(targets::bson, |rng| rng.mutate(&seeds));
}

#[test]
fn key() {
    let bytes = every_type();
    let doc = smongo_bson::Doc::from_checked(&bytes);
    let keys: Vec<Vec<u8>> = doc.iter().map(|e| smongo_bson::keystring::encode(e.value(), false)).collect();
    run(targets::key, |rng| {
        let mut input = vec![0xff; rng.below(40)];
        input.extend(rng.mutate(&keys));
        input
    });
}

#[test]
fn frame() {
    let mut seeds = Vec::new();
    for doc in targets::command_seeds() {
        let plain = common::msg(1, 0, &[common::body(doc), common::sequence("documents", &[doc.clone(), doc.clone()])]);
        for c in [Compressor::Noop, Compressor::Snappy, Compressor::Zlib, Compressor::Zstd] {
            let mut packed = Vec::new();
            compress::pack(c, &plain, &mut packed).unwrap();
            seeds.push(packed);
        }
        let mut query = b"\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff".to_vec();
        query.extend_from_slice(doc.as_bytes());
        seeds.push(common::message(smongo_server::frame::OP_QUERY, 2, &query));
        seeds.push(plain);
    }
    run(targets::frame, |rng| rng.mutate(&seeds));
}

#[test]
fn command() {
    run(targets::command, |rng| (0..rng.below(400)).map(|_| rng.next() as u8).collect());
}

#[test]
fn scram() {
    let seeds = targets::scram_seeds();
    run(targets::scram, |rng| rng.mutate(&seeds));
}

#[test]
fn dn() {
    let authority = authority::Authority::new("ours");
    let subjects = ["CN=a", "C=DE,ST=B,L=C,O=D,OU=E,CN=F", "O=a\\, b\\+c,CN= #x\"<>;\\\\ ", "DC=org,UID=\u{e4}\u{7}"];
    let seeds = subjects.map(|subject| authority.sign(subject, authority::Validity::Now).der);
    // Mutated lengths are seldom good: single bytes are, more often.
    run(targets::dn, |rng| match rng.below(2) {
        0 => rng.mutate(&seeds),
        _ => {
            let mut der = seeds[rng.below(seeds.len())].clone();
            let at = rng.below(der.len());
            der[at] = rng.next() as u8;
            der
        }
    });
}

#[test]
fn graph_file() {
    let seeds = targets::graph_file_seeds();
    run(targets::graph_file, |rng| rng.mutate(&seeds));
}

#[test]
fn conversation() {
    run(targets::conversation, |rng| (0..rng.below(40)).map(|_| rng.next() as u8).collect());
}

#[test]
fn needs() {
    run(targets::needs, |rng| (0..rng.below(400)).map(|_| rng.next() as u8).collect());
}

#[test]
fn privilege() {
    run(targets::privilege, |rng| (0..rng.below(60)).map(|_| rng.next() as u8).collect());
}
