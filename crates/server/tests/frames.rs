//! Every kind of frame, well and badly formed, through a socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write;
use std::net::Shutdown;

use common::{body, code, message, msg, ok, ping, sequence, start};
use smongo_bson::{DocBuf, DocWriter};
use smongo_server::compress::{self, Compressor};
use smongo_server::frame::{HEADER, OP_MSG, OP_QUERY, OP_REPLY};

#[test]
fn a_ping_is_answered_and_names_its_request() {
    let server = start();
    let reply = server.client().round(&msg(41, 0, &[body(&ping())])).unwrap();
    assert_eq!((reply.header.opcode, reply.header.response_to, reply.flags()), (OP_MSG, 41, 0));
    assert!(ok(reply.body().as_doc()));
}

#[test]
fn frames_may_arrive_in_pieces_or_together() {
    let server = start();
    let mut client = server.client();
    for byte in msg(1, 0, &[body(&ping())]) {
        client.send(&[byte]);
    }
    assert_eq!(client.recv().unwrap().header.response_to, 1);
    let mut three = Vec::new();
    for id in 2..5 {
        three.extend(msg(id, 0, &[body(&ping())]));
    }
    client.send(&three);
    for id in 2..5 {
        assert_eq!(client.recv().unwrap().header.response_to, id);
    }
}

#[test]
fn a_large_frame_grows_the_buffer_and_small_ones_follow() {
    let server = start();
    let mut client = server.client();
    let text = "x".repeat(3_000_000);
    let large = DocBuf::build(|w| {
        w.append("ping", 1).append("$db", "admin").append("comment", text.as_str());
    });
    for _ in 0..3 {
        assert!(ok(client.round(&msg(1, 0, &[body(&large)])).unwrap().body().as_doc()));
        assert!(client.ping_works());
    }
}

#[test]
fn more_to_come_is_not_answered() {
    let server = start();
    let mut client = server.client();
    client.send(&msg(1, 2, &[body(&ping())]));
    let bad = DocBuf::build(|w| {
        w.append("ping", 1);
    });
    client.send(&msg(2, 2, &[body(&bad), body(&bad)]));
    assert!(client.ping_works());
}

#[test]
fn lengths_out_of_bounds_close_the_connection() {
    let server = start();
    for len in [0i32, 1, 15, -1, i32::MIN, 48_000_001, i32::MAX] {
        let mut client = server.client();
        let mut frame = msg(1, 0, &[body(&ping())]);
        frame[..4].copy_from_slice(&len.to_le_bytes());
        assert!(client.round(&frame).is_none(), "{len}");
    }
    assert!(server.client().ping_works());
}

#[test]
fn a_frame_that_ends_early_closes_the_connection() {
    let server = start();
    let frame = msg(1, 0, &[body(&ping())]);
    for cut in [1, 15, 16, 20, frame.len() - 1] {
        let mut client = server.client();
        client.send(&frame[..cut]);
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.recv().is_none(), "{cut}");
    }
    assert!(server.client().ping_works());
}

#[test]
fn unknown_and_removed_opcodes_close_the_connection() {
    let server = start();
    for opcode in [0, 1, 1000, 2001, 2002, 2005, 2006, 2007, 2010, 2011, 2014, -1, i32::MAX] {
        assert!(server.client().round(&message(opcode, 1, &[0; 40])).is_none(), "{opcode}");
    }
    assert!(server.client().ping_works());
}

#[test]
fn unknown_required_flags_close_and_optional_ones_are_ignored() {
    let server = start();
    for bit in 2..16 {
        assert!(server.client().round(&msg(1, 1 << bit, &[body(&ping())])).is_none(), "bit {bit}");
    }
    for bit in 16..32 {
        let reply = server.client().round(&msg(1, 1 << bit, &[body(&ping())])).unwrap();
        assert!(ok(reply.body().as_doc()), "bit {bit}");
    }
}

#[test]
fn a_checksum_is_verified_and_answered_with_one() {
    let server = start();
    let mut frame = msg(9, 1, &[body(&ping()), vec![0; 4]]);
    let at = frame.len() - 4;
    let crc = crc32c(&frame[..at]);
    frame[at..].copy_from_slice(&crc.to_le_bytes());
    let mut client = server.client();
    let reply = client.round(&frame).unwrap();
    assert_eq!(reply.flags(), 1);
    assert!(ok(reply.body().as_doc()));
    let (covered, given) = reply.bytes.split_last_chunk::<4>().unwrap();
    assert_eq!(crc32c(covered), u32::from_le_bytes(*given));
    frame[at] ^= 1;
    assert!(client.round(&frame).is_none());
}

/// CRC-32C bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for b in bytes {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[test]
fn malformed_sections_are_answered_and_the_connection_lives() {
    let server = start();
    let mut client = server.client();
    let d = DocBuf::build(|w| {
        w.append("a", 1);
    });
    let with_documents = DocBuf::build(|w| {
        w.append("insert", "c").append("$db", "t").array("documents").push(1);
    });
    let docs = || sequence("documents", std::slice::from_ref(&d));
    let mut overlong = docs();
    overlong[1..5].copy_from_slice(&1000i32.to_le_bytes());
    let mut negative = docs();
    negative[1..5].copy_from_slice(&(-5i32).to_le_bytes());
    let mut unnamed = vec![1];
    unnamed.extend_from_slice(&7i32.to_le_bytes());
    unnamed.extend_from_slice(b"abc");
    let cases: Vec<(i64, Vec<Vec<u8>>)> = vec![
        (40430, vec![body(&ping()), body(&ping())]),
        (40431, vec![body(&ping()), docs(), docs()]),
        (40432, vec![body(&ping()), vec![2, 0, 0]]),
        (40433, vec![body(&with_documents), docs()]),
        (40587, vec![]),
        (40587, vec![docs()]),
        (22, vec![vec![0]]),
        (22, vec![vec![0, 255, 255, 255, 255]]),
        (22, vec![body(&ping()), vec![1]]),
        (22, vec![body(&ping()), overlong]),
        (22, vec![body(&ping()), negative]),
        (22, vec![body(&ping()), unnamed]),
    ];
    for (n, (expected, sections)) in cases.into_iter().enumerate() {
        let reply = client.round(&msg(n as i32, 0, &sections)).unwrap();
        assert_eq!(reply.header.response_to, n as i32);
        assert_eq!(code(reply.body().as_doc()), expected, "case {n}: {:?}", reply.body());
        assert!(client.ping_works(), "case {n}");
    }
}

/// `{ping: 1, <field>, $db: "admin"}` with the field's bytes as given.
fn ping_with(raw: &[u8]) -> Vec<u8> {
    let inner = ping();
    let mut d = vec![0; 4];
    d.extend_from_slice(inner.as_doc().body());
    d.extend_from_slice(raw);
    d.push(0);
    let len = (d.len() as i32).to_le_bytes();
    d[..4].copy_from_slice(&len);
    let mut s = vec![0];
    s.extend(d);
    s
}

#[test]
fn bad_bson_is_answered_with_invalid_bson() {
    let server = start();
    let mut client = server.client();
    let bad: &[&[u8]] = &[
        b"\x02a\0\x02\0\0\0xx",            // a string without its NUL
        b"\x02a\0\0\0\0\0",                // a string of length zero
        b"\x02a\0\xff\xff\xff\x7fx\0",     // a string longer than the document
        b"\x02a\0\x03\0\0\0\xff\xfe\0",    // not UTF-8
        b"\x08a\0\x02",                    // a boolean that is neither
        b"\x03a\0\x05\0\0\0\x01",          // a document that does not end with NUL
        b"\x03a\0\x04\0\0\0\0",            // a document of four bytes
        b"\x10a\0\x01",                    // half a number
        b"\x2aa\0\0",                      // no such type
        b"\x05a\0\xff\xff\xff\xff\0",      // binary of negative length
        b"\x0ba\0abc",                     // a regular expression without end
        b"\x0fa\0\x04\0\0\0",              // code with scope that is only a length
        b"\x10abc",                        // a name without end
    ];
    for raw in bad {
        let reply = client.round(&msg(1, 0, &[ping_with(raw)])).unwrap().body();
        assert_eq!(code(reply.as_doc()), 22, "{raw:?} {reply:?}");
        assert!(client.ping_works());
    }
}

fn nested(levels: usize) -> DocBuf {
    fn fill(w: &mut DocWriter<'_>, levels: usize) {
        if levels > 0 {
            fill(&mut w.document("a"), levels - 1);
        }
    }
    DocBuf::build(|w| {
        w.append("ping", 1).append("$db", "admin");
        fill(&mut w.document("comment"), levels);
    })
}

#[test]
fn nesting_is_bounded() {
    let server = start();
    let mut client = server.client();
    assert!(ok(client.round(&msg(1, 0, &[body(&nested(150))])).unwrap().body().as_doc()));
    for levels in [250, 20_000] {
        let reply = client.round(&msg(1, 0, &[body(&nested(levels))])).unwrap().body();
        assert!(!ok(reply.as_doc()));
    }
    assert!(client.ping_works());
}

#[test]
fn compressed_requests_are_answered_compressed() {
    let server = start();
    let mut client = server.client();
    for c in [Compressor::Noop, Compressor::Snappy, Compressor::Zlib, Compressor::Zstd] {
        let (mut packed, mut plain) = (Vec::new(), Vec::new());
        compress::pack(c, &msg(12, 0, &[body(&ping())]), &mut packed).unwrap();
        let reply = client.round(&packed).unwrap();
        let (header, with) = compress::unpack(&reply.header, &reply.bytes, &mut plain).unwrap();
        assert_eq!((header.opcode, header.response_to, with), (OP_MSG, 12, c));
        assert!(ok(common::Frame { header, bytes: plain }.body().as_doc()));
    }
}

#[test]
fn badly_compressed_frames_close_the_connection() {
    let server = start();
    for c in [Compressor::Snappy, Compressor::Zlib, Compressor::Zstd] {
        let mut good = Vec::new();
        compress::pack(c, &msg(12, 0, &[body(&ping())]), &mut good).unwrap();
        let change = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            frame
        };
        let cut = message(2012, 1, &good[HEADER..HEADER + 8]);
        let mut huge = good.clone();
        huge[20..24].copy_from_slice(&i32::MAX.to_le_bytes());
        // compressor 200, a size that does not fit, OP_COMPRESSED within, broken data, too short
        for frame in [change(24, 200), change(20, 1), change(16, 0xdc), change(25, 0xff), cut, huge] {
            assert!(server.client().round(&frame).is_none(), "{c:?}");
        }
    }
    assert!(server.client().ping_works());
}

fn op_query(namespace: &str, doc: &DocBuf) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend_from_slice(namespace.as_bytes());
    payload.push(0);
    payload.extend_from_slice(&0i32.to_le_bytes());
    payload.extend_from_slice(&(-1i32).to_le_bytes());
    payload.extend_from_slice(doc.as_bytes());
    message(OP_QUERY, 3, &payload)
}

/// The document of an OP_REPLY and its flags.
fn op_reply(frame: &common::Frame) -> (i32, DocBuf) {
    assert_eq!((frame.header.opcode, frame.header.response_to), (OP_REPLY, 3));
    let flags = i32::from_le_bytes(*frame.bytes[16..].first_chunk().unwrap());
    assert_eq!(&frame.bytes[20..36], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    (flags, DocBuf::parse(frame.bytes[36..].to_vec()).unwrap())
}

#[test]
fn the_legacy_hello_is_answered_and_nothing_else_is() {
    let server = start();
    let mut client = server.client();
    let command = |name: &str| {
        DocBuf::build(|w| {
            w.append(name, 1);
        })
    };
    for name in ["hello", "isMaster", "ismaster"] {
        let (flags, reply) = op_reply(&client.round(&op_query("admin.$cmd", &command(name))).unwrap());
        assert!(flags == 0 && ok(reply.as_doc()), "{reply:?}");
    }
    let (flags, reply) = op_reply(&client.round(&op_query("admin.$cmd", &command("ping"))).unwrap());
    assert_eq!((flags, code(reply.as_doc())), (0, 352));
    let (flags, reply) = op_reply(&client.round(&op_query("test.things", &command("a"))).unwrap());
    assert_eq!(flags, 2);
    assert!(reply.as_doc().contains("$err"));
    assert!(client.ping_works());
    for broken in [vec![0; 4], vec![7; 30], b"\0\0\0\0admin.$cmd\0\0\0\0\0\0\0\0\0\xff\0\0\0".to_vec()] {
        assert!(server.client().round(&message(OP_QUERY, 3, &broken)).is_none());
    }
    assert!(server.client().ping_works());
}

#[test]
fn a_client_that_leaves_without_reading_harms_nobody() {
    let server = start();
    for _ in 0..50 {
        let mut client = server.client();
        for id in 0..20 {
            let _ = client.stream.write_all(&msg(id, 0, &[body(&ping())]));
        }
    }
    assert!(server.client().ping_works());
}

#[test]
fn a_command_must_say_its_database() {
    let server = start();
    let mut client = server.client();
    let homeless = DocBuf::build(|w| {
        w.append("ping", 1);
    });
    let reply = client.round(&msg(1, 0, &[body(&homeless)])).unwrap();
    assert_eq!(code(reply.body().as_doc()), 40571);
    assert!(client.ping_works());
}

/// Decided in cases/diff/03_strings_are_utf8.case.
#[test]
fn what_is_not_utf8_is_refused_and_nothing_is_stored() {
    let server = start();
    let mut client = server.client();
    let insert = |marks: &str| {
        DocBuf::build(|w| {
            w.append("insert", "c").append("$db", "t");
            let mut documents = w.array("documents");
            documents.document().append("_id", 1).append("s", "in order");
            documents.document().append("_id", 2).append("s", marks);
        })
    };
    let mut broken = insert("\u{e9}\u{e9}").into_bytes();
    let at = broken.windows(2).rposition(|pair| pair == [0xc3, 0xa9]).unwrap();
    broken[at] = 0xff;
    let mut section = vec![0];
    section.extend_from_slice(&broken);
    assert_eq!(code(client.round(&msg(1, 0, &[section])).unwrap().body().as_doc()), 22);
    let count = DocBuf::build(|w| {
        w.append("count", "c").append("$db", "t");
    });
    let reply = client.round(&msg(2, 0, &[body(&count)])).unwrap();
    assert_eq!(common::number(reply.body().get("n")), Some(0.0));
}
