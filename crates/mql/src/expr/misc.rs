//! `$rand $sampleRate $meta $toHashedIndexKey $createObjectId $tsSecond $tsIncrement $binarySize $bsonSize`, and operators that run JavaScript.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use smongo_bson::{ObjectId, Result, Value, bail, md5_hash, number};

use super::Dependencies;
use super::node::{Args, Fold, Node, Op};
use super::parse::{Row, Scope, nothing};
use crate::cx::Cx;

pub(super) static ROWS: &[Row] = &[
    Row::todo("$_internalJsEmit"),
    Row::exact("$binarySize", 1, binary_size),
    Row::exact("$bsonSize", 1, bson_size),
    Row::special("$createObjectId", parse_create_object_id, |_, _| Ok(Value::ObjectId(ObjectId::generate()))),
    Row::todo("$function"),
    Row::special("$meta", parse_meta, nothing),
    Row::special("$rand", parse_rand, |_, _| Ok(Value::Double(random()))),
    Row::special("$sampleRate", parse_sample_rate, |args, cx| {
        Ok(Value::Bool(random() < number::to_f64(args.eval(0, cx)?).unwrap_or(0.0)))
    }),
    Row::exact("$toHashedIndexKey", 1, |args, cx| {
        args.eval(0, cx).map(|v| Value::Int64(md5_hash::hashed_index_key(v)))
    }),
    Row::exact("$tsIncrement", 1, |args, cx| timestamp(args, cx, 5687302, |t| t.increment)),
    Row::exact("$tsSecond", 1, |args, cx| timestamp(args, cx, 5687301, |t| t.time)),
];

/// A number in [0, 1). The state belongs to the thread; its seed is the process's hash seed.
fn random() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(1u8));
    }
    // SplitMix64.
    let z = STATE.with(|s| {
        s.set(s.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        s.get()
    });
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn parse_rand(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    match spec {
        Value::Document(d) if d.is_empty() => {}
        Value::Array(a) if a.is_empty() => {}
        Value::Document(_) | Value::Array(_) => bail!(3040501, "$rand does not currently accept arguments"),
        _ => bail!(10065, "invalid parameter: expected an object ($rand)"),
    }
    Ok(scope.call_folding(row, Vec::new(), Fold::Never))
}

fn parse_create_object_id(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    match spec {
        Value::Document(d) if d.is_empty() => Ok(scope.call_folding(row, Vec::new(), Fold::Never)),
        Value::Document(_) => bail!(9, "$createObjectId does not accept arguments"),
        _ => bail!(10065, "invalid parameter: expected an object ($createObjectId)"),
    }
}

fn parse_sample_rate(row: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    let Some(rate) = number::to_f64(spec) else {
        bail!(BadValue, "argument to $sampleRate must be a numeric type");
    };
    if !(0.0..=1.0).contains(&rate) {
        bail!(BadValue, "numeric argument to $sampleRate must be in [0, 1]");
    }
    Ok(scope.call_folding(row, vec![Node::constant(Value::Double(rate))], Fold::Never))
}

/// Metadata that a search or a scan attaches to documents; missing where there is none.
struct Meta {
    name: &'static str,
}

fn parse_meta(_: &'static Row, spec: Value<'_>, scope: &mut Scope<'_>) -> Result<Node> {
    const NAMES: &[&str] = &[
        "geoNearDistance",
        "geoNearPoint",
        "indexKey",
        "randVal",
        "recordId",
        "score",
        "scoreDetails",
        "searchHighlights",
        "searchScore",
        "searchScoreDetails",
        "searchSequenceToken",
        "searchSortValues",
        "sortKey",
        "stream",
        "textScore",
        "timeseriesBucketMaxTime",
        "timeseriesBucketMinTime",
        "vectorSearchScore",
    ];
    let Value::String(name) = spec else {
        bail!(17307, "$meta only supports string arguments");
    };
    match NAMES.iter().find(|n| **n == name) {
        Some(name) => Ok(scope.op(Meta { name })),
        None => bail!(17308, "Unsupported argument to $meta: {name}"),
    }
}

impl Op for Meta {
    fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Value<'a>> {
        Ok(cx.meta.get(self.name))
    }

    fn children(&self, _: &mut dyn FnMut(&Node)) {}

    fn children_mut(&mut self, _: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
        Ok(())
    }

    fn depends(&self, deps: &mut Dependencies) {
        deps.meta.insert(self.name);
    }
}

fn timestamp<'a>(args: &'a Args, cx: &Cx<'a>, code: i32, part: fn(smongo_bson::Timestamp) -> u32) -> Result<Value<'a>> {
    match args.eval(0, cx)? {
        Value::Timestamp(t) => Ok(Value::Int64(i64::from(part(t)))),
        v if v.is_nullish() => Ok(Value::Null),
        v => {
            let message = format!("Argument to {} must be a timestamp, but is {}", args.name, v.type_name());
            Err(smongo_bson::Error::new(smongo_bson::Code(code), message))
        }
    }
}

fn binary_size<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(match args.eval(0, cx)? {
        Value::String(s) => Value::Int32(s.len() as i32),
        Value::Binary(b) => Value::Int32(b.bytes().len() as i32),
        v if v.is_nullish() => Value::Null,
        v => bail!(51276, "$binarySize requires a string or BinData argument, found: {}", v.type_name()),
    })
}

fn bson_size<'a>(args: &'a Args, cx: &Cx<'a>) -> Result<Value<'a>> {
    Ok(match args.eval(0, cx)? {
        Value::Document(d) => Value::Int32(d.as_bytes().len() as i32),
        v if v.is_nullish() => Value::Null,
        v => bail!(31393, "$bsonSize requires a document input, found: {}", v.type_name()),
    })
}
