//! The law of indexes: whatever a document looks like and whatever indexes there are, a query answers what the language alone says.
//!
//! Values of every shape, arrays in arrays and empty ones among them, under indexes of every kind; random filters, sorts, counts, distinct
//! values and projections. `SMONGO_LAW_FILTERS=10000000` asks for that many filters, `SMONGO_LAW_SEED` for others than those of every day.
#![allow(clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod make;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Db, Random, normal_all};
use make::World;
use smongo_bson::json::parse_doc;
use smongo_bson::{Doc, DocBuf, Value, keystring};
use smongo_engine::{Client, Engine, Options};
use smongo_mql::collation::Collation;
use smongo_mql::{Arena, CompileCx, Matcher, SortPattern};

const FILTERS: usize = 250;
const COLLATION: &str = "{\"locale\": \"en\", \"strength\": 2}";

/// One collection with its indexes.
struct Law {
    db: Db,
    world: World,
    seed: u64,
    /// What the collection holds, by `_id`.
    stored: BTreeMap<i32, DocBuf>,
    /// The indexes a hint may name whatever is asked, and all of them as text.
    hints: Vec<String>,
    indexes: Vec<String>,
}

fn id(doc: Doc<'_>) -> i32 {
    if let Value::Int32(n) = doc.get("_id") { n } else { -1 }
}

fn compile_cx(collated: bool) -> CompileCx {
    let collation = parse_doc(COLLATION).expect("a collation");
    let collation = collated.then(|| Collation::parse(collation.as_doc()).expect("a collation")).flatten();
    CompileCx { collation: collation.map(Arc::new), ..CompileCx::default() }
}

impl Law {
    fn new(seed: u64, r: &mut Random, engine: &Engine) -> Law {
        let mut db = Db { session: engine.session(Client::owner()) };
        db.run("{\"drop\": \"t\", \"$db\": \"law\"}");
        if r.chance(4) {
            db.must("{\"create\": \"t\", \"$db\": \"law\", \"clusteredIndex\": {\"key\": {\"_id\": 1}, \"unique\": true}}");
        }
        let mut law = Law { db, world: World::new(r), seed, stored: BTreeMap::new(), hints: Vec::new(), indexes: Vec::new() };
        // An index refuses parallel arrays: what is not taken is not there.
        let early = r.chance(2);
        if early {
            law.insert();
        }
        for n in 0..1 + r.below(4) {
            let (spec, any) = law.world.index(r);
            let command = format!("{{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{{{spec}, \"name\": \"i{n}\"}}]}}");
            if law.db.run(&command).get("ok").truthy() {
                law.hints.extend(any.then(|| format!(", \"hint\": \"i{n}\"")));
                law.indexes.push(spec);
            }
        }
        if !early {
            law.insert();
        }
        law
    }

    fn insert(&mut self) {
        for d in &self.world.docs {
            let reply = self.db.run(&format!("{{\"insert\": \"t\", \"$db\": \"law\", \"documents\": [{}]}}", make::told(d)));
            if !reply.as_doc().contains("writeErrors") {
                self.stored.insert(id(d.as_doc()), d.clone());
            }
        }
    }

    fn find(&mut self, rest: &str) -> Vec<DocBuf> {
        let command = format!("{{\"find\": \"t\", \"$db\": \"law\", \"batchSize\": 100, {rest}}}");
        let found = self.db.all(&command, "t", "\"$db\": \"law\"");
        found.unwrap_or_else(|e| panic!("seed {}: {rest}: {e}\nindexes {:#?}", self.seed, self.indexes))
    }

    fn fail(&self, asked: &str, want: &[i32], got: &[i32]) -> ! {
        let odd = self.stored.iter().find(|(id, _)| want.contains(id) != got.contains(id)).map_or(String::new(), |(_, d)| make::told(d));
        panic!("seed {}: {asked}\nindexes {:#?}\nwant {want:?}\ngot  {got:?}\n{odd}", self.seed, self.indexes);
    }

    /// Asks with one random filter. Returns how many documents match, or `None` for what is no filter.
    fn ask(&mut self, r: &mut Random) -> Option<usize> {
        let filter = self.world.filter(r, 2);
        let collated = r.chance(6);
        let cx = compile_cx(collated);
        let parsed = parse_doc(&filter).unwrap_or_else(|e| panic!("{filter}: {e}"));
        let matcher = Matcher::compile(parsed.as_doc(), &cx).ok()?;
        let arena = Arena::new();
        let matches = |d: &DocBuf| matcher.matches(d.as_doc(), &arena).unwrap_or(false);
        let want: Vec<i32> = self.stored.iter().filter(|(_, d)| matches(d)).map(|(id, _)| *id).collect();
        let collation = if collated { format!(", \"collation\": {COLLATION}") } else { String::new() };
        let mut hints = vec![String::new()];
        hints.extend(self.hints.iter().cloned());
        for hint in hints {
            let rest = format!("{hint}{collation}");
            match r.below(8) {
                0 => self.count(&filter, &rest, &want),
                1 => self.distinct(r, &filter, &rest),
                2 => self.project(r, &filter, &rest),
                3..5 => self.sorted(r, &filter, &rest, &want, &cx),
                _ => {
                    let rest = format!("\"filter\": {filter}{rest}");
                    let mut got: Vec<i32> = self.find(&rest).iter().map(|d| id(d.as_doc())).collect();
                    got.sort_unstable();
                    if got != want {
                        self.fail(&rest, &want, &got);
                    }
                }
            }
        }
        Some(want.len())
    }

    fn count(&mut self, filter: &str, rest: &str, want: &[i32]) {
        let reply = self.db.run(&format!("{{\"count\": \"t\", \"$db\": \"law\", \"query\": {filter}{rest}}}"));
        let counted = matches!(reply.get("n"), Value::Int32(n) if n as usize == want.len());
        assert!(counted, "seed {}: count {filter}{rest}: {reply:?}, not {}\nindexes {:#?}", self.seed, want.len(), self.indexes);
    }

    /// In the order of the sort, and the right ones when only some are wanted.
    fn sorted(&mut self, r: &mut Random, filter: &str, rest: &str, want: &[i32], cx: &CompileCx) {
        let sort = self.world.key(r, 2);
        let (skip, limit) = if r.chance(3) { (r.below(3), 1 + r.below(5)) } else { (0, 1000) };
        let asked = format!("\"filter\": {filter}, \"sort\": {sort}, \"skip\": {skip}, \"limit\": {limit}{rest}");
        let spec = parse_doc(&sort).expect("a sort");
        let pattern = SortPattern::compile(spec.as_doc(), cx).expect("a sort");
        let key = |d: &DocBuf| {
            let mut key = Vec::new();
            pattern.append_key(d.as_doc(), &mut key).map(|()| key)
        };
        let Ok(mut keys) = want.iter().map(|id| key(&self.stored[id])).collect::<Result<Vec<_>, _>>() else { return };
        keys.sort();
        let keys: Vec<Vec<u8>> = keys.into_iter().skip(skip).take(limit).collect();
        let found = self.find(&asked);
        let mut got: Vec<i32> = found.iter().map(|d| id(d.as_doc())).collect();
        let got_keys: Vec<Vec<u8>> = found.iter().map(|d| key(d).expect("a key")).collect();
        if got_keys != keys {
            self.fail(&format!("{asked} (order {got:?})"), want, &got);
        }
        got.sort_unstable();
        let count = got.len();
        got.dedup();
        if got.len() != count || got.iter().any(|id| !want.contains(id)) {
            self.fail(&asked, want, &got);
        }
    }

    fn distinct(&mut self, r: &mut Random, filter: &str, rest: &str) {
        let path = self.world.path(r);
        let mut values = |rest: &str| {
            let reply = self.db.run(&format!("{{\"distinct\": \"t\", \"$db\": \"law\", \"key\": \"{path}\", \"query\": {filter}{rest}}}"));
            let values = reply.get("values").as_array().unwrap_or_else(|| panic!("seed {}: distinct {path} {filter}{rest}: {reply:?}", self.seed));
            let mut values: Vec<Vec<u8>> = values.iter().map(|v| keystring::encode(v, false)).collect();
            values.sort();
            values
        };
        // Which of several strings that are equal comes out is open.
        let collated = rest.contains("collation");
        let (want, got) = (values(&with_scan(rest)), values(rest));
        let same = if collated { want.len() == got.len() } else { want == got };
        assert!(same, "seed {}: distinct {path} of {filter}{rest}\nindexes {:#?}", self.seed, self.indexes);
    }

    fn project(&mut self, r: &mut Random, filter: &str, rest: &str) {
        // Of paths that stand in each other a projection takes one.
        let most = if r.chance(2) { 1 } else { 2 };
        let fields = self.world.key(r, most).replace("-1", "1");
        if self.world.collide(&fields) {
            return;
        }
        let with_id = if r.chance(3) { "" } else { "\"_id\": 0, " };
        let asked = format!("\"filter\": {filter}, \"projection\": {{{with_id}{}", &fields[1..]);
        let want = normal_all(&self.find(&format!("{asked}{}", with_scan(rest))));
        let got = normal_all(&self.find(&format!("{asked}{rest}")));
        assert!(want == got, "seed {}: {asked}{rest}\nindexes {:#?}\nwant {want:#?}\ngot {got:#?}", self.seed, self.indexes);
    }
}

/// The same options with a scan for a hint.
fn with_scan(rest: &str) -> String {
    match rest.find(", \"collation\"") {
        Some(at) => format!(", \"hint\": {{\"$natural\": 1}}{}", &rest[at..]),
        None => ", \"hint\": {\"$natural\": 1}".to_owned(),
    }
}

#[test]
fn an_index_never_changes_an_answer() {
    let wanted: usize = std::env::var("SMONGO_LAW_FILTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(60_000);
    let first: u64 = std::env::var("SMONGO_LAW_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let (mut seed, mut asked, mut matched) = (first, 0, 0);
    let mut engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    while asked < wanted {
        // The oplog of a store that lives for ever would be what is measured.
        if seed % 200 == 199 {
            engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
        }
        let mut r = Random(seed.wrapping_mul(0x1_0001));
        let mut law = Law::new(seed, &mut r, &engine);
        for _ in 0..FILTERS {
            if let Some(n) = law.ask(&mut r) {
                asked += 1;
                matched += n;
            }
        }
        seed += 1;
    }
    println!("{asked} filters, {matched} documents, {} collections", seed - first);
    assert!(matched > wanted, "only {matched} documents were found");
}

/// A `$text` in a branch of an `$or` finds what the branches find by themselves.
#[test]
fn a_search_beside_indexed_branches() {
    const WORDS: &[&str] = &["apple", "pear", "plum", "quince"];
    let engine = Engine::open(Options { path: None, ..Options::default() }).expect("an engine");
    let mut db = Db { session: engine.session(Client::owner()) };
    let mut r = Random(12);
    let mut docs = Vec::new();
    for (name, kind) in [("t", "\"text\""), ("a", "1"), ("b", "1")] {
        db.must(&format!("{{\"createIndexes\": \"t\", \"$db\": \"law\", \"indexes\": [{{\"key\": {{\"{name}\": {kind}}}, \"name\": \"{name}\"}}]}}"));
    }
    for id in 0..60 {
        let (t, a, b) = (format!("{} {}", r.pick(WORDS), r.pick(WORDS)), r.below(6), [r.below(6), r.below(6)]);
        db.must(&format!("{{\"insert\": \"t\", \"$db\": \"law\", \"documents\": [{{\"_id\": {id}, \"t\": \"{t}\", \"a\": {a}, \"b\": {b:?}}}]}}"));
        docs.push((t, a, b));
    }
    let mut found = 0;
    for _ in 0..400 {
        let (word, one, two, three) = (r.pick(WORDS), r.below(6), r.below(6), r.below(6));
        let (within, beside) = (r.chance(3), r.chance(3));
        let inner = if within { format!(", \"b\": {three}") } else { String::new() };
        let outer = if beside { format!(", \"b\": {{\"$gte\": {two}}}") } else { String::new() };
        let score = "\"projection\": {\"s\": {\"$meta\": \"textScore\"}}";
        let rest = format!("\"filter\": {{\"$or\": [{{\"a\": {one}}}, {{\"$text\": {{\"$search\": \"{word}\"}}{inner}}}, {{\"b\": {two}}}]{outer}}}, {score}");
        let got = db.all(&format!("{{\"find\": \"t\", \"$db\": \"law\", {rest}}}"), "t", "\"$db\": \"law\"").unwrap_or_else(|e| panic!("{rest}: {e}"));
        let by_text = |(t, _, b): &(String, usize, [usize; 2])| t.contains(word) && (!within || b.contains(&three));
        let matches = |d: &(String, usize, [usize; 2])| (d.1 == one || by_text(d) || d.2.contains(&two)) && (!beside || d.2.iter().any(|b| *b >= two));
        let want: Vec<i32> = docs.iter().enumerate().filter(|(_, d)| matches(d)).map(|(n, _)| n as i32).collect();
        let mut ids: Vec<i32> = got.iter().map(|d| id(d.as_doc())).collect();
        ids.sort_unstable();
        assert_eq!(ids, want, "{rest}");
        for d in &got {
            assert_eq!(d.as_doc().contains("s"), by_text(&docs[id(d.as_doc()) as usize]), "{rest}: {d:?}");
        }
        found += ids.len();
    }
    assert!(found > 1000, "only {found} documents were found");
    let alone = "{\"find\": \"t\", \"$db\": \"law\", \"filter\": {\"$or\": [{\"$text\": {\"$search\": \"plum\"}}, {\"z\": 1}]}}";
    assert!(matches!(db.run(alone).get("code"), Value::Int32(291)));
}
