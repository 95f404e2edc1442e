//! The paths of an update as a tree: one walk over the document meets every path once.

use std::cmp::Ordering;
use std::sync::Arc;

use smongo_bson::{Result, bail};

use super::ops::Modifier;

/// One path with its operator.
pub(super) struct Leaf {
    pub path: Box<str>,
    pub op: Box<dyn Modifier>,
}

#[derive(Clone)]
pub(super) enum Node {
    Leaf(Arc<Leaf>),
    Fields(Fields),
    Elements(Elements),
}

/// Children by name, in the order in which new fields are added. Over an array the names are positions.
#[derive(Clone, Default)]
pub(super) struct Fields {
    pub children: Vec<Child>,
    /// What the positional `$` leads to; its name is known per document only.
    pub positional: Option<Box<Node>>,
}

#[derive(Clone)]
pub(super) struct Child {
    pub name: Box<str>,
    /// The name as an array position.
    pub index: Option<u32>,
    pub node: Node,
}

/// `$[]` and `$[identifier]`: what applies to all elements of an array, and to those an array filter selects.
#[derive(Clone, Default)]
pub(super) struct Elements {
    pub all: Option<Box<Node>>,
    /// Indexes into the update's array filters.
    pub filtered: Vec<(usize, Node)>,
}

/// A component of an update path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step<'p> {
    Field(&'p str),
    Positional,
    All,
    /// Index into the update's array filters.
    Filtered(usize),
}

impl Child {
    pub fn new(name: &str, node: Node) -> Child {
        Child { name: name.into(), index: position(name), node }
    }
}

/// The array position a path component names: decimal digits without a leading zero.
pub(super) fn position(name: &str) -> Option<u32> {
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if digits { name.parse().ok() } else { None }
}

/// The order in which new fields are added: array positions by value, then names.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    match (position(a), position(b)) {
        (Some(x), Some(y)) => x.cmp(&y),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.as_bytes().cmp(b.as_bytes()),
    }
}

impl Fields {
    /// Adds a path; `at` counts the steps above this node, for messages.
    pub fn insert(&mut self, steps: &[Step<'_>], at: usize, leaf: &Arc<Leaf>) -> Result<()> {
        let Some((step, rest)) = steps.split_first() else { return conflict(leaf, at) };
        match step {
            Step::Field(name) => match self.children.binary_search_by(|c| order(&c.name, name)) {
                Ok(found) => match self.children.get_mut(found) {
                    Some(child) => child.node.insert(rest, at + 1, leaf),
                    None => Ok(()),
                },
                Err(place) => {
                    self.children.insert(place, Child::new(name, Node::new(rest, at + 1, leaf)?));
                    Ok(())
                }
            },
            Step::Positional => match &mut self.positional {
                Some(node) => node.insert(rest, at + 1, leaf),
                None => {
                    self.positional = Some(Box::new(Node::new(rest, at + 1, leaf)?));
                    Ok(())
                }
            },
            Step::All | Step::Filtered(_) => conflict(leaf, at),
        }
    }
}

impl Elements {
    fn insert(&mut self, steps: &[Step<'_>], at: usize, leaf: &Arc<Leaf>) -> Result<()> {
        let Some((step, rest)) = steps.split_first() else { return conflict(leaf, at) };
        match step {
            Step::All => match &mut self.all {
                Some(node) => node.insert(rest, at + 1, leaf),
                None => {
                    self.all = Some(Box::new(Node::new(rest, at + 1, leaf)?));
                    Ok(())
                }
            },
            Step::Filtered(filter) => match self.filtered.iter_mut().find(|(f, _)| f == filter) {
                Some((_, node)) => node.insert(rest, at + 1, leaf),
                None => {
                    self.filtered.push((*filter, Node::new(rest, at + 1, leaf)?));
                    Ok(())
                }
            },
            Step::Field(_) | Step::Positional => conflict(leaf, at),
        }
    }
}

impl Node {
    fn new(steps: &[Step<'_>], at: usize, leaf: &Arc<Leaf>) -> Result<Node> {
        let Some(first) = steps.first() else { return Ok(Node::Leaf(leaf.clone())) };
        let mut node = match first {
            Step::Field(_) | Step::Positional => Node::Fields(Fields::default()),
            Step::All | Step::Filtered(_) => Node::Elements(Elements::default()),
        };
        node.insert(steps, at, leaf)?;
        Ok(node)
    }

    fn insert(&mut self, steps: &[Step<'_>], at: usize, leaf: &Arc<Leaf>) -> Result<()> {
        match self {
            Node::Leaf(_) => conflict(leaf, at),
            Node::Fields(fields) => fields.insert(steps, at, leaf),
            Node::Elements(elements) => elements.insert(steps, at, leaf),
        }
    }

    /// The union of two nodes that turn out to mean the same place of a document.
    pub fn merge(&self, other: &Node) -> Result<Node> {
        match (self, other) {
            (Node::Fields(a), Node::Fields(b)) => {
                let mut merged = a.clone();
                for child in &b.children {
                    match merged.children.binary_search_by(|c| order(&c.name, &child.name)) {
                        Ok(found) => {
                            if let Some(mine) = merged.children.get_mut(found) {
                                mine.node = mine.node.merge(&child.node)?;
                            }
                        }
                        Err(place) => merged.children.insert(place, child.clone()),
                    }
                }
                merged.positional = merge_optional(a.positional.as_deref(), b.positional.as_deref())?;
                Ok(Node::Fields(merged))
            }
            (Node::Elements(a), Node::Elements(b)) => {
                let mut merged = a.clone();
                merged.all = merge_optional(a.all.as_deref(), b.all.as_deref())?;
                for (filter, node) in &b.filtered {
                    match merged.filtered.iter_mut().find(|(f, _)| f == filter) {
                        Some((_, mine)) => *mine = mine.merge(node)?,
                        None => merged.filtered.push((*filter, node.clone())),
                    }
                }
                Ok(Node::Elements(merged))
            }
            _ => bail!(ConflictingUpdateOperators, "Update created a conflict at '{}'", self.any_path()),
        }
    }

    /// The path of some leaf below, for messages.
    pub fn any_path(&self) -> &str {
        match self {
            Node::Leaf(leaf) => &leaf.path,
            Node::Fields(f) => {
                let first = f.children.first().map(|c| &c.node).or(f.positional.as_deref());
                first.map_or("", Node::any_path)
            }
            Node::Elements(e) => {
                let first = e.all.as_deref().or(e.filtered.first().map(|(_, n)| n));
                first.map_or("", Node::any_path)
            }
        }
    }
}

fn merge_optional(a: Option<&Node>, b: Option<&Node>) -> Result<Option<Box<Node>>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(Box::new(a.merge(b)?)),
        (a, b) => a.or(b).map(|n| Box::new(n.clone())),
    })
}

fn conflict<T>(leaf: &Leaf, at: usize) -> Result<T> {
    let end = leaf.path.match_indices('.').nth(at.saturating_sub(1)).map_or(leaf.path.len(), |(i, _)| i);
    let prefix = leaf.path.get(..end).unwrap_or_default();
    bail!(ConflictingUpdateOperators, "Updating the path '{}' would create a conflict at '{prefix}'", leaf.path)
}
