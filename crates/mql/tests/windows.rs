//! Laws of window functions: a partition on disk answers what one in memory answers, and an accumulator whose frame moves answers what `$group`
//! answers for the documents of each frame.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Memory;
use common::random::Random;
use smongo_bson::json::{parse_doc, to_canonical, value_to_canonical};
use smongo_bson::{DocBuf, Value, ValueBuf};

const CASES: u64 = 400;

/// Accumulators, whose input is any value.
const ACCUMULATORS: &[&str] = &[
    r#""$addToSet": "$x""#, r#""$avg": "$x""#, r#""$bottom": {"sortBy": {"y": 1}, "output": "$x"}"#, r#""$bottomN": {"n": 2, "sortBy": {"y": -1, "x": 1}, "output": "$x"}"#,
    r#""$concatArrays": "$list""#, r#""$count": {}"#, r#""$first": "$x""#, r#""$firstN": {"n": 2, "input": "$x"}"#, r#""$last": "$x""#,
    r#""$lastN": {"n": 3, "input": "$x"}"#, r#""$max": "$x""#, r#""$maxN": {"n": 2, "input": "$x"}"#, r#""$median": {"input": "$x", "method": "approximate"}"#,
    r#""$min": "$x""#, r#""$minN": {"n": 2, "input": "$x"}"#, r#""$percentile": {"input": "$x", "p": [0.1, 0.5, 0.9], "method": "continuous"}"#,
    r#""$push": "$x""#, r#""$setUnion": "$list""#, r#""$sum": "$x""#, r#""$top": {"sortBy": {"y": -1}, "output": "$x"}"#,
    r#""$topN": {"n": 2, "sortBy": {"y": 1}, "output": ["$x", "$_id"]}"#,
];
/// Accumulators whose order of operations shows in the last digits, and functions of their own that take a frame. Their input is a number.
const FRAMED: &[&str] = &[
    r#""$stdDevPop": "$x""#, r#""$stdDevSamp": "$x""#, r#""$covariancePop": ["$x", "$y"]"#, r#""$covarianceSamp": ["$x", "$n"]"#,
    r#""$minMaxScaler": {"input": "$n"}"#, r#""$derivative": {"input": "$n"}"#, r#""$integral": {"input": "$y"}"#,
];
const UNFRAMED: &[&str] = &[
    r#""$documentNumber": {}"#, r#""$rank": {}"#, r#""$denseRank": {}"#, r#""$shift": {"output": "$x", "by": -2, "default": "none"}"#,
    r#""$shift": {"output": "$x", "by": 3}"#, r#""$expMovingAvg": {"input": "$x", "N": 3}"#, r#""$linearFill": "$y""#, r#""$locf": "$x""#,
];
const FRAMES: &[&str] = &[
    r#"{"documents": ["unbounded", "unbounded"]}"#, r#"{"documents": ["unbounded", "current"]}"#, r#"{"documents": ["unbounded", 2]}"#,
    r#"{"documents": ["unbounded", -2]}"#, r#"{"documents": ["current", "unbounded"]}"#, r#"{"documents": [-2, "unbounded"]}"#,
    r#"{"documents": [2, "unbounded"]}"#, r#"{"documents": [-3, -1]}"#, r#"{"documents": [-1, 2]}"#, r#"{"documents": [2, 4]}"#,
    r#"{"documents": ["current", "current"]}"#, r#"{"range": ["unbounded", "unbounded"]}"#, r#"{"range": ["unbounded", "current"]}"#,
    r#"{"range": ["current", "unbounded"]}"#, r#"{"range": [-4, 3]}"#, r#"{"range": [2, 9]}"#, r#"{"range": [-7, -3]}"#, r#"{"range": [3, "unbounded"]}"#,
];
const TIMES: &[&str] = &[r#"{"range": [-2, 3], "unit": "second"}"#, r#"{"range": ["unbounded", -1], "unit": "second"}"#, r#"{"range": [1, "unbounded"], "unit": "second"}"#];

/// Documents in the order of `t` (also as a date, `d`), which leaps; `ties`: or stays.
fn documents(r: &mut Random, ties: bool) -> Vec<DocBuf> {
    let (mut t, count) = (0, r.below(25));
    (0..count)
        .map(|id| {
            t += if r.chance(4) { 3 + r.below(6) } else { r.below(3) + usize::from(!ties) };
            let number = |r: &mut Random| match r.below(6) {
                0 => format!("{}.5", r.below(9)),
                1 => format!("{{\"$numberLong\": \"{}\"}}", r.below(9)),
                _ => r.below(9).to_string(),
            };
            let mut fields = vec![format!("\"_id\": {id}, \"t\": {t}, \"n\": {}, \"d\": {{\"$date\": {{\"$numberLong\": \"{}\"}}}}", number(r), t * 1000)];
            if !r.chance(6) {
                let x = if r.chance(4) { r.pick(&["null", "\"a\"", "\"b\"", "[1, 2]", "true"]).to_owned() } else { number(r) };
                fields.push(format!("\"x\": {x}"));
            }
            if !r.chance(4) {
                fields.push(format!("\"y\": {}", if r.chance(6) { "null".to_owned() } else { number(r) }));
            }
            if !r.chance(4) {
                let items: Vec<_> = (0..r.below(4)).map(|_| r.below(4).to_string()).collect();
                fields.push(format!("\"list\": [{}]", items.join(", ")));
            }
            parse_doc(&format!("{{{}}}", fields.join(", "))).unwrap()
        })
        .collect()
}

fn stage(by: &str, output: &[String]) -> DocBuf {
    let fields: Vec<_> = output.iter().enumerate().map(|(n, f)| format!("\"w{n}\": {{{f}}}")).collect();
    let text = format!("{{\"$setWindowFields\": {{\"sortBy\": {{\"{by}\": 1}}, \"output\": {{{}}}}}}}", fields.join(", "));
    parse_doc(&text).unwrap_or_else(|e| panic!("{e:?}: {text}"))
}

#[test]
fn on_disk_is_in_memory() {
    let mut spills = 0;
    for seed in 0..CASES {
        let mut r = Random(seed);
        let ties = r.chance(2);
        let mut host = Memory::new(documents(&mut r, ties), Vec::new());
        let by = r.pick(&["t", "t", "d"]);
        let framed = |r: &mut Random, functions: &[&str]| {
            let frame = if by == "t" { r.pick(FRAMES) } else { r.pick(&[FRAMES[6], FRAMES[8], TIMES[0], TIMES[1], TIMES[2]]) };
            let unit = if by == "d" { ", \"unit\": \"second\"}" } else { "}" };
            let function = r.pick(functions);
            let timed = function.contains("$derivative") || function.contains("$integral");
            let function = if timed { format!("{}{unit}", &function[..function.len() - 1]) } else { function.to_owned() };
            format!("{function}, \"window\": {frame}")
        };
        let output: Vec<String> = (0..1 + r.below(4))
            .map(|_| match r.below(4) {
                0 => r.pick(UNFRAMED).to_owned(),
                1 => framed(&mut r, FRAMED),
                _ => framed(&mut r, ACCUMULATORS),
            })
            .collect();
        let stages = [stage(by, &output)];
        let Ok(whole) = host.run(&stages) else { continue };
        for limit in [500, 1000, 2000, 4000] {
            host.limit = limit + r.below(500);
            let before = host.files;
            // What functions hold must fit.
            let Ok(spilled) = host.run(&stages) else { continue };
            spills += usize::from(host.files > before + 1);
            assert!(whole == spilled, "seed {seed}: {stages:?}\nwhole {whole:#?}\nspilled {spilled:#?}");
        }
    }
    assert!(spills > 200, "{spills} partitions were on disk");
}

/// The positions a frame holds around one.
fn frame(window: &DocBuf, at: usize, docs: &[DocBuf]) -> Vec<usize> {
    let int = |v: Value<'_>| if let Value::Int32(n) = v { i64::from(n) } else { panic!("{v:?}") };
    let range = window.get("range");
    let place = |n: usize| if range.is_missing() { n as i64 } else { int(docs[n].get("t")) };
    let bounds = if range.is_missing() { window.get("documents") } else { range };
    let bounds: Vec<_> = bounds.as_array().unwrap().iter().map(ValueBuf::new).collect();
    let within = |bound: &ValueBuf, distance: i64, sign: i64| match bound.view() {
        Value::String("unbounded") => true,
        Value::String(_) => distance * sign >= 0,
        by => (distance - int(by)) * sign >= 0,
    };
    (0..docs.len()).filter(|n| within(&bounds[0], place(*n) - place(at), 1) && within(&bounds[1], place(*n) - place(at), -1)).collect()
}

#[test]
fn sliding_is_grouping() {
    let names = |f: &&str| f.split('"').nth(1).unwrap().to_owned();
    let known: Vec<_> = ACCUMULATORS.iter().chain(FRAMED).map(names).collect();
    for name in smongo_mql::accum::accumulators().filter(|n| !matches!(*n, "$accumulator" | "$mergeObjects")) {
        assert!(known.iter().any(|k| k == name), "{name} is tested");
    }
    for seed in 0..CASES / 2 {
        let mut r = Random(seed);
        let docs = documents(&mut r, true);
        for accumulator in ACCUMULATORS {
            let window = r.pick(FRAMES);
            let stages = [stage("t", &[format!("{accumulator}, \"window\": {window}")])];
            let window = parse_doc(window).unwrap();
            let group = [parse_doc(&format!("{{\"$group\": {{\"_id\": 0, \"w0\": {{{accumulator}}}}}}}")).unwrap()];
            let answers = Memory::new(docs.clone(), Vec::new()).run(&stages).unwrap();
            for (at, answer) in answers.iter().enumerate() {
                let rows: Vec<_> = frame(&window, at, &docs).into_iter().map(|n| docs[n].clone()).collect();
                let Some(expected) = Memory::new(rows, Vec::new()).run(&group).unwrap().pop() else { continue };
                let w0 = |text: &str| value_to_canonical(parse_doc(text).unwrap().get("w0"));
                assert!(same(&w0(answer), &w0(&expected)), "seed {seed}, row {at}: {accumulator} {window:?}\n{answer}\n{expected}\n{}", show(&docs));
            }
        }
    }
}

/// Of equal values of several types the one that is shown is anyone's.
fn same(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.replace(".0\"", "\"").replace("numberInt", "n").replace("numberLong", "n").replace("numberDouble", "n");
    plain(a) == plain(b)
}

fn show(docs: &[DocBuf]) -> String {
    docs.iter().map(|d| to_canonical(d.as_doc())).collect::<Vec<_>>().join("\n")
}
