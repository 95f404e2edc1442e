//! Commands: well-formed BSON that makes no sense. The bytes steer how a real command is bent.

use std::cell::RefCell;
use std::sync::OnceLock;

use smongo_bson::{ArrayWriter, Doc, DocBuf, DocWriter, Element, Value, json};
use smongo_engine::{Client, Engine, Options, Request, Session};

/// Real commands of every family.
const SEEDS: &[&str] = &[
    r#"{"insert":"c","documents":[{"_id":1,"a":[1,{"b":2}],"s":"x"},{"_id":{"$oid":"5f5f5f5f5f5f5f5f5f5f5f5f"},"d":{"$date":"2020-01-01T00:00:00Z"}}],"ordered":true}"#,
    r#"{"find":"c","filter":{"a":{"$gt":1,"$lte":9},"$or":[{"b":1},{"c":{"$exists":false}}]},"sort":{"a":-1,"b":1},"projection":{"a":1,"_id":0},"limit":5,"skip":1,"batchSize":2}"#,
    r#"{"find":"c","filter":{"a":{"$elemMatch":{"b":{"$in":[1,2,null]}}},"s":{"$regex":"^x","$options":"i"},"t":{"$type":["string",2]},"m":{"$mod":[4,1]},"z":{"$size":2},"all":{"$all":[1,2]},"n":{"$not":{"$eq":3}}}}"#,
    r#"{"find":"c","filter":{"$expr":{"$eq":[{"$add":["$a",1]},{"$strLenCP":"abc"}]},"x":{"$bitsAllSet":[1,5]}},"let":{"v":1},"hint":"_id_","collation":{"locale":"en"}}"#,
    r#"{"update":"c","updates":[{"q":{"_id":1},"u":{"$set":{"a.0.b":5,"x.$[i].y":1},"$inc":{"n":1},"$push":{"l":{"$each":[1,2],"$sort":-1,"$slice":3,"$position":0}}},"upsert":true,"multi":false,"arrayFilters":[{"i.z":1}]}]}"#,
    r#"{"update":"c","updates":[{"q":{"a":1},"u":{"$unset":{"a":""},"$rename":{"b":"c"},"$min":{"m":1},"$max":{"n":1},"$mul":{"o":2},"$addToSet":{"p":{"$each":[1]}},"$pop":{"q":-1},"$pull":{"r":{"$gt":1}},"$pullAll":{"s":[1]},"$bit":{"t":{"and":5}},"$currentDate":{"u":true},"$setOnInsert":{"v":1}},"multi":true}]}"#,
    r#"{"update":"c","updates":[{"q":{},"u":[{"$set":{"a":{"$concat":["x","$s"]}}},{"$unset":"b"}]},{"q":{"_id":2},"u":{"_id":2,"k":1},"upsert":true}]}"#,
    r#"{"delete":"c","deletes":[{"q":{"a":{"$lt":0}},"limit":0},{"q":{"_id":1},"limit":1,"collation":{"locale":"simple"}}]}"#,
    r#"{"findAndModify":"c","query":{"a":1},"sort":{"b":1},"update":{"$inc":{"n":1}},"new":true,"upsert":true,"fields":{"n":1}}"#,
    r#"{"findAndModify":"c","query":{"a":1},"remove":true}"#,
    r#"{"aggregate":"c","pipeline":[{"$match":{"a":{"$gte":1}}},{"$unwind":{"path":"$a","includeArrayIndex":"i","preserveNullAndEmptyArrays":true}},{"$group":{"_id":{"k":"$s"},"n":{"$sum":1},"avg":{"$avg":"$n"},"l":{"$push":"$$ROOT"},"f":{"$first":"$a"}}},{"$sort":{"n":-1}},{"$skip":1},{"$limit":3}],"cursor":{"batchSize":2}}"#,
    r#"{"aggregate":"c","pipeline":[{"$addFields":{"x":{"$cond":[{"$gt":["$a",1]},{"$map":{"input":"$l","as":"e","in":{"$multiply":["$$e",2]}}},{"$ifNull":["$b",null]}]}}},{"$project":{"x":1,"y":{"$substrCP":["$s",0,2]},"d":{"$dateToString":{"date":"$d","format":"%Y-%m-%d"}}}},{"$replaceRoot":{"newRoot":{"$mergeObjects":["$$ROOT",{"k":1}]}}},{"$count":"n"}],"cursor":{}}"#,
    r#"{"aggregate":"c","pipeline":[{"$lookup":{"from":"c","localField":"a","foreignField":"_id","as":"r","pipeline":[{"$limit":1}]}},{"$facet":{"a":[{"$sortByCount":"$s"}],"b":[{"$bucket":{"groupBy":"$n","boundaries":[0,5,10],"default":"o"}}]}}],"cursor":{}}"#,
    r#"{"aggregate":"c","pipeline":[{"$project":{"a":{"$reduce":{"input":{"$range":[0,5]},"initialValue":0,"in":{"$add":["$$value","$$this"]}}},"b":{"$switch":{"branches":[{"case":true,"then":1}],"default":2}},"c":{"$filter":{"input":[1,2],"cond":{"$gt":["$$this",1]}}},"d":{"$split":["a,b",","]},"e":{"$toDecimal":"1.5"},"f":{"$convert":{"input":"1","to":"int","onError":0}},"g":{"$let":{"vars":{"v":1},"in":"$$v"}},"h":{"$dateAdd":{"startDate":"$d","unit":"day","amount":3}}}}],"cursor":{}}"#,
    r#"{"aggregate":"c","pipeline":[{"$setWindowFields":{"partitionBy":"$s","sortBy":{"_id":1},"output":{"r":{"$sum":"$n","window":{"documents":["unbounded","current"]}}}}},{"$sample":{"size":2}},{"$out":"d"}],"cursor":{}}"#,
    r#"{"createIndexes":"c","indexes":[{"key":{"a":1,"b.c":-1},"name":"a_1","unique":false,"sparse":true},{"key":{"s":1},"name":"s_1","partialFilterExpression":{"n":{"$gt":1}},"expireAfterSeconds":100}]}"#,
    r#"{"dropIndexes":"c","index":["a_1"]}"#,
    r#"{"create":"d","capped":true,"size":4096,"max":10,"validator":{"a":{"$type":"int"}},"validationLevel":"moderate"}"#,
    r#"{"collMod":"c","validator":{},"index":{"name":"s_1","hidden":true}}"#,
    r#"{"count":"c","query":{"a":1},"limit":3,"skip":1}"#,
    r#"{"distinct":"c","key":"a.b","query":{"s":{"$ne":null}}}"#,
    r#"{"listCollections":1,"filter":{"name":"c"},"nameOnly":true}"#,
    r#"{"listIndexes":"c","cursor":{"batchSize":1}}"#,
    r#"{"explain":{"find":"c","filter":{"_id":{"$in":[1,2]}}},"verbosity":"executionStats"}"#,
    r#"{"getMore":{"$numberLong":"5"},"collection":"c","batchSize":1}"#,
    r#"{"killCursors":"c","cursors":[{"$numberLong":"5"}]}"#,
    r#"{"bulkWrite":1,"ops":[{"insert":0,"document":{"_id":3}},{"update":0,"filter":{},"updateMods":{"$set":{"a":1}},"multi":true},{"delete":0,"filter":{"_id":3}}],"nsInfo":[{"ns":"f.c"}]}"#,
    r#"{"dbStats":1,"scale":1024}"#,
    r#"{"collStats":"c"}"#,
    r#"{"validate":"c","full":true}"#,
    r#"{"hello":1,"client":{"driver":{"name":"x","version":"1"},"os":{"type":"y"}},"compression":["snappy"]}"#,
    r#"{"getParameter":"*"}"#,
    r#"{"drop":"d"}"#,
];

/// Names that mean something somewhere.
const NAMES: &[&str] = &[
    "", "$", "$a", "_id", "a", "a.b", "a.0", "a..b", ".", "$and", "$nor", "$expr", "$where", "$jsonSchema", "$literal", "$set", "$push", "$each", "$meta",
    "$slice", "$elemMatch", "$regex", "$options", "$in", "$sum", "$round", "$dateTrunc", "$zip", "$unionWith", "$graphLookup", "$fill", "$densify", "$merge",
    "limit", "sort", "lsid", "txnNumber", "maxTimeMS", "readConcern", "collation", "cursor", "comment", "$db", "hint", "let", "min", "max", "multi",
];

const STRINGS: &[&str] = &["", "$", "$$", "$a", "$$ROOT", "$$NOW.x", "$a.b.c", "\u{1F600}\0x", "(", "^(a+)+$", "int", "2020-01-01", "-1", "1e400", "en_US", "UTC"];

fn interesting(n: u8) -> Value<'static> {
    match n % 16 {
        0 => Value::Null,
        1 => Value::Int32(0),
        2 => Value::Int32(-1),
        3 => Value::Int32(i32::MIN),
        4 => Value::Int64(i64::MAX),
        5 => Value::Int64(i64::MIN),
        6 => Value::Double(f64::NAN),
        7 => Value::Double(f64::INFINITY),
        8 => Value::Double(-0.5),
        9 => Value::DateTime(i64::MIN),
        10 => Value::Bool(n & 16 == 0),
        11 => Value::Document(Doc::EMPTY),
        12 => Value::Array(smongo_bson::Array::EMPTY),
        13 => Value::MinKey,
        14 => Value::Undefined,
        _ => Value::String(STRINGS[usize::from(n >> 4) % STRINGS.len()]),
    }
}

/// Bytes that decide; zero, "leave it", when they are used up.
pub struct Steer<'d> {
    pub bytes: &'d [u8],
    /// One decision in so many can change something: a command that is bent little gets further.
    pub rarity: u8,
}

impl Steer<'_> {
    pub fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// What to do with the next element: one of few things, or more often nothing.
    fn how(&mut self) -> u8 {
        self.next() % self.rarity
    }
}

pub fn bend_doc(from: Doc<'_>, whole: Doc<'_>, steer: &mut Steer<'_>, w: &mut DocWriter<'_>, depth: usize) {
    for e in from {
        match steer.how() {
            1 => {}
            2 => {
                w.append(e.name(), interesting(steer.next()));
            }
            3 => {
                w.append(NAMES[usize::from(steer.next()) % NAMES.len()], e.value());
            }
            4 => {
                w.append(NAMES[usize::from(steer.next()) % NAMES.len()], interesting(steer.next())).append_element(&e);
            }
            5 => {
                w.append(e.name(), pick(whole, steer));
            }
            6 => {
                w.document(e.name()).append(NAMES[usize::from(steer.next()) % NAMES.len()], e.value());
            }
            7 => {
                w.array(e.name()).push(e.value()).push(interesting(steer.next()));
            }
            8 => {
                w.append_element(&e).append_element(&e);
            }
            _ => match e.value() {
                Value::Document(d) if depth < 30 => bend_doc(d, whole, steer, &mut w.document(e.name()), depth + 1),
                Value::Array(a) if depth < 30 => bend_array(a.elements(), whole, steer, &mut w.array(e.name()), depth + 1),
                _ => {
                    w.append_element(&e);
                }
            },
        }
    }
}

fn bend_array<'a>(from: impl Iterator<Item = Element<'a>>, whole: Doc<'_>, steer: &mut Steer<'_>, w: &mut ArrayWriter<'_>, depth: usize) {
    for e in from {
        match steer.how() {
            1 => {}
            2 => {
                w.push(interesting(steer.next()));
            }
            3 => {
                w.push_element(&e).push_element(&e);
            }
            4 => {
                w.push(pick(whole, steer));
            }
            _ => match e.value() {
                Value::Document(d) if depth < 30 => bend_doc(d, whole, steer, &mut w.document(), depth + 1),
                Value::Array(a) if depth < 30 => bend_array(a.elements(), whole, steer, &mut w.array(), depth + 1),
                _ => {
                    w.push_element(&e);
                }
            },
        }
    }
}

/// Some value from within the command.
fn pick<'a>(whole: Doc<'a>, steer: &mut Steer<'_>) -> Value<'a> {
    let mut value = Value::Document(whole);
    for _ in 0..=steer.next() % 6 {
        let children = match value {
            Value::Document(d) => d,
            Value::Array(a) => a.0,
            _ => break,
        };
        let Some(e) = children.iter().nth(usize::from(steer.next()) % children.len().max(1)) else { break };
        value = e.value();
    }
    value
}

/// The real commands, as bytes.
pub fn seeds() -> &'static [DocBuf] {
    static PARSED: OnceLock<Vec<DocBuf>> = OnceLock::new();
    PARSED.get_or_init(|| SEEDS.iter().map(|s| json::parse_doc(s).expect("a seed is Extended JSON")).collect())
}

/// Bends one of the real commands as the bytes say and runs it. The reply must be a document with `ok`.
pub fn command(data: &[u8]) {
    thread_local! {
        static SESSION: RefCell<Session> = RefCell::new(engine().session(Client::owner()));
    }
    let mut steer = Steer { bytes: data, rarity: 1 };
    steer.rarity = [20, 60, 120, 250][usize::from(steer.next() % 4)];
    let seed = &seeds()[usize::from(steer.next()) % SEEDS.len()];
    let bent = DocBuf::build(|w| {
        bend_doc(seed.as_doc(), seed.as_doc(), &mut steer, w, 0);
        // A pipeline may well be bent into a long one.
        w.append("maxTimeMS", 200).append("$db", "f");
    });
    let Ok(bent) = Doc::parse(bent.as_bytes()) else { return };
    let mut reply = Vec::new();
    SESSION.with(|s| s.borrow_mut().run(&Request::new(bent), &mut reply));
    match Doc::parse(&reply) {
        Ok(doc) => assert!(matches!(doc.get("ok"), Value::Double(n) if n == 0.0 || n == 1.0), "{bent:?}\n answered {doc:?}"),
        Err(e) => panic!("{bent:?}\n answered malformed BSON: {e}"),
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::open(Options { test_commands: true, ..Options::default() }).expect("an engine in memory"))
}
