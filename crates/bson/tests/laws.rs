//! Laws that hold for all values.

use std::cmp::Ordering;

use proptest::prelude::*;
use smongo_bson::compare::compare;
use smongo_bson::keystring::{self, TypeBits, TypeBitsReader};
use smongo_bson::testing::{document, number, value};
use smongo_bson::{Doc, DocBuf, Value, ValueBuf, check, hash, json, number as num};

fn bytes(v: &ValueBuf) -> Vec<u8> {
    DocBuf::build(|w| {
        w.append("v", v.view());
    })
    .into_bytes()
}

/// An exact number as text: sign, whole digits without leading zeros, and all digits of the fraction.
fn exact(v: Value<'_>) -> Option<(bool, String, String)> {
    let (negative, digits, exponent) = match v {
        Value::Int32(n) => (n < 0, n.unsigned_abs().to_string(), 0),
        Value::Int64(n) => (n < 0, n.unsigned_abs().to_string(), 0),
        Value::Double(n) if n.is_finite() => (n < 0.0, format!("{:.1074}", n.abs()).replace('.', ""), -1074),
        Value::Decimal(d) if d.is_finite() => {
            let text = d.abs().to_string();
            let (mantissa, e) = text.split_once('E').unwrap_or((&text, "0"));
            let places = mantissa.split_once('.').map_or(0, |(_, f)| f.len() as i32);
            (d.is_negative(), mantissa.replace('.', ""), e.parse::<i32>().ok()? - places)
        }
        _ => return None,
    };
    let (whole, fraction) = if exponent >= 0 {
        (digits + &"0".repeat(exponent as usize), String::new())
    } else {
        let padded = format!("{digits:0>width$}", width = exponent.unsigned_abs() as usize + 1);
        let (w, f) = padded.split_at(padded.len() - exponent.unsigned_abs() as usize);
        (w.to_owned(), f.trim_end_matches('0').to_owned())
    };
    Some((negative, whole.trim_start_matches('0').to_owned(), fraction))
}

fn reference_order(a: Value<'_>, b: Value<'_>) -> Option<Ordering> {
    let ((n, w, f), (m, x, g)) = (exact(a)?, exact(b)?);
    let zero = |w: &str, f: &str| w.is_empty() && f.is_empty();
    let (n, m) = (n && !zero(&w, &f), m && !zero(&x, &g));
    let order = w.len().cmp(&x.len()).then_with(|| w.cmp(&x)).then_with(|| f.cmp(&g));
    Some(match (n, m) {
        (true, true) => order.reverse(),
        (false, false) => order,
        _ => m.cmp(&n),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 2000 } else { 50_000 }) })]

    #[test]
    fn numbers_compare_as_exact_numbers(a in number(), b in number()) {
        if let Some(order) = reference_order(a, b) {
            prop_assert_eq!(num::compare(a, b), order);
        }
    }

    #[test]
    fn compare_is_a_total_order(a in value(), b in value(), c in value()) {
        let (a, b, c) = (a.view(), b.view(), c.view());
        prop_assert_eq!(compare(a, a), Ordering::Equal);
        prop_assert_eq!(compare(a, b), compare(b, a).reverse());
        if compare(a, b).is_le() && compare(b, c).is_le() {
            prop_assert!(compare(a, c).is_le());
        }
        if compare(a, b).is_eq() {
            prop_assert_eq!(compare(a, c), compare(b, c));
            prop_assert_eq!(hash::hash_value(a), hash::hash_value(b));
        }
    }

    #[test]
    fn numbers_have_one_order_and_one_key(a in number(), b in number(), c in number()) {
        if num::compare(a, b).is_le() && num::compare(b, c).is_le() {
            prop_assert!(num::compare(a, c).is_le());
        }
        prop_assert_eq!(keystring::encode(a, false).cmp(&keystring::encode(b, false)), num::compare(a, b));
        if num::compare(a, b).is_eq() {
            prop_assert_eq!(hash::hash_value(a), hash::hash_value(b));
        }
    }

    #[test]
    fn key_order_is_value_order(a in value(), b in value(), tail in any::<[u8; 2]>()) {
        for descending in [false, true] {
            let key = |v: &ValueBuf, tail: u8| {
                let mut key = keystring::encode(v.view(), descending);
                key.push(tail);
                key
            };
            let order = compare(a.view(), b.view());
            let order = if descending { order.reverse() } else { order };
            // Whatever follows does not matter: no key is the prefix of another.
            let same = order.then(tail[0].cmp(&tail[1]));
            prop_assert_eq!(key(&a, tail[0]).cmp(&key(&b, tail[1])), same);
        }
    }

    #[test]
    fn keys_decode(v in value(), w in value(), descending: bool) {
        let (mut key, mut bits) = (Vec::new(), TypeBits::new());
        for v in [&v, &w] {
            keystring::append_with_type_bits(&mut key, &mut bits, v.view(), descending);
        }
        let (same, rest) = keystring::decode(&key, descending).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(compare(same.view(), v.view()).is_eq());
        prop_assert_eq!(rest, keystring::encode(w.view(), descending));
        prop_assert_eq!(keystring::skip(&key, descending).unwrap_or(&key), rest);
        let mut reader = TypeBitsReader::new(bits.as_bytes());
        let (same, rest) = keystring::decode_with(&key, descending, &mut reader).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(bytes(&same), bytes(&v));
        let (same, rest) = keystring::decode_with(rest, descending, &mut reader).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(bytes(&same), bytes(&w));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn damaged_keys_never_panic(v in value(), at: usize, with: u8, cut: usize, garbage in any::<Vec<u8>>()) {
        let (mut key, mut bits) = (Vec::new(), TypeBits::new());
        keystring::append_with_type_bits(&mut key, &mut bits, v.view(), false);
        let at = at % key.len();
        key[at] = with;
        key.truncate(key.len() - cut % key.len());
        for key in [&key, &garbage] {
            let _ = keystring::skip(key, false);
            let _ = keystring::decode(key, true);
            let _ = keystring::decode_with(key, false, &mut TypeBitsReader::new(&garbage));
            let _ = keystring::decode_with(key, false, &mut TypeBitsReader::new(bits.as_bytes()));
        }
    }

    #[test]
    fn documents_are_well_formed_and_copies_equal(doc in document()) {
        prop_assert!(check::document(doc.as_bytes()).is_ok());
        let copy = DocBuf::build(|w| doc.as_doc().iter().for_each(|e| { w.append(e.name(), e.value()); }));
        prop_assert_eq!(copy.as_bytes(), doc.as_bytes());
    }

    #[test]
    fn extended_json_round_trips(doc in document()) {
        // The official crate keeps the last of repeated names, so its own copy is what comes back.
        let Ok(theirs) = json::to_document(doc.as_doc()) else { return Ok(()) };
        let ours = json::from_document(&theirs).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(check::document(ours.as_bytes()).is_ok());
        let text = json::to_canonical(ours.as_doc());
        let back = json::parse_doc(&text).map_err(|e| TestCaseError::fail(format!("{e} in {text}")))?;
        prop_assert!(compare(back.as_doc().into(), ours.as_doc().into()).is_eq(), "{}", text);
    }

    #[test]
    fn damaged_documents_never_panic(doc in document(), damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4), cut: usize, garbage in any::<Vec<u8>>()) {
        let mut bytes = doc.into_bytes();
        for (at, with) in damage {
            let at = at % bytes.len();
            bytes[at] = with;
        }
        let cut = bytes.len() - cut % bytes.len();
        for bytes in [&bytes[..], &bytes[..cut], &garbage] {
            let sound = check::document(bytes).is_ok();
            read_all(Doc::from_checked(bytes));
            if sound {
                prop_assert!(keystring::decode(&keystring::encode(Doc::from_checked(bytes).into(), false), false).is_ok());
            }
        }
    }
}

/// Touches everything the views offer.
fn read_all(doc: Doc<'_>) {
    for e in doc.iter() {
        let _ = (e.name(), e.type_of(), e.raw(), e.value_bytes());
        match e.value() {
            Value::Document(d) => read_all(d),
            Value::Array(a) => read_all(a.0),
            Value::CodeWithScope(c) => {
                let _ = c.code();
                read_all(c.scope());
            }
            Value::DbPointer(p) => drop((p.namespace(), p.id())),
            Value::Regex(r) => drop((r.pattern(), r.options())),
            Value::Binary(b) => drop((b.subtype(), b.bytes())),
            Value::Decimal(d) => drop(d.to_string()),
            _ => {}
        }
        let _ = hash::hash_value(e.value());
        let _ = compare(e.value(), e.value());
        let _ = keystring::encode(e.value(), false);
    }
    let _ = (doc.get("a").type_name(), doc.len(), format!("{doc:?}"));
}
