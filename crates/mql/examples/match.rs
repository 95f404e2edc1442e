//! Plays filters and sorts against documents, for checking without a server: reads BSON documents
//! `{docs: […], stages: [{$match: …} | {$sort: …}], collation?, let?}` on stdin and answers each with
//! `{docs: […]}` or `{code, errmsg}`.

use std::io::{Read, Write};
use std::sync::Arc;

use smongo_bson::{Array, Doc, DocBuf, Result, Value, ValueBuf, bail};
use smongo_mql::collation::Collation;
use smongo_mql::{Arena, CompileCx, Matcher, SortPattern};

fn run(request: Doc<'_>) -> Result<DocBuf> {
    let mut cx = CompileCx { now: 1_700_000_000_000, ..CompileCx::default() };
    match request.get("collation") {
        Value::Document(spec) => cx.collation = Collation::parse(spec)?.map(Arc::new),
        Value::Missing | Value::Null => {}
        _ => bail!(TypeMismatch, "collation must be an object"),
    }
    if let Value::Document(lets) = request.get("let") {
        cx.lets = lets.iter().map(|e| (e.name().to_owned(), ValueBuf::new(e.value()))).collect();
    }
    let mut docs: Vec<Doc<'_>> = request.get("docs").as_array().unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_doc()).collect();
    let mut arena = Arena::new();
    for stage in request.get("stages").as_array().unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_doc()) {
        let Some(e) = stage.first() else { continue };
        if e.name() == "$match" {
            let Value::Document(filter) = e.value() else { bail!(15959, "the match filter must be an expression in an object") };
            let matcher = if request.get("pipeline").as_bool() == Some(true) { Matcher::compile_stage(filter, true, &cx)? } else { Matcher::compile(filter, &cx)? };
            let mut kept = Vec::new();
            for doc in docs {
                arena.reset();
                if matcher.matches(doc, &arena)? {
                    kept.push(doc);
                }
            }
            if let Some(near) = matcher.near() {
                if !request.get("geo").as_str().is_some_and(|kind| near.index_kinds().contains(&kind)) {
                    bail!(291, "unable to find index for $geoNear query");
                }
                kept.sort_by(|a, b| near.distance(*a).partial_cmp(&near.distance(*b)).unwrap_or(std::cmp::Ordering::Equal));
            }
            docs = kept;
        } else {
            let pattern = SortPattern::compile_stage(e.value(), &cx)?;
            let mut keyed = Vec::new();
            for doc in docs {
                let mut key = Vec::new();
                pattern.append_key(doc, &mut key)?;
                keyed.push((key, doc));
            }
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            docs = keyed.into_iter().map(|(_, d)| d).collect();
        }
    }
    Ok(DocBuf::build(|w| {
        let mut out = w.array("docs");
        docs.iter().for_each(|d| {
            out.push(*d);
        });
    }))
}

fn main() -> std::io::Result<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    loop {
        let mut head = [0; 4];
        if input.read_exact(&mut head).is_err() {
            return Ok(());
        }
        let mut bytes = head.to_vec();
        bytes.resize(i32::from_le_bytes(head).max(5) as usize, 0);
        if let Some(rest) = bytes.get_mut(4..) {
            input.read_exact(rest)?;
        }
        let answer = run(Doc::from_checked(&bytes)).unwrap_or_else(|e| {
            DocBuf::build(|w| {
                w.append("code", e.code().0).append("errmsg", e.message());
            })
        });
        output.write_all(answer.as_bytes())?;
        output.flush()?;
    }
}
