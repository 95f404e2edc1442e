//! How fast filters run over documents of 1 KB: `cargo run --release -p smongo-mql --example bench_match`.

use std::hint::black_box;
use std::time::Instant;

use smongo_bson::{DocBuf, ObjectId, Result, ValueBuf};
use smongo_mql::{Arena, CompileCx, Matcher};

fn document(i: i32) -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", ObjectId::generate()).append("n", i).append("score", f64::from(i) * 0.5);
        for f in 0..14 {
            w.append(&format!("field{f}"), format!("some text of the field {f:04} {i:08}").as_str());
        }
        w.document("sub").append("a", i).append("b", "inner");
        let mut tags = w.array("tags");
        for t in 0..10 {
            tags.push(format!("tag{}", (i + t) % 50).as_str());
        }
        tags.finish();
        w.append("last", i % 100);
    })
}

fn run(name: &str, docs: &[DocBuf], filter: &DocBuf) -> Result<()> {
    let matcher = Matcher::compile(filter.as_doc(), &CompileCx::default())?;
    let mut arena = Arena::new();
    let bytes: usize = docs.iter().map(|d| d.as_bytes().len()).sum();
    let (mut best, mut hits) = (f64::INFINITY, 0);
    for _ in 0..7 {
        let start = Instant::now();
        hits = 0;
        for d in docs {
            arena.reset();
            hits += usize::from(matcher.matches(black_box(d.as_doc()), &arena)?);
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<34} {:>7.1} ns/doc {:>6.2} GB/s  {hits} hits", best / docs.len() as f64 * 1e9, bytes as f64 / best / 1e9);
    Ok(())
}

fn main() -> Result<()> {
    let docs: Vec<DocBuf> = (0..20_000).map(document).collect();
    println!("{} documents, {} bytes each", docs.len(), docs.first().map_or(0, |d| d.as_bytes().len()));
    let json = |text: &str| smongo_bson::json::parse_doc(text);
    for (name, filter) in [
        ("{}", "{}"),
        ("n = int (second field)", r#"{"n": 777}"#),
        ("last > int (last field)", r#"{"last": {"$gt": 50}}"#),
        ("field13 = string", r#"{"field13": "some text of the field 0013 00000777"}"#),
        ("sub.a range", r#"{"sub.a": {"$gte": 100, "$lt": 200}}"#),
        ("tags = string (array)", r#"{"tags": "tag7"}"#),
        ("last $in 3", r#"{"last": {"$in": [1, 50, 99]}}"#),
        ("field12 regex prefix", r#"{"field12": {"$regex": "^some text.*777$"}}"#),
        ("$or of 3", r#"{"$or": [{"n": 5}, {"last": 7}, {"score": {"$lt": 3}}]}"#),
        ("missing = null", r#"{"nothing": null}"#),
    ] {
        run(name, &docs, &json(filter)?)?;
    }
    let many = ValueBuf::array(|w| {
        for i in 0..100_000 {
            w.push(i * 3);
        }
    });
    let filter = DocBuf::build(|w| {
        w.document("n").append("$in", many.view());
    });
    run("n $in 100,000 ints", &docs, &filter)
}
