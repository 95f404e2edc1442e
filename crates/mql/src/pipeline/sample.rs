//! `$sample`: some documents at random.

use smongo_bson::{Doc, Result, Value, bail, number};

use super::spill::{Sorted, Sorter};
use super::step::{Step, over};
use super::{Operator, Stage};
use crate::cx::CompileCx;
use crate::stream::{Host, Stream};

struct Sample {
    size: u64,
    allow_disk: bool,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else { bail!(28745, "the $sample stage specification must be an object") };
    let mut size = None;
    for field in spec {
        match (field.name(), field.value()) {
            ("size", Value::Decimal(d)) => size = Some(d.to_i64_rounded().unwrap_or(if d.is_negative() || d.is_nan() { 0 } else { i64::MAX })),
            ("size", v) if v.is_number() => size = Some(number::to_i64_saturating(v).unwrap_or(0)),
            ("size", _) => bail!(28746, "size argument to $sample must be a number"),
            (other, _) => bail!(28748, "unrecognized option to $sample: {other}"),
        }
    }
    let Some(size) = size else { bail!(28749, "$sample stage must specify a size") };
    if size <= 0 {
        bail!(28747, "size argument to $sample must be a positive integer");
    }
    out.push(Stage::Other(Box::new(Sample { size: size.unsigned_abs(), allow_disk: cx.allow_disk_use })));
    Ok(())
}

impl Operator for Sample {
    fn name(&self) -> &'static str {
        "$sample"
    }
    fn open(self: Box<Self>, input: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        Ok(over(input, SampleStream { spec: *self, sorted: None }))
    }
}

/// Sorts by a random key and keeps the first `size`.
struct SampleStream {
    spec: Sample,
    sorted: Option<Sorted>,
}

/// A generator (xorshift64*) seeded from the process's random hasher keys.
pub(super) struct Random(u64);

impl Random {
    pub fn new() -> Random {
        use std::hash::{BuildHasher, Hasher};
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Random(seed | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Step for SampleStream {
    const LENDS: bool = false;

    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool> {
        if let Some(sorted) = &mut self.sorted {
            return sorted.advance();
        }
        let mut sorter = Sorter::new("$sample", self.spec.allow_disk, Some(self.spec.size));
        let mut random = Random::new();
        let mut n = 0u32;
        while input.advance(host)? {
            sorter.push(&random.next().to_be_bytes(), input.doc().as_bytes(), host)?;
            n = n.wrapping_add(1);
            if n.is_multiple_of(1024) {
                host.interrupt()?;
            }
        }
        self.sorted.insert(sorter.finish(host)?).advance()
    }
    fn doc<'a>(&'a self, _input: &'a dyn Stream) -> Doc<'a> {
        self.sorted.as_ref().map_or(Doc::EMPTY, |s| Doc::from_checked(s.payload()))
    }
}
