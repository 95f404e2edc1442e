//! Fuzz targets: each takes arbitrary bytes and must neither panic nor hang, and what it reads must obey its laws.
//!
//! Two drivers use them: cargo-fuzz (`fuzz_targets/`), and a plain test with random mutations that CI runs
//! (`crates/server/tests/fuzz.rs` includes this file).

mod access;
mod command;
mod graph;
mod login;

use std::cmp::Ordering;

use smongo_bson::keystring::{self, TypeBits, TypeBitsReader};
use smongo_bson::{Array, Doc, DocWriter, Value, check, compare, json};
use smongo_server::frame::{HEADER, Header, OP_COMPRESSED, OP_QUERY, Reader};
use smongo_server::{compress, legacy, message};

pub use access::{needs, privilege};
pub use command::{command, seeds as command_seeds};
pub use graph::{graph_file, graph_file_seeds};
pub use login::{conversation, scram, scram_seeds};

/// A certificate: the name it is known by, if it has one, can be taken apart into attributes again, and has nothing in it that
/// does something to the text around it.
pub fn dn(data: &[u8]) {
    let Some(name) = smongo_server::tls::subject_of(data) else { return };
    assert!(!name.is_empty() && !name.chars().any(|c| c.is_ascii_control()), "{name:?}");
    let (mut escaped, mut quoted, mut has_value) = (false, String::new(), false);
    for c in name.chars().chain([',']) {
        match c {
            '\\' if !escaped => escaped = true,
            ',' | '+' if !escaped => {
                assert!(has_value, "{name:?}: {quoted:?} is no attribute");
                (quoted, has_value) = (String::new(), false);
            }
            c => {
                has_value |= c == '=' && !quoted.is_empty();
                assert!(escaped || !matches!(c, '"' | '<' | '>' | ';'), "{name:?}");
                quoted.push(c);
                escaped = false;
            }
        }
    }
    assert!(!escaped, "{name:?}");
}

/// A frame as the server reads it: split from a stream, unpacked, parsed.
pub fn frame(data: &[u8]) {
    let mut reader = Reader::default();
    let mut stream = data;
    while let Ok(Some((header, frame))) = reader.next(&mut stream) {
        assert_eq!(frame.len(), header.len);
        one_frame(header, frame);
    }
}

fn one_frame(header: Header, frame: &[u8]) {
    match header.opcode {
        OP_QUERY => drop(legacy::parse(frame)),
        OP_COMPRESSED => {
            let mut plain = Vec::new();
            if let Ok((inner, _)) = compress::unpack(&header, frame, &mut plain) {
                assert_eq!(inner.len, plain.len());
                drop(message::parse(&plain));
            }
        }
        // Whatever the code says: the parsers are what is tested.
        _ => {
            drop(legacy::parse(frame));
            if let Ok(message) = message::parse(frame) {
                assert!(message.body.as_bytes().len() <= frame.len() - HEADER);
                document(message.body, 0);
            }
        }
    }
}

/// Bytes that may be a document: if the check accepts them, every reader must agree with it.
pub fn bson(data: &[u8]) {
    if check::document(data).is_err() {
        return;
    }
    let doc = Doc::from_checked(data);
    document(doc, 0);
    let _ = json::to_relaxed(doc);
    let mut copy = Vec::new();
    let mut w = DocWriter::new(&mut copy);
    for e in doc {
        w.append(e.name(), e.value());
    }
    w.finish();
    assert_eq!(copy, data, "a document is written as it was read");
    let few: Vec<Value<'_>> = doc.iter().take(8).map(|e| e.value()).collect();
    for a in &few {
        for b in &few {
            assert_eq!(compare::compare(*a, *b), compare::compare(*b, *a).reverse(), "{a:?} {b:?}");
            order_of_keys(*a, *b);
        }
    }
}

/// The bytes of keys stand in the order of their values, both ways.
fn order_of_keys(a: Value<'_>, b: Value<'_>) {
    let order = compare::compare(a, b);
    assert_eq!(keystring::encode(a, false).cmp(&keystring::encode(b, false)), order, "{a:?} {b:?}");
    assert_eq!(keystring::encode(a, true).cmp(&keystring::encode(b, true)), order.reverse(), "descending {a:?} {b:?}");
}

fn document(doc: Doc<'_>, depth: usize) {
    assert!(depth <= check::MAX_DEPTH);
    let mut bytes = 5;
    for e in doc {
        bytes += e.raw().len();
        value(e.value(), depth);
    }
    assert_eq!(bytes, doc.as_bytes().len(), "every byte belongs to a field");
}

fn value(v: Value<'_>, depth: usize) {
    assert!(!v.is_missing());
    assert_eq!(compare::compare(v, v), Ordering::Equal, "{v:?}");
    if depth < 2 {
        round_trip(v);
    }
    match v {
        Value::Document(d) | Value::Array(Array(d)) => document(d, depth + 1),
        Value::CodeWithScope(c) => document(c.scope(), depth + 1),
        _ => {}
    }
}

fn round_trip(v: Value<'_>) {
    for descending in [false, true] {
        let (mut key, mut bits) = (Vec::new(), TypeBits::new());
        keystring::append_with_type_bits(&mut key, &mut bits, v, descending);
        let mut reader = TypeBitsReader::new(bits.as_bytes());
        match keystring::decode_with(&key, descending, &mut reader) {
            Ok((back, rest)) => {
                assert!(rest.is_empty());
                assert_eq!(compare::compare(back.view(), v), Ordering::Equal, "{v:?} became {back:?}");
            }
            Err(e) => panic!("the key of {v:?} cannot be read: {e}"),
        }
    }
}

/// Bytes that may be a key, and others that may be its type bits.
pub fn key(data: &[u8]) {
    let (bits, key) = data.split_at(data.len() / 4);
    for descending in [false, true] {
        let _ = keystring::skip(key, descending);
        let _ = keystring::decode(key, descending);
        let mut reader = TypeBitsReader::new(bits);
        if let Ok((v, _)) = keystring::decode_with(key, descending, &mut reader) {
            let _ = json::value_to_relaxed(v.view());
        }
    }
}
