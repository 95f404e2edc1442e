//! The predicates of a filter as an index sees them: one path each.

use smongo_bson::path::is_number;
use smongo_mql::matcher::Node;

use super::NodePath;

/// One of the conditions that must all hold.
pub struct Conjunct<'q> {
    pub node: &'q Node,
    /// Where it stands in the filter.
    pub at: NodePath,
}

/// A condition on one path, taken out of a conjunct.
pub struct Predicate<'q> {
    pub path: String,
    pub node: &'q Node,
    pub negated: bool,
    /// The position of its conjunct.
    pub conjunct: usize,
    /// The `$elemMatch` it stands in: one array element passes all predicates of a group.
    pub group: Option<Group>,
    /// It is not the whole of its conjunct, which must be tested anyway.
    pub partial: bool,
}

/// An `$elemMatch` over documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    id: usize,
    /// How many components its path has.
    pub depth: usize,
}

/// The conditions of a node that must all hold, and where they stand.
pub fn conjuncts<'q>(node: &'q Node, at: &[usize]) -> Vec<Conjunct<'q>> {
    match node {
        Node::And(children) => {
            let below = |n| at.iter().copied().chain([n]).collect();
            children.iter().enumerate().map(|(n, node)| Conjunct { node, at: below(n) }).collect()
        }
        _ => vec![Conjunct { node, at: at.to_vec() }],
    }
}

/// The predicates of conjuncts.
pub fn predicates<'q>(conjuncts: &[Conjunct<'q>]) -> Vec<Predicate<'q>> {
    let mut found = Vec::new();
    let mut groups = 0;
    for (n, conjunct) in conjuncts.iter().enumerate() {
        let mut collector = Collector { found: &mut found, conjunct: n, groups: &mut groups };
        collector.node(conjunct.node, "", None, false);
    }
    found
}

struct Collector<'f, 'q> {
    found: &'f mut Vec<Predicate<'q>>,
    conjunct: usize,
    groups: &'f mut usize,
}

impl<'q> Collector<'_, 'q> {
    fn node(&mut self, node: &'q Node, prefix: &str, group: Option<Group>, partial: bool) {
        match node {
            Node::And(children) => children.iter().for_each(|c| self.node(c, prefix, group, true)),
            Node::Nor(children) => {
                for child in children {
                    self.leaf(child, true, prefix, group, true);
                }
            }
            Node::Not(child) => self.leaf(child, true, prefix, group, partial),
            // Where an element is an array itself, a number means one of its elements: no path of an index leads there.
            Node::ElemMatchObject { path, .. } if group.is_some() && begins_with_number(path.text()) => {}
            Node::ElemMatchObject { path, filter } => {
                *self.groups += 1;
                let path = join(prefix, path.text());
                let group = Group { id: *self.groups, depth: path.split('.').count() };
                self.node(filter, &path, Some(group), true);
            }
            other => self.leaf(other, false, prefix, group, partial),
        }
    }

    fn leaf(&mut self, node: &'q Node, negated: bool, prefix: &str, group: Option<Group>, partial: bool) {
        if let Some(path) = node.path().filter(|p| group.is_none() || !begins_with_number(p)) {
            let conjunct = self.conjunct;
            self.found.push(Predicate { path: join(prefix, path), node, negated, conjunct, group, partial });
        }
    }
}

fn begins_with_number(path: &str) -> bool {
    path.split('.').next().is_some_and(is_number)
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", p) => p.to_owned(),
        (p, "") => p.to_owned(),
        (a, b) => format!("{a}.{b}"),
    }
}
