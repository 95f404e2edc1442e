//! What a statement may have done to a collection, by the language alone.

use std::collections::BTreeMap;

use smongo_bson::json::{parse_doc, to_relaxed, value_to_relaxed};
use smongo_bson::{Doc, DocBuf};
use smongo_mql::collation::Collation;
use smongo_mql::{Arena, CompileCx, Matcher, Update};

/// A collection's documents by the text of their `_id`.
pub type State = BTreeMap<String, Stored>;

/// What a document is known by.
pub fn key(doc: Doc<'_>) -> String {
    value_to_relaxed(doc.get("_id"))
}

/// A document that is the same as another when its bytes are.
#[derive(Clone, Default)]
pub struct Stored(pub DocBuf);

impl PartialEq for Stored {
    fn eq(&self, other: &Stored) -> bool {
        self.0.as_bytes() == other.0.as_bytes()
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_relaxed(self.0.as_doc()))
    }
}

pub enum Judged {
    Insert { docs: Vec<String>, ordered: bool },
    Update { q: String, u: String, multi: bool, upsert: bool },
    Delete { q: String, one: bool },
    /// Nothing of it shows in the documents.
    Nothing,
    /// All documents are replaced, or none.
    Out,
    /// Several things at once: what is left over is for indexes, counts and the oplog to tell.
    Anything,
}

type Judgement = Result<(), String>;

fn count(reply: &DocBuf, name: &str) -> i64 {
    let of = if reply.as_doc().contains("lastErrorObject") { reply.get("lastErrorObject").as_doc().unwrap_or(Doc::EMPTY).get(name) } else { reply.get(name) };
    smongo_bson::number::to_i64_exact(of).unwrap_or(-1)
}

fn failed(reply: &DocBuf) -> bool {
    !reply.get("ok").truthy() || reply.as_doc().contains("writeErrors")
}

/// The documents that differ, or are in one of both only.
fn changed(before: &State, after: &State) -> Vec<String> {
    let mut ids: Vec<String> = before.keys().chain(after.keys()).filter(|id| before.get(id.as_str()) != after.get(id.as_str())).cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl Judged {
    pub fn check(&self, before: &State, after: &State, reply: &DocBuf) -> Judgement {
        match self {
            Judged::Insert { docs, ordered } => inserted(docs, *ordered, before, after, reply),
            Judged::Update { q, u, multi, upsert } => {
                // A collection may have a collation of its own, which is one or none here: one of them explains what happened.
                let folded = parse_doc(r#"{"locale": "en", "strength": 2}"#).ok().and_then(|d| Collation::parse(d.as_doc()).ok().flatten());
                let with = |collation| updated(q, u, *multi, *upsert, before, after, reply, &CompileCx { collation, ..CompileCx::default() });
                with(None).or_else(|why| with(folded.map(std::sync::Arc::new)).map_err(|_| why))
            }
            Judged::Delete { q, one } => deleted(q, *one, before, after, reply),
            Judged::Nothing => same(before, after),
            Judged::Out if failed(reply) => same(before, after),
            Judged::Out | Judged::Anything => Ok(()),
        }
    }
}

fn same(before: &State, after: &State) -> Judgement {
    let ids = changed(before, after);
    if ids.is_empty() { Ok(()) } else { Err(format!("documents {ids:?} changed")) }
}

fn inserted(docs: &[String], ordered: bool, before: &State, after: &State, reply: &DocBuf) -> Judgement {
    let errors: Vec<usize> = reply.get("writeErrors").as_array().into_iter().flat_map(|a| a.iter()).filter_map(|e| e.as_doc()).map(|e| count(&DocBuf::from(e), "index") as usize).collect();
    let mut expected = before.clone();
    let mut n = 0;
    for (at, text) in docs.iter().enumerate() {
        if errors.contains(&at) {
            if ordered { break } else { continue }
        }
        let doc = parse_doc(text).map_err(|e| e.to_string())?;
        let id = key(doc.as_doc());
        if smongo_bson::number::to_i64_exact(doc.get("_id")).is_none() {
            return Err(format!("the _id {id} was taken"));
        }
        if expected.insert(id.clone(), Stored(doc)).is_some() {
            return Err(format!("the _id {id} was taken a second time"));
        }
        n += 1;
    }
    if !reply.get("ok").truthy() {
        return same(before, after);
    }
    if count(reply, "n") != n {
        return Err(format!("n is {}, not {n}", count(reply, "n")));
    }
    same(&expected, after).map_err(|e| format!("{e}, which should have been inserted or left alone"))
}

fn matching(q: &str, before: &State, cx: &CompileCx) -> Result<(Matcher, Vec<String>), String> {
    let filter = parse_doc(q).map_err(|e| e.to_string())?;
    let matcher = Matcher::compile(filter.as_doc(), cx).map_err(|e| e.to_string())?;
    let arena = Arena::new();
    let ids = before.iter().filter(|(_, d)| matcher.matches(d.0.as_doc(), &arena).unwrap_or(false)).map(|(id, _)| id.clone()).collect();
    Ok((matcher, ids))
}

#[allow(clippy::too_many_arguments)]
fn updated(q: &str, u: &str, multi: bool, upsert: bool, before: &State, after: &State, reply: &DocBuf, cx: &CompileCx) -> Judgement {
    let (matcher, matched) = matching(q, before, cx)?;
    let ids = changed(before, after);
    let bad = failed(reply);
    if bad && !multi {
        return same(before, after);
    }
    if matched.is_empty() {
        let news = usize::from(upsert && !bad);
        return if ids.len() == news && ids.iter().all(|id| !before.contains_key(id.as_str())) { Ok(()) } else { Err(format!("nothing matches, yet {ids:?} changed")) };
    }
    let spec = parse_doc(&format!("{{\"u\": {u}}}")).map_err(|e| e.to_string())?;
    let update = match Update::compile(spec.get("u"), None, cx) {
        Ok(update) => update,
        Err(_) if bad => return same(before, after),
        Err(e) => return Err(format!("the update should be refused: {e}")),
    };
    let arena = Arena::new();
    // What each document should become; `None` where applying fails or changes nothing.
    let becomes = |id: &String| before.get(id.as_str()).and_then(|old| update.apply(old.0.as_doc(), &matcher, &arena).ok()).and_then(|a| a.doc).map(Stored);
    for id in &ids {
        if !matched.contains(id) {
            return Err(format!("{id} changed and does not match"));
        }
        if after.get(id.as_str()) != becomes(id).as_ref() {
            return Err(format!("{id} became {:?} and should be {:?}", after.get(id.as_str()), becomes(id)));
        }
    }
    if bad {
        return if ids.len() < matched.len() { Ok(()) } else { Err("an error, and yet every document was changed".into()) };
    }
    let n = if multi { matched.len() } else { 1 };
    if count(reply, "n") != n as i64 {
        return Err(format!("n is {}, not {n}", count(reply, "n")));
    }
    if multi && let Some(id) = matched.iter().find(|id| becomes(id).is_some_and(|new| after.get(id.as_str()) != Some(&new))) {
        return Err(format!("{id} was not changed"));
    }
    if !multi && ids.len() > 1 {
        return Err(format!("one was to be changed, not {ids:?}"));
    }
    Ok(())
}

fn deleted(q: &str, one: bool, before: &State, after: &State, reply: &DocBuf) -> Judgement {
    let ids = changed(before, after);
    if ids.iter().any(|id| after.contains_key(id.as_str())) {
        return Err(format!("{ids:?} changed in a deletion"));
    }
    if failed(reply) {
        return same(before, after);
    }
    if count(reply, "n") != ids.len() as i64 || one && ids.len() > 1 {
        return Err(format!("{} are gone, n is {}", ids.len(), count(reply, "n")));
    }
    let (_, matched) = matching(q, before, &CompileCx::default())?;
    if !one && matched.iter().any(|id| after.contains_key(id.as_str())) {
        return Err("what matches is still there".into());
    }
    Ok(())
}
