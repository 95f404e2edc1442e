//! Evaluates expressions for a harness without a server: framed BSON requests on stdin, replies on stdout.
//!
//! A request is `{docs: […], stages: [{$project|$addFields|$set|$match|$replaceWith|$replaceRoot: …}], let, collation}`; only computed
//! fields at the top level are understood. A reply is `{docs: […]}`, `{code, msg}` or `{unsupported: true}`.

use std::io::{Read, Write};
use std::sync::Arc;

use smongo_bson::{Array, Doc, DocBuf, Result, Timestamp, Value, ValueBuf, bail};
use smongo_mql::collation::Collation;
use smongo_mql::{Arena, CompileCx, Expr};

fn main() -> std::io::Result<()> {
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    loop {
        let mut len = [0; 4];
        if stdin.read_exact(&mut len).is_err() {
            return Ok(());
        }
        let mut bytes = len.to_vec();
        bytes.resize(u32::from_le_bytes(len) as usize, 0);
        stdin.read_exact(&mut bytes[4..])?;
        let reply = match std::panic::catch_unwind(|| answer(Doc::from_checked(&bytes))) {
            Ok(Ok(reply)) => reply,
            Ok(Err(e)) => DocBuf::build(|w| {
                w.append("code", e.code().0).append("msg", e.message());
            }),
            Err(_) => DocBuf::build(|w| {
                w.append("code", -1).append("msg", "panic");
            }),
        };
        stdout.write_all(reply.as_bytes())?;
        stdout.flush()?;
    }
}

fn answer(request: Doc<'_>) -> Result<DocBuf> {
    let docs = request.get("docs").as_array().unwrap_or(Array::EMPTY);
    let mut docs: Vec<DocBuf> = docs.iter().filter_map(|v| v.as_doc().map(DocBuf::from)).collect();
    let mut cx = CompileCx {
        now: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64),
        cluster_time: Some(Timestamp { time: 1_700_000_000, increment: 1 }),
        ..CompileCx::default()
    };
    if let Value::Document(spec) = request.get("collation") {
        cx.collation = Collation::parse(spec)?.map(Arc::new);
    }
    if let Value::Document(lets) = request.get("let") {
        for e in lets {
            let expr = Expr::compile(e.value(), &cx)?;
            let arena = Arena::new();
            cx.lets.push((e.name().to_owned(), ValueBuf::new(expr.eval_doc(Doc::EMPTY, &arena)?)));
        }
    }
    let mut programs = Vec::new();
    for stage in request.get("stages").as_array().unwrap_or(Array::EMPTY).iter() {
        let Some(e) = stage.as_doc().and_then(Doc::first) else { return unsupported() };
        let Some(program) = compile(e.name(), e.value(), &cx)? else { return unsupported() };
        programs.push(program);
    }
    for program in &programs {
        let mut out = Vec::new();
        for doc in &docs {
            out.extend(run(program, doc.as_doc())?);
        }
        docs = out;
    }
    Ok(DocBuf::build(|w| {
        let mut w = w.array("docs");
        for d in &docs {
            w.push(d.as_doc());
        }
    }))
}

fn unsupported() -> Result<DocBuf> {
    Ok(DocBuf::build(|w| {
        w.append("unsupported", true);
    }))
}

enum Program {
    Project { id: bool, include: Vec<String>, computed: Vec<(String, Expr)> },
    Add(Vec<(String, Expr)>),
    Match(Expr),
    Replace(Expr),
}

fn compile(name: &str, spec: Value<'_>, cx: &CompileCx) -> Result<Option<Program>> {
    let Value::Document(doc) = spec else { return Ok(None) };
    if doc.iter().any(|e| e.name().contains('.')) {
        return Ok(None);
    }
    Ok(Some(match name {
        "$project" => {
            let (mut id, mut include, mut computed) = (true, Vec::new(), Vec::new());
            for e in doc {
                match e.value() {
                    v @ (Value::Bool(_) | Value::Int32(_) | Value::Int64(_) | Value::Double(_)) => match (e.name(), v.truthy()) {
                        ("_id", keep) => id = keep,
                        (_, true) => include.push(e.name().to_owned()),
                        _ => return Ok(None),
                    },
                    v => computed.push((e.name().to_owned(), Expr::compile(v, cx)?)),
                }
            }
            Program::Project { id, include, computed }
        }
        "$addFields" | "$set" => {
            let fields = doc.iter().map(|e| Ok((e.name().to_owned(), Expr::compile(e.value(), cx)?)));
            Program::Add(fields.collect::<Result<_>>()?)
        }
        "$match" => match doc.first() {
            Some(e) if e.name() == "$expr" => Program::Match(Expr::compile(e.value(), cx)?),
            _ => return Ok(None),
        },
        "$replaceWith" => Program::Replace(Expr::compile(spec, cx)?),
        "$replaceRoot" => Program::Replace(Expr::compile(doc.get("newRoot"), cx)?),
        _ => return Ok(None),
    }))
}

fn run(program: &Program, doc: Doc<'_>) -> Result<Option<DocBuf>> {
    let arena = Arena::new();
    Ok(match program {
        Program::Project { id, include, computed } => {
            let mut out = Vec::new();
            let mut w = smongo_bson::DocWriter::new(&mut out);
            for e in doc {
                if (e.name() == "_id" && *id) || include.iter().any(|n| n == e.name()) {
                    w.append_element(&e);
                }
            }
            for (name, expr) in computed {
                w.append(name, expr.eval_doc(doc, &arena)?);
            }
            w.finish();
            Some(DocBuf::from_checked(out))
        }
        Program::Add(fields) => {
            let mut out = Vec::new();
            let mut w = smongo_bson::DocWriter::new(&mut out);
            for e in doc {
                match fields.iter().find(|(n, _)| n == e.name()) {
                    Some((name, expr)) => drop(w.append(name, expr.eval_doc(doc, &arena)?)),
                    None => drop(w.append_element(&e)),
                }
            }
            for (name, expr) in fields.iter().filter(|(n, _)| !doc.contains(n)) {
                w.append(name, expr.eval_doc(doc, &arena)?);
            }
            w.finish();
            Some(DocBuf::from_checked(out))
        }
        Program::Match(expr) => expr.eval_doc(doc, &arena)?.truthy().then(|| doc.into()),
        Program::Replace(expr) => match expr.eval_doc(doc, &arena)? {
            Value::Document(d) => Some(d.into()),
            v => bail!(40228, "'newRoot' expression must evaluate to an object, but resulting value was of type {}", v.type_name()),
        },
    })
}
