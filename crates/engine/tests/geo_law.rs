//! The law of geospatial indexes: with them a query answers what it answers without, and searches near a point come in order.
#![allow(clippy::expect_used, clippy::panic)]

use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Value, number};
use smongo_engine::{Client, Engine, Options, Request, Session};

/// splitmix64: tests repeat themselves.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.below(1 << 20) as f64 / f64::from(1 << 20))
    }
}

struct Db(Session);

impl Db {
    fn run(&mut self, command: &str) -> DocBuf {
        let body = parse_doc(command).unwrap_or_else(|e| panic!("{command}: {e}"));
        let mut out = Vec::new();
        self.0.run(&Request::new(body.as_doc()), &mut out);
        DocBuf::from_checked(out)
    }

    fn docs(&mut self, command: &str) -> Vec<DocBuf> {
        let reply = self.run(command);
        assert!(reply.get("ok").truthy(), "{command}: {reply:?}");
        let cursor = reply.get("cursor").as_doc().unwrap_or(Doc::EMPTY);
        cursor.get("firstBatch").as_array().into_iter().flat_map(|a| a.iter()).filter_map(|v| v.as_doc()).map(DocBuf::from).collect()
    }

    fn find(&mut self, coll: &str, filter: &str) -> Vec<i32> {
        let docs = self.docs(&format!("{{\"find\": \"{coll}\", \"$db\": \"law\", \"batchSize\": 10000, \"filter\": {filter}}}"));
        let mut ids: Vec<i32> = docs.iter().map(id).collect();
        ids.sort_unstable();
        ids
    }
}

fn id(doc: &DocBuf) -> i32 {
    if let Value::Int32(n) = doc.get("_id") { n } else { -1 }
}

fn db() -> Db {
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    Db(engine.session(Client::owner()))
}

/// A place, near one of a few towns or anywhere.
fn place(r: &mut Random) -> (f64, f64) {
    match r.below(4) {
        0 => (r.between(13.0, 13.8), r.between(52.2, 52.8)),
        1 => (r.between(179.0, 180.0) * if r.below(2) == 0 { 1.0 } else { -1.0 }, r.between(-20.0, -15.0)),
        2 => (r.between(-180.0, 180.0), r.between(85.0, 90.0)),
        _ => (r.between(-180.0, 180.0), r.between(-90.0, 90.0)),
    }
}

fn around((x, y): (f64, f64), dx: f64, dy: f64) -> String {
    format!("[{}, {}]", (x + dx).clamp(-180.0, 180.0), (y + dy).clamp(-90.0, 90.0))
}

fn polygon(r: &mut Random, at: (f64, f64)) -> String {
    let (w, h) = (r.between(0.01, 8.0), r.between(0.01, 8.0));
    let corner = |x: f64, y: f64| around(at, x * w, y * h);
    format!("{{\"type\": \"Polygon\", \"coordinates\": [[{0}, {1}, {2}, {3}, {0}]]}}", corner(0.0, 0.0), corner(1.0, 0.1), corner(0.9, 1.0), corner(0.1, 0.8))
}

fn geometry(r: &mut Random) -> String {
    let at = place(r);
    match r.below(6) {
        0 => {
            let (dx, dy) = (r.between(-3.0, 3.0), r.between(-3.0, 3.0));
            format!("{{\"type\": \"LineString\", \"coordinates\": [{}, {}]}}", around(at, 0.0, 0.0), around(at, dx + 0.01, dy))
        }
        1 => polygon(r, at),
        2 => around(at, 0.0, 0.0),
        _ => format!("{{\"type\": \"Point\", \"coordinates\": {}}}", around(at, 0.0, 0.0)),
    }
}

fn fill(db: &mut Db, r: &mut Random, documents: i32, geometry: fn(&mut Random) -> String) {
    for n in 0..documents {
        let doc = format!("{{\"_id\": {n}, \"kind\": {}, \"at\": {}}}", r.below(3), geometry(r));
        let indexed = db.run(&format!("{{\"insert\": \"i\", \"$db\": \"law\", \"documents\": [{doc}]}}"));
        if number::to_f64(indexed.get("n")) == Some(1.0) {
            db.run(&format!("{{\"insert\": \"plain\", \"$db\": \"law\", \"documents\": [{doc}]}}"));
        }
    }
}

fn index(db: &mut Db, key: &str) {
    let reply = db.run(&format!("{{\"createIndexes\": \"i\", \"$db\": \"law\", \"indexes\": [{{\"key\": {key}, \"name\": \"geo\"}}]}}"));
    assert!(reply.get("ok").truthy(), "{reply:?}");
}

#[test]
fn spheres() {
    for (seed, key) in [(1, "{\"at\": \"2dsphere\"}"), (2, "{\"kind\": 1, \"at\": \"2dsphere\"}"), (3, "{\"at\": \"2dsphere\", \"kind\": -1}")] {
        let (mut r, mut db) = (Random(seed), db());
        index(&mut db, key);
        fill(&mut db, &mut r, 400, geometry);
        let mut answered = 0;
        for _ in 0..60 {
            // Polygons over the edge of the map would be cut off to shapes that are none.
            let (x, y) = place(&mut r);
            let at = (x.clamp(-170.0, 170.0), y.clamp(-80.0, 80.0));
            let region = match r.below(3) {
                0 => format!("{{\"$geoWithin\": {{\"$centerSphere\": [{}, {}]}}}}", around(at, 0.0, 0.0), r.between(0.001, 0.5)),
                1 => format!("{{\"$geoWithin\": {{\"$geometry\": {}}}}}", polygon(&mut r, at)),
                _ => format!("{{\"$geoIntersects\": {{\"$geometry\": {}}}}}", polygon(&mut r, at)),
            };
            let filter = if r.below(2) == 0 { format!("{{\"at\": {region}}}") } else { format!("{{\"kind\": {}, \"at\": {region}}}", r.below(3)) };
            let (want, got) = (db.find("plain", &filter), db.find("i", &filter));
            assert_eq!(want, got, "seed {seed}: {filter}");
            answered += got.len();
        }
        assert!(answered > 100, "only {answered} documents were found");
    }
}

#[test]
fn planes() {
    let (mut r, mut db) = (Random(7), db());
    index(&mut db, "{\"at\": \"2d\", \"kind\": 1}");
    fill(&mut db, &mut r, 500, |r| {
        let point = |r: &mut Random| around((r.between(-180.0, 180.0), r.between(-90.0, 90.0)), 0.0, 0.0);
        if r.below(5) == 0 { format!("[{}, {}]", point(r), point(r)) } else { point(r) }
    });
    let mut answered = 0;
    for _ in 0..80 {
        let (x, y, w) = (r.between(-180.0, 180.0), r.between(-90.0, 90.0), r.between(0.1, 60.0));
        let region = match r.below(4) {
            0 => format!("{{\"$box\": [[{x}, {y}], [{}, {}]]}}", x + w, y + w / 2.0),
            1 => format!("{{\"$center\": [[{x}, {y}], {w}]}}"),
            2 => format!("{{\"$polygon\": [[{x}, {y}], [{}, {y}], [{}, {}]]}}", x + w, x + w / 3.0, y + w),
            _ => format!("{{\"$centerSphere\": [[{x}, {y}], {}]}}", w / 100.0),
        };
        let filter = format!("{{\"at\": {{\"$geoWithin\": {region}}}}}");
        let (want, got) = (db.find("plain", &filter), db.find("i", &filter));
        assert_eq!(want, got, "{filter}");
        answered += got.len();
    }
    assert!(answered > 100, "only {answered} documents were found");
}

/// The distances of a `$geoNear`, which must grow, and the ids.
fn near(db: &mut Db, stage: &str) -> Vec<i32> {
    let command = format!("{{\"aggregate\": \"i\", \"$db\": \"law\", \"cursor\": {{\"batchSize\": 10000}}, \"pipeline\": [{{\"$geoNear\": {stage}}}]}}");
    let docs = db.docs(&command);
    let distances: Vec<f64> = docs.iter().filter_map(|d| number::to_f64(d.get("d"))).collect();
    assert!(distances.is_sorted() && distances.len() == docs.len(), "{stage}: {distances:?}");
    let mut ids: Vec<i32> = docs.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn near_a_point() {
    let (mut r, mut db) = (Random(11), db());
    index(&mut db, "{\"at\": \"2dsphere\"}");
    fill(&mut db, &mut r, 400, |r| format!("{{\"type\": \"Point\", \"coordinates\": {}}}", around(place(r), 0.0, 0.0)));
    let all = db.find("plain", "{}");
    for _ in 0..25 {
        let at = around(place(&mut r), 0.0, 0.0);
        assert_eq!(near(&mut db, &format!("{{\"near\": {{\"type\": \"Point\", \"coordinates\": {at}}}, \"distanceField\": \"d\"}}")), all);
        let radius = r.between(0.001, 1.0);
        let within = db.find("plain", &format!("{{\"at\": {{\"$geoWithin\": {{\"$centerSphere\": [{at}, {radius}]}}}}}}"));
        assert_eq!(near(&mut db, &format!("{{\"near\": {at}, \"spherical\": true, \"maxDistance\": {radius}, \"distanceField\": \"d\"}}")), within);
    }
}
