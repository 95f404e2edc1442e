//! What MongoDB's dump tools do with a time-series collection, by hand: its buckets read, and written into another.

use smongo_bson::{DocBuf, DocWriter, ObjectId, Value, ValueBuf, number};
use smongo_engine::{Client, Engine, Options, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn doc(fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    DocBuf::build(fill)
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A value of some kind, documents and arrays within each other among them.
fn value(random: &mut Random, depth: u32) -> ValueBuf {
    match random.below(if depth < 3 { 9 } else { 6 }) {
        0 => ValueBuf::new(Value::Int32(random.below(100) as i32)),
        1 => ValueBuf::new(Value::Double(random.below(1000) as f64 / 8.0)),
        2 => ValueBuf::new(Value::String(["", "a", "grün", "zz"][random.below(4) as usize])),
        3 => ValueBuf::new(Value::Null),
        4 => ValueBuf::new(Value::Bool(random.below(2) == 0)),
        5 => ValueBuf::new(Value::Int64(random.below(1 << 40) as i64)),
        6 => ValueBuf::array(|w| {
            for _ in 0..random.below(4) {
                w.push(value(random, depth + 1).view());
            }
        }),
        _ => ValueBuf::document(doc(|w| {
            for name in ["p", "q", "r"].iter().take(random.below(4) as usize) {
                w.append(name, value(random, depth + 1).view());
            }
        })),
    }
}

fn measurement(random: &mut Random, n: u64, kinds: &[ValueBuf]) -> DocBuf {
    let time = match random.below(10) {
        0 => -5_000_000_000 + random.below(10_000) as i64,
        1 => 1_700_000_000_000,
        _ => 1_700_000_000_000 + random.below(200_000_000) as i64,
    };
    let mut id = [0; 12];
    id[4..].copy_from_slice(&n.to_be_bytes());
    let mut names = vec!["a", "b", "c", "dotted", "e"];
    if random.below(5) == 0 {
        names.swap(0, 3);
    }
    doc(|w| {
        w.append("_id", ObjectId(id)).append("at", Value::DateTime(time));
        match random.below(6) {
            0 => {}
            1 => {
                w.append("m", Value::Null);
            }
            2 => {
                w.document("m").append("x", random.below(3) as i32).append("y", "s");
            }
            _ => {
                w.append("m", random.below(4) as i32);
            }
        }
        for (name, kind) in names.iter().zip(kinds) {
            match random.below(12) {
                0 => {}
                1 => {
                    w.append(name, value(random, 0).view());
                }
                2..=5 => {
                    w.append(name, kind.view());
                }
                _ => {
                    w.append(name, random.below(1000) as i32);
                }
            }
        }
    })
}

/// All documents of a find, through several batches.
fn all(session: &mut Session, db: &str, coll: &str) -> Result<Vec<DocBuf>> {
    let mut docs = Vec::new();
    let mut reply = session.run_command(db, &doc(|w| {
        w.append("find", coll).append("batchSize", 7);
        w.document("hint").append("$natural", 1);
    }))?;
    loop {
        let cursor = reply.get("cursor").as_doc().ok_or("no cursor")?;
        let batch = [cursor.get("firstBatch"), cursor.get("nextBatch")].into_iter().find_map(|b| b.as_array()).ok_or("no batch")?;
        docs.extend(batch.iter().filter_map(|v| v.as_doc()).map(DocBuf::from));
        let id = number::to_i64_exact(cursor.get("id")).unwrap_or(0);
        if id == 0 {
            return Ok(docs);
        }
        reply = session.run_command(db, &doc(|w| {
            w.append("getMore", id).append("collection", coll).append("batchSize", 500);
        }))?;
    }
}

fn insert(session: &mut Session, db: &str, coll: &str, docs: &[DocBuf]) -> Result<()> {
    for some in docs.chunks(100) {
        let reply = session.run_command(db, &doc(|w| {
            w.append("insert", coll);
            let mut list = w.array("documents");
            some.iter().for_each(|d| {
                list.push(d.as_doc());
            });
        }))?;
        assert!(reply.get("writeErrors").is_missing(), "{reply:?}");
    }
    Ok(())
}

fn listed(session: &mut Session, db: &str, name: &str, field: &str) -> Result<DocBuf> {
    let reply = session.run_command(db, &doc(|w| {
        w.append("listCollections", 1);
        w.document("filter").append("name", name);
    }))?;
    let first = reply.get("cursor").as_doc().and_then(|c| c.get("firstBatch").as_array()).and_then(|a| a.iter().next()).and_then(|d| d.as_doc());
    Ok(DocBuf::from(first.and_then(|d| d.get(field).as_doc()).ok_or("not listed")?))
}

fn hash(session: &mut Session, db: &str) -> Result<String> {
    let reply = session.run_command(db, &doc(|w| {
        w.append("dbHash", 1);
    }))?;
    Ok(reply.get("md5").as_str().ok_or("no hash")?.to_owned())
}

/// Bytes of documents, in an order that does not ask in which one they were inserted.
fn sorted(docs: Vec<DocBuf>) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = docs.into_iter().map(DocBuf::into_bytes).collect();
    all.sort();
    all
}

#[test]
fn measurements_go_through_their_buckets_byte_for_byte() -> Result<()> {
    let engine = Engine::open(Options::default())?;
    let mut session = engine.session(Client::owner());
    for seed in 1..=12u64 {
        let mut random = Random(seed * 0x9e37_79b9);
        let (from, to) = (format!("from{seed}"), format!("to{seed}"));
        session.run_command(&from, &doc(|w| {
            w.append("create", "w");
            let mut series = w.document("timeseries");
            series.append("timeField", "at");
            if seed % 4 != 0 {
                series.append("metaField", "m");
            }
            match seed % 3 {
                0 => series.append("granularity", "hours"),
                1 => series.append("bucketRoundingSeconds", 100).append("bucketMaxSpanSeconds", 100),
                _ => &mut series,
            };
            series.finish();
            w.append("expireAfterSeconds", 1_000_000_000i64);
        }))?;
        let kinds: Vec<ValueBuf> = (0..5).map(|_| value(&mut random, 0)).collect();
        // Some thousands in one millisecond are more than a bucket holds.
        let mut docs: Vec<DocBuf> = (0..3000).map(|n| measurement(&mut random, n, &kinds)).collect();
        if seed == 2 {
            docs.extend((0..2500u64).map(|n| {
                doc(|w| {
                    w.append("at", Value::DateTime(1_600_000_000_000)).append("_id", n as i64 + 1_000_000).append("v", 1);
                })
            }));
        }
        insert(&mut session, &from, "w", &docs)?;
        let buckets = all(&mut session, &from, "system.buckets.w")?;
        assert!(buckets.len() > 10 && buckets.len() < docs.len(), "{}", buckets.len());
        let mut ids: Vec<_> = buckets.iter().map(|b| format!("{:?}", b.get("_id"))).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), buckets.len(), "every bucket has an id of its own");
        let options = listed(&mut session, &from, "w", "options")?;
        session.run_command(&to, &doc(|w| {
            w.append("create", "w").append_all(options.as_doc());
        }))?;
        insert(&mut session, &to, "system.buckets.w", &buckets)?;
        assert_eq!(sorted(all(&mut session, &from, "w")?), sorted(all(&mut session, &to, "w")?));
        assert_eq!(options.as_bytes(), listed(&mut session, &to, "w", "options")?.as_bytes());
        assert_eq!(hash(&mut session, &from)?, hash(&mut session, &to)?);
        assert_eq!(sorted(buckets.clone()), sorted(all(&mut session, &to, "system.buckets.w")?));
        // A second time they are there already.
        let again = session.run_command(&to, &doc(|w| {
            w.append("insert", "system.buckets.w").append("ordered", false);
            let mut list = w.array("documents");
            buckets.iter().take(50).for_each(|d| {
                list.push(d.as_doc());
            });
        }))?;
        assert_eq!(number::to_i64_exact(again.get("n")), Some(0), "{again:?}");
    }
    Ok(())
}

#[test]
fn a_measurement_of_the_largest_size_has_a_bucket() -> Result<()> {
    let engine = Engine::open(Options::default())?;
    let mut session = engine.session(Client::owner());
    session.run_command("a", &doc(|w| {
        w.append("create", "w").document("timeseries").append("timeField", "at");
    }))?;
    let large = doc(|w| {
        w.append("at", Value::DateTime(0)).append("_id", 1).append("text", &*"x".repeat(16_000_000));
    });
    insert(&mut session, "a", "w", std::slice::from_ref(&large))?;
    let buckets = all(&mut session, "a", "system.buckets.w")?;
    assert_eq!(buckets.len(), 1);
    session.run_command("b", &doc(|w| {
        w.append("create", "w").document("timeseries").append("timeField", "at");
    }))?;
    insert(&mut session, "b", "system.buckets.w", &buckets)?;
    assert_eq!(sorted(all(&mut session, "b", "w")?), sorted(vec![large]));
    Ok(())
}
