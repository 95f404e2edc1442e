//! Rewrites a pipeline into one that gives the same answer with less work, as MongoDB's optimizer does.
//!
//! - `$match` goes forward, part by part: over `$sort`, over stages that leave its fields alone or only rename them, over `$group` when it
//!   is about the key, into `$unionWith`, and into the sub-pipeline of a `$lookup` that is unwound. Neighbours become one.
//! - `$limit` and `$skip` go before stages that make one document of one.
//!
//! It works on the stages' BSON, which was checked before: what is not understood stays where it is. An answer never changes; an error that
//! only documents cause which are not wanted may go away, as in MongoDB.

mod conjunct;
mod effect;

use smongo_bson::{Doc, DocBuf, Value};

use super::MAX_STAGES;
use super::registry::is_empty_match;
use crate::cx::CompileCx;
use conjunct::{Conjunct, Kind};
use effect::Effect;
pub(super) use effect::first;

/// Optimizes the stages of a pipeline that compiles.
pub fn optimize(stages: &mut Vec<DocBuf>, cx: &CompileCx) {
    // A `$match` may become two, and the limit of stages holds for the result too.
    if stages.len() > MAX_STAGES / 2 {
        return;
    }
    let empty = stages.iter().take_while(|s| is_empty_match(s.as_doc())).count();
    stages.drain(..empty.min(stages.len().saturating_sub(1)));
    let named = |s: &DocBuf, names: &[&str]| s.as_doc().first().is_some_and(|e| names.contains(&e.name()));
    if stages.iter().skip(1).any(|s| named(s, &["$match"])) {
        push_matches(stages, cx);
    }
    if stages.iter().skip(1).any(|s| named(s, &["$limit", "$skip"])) {
        push_limits(stages);
    }
}

/// A `$match` on its way to the front.
struct Unit {
    filter: DocBuf,
    parts: Vec<Conjunct>,
}

impl Unit {
    fn new(filter: Doc<'_>, cx: &CompileCx) -> Unit {
        let mut parts = Vec::new();
        conjunct::split(filter, cx, &mut parts);
        Unit { filter: filter.into(), parts }
    }

    fn of(parts: Vec<Conjunct>) -> Unit {
        let filter = match parts.as_slice() {
            [one] => one.filter.clone(),
            _ => all_of(parts.iter().map(|p| p.filter.as_doc())),
        };
        Unit { filter, parts }
    }

    /// Divides the unit into what may pass and what stays; parts behind an `$expr`'s guard are no reason to let it go alone.
    fn divide(self, mut pass: impl FnMut(&Conjunct) -> Option<Conjunct>) -> (Option<Unit>, Option<Unit>) {
        let (mut passed, mut stayed, mut changed) = (Vec::new(), Vec::new(), false);
        for part in &self.parts {
            match pass(part).filter(|p| stayed.is_empty() || p.kind < Kind::Expr) {
                Some(moved) => {
                    changed |= moved.filter.as_bytes() != part.filter.as_bytes();
                    passed.push(moved);
                }
                None => stayed.push(part.clone()),
            }
        }
        match (passed.is_empty(), stayed.is_empty()) {
            (true, _) => (None, Some(self)),
            (false, true) if !changed => (Some(self), None),
            (false, true) => (Some(Unit::of(passed)), None),
            (false, false) => (Some(Unit::of(passed)), Some(Unit::of(stayed))),
        }
    }
}

fn all_of<'d>(filters: impl Iterator<Item = Doc<'d>>) -> DocBuf {
    DocBuf::build(|w| {
        let mut all = w.array("$and");
        for filter in filters {
            all.push(filter);
        }
    })
}

/// Moves the filters to the front in one walk from the back.
fn push_matches(stages: &mut Vec<DocBuf>, cx: &CompileCx) {
    let mut done: Vec<DocBuf> = Vec::with_capacity(stages.len());
    let mut moving: Vec<Unit> = Vec::new();
    while let Some(mut stage) = stages.pop() {
        let Some(field) = stage.as_doc().first() else {
            emit(&mut moving, &mut done);
            done.push(stage);
            continue;
        };
        match (field.name(), field.value()) {
            ("$match", Value::Document(filter)) => moving.insert(0, Unit::new(filter, cx)),
            (name, arg) => {
                if let Some(joined) = into_lookup(stages.last(), name, arg, &mut moving) {
                    stages.pop();
                    stages.push(joined);
                }
                let effect = Effect::of(name, arg, cx);
                let united = matches!(effect, Effect::Unites).then(|| unite(arg, &moving)).flatten();
                let mut held = Vec::new();
                let mut passed = Vec::new();
                for unit in moving.drain(..) {
                    let (moved, kept) = match &united {
                        Some(_) => unit.divide(|p| (p.kind < Kind::Expr).then(|| p.clone())),
                        None => unit.divide(|p| effect.before(p).filter(|m| held.is_empty() || m.kind < Kind::Expr)),
                    };
                    passed.extend(moved);
                    held.extend(kept);
                }
                emit(&mut held, &mut done);
                moving = passed;
                if let Some(united) = united {
                    stage = united;
                }
                done.push(stage);
            }
        }
    }
    emit(&mut moving, &mut done);
    done.reverse();
    *stages = done;
}

/// Writes the units as one `$match` (in front of what is done, which is in reverse).
fn emit(units: &mut Vec<Unit>, done: &mut Vec<DocBuf>) {
    let filter = match units.as_slice() {
        [] => return,
        [one] => one.filter.clone(),
        many => all_of(many.iter().map(|u| u.filter.as_doc())),
    };
    units.clear();
    done.push(super::args::stage("$match", filter.as_doc()));
}

/// `$lookup {as: x}, $unwind x, $match {"x.y": …}`: the `$lookup` with the filter in its sub-pipeline. The parts that went there are removed.
fn into_lookup(before: Option<&DocBuf>, name: &str, arg: Value<'_>, moving: &mut Vec<Unit>) -> Option<DocBuf> {
    let path = match (name, arg) {
        ("$unwind", Value::String(path)) => path,
        ("$unwind", Value::Document(d)) if !d.get("preserveNullAndEmptyArrays").truthy() && !d.contains("includeArrayIndex") => d.get("path").as_str()?,
        _ => return None,
    };
    let path = path.strip_prefix('$').filter(|p| !p.contains('.'))?;
    let lookup = before?.as_doc().first().filter(|e| e.name() == "$lookup")?.value().as_doc()?;
    if lookup.get("as").as_str() != Some(path) || moving.iter().all(|u| u.parts.iter().all(|p| p.below(path).is_none())) {
        return None;
    }
    let mut inside = Vec::new();
    for unit in std::mem::take(moving) {
        let (moved, kept) = unit.divide(|p| p.below(path));
        inside.extend(moved);
        moving.extend(kept);
    }
    let mut filter = Vec::new();
    emit(&mut inside, &mut filter);
    Some(super::args::stage("$lookup", with_stage(lookup, filter.first()?).as_doc()))
}

/// The specification of a stage with one more stage at the end of its sub-pipeline.
fn with_stage(spec: Doc<'_>, stage: &DocBuf) -> DocBuf {
    DocBuf::build(|w| {
        for e in spec.iter().filter(|e| e.name() != "pipeline") {
            w.append_element(&e);
        }
        let mut pipeline = w.array("pipeline");
        for s in spec.get("pipeline").as_array().iter().flat_map(|a| a.iter()) {
            pipeline.push(s);
        }
        pipeline.push(stage.as_doc());
    })
}

/// A `$unionWith` with the filters also in its sub-pipeline; `None` when no part can go there.
fn unite(arg: Value<'_>, moving: &[Unit]) -> Option<DocBuf> {
    let parts: Vec<&Conjunct> = moving.iter().flat_map(|u| &u.parts).filter(|p| p.kind < Kind::Expr).collect();
    if parts.is_empty() {
        return None;
    }
    let own;
    let spec = match arg {
        Value::Document(d) => d,
        Value::String(coll) => {
            own = DocBuf::build(|w| { w.append("coll", coll); });
            own.as_doc()
        }
        _ => return None,
    };
    let filter = all_of(parts.iter().map(|p| p.filter.as_doc()));
    Some(super::args::stage("$unionWith", with_stage(spec, &super::args::stage("$match", filter.as_doc())).as_doc()))
}

/// Moves `$limit` and `$skip` before stages that make one document of one.
fn push_limits(stages: &mut Vec<DocBuf>) {
    let mut done: Vec<DocBuf> = Vec::with_capacity(stages.len());
    for stage in stages.drain(..) {
        let mut at = done.len();
        let first = |s: &DocBuf, test: &dyn Fn(&str) -> bool| s.as_doc().first().is_some_and(|e| test(e.name()));
        if first(&stage, &|name| matches!(name, "$limit" | "$skip")) {
            while at > 0 && done.get(at - 1).is_some_and(|s| first(s, &Effect::is_one_to_one)) {
                at -= 1;
            }
        }
        done.insert(at, stage);
    }
    *stages = done;
}
