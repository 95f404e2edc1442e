//! Geometries of many vertices: what they are asked takes time in proportion to their number, and boxes around runs of edges change no answer.

#![allow(clippy::unwrap_used, clippy::panic)]

use smongo_bson::{DocBuf, Value};
use smongo_mql::{Arena, CompileCx, Matcher};

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    (fields.get(10).unwrap_or(&0.0) + fields.get(11).unwrap_or(&0.0)) / 100.0
}

/// A wavy ring around a point, in degrees.
fn ring(vertices: usize, (lng, lat): (f64, f64), size: f64) -> DocBuf {
    let at = |i: usize| {
        let t = (i % vertices) as f64 / vertices as f64 * std::f64::consts::TAU;
        let r = size * (1.0 + 0.2 * (7.0 * t).sin());
        [lng + r * t.cos(), lat + r * t.sin()]
    };
    DocBuf::build(|w| {
        w.append("type", "Polygon");
        let mut rings = w.array("coordinates");
        let mut ring = rings.array();
        for i in 0..=vertices {
            let mut point = ring.array();
            at(i).into_iter().for_each(|c| {
                point.push(c);
            });
        }
    })
}

fn matcher(operator: &str, geometry: &DocBuf) -> Matcher {
    let filter = DocBuf::build(|w| {
        w.document("p").document(operator).append("$geometry", geometry.as_doc());
    });
    Matcher::compile(filter.as_doc(), &CompileCx::default()).unwrap()
}

fn holds(matcher: &Matcher, geometry: Value<'_>) -> bool {
    let doc = DocBuf::build(|w| {
        w.append("p", geometry);
    });
    matcher.matches(doc.as_doc(), &Arena::new()).unwrap()
}

fn ask(vertices: usize) {
    let large = ring(vertices, (10.0, 50.0), 5.0);
    let (inner, beside, across) = (ring(vertices, (10.0, 50.0), 2.0), ring(vertices, (40.0, 50.0), 5.0), ring(vertices, (15.0, 50.0), 5.0));
    let (within, meets) = (matcher("$geoWithin", &large), matcher("$geoIntersects", &large));
    let doc = |d: &DocBuf| (holds(&within, d.as_doc().into()), holds(&meets, d.as_doc().into()));
    assert_eq!(doc(&inner), (true, true));
    assert_eq!(doc(&beside), (false, false));
    assert_eq!(doc(&across), (false, true));
    for i in 0..200 {
        let lng = f64::from(i) * 0.1;
        let point = DocBuf::build(|w| {
            w.append("type", "Point");
            w.array("coordinates").push(lng).push(50.0);
        });
        // The ring reaches from 5 to 15 degrees on this parallel.
        let clearly = (lng - 10.0).abs() < 4.5 || (lng - 10.0).abs() > 6.5;
        assert!(!clearly || holds(&within, point.as_doc().into()) == ((lng - 10.0).abs() < 4.5), "{lng}");
    }
}

#[test]
fn polygons_of_many_vertices() {
    let time = |n: usize| {
        let before = cpu();
        ask(n);
        cpu() - before
    };
    ask(12);
    let (few, many) = (time(4000), time(16_000));
    println!("4000 vertices: {few:.2} s, 16000: {many:.2} s");
    assert!(many < 8.0 * few.max(0.1), "{few} s, {many} s");
}
