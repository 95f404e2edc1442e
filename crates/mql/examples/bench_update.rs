//! Times updates and projections of a 1 KB document: `cargo run --release -p smongo-mql --example bench_update`.
//!
//! Each line is the best of several rounds, in nanoseconds for one document.

use std::hint::black_box;
use std::time::Instant;

use smongo_bson::{Doc, DocBuf, ObjectId, Result, Value, json};
use smongo_mql::{Arena, CompileCx, Matcher, Projection, Update};

fn time(name: &str, mut op: impl FnMut(&Arena) -> Result<()>) -> Result<()> {
    let mut arena = Arena::new();
    let mut best = f64::MAX;
    for _ in 0..20 {
        let rounds = 20_000;
        let start = Instant::now();
        for _ in 0..rounds {
            arena.reset();
            op(&arena)?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    println!("{name:<50} {best:8.1} ns");
    Ok(())
}

/// About 1 KB: twenty fields, a subdocument and an array.
fn typical() -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", ObjectId([9; 12])).append("n", 1);
        for i in 0..20 {
            w.append(&format!("field{i}"), "a string of some thirty bytes..");
        }
        w.document("sub").append("x", 1).append("y", 2);
        let mut array = w.array("tags");
        for i in 0..10 {
            array.push(i);
        }
    })
}

fn main() -> Result<()> {
    let cx = CompileCx::default();
    let doc = typical();
    println!("{} bytes", doc.as_bytes().len());
    let filter = Matcher::compile(Doc::EMPTY, &cx)?;
    for text in [
        r#"{"$set": {"field10": "another string"}}"#,
        r#"{"$inc": {"n": 1}}"#,
        r#"{"$set": {"new": 1}}"#,
        r#"{"$inc": {"sub.x": 1, "sub.z": 1}, "$set": {"field3": "x", "field15": "y"}}"#,
        r#"{"$push": {"tags": 11}}"#,
        r#"{"$set": {"tags.5": 0}}"#,
        r#"{"$set": {"field10": "a string of some thirty bytes.."}}"#,
    ] {
        let update = Update::compile(Value::Document(json::parse_doc(text)?.as_doc()), None, &cx)?;
        time(text, |arena| {
            black_box(update.apply(black_box(doc.as_doc()), &filter, arena)?);
            Ok(())
        })?;
    }
    let mut out = Vec::new();
    for text in [r#"{"n": 1}"#, r#"{"field3": 1, "field15": 1, "_id": 0}"#, r#"{"field3": 0}"#, r#"{"sub.x": 1}"#, r#"{"tags": {"$slice": 3}}"#] {
        let projection = Projection::compile_find(json::parse_doc(text)?.as_doc(), &cx)?;
        time(text, |arena| {
            out.clear();
            projection.apply(black_box(doc.as_doc()), None, arena, &mut out)?;
            black_box(&out);
            Ok(())
        })?;
    }
    Ok(())
}
