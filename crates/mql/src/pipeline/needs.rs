//! Which fields the rest of a pipeline reads, so that stages that keep or repeat documents carry no others.

use std::collections::BTreeSet;

use smongo_bson::DocBuf;

use super::optimize::first;
use super::{Pipeline, Stage};
use crate::accum::Accumulator;
use crate::cx::CompileCx;
use crate::expr::Expr;
use crate::matcher::{Matcher, Node};
use crate::projection::Projection;
use crate::sort::SortPattern;

/// Top-level fields that are read of a document; `None` when that may be any.
#[derive(Clone, Debug)]
pub struct Needs(Option<BTreeSet<String>>);

impl Needs {
    pub fn everything() -> Needs {
        Needs(None)
    }

    pub fn nothing() -> Needs {
        Needs(Some(BTreeSet::new()))
    }

    pub fn path(&mut self, path: &str) {
        if let Some(fields) = &mut self.0 {
            let name = first(path);
            if !fields.contains(name) {
                fields.insert(name.to_owned());
            }
        }
    }

    pub fn expr(&mut self, expr: &Expr) {
        let reads = expr.dependencies();
        if reads.whole_document || !reads.meta.is_empty() {
            self.0 = None;
        }
        reads.fields.iter().for_each(|f| self.path(f));
    }

    pub fn accumulator(&mut self, accumulator: &Accumulator) {
        accumulator.arguments().exprs().for_each(|e| self.expr(e));
        accumulator.sort().into_iter().for_each(|s| self.sort(s));
    }

    pub fn sort(&mut self, pattern: &SortPattern) {
        if pattern.needs_meta() {
            self.0 = None;
        }
        pattern.parts.iter().for_each(|p| self.path(p.path.text()));
    }

    fn filter(&mut self, matcher: &Matcher) {
        self.node(&matcher.root);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::And(nodes) | Node::Or(nodes) | Node::Nor(nodes) => nodes.iter().for_each(|n| self.node(n)),
            Node::Not(node) => self.node(node),
            Node::Expr(expr) => self.expr(expr),
            Node::AlwaysFalse | Node::Implied { .. } => {}
            leaf => match leaf.path() {
                Some(path) => self.path(path),
                None => self.0 = None,
            },
        }
    }

    /// What a projection needs, when its result needs `self`.
    pub fn before(mut self, projection: &Projection) -> Needs {
        if projection.is_inclusion() {
            let mut needs = Needs(projection.needed_fields().map(|_| BTreeSet::new()));
            projection.needed_fields().unwrap_or_default().iter().for_each(|f| needs.path(f));
            return needs;
        }
        projection.computed().into_iter().for_each(|e| self.expr(e));
        self
    }
}

impl Stage {
    /// What the stage reads of its input, when `after` is read of its output.
    fn needs(&self, mut after: Needs) -> Needs {
        match self {
            Stage::Match(matcher) => after.filter(matcher),
            Stage::Sort { pattern, .. } => after.sort(pattern),
            Stage::Limit(_) | Stage::Skip(_) => {}
            Stage::Project(projection) => return after.before(projection),
            Stage::GeoNear(_) => return Needs::everything(),
            Stage::Other(op) => return op.needs(after),
        }
        after
    }

    /// Whether documents are kept or repeated, so that their size counts.
    fn carries(&self) -> bool {
        match self {
            Stage::Sort { .. } => true,
            Stage::Other(op) => op.carries(),
            _ => false,
        }
    }
}

impl Pipeline {
    /// Puts a projection before the first stage that carries documents on, when only some of their fields are read.
    pub fn trim(&mut self) {
        let Some(at) = self.stages.iter().position(Stage::carries) else { return };
        let behind = self.stages.iter().skip(at).rev();
        let Needs(Some(fields)) = behind.fold(Needs::everything(), |after, stage| stage.needs(after)) else { return };
        if fields.is_empty() || fields.iter().any(|f| f.starts_with('$')) || self.stages.get(at.wrapping_sub(1)).is_some_and(|s| matches!(s, Stage::Project(_))) {
            return;
        }
        let spec = DocBuf::build(|w| {
            if !fields.contains("_id") {
                w.append("_id", 0);
            }
            fields.iter().for_each(|f| { w.append(f, 1); });
        });
        if let Ok(projection) = Projection::compile_project(spec.as_doc(), &CompileCx::default()) {
            self.stages.insert(at, Stage::Project(projection));
        }
    }
}
