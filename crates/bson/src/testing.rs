//! Generators of arbitrary values, for property tests of this crate and of those above it (feature `testing`).
//!
//! Names and strings come from small sets so that values meet; numbers gather where types meet: around zero, powers of
//! two, the ends of int and long, and in decimals that are almost doubles.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::decimal::{Decimal, MAX_COEFFICIENT};
use crate::doc::{Array, Doc};
use crate::oid::ObjectId;
use crate::owned::{DocBuf, ValueBuf};
use crate::value::{Binary, Regex, Timestamp, Value};
use crate::write::{ArrayWriter, DocWriter};

/// Short names, some of them numbers, one empty.
pub fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d", "ab", "0", "1", "é", "", "\u{1}"]).prop_map(str::to_owned)
}

/// Text with the characters that key encodings trip over.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => vec(select(vec!['a', 'b', 'A', '\0', '\u{1}', '\u{2}', 'é', '\u{10ffff}']), 0..4).prop_map(String::from_iter),
        1 => "[a-z ]{0,20}",
        1 => any::<String>(),
    ]
}

fn long() -> impl Strategy<Value = i64> {
    let near = (0u32..64, -2i64..=2, any::<bool>()).prop_map(|(bit, off, negative)| {
        let n = (1i64 << bit).wrapping_add(off);
        if negative { n.wrapping_neg() } else { n }
    });
    prop_oneof![3 => -3i64..=3, 3 => near, 1 => any::<i64>()]
}

fn double() -> impl Strategy<Value = f64> {
    let special = select(vec![0.0, -0.0, 0.1, 0.5, 1.1, 19.99, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e22, 1e23, 9.3e18]);
    prop_oneof![
        2 => special,
        2 => long().prop_map(|n| n as f64),
        2 => (long(), 1i32..60).prop_map(|(n, s)| n as f64 / 2f64.powi(s)),
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let assembled = (any::<bool>(), prop_oneof![0u128..200, 0..=MAX_COEFFICIENT], prop_oneof![3 => -36i32..36, 1 => -6176i32..=6111])
        .prop_map(|(n, c, e)| Decimal::from_parts(n, c, e).unwrap_or(Decimal::ZERO));
    prop_oneof![
        3 => assembled,
        2 => long().prop_map(Decimal::from_i64),
        2 => double().prop_map(Decimal::from_f64_exact),
        1 => double().prop_map(Decimal::from_f64),
        1 => select(vec![Decimal::NAN, Decimal::NAN.neg(), Decimal::INFINITY, Decimal::NEG_INFINITY, Decimal::MAX, Decimal::MIN, Decimal::ZERO.neg()]),
        1 => any::<u128>().prop_map(Decimal::from_bits),
    ]
}

/// A number of any of the four types.
pub fn number() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        long().prop_map(|n| Value::Int32(n as i32)),
        long().prop_map(Value::Int64),
        double().prop_map(Value::Double),
        decimal().prop_map(Value::Decimal),
    ]
}

/// A value that holds no other ones.
pub fn scalar() -> impl Strategy<Value = ValueBuf> {
    let plain = select(vec![Value::Null, Value::Bool(false), Value::Bool(true)]).prop_map(ValueBuf::new);
    let odd = select(vec![Value::MinKey, Value::MaxKey, Value::Undefined]).prop_map(ValueBuf::new);
    let id = vec(0u8..3, 12).prop_map(|b| ValueBuf::new(Value::ObjectId(ObjectId(b.try_into().unwrap_or_default()))));
    let timestamp = (any::<u32>(), 0u32..3).prop_map(|(time, increment)| ValueBuf::new(Value::Timestamp(Timestamp { time, increment })));
    let binary = vec(prop_oneof![0u8..3, any::<u8>()], 1..20).prop_map(|b| ValueBuf::new(Value::Binary(Binary::from_raw(&b))));
    let regex = ("[a-c]{0,3}", "[im]?").prop_map(|(p, o)| ValueBuf::new(Value::Regex(Regex::from_raw(format!("{p}\0{o}\0").as_bytes()))));
    prop_oneof![
        8 => number().prop_map(ValueBuf::new),
        4 => text().prop_map(|s| ValueBuf::new(Value::String(&s))),
        2 => plain,
        1 => odd,
        1 => id,
        1 => long().prop_map(|n| ValueBuf::new(Value::DateTime(n))),
        1 => timestamp,
        1 => binary,
        1 => regex,
        1 => text().prop_map(|s| ValueBuf::new(Value::Symbol(&s))),
        1 => text().prop_map(|s| ValueBuf::new(Value::JavaScript(&s))),
    ]
}

/// Any value, documents and arrays a few levels deep too.
pub fn value() -> impl Strategy<Value = ValueBuf> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|vs| ValueBuf::array(|w| vs.iter().for_each(|v| {
                w.push(v.view());
            }))),
            vec((name(), inner), 0..4).prop_map(|fields| ValueBuf::document(build(&fields))),
        ]
    })
}

/// A document of few fields, which may repeat.
pub fn document() -> impl Strategy<Value = DocBuf> {
    vec((name(), value()), 0..5).prop_map(|fields| build(&fields))
}

/// A document without repeated names, at any depth: what updates and deltas have a meaning for.
pub fn distinct_document() -> impl Strategy<Value = DocBuf> {
    vec((name(), value()), 0..5).prop_map(|fields| DocBuf::build(|w| distinct(build(&fields).as_doc(), w)))
}

fn distinct(doc: Doc<'_>, w: &mut DocWriter<'_>) {
    let mut seen = std::collections::HashSet::new();
    for e in doc {
        if !seen.insert(e.name()) {
            continue;
        }
        match e.value() {
            Value::Document(inner) => distinct(inner, &mut w.document(e.name())),
            Value::Array(inner) => distinct_array(inner, &mut w.array(e.name())),
            _ => {
                w.append_element(&e);
            }
        }
    }
}

fn distinct_array(array: Array<'_>, w: &mut ArrayWriter<'_>) {
    for v in array.iter() {
        match v {
            Value::Document(inner) => distinct(inner, &mut w.document()),
            Value::Array(inner) => distinct_array(inner, &mut w.array()),
            v => {
                w.push(v);
            }
        }
    }
}

fn build(fields: &[(String, ValueBuf)]) -> DocBuf {
    DocBuf::build(|w| {
        for (name, v) in fields {
            w.append(name, v.view());
        }
    })
}
