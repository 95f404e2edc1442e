//! Times the operations every request is made of: `cargo run --release -p smongo-bson --example bench`.
//!
//! Each line is the best of several rounds, in nanoseconds for one operation. An argument picks the lines holding it.

use std::hint::black_box;
use std::time::Instant;

use smongo_bson::compare::compare;
use smongo_bson::path::{self, Path};
use smongo_bson::{Decimal, DocBuf, ObjectId, Value, check, hash, keystring, number};

fn time(name: &str, mut op: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..40 {
        let rounds = 20_000;
        let start = Instant::now();
        for _ in 0..rounds {
            op();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    println!("{name:<40} {best:8.1} ns");
}

/// A typical document of about 1 KB: 24 fields on top, an array and two subdocuments.
fn typical() -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", ObjectId([9; 12])).append("customerId", 123_456).append("status", "active");
        w.append("firstName", "Alexandra").append("lastName", "Montgomery-Smith").append("email", "alexandra@example.org");
        w.append("age", 42).append("balance", 10250.75).append("createdAt", Value::DateTime(1_700_000_000_000));
        w.append("updatedAt", Value::DateTime(1_700_000_100_000)).append("visits", 987_654_321_000_i64).append("score", 0.37);
        w.append("verified", true).append("notes", "Prefers to be contacted by mail; ".repeat(6).as_str());
        {
            let mut address = w.document("address");
            address.append("street", "12 Long Street").append("city", "Springfield").append("zip", "12345").append("country", "US");
            address.document("geo").append("lat", 40.7).append("lng", -74.0);
        }
        {
            let mut items = w.array("items");
            for i in 0..5 {
                items.document().append("sku", "SKU-0001").append("qty", i).append("price", 19.99);
            }
        }
        {
            let mut tags = w.array("tags");
            ["red", "green", "blue", "large"].into_iter().for_each(|t| {
                tags.push(t);
            });
        }
        for name in ["f1", "f2", "f3", "f4", "f5", "f6"] {
            w.append(name, "some text that fills the document");
        }
        w.append("last", 1);
    })
}

fn main() {
    let buf = typical();
    let doc = buf.as_doc();
    println!("document of {} bytes, {} fields", buf.as_bytes().len(), doc.len());
    time("check", || {
        let _ = black_box(check::document(black_box(buf.as_bytes())));
    });
    time("get field 1", || {
        let _ = black_box(black_box(doc).get("_id"));
    });
    time("get field 13 (skips 12)", || {
        let _ = black_box(black_box(doc).get("verified"));
    });
    time("get last field", || {
        let _ = black_box(black_box(doc).get("last"));
    });
    time("get no field", || {
        let _ = black_box(black_box(doc).get("nothing"));
    });
    time("iterate fields", || {
        let _ = black_box(black_box(doc).iter().count());
    });
    let path = Path::new("items.price");
    time("walk items.price", || {
        let _ = path::walk(black_box(doc), path.parts(), true, &mut |v| {
            black_box(v);
            std::ops::ControlFlow::Continue(())
        });
    });
    let mut out = Vec::with_capacity(256);
    let dec = |text: &str| Value::Decimal(Decimal::parse(text).unwrap_or(Decimal::NAN));
    for (name, v) in [
        ("int", Value::Int32(123_456)),
        ("double", Value::Double(19.99)),
        ("decimal", dec("19.99")),
        ("objectId", Value::ObjectId(ObjectId([7; 12]))),
        ("string of 21", Value::String("alexandra@example.org")),
        ("document of 1 KB", Value::Document(doc)),
    ] {
        time(&format!("keystring of {name}"), || {
            out.clear();
            keystring::append(&mut out, black_box(v), false, None);
            black_box(&out);
        });
        let key = keystring::encode(v, false);
        time(&format!("skip key of {name}"), || {
        let _ = black_box(keystring::skip(black_box(&key), false).is_ok());
    });
        let twin = buf.clone();
        let other = if let Value::Document(_) = v { Value::Document(twin.as_doc()) } else { v };
        time(&format!("compare {name}"), || {
        let _ = black_box(compare(black_box(v), black_box(other)));
    });
        time(&format!("hash {name}"), || {
        let _ = black_box(hash::hash_value(black_box(v)));
    });
    }
    let (a, b) = (dec("19.99"), dec("0.05"));
    time("decimal sum", || {
        let _ = black_box(number::add(black_box(a), black_box(b)).is_ok());
    });
    let (x, y) = (Decimal::from_i64(1), Decimal::from_i64(3));
    time("decimal quotient", || {
        let _ = black_box(black_box(x).div(black_box(y)));
    });
    time("int sum", || {
        let _ = black_box(number::add(black_box(Value::Int32(1)), black_box(Value::Int32(2))).is_ok());
    });
}
